//! The one table of a case's states: what leads from where to where.

use otklik_chassis::error::Error;
use otklik_proto::assignment::v1::{CaseAction, CaseState};
use uuid::Uuid;

/// What happens to a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// An executor is chosen by the rules.
    Assign,
    /// The executor takes it.
    Accept,
    /// The executor gives it back.
    Return,
    /// A person hands it to another executor.
    Reassign,
    /// Work begins.
    StartWork,
    /// Work waits.
    Suspend,
    /// Work goes on.
    Resume,
    /// It is not pursued.
    Cancel,
    /// A final answer is drafted.
    DraftAnswer,
    /// The final answer is sent back.
    SendBackAnswer,
    /// The final answer is approved.
    ApproveAnswer,
    /// An interim answer is published.
    AnswerInterim,
    /// The final answer is published.
    PublishAnswer,
    /// The published answer ends the work.
    Resolve,
    /// The citizens are satisfied.
    Confirm,
    /// The rating window ends in silence.
    Expire,
    /// A citizen is not satisfied.
    Reopen,
}

use CaseState as S;
use Verb as V;

/// Every transition there is. OPENED, ANSWER_PUBLISHED and REOPENED are passed through within one change.
///
/// What feedback says of answers is taken from every state in which the case can be when it arrives: a published
/// answer can't be taken back, so it ends the work even of a case that was suspended or reassigned meanwhile.
pub const TRANSITIONS: &[(CaseState, Verb, CaseState)] = &[
    (S::Opened, V::Assign, S::Assigned),
    (S::Opened, V::Cancel, S::Cancelled),
    (S::Assigned, V::Assign, S::Assigned),
    (S::Assigned, V::Accept, S::Accepted),
    (S::Assigned, V::Return, S::Returned),
    (S::Assigned, V::Reassign, S::Assigned),
    (S::Assigned, V::Cancel, S::Cancelled),
    (S::Assigned, V::AnswerInterim, S::Assigned),
    (S::Assigned, V::PublishAnswer, S::AnswerPublished),
    (S::Accepted, V::Return, S::Returned),
    (S::Accepted, V::Reassign, S::Assigned),
    (S::Accepted, V::StartWork, S::InProgress),
    (S::Accepted, V::Suspend, S::Suspended),
    (S::Accepted, V::Cancel, S::Cancelled),
    (S::Accepted, V::DraftAnswer, S::AnswerDrafted),
    (S::Accepted, V::AnswerInterim, S::InterimAnswered),
    (S::Accepted, V::PublishAnswer, S::AnswerPublished),
    (S::Returned, V::Assign, S::Assigned),
    (S::Returned, V::Reassign, S::Assigned),
    (S::Returned, V::Cancel, S::Cancelled),
    (S::Returned, V::AnswerInterim, S::Returned),
    (S::Returned, V::PublishAnswer, S::AnswerPublished),
    (S::InProgress, V::Reassign, S::Assigned),
    (S::InProgress, V::Suspend, S::Suspended),
    (S::InProgress, V::Cancel, S::Cancelled),
    (S::InProgress, V::DraftAnswer, S::AnswerDrafted),
    (S::InProgress, V::AnswerInterim, S::InterimAnswered),
    (S::InProgress, V::PublishAnswer, S::AnswerPublished),
    (S::Suspended, V::Resume, S::InProgress),
    (S::Suspended, V::Reassign, S::Assigned),
    (S::Suspended, V::Cancel, S::Cancelled),
    (S::Suspended, V::AnswerInterim, S::Suspended),
    (S::Suspended, V::PublishAnswer, S::AnswerPublished),
    (S::InterimAnswered, V::Reassign, S::Assigned),
    (S::InterimAnswered, V::Suspend, S::Suspended),
    (S::InterimAnswered, V::Cancel, S::Cancelled),
    (S::InterimAnswered, V::DraftAnswer, S::AnswerDrafted),
    (S::InterimAnswered, V::AnswerInterim, S::InterimAnswered),
    (S::InterimAnswered, V::PublishAnswer, S::AnswerPublished),
    (S::AnswerDrafted, V::DraftAnswer, S::AnswerDrafted),
    (S::AnswerDrafted, V::SendBackAnswer, S::InProgress),
    (S::AnswerDrafted, V::ApproveAnswer, S::AnswerApproved),
    (S::AnswerDrafted, V::Cancel, S::Cancelled),
    (S::AnswerDrafted, V::AnswerInterim, S::AnswerDrafted),
    (S::AnswerDrafted, V::PublishAnswer, S::AnswerPublished),
    (S::AnswerApproved, V::SendBackAnswer, S::InProgress),
    (S::AnswerApproved, V::Cancel, S::Cancelled),
    (S::AnswerApproved, V::AnswerInterim, S::AnswerApproved),
    (S::AnswerApproved, V::PublishAnswer, S::AnswerPublished),
    (S::AnswerPublished, V::Resolve, S::Resolved),
    (S::Resolved, V::Confirm, S::ClosedConfirmed),
    (S::Resolved, V::Expire, S::ClosedUnrated),
    (S::Resolved, V::Reopen, S::Reopened),
    (S::ClosedConfirmed, V::Reopen, S::Reopened),
    (S::ClosedUnrated, V::Reopen, S::Reopened),
    (S::Reopened, V::Assign, S::Assigned),
];

