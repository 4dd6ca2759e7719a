//! Request ids: the same id and body give the same answer, with another body an error.
//!
//! A row holds the hash of the body and a reference to the resource, never a stored response, and is
//! kept for [`KEPT_FOR`].

use std::{collections::HashMap, time::Duration};

use sea_orm::ConnectionTrait;

use super::{RequestKey, Tx};
use crate::storage::{Failure, Storage, rows};

/// How long a request id is remembered.
pub const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// An earlier use of a request id.
#[derive(Debug, Clone)]
pub(super) struct Earlier {
    pub body_hash: Vec<u8>,
    pub resource: String,
    pub partition: u32,
    pub seq: u64,
}

/// Which of `keys` have been used before, by index.
pub(super) async fn find(tx: &Tx<'_>, keys: &[(usize, &RequestKey)]) -> Result<HashMap<usize, Earlier>, Failure> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let mut by_scope: HashMap<(&str, &str, &str), usize> = HashMap::new();
    for (index, key) in keys {
        by_scope.insert(key.scope(), *index);
    }
    let ids = keys.iter().map(|(_, key)| key.id.as_str().into()).collect();
    let sql = "SELECT caller, method, request_id, body_hash, resource, partition, seq FROM requests WHERE request_id IN ({keys})";
    let rows = rows::select_in(tx.db, sql, ids, |row| {
        let scope: (String, String, String) =
            (row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?);
        let earlier = Earlier {
            body_hash: row.try_get_by_index(3)?,
            resource: row.try_get_by_index(4)?,
            partition: u32::try_from(row.try_get_by_index::<i64>(5)?).unwrap_or(0),
            seq: u64::try_from(row.try_get_by_index::<i64>(6)?).unwrap_or(0),
        };
        Ok((scope, earlier))
    })
    .await?;
    let mut found = HashMap::new();
    for ((caller, method, id), earlier) in rows {
        if let Some(index) = by_scope.get(&(caller.as_str(), method.as_str(), id.as_str())) {
            found.insert(*index, earlier);
        }
    }
    Ok(found)
}

/// Remembers calls that were applied.
pub(super) async fn store(tx: &Tx<'_>, mut made: Vec<(&RequestKey, Earlier)>) -> Result<(), Failure> {
    if made.is_empty() {
        return Ok(());
    }
    made.sort_by(|(a, _), (b, _)| a.scope().cmp(&b.scope()));
    let count = made.len() as u64;
    let now = tx.now.as_microsecond();
    let values = made
        .into_iter()
        .map(|(key, earlier)| {
            [
                key.caller.as_str().into(),
                key.method.into(),
                key.id.as_str().into(),
                earlier.body_hash.into(),
                earlier.resource.into(),
                i64::from(earlier.partition).into(),
                i64::try_from(earlier.seq).unwrap_or(i64::MAX).into(),
                now.into(),
            ]
        })
        .collect();
    let columns = ["caller", "method", "request_id", "body_hash", "resource", "partition", "seq", "made_us"];
    let stored = rows::insert(tx.db, "requests", columns, values, "ON CONFLICT DO NOTHING").await?;
    if stored < count {
        // Another replica committed the same call in between: run again and answer from what it stored.
        return Err(Failure::Conflict("a request id was used by another replica at the same moment".into()));
    }
    Ok(())
}

/// Forgets request ids older than [`KEPT_FOR`], a bounded number at a time.
pub(crate) async fn forget_old(storage: &Storage, now: jiff::Timestamp) -> Result<u64, Failure> {
    let before = now.as_microsecond() - i64::try_from(KEPT_FOR.as_micros()).unwrap_or(i64::MAX);
    let tx = storage.begin().await?;
    let statement = storage.statement(
        "DELETE FROM requests WHERE (caller, method, request_id) IN
            (SELECT caller, method, request_id FROM requests WHERE made_us < $1 ORDER BY made_us LIMIT 5000)",
        [before.into()],
    );
    let gone = tx.execute_raw(statement).await?.rows_affected();
    tx.commit().await?;
    Ok(gone)
}
