//! Entries that could not be applied, by position, and those that wait behind them.

use std::collections::HashSet;

use otklik_proto::ledger::v1::Entry;
use prost::Message;
use sea_orm::{ConnectionTrait, QueryResult};
use uuid::Uuid;

use crate::{
    error::Error,
    lane::Tx,
    storage::{Failure, Storage, rows},
};

/// Parked entries of one upstream past which a consumer refuses to go on: somebody must look first.
pub const MOST_PARKED: usize = 10_000;

/// Removes one entry by its place.
const REMOVE: &str = "DELETE FROM parked WHERE upstream = $1 AND partition = $2 AND seq = $3";

/// An entry about to be parked.
pub(crate) struct Parked<'a> {
    /// Whose run it belongs to.
    pub part: usize,
    pub upstream: &'a str,
    pub entry: &'a Entry,
    pub subjects: &'a [Uuid],
    /// Why; `None` when it only waits behind another.
    pub error: Option<Error>,
}

/// A stored parked entry.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub upstream: String,
    pub entry: Entry,
    pub error: String,
    pub trace_id: String,
    pub behind: bool,
    pub attempts: u32,
    pub parked_us: i64,
}

/// Stores what is parked; an entry parked again counts one attempt more.
pub(crate) async fn store(tx: &Tx<'_>, parked: &[Parked<'_>]) -> Result<(), Failure> {
    let values = parked
        .iter()
        .map(|p| {
            let position = p.entry.position.clone().unwrap_or_default();
            let trace_id = p.subjects.first().map(|id| id.simple().to_string()).unwrap_or_default();
            [
                p.upstream.into(),
                i64::from(position.partition).into(),
                i64::try_from(position.seq).unwrap_or(i64::MAX).into(),
                p.entry.encode_to_vec().into(),
                p.subjects.iter().flat_map(|id| *id.as_bytes()).collect::<Vec<u8>>().into(),
                p.error.as_ref().map(ToString::to_string).unwrap_or_default().into(),
                trace_id.into(),
                i64::from(p.error.is_none()).into(),
                1i64.into(),
                tx.now.as_microsecond().into(),
            ]
        })
        .collect();
    let columns =
        ["upstream", "partition", "seq", "entry", "subjects", "error", "trace_id", "behind", "attempts", "parked_us"];
    let again = "ON CONFLICT (upstream, partition, seq) DO UPDATE
                 SET error = excluded.error, behind = excluded.behind, attempts = parked.attempts + 1";
    rows::insert(tx.db, "parked", columns, values, again).await?;
    Ok(())
}

/// Removes entries that have been applied after all.
pub(crate) async fn release(tx: &Tx<'_>, applied: &[(&str, u32, u64)]) -> Result<(), Failure> {
    for (upstream, partition, seq) in applied {
        tx.db
            .execute_raw(tx.statement(
                REMOVE,
                [(*upstream).into(), i64::from(*partition).into(), i64::try_from(*seq).unwrap_or(i64::MAX).into()],
            ))
            .await?;
    }
    Ok(())
}

/// Removes an entry that asks for nothing after all.
pub(crate) async fn forget(storage: &Storage, upstream: &str, partition: u32, seq: u64) -> Result<(), Failure> {
    let tx = storage.begin().await?;
    let place = [upstream.into(), i64::from(partition).into(), i64::try_from(seq).unwrap_or(i64::MAX).into()];
    tx.execute_raw(storage.statement(REMOVE, place)).await?;
    tx.commit().await?;
    Ok(())
}

/// The messages, cases and other aggregates that something parked is about.
pub(crate) async fn blocked(tx: &Tx<'_>, upstream: &str) -> Result<HashSet<Uuid>, Failure> {
    let statement = tx.statement("SELECT subjects FROM parked WHERE upstream = $1", [upstream.into()]);
    let mut blocked = HashSet::new();
    let rows = tx.db.query_all_raw(statement).await?;
    if rows.len() > MOST_PARKED {
        return Err(Failure::Outage(format!("{} entries of {upstream} are parked; see ListParked", rows.len())));
    }
    for row in rows {
        let subjects: Vec<u8> = row.try_get_by_index(0)?;
        blocked.extend(subjects.chunks_exact(16).filter_map(|id| Uuid::from_slice(id).ok()));
    }
    Ok(blocked)
}

/// Parked entries in order, after `(upstream, partition, seq)`.
pub(crate) async fn list(
    storage: &Storage,
    upstream: &str,
    failed_only: bool,
    after: (&str, u32, u64),
    limit: usize,
) -> Result<Vec<Stored>, Failure> {
    let statement = storage.statement(
        "SELECT upstream, entry, error, trace_id, behind, attempts, parked_us FROM parked
         WHERE ($1 = '' OR upstream = $1) AND ($2 = 0 OR behind = 0) AND (upstream, partition, seq) > ($3, $4, $5)
         ORDER BY upstream, partition, seq LIMIT $6",
        [
            upstream.into(),
            i64::from(failed_only).into(),
            after.0.into(),
            i64::from(after.1).into(),
            i64::try_from(after.2).unwrap_or(i64::MAX).into(),
            i64::try_from(limit).unwrap_or(i64::MAX).into(),
        ],
    );
    let rows = storage.reader().query_all_raw(statement).await?;
    rows.iter().map(read).collect()
}

fn read(row: &QueryResult) -> Result<Stored, Failure> {
    let entry: Vec<u8> = row.try_get_by_index(1)?;
    Ok(Stored {
        upstream: row.try_get_by_index(0)?,
        entry: Entry::decode(entry.as_slice()).map_err(|e| Failure::Refused(format!("a parked entry: {e}")))?,
        error: row.try_get_by_index(2)?,
        trace_id: row.try_get_by_index(3)?,
        behind: row.try_get_by_index::<i64>(4)? != 0,
        attempts: u32::try_from(row.try_get_by_index::<i64>(5)?).unwrap_or(u32::MAX),
        parked_us: row.try_get_by_index(6)?,
    })
}

/// How many entries are parked: by upstream, failed and waiting.
pub(crate) async fn counts(storage: &Storage) -> Result<Vec<(String, u64, u64)>, Failure> {
    let statement = storage.statement(
        "SELECT upstream, count(*) - CAST(sum(behind) AS BIGINT), CAST(sum(behind) AS BIGINT) FROM parked GROUP BY upstream",
        [],
    );
    let rows = storage.reader().query_all_raw(statement).await?;
    rows.iter()
        .map(|row| {
            let failed: i64 = row.try_get_by_index(1)?;
            let waiting: i64 = row.try_get_by_index(2)?;
            Ok((row.try_get_by_index(0)?, failed.unsigned_abs(), waiting.unsigned_abs()))
        })
        .collect()
}
