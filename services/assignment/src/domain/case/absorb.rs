//! What other services say of a case. Facts are absorbed however late they come: they are never refused.

use otklik_chassis::ledger::Draft;
use otklik_proto::{
    assignment::v1::{
        CancelReason, CaseCancelled, CaseClosed, CaseInterimAnswered, CaseReopened, CaseResolved, CloseKind, Outcome,
        ReassignReason, ReopenReason,
    },
    feedback::v1::AnswerKind,
    time::from_micros,
};
use uuid::Uuid;

use super::{Case, Member, Setting};
use crate::domain::{
    calendar::Pause,
    entries::entry,
    pack::Route,
    state::{self, Verb},
};

/// A fact of the feedback service.
#[derive(Clone, Debug)]
pub struct Fact {
    /// The case.
    pub case_id: Uuid,
    /// What happened.
    pub kind: FactKind,
    /// When it was recorded: what clocks go by, however late the fact comes here.
    pub at_us: i64,
    /// Full name of the entry's type.
    pub entry_type: &'static str,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum FactKind {
    /// A final answer was drafted.
    Drafted {
        /// The answer.
        answer_id: Uuid,
    },
    /// A final answer was sent back.
    SentBack {
        /// The answer.
        answer_id: Uuid,
    },
    /// A final answer was approved.
    Approved {
        /// The answer.
        answer_id: Uuid,
    },
    /// An answer was published.
    Published {
        /// The answer.
        answer_id: Uuid,
        /// What it is.
        kind: AnswerKind,
        /// What a final one tells.
        outcome: Outcome,
    },
    /// An author rated an answer.
    Rated {
        /// The message.
        message_id: Uuid,
        /// The answer.
        answer_id: Option<Uuid>,
        /// Whether the author is satisfied.
        is_satisfied: bool,
    },
    /// An author wants the case reopened.
    ReopenRequested {
        /// The message.
        message_id: Option<Uuid>,
        /// Why.
        reason: ReopenReason,
    },
}

impl Case {
    /// Takes in a fact. Members change with ratings.
    pub fn absorb(&mut self, fact: &Fact, members: &mut [Member], setting: Setting<'_>) -> Vec<Draft> {
        let pack = setting.pack;
        let step = |case: &mut Self, verb: Verb, answer_id: Uuid, members: &[Member]| match case.step(verb) {
            Ok(()) => Vec::new(),
            Err(_) => vec![case.late(members, pack, fact.entry_type, None, Some(answer_id))],
        };
        match fact.kind {
            FactKind::Drafted { answer_id } => step(self, Verb::DraftAnswer, answer_id, members),
            FactKind::SentBack { answer_id } => step(self, Verb::SendBackAnswer, answer_id, members),
            FactKind::Approved { answer_id } => step(self, Verb::ApproveAnswer, answer_id, members),
            FactKind::Published { answer_id, kind, outcome } => {
                let drafts = match kind {
                    AnswerKind::Final => self.resolve(answer_id, outcome, fact.at_us, members, setting),
                    AnswerKind::Interim => self.answer_interim(answer_id, fact.at_us, members, setting),
                    AnswerKind::FirstResponse | AnswerKind::Unspecified => self.answer_first(fact.at_us),
                };
                drafts.unwrap_or_else(|| vec![self.late(members, pack, fact.entry_type, None, Some(answer_id))])
            }
            FactKind::Rated { message_id, answer_id, is_satisfied } => self
                .rate(message_id, answer_id, is_satisfied, members, setting)
                .unwrap_or_else(|| vec![self.late(members, pack, fact.entry_type, Some(message_id), answer_id)]),
            FactKind::ReopenRequested { message_id, reason } => self
                .reopen(message_id, reason, fact.at_us, members, setting)
                .unwrap_or_else(|| vec![self.late(members, pack, fact.entry_type, message_id, None)]),
        }
    }

    fn answer_first(&mut self, at_us: i64) -> Option<Vec<Draft>> {
        state::is_worked_on(self.state).then(|| {
            self.clocks.answered(at_us);
            Vec::new()
        })
    }

    fn answer_interim(
        &mut self,
        answer_id: Uuid,
        at_us: i64,
        members: &[Member],
        setting: Setting<'_>,
    ) -> Option<Vec<Draft>> {
        let pack = setting.pack;
        self.step(Verb::AnswerInterim).ok()?;
        self.clocks.answered(at_us);
        // Only the first one moves the deadline: nobody gains time by answering that work goes on.
        if self.interim_us.is_none() {
            self.interim_us = Some(at_us);
            if let Some(policy) = self.policy(pack) {
                self.clocks.answered_interim(pack, policy, &self.executor_id, at_us);
            }
        }
        let event = CaseInterimAnswered {
            case_id: self.id.to_string(),
            answer_id: answer_id.to_string(),
            deadlines: self.clocks.messages(),
        };
        Some(vec![entry(self, members, pack, &event).under("calendar", &pack.versions.calendar)])
    }

