//! What feedback knows of a case: a narrow projection of the assignment service's entries.

use otklik_chassis::error::Error;
use otklik_proto::assignment::v1::{CaseState, CloseKind};
use uuid::Uuid;

use super::listed;

/// Reason of refusals that the state of the case is to blame for.
pub const CASE_STATE_FORBIDS: &str = "CASE_STATE_FORBIDS";

/// The states in which answers are drafted and published. INTERIM_ANSWERED is work going on; the two after it are what
/// the assignment service may call a case whose final answer is in work.
pub const ANSWERABLE: [CaseState; 5] = [
    CaseState::Accepted,
    CaseState::InProgress,
    CaseState::InterimAnswered,
    CaseState::AnswerDrafted,
    CaseState::AnswerApproved,
];

/// The states in which the citizens have a final answer, and may ask to reopen the case.
const ANSWERED: [CaseState; 4] =
    [CaseState::AnswerPublished, CaseState::Resolved, CaseState::ClosedConfirmed, CaseState::ClosedUnrated];

/// A case as far as answers depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Its id.
    pub id: Uuid,
    /// Its number for people.
    pub number: String,
    /// Where it stood when the assignment service was last heard of.
    pub state: CaseState,
    /// Code of the executor that holds it; empty before it is assigned.
    pub executor_id: String,
    /// Times it was reopened: the round it is in, from 0.
    pub round: u32,
    /// The latest published final answer and the round it ended.
    pub answered: Option<Answered>,
}

/// The end of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// The final answer.
    pub answer_id: Uuid,
    /// The round.
    pub round: u32,
}

/// What the assignment service says of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// It was opened for a message's question.
    Opened {
        /// Number for people.
        number: String,
        /// The first member.
        message_id: Uuid,
    },
    /// A further message joined it.
    Joined {
        /// The message.
        message_id: Uuid,
    },
    /// It was given to an executor.
    Assigned {
        /// Code of the executor.
        executor_id: String,
    },
    /// It was reopened for the `round`-th time.
    Reopened {
        /// Times it has been reopened.
        round: u32,
    },
    /// It went into another state.
    Entered(CaseState),
}

impl Fact {
    /// A case was closed.
    #[must_use]
    pub fn closed(kind: CloseKind) -> Self {
        Self::Entered(match kind {
            CloseKind::Confirmed => CaseState::ClosedConfirmed,
            CloseKind::Unrated | CloseKind::Unspecified => CaseState::ClosedUnrated,
        })
    }
}

impl Case {
    /// A case that has just been opened.
    #[must_use]
    pub fn opened(id: Uuid, number: String) -> Self {
        Self { id, number, state: CaseState::Opened, executor_id: String::new(), round: 0, answered: None }
    }

    /// Follows the assignment service.
    pub fn follow(&mut self, fact: &Fact) {
        match fact {
            Fact::Opened { .. } | Fact::Joined { .. } => {}
            Fact::Assigned { executor_id } => {
                self.state = CaseState::Assigned;
                self.executor_id.clone_from(executor_id);
            }
            Fact::Reopened { round } => {
                self.state = CaseState::Reopened;
                self.round = *round;
            }
            Fact::Entered(state) => self.state = *state,
        }
    }

    /// Where the case stands with what feedback itself knows: the final answer of the round may be published before
    /// the assignment service is heard to have resolved the case.
    #[must_use]
    pub fn standing(&self) -> CaseState {
        let answered = self.answered.is_some_and(|answered| answered.round >= self.round);
        if answered && ANSWERABLE.contains(&self.state) { CaseState::AnswerPublished } else { self.state }
    }

    /// Whether an answer may be drafted.
    ///
    /// # Errors
    /// [`CASE_STATE_FORBIDS`], naming the state and what is allowed.
    pub fn check_draft(&self) -> Result<(), Error> {
        check_answerable(self.id, self.standing(), "drafted")
    }

    /// Whether the citizens have the last word: the case is answered and not at work again.
    #[must_use]
    pub fn may_reopen(&self) -> bool {
        ANSWERED.contains(&self.standing())
    }

