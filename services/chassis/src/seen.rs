//! How far this service has consumed the others, and reading one's own writes through it.
//!
//! Each mutation returns its position. A call to another service may carry it in the metadata
//! `otklik-after` (`service/incarnation/partition/seq`, repeatable); that service answers once it has
//! seen that far.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use otklik_proto::ledger::v1::Position;
use tokio::sync::watch;
use tonic::metadata::MetadataMap;

use crate::{error::Error, lane::Cursor};

/// The metadata key of a position that the answer must have seen.
pub const AFTER: &str = "otklik-after";

/// The value of [`AFTER`] for a position in the ledger of `service`.
pub fn after(service: &str, position: &Position) -> String {
    format!("{service}/{}/{}/{}", position.incarnation, position.partition, position.seq)
}

/// The cursors of this process over all its upstreams. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Seen {
    service: &'static str,
    cursors: Arc<watch::Sender<BTreeMap<(String, u32), Cursor>>>,
}

impl Seen {
    /// Nothing seen yet by `service`.
    pub fn new(service: &'static str) -> Self {
        Self { service, cursors: Arc::default() }
    }

    pub(crate) fn note(&self, upstream: &str, cursor: &Cursor) {
        self.cursors.send_modify(|cursors| {
            cursors.insert((upstream.to_owned(), cursor.partition), cursor.clone());
        });
    }

    /// All cursors: upstream and position, in order.
    pub fn positions(&self) -> Vec<(String, Position)> {
        let cursors = self.cursors.borrow();
        cursors
            .iter()
            .map(|((upstream, partition), cursor)| {
                let position = Position {
                    incarnation: cursor.incarnation.to_string(),
                    partition: *partition,
                    seq: cursor.seq,
                    hash: cursor.hash.clone().into(),
                };
                (upstream.clone(), position)
            })
            .collect()
    }

    /// Waits until everything named in `metadata` has been seen, at most `patience`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a value that is no position; [`Error::Cursor`] for a position of another
    /// incarnation; [`Error::Unavailable`] when it has not been seen in time.
    pub async fn wait(&self, metadata: &MetadataMap, patience: Duration) -> Result<(), Error> {
        for value in metadata.get_all(AFTER) {
            let wanted = Wanted::parse(value.to_str().unwrap_or_default())?;
            // What this service wrote itself is visible as soon as it was answered.
            if wanted.service != self.service {
                self.wait_for(&wanted, patience).await?;
            }
        }
        Ok(())
    }

    async fn wait_for(&self, wanted: &Wanted<'_>, patience: Duration) -> Result<(), Error> {
        let key = (wanted.service.to_owned(), wanted.partition);
        let mut changes = self.cursors.subscribe();
        let reached = changes.wait_for(|cursors| cursors.get(&key).is_some_and(|c| c.seq >= wanted.seq));
        let reached = tokio::time::timeout(patience, reached).await.map_err(|_| late(wanted))?;
        let cursors = reached.map_err(|_| late(wanted))?;
        match cursors.get(&key) {
            Some(c) if c.incarnation.to_string() != wanted.incarnation => Err(Error::Cursor {
                description: format!("{AFTER}: the ledger of {} has incarnation {}", wanted.service, c.incarnation),
            }),
            _ => Ok(()),
        }
    }
}

fn late(wanted: &Wanted<'_>) -> Error {
    Error::unavailable(format!(
        "entry {}/{} of {} has not been seen here yet; repeat the call",
        wanted.partition, wanted.seq, wanted.service
    ))
}

struct Wanted<'a> {
    service: &'a str,
    incarnation: &'a str,
    partition: u32,
    seq: u64,
}

impl<'a> Wanted<'a> {
    fn parse(value: &'a str) -> Result<Self, Error> {
        let parts: Vec<&str> = value.split('/').collect();
        if let [service, incarnation, partition, seq] = parts[..]
            && let (Ok(partition), Ok(seq)) = (partition.parse(), seq.parse())
        {
            return Ok(Self { service, incarnation, partition, seq });
        }
        Err(Error::invalid(AFTER, "must be service/incarnation/partition/seq"))
    }
}
