//! The second step after copying: follows the copies in the order of their arrival and keeps the facts up to date.

use std::{sync::Arc, time::Duration};

use otklik_chassis::{
    error::Error,
    lane::{Caller, Lane},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use crate::{
    NAME,
    domain::{segment::Segment, step::Step},
    store::{Command, Copies, Projected, Reply, Writer},
};

/// Segments projected together at the most: some two thousand entries.
const BATCH: i64 = 64;
/// How long arrivals are let gather: the entries that one message causes in four ledgers come within a moment of each
/// other, and together cost one row each.
const GATHERING: Duration = Duration::from_millis(50);
/// How often arrivals are looked for without being told: another replica may have copied.
const POLL: Duration = Duration::from_millis(250);
/// How long after an outage.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a reader that waits looks.
const LOOK: Duration = Duration::from_millis(10);
/// How long a reader waits for facts at the most.
const MOST_WAIT: Duration = Duration::from_secs(10);

/// Keeps the facts up to date.
pub struct Projector {
    /// Where changes go.
    pub lane: Lane<Writer>,
    /// The copies.
    pub copies: Copies,
    /// Tells that something has arrived.
    pub arrived: Arc<Notify>,
    /// Tells others that facts are new.
    pub projected: Arc<Notify>,
}

impl Projector {
    /// Runs until dropped.
    pub async fn run(self) {
        loop {
            match self.advance().await {
                Ok(true) => self.projected.notify_one(),
                Ok(false) => {
                    if timeout(POLL, self.arrived.notified()).await.is_ok() {
                        sleep(GATHERING).await;
                    }
                }
                Err(error) if error.is_outage() => sleep(PAUSE).await,
                Err(error) => {
                    tracing::error!(%error, "the facts of copied entries can't be stored");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Projects what has arrived, at most a batch; `false` when there was nothing.
    async fn advance(&self) -> Result<bool, Error> {
        let from = self.copies.projected().await?;
        let segments = self.copies.arrivals(from, i64::MAX, BATCH).await?;
        let Some(to) = segments.last().map(|segment| segment.number) else { return Ok(false) };
        let steps = segments.iter().flat_map(steps).collect();
        let command = Command::Project(Projected { from, to, steps });
        let done = self.lane.call(command, Caller::service(NAME)).await?;
        Ok(done.reply == Some(Reply::Done))
    }
}

/// The entries of a segment. A copy that can't be read is named by the verification of ledgers, not here.
fn steps(segment: &Segment) -> Vec<Step> {
    segment.entries().0.into_iter().map(|entry| Step::of(segment, entry)).collect()
}

/// Returns once everything that has arrived by now is among the facts, so that figures include what their reader has
/// been told of.
///
/// # Errors
/// [`Error::Unavailable`] when that takes too long.
pub async fn caught_up(copies: &Copies) -> Result<(), Error> {
    let arrived = copies.last_arrival().await?;
    let until = Instant::now() + MOST_WAIT;
    loop {
        let projected = copies.projected().await?;
        if projected >= arrived {
            return Ok(());
        }
        if Instant::now() >= until {
            let behind = arrived - projected;
            return Err(Error::unavailable(format!(
                "the figures are {behind} segments behind the copies; repeat the call"
            )));
        }
        sleep(LOOK).await;
    }
}
