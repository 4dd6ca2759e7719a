//! Cases and their members as a set of commands sees and changes them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use otklik_chassis::{
    lane::Tx,
    storage::{Failure, rows},
};
use sea_orm::{DbErr, QueryResult};
use uuid::Uuid;

use super::{codes, command::Fate};
use crate::domain::case::{Answered, Case};

/// The columns that [`read_case`] reads.
pub(super) const CASE_COLUMNS: &str = "case_id, number, state, executor_id, round, answered_round, answer_id";

/// The cases that a set of commands concerns. What is changed here is written once, at the end of the set.
#[derive(Debug, Default)]
pub(super) struct Cases {
    known: HashMap<Uuid, Case>,
    changed: BTreeSet<Uuid>,
}

pub(super) fn read_case(row: &QueryResult) -> Result<Case, DbErr> {
    let round: Option<i64> = row.try_get_by_index(5)?;
    let answer_id: Option<Uuid> = row.try_get_by_index(6)?;
    let answered =
        answer_id.zip(round).map(|(answer_id, round)| Answered { answer_id, round: u32::try_from(round).unwrap_or(0) });
    Ok(Case {
        id: row.try_get_by_index(0)?,
        number: row.try_get_by_index(1)?,
        state: codes::code(row, 2)?,
        executor_id: row.try_get_by_index(3)?,
        round: codes::count(row, 4)?,
        answered,
    })
}

impl Cases {
    /// Reads and locks cases, in the order of their ids.
    pub(super) async fn lock(tx: &Tx<'_>, ids: BTreeSet<Uuid>) -> Result<Self, Failure> {
        if ids.is_empty() {
            return Ok(Self::default());
        }
        let sql =
            format!("SELECT {CASE_COLUMNS} FROM cases WHERE case_id IN ({{keys}}) ORDER BY case_id{}", tx.for_update());
        let keys = ids.into_iter().map(Into::into).collect();
        let found = rows::select_in(tx.db, &sql, keys, read_case).await?;
        Ok(Self { known: found.into_iter().map(|case| (case.id, case)).collect(), changed: BTreeSet::new() })
    }

    pub(super) fn get(&self, id: Uuid) -> Option<&Case> {
        self.known.get(&id)
    }

    /// The case, to be changed.
    pub(super) fn change(&mut self, id: Uuid) -> Option<&mut Case> {
        let case = self.known.get_mut(&id)?;
        self.changed.insert(id);
        Some(case)
    }

    pub(super) fn add(&mut self, case: Case) {
        self.changed.insert(case.id);
        self.known.insert(case.id, case);
    }

    /// Writes what was changed.
    pub(super) async fn write(&self, tx: &Tx<'_>) -> Result<(), Failure> {
        let written = self
            .changed
            .iter()
            .filter_map(|id| self.known.get(id))
            .map(|case| {
                [
                    case.id.into(),
                    case.number.as_str().into(),
                    i64::from(i32::from(case.state)).into(),
                    case.executor_id.as_str().into(),
                    i64::from(case.round).into(),
                    case.answered.map(|answered| i64::from(answered.round)).into(),
                    case.answered.map(|answered| answered.answer_id).into(),
                ]
            })
            .collect();
        let columns = ["case_id", "number", "state", "executor_id", "round", "answered_round", "answer_id"];
        let tail = "ON CONFLICT (case_id) DO UPDATE SET state = excluded.state, executor_id = excluded.executor_id,
            round = excluded.round, answered_round = excluded.answered_round, answer_id = excluded.answer_id";
        rows::insert(tx.db, "cases", columns, written, tail).await?;
        Ok(())
    }
}

/// Adds members to cases; who is one already stays one.
pub(super) async fn add_members(tx: &Tx<'_>, joined: BTreeSet<(Uuid, Uuid)>) -> Result<(), Failure> {
    let written = joined.into_iter().map(|(case, message)| [case.into(), message.into()]).collect();
    rows::insert(tx.db, "members", ["case_id", "message_id"], written, "ON CONFLICT DO NOTHING").await?;
    Ok(())
}

/// The members of cases, by case.
pub(super) async fn members_of(tx: &Tx<'_>, cases: BTreeSet<Uuid>) -> Result<BTreeMap<Uuid, Vec<Uuid>>, Failure> {
    let sql = "SELECT case_id, message_id FROM members WHERE case_id IN ({keys}) ORDER BY case_id, message_id";
    Ok(grouped(pairs(tx, sql, cases).await?))
}

/// The cases of messages, by message.
pub(super) async fn cases_of(tx: &Tx<'_>, messages: BTreeSet<Uuid>) -> Result<BTreeMap<Uuid, Vec<Uuid>>, Failure> {
    let sql = "SELECT message_id, case_id FROM members WHERE message_id IN ({keys}) ORDER BY message_id, case_id";
    Ok(grouped(pairs(tx, sql, messages).await?))
}

/// What became of those messages that are gone.
pub(super) async fn fates_of(tx: &Tx<'_>, messages: BTreeSet<Uuid>) -> Result<HashMap<Uuid, Fate>, Failure> {
    let sql = "SELECT message_id, fate FROM gone_messages WHERE message_id IN ({keys})";
    let keys = messages.into_iter().map(Into::into).collect();
    let found = rows::select_in(tx.db, sql, keys, |row| {
        let fate = if row.try_get_by_index::<i64>(1)? == ERASED { Fate::Erased } else { Fate::Withdrawn };
        Ok((row.try_get_by_index(0)?, fate))
    })
    .await?;
    Ok(found.into_iter().collect())
}

const WITHDRAWN: i64 = 1;
const ERASED: i64 = 2;

/// Remembers messages that are gone. What is erased stays so.
pub(super) async fn remember_gone(tx: &Tx<'_>, gone: BTreeMap<Uuid, Fate>) -> Result<(), Failure> {
    let written = gone
        .into_iter()
        .map(|(message, fate)| [message.into(), if fate == Fate::Erased { ERASED } else { WITHDRAWN }.into()])
        .collect();
    let tail = "ON CONFLICT (message_id) DO UPDATE SET fate = excluded.fate WHERE gone_messages.fate < excluded.fate";
    rows::insert(tx.db, "gone_messages", ["message_id", "fate"], written, tail).await?;
    Ok(())
}

async fn pairs(tx: &Tx<'_>, sql: &str, keys: BTreeSet<Uuid>) -> Result<Vec<(Uuid, Uuid)>, Failure> {
    let keys = keys.into_iter().map(Into::into).collect();
    rows::select_in(tx.db, sql, keys, |row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).await
}

fn grouped(pairs: Vec<(Uuid, Uuid)>) -> BTreeMap<Uuid, Vec<Uuid>> {
    let mut groups: BTreeMap<Uuid, Vec<Uuid>> = BTreeMap::new();
    for (key, value) in pairs {
        groups.entry(key).or_default().push(value);
    }
    groups
}
