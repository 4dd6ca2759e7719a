//! Reading cases outside the writer.

use std::collections::HashMap;

use otklik_chassis::{
    error::Error,
    storage::{Storage, rows},
};
use otklik_proto::{assignment::v1::CaseState, classification::v1::Urgency};
use sea_orm::{ConnectionTrait, Value};
use uuid::Uuid;

use super::{cases, members, writer::Snapshot};
use crate::domain::{case::Case, state};

/// Which cases are wanted; what is unset selects all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Held by this executor.
    pub executor_id: Option<String>,
    /// In one of these states; empty: in any.
    pub states: Vec<CaseState>,
    /// Of this group of topics.
    pub topic_group: Option<String>,
    /// Of this topic.
    pub topic: Option<String>,
    /// Concerning this place.
    pub place_id: Option<String>,
    /// Of this urgency.
    pub urgency: Option<Urgency>,
    /// With a deadline that has passed by this time before it was met.
    pub overdue_at_us: Option<i64>,
    /// With a deadline before this time that is not met yet.
    pub due_before_us: Option<i64>,
    /// That this message joined.
    pub message_id: Option<Uuid>,
    /// That no rule could route.
    pub fallback: bool,
    /// That have not ended.
    pub open: bool,
}

/// A case by its id.
///
/// # Errors
/// [`Error::NotFound`]; an outage of the database.
pub async fn get(storage: &Storage, id: Uuid) -> Result<Snapshot, Error> {
    batch(storage, vec![id]).await?.pop().ok_or_else(|| Error::not_found("case", id))
}

/// The cases of these ids that are known, in the order asked for.
///
/// # Errors
/// An outage of the database.
pub async fn batch(storage: &Storage, ids: Vec<Uuid>) -> Result<Vec<Snapshot>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT {} FROM cases WHERE case_id IN ({{keys}})", cases::columns());
    let keys = ids.iter().copied().map(Value::from).collect();
    let mut found: HashMap<Uuid, Case> = rows::select_in(storage.reader(), &sql, keys, cases::read)
        .await?
        .into_iter()
        .map(|case| (case.id, case))
        .collect();
    let ordered = ids.iter().filter_map(|id| found.remove(id)).collect();
    with_members(storage, ordered).await
}

/// Up to `limit` cases that match, the latest opened first, after the one with id `after`.
///
/// # Errors
/// An outage of the database.
pub async fn list(storage: &Storage, filter: &Filter, after: Option<Uuid>, limit: u64) -> Result<Vec<Snapshot>, Error> {
    let mut query = Query::default();
    if let Some(id) = &filter.executor_id {
        query.and("executor_id = ?", id.as_str());
    }
    if !filter.states.is_empty() {
        let states: Vec<String> = filter.states.iter().map(|state| i32::from(*state).to_string()).collect();
        query.and_plain(&format!("state IN ({})", states.join(", ")));
    }
    if filter.open || (!filter.states.is_empty() && !filter.states.iter().any(|state| state::is_closed(*state))) {
        query.and_plain("is_open = 1");
    }
    if let Some(code) = &filter.topic_group {
        query.and("topic_group = ?", code.as_str());
    }
    if let Some(code) = &filter.topic {
        query.and("topic = ?", code.as_str());
    }
    if let Some(id) = &filter.place_id {
        query.and("case_id IN (SELECT case_id FROM case_places WHERE place_id = ?)", id.as_str());
    }
    if let Some(urgency) = filter.urgency {
        query.and("urgency = ?", i64::from(i32::from(urgency)));
    }
    if let Some(now_us) = filter.overdue_at_us {
        query.and("(is_missed = 1 OR next_due_us < ?)", now_us);
    }
    if let Some(due_us) = filter.due_before_us {
        query.and("next_due_us < ?", due_us);
    }
    if let Some(id) = filter.message_id {
        query.and("case_id IN (SELECT case_id FROM members WHERE message_id = ?)", id);
    }
    if filter.fallback {
        query.and_plain("fallback = 1");
    }
    if let Some(id) = after {
        query.and("case_id < ?", id);
    }
    let sql = format!("SELECT {} FROM cases{} ORDER BY case_id DESC LIMIT {limit}", cases::columns(), query.conditions);
    let rows = storage.reader().query_all_raw(storage.statement(&sql, query.values)).await?;
    let found = rows.iter().map(cases::read).collect::<Result<_, _>>()?;
    with_members(storage, found).await
}

/// Up to `limit` cases whose timers are due by `now_us`, those that are due first first.
///
/// # Errors
/// An outage of the database.
pub async fn due(storage: &Storage, now_us: i64, limit: u32) -> Result<Vec<Uuid>, Error> {
    let sql = format!(
        "SELECT case_id FROM cases WHERE timer_us IS NOT NULL AND timer_us <= $1 ORDER BY timer_us LIMIT {limit}"
    );
    let rows = storage.reader().query_all_raw(storage.statement(&sql, [now_us.into()])).await?;
    Ok(rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, _>>()?)
}

/// When the next timer is due.
///
/// # Errors
/// An outage of the database.
pub async fn next_timer(storage: &Storage) -> Result<Option<i64>, Error> {
    let sql = "SELECT timer_us FROM cases WHERE timer_us IS NOT NULL ORDER BY timer_us LIMIT 1";
    let row = storage.reader().query_one_raw(storage.statement(sql, [])).await?;
    Ok(row.map(|row| row.try_get_by_index(0)).transpose()?)
}

async fn with_members(storage: &Storage, found: Vec<Case>) -> Result<Vec<Snapshot>, Error> {
    let mut by_case: HashMap<Uuid, Vec<_>> = HashMap::new();
    for member in members::of_cases(storage.reader(), found.iter().map(|case| case.id).collect()).await? {
        by_case.entry(member.case_id).or_default().push(member);
    }
    Ok(found.into_iter().map(|case| Snapshot { members: by_case.remove(&case.id).unwrap_or_default(), case }).collect())
}

/// Conditions joined by AND, with their values.
#[derive(Default)]
struct Query {
    conditions: String,
    values: Vec<Value>,
}

impl Query {
    /// A condition with one value at its `?`.
    fn and(&mut self, condition: &str, value: impl Into<Value>) {
        self.values.push(value.into());
        self.and_plain(&condition.replace('?', &format!("${}", self.values.len())));
    }

    fn and_plain(&mut self, condition: &str) {
        self.conditions.push_str(if self.conditions.is_empty() { " WHERE " } else { " AND " });
        self.conditions.push_str(condition);
    }
}
