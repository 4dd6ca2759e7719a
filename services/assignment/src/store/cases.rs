//! Rows of `cases`.

use otklik_chassis::{
    lane::Tx,
    storage::{Failure, rows},
};
use otklik_proto::{
    assignment::v1::{CaseState, Outcome, SuspendReason},
    classification::v1::{QuestionKind, Urgency},
    intake::v1::{Regime, SourceKind},
};
use sea_orm::{DbErr, QueryResult, Value};
use uuid::Uuid;

use crate::domain::{
    calendar::Pause,
    case::{Case, Number, Subject, Suspension},
    clocks::{Clocks, Deadline, Terms, read_term, spell_term},
};

/// How many columns there are.
const WIDTH: usize = 40;

/// The columns, in the order of reading and writing.
const COLUMNS: [&str; WIDTH] = [
    "case_id",
    "number",
    "state",
    "version",
    "executor_id",
    "rule_id",
    "fallback",
    "regime",
    "topic",
    "topic_group",
    "kind",
    "urgency",
    "place_ids",
    "source_id",
    "source_kind",
    "published_us",
    "received_us",
    "opened_us",
    "updated_us",
    "first_start_us",
    "first_due_us",
    "first_met_us",
    "first_under",
    "resolution_start_us",
    "resolution_due_us",
    "resolution_met_us",
    "resolution_under",
    "paused_working_us",
    "paused_calendar_us",
    "interim_us",
    "suspend_reason",
    "suspended_us",
    "timer_us",
    "outcome",
    "answer_id",
    "resolved_us",
    "reopen_count",
    "next_due_us",
    "is_missed",
    "is_open",
];

/// The columns that never change.
const FIXED: [&str; 7] = ["case_id", "number", "regime", "source_id", "source_kind", "published_us", "received_us"];

/// The columns, for a `SELECT` from `cases`.
pub fn columns() -> String {
    COLUMNS.join(", ")
}

/// The cases of these ids, locked until the transaction ends, in the order of their keys.
///
/// # Errors
/// Those of the database.
pub async fn lock(tx: &Tx<'_>, ids: impl IntoIterator<Item = Uuid>) -> Result<Vec<Case>, Failure> {
    let mut ids: Vec<Uuid> = ids.into_iter().collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql =
        format!("SELECT {} FROM cases WHERE case_id IN ({{keys}}) ORDER BY case_id{}", columns(), tx.for_update());
    rows::select_in(tx.db, &sql, ids.into_iter().map(Value::from).collect(), read).await
}

/// Writes new and changed cases.
///
/// # Errors
/// Those of the database.
pub async fn save(tx: &Tx<'_>, mut cases: Vec<&Case>) -> Result<(), Failure> {
    cases.sort_unstable_by_key(|case| case.id);
    let (new, changed): (Vec<&Case>, Vec<&Case>) = cases.into_iter().partition(|case| case.version == 1);
    let values = |cases: Vec<&Case>| cases.into_iter().map(row).collect();
    rows::insert(tx.db, "cases", COLUMNS, values(new), "").await?;
    if !changed.is_empty() {
        let set: Vec<String> = COLUMNS
            .iter()
            .filter(|column| !FIXED.contains(column))
            .map(|column| format!("{column} = excluded.{column}"))
            .collect();
        let tail = format!("ON CONFLICT (case_id) DO UPDATE SET {}", set.join(", "));
        rows::insert(tx.db, "cases", COLUMNS, values(changed), &tail).await?;
    }
    Ok(())
}

fn row(case: &Case) -> [Value; WIDTH] {
    let first = case.clocks.first_response.as_ref();
    let resolution = case.clocks.resolution.as_ref();
    let number = |n: i32| Value::from(i64::from(n));
    let flag = |f: bool| Value::from(i64::from(f));
    [
        case.id.into(),
        (i64::from(case.number.year) * SERIALS + i64::from(case.number.serial)).into(),
        number(case.state.into()),
        case.version.into(),
        case.executor_id.as_str().into(),
        case.rule_id.as_str().into(),
        flag(case.fallback),
        number(case.regime.into()),
        case.subject.topic.as_str().into(),
        case.subject.topic_group.as_str().into(),
        number(case.subject.kind.into()),
        number(case.subject.urgency.into()),
        case.subject.place_ids.join(",").into(),
        case.source_id.as_str().into(),
        number(case.source_kind.into()),
        case.published_us.into(),
        case.received_us.into(),
        case.opened_us.into(),
        case.updated_us.into(),
        first.map(|d| d.start_us).into(),
        first.map(|d| d.due_us).into(),
        first.and_then(|d| d.met_us).into(),
        first.map(under).into(),
        resolution.map(|d| d.start_us).into(),
        resolution.map(|d| d.due_us).into(),
        resolution.and_then(|d| d.met_us).into(),
        resolution.map(under).into(),
        case.clocks.pause.working_us.into(),
        case.clocks.pause.calendar_us.into(),
        case.interim_us.into(),
        number(case.suspension.map_or(SuspendReason::Unspecified, |s| s.reason).into()),
        case.suspension.map(|s| s.since_us).into(),
        case.timer_us().into(),
        number(case.outcome.into()),
        case.answer_id.into(),
        case.resolved_us.into(),
        i64::from(case.reopen_count).into(),
        case.next_due_us().into(),
        flag(case.clocks.is_missed()),
        flag(!case.is_closed()),
    ]
}

