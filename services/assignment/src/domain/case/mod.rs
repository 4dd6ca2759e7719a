//! A case: the unit of work, with the messages that joined it.
//!
//! Calls ([`Case::act`]), facts of other services ([`Case::absorb`]) and the clock ([`Case::tick`]) change it by the table of
//! [`state`](super::state) and nothing else.

mod absorb;
mod act;
mod open;
mod tick;

use otklik_chassis::{error::Error, ledger::Draft};
use otklik_proto::{
    assignment::v1::{CaseAssigned, CaseState, LateFactRecorded, Outcome, ReassignReason, SuspendReason},
    classification::v1::{QuestionKind, Urgency},
    intake::v1::{Regime, SourceKind},
};
use uuid::Uuid;

use super::{
    clocks::{Clocks, pauses},
    entries::entry,
    pack::{Pack, Policy, Route},
    state::{self, Verb},
};
pub use absorb::{Fact, FactKind};
pub use act::Action;
pub use open::{Classified, Question};

/// A case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// UUIDv7.
    pub id: Uuid,
    /// Number for people.
    pub number: Number,
    /// Where it stands.
    pub state: CaseState,
    /// Grows with every change.
    pub version: i64,
    /// Who holds it.
    pub executor_id: String,
    /// The rule that chose the executor; empty when a person did.
    pub rule_id: String,
    /// No rule could route it.
    pub fallback: bool,
    /// What decides its clocks.
    pub regime: Regime,
    /// What it is about.
    pub subject: Subject,
    /// Code of the source of the first message.
    pub source_id: String,
    /// What that source is.
    pub source_kind: SourceKind,
    /// When the first message was published, in microseconds of Unix time, as all times here.
    pub published_us: Option<i64>,
    /// When the first message was received.
    pub received_us: Option<i64>,
    /// When the case was opened.
    pub opened_us: i64,
    /// When it last changed.
    pub updated_us: i64,
    /// Its deadlines.
    pub clocks: Clocks,
    /// When the first interim answer since the opening or the last reopening went out.
    pub interim_us: Option<i64>,
    /// What it waits for; only while SUSPENDED.
    pub suspension: Option<Suspension>,
    /// When the rating window ends; only while RESOLVED.
    pub rating_end_us: Option<i64>,
    /// How it ended.
    pub outcome: Outcome,
    /// The latest final answer.
    pub answer_id: Option<Uuid>,
    /// When it was resolved last.
    pub resolved_us: Option<i64>,
    /// Times it was reopened.
    pub reopen_count: u32,
}

/// What a case is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Code of the topic; may be empty.
    pub topic: String,
    /// Code of the topic group; may be empty.
    pub topic_group: String,
    /// What the citizen wants.
    pub kind: QuestionKind,
    /// How soon it must be dealt with.
    pub urgency: Urgency,
    /// Codes of the places concerned, the most specific first.
    pub place_ids: Vec<String>,
}

/// A wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspension {
    /// What for.
    pub reason: SuspendReason,
    /// Since when.
    pub since_us: i64,
    /// Until when at most.
    pub until_us: i64,
}

/// A message's question in a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The case.
    pub case_id: Uuid,
    /// The message.
    pub message_id: Uuid,
    /// The question of it.
    pub question_id: Uuid,
    /// The version of the message that joined.
    pub message_version: u32,
    /// When it joined.
    pub joined_us: i64,
    /// The round of answers that its author is satisfied with: 1 for the first, one more after each reopening; 0 for none.
    pub satisfied_round: u32,
    /// When the message was withdrawn.
    pub withdrawn_us: Option<i64>,
}

/// Number of a case: year and running number within the year.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number {
    /// The year, in the region's time zone.
    pub year: i16,
    /// From 1.
    pub serial: u32,
}

impl Number {
    /// The number after this one, at a time of `year`. A clock that was set back takes no number twice.
    #[must_use]
    pub fn next(self, year: i16) -> Self {
        if year > self.year { Self { year, serial: 1 } } else { Self { serial: self.serial + 1, ..self } }
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:06}", self.year, self.serial)
    }
}

