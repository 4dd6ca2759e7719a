//! How far the lifecycle traces have been exported, and what must be known of entries to do so.

use std::collections::HashMap;

use otklik_chassis::{
    error::Error,
    lane::Tx,
    storage::{Failure, Storage, rows},
};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Value};
use uuid::Uuid;

use super::writer::Reply;
use crate::domain::span::Origin;

/// Where an entry is stored: the number of its segment and its place in it.
pub type Place = (i64, u8);

/// What a receiver has accepted.
#[derive(Debug, Clone)]
pub struct Traced {
    /// The last segment exported before.
    pub from: i64,
    /// The last segment exported now.
    pub to: i64,
    /// Entries up to there that wait: what caused them has not arrived yet.
    pub waiting: Vec<Place>,
    /// Entries that waited before and have been exported now.
    pub done: Vec<Place>,
    /// Spans that the receiver rejected.
    pub rejected: i64,
}

/// Moves the progress; [`Reply::Moved`] when it no longer stood at `from`.
pub(super) async fn store(tx: &Tx<'_>, traced: &Traced) -> Result<Reply, Failure> {
    let statement = tx.statement(
        "UPDATE progress SET number = $1, rejected = rejected + $2 WHERE name = 'traces' AND number = $3",
        [traced.to.into(), traced.rejected.into(), traced.from.into()],
    );
    if tx.db.execute_raw(statement).await?.rows_affected() != 1 {
        return Ok(Reply::Moved);
    }
    for (segment, place) in &traced.done {
        let statement = tx.statement(
            "DELETE FROM untraced WHERE segment = $1 AND place = $2",
            [(*segment).into(), i64::from(*place).into()],
        );
        tx.db.execute_raw(statement).await?;
    }
    let rows = traced.waiting.iter().map(|(segment, place)| [(*segment).into(), i64::from(*place).into()]);
    rows::insert(tx.db, "untraced", ["segment", "place"], rows.collect(), "ON CONFLICT DO NOTHING").await?;
    Ok(Reply::Done)
}

/// Reads what the export needs.
#[derive(Debug, Clone)]
pub struct TraceStore {
    storage: Storage,
}

impl TraceStore {
    /// Reads from a database.
    #[must_use]
    pub fn new(storage: Storage) -> Self {
        Self { storage }
    }

    /// The last segment exported, and how many spans receivers have rejected so far.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn progress(&self) -> Result<(i64, i64), Error> {
        let statement = self.storage.statement("SELECT number, rejected FROM progress WHERE name = 'traces'", []);
        let row = self.storage.reader().query_one_raw(statement).await?;
        Ok(row
            .map(|row| Ok::<_, DbErr>((row.try_get_by_index(0)?, row.try_get_by_index(1)?)))
            .transpose()?
            .unwrap_or_default())
    }

    /// Entries that wait for what caused them, in order of arrival after `after`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn waiting(&self, after: Place, limit: i64) -> Result<Vec<Place>, Error> {
        let statement = self.storage.statement(
            "SELECT segment, place FROM untraced WHERE (segment, place) > ($1, $2) ORDER BY segment, place LIMIT $3",
            [after.0.into(), i64::from(after.1).into(), limit.into()],
        );
        let rows = self.storage.reader().query_all_raw(statement).await?;
        let read = |row: &QueryResult| {
            Ok((row.try_get_by_index(0)?, u8::try_from(row.try_get_by_index::<i64>(1)?).unwrap_or(0)))
        };
        Ok(rows.iter().map(read).collect::<Result<_, DbErr>>()?)
    }

    /// The root entries of traces, as far as they have arrived.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn roots(&self, traces: &[Uuid]) -> Result<HashMap<Uuid, Origin>, Error> {
        let keys: Vec<Value> = traces.iter().map(|id| (*id).into()).collect();
        let read = |row: &QueryResult| {
            let origin = Origin { entry: row.try_get_by_index(1)?, recorded_us: row.try_get_by_index(2)? };
            Ok((row.try_get_by_index(0)?, origin))
        };
        let mut roots = HashMap::with_capacity(traces.len());
        for sql in [
            "SELECT id, root, recorded_us FROM messages WHERE id IN ({keys}) AND root IS NOT NULL AND recorded_us IS NOT NULL",
            "SELECT id, root, opened_us FROM cases WHERE id IN ({keys}) AND root IS NOT NULL AND opened_us IS NOT NULL",
        ] {
            roots.extend(rows::select_in(self.storage.reader(), sql, keys.clone(), read).await?);
        }
        Ok(roots)
    }

    /// The messages of cases.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn members(&self, cases: &[Uuid]) -> Result<HashMap<Uuid, Vec<Uuid>>, Error> {
        let found = rows::select_in(
            self.storage.reader(),
            "SELECT DISTINCT case_id, message_id FROM questions WHERE case_id IN ({keys})",
            cases.iter().map(|id| (*id).into()).collect(),
            |row| Ok((row.try_get_by_index::<Uuid>(0)?, row.try_get_by_index::<Uuid>(1)?)),
        )
        .await?;
        let mut members: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
        for (case, message) in found {
            members.entry(case).or_default().push(message);
        }
        for messages in members.values_mut() {
            messages.sort_unstable();
        }
        Ok(members)
    }
}
