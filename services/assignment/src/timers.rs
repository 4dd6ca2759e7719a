//! What the clock itself does: rating windows and waits that end.
//!
//! A timer is a column of its case. Whoever finds one due asks the writer lane to look at the case; what is done there
//! clears the column in the same transaction, so that it is done once however many replicas look.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use otklik_chassis::{
    clock::Clock,
    error::Error,
    lane::{Caller, Lane},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::store::{
    query,
    writer::{Command, Writer},
};

/// Cases looked at in one command.
const BATCH: u32 = 256;
/// How often the database is asked for timers that another replica has set.
const POLL: Duration = Duration::from_secs(5);
/// How long to wait after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// The earliest timer that this process knows of.
#[derive(Debug)]
pub struct Alarm {
    due_us: AtomicI64,
    earlier: Notify,
}

impl Default for Alarm {
    fn default() -> Self {
        Self { due_us: AtomicI64::new(i64::MAX), earlier: Notify::new() }
    }
}

impl Alarm {
    /// A timer has been set. It may be forgotten again (the transaction may fail): then it is looked for in vain.
    pub fn set(&self, due_us: i64) {
        if self.due_us.fetch_min(due_us, Ordering::SeqCst) > due_us {
            self.earlier.notify_one();
        }
    }

    fn clear(&self) {
        self.due_us.store(i64::MAX, Ordering::SeqCst);
    }

    /// Returns when the earliest timer is due.
    async fn ring(&self, clock: &Clock) {
        loop {
            let due_us = self.due_us.load(Ordering::SeqCst);
            match Timestamp::from_microsecond(due_us) {
                Ok(due) if due_us != i64::MAX => tokio::select! {
                    () = clock.sleep_until(due) => return,
                    () = self.earlier.notified() => {}
                },
                _ => self.earlier.notified().await,
            }
        }
    }
}

/// Keeps the timers until `stopping` is cancelled.
pub async fn keep(lane: Lane<Writer>, alarm: Arc<Alarm>, clock: Clock, stopping: CancellationToken) {
    let forever = async {
        loop {
            // Cleared before the database is asked, so that what is set meanwhile is not lost.
            alarm.clear();
            match fire(&lane, &clock).await {
                Ok(Some(next_us)) => alarm.set(next_us),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "timers can't be looked at");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            }
            let _ = tokio::time::timeout(POLL, alarm.ring(&clock)).await;
        }
    };
    let _ = stopping.run_until_cancelled(forever).await;
}

/// Does everything that is due, in order, and says when the next timer is.
async fn fire(lane: &Lane<Writer>, clock: &Clock) -> Result<Option<i64>, Error> {
    loop {
        let due = query::due(lane.storage(), clock.now().as_microsecond(), BATCH).await?;
        let is_last = due.len() < BATCH as usize;
        if !due.is_empty() {
            lane.call(Command::Tick(due), Caller::service(lane.ledger().service())).await?;
        }
        if is_last {
            return query::next_timer(lane.storage()).await;
        }
    }
}