/// The verbs that a caller may ask for, with the action of the contract.
const ACTIONS: &[(Verb, CaseAction)] = &[
    (V::Accept, CaseAction::Accept),
    (V::Return, CaseAction::Return),
    (V::Reassign, CaseAction::Reassign),
    (V::StartWork, CaseAction::StartWork),
    (V::Suspend, CaseAction::Suspend),
    (V::Resume, CaseAction::Resume),
    (V::Cancel, CaseAction::Cancel),
    (V::DraftAnswer, CaseAction::DraftAnswer),
];

/// Reason of a refusal because of the state.
pub const CASE_STATE_FORBIDS: &str = "CASE_STATE_FORBIDS";

/// Where a verb leads; `None` where the state forbids it.
pub fn next(state: CaseState, verb: Verb) -> Option<CaseState> {
    TRANSITIONS.iter().find(|(from, with, _)| (*from, *with) == (state, verb)).map(|(_, _, to)| *to)
}

/// What a caller may ask for in a state.
pub fn allowed_actions(state: CaseState) -> impl Iterator<Item = CaseAction> {
    ACTIONS.iter().filter(move |(verb, _)| next(state, *verb).is_some()).map(|(_, action)| *action)
}

/// Whether work on the case goes on: no final answer has been published and nobody has cancelled it.
pub fn is_worked_on(state: CaseState) -> bool {
    next(state, Verb::Cancel).is_some()
}

/// Whether the case has ended; it may still be reopened.
pub fn is_closed(state: CaseState) -> bool {
    matches!(state, S::ClosedConfirmed | S::ClosedUnrated | S::Cancelled | S::MergedInto)
}

/// The refusal of a call: names the state and what is allowed in it.
pub fn refusal(case_id: Uuid, state: CaseState) -> Error {
    let allowed: Vec<&str> =
        allowed_actions(state).map(|action| action.as_str_name().trim_start_matches("CASE_ACTION_")).collect();
    let allowed = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
    Error::Precondition {
        reason: CASE_STATE_FORBIDS,
        subject: format!("case/{case_id}"),
        description: format!(
            "the case is in state {}; allowed there: {allowed}",
            state.as_str_name().trim_start_matches("CASE_STATE_")
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_state_and_a_verb_lead_to_one_place() {
        let mut seen = HashSet::new();
        for (from, verb, _) in TRANSITIONS {
            assert!(seen.insert((*from, *verb)), "{from:?} {verb:?} is there twice");
        }
    }

    #[test]
    fn every_state_but_merged_is_reached_and_left() {
        for number in 1..=16 {
            let state = CaseState::try_from(number).unwrap();
            if state == S::MergedInto {
                continue;
            }
            let is_reached = state == S::Opened || TRANSITIONS.iter().any(|(_, _, to)| *to == state);
            assert!(is_reached, "{state:?} is never reached");
            let is_left = state == S::Cancelled || TRANSITIONS.iter().any(|(from, _, _)| *from == state);
            assert!(is_left, "{state:?} is never left");
        }
    }

    #[test]
    fn a_final_answer_ends_every_case_that_is_worked_on() {
        for number in 1..=16 {
            let state = CaseState::try_from(number).unwrap();
            let is_published = next(state, Verb::PublishAnswer).is_some();
            assert_eq!(is_published, is_worked_on(state) && state != S::Opened, "{state:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_state_and_what_is_allowed() {
        let text = refusal(Uuid::nil(), S::Suspended).to_string();
        assert_eq!(text, "the case is in state SUSPENDED; allowed there: REASSIGN, RESUME, CANCEL");
        assert!(refusal(Uuid::nil(), S::Cancelled).to_string().ends_with("allowed there: nothing"));
    }
}