    /// Whether reopening may be asked for.
    ///
    /// # Errors
    /// [`CASE_STATE_FORBIDS`], naming the state and what is allowed.
    pub fn check_reopen(&self) -> Result<(), Error> {
        if self.may_reopen() {
            return Ok(());
        }
        Err(forbids(self.id, self.standing(), &format!("reopening can be asked for in {}", spelled(&ANSWERED))))
    }
}

/// Whether an answer may be `done` (drafted, published) in this state.
///
/// # Errors
/// [`CASE_STATE_FORBIDS`], naming the state and what is allowed.
pub fn check_answerable(case_id: Uuid, state: CaseState, done: &str) -> Result<(), Error> {
    if ANSWERABLE.contains(&state) {
        return Ok(());
    }
    Err(forbids(case_id, state, &format!("an answer can be {done} in {}", spelled(&ANSWERABLE))))
}

/// A second final answer in one round.
#[must_use]
pub fn already_answered(case_id: Uuid, answered: Answered) -> Error {
    let first = format!("the final answer {} is published; a further one can be after a reopening", answered.answer_id);
    forbids(case_id, CaseState::AnswerPublished, &first)
}

fn forbids(case_id: Uuid, state: CaseState, why: &str) -> Error {
    let allowed = match state {
        CaseState::Opened | CaseState::Returned => "ReassignCase",
        CaseState::Assigned | CaseState::Reopened => "AcceptCase",
        CaseState::Suspended => "ResumeCase",
        CaseState::AnswerPublished | CaseState::Resolved => "RecordRating, RequestReopen",
        CaseState::ClosedConfirmed | CaseState::ClosedUnrated => "RequestReopen",
        CaseState::Accepted | CaseState::InProgress | CaseState::InterimAnswered => "DraftAnswer, PublishAnswer",
        CaseState::AnswerDrafted | CaseState::AnswerApproved => "DraftAnswer, PublishAnswer",
        CaseState::MergedInto | CaseState::Cancelled | CaseState::Unspecified => "nothing",
    };
    let state = spelled(&[state]);
    Error::Precondition {
        reason: CASE_STATE_FORBIDS,
        subject: format!("case/{case_id}"),
        description: format!("case {case_id} is {state}: {why}; in {state} allowed: {allowed}"),
    }
}

fn spelled(states: &[CaseState]) -> String {
    listed(states.iter().map(CaseState::as_str_name), "CASE_STATE_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(state: CaseState) -> Case {
        Case { state, ..Case::opened(Uuid::from_u128(7), "2020-000007".into()) }
    }

    #[test]
    fn only_a_case_at_work_is_answered() {
        for number in 1..=16 {
            let state = CaseState::try_from(number).unwrap();
            let answerable = case(state).check_draft();
            assert_eq!(answerable.is_ok(), ANSWERABLE.contains(&state), "{state:?}");
            if let Err(Error::Precondition { reason, description, .. }) = answerable {
                assert_eq!(reason, CASE_STATE_FORBIDS);
                assert!(description.contains(state.as_str_name().trim_start_matches("CASE_STATE_")), "{description}");
                assert!(description.contains("allowed: "), "{description}");
            }
        }
    }

    #[test]
    fn a_round_has_one_final_answer() {
        let mut case = case(CaseState::InProgress);
        assert!(!case.may_reopen());
        case.answered = Some(Answered { answer_id: Uuid::from_u128(1), round: 0 });
        assert_eq!(case.standing(), CaseState::AnswerPublished);
        assert!(case.check_draft().is_err() && case.may_reopen());
        case.follow(&Fact::Entered(CaseState::Resolved));
        assert!(case.may_reopen());
        case.follow(&Fact::Reopened { round: 1 });
        assert!(!case.may_reopen() && case.check_reopen().is_err());
        case.follow(&Fact::Assigned { executor_id: "roads".into() });
        case.follow(&Fact::Entered(CaseState::Accepted));
        assert!(case.check_draft().is_ok());
        assert_eq!(case.executor_id, "roads");
    }
}