/// Numbers of one year at the most, as they are stored.
const SERIALS: i64 = 1_000_000_000;

/// Reads a row of [`columns`].
///
/// # Errors
/// A row that this binary can't have written.
pub fn read(row: &QueryResult) -> Result<Case, DbErr> {
    let mut at = 0..;
    let mut next = || at.next().unwrap_or(WIDTH);
    macro_rules! column {
        () => {
            row.try_get_by_index(next())?
        };
        (number) => {
            small(row.try_get_by_index::<i64>(next())?)
        };
    }
    let id = column!();
    let number: i64 = column!();
    let state = column!(number);
    let version = column!();
    let executor_id = column!();
    let rule_id = column!();
    let fallback = column!(number) != 0;
    let regime = column!(number);
    let (topic, topic_group) = (column!(), column!());
    let (kind, urgency) = (column!(number), column!(number));
    let place_ids: String = column!();
    let source_id = column!();
    let source_kind = column!(number);
    let (published_us, received_us, opened_us, updated_us) = (column!(), column!(), column!(), column!());
    let first_response = deadline((column!(), column!(), column!(), column!()))?;
    let resolution = deadline((column!(), column!(), column!(), column!()))?;
    let pause = Pause { working_us: column!(), calendar_us: column!() };
    let interim_us = column!();
    let suspend_reason = column!(number);
    let suspended_us: Option<i64> = column!();
    let timer_us: Option<i64> = column!();
    let outcome = column!(number);
    let (answer_id, resolved_us) = (column!(), column!());
    let reopen_count = column!(number);
    let suspension = suspended_us.map(|since_us| Suspension {
        reason: SuspendReason::try_from(suspend_reason).unwrap_or_default(),
        since_us,
        until_us: timer_us.unwrap_or(since_us),
    });
    Ok(Case {
        id,
        number: Number {
            year: i16::try_from(number / SERIALS).unwrap_or(0),
            serial: u32::try_from(number % SERIALS).unwrap_or(0),
        },
        state: CaseState::try_from(state).map_err(unreadable)?,
        version,
        executor_id,
        rule_id,
        fallback,
        regime: Regime::try_from(regime).unwrap_or_default(),
        subject: Subject {
            topic,
            topic_group,
            kind: QuestionKind::try_from(kind).unwrap_or_default(),
            urgency: Urgency::try_from(urgency).unwrap_or_default(),
            place_ids: place_ids.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect(),
        },
        source_id,
        source_kind: SourceKind::try_from(source_kind).unwrap_or_default(),
        published_us,
        received_us,
        opened_us,
        updated_us,
        clocks: Clocks { first_response, resolution, pause },
        interim_us,
        rating_end_us: if suspension.is_none() { timer_us } else { None },
        suspension,
        outcome: Outcome::try_from(outcome).unwrap_or_default(),
        answer_id,
        resolved_us,
        reopen_count: u32::try_from(reopen_count).unwrap_or(0),
    })
}

/// What a deadline was set under, as it is stored: term, policy, versions of policies and calendar.
fn under(deadline: &Deadline) -> String {
    let Terms { policy, policies, calendar } = &deadline.terms;
    format!("{} {policy} {policies} {calendar}", spell_term(deadline.term))
}

type DeadlineColumns = (Option<i64>, Option<i64>, Option<i64>, Option<String>);

fn deadline((start_us, due_us, met_us, under): DeadlineColumns) -> Result<Option<Deadline>, DbErr> {
    let (Some(start_us), Some(due_us), Some(under)) = (start_us, due_us, under) else { return Ok(None) };
    let words: Vec<&str> = under.split(' ').collect();
    let [term, policy, policies, calendar] = words[..] else { return Err(unreadable(&under)) };
    let term = read_term(term).ok_or_else(|| unreadable(&under))?;
    let terms = Terms { policy: policy.to_owned(), policies: policies.to_owned(), calendar: calendar.to_owned() };
    Ok(Some(Deadline { start_us, term, due_us, met_us, terms }))
}

fn unreadable(what: impl std::fmt::Display) -> DbErr {
    DbErr::Type(format!("a row of cases holds what no case can: {what}"))
}

/// Enumerations and small counts are stored as 64-bit integers.
fn small(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(-1)
}
