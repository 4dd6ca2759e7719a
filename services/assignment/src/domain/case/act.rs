//! What people do with a case.

use otklik_chassis::{error::Error, ledger::Draft};
use otklik_proto::{
    assignment::v1::{
        CancelReason, CaseAccepted, CaseCancelled, CaseResumed, CaseReturned, CaseSuspended, ReassignReason,
        ReturnReason, SuspendReason, WorkStarted,
    },
    time::from_micros,
};

use super::{Case, Member, Setting, Suspension};
use crate::domain::{calendar::HOUR_US, entries::entry, pack::Route, state::Verb};

/// The longest wait: 30 days. What takes longer is looked at again in between.
pub const LONGEST_WAIT_US: i64 = 30 * 24 * HOUR_US;

/// What a person asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Take it.
    Accept,
    /// Give it back to the duty coordinator.
    Return {
        /// Why.
        reason: ReturnReason,
        /// Who should have it; may be empty.
        suggested_executor_id: String,
    },
    /// Hand it to another executor.
    Reassign {
        /// Why.
        reason: ReassignReason,
        /// To whom: an executor of the pack.
        executor_id: String,
    },
    /// Begin.
    StartWork,
    /// Wait.
    Suspend {
        /// What for.
        reason: SuspendReason,
        /// Until when; `None` for the longest wait.
        until_us: Option<i64>,
    },
    /// Go on.
    Resume,
    /// Do not pursue it.
    Cancel {
        /// Why.
        reason: CancelReason,
    },
}

impl Action {
    fn verb(&self) -> Verb {
        match self {
            Self::Accept => Verb::Accept,
            Self::Return { .. } => Verb::Return,
            Self::Reassign { .. } => Verb::Reassign,
            Self::StartWork => Verb::StartWork,
            Self::Suspend { .. } => Verb::Suspend,
            Self::Resume => Verb::Resume,
            Self::Cancel { .. } => Verb::Cancel,
        }
    }
}

impl Case {
    /// Does what a person asks for.
    ///
    /// # Errors
    /// [`Error::Precondition`] where the state forbids it; then nothing has changed.
    pub fn act(&mut self, action: &Action, members: &[Member], setting: Setting<'_>) -> Result<Draft, Error> {
        let Setting { pack, now_us } = setting;
        self.step(action.verb())?;
        let case_id = self.id.to_string();
        let executor_id = self.executor_id.clone();
        Ok(match action {
            Action::Accept => entry(self, members, pack, &CaseAccepted { case_id, executor_id }),
            Action::StartWork => entry(self, members, pack, &WorkStarted { case_id, executor_id }),
            Action::Return { reason, suggested_executor_id } => {
                self.executor_id = pack.executors.duty().id.clone();
                self.rule_id.clear();
                let suggested_executor_id = suggested_executor_id.clone();
                let event = CaseReturned { case_id, executor_id, reason: (*reason).into(), suggested_executor_id };
                entry(self, members, pack, &event).because(reason.as_str_name())
            }
            Action::Reassign { reason, executor_id } => {
                self.end_wait(pack, now_us);
                let event = self.assign(Route { executor_id, rule_id: "", fallback: false }, *reason);
                self.assigned(members, pack, event)
            }
            Action::Suspend { reason, until_us } => {
                let longest_us = now_us + LONGEST_WAIT_US;
                let until_us = until_us.unwrap_or(longest_us).min(longest_us);
                self.suspension = Some(Suspension { reason: *reason, since_us: now_us, until_us });
                let until_time = Some(from_micros(until_us));
                let event = CaseSuspended { case_id, executor_id, reason: (*reason).into(), until_time };
                entry(self, members, pack, &event).because(reason.as_str_name())
            }
            Action::Resume => {
                self.end_wait(pack, now_us);
                self.resumed(members, setting)
            }
            Action::Cancel { reason } => {
                self.suspension = None;
                let event = CaseCancelled { case_id, reason: (*reason).into() };
                entry(self, members, pack, &event).because(reason.as_str_name())
            }
        })
    }

    /// The entry of a wait that has ended.
    pub(super) fn resumed(&self, members: &[Member], Setting { pack, .. }: Setting<'_>) -> Draft {
        let event = CaseResumed {
            case_id: self.id.to_string(),
            executor_id: self.executor_id.clone(),
            deadlines: self.clocks.messages(),
        };
        entry(self, members, pack, &event).under("calendar", &pack.versions.calendar)
    }
}
