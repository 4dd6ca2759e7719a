//! Entries as they lie in the database: read for streams, and verified as a whole from the files.

use bytes::Bytes;
use otklik_proto::ledger::v1::{Entry, Position};
use sea_orm::ConnectionTrait;
use uuid::Uuid;

use super::{
    chain::{Break, Follower, Hash},
    read_head, to_i64, to_u64,
};
use crate::{
    error::Error,
    storage::{Failure, Storage},
};

/// Up to `limit` entries of a partition after `after`, whose own hash is `previous`, oldest first.
pub(super) async fn read(
    storage: &Storage,
    incarnation: Uuid,
    partition: u32,
    after: u64,
    previous: Hash,
    limit: usize,
) -> Result<Vec<Entry>, Failure> {
    let statement = storage.statement(
        "SELECT seq, header, entry_type, payload, hash FROM ledger_entries
         WHERE partition = $1 AND seq > $2 ORDER BY seq LIMIT $3",
        [i64::from(partition).into(), to_i64(after).into(), i64::try_from(limit).unwrap_or(i64::MAX).into()],
    );
    let rows = storage.reader().query_all_raw(statement).await?;
    let incarnation = incarnation.to_string();
    let mut previous: Bytes = previous.to_vec().into();
    let mut entries = Vec::with_capacity(rows.len());
    for row in &rows {
        let hash: Bytes = row.try_get_by_index::<Vec<u8>>(4)?.into();
        let seq = to_u64(row.try_get_by_index(0)?);
        entries.push(Entry {
            position: Some(Position { incarnation: incarnation.clone(), partition, seq, hash: hash.clone() }),
            header: row.try_get_by_index::<Vec<u8>>(1)?.into(),
            r#type: row.try_get_by_index(2)?,
            payload: row.try_get_by_index::<Vec<u8>>(3)?.into(),
            previous_hash: std::mem::replace(&mut previous, hash),
        });
    }
    Ok(entries)
}

/// What was found in one partition of a stored ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The partition.
    pub partition: u32,
    /// Entries, from the first, whose hash and link are right.
    pub seq: u64,
    /// Why the entry after them is not; `None` when the chain is whole up to its head.
    pub broken: Option<Break>,
}

/// Entries read at a time: short reads, so that a running writer is not held up.
const PAGE: usize = 1000;

/// Verifies the whole ledger in `storage`, beside a running service or without it.
///
/// # Errors
/// An outage of the database, or a database without a ledger.
pub async fn verify(storage: &Storage) -> Result<Vec<Verified>, Error> {
    let db = storage.reader();
    let identity = db.query_one_raw(storage.statement("SELECT incarnation FROM ledger_identity", [])).await?;
    let identity = identity.ok_or_else(|| Error::internal(anyhow::anyhow!("{storage:?} holds no ledger")))?;
    let incarnation: Uuid = identity.try_get_by_index(0)?;
    let heads =
        db.query_all_raw(storage.statement("SELECT seq, hash FROM ledger_heads ORDER BY partition", [])).await?;
    let mut verified = Vec::with_capacity(heads.len());
    for (partition, row) in (0u32..).zip(&heads) {
        let head = read_head(row)?;
        let mut follower = Follower::start(incarnation, partition);
        let broken = loop {
            if follower.seq >= head.seq {
                break None;
            }
            let page = read(storage, incarnation, partition, follower.seq, follower.hash, PAGE).await?;
            if page.is_empty() {
                break Some(Break::Gap { expected: follower.seq + 1, found: head.seq });
            }
            if let Some(broken) = page.iter().find_map(|entry| follower.step(entry).err()) {
                break Some(broken);
            }
        };
        verified.push(Verified { partition, seq: follower.seq, broken });
    }
    Ok(verified)
}