/// What a change of a case is decided with.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The region pack in force.
    pub pack: &'a Pack,
    /// The present moment.
    pub now_us: i64,
}

impl Case {
    /// Whether it has ended; it may still be reopened.
    pub fn is_closed(&self) -> bool {
        state::is_closed(self.state)
    }

    /// Its next deadline that counts.
    pub fn next_due_us(&self) -> Option<i64> {
        if !state::is_worked_on(self.state) {
            return None;
        }
        let paused_us = self.suspension.filter(|_| pauses(self.regime)).map(|suspension| suspension.since_us);
        self.clocks.next_due(paused_us)
    }

    /// Whether a deadline has passed, or had passed before it was met.
    pub fn is_overdue(&self, now_us: i64) -> bool {
        self.clocks.is_missed() || self.next_due_us().is_some_and(|due_us| due_us < now_us)
    }

    /// When the clock itself changes the case: the end of a wait or of the rating window.
    pub fn timer_us(&self) -> Option<i64> {
        self.suspension.map(|suspension| suspension.until_us).or(self.rating_end_us)
    }

    /// The round of answers: 1 for the first, one more after each reopening.
    pub fn round(&self) -> u32 {
        self.reopen_count + 1
    }

    /// The policy in force for it.
    fn policy<'a>(&self, pack: &'a Pack) -> Option<&'a Policy> {
        pack.policies.select(self.regime, &self.subject.topic_group, self.subject.urgency)
    }

    /// Takes a step of the table, or says no.
    fn step(&mut self, verb: Verb) -> Result<(), Error> {
        self.state = state::next(self.state, verb).ok_or_else(|| state::refusal(self.id, self.state))?;
        Ok(())
    }

    /// Gives the case to whom a route says.
    fn assign(&mut self, route: Route<'_>, reason: ReassignReason) -> CaseAssigned {
        let previous = std::mem::replace(&mut self.executor_id, route.executor_id.to_owned());
        self.rule_id = route.rule_id.to_owned();
        self.fallback = route.fallback;
        CaseAssigned {
            case_id: self.id.to_string(),
            executor_id: self.executor_id.clone(),
            previous_executor_id: previous,
            rule_id: self.rule_id.clone(),
            fallback: self.fallback,
            deadlines: self.clocks.messages(),
            routing_version: String::new(),
            reason: reason.into(),
        }
    }

    /// The entry of an assignment, with everything that it was decided under.
    fn assigned(&self, members: &[Member], pack: &Pack, mut event: CaseAssigned) -> Draft {
        event.routing_version.clone_from(&pack.versions.routing);
        let reason = ReassignReason::try_from(event.reason).unwrap_or_default();
        let draft = entry(self, members, pack, &event)
            .under("routing", &pack.versions.routing)
            .under("calendar", &pack.versions.calendar);
        if reason == ReassignReason::Unspecified { draft } else { draft.because(reason.as_str_name()) }
    }

    /// A wait ends at `at_us`, for whatever reason: the clocks go on.
    fn end_wait(&mut self, pack: &Pack, at_us: i64) {
        if let Some(suspension) = self.suspension.take()
            && pauses(self.regime)
        {
            self.clocks.waited(pack, &self.executor_id, suspension.since_us, at_us);
        }
    }

    /// A fact that came too late to change the case: visible work, never an error.
    fn late(
        &self,
        members: &[Member],
        pack: &Pack,
        fact_type: &str,
        message_id: Option<Uuid>,
        answer_id: Option<Uuid>,
    ) -> Draft {
        let id = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
        let event = LateFactRecorded {
            case_id: self.id.to_string(),
            fact_type: fact_type.to_owned(),
            state: self.state.into(),
            message_id: id(message_id),
            answer_id: id(answer_id),
        };
        entry(self, members, pack, &event).ignorable()
    }
}

#[cfg(test)]
mod tests;