    fn resolve(
        &mut self,
        answer_id: Uuid,
        outcome: Outcome,
        at_us: i64,
        members: &[Member],
        setting: Setting<'_>,
    ) -> Option<Vec<Draft>> {
        let pack = setting.pack;
        self.step(Verb::PublishAnswer).and_then(|()| self.step(Verb::Resolve)).ok()?;
        self.end_wait(pack, at_us);
        self.clocks.answered_finally(at_us);
        let window = self.policy(pack).map(|policy| policy.rating_window);
        let end_us = window.and_then(|window| pack.due(&self.executor_id, at_us, window, Pause::default()));
        self.rating_end_us = Some(end_us.unwrap_or(at_us));
        self.outcome = outcome;
        self.answer_id = Some(answer_id);
        self.resolved_us = Some(at_us);
        let event = CaseResolved {
            case_id: self.id.to_string(),
            outcome: outcome.into(),
            answer_id: answer_id.to_string(),
            rating_end_time: self.rating_end_us.map(from_micros),
            deadlines: self.clocks.messages(),
        };
        let draft = entry(self, members, pack, &event).under("calendar", &pack.versions.calendar);
        Some(vec![draft.because(outcome.as_str_name())])
    }

    /// `None` for a rating that comes too late, or of an answer that is no longer the latest.
    fn rate(
        &mut self,
        message_id: Uuid,
        answer_id: Option<Uuid>,
        is_satisfied: bool,
        members: &mut [Member],
        setting: Setting<'_>,
    ) -> Option<Vec<Draft>> {
        state::next(self.state, Verb::Confirm)?;
        if answer_id.is_some() && answer_id != self.answer_id {
            return None;
        }
        let round = self.round();
        for member in members.iter_mut().filter(|member| member.message_id == message_id) {
            member.satisfied_round = if is_satisfied { round } else { 0 };
        }
        // Who has taken the message back is asked no more.
        let all = members.iter().all(|member| member.satisfied_round == round || member.withdrawn_us.is_some());
        let any = members.iter().any(|member| member.satisfied_round == round);
        if !(all && any) {
            return Some(Vec::new());
        }
        self.step(Verb::Confirm).ok()?;
        self.rating_end_us = None;
        Some(vec![self.closed(CloseKind::Confirmed, members, setting)])
    }

    /// The entry of a closing.
    pub(super) fn closed(&self, kind: CloseKind, members: &[Member], setting: Setting<'_>) -> Draft {
        let event = CaseClosed { case_id: self.id.to_string(), kind: kind.into() };
        entry(self, members, setting.pack, &event).because(kind.as_str_name())
    }

    fn reopen(
        &mut self,
        message_id: Option<Uuid>,
        reason: ReopenReason,
        at_us: i64,
        members: &[Member],
        setting: Setting<'_>,
    ) -> Option<Vec<Draft>> {
        let pack = setting.pack;
        self.step(Verb::Reopen).ok()?;
        self.reopen_count += 1;
        self.rating_end_us = None;
        self.interim_us = None;
        self.outcome = Outcome::Unspecified;
        let event = CaseReopened {
            case_id: self.id.to_string(),
            reopen_count: self.reopen_count,
            reason: reason.into(),
            message_id: message_id.map(|id| id.to_string()).unwrap_or_default(),
        };
        let reopened = entry(self, members, pack, &event).because(reason.as_str_name());

        self.step(Verb::Assign).ok()?;
        // It goes back to who had it, unless the region has done away with that executor.
        let executor = pack.executors.get(&self.executor_id).unwrap_or(pack.executors.duty());
        if let Some(policy) = self.policy(pack) {
            self.clocks.reopen(pack, policy, &executor.id, at_us);
        }
        let route = Route { executor_id: &executor.id, rule_id: "", fallback: false };
        let event = self.assign(route, ReassignReason::Unspecified);
        Some(vec![reopened, self.assigned(members, pack, event)])
    }

    /// One of its messages was withdrawn: when all are and no final answer has gone out, nobody waits for one.
    pub fn withdraw(&mut self, members: &[Member], setting: Setting<'_>) -> Vec<Draft> {
        let is_wanted = members.iter().any(|member| member.withdrawn_us.is_none());
        if is_wanted || self.step(Verb::Cancel).is_err() {
            return Vec::new();
        }
        self.suspension = None;
        let reason = CancelReason::MessagesWithdrawn;
        let event = CaseCancelled { case_id: self.id.to_string(), reason: reason.into() };
        vec![entry(self, members, setting.pack, &event).because(reason.as_str_name())]
    }
}
