//! Following another service's ledger: at least once delivered, exactly once in effect.
//!
//! Entries are prepared outside any transaction (other services may be asked), then applied together
//! with the step of the cursor through the writer lane. Outages never park anything; an entry that
//! fails deterministically is parked by position, and what concerns the same aggregates waits behind it.

pub(crate) mod parking;
mod retry;
mod session;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use otklik_proto::ledger::v1::{Entry, EntryHeader};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    client::Channel,
    error::Error,
    lane::{Apply, Consumed, Lane},
    run::Tasks,
    seen::Seen,
};

/// What a service makes of another's entries.
#[async_trait]
pub trait Subscriber: Send + Sync + 'static {
    /// What an entry asks this service to do.
    type Command: Send + Sync + 'static;

    /// Full names of the types that matter here. Types known to this binary and not named are left out by the
    /// producer; a type unknown to this binary stops the consumer, unless the entry is ignorable.
    fn handles(&self) -> &'static [&'static str];

    /// Turns entries into commands, one answer for each and in their order. May ask other services.
    ///
    /// # Errors
    /// An outage of whatever was asked: the entries are prepared again later. What is wrong with a single
    /// entry is said by [`Prepared::Refuse`].
    async fn prepare(&self, entries: &[Incoming]) -> Result<Vec<Prepared<Self::Command>>, Error>;

    /// How close batches that are not full may follow each other: each costs a transaction, so a little patience
    /// under load saves most of them, while a lone entry still travels at once.
    fn pace(&self) -> Duration {
        Duration::from_millis(10)
    }

    /// Whether every entry is wanted, known type or not, and the hash chain is verified before anything is
    /// prepared: for who keeps copies.
    fn takes_everything(&self) -> bool {
        false
    }
}

/// An entry as it came, with its header decoded.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// The entry, verbatim.
    pub entry: Entry,
    /// Its header.
    pub header: EntryHeader,
}

impl Incoming {
    /// The payload as `M`.
    ///
    /// # Errors
    /// [`Error::Internal`] when it isn't one: the entry is then parked.
    pub fn payload<M: prost::Message + Default>(&self) -> Result<M, Error> {
        M::decode(self.entry.payload.clone())
            .map_err(|e| Error::internal(anyhow::anyhow!("the payload of a {} can't be read: {e}", self.entry.r#type)))
    }

    /// The aggregate and every message and case concerned.
    pub fn subjects(&self) -> Vec<Uuid> {
        let ids = std::iter::once(&self.header.aggregate_id).chain(&self.header.subject_ids);
        ids.filter_map(|id| id.parse().ok()).collect()
    }
}

/// What one entry asks for.
#[derive(Debug)]
pub enum Prepared<C> {
    /// Nothing.
    Skip,
    /// This.
    Apply(C),
    /// It can't be understood and never will be: park it.
    Refuse(Error),
}

/// Wakes the retry of parked entries of all upstreams.
pub type RetrySignal = Arc<Notify>;

/// One consumer: a subscriber, its upstream and where its commands go.
pub(crate) struct Consumer<S, A: Apply> {
    subscriber: S,
    reader: &'static str,
    upstream: &'static str,
    channel: Channel,
    lane: Lane<A>,
    seen: Seen,
}

/// Back-off after a failed session: the first, doubled up to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

impl<S, A> Consumer<S, A>
where
    A: Apply,
    S: Subscriber<Command = A::Command>,
{
    pub(crate) fn new(subscriber: S, upstream: &'static str, channel: Channel, lane: Lane<A>, seen: Seen) -> Self {
        let reader = lane.ledger().service();
        Self { subscriber, reader, upstream, channel, lane, seen }
    }

    /// Spawns the consumer and the retry of what it parked; both end when `stopping` is cancelled.
    pub(crate) fn spawn(self, retry: RetrySignal, tasks: &Tasks, stopping: CancellationToken) {
        let consumer = Arc::new(self);
        let retrying = consumer.clone();
        let token = stopping.clone();
        tasks.spawn("parked-retry", async move {
            let _ = token.run_until_cancelled(retrying.retry_for_ever(retry)).await;
            Ok(())
        });
        tasks.spawn("consumer", async move {
            let _ = stopping.run_until_cancelled(consumer.follow_for_ever()).await;
            Ok(())
        });
    }

    async fn follow_for_ever(&self) {
        let mut pause = BACKOFF.0;
        loop {
            match self.session().await {
                Ok(()) => pause = BACKOFF.0,
                Err(error) => {
                    if error.is_outage() {
                        tracing::debug!(upstream = self.upstream, %error, "waiting for the upstream");
                    } else {
                        tracing::error!(upstream = self.upstream, %error, "the ledger can't be followed");
                    }
                    let jitter = rand::random_range(0.5..1.0);
                    tokio::time::sleep(pause.mul_f64(jitter)).await;
                    pause = (pause * 2).min(BACKOFF.1);
                }
            }
        }
    }

    async fn prepare(&self, incoming: Vec<Incoming>) -> Result<Vec<Consumed<A::Command>>, Error> {
        let prepared = self.subscriber.prepare(&incoming).await?;
        if prepared.len() != incoming.len() {
            return Err(Error::internal(anyhow::anyhow!(
                "{} entries were prepared as {}",
                incoming.len(),
                prepared.len()
            )));
        }
        let mut consumed = Vec::with_capacity(incoming.len());
        for (incoming, prepared) in incoming.into_iter().zip(prepared) {
            let command = match prepared {
                Prepared::Skip => continue,
                Prepared::Apply(command) => Ok(command),
                Prepared::Refuse(error) => Err(error),
            };
            let subjects = incoming.subjects();
            consumed.push(Consumed { entry: incoming.entry, entry_id: incoming.header.entry_id, subjects, command });
        }
        Ok(consumed)
    }
}
