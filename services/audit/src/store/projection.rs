//! The second step: what the entries of some segments say, added to the facts.

use std::collections::{BTreeSet, HashMap, HashSet};

use otklik_chassis::{lane::Tx, storage::Failure};
use sea_orm::ConnectionTrait;
use uuid::Uuid;

use super::{
    facts::{self, CaseRow},
    writer::Reply,
};
use crate::domain::{calendar::Calendar, case::CaseLife, message::MessageLife, standing, step::Step};

/// The steps of the segments after `from`, up to and with `to`, in order of arrival.
#[derive(Debug)]
pub struct Projected {
    /// The last segment projected before.
    pub from: i64,
    /// The last segment of these steps.
    pub to: i64,
    /// The steps.
    pub steps: Vec<Step>,
}

/// Moves the progress and stores what follows from the steps; [`Reply::Moved`] when it no longer stood at `from`.
pub(super) async fn store(tx: &Tx<'_>, calendar: &Calendar, projected: &Projected) -> Result<Reply, Failure> {
    let statement = tx.statement(
        "UPDATE progress SET number = $1 WHERE name = 'facts' AND number = $2",
        [projected.to.into(), projected.from.into()],
    );
    if tx.db.execute_raw(statement).await?.rows_affected() != 1 {
        return Ok(Reply::Moved);
    }
    let mut work = Work::load(tx, &projected.steps).await?;
    for step in &projected.steps {
        work.take(step);
    }
    work.store(tx, calendar).await?;
    Ok(Reply::Done)
}

/// What a set of steps touches.
#[derive(Default)]
struct Work {
    messages: HashMap<Uuid, MessageLife>,
    cases: HashMap<Uuid, CaseLife>,
    /// As they were stored.
    former: HashMap<Uuid, MessageLife>,
    touched_cases: HashSet<Uuid>,
    touched_messages: HashSet<Uuid>,
}

impl Work {
    async fn load(tx: &Tx<'_>, steps: &[Step]) -> Result<Self, Failure> {
        let cases: BTreeSet<Uuid> = steps.iter().flat_map(|step| step.subjects.cases.iter().copied()).collect();
        let mut messages: BTreeSet<Uuid> =
            steps.iter().flat_map(|step| step.subjects.messages.iter().copied()).collect();
        let cases: Vec<Uuid> = cases.into_iter().collect();
        let mut work = Self::default();
        work.cases.extend(facts::cases(tx, &cases).await?);
        // A change of a case may change where its messages stand, whether the entry names them or not.
        messages.extend(facts::members(tx, &cases).await?.into_iter().map(|(_, message)| message));
        let messages: Vec<Uuid> = messages.into_iter().collect();
        work.former = facts::messages(tx, &messages).await?;
        work.messages.clone_from(&work.former);
        let others: BTreeSet<Uuid> = work
            .messages
            .values()
            .flat_map(|message| message.questions.values().filter_map(|question| question.case_id))
            .filter(|case| !work.cases.contains_key(case))
            .collect();
        let others: Vec<Uuid> = others.into_iter().collect();
        work.cases.extend(facts::cases(tx, &others).await?);
        Ok(work)
    }

    fn take(&mut self, step: &Step) {
        for id in &step.subjects.messages {
            self.messages.entry(*id).or_default().take(*id, step);
            self.touched_messages.insert(*id);
        }
        for id in &step.subjects.cases {
            self.cases.entry(*id).or_default().take(step);
            self.touched_cases.insert(*id);
        }
    }

    async fn store(&self, tx: &Tx<'_>, calendar: &Calendar) -> Result<(), Failure> {
        let mut received: HashMap<Uuid, i64> = HashMap::new();
        let mut messages = Vec::new();
        let mut questions = Vec::new();
        let none = MessageLife::default();
        for (id, life) in &self.messages {
            let mut changed = self.touched_messages.contains(id);
            let former = self.former.get(id).unwrap_or(&none);
            for (question_id, question) in &life.questions {
                if former.questions.get(question_id) != Some(question) {
                    questions.push((*id, *question_id, question));
                }
                if let Some(case) = question.case_id {
                    changed |= self.touched_cases.contains(&case);
                    received.entry(case).or_insert(life.received_us.unwrap_or(i64::MAX));
                }
            }
            if changed {
                messages.push((*id, life, standing::of_message(life, |case| self.cases.get(&case))));
            }
        }
        let cases = self.cases.iter().filter(|(id, _)| self.touched_cases.contains(id)).map(|(id, life)| {
            // An entry of assignment carries the time of receipt; without it the message's own counts.
            let received_us = life.received_us.or_else(|| received.get(id).copied().filter(|us| *us != i64::MAX));
            let work = |answer_us: Option<i64>| Some(calendar.working_us(received_us?, answer_us?));
            CaseRow {
                id: *id,
                life,
                standing: standing::of_case(life),
                first_work_us: work(life.first_answer_us),
                final_work_us: work(life.final_answer_us),
            }
        });
        facts::store_messages(tx, messages).await?;
        facts::store_questions(tx, questions).await?;
        facts::store_cases(tx, cases.collect()).await
    }
}
