//! Where a message or case stands, and who should take the next step: the lifecycle of the domain, read off the facts.

use otklik_proto::assignment::v1::CaseState;
use uuid::Uuid;

use super::{
    case::{AnswerStage, CaseLife},
    message::{Intake, MessageLife},
};

/// Who should take the next step of a lifecycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Waiting {
    /// Nobody: it is complete.
    Nobody,
    /// Intake.
    Intake,
    /// Classification.
    Classification,
    /// Assignment.
    Assignment,
    /// Feedback.
    Feedback,
}

impl Waiting {
    /// Every service that can be waited for.
    pub const SERVICES: [Self; 4] = [Self::Intake, Self::Classification, Self::Assignment, Self::Feedback];

    /// Name of the service; empty for nobody.
    #[must_use]
    pub fn service(self) -> &'static str {
        match self {
            Self::Nobody => "",
            Self::Intake => "intake",
            Self::Classification => "classification",
            Self::Assignment => "assignment",
            Self::Feedback => "feedback",
        }
    }

    /// The service of this name.
    #[must_use]
    pub fn named(service: &str) -> Option<Self> {
        Self::SERVICES.into_iter().find(|waiting| waiting.service() == service)
    }

    /// A stable number for storing.
    #[must_use]
    pub fn number(self) -> i64 {
        self as i64
    }

    /// The one with this number.
    #[must_use]
    pub fn numbered(number: i64) -> Self {
        Self::SERVICES.into_iter().find(|waiting| waiting.number() == number).unwrap_or(Self::Nobody)
    }
}

/// Where a lifecycle stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// State, as the contract spells it.
    pub state: &'static str,
    /// Who should take the next step.
    pub waiting: Waiting,
    /// Since when nothing has happened though something should, in microseconds: the last step, or the end of a time in
    /// which the lifecycle may rest.
    pub idle_since_us: i64,
}

impl Standing {
    /// Nothing more is expected to happen by itself.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.waiting == Waiting::Nobody
    }
}

/// Where a case stands: the state is assignment's, save that a final answer on its way is further.
#[must_use]
pub fn of_case(case: &CaseLife) -> Standing {
    let state = case_state(case);
    let waiting = match state {
        CaseState::ClosedConfirmed | CaseState::ClosedUnrated | CaseState::Cancelled | CaseState::MergedInto => {
            if case.open_deliveries > 0 { Waiting::Feedback } else { Waiting::Nobody }
        }
        CaseState::Accepted
        | CaseState::InProgress
        | CaseState::InterimAnswered
        | CaseState::AnswerDrafted
        | CaseState::AnswerApproved => Waiting::Feedback,
        _ => Waiting::Assignment,
    };
    let rests = matches!(state, CaseState::Resolved | CaseState::Suspended);
    let idle_since_us = if rests { case.last_us.max(case.rests_until_us) } else { case.last_us };
    Standing { state: case_state_name(state), waiting, idle_since_us }
}

fn case_state(case: &CaseLife) -> CaseState {
    // An answer that assignment has drawn its conclusion from is no news.
    if !case.is_open() || case.assigned == CaseState::Resolved || case.answer == case.resolved_with {
        return case.assigned;
    }
    let worked_on =
        matches!(case.assigned, CaseState::Accepted | CaseState::InProgress | CaseState::InterimAnswered);
    match case.stage {
        AnswerStage::Drafted if worked_on => CaseState::AnswerDrafted,
        AnswerStage::Approved if worked_on => CaseState::AnswerApproved,
        AnswerStage::SentBack if worked_on => CaseState::InProgress,
        // It can't be taken back, whatever has become of the case meanwhile.
        AnswerStage::Published => CaseState::AnswerPublished,
        _ => case.assigned,
    }
}

fn case_state_name(state: CaseState) -> &'static str {
    let name = state.as_str_name();
    name.strip_prefix("CASE_STATE_").unwrap_or(name)
}

/// Where a message stands. `case` gives what is known of a case.
pub fn of_message<'a>(message: &MessageLife, case: impl Fn(Uuid) -> Option<&'a CaseLife>) -> Standing {
    let cases: Vec<Option<&CaseLife>> = message.cases().into_iter().map(case).collect();
    let (waiting, idle_since_us) = message_waits(message, &cases);
    Standing { state: message_state(message, &cases), waiting, idle_since_us }
}

/// A message whose text is gone is not classified any further, and no case need be opened for it.
fn is_gone(message: &MessageLife) -> bool {
    matches!(message.intake, Intake::Withdrawn | Intake::Erased)
}

fn is_in_review(message: &MessageLife) -> bool {
    message.classified && message.questions.values().any(|question| question.present && question.in_review)
}

fn message_state(message: &MessageLife, cases: &[Option<&CaseLife>]) -> &'static str {
    match message.intake {
        Intake::Erased => return "ERASED",
        Intake::Withdrawn => return "WITHDRAWN",
        Intake::Rejected => return "REJECTED",
        Intake::Received | Intake::Unknown => {}
    }
    if is_in_review(message) {
        return "IN_REVIEW";
    }
    if cases.is_empty() {
        return match (message.settled_version, message.classified) {
            (0, _) => "RECEIVED",
            (_, true) => "CLASSIFIED",
            (_, false) => "NOT_CLASSIFIED",
        };
    }
    // Cases that came to nothing have no answer to wait for; where all did, there is none.
    let mut pursued = cases.iter().flatten().filter(|case| case.assigned != CaseState::Cancelled).peekable();
    let unknown = cases.iter().any(Option::is_none);
    if unknown || pursued.peek().is_none() || !pursued.clone().all(|case| case.is_answered()) {
        "JOINED"
    } else if message.ratings > 0 && pursued.all(|case| case.is_rated()) {
        "RATED"
    } else {
        "ANSWERED"
    }
}

fn message_waits(message: &MessageLife, cases: &[Option<&CaseLife>]) -> (Waiting, i64) {
    let last = message.last_us;
    let missing_case = || message.questions.values().any(|q| q.present && q.needs_case && q.case_id.is_none());
    let gone = is_gone(message);
    match message.intake {
        Intake::Unknown => return (Waiting::Intake, last),
        Intake::Rejected => return (Waiting::Nobody, last),
        _ => {}
    }
    let settled = message.settled_version >= message.version || (gone && message.settled_version > 0);
    if !settled || (is_in_review(message) && !gone) {
        return (Waiting::Classification, last);
    }
    if message.classified && missing_case() && !gone {
        return (Waiting::Assignment, last);
    }
    if message.intake == Intake::Erased && !message.erasure_complied {
        return (Waiting::Feedback, last);
    }
    // The case that has waited longest holds the message up.
    let longest = cases
        .iter()
        .map(|case| case.map_or((Waiting::Assignment, last), |case| {
            let standing = of_case(case);
            (standing.waiting, standing.idle_since_us)
        }))
        .filter(|(waiting, _)| *waiting != Waiting::Nobody)
        .min_by_key(|(_, idle)| *idle);
    longest.map_or((Waiting::Nobody, last), |(waiting, idle)| (waiting, idle.max(last)))
}
