//! The append-only ledger of a service.
//!
//! `seq` is gapless: whoever appends holds the partition's head row until it commits, so that no
//! reader sees n+1 before n. Header, type and payload bytes are stored, hashed and streamed verbatim.

pub mod api;
pub mod chain;
mod draft;
mod stored;
mod tail;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use otklik_proto::ledger::v1::{Entry, Position};
use prost::Message;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, QueryResult};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    error::Error,
    storage::{Failure, Storage, rows},
};
use chain::{GENESIS, Hash, Link};
pub use draft::Draft;
pub use stored::{Verified, verify};
use tail::Tail;

/// A service's ledger. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    service: &'static str,
    storage: Storage,
    incarnation: Uuid,
    tails: Vec<Tail>,
    heads: watch::Sender<Vec<Head>>,
}

/// The last entry of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its seq, 0 while the partition is empty.
    pub seq: u64,
    /// Its hash, [`GENESIS`] while the partition is empty.
    pub hash: Hash,
}

/// How often a replica looks for entries that another replica has committed.
const FOLLOW_EVERY: Duration = Duration::from_millis(50);

impl Ledger {
    /// Opens the ledger of `service`, making it with `partitions` partitions when the database is new.
    /// The number of partitions of an existing ledger stays what it was.
    ///
    /// # Errors
    /// An outage of the database; [`Error::Invalid`] when the configured number contradicts the stored one.
    pub async fn open(service: &'static str, storage: Storage, partitions: u32) -> Result<Self, Error> {
        let tx = storage.begin().await?;
        let heads =
            (0..partitions.max(1)).map(|p| [i64::from(p).into(), 0i64.into(), GENESIS.to_vec().into()]).collect();
        let stored =
            tx.query_one_raw(storage.statement("SELECT incarnation, partitions FROM ledger_identity", [])).await?;
        let (incarnation, stored) = match stored {
            Some(row) => (row.try_get_by_index(0)?, row.try_get_by_index::<i64>(1)?),
            None => {
                // Replicas that start together meet at the head rows: one makes the identity, the others read it.
                rows::insert(&tx, "ledger_heads", ["partition", "seq", "hash"], heads, "ON CONFLICT DO NOTHING")
                    .await?;
                tx.execute_raw(storage.statement(
                    "INSERT INTO ledger_identity (incarnation, partitions)
                     SELECT $1, $2 WHERE NOT EXISTS (SELECT 1 FROM ledger_identity)",
                    [Uuid::new_v4().into(), i64::from(partitions.max(1)).into()],
                ))
                .await?;
                let row = tx
                    .query_one_raw(storage.statement("SELECT incarnation, partitions FROM ledger_identity", []))
                    .await?
                    .ok_or_else(|| Error::internal(anyhow::anyhow!("the ledger's identity was not stored")))?;
                (row.try_get_by_index(0)?, row.try_get_by_index::<i64>(1)?)
            }
        };
        tx.commit().await?;
        if stored != i64::from(partitions.max(1)) {
            return Err(Error::invalid(
                "partitions",
                format!("the ledger of {service} was created with {stored} partitions; set partitions = {stored}"),
            ));
        }
        let inner = Inner {
            service,
            incarnation,
            tails: (0..partitions.max(1)).map(|_| Tail::default()).collect(),
            heads: watch::Sender::new(Vec::new()),
            storage,
        };
        let ledger = Self { inner: Arc::new(inner) };
        ledger.refresh_heads().await?;
        Ok(ledger)
    }

