//! One stream from an upstream, from the stored cursors until it ends or something gives way.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
    time::Duration,
};

use futures::future::try_join_all;
use otklik_proto::ledger::v1::{
    EntryHeader, Position, StreamEntriesRequest, StreamEntriesResponse, ledger_service_client::LedgerServiceClient,
};
use prost::Message;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{Consumer, Incoming, Subscriber};
use crate::{
    error::Error,
    lane::{Apply, Consumed, Cursor, Run, Stepped, load_cursors},
    ledger::chain::Follower,
    server::MESSAGE_LIMIT,
};

/// Entries asked for in one response.
const BATCH: u32 = 512;
/// Prepared responses that may wait for the lane.
const PREPARED: usize = 2;
/// A stream silent for longer is dead: heads come as a heartbeat well before.
const SILENCE: Duration = Duration::from_secs(20);
/// A cursor that moves only over entries that don't matter here is stored this rarely, in entries.
const LAZY_STEP: u64 = 20_000;

/// Every message type this binary knows.
static KNOWN_TYPES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let pool = otklik_proto::descriptor_pool();
    pool.all_messages().map(|m| m.full_name().to_owned()).collect()
});

/// The part of a response that concerns one partition.
struct Portion<C> {
    to: Cursor,
    consumed: Vec<Consumed<C>>,
}

/// Where a partition stands: as stored, and as scanned over entries that don't matter here.
struct Place {
    stored: Cursor,
    scanned: u64,
}

