//! The rows of messages, questions and cases.

use std::collections::HashMap;

use otklik_chassis::{
    lane::Tx,
    storage::{Failure, rows},
};
use otklik_proto::assignment::v1::CaseState;
use sea_orm::{DbErr, QueryResult, Value};
use uuid::Uuid;

use crate::domain::{
    case::{AnswerStage, CaseLife},
    message::{Intake, MessageLife, Question},
    standing::Standing,
};

/// Longest code stored; real ones are shorter.
const LONGEST: usize = 200;

/// A code from an entry as a text that every database takes.
fn text(code: &str) -> Value {
    let clean = code.len() <= LONGEST && !code.contains('\0');
    if clean { code.into() } else { code.chars().filter(|c| *c != '\0').take(LONGEST).collect::<String>().into() }
}

fn flag(value: bool) -> Value {
    i64::from(value).into()
}

fn keys(ids: &[Uuid]) -> Vec<Value> {
    ids.iter().map(|id| (*id).into()).collect()
}

/// The cases with these ids, as far as they are known.
pub(super) async fn cases(tx: &Tx<'_>, ids: &[Uuid]) -> Result<Vec<(Uuid, CaseLife)>, Failure> {
    rows::select_in(
        tx.db,
        "SELECT id, root, opened_us, received_us, assigned, executor_id, first_due_us, final_due_us, answer, stage,
                resolved_with, rated_answer, first_answer_us, final_answer_us, reopened_us, open_deliveries,
                rests_until_us, last_us, last_type
         FROM cases WHERE id IN ({keys})",
        keys(ids),
        read_case,
    )
    .await
}

fn read_case(row: &QueryResult) -> Result<(Uuid, CaseLife), DbErr> {
    let life = CaseLife {
        root: row.try_get_by_index(1)?,
        opened_us: row.try_get_by_index(2)?,
        received_us: row.try_get_by_index(3)?,
        assigned: i32::try_from(row.try_get_by_index::<i64>(4)?)
            .ok()
            .and_then(|state| CaseState::try_from(state).ok())
            .unwrap_or_default(),
        executor_id: row.try_get_by_index(5)?,
        first_due_us: row.try_get_by_index(6)?,
        final_due_us: row.try_get_by_index(7)?,
        answer: row.try_get_by_index(8)?,
        stage: match row.try_get_by_index::<i64>(9)? {
            1 => AnswerStage::Drafted,
            2 => AnswerStage::Approved,
            3 => AnswerStage::Published,
            4 => AnswerStage::SentBack,
            _ => AnswerStage::None,
        },
        resolved_with: row.try_get_by_index(10)?,
        rated_answer: row.try_get_by_index(11)?,
        first_answer_us: row.try_get_by_index(12)?,
        final_answer_us: row.try_get_by_index(13)?,
        reopened_us: row.try_get_by_index(14)?,
        open_deliveries: row.try_get_by_index(15)?,
        rests_until_us: row.try_get_by_index(16)?,
        last_us: row.try_get_by_index(17)?,
        last_type: row.try_get_by_index(18)?,
    };
    Ok((row.try_get_by_index(0)?, life))
}

/// A case as it is stored.
pub(super) struct CaseRow<'a> {
    pub id: Uuid,
    pub life: &'a CaseLife,
    pub standing: Standing,
    /// Working time from receipt to the first answer, in microseconds.
    pub first_work_us: Option<i64>,
    /// Working time from receipt to the final answer.
    pub final_work_us: Option<i64>,
}

const CASE_COLUMNS: [&str; 24] = [
    "id",
    "root",
    "opened_us",
    "received_us",
    "assigned",
    "executor_id",
    "first_due_us",
    "final_due_us",
    "answer",
    "stage",
    "resolved_with",
    "rated_answer",
    "first_answer_us",
    "final_answer_us",
    "first_work_us",
    "final_work_us",
    "reopened_us",
    "open_deliveries",
    "rests_until_us",
    "last_us",
    "last_type",
    "state",
    "waiting",
    "idle_us",
];

pub(super) async fn store_cases(tx: &Tx<'_>, mut cases: Vec<CaseRow<'_>>) -> Result<(), Failure> {
    cases.sort_by_key(|row| row.id);
    let values = cases.into_iter().map(|CaseRow { id, life, standing, first_work_us, final_work_us }| {
        [
            id.into(),
            life.root.into(),
            life.opened_us.into(),
            life.received_us.into(),
            i64::from(i32::from(life.assigned)).into(),
            text(&life.executor_id),
            life.first_due_us.into(),
            life.final_due_us.into(),
            life.answer.into(),
            (life.stage as i64).into(),
            life.resolved_with.into(),
            life.rated_answer.into(),
            life.first_answer_us.into(),
            life.final_answer_us.into(),
            first_work_us.into(),
            final_work_us.into(),
            life.reopened_us.into(),
            life.open_deliveries.into(),
            life.rests_until_us.into(),
            life.last_us.into(),
            text(&life.last_type),
            standing.state.into(),
            standing.waiting.number().into(),
            standing.idle_since_us.into(),
        ]
    });
    rows::insert(tx.db, "cases", CASE_COLUMNS, values.collect(), &overwrite("id", &CASE_COLUMNS[1..])).await?;
    Ok(())
}