    /// The service whose ledger this is.
    pub fn service(&self) -> &'static str {
        self.inner.service
    }

    /// Tells this ledger from one restored or made anew.
    pub fn incarnation(&self) -> Uuid {
        self.inner.incarnation
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> u32 {
        u32::try_from(self.inner.tails.len()).unwrap_or(u32::MAX)
    }

    /// The heads as last seen; changes wake whoever streams.
    pub fn heads(&self) -> watch::Receiver<Vec<Head>> {
        self.inner.heads.subscribe()
    }

    /// The partition of an aggregate: its last four bytes, which are random in ids of every kind used here.
    pub fn partition_of(&self, aggregate: Uuid) -> u32 {
        let b = aggregate.as_bytes();
        u32::from_be_bytes([b[12], b[13], b[14], b[15]]) % self.partitions()
    }

    /// The contract's form of a position.
    pub fn position(&self, partition: u32, seq: u64, hash: impl Into<Bytes>) -> Position {
        Position { incarnation: self.inner.incarnation.to_string(), partition, seq, hash: hash.into() }
    }

    /// Appends drafts inside `tx` and returns the entries in the order of the drafts. Takes the head rows
    /// last and in order, so nothing else may be locked after this.
    pub(crate) async fn append(&self, tx: &DatabaseTransaction, drafts: &[Draft]) -> Result<Vec<Entry>, Failure> {
        let mut by_partition: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (index, draft) in drafts.iter().enumerate() {
            by_partition.entry(self.partition_of(draft.aggregate)).or_default().push(index);
        }
        let mut entries = vec![Entry::default(); drafts.len()];
        for (partition, indexes) in by_partition {
            let mut head = self.lock_head(tx, partition).await?;
            let mut written = Vec::with_capacity(indexes.len());
            for index in indexes {
                let draft = &drafts[index];
                let header = draft.header.encode_to_vec();
                let previous = head.hash;
                head.seq += 1;
                head.hash = Link {
                    incarnation: self.inner.incarnation,
                    partition,
                    seq: head.seq,
                    previous: &previous,
                    header: &header,
                    entry_type: &draft.entry_type,
                    payload: &draft.payload,
                }
                .hash();
                written.push([
                    i64::from(partition).into(),
                    to_i64(head.seq).into(),
                    header.clone().into(),
                    draft.entry_type.as_str().into(),
                    draft.payload.to_vec().into(),
                    head.hash.to_vec().into(),
                ]);
                entries[index] = Entry {
                    position: Some(self.position(partition, head.seq, head.hash.to_vec())),
                    header: header.into(),
                    r#type: draft.entry_type.clone(),
                    payload: draft.payload.clone(),
                    previous_hash: previous.to_vec().into(),
                };
            }
            let columns = ["partition", "seq", "header", "entry_type", "payload", "hash"];
            rows::insert(tx, "ledger_entries", columns, written, "").await?;
            tx.execute_raw(self.inner.storage.statement(
                "UPDATE ledger_heads SET seq = $1, hash = $2 WHERE partition = $3",
                [to_i64(head.seq).into(), head.hash.to_vec().into(), i64::from(partition).into()],
            ))
            .await?;
        }
        Ok(entries)
    }

    async fn lock_head(&self, tx: &DatabaseTransaction, partition: u32) -> Result<Head, Failure> {
        let sql = match self.inner.storage.backend() {
            DbBackend::Sqlite => "SELECT seq, hash FROM ledger_heads WHERE partition = $1",
            _ => "SELECT seq, hash FROM ledger_heads WHERE partition = $1 FOR UPDATE",
        };
        let row = tx
            .query_one_raw(self.inner.storage.statement(sql, [i64::from(partition).into()]))
            .await?
            .ok_or_else(|| Failure::Refused(format!("ledger_heads has no row for partition {partition}")))?;
        read_head(&row)
    }

    /// Makes committed entries visible to readers of this process: called once the commit has succeeded.
    pub(crate) fn publish(&self, entries: &[Entry]) {
        if entries.is_empty() {
            return;
        }
        let mut by_partition: BTreeMap<usize, Vec<Entry>> = BTreeMap::new();
        for entry in entries {
            let partition = entry.position.as_ref().map_or(0, |p| p.partition);
            by_partition.entry(partition as usize).or_default().push(entry.clone());
        }
        self.inner.heads.send_modify(|heads| {
            for (partition, run) in &by_partition {
                self.inner.tails[*partition].push(run);
                if let Some(last) = run.last().and_then(|e| e.position.as_ref())
                    && last.seq > heads[*partition].seq
                {
                    let mut hash = GENESIS;
                    hash.copy_from_slice(&last.hash);
                    heads[*partition] = Head { seq: last.seq, hash };
                }
            }
        });
    }

    /// Reads the heads from the database and wakes the readers when another replica moved them.
    ///
    /// # Errors
    /// An outage of the database.
    pub async fn refresh_heads(&self) -> Result<(), Failure> {
        let statement = self.inner.storage.statement("SELECT seq, hash FROM ledger_heads ORDER BY partition", []);
        let rows = self.inner.storage.reader().query_all_raw(statement).await?;
        let stored = rows.iter().map(read_head).collect::<Result<Vec<_>, _>>()?;
        self.inner.heads.send_if_modified(|heads| {
            if heads.len() != stored.len() {
                *heads = stored;
                return true;
            }
            let mut moved = false;
            for (known, stored) in heads.iter_mut().zip(stored) {
                if stored.seq > known.seq {
                    *known = stored;
                    moved = true;
                }
            }
            moved
        });
        Ok(())
    }

    /// Follows what other replicas commit; on SQLite there are none. Runs until dropped.
    pub async fn follow(&self) {
        if self.inner.storage.backend() == DbBackend::Sqlite {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(FOLLOW_EVERY).await;
            if let Err(error) = self.refresh_heads().await {
                tracing::debug!(%error, "can't read the ledger's heads");
            }
        }
    }

    /// Up to `limit` entries of `partition` after `after`, oldest first.
    ///
    /// # Errors
    /// An outage of the database.
    pub async fn read(&self, partition: u32, after: u64, limit: usize) -> Result<Vec<Entry>, Failure> {
        let Some(tail) = self.inner.tails.get(partition as usize) else { return Ok(Vec::new()) };
        if let Some(entries) = tail.after(after, limit) {
            return Ok(entries);
        }
        let previous = self.hash_at(partition, after).await?.unwrap_or(GENESIS);
        stored::read(&self.inner.storage, self.inner.incarnation, partition, after, previous, limit).await
    }

    /// The hash of the entry at `seq`, [`GENESIS`] at 0, `None` where there is no entry.
    ///
    /// # Errors
    /// An outage of the database.
    pub async fn hash_at(&self, partition: u32, seq: u64) -> Result<Option<Hash>, Failure> {
        if seq == 0 {
            return Ok(Some(GENESIS));
        }
        let statement = self.inner.storage.statement(
            "SELECT seq, hash FROM ledger_entries WHERE partition = $1 AND seq = $2",
            [i64::from(partition).into(), to_i64(seq).into()],
        );
        let row = self.inner.storage.reader().query_one_raw(statement).await?;
        Ok(row.as_ref().map(read_head).transpose()?.map(|head| head.hash))
    }

    /// Checks that `position` was given out by this ledger and is still part of it.
    ///
    /// # Errors
    /// [`Error::Cursor`] naming what does not fit.
    pub async fn check(&self, position: &Position) -> Result<(), Error> {
        let Position { incarnation, partition, seq, hash } = position;
        let foreign = |what: String| Error::Cursor {
            description: format!(
                "position {incarnation}/{partition}/{seq} does not belong to the ledger of {}: {what}. The ledger was \
                 restored or made anew, or the position is another service's; compare both before starting from 0",
                self.inner.service
            ),
        };
        if *partition >= self.partitions() {
            return Err(foreign(format!("it has {} partitions", self.partitions())));
        }
        if *seq == 0 {
            return Ok(());
        }
        if *incarnation != self.inner.incarnation.to_string() {
            return Err(foreign(format!("its incarnation is {}", self.inner.incarnation)));
        }
        match self.hash_at(*partition, *seq).await? {
            None => Err(foreign("there is no such entry".into())),
            Some(stored) if stored[..] != hash[..] => Err(foreign("the entry there has another hash".into())),
            Some(_) => Ok(()),
        }
    }
}

fn read_head(row: &QueryResult) -> Result<Head, Failure> {
    let stored: Vec<u8> = row.try_get_by_index(1)?;
    let hash = Hash::try_from(stored.as_slice())
        .map_err(|_| Failure::Refused(format!("a stored hash has {} bytes instead of 32", stored.len())))?;
    Ok(Head { seq: to_u64(row.try_get_by_index(0)?), hash })
}

pub(crate) fn to_i64(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

pub(crate) fn to_u64(seq: i64) -> u64 {
    u64::try_from(seq).unwrap_or(0)
}