impl<S, A> Consumer<S, A>
where
    A: Apply,
    S: Subscriber<Command = A::Command>,
{
    /// Follows the upstream until its stream ends (`Ok`) or something fails.
    pub(super) async fn session(&self) -> Result<(), Error> {
        let stored = load_cursors(self.lane.storage(), self.upstream).await?;
        for cursor in &stored {
            self.seen.note(self.upstream, cursor);
        }
        let request = StreamEntriesRequest {
            after: stored.iter().map(position).collect(),
            skipped_types: self.skipped_types(),
            max_batch: BATCH,
            pace: prost_types::Duration::try_from(self.subscriber.pace()).ok(),
        };
        let mut client = LedgerServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT);
        let stream = client.stream_entries(request).await?.into_inner();
        let (prepared, portions) = mpsc::channel(PREPARED);
        let followers = stored.iter().map(|c| (c.partition, follower(c))).collect();
        let places = stored.into_iter().map(|c| (c.partition, Place { scanned: c.seq, stored: c })).collect();
        tokio::try_join!(self.receive(stream, followers, prepared), self.apply(places, portions))?;
        Ok(())
    }

    fn skipped_types(&self) -> Vec<String> {
        if self.subscriber.takes_everything() {
            return Vec::new();
        }
        let package = format!("otklik.{}.", self.upstream);
        let handled = self.subscriber.handles();
        KNOWN_TYPES
            .iter()
            .filter(|name| name.starts_with(&package) && !handled.contains(&name.as_str()))
            .cloned()
            .collect()
    }

    async fn receive(
        &self,
        mut stream: tonic::Streaming<StreamEntriesResponse>,
        mut followers: HashMap<u32, Follower>,
        prepared: mpsc::Sender<Vec<Portion<A::Command>>>,
    ) -> Result<(), Error> {
        loop {
            let next = tokio::time::timeout(SILENCE, stream.message()).await;
            let next = next.map_err(|_| Error::unavailable(format!("{} has gone silent", self.upstream)))?;
            let Some(response) = next? else { return Ok(()) };
            if self.subscriber.takes_everything() {
                self.verify(&response, &mut followers)?;
            }
            let portions = self.portions(response).await?;
            // The other half has ended: its error is what counts.
            if !portions.is_empty() && prepared.send(portions).await.is_err() {
                return Ok(());
            }
        }
    }

    fn verify(&self, response: &StreamEntriesResponse, followers: &mut HashMap<u32, Follower>) -> Result<(), Error> {
        for entry in &response.entries {
            let p = entry.position.as_ref().ok_or_else(|| self.broken("an entry has no position"))?;
            let incarnation = p.incarnation.parse().map_err(|_| self.broken("an incarnation is no UUID"))?;
            let follower = followers.entry(p.partition).or_insert_with(|| Follower::start(incarnation, p.partition));
            follower.step(entry).map_err(|e| self.broken(&format!("partition {}: {e}", p.partition)))?;
        }
        Ok(())
    }

    fn broken(&self, why: &str) -> Error {
        Error::internal(anyhow::anyhow!("the ledger of {} is broken: {why}", self.upstream))
    }

    async fn portions(&self, response: StreamEntriesResponse) -> Result<Vec<Portion<A::Command>>, Error> {
        let mut incoming = Vec::with_capacity(response.entries.len());
        for entry in response.entries {
            let header = EntryHeader::decode(entry.header.clone())
                .map_err(|e| Error::internal(anyhow::anyhow!("an entry header of {}: {e}", self.upstream)))?;
            if !self.subscriber.takes_everything() && !KNOWN_TYPES.contains(&entry.r#type) {
                if header.ignorable {
                    continue;
                }
                return Err(Error::internal(anyhow::anyhow!(
                    "{} writes entries of type {}, which this version of {} does not know: upgrade it",
                    self.upstream,
                    entry.r#type,
                    self.reader
                )));
            }
            incoming.push(Incoming { entry, header });
        }
        let consumed = if incoming.is_empty() { Vec::new() } else { self.prepare(incoming).await? };
        let mut by_partition: BTreeMap<u32, Vec<Consumed<A::Command>>> = BTreeMap::new();
        for one in consumed {
            let partition = one.entry.position.as_ref().map_or(0, |p| p.partition);
            by_partition.entry(partition).or_default().push(one);
        }
        let mut portions = Vec::with_capacity(response.scanned.len());
        for scanned in response.scanned {
            let incarnation: Uuid =
                scanned.incarnation.parse().map_err(|_| self.broken("an incarnation is no UUID"))?;
            portions.push(Portion {
                consumed: by_partition.remove(&scanned.partition).unwrap_or_default(),
                to: Cursor { incarnation, partition: scanned.partition, seq: scanned.seq, hash: scanned.hash.to_vec() },
            });
        }
        Ok(portions)
    }

    async fn apply(
        &self,
        mut places: HashMap<u32, Place>,
        mut prepared: mpsc::Receiver<Vec<Portion<A::Command>>>,
    ) -> Result<(), Error> {
        while let Some(portions) = prepared.recv().await {
            let mut steps = Vec::with_capacity(portions.len());
            for Portion { to, consumed } in portions {
                let place = places
                    .entry(to.partition)
                    .or_insert_with(|| Place { stored: Cursor::start(to.incarnation, to.partition), scanned: 0 });
                if to.seq <= place.scanned {
                    continue;
                }
                place.scanned = to.seq;
                if consumed.is_empty() && to.seq < place.stored.seq + LAZY_STEP {
                    self.seen.note(self.upstream, &to);
                    continue;
                }
                let from = std::mem::replace(&mut place.stored, to.clone());
                steps.push(self.step(Run {
                    reader: self.reader,
                    upstream: self.upstream.to_owned(),
                    from,
                    to,
                    consumed,
                    parked: false,
                }));
            }
            try_join_all(steps).await?;
        }
        Ok(())
    }

    async fn step(&self, run: Run<A::Command>) -> Result<(), Error> {
        let to = run.to.clone();
        match self.lane.step(run).await? {
            Stepped::Advanced { .. } => {
                self.seen.note(self.upstream, &to);
                Ok(())
            }
            Stepped::Moved => Err(Error::unavailable(format!("another replica is ahead over {}", self.upstream))),
        }
    }
}

fn follower(cursor: &Cursor) -> Follower {
    let mut follower = Follower::start(cursor.incarnation, cursor.partition);
    follower.seq = cursor.seq;
    if let Ok(hash) = cursor.hash.as_slice().try_into() {
        follower.hash = hash;
    }
    follower
}

pub(super) fn position(cursor: &Cursor) -> Position {
    Position {
        incarnation: cursor.incarnation.to_string(),
        partition: cursor.partition,
        seq: cursor.seq,
        hash: cursor.hash.clone().into(),
    }
}
