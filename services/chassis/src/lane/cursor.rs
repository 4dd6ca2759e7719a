//! Cursors over other services' ledgers: moved by compare-and-set in the transaction of the effects.

use sea_orm::{ConnectionTrait, QueryResult};
use uuid::Uuid;

use super::Tx;
use crate::{
    ledger::chain::GENESIS,
    storage::{Failure, Storage},
};

/// How far one partition of an upstream has been consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub incarnation: Uuid,
    pub partition: u32,
    pub seq: u64,
    pub hash: Vec<u8>,
}

impl Cursor {
    /// Before the first entry.
    pub(crate) fn start(incarnation: Uuid, partition: u32) -> Self {
        Self { incarnation, partition, seq: 0, hash: GENESIS.to_vec() }
    }
}

/// The stored cursors over `upstream`, by partition.
pub(crate) async fn load_cursors(storage: &Storage, upstream: &str) -> Result<Vec<Cursor>, Failure> {
    let statement = storage.statement(
        "SELECT incarnation, partition, seq, hash FROM cursors WHERE upstream = $1 ORDER BY partition",
        [upstream.into()],
    );
    let rows = storage.reader().query_all_raw(statement).await?;
    rows.iter().map(read).collect()
}

fn read(row: &QueryResult) -> Result<Cursor, Failure> {
    Ok(Cursor {
        incarnation: row.try_get_by_index(0)?,
        partition: u32::try_from(row.try_get_by_index::<i64>(1)?).unwrap_or(0),
        seq: u64::try_from(row.try_get_by_index::<i64>(2)?).unwrap_or(0),
        hash: row.try_get_by_index(3)?,
    })
}

/// Moves the cursor from `from` to `to`; false when it no longer stood at `from`.
pub(super) async fn advance(tx: &Tx<'_>, upstream: &str, from: &Cursor, to: &Cursor) -> Result<bool, Failure> {
    let seq = i64::try_from(to.seq).unwrap_or(i64::MAX);
    let statement = if from.seq == 0 {
        tx.statement(
            "INSERT INTO cursors (upstream, partition, incarnation, seq, hash) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            [upstream.into(), i64::from(to.partition).into(), to.incarnation.into(), seq.into(), to.hash.clone().into()],
        )
    } else {
        tx.statement(
            "UPDATE cursors SET seq = $1, hash = $2
             WHERE upstream = $3 AND partition = $4 AND incarnation = $5 AND seq = $6 AND hash = $7",
            [
                seq.into(),
                to.hash.clone().into(),
                upstream.into(),
                i64::from(to.partition).into(),
                from.incarnation.into(),
                i64::try_from(from.seq).unwrap_or(i64::MAX).into(),
                from.hash.clone().into(),
            ],
        )
    };
    Ok(tx.db.execute_raw(statement).await?.rows_affected() == 1)
}