/// The messages with these ids, as far as they are known, with their questions.
pub(super) async fn messages(tx: &Tx<'_>, ids: &[Uuid]) -> Result<HashMap<Uuid, MessageLife>, Failure> {
    let found = rows::select_in(
        tx.db,
        "SELECT id, root, source_id, published_us, received_us, recorded_us, intake, version, settled_version,
                classified, ratings, erasure_complied, last_us, last_type
         FROM messages WHERE id IN ({keys})",
        keys(ids),
        read_message,
    )
    .await?;
    let mut messages: HashMap<Uuid, MessageLife> = found.into_iter().collect();
    // Who isn't known has no questions either.
    let known: Vec<Uuid> = messages.keys().copied().collect();
    let questions = rows::select_in(
        tx.db,
        "SELECT message_id, question_id, topic_group, topic, place_id, present, in_review, needs_case, case_id
         FROM questions WHERE message_id IN ({keys})",
        keys(&known),
        read_question,
    )
    .await?;
    for (message, id, question) in questions {
        messages.entry(message).or_default().questions.insert(id, question);
    }
    Ok(messages)
}

fn read_message(row: &QueryResult) -> Result<(Uuid, MessageLife), DbErr> {
    let number = |index: usize| row.try_get_by_index::<i64>(index).map(|n| u32::try_from(n).unwrap_or(0));
    let life = MessageLife {
        root: row.try_get_by_index(1)?,
        source_id: row.try_get_by_index(2)?,
        published_us: row.try_get_by_index(3)?,
        received_us: row.try_get_by_index(4)?,
        recorded_us: row.try_get_by_index(5)?,
        intake: match row.try_get_by_index::<i64>(6)? {
            1 => Intake::Received,
            2 => Intake::Rejected,
            3 => Intake::Withdrawn,
            4 => Intake::Erased,
            _ => Intake::Unknown,
        },
        version: number(7)?,
        settled_version: number(8)?,
        classified: number(9)? != 0,
        ratings: number(10)?,
        erasure_complied: number(11)? != 0,
        questions: Default::default(),
        last_us: row.try_get_by_index(12)?,
        last_type: row.try_get_by_index(13)?,
    };
    Ok((row.try_get_by_index(0)?, life))
}

fn read_question(row: &QueryResult) -> Result<(Uuid, Uuid, Question), DbErr> {
    let question = Question {
        topic_group: row.try_get_by_index(2)?,
        topic: row.try_get_by_index(3)?,
        place_id: row.try_get_by_index(4)?,
        present: row.try_get_by_index::<i64>(5)? != 0,
        in_review: row.try_get_by_index::<i64>(6)? != 0,
        needs_case: row.try_get_by_index::<i64>(7)? != 0,
        case_id: row.try_get_by_index(8)?,
    };
    Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?, question))
}

const MESSAGE_COLUMNS: [&str; 17] = [
    "id",
    "root",
    "source_id",
    "published_us",
    "received_us",
    "recorded_us",
    "intake",
    "version",
    "settled_version",
    "classified",
    "ratings",
    "erasure_complied",
    "last_us",
    "last_type",
    "state",
    "waiting",
    "idle_us",
];

pub(super) async fn store_messages(
    tx: &Tx<'_>,
    mut messages: Vec<(Uuid, &MessageLife, Standing)>,
) -> Result<(), Failure> {
    messages.sort_by_key(|(id, ..)| *id);
    let values = messages.into_iter().map(|(id, life, standing)| {
        [
            id.into(),
            life.root.into(),
            text(&life.source_id),
            life.published_us.into(),
            life.received_us.into(),
            life.recorded_us.into(),
            (life.intake as i64).into(),
            i64::from(life.version).into(),
            i64::from(life.settled_version).into(),
            flag(life.classified),
            i64::from(life.ratings).into(),
            flag(life.erasure_complied),
            life.last_us.into(),
            text(&life.last_type),
            standing.state.into(),
            standing.waiting.number().into(),
            standing.idle_since_us.into(),
        ]
    });
    rows::insert(tx.db, "messages", MESSAGE_COLUMNS, values.collect(), &overwrite("id", &MESSAGE_COLUMNS[1..])).await?;
    Ok(())
}

const QUESTION_COLUMNS: [&str; 9] =
    ["message_id", "question_id", "topic_group", "topic", "place_id", "present", "in_review", "needs_case", "case_id"];

pub(super) async fn store_questions(tx: &Tx<'_>, mut questions: Vec<(Uuid, Uuid, &Question)>) -> Result<(), Failure> {
    questions.sort_by_key(|(message, id, _)| (*message, *id));
    let values = questions.into_iter().map(|(message, id, question)| {
        [
            message.into(),
            id.into(),
            text(&question.topic_group),
            text(&question.topic),
            text(&question.place_id),
            flag(question.present),
            flag(question.in_review),
            flag(question.needs_case),
            question.case_id.into(),
        ]
    });
    let tail = overwrite("message_id, question_id", &QUESTION_COLUMNS[2..]);
    rows::insert(tx.db, "questions", QUESTION_COLUMNS, values.collect(), &tail).await?;
    Ok(())
}

/// The messages whose questions are in these cases: case and message.
pub(super) async fn members(tx: &Tx<'_>, cases: &[Uuid]) -> Result<Vec<(Uuid, Uuid)>, Failure> {
    rows::select_in(tx.db, "SELECT case_id, message_id FROM questions WHERE case_id IN ({keys})", keys(cases), |row| {
        Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))
    })
    .await
}

fn overwrite(key: &str, columns: &[&str]) -> String {
    let columns: Vec<String> = columns.iter().map(|column| format!("{column} = excluded.{column}")).collect();
    format!("ON CONFLICT ({key}) DO UPDATE SET {}", columns.join(", "))
}
