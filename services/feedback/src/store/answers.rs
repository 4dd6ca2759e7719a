//! Rows of answers and of their words.

use std::collections::{BTreeMap, BTreeSet};

use otklik_chassis::{
    lane::Tx,
    storage::{Failure, rows},
};
use sea_orm::{DbErr, QueryResult};
use uuid::Uuid;

use super::codes;
use crate::domain::{
    answer::{Answer, Terms, Wording},
    commitment::SALT,
};

/// The columns that [`read_answer`] reads; `a` is the answer, `t` its words.
pub(super) const COLUMNS: &str =
    "a.answer_id, a.case_id, a.kind, a.state, a.outcome, a.promise_date, a.template_id, a.revision,
    a.version, a.drafted_by, a.approved_by, a.send_back_reason, a.drafted_us, a.approved_us, a.published_us,
    t.text, t.salt, t.proof_urls, t.send_back_comment";

/// Where [`COLUMNS`] come from.
pub(super) const TABLES: &str = "answers a LEFT JOIN answer_texts t ON t.answer_id = a.answer_id";

pub(super) fn read_answer(row: &QueryResult) -> Result<(Answer, Wording), DbErr> {
    let promise_date: String = row.try_get_by_index(5)?;
    let answer = Answer {
        id: row.try_get_by_index(0)?,
        case_id: row.try_get_by_index(1)?,
        terms: Terms {
            kind: codes::code(row, 2)?,
            outcome: codes::code(row, 4)?,
            promise_date: promise_date.parse().ok(),
            template_id: row.try_get_by_index(6)?,
        },
        state: codes::code(row, 3)?,
        revision: codes::count(row, 7)?,
        version: codes::count(row, 8)?,
        drafted_by: row.try_get_by_index(9)?,
        approved_by: row.try_get_by_index(10)?,
        send_back_reason: codes::code(row, 11)?,
        drafted: codes::time(row, 12)?,
        approved: codes::optional_time(row, 13)?,
        published: codes::optional_time(row, 14)?,
    };
    let text: Option<String> = row.try_get_by_index(15)?;
    let wording = match text {
        None => Wording::default(),
        Some(text) => {
            let salt: Vec<u8> = row.try_get_by_index(16)?;
            let urls: String = row.try_get_by_index(17)?;
            Wording {
                text,
                salt: <[u8; SALT]>::try_from(salt.as_slice()).unwrap_or_default(),
                proof_urls: urls.lines().map(str::to_owned).collect(),
                send_back_comment: row.try_get_by_index(18)?,
            }
        }
    };
    Ok((answer, wording))
}

/// Answers that a set of commands concerns, with what was changed.
#[derive(Debug, Default)]
pub(super) struct Answers {
    known: BTreeMap<Uuid, (Answer, Wording)>,
    changed: BTreeSet<Uuid>,
    reworded: BTreeSet<Uuid>,
}

impl Answers {
    /// Reads and locks answers, in the order of their ids.
    pub(super) async fn lock(tx: &Tx<'_>, ids: BTreeSet<Uuid>) -> Result<Self, Failure> {
        if ids.is_empty() {
            return Ok(Self::default());
        }
        // The words have no row of their own to lock: they change with their answer.
        let lock = if tx.for_update().is_empty() { String::new() } else { format!("{} OF a", tx.for_update()) };
        let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE a.answer_id IN ({{keys}}) ORDER BY a.answer_id{lock}");
        let keys = ids.into_iter().map(Into::into).collect();
        let found = rows::select_in(tx.db, &sql, keys, read_answer).await?;
        let known = found.into_iter().map(|(answer, wording)| (answer.id, (answer, wording))).collect();
        Ok(Self { known, ..Self::default() })
    }

    /// The cases of the answers.
    pub(super) fn cases(&self) -> impl Iterator<Item = Uuid> {
        self.known.values().map(|(answer, _)| answer.case_id)
    }

    pub(super) fn get(&self, id: Uuid) -> Option<&(Answer, Wording)> {
        self.known.get(&id)
    }

