//! What is known of a case: facts gathered from the entries about it.

use otklik_proto::{
    assignment::v1::{CaseState, CloseKind, Deadline, DeadlineKind},
    feedback::v1::AnswerKind,
    time::to_micros,
};
use uuid::Uuid;

use super::{
    event::Event,
    step::{Step, identifier},
};

/// Where the latest final answer of a case stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AnswerStage {
    /// There is none.
    #[default]
    None,
    /// Drafted.
    Drafted,
    /// Approved.
    Approved,
    /// Published.
    Published,
    /// Sent back, to be drafted anew.
    SentBack,
}

/// A case, as the ledgers tell of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CaseLife {
    /// The entry of its opening.
    pub root: Option<Uuid>,
    /// When its opening was recorded, in microseconds.
    pub opened_us: Option<i64>,
    /// When intake received its first message.
    pub received_us: Option<i64>,
    /// State by the last entry of assignment; unspecified before its opening is known here.
    pub assigned: CaseState,
    /// Code of the executor that holds it; may be empty.
    pub executor_id: String,
    /// When the first answer is due.
    pub first_due_us: Option<i64>,
    /// When the final answer is due.
    pub final_due_us: Option<i64>,
    /// The latest final answer.
    pub answer: Option<Uuid>,
    /// Where it stands.
    pub stage: AnswerStage,
    /// The final answer that assignment has resolved the case with.
    pub resolved_with: Option<Uuid>,
    /// The answer that was rated last.
    pub rated_answer: Option<Uuid>,
    /// When the first answer of any kind was published.
    pub first_answer_us: Option<i64>,
    /// When the latest final answer was published.
    pub final_answer_us: Option<i64>,
    /// When it was reopened last.
    pub reopened_us: Option<i64>,
    /// Deliveries begun and neither arrived nor given up. Below zero while their publication isn't known here.
    pub open_deliveries: i64,
    /// Until when it may rest: the end of the rating window, or of a suspension.
    pub rests_until_us: i64,
    /// When its last step was recorded.
    pub last_us: i64,
    /// Full name of the type of that step.
    pub last_type: String,
}

impl CaseLife {
    /// Takes in a step that concerns this case. Steps of one ledger come in their order.
    pub fn take(&mut self, step: &Step) {
        if step.recorded_us >= self.last_us {
            self.last_us = step.recorded_us;
            self.last_type.clone_from(&step.entry_type);
        }
        match &step.event {
            Event::CaseOpened(_) => {
                self.root = Some(step.id);
                self.opened_us = Some(step.recorded_us);
                self.received_us = step.header.received_time.as_ref().map(to_micros);
                self.assigned = CaseState::Opened;
            }
            Event::CaseAssigned(event) => {
                self.assigned = CaseState::Assigned;
                self.executor_id.clone_from(&event.executor_id);
                self.due(&event.deadlines);
            }
            Event::CaseReclassified(event) => self.due(&event.deadlines),
            Event::CaseAccepted(_) => self.assigned = CaseState::Accepted,
            Event::CaseReturned(_) => {
                self.assigned = CaseState::Returned;
                self.executor_id.clear();
            }
            Event::WorkStarted(_) => self.assigned = CaseState::InProgress,
            Event::CaseSuspended(event) => {
                self.assigned = CaseState::Suspended;
                self.rests_until_us = event.until_time.as_ref().map_or(0, to_micros);
            }
            Event::CaseResumed(event) => {
                self.assigned = CaseState::InProgress;
                self.due(&event.deadlines);
            }
            Event::CaseInterimAnswered(event) => {
                // A case that waits or lies with nobody goes on doing so.
                if matches!(self.assigned, CaseState::Accepted | CaseState::InProgress) {
                    self.assigned = CaseState::InterimAnswered;
                }
                self.due(&event.deadlines);
            }
            Event::CaseCancelled(_) => self.assigned = CaseState::Cancelled,
            Event::CaseResolved(event) => {
                self.assigned = CaseState::Resolved;
                self.resolved_with = identifier(&event.answer_id);
                self.rests_until_us = event.rating_end_time.as_ref().map_or(0, to_micros);
                self.due(&event.deadlines);
            }
            Event::CaseReopened(_) => {
                self.assigned = CaseState::Reopened;
                self.reopened_us = Some(step.recorded_us);
            }
            Event::CaseClosed(event) => {
                self.assigned = match event.kind() {
                    CloseKind::Confirmed => CaseState::ClosedConfirmed,
                    _ => CaseState::ClosedUnrated,
                };
            }
            _ => self.take_answer(step),
        }
    }

    fn take_answer(&mut self, step: &Step) {
        match &step.event {
            Event::AnswerDrafted(e) if e.kind() == AnswerKind::Final => self.stand(&e.answer_id, AnswerStage::Drafted),
            Event::AnswerSentBack(e) if e.kind() == AnswerKind::Final => {
                self.stand(&e.answer_id, AnswerStage::SentBack)
            }
            Event::AnswerApproved(e) if e.kind() == AnswerKind::Final => {
                self.stand(&e.answer_id, AnswerStage::Approved)
            }
            Event::AnswerPublished(event) => {
                let earliest = self.first_answer_us.map_or(step.recorded_us, |first| first.min(step.recorded_us));
                self.first_answer_us = Some(earliest);
                self.open_deliveries += i64::try_from(event.message_ids.len()).unwrap_or(i64::MAX);
                if event.kind() == AnswerKind::Final {
                    self.final_answer_us = Some(step.recorded_us);
                    self.stand(&event.answer_id, AnswerStage::Published);
                }
            }
            Event::AnswerDelivered(_) | Event::DeliveryGivenUp(_) => self.open_deliveries -= 1,
            Event::RatingRecorded(event) => self.rated_answer = identifier(&event.answer_id),
            _ => {}
        }
    }

    fn stand(&mut self, answer: &str, stage: AnswerStage) {
        self.answer = identifier(answer);
        self.stage = stage;
    }

    fn due(&mut self, deadlines: &[Deadline]) {
        for deadline in deadlines {
            let due = deadline.due_time.as_ref().map(to_micros);
            match deadline.kind() {
                DeadlineKind::FirstResponse => self.first_due_us = due,
                DeadlineKind::Resolution => self.final_due_us = due,
                DeadlineKind::Unspecified => {}
            }
        }
    }

    /// It is neither closed nor given up.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !matches!(
            self.assigned,
            CaseState::ClosedConfirmed | CaseState::ClosedUnrated | CaseState::Cancelled | CaseState::MergedInto
        )
    }

    /// A final answer stands: published, and the case not reopened since.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        let ended =
            matches!(self.assigned, CaseState::Resolved | CaseState::ClosedConfirmed | CaseState::ClosedUnrated);
        self.stage == AnswerStage::Published && (ended || self.answer != self.resolved_with)
    }

    /// A recipient has rated the final answer that stands.
    #[must_use]
    pub fn is_rated(&self) -> bool {
        self.is_answered() && self.rated_answer.is_some() && self.rated_answer == self.answer
    }
}
