//! Trying parked entries again: at the start, when asked to, and now and then.

use std::{collections::HashSet, time::Duration};

use otklik_proto::ledger::v1::EntryHeader;
use prost::Message;
use uuid::Uuid;

use super::{Consumer, Incoming, RetrySignal, Subscriber, parking};
use crate::{
    error::Error,
    lane::{Apply, Cursor, Run, Stepped},
};

/// How often parked entries are tried again without being asked.
const EVERY: Duration = Duration::from_secs(60);
/// Parked entries read at a time.
const PAGE: usize = 256;

impl<S, A> Consumer<S, A>
where
    A: Apply,
    S: Subscriber<Command = A::Command>,
{
    pub(super) async fn retry_for_ever(&self, signal: RetrySignal) {
        loop {
            match self.retry_parked().await {
                Ok(0) => {}
                Ok(applied) => tracing::info!(upstream = self.upstream, applied, "parked entries were applied"),
                Err(error) => tracing::debug!(upstream = self.upstream, %error, "parked entries were not tried"),
            }
            let _ = tokio::time::timeout(EVERY, signal.notified()).await;
        }
    }

    /// Tries every parked entry once, in order; what concerns the same as one that failed again goes on waiting.
    async fn retry_parked(&self) -> Result<usize, Error> {
        let mut failing: HashSet<Uuid> = HashSet::new();
        let mut after = (String::new(), 0, 0);
        let mut applied = 0;
        loop {
            let place = (after.0.as_str(), after.1, after.2);
            let page = parking::list(self.lane.storage(), self.upstream, false, place, PAGE).await?;
            let Some(last) = page.last().and_then(|p| p.entry.position.clone()) else { return Ok(applied) };
            after = (self.upstream.to_owned(), last.partition, last.seq);
            for stored in page {
                let header = EntryHeader::decode(stored.entry.header.clone())
                    .map_err(|e| Error::internal(anyhow::anyhow!("a parked header: {e}")))?;
                let incoming = Incoming { entry: stored.entry, header };
                let subjects = incoming.subjects();
                if subjects.iter().any(|id| failing.contains(id)) || !self.retry(incoming).await? {
                    failing.extend(subjects);
                } else {
                    applied += 1;
                }
            }
        }
    }

    async fn retry(&self, incoming: Incoming) -> Result<bool, Error> {
        let position = incoming.entry.position.clone().unwrap_or_default();
        let consumed = self.prepare(vec![incoming]).await?;
        if consumed.is_empty() {
            // This version of the service wants nothing of it any more.
            parking::forget(self.lane.storage(), self.upstream, position.partition, position.seq).await?;
            return Ok(true);
        }
        let cursor = Cursor::start(position.incarnation.parse().unwrap_or_default(), position.partition);
        let run = Run {
            reader: self.reader,
            upstream: self.upstream.to_owned(),
            from: cursor.clone(),
            to: cursor,
            consumed,
            parked: true,
        };
        Ok(self.lane.step(run).await? == Stepped::Advanced { parked: 0 })
    }
}