    /// Keeps an answer as it is now; `wording` only when the words are others.
    pub(super) fn put(&mut self, answer: Answer, wording: Option<Wording>) {
        let id = answer.id;
        self.changed.insert(id);
        if wording.is_some() {
            self.reworded.insert(id);
        }
        let words = wording.or_else(|| self.known.remove(&id).map(|(_, words)| words)).unwrap_or_default();
        self.known.insert(id, (answer, words));
    }

    /// Writes what was changed.
    pub(super) async fn write(&self, tx: &Tx<'_>) -> Result<(), Failure> {
        let changed = self.changed.iter().filter_map(|id| self.known.get(id));
        let written = changed.map(|(answer, _)| row(answer)).collect();
        let columns = [
            "answer_id",
            "case_id",
            "kind",
            "state",
            "outcome",
            "promise_date",
            "template_id",
            "revision",
            "version",
            "drafted_by",
            "approved_by",
            "send_back_reason",
            "drafted_us",
            "approved_us",
            "published_us",
        ];
        let tail = "ON CONFLICT (answer_id) DO UPDATE SET kind = excluded.kind, state = excluded.state,
            outcome = excluded.outcome, promise_date = excluded.promise_date, template_id = excluded.template_id,
            revision = excluded.revision, version = excluded.version, drafted_by = excluded.drafted_by,
            approved_by = excluded.approved_by, send_back_reason = excluded.send_back_reason,
            drafted_us = excluded.drafted_us, approved_us = excluded.approved_us, published_us = excluded.published_us";
        rows::insert(tx.db, "answers", columns, written, tail).await?;

        let reworded = self.reworded.iter().filter_map(|id| self.known.get(id));
        let written = reworded
            .map(|(answer, words)| {
                [
                    answer.id.into(),
                    words.text.as_str().into(),
                    words.salt.to_vec().into(),
                    words.proof_urls.join("\n").into(),
                    words.send_back_comment.as_str().into(),
                ]
            })
            .collect();
        let columns = ["answer_id", "text", "salt", "proof_urls", "send_back_comment"];
        let tail = "ON CONFLICT (answer_id) DO UPDATE SET text = excluded.text, salt = excluded.salt,
            proof_urls = excluded.proof_urls, send_back_comment = excluded.send_back_comment";
        rows::insert(tx.db, "answer_texts", columns, written, tail).await?;
        Ok(())
    }
}

fn row(answer: &Answer) -> [sea_orm::Value; 15] {
    let terms = &answer.terms;
    [
        answer.id.into(),
        answer.case_id.into(),
        i64::from(i32::from(terms.kind)).into(),
        i64::from(i32::from(answer.state)).into(),
        i64::from(i32::from(terms.outcome)).into(),
        terms.promise_date.map(|date| date.to_string()).unwrap_or_default().into(),
        terms.template_id.as_str().into(),
        i64::from(answer.revision).into(),
        i64::from(answer.version).into(),
        answer.drafted_by.as_str().into(),
        answer.approved_by.as_str().into(),
        i64::from(i32::from(answer.send_back_reason)).into(),
        answer.drafted.as_microsecond().into(),
        codes::micros(answer.approved),
        codes::micros(answer.published),
    ]
}

/// Removes the words of all answers to these cases; returns how many answers of each case lost theirs.
pub(super) async fn erase_words(tx: &Tx<'_>, cases: BTreeSet<Uuid>) -> Result<BTreeMap<Uuid, u32>, Failure> {
    let keys = cases.into_iter().map(Into::into).collect();
    let sql = "SELECT answer_id, case_id FROM answers WHERE case_id IN ({keys})";
    let answers: BTreeMap<Uuid, Uuid> =
        rows::select_in(tx.db, sql, keys, |row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?)))
            .await?
            .into_iter()
            .collect();
    let keys = answers.keys().map(|id| (*id).into()).collect();
    let sql = "DELETE FROM answer_texts WHERE answer_id IN ({keys}) RETURNING answer_id";
    let erased: Vec<Uuid> = rows::select_in(tx.db, sql, keys, |row| row.try_get_by_index(0)).await?;
    let mut counts: BTreeMap<Uuid, u32> = BTreeMap::new();
    for case in erased.iter().filter_map(|id| answers.get(id)) {
        *counts.entry(*case).or_default() += 1;
    }
    Ok(counts)
}
