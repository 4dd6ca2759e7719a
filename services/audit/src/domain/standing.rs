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
    let worked_on = matches!(case.assigned, CaseState::Accepted | CaseState::InProgress | CaseState::InterimAnswered);
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
        .map(|case| {
            case.map_or((Waiting::Assignment, last), |case| {
                let standing = of_case(case);
                (standing.waiting, standing.idle_since_us)
            })
        })
        .filter(|(waiting, _)| *waiting != Waiting::Nobody)
        .min_by_key(|(_, idle)| *idle);
    longest.map_or((Waiting::Nobody, last), |(waiting, idle)| (waiting, idle.max(last)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use otklik_proto::{
        EventType,
        assignment::v1::{CaseAccepted, CaseAssigned, CaseClosed, CaseOpened, CaseReopened, CaseResolved, CloseKind},
        classification::v1::{ClassifiedQuestion, Decision, MessageClassified},
        feedback::v1::{AnswerDelivered, AnswerDrafted, AnswerKind, AnswerPublished, AnswerSentBack, RatingRecorded},
        intake::v1::{MessageReceived, MessageWithdrawn},
        ledger::v1::EntryHeader,
    };
    use proptest::prelude::*;

    use super::{
        super::{
            event::Event,
            step::{Step, Subjects},
        },
        *,
    };

    const MESSAGE: Uuid = Uuid::from_u128(1);
    const CASE: Uuid = Uuid::from_u128(2);

    fn step<M: EventType>(at: i64, event: M) -> Step {
        let service = M::TYPE.split('.').nth(1).unwrap();
        let of_case = matches!(service, "assignment" | "feedback");
        Step {
            arrival: (1, 0),
            service: service.into(),
            incarnation: Uuid::nil(),
            partition: 0,
            seq: at.unsigned_abs(),
            hash: Default::default(),
            intact: true,
            header: EntryHeader::default(),
            entry_type: M::TYPE.into(),
            event: Event::decode(M::TYPE, &event.encode_to_vec()),
            payload: Default::default(),
            id: Uuid::from_u128(1_000 + at.unsigned_abs() as u128),
            cause: None,
            recorded_us: at,
            subjects: Subjects { messages: vec![MESSAGE], cases: if of_case { vec![CASE] } else { Vec::new() } },
        }
    }

    /// The ledgers of a life with an answer sent back, a reopening and a second answer.
    fn ledgers() -> Vec<Vec<Step>> {
        let id = || MESSAGE.to_string();
        let case_id = || CASE.to_string();
        let answer = |n: u128| Uuid::from_u128(100 + n).to_string();
        let kind = i32::from(AnswerKind::Final);
        let question = || ClassifiedQuestion {
            question_id: Uuid::from_u128(9).to_string(),
            ordinal: 1,
            topic: "roads.ice".into(),
            decision: Decision::Auto.into(),
            ..Default::default()
        };
        let drafted = |n| AnswerDrafted { answer_id: answer(n), kind, ..Default::default() };
        let published =
            |n| AnswerPublished { answer_id: answer(n), kind, message_ids: vec![id()], ..Default::default() };
        let delivered = |n| AnswerDelivered { answer_id: answer(n), kind, ..Default::default() };
        let resolved = |n| CaseResolved { answer_id: answer(n), rating_end_time: None, ..Default::default() };
        vec![
            vec![step(1, MessageReceived { message_id: id(), version: 1, ..Default::default() })],
            vec![step(2, MessageClassified { message_version: 1, questions: vec![question()], ..Default::default() })],
            vec![
                step(
                    3,
                    CaseOpened {
                        case_id: case_id(),
                        message_id: id(),
                        question_id: question().question_id,
                        ..Default::default()
                    },
                ),
                step(4, CaseAssigned { executor_id: "city-roads".into(), ..Default::default() }),
                step(5, CaseAccepted::default()),
                step(10, resolved(1)),
                step(12, CaseReopened::default()),
                step(13, CaseAssigned { executor_id: "city-roads".into(), ..Default::default() }),
                step(14, CaseAccepted::default()),
                step(18, resolved(2)),
                step(20, CaseClosed { kind: CloseKind::Confirmed.into(), ..Default::default() }),
            ],
            vec![
                step(6, drafted(1)),
                step(7, AnswerSentBack { answer_id: answer(1), kind, ..Default::default() }),
                step(8, drafted(1)),
                step(9, published(1)),
                step(11, delivered(1)),
                step(15, drafted(2)),
                step(16, published(2)),
                step(17, delivered(2)),
                step(19, RatingRecorded { message_id: id(), answer_id: answer(2), ..Default::default() }),
            ],
        ]
    }

    fn fold<'a>(steps: impl IntoIterator<Item = &'a Step>) -> (MessageLife, BTreeMap<Uuid, CaseLife>) {
        let (mut message, mut cases) = (MessageLife::default(), BTreeMap::<Uuid, CaseLife>::new());
        for step in steps {
            message.take(MESSAGE, step);
            for case in &step.subjects.cases {
                cases.entry(*case).or_default().take(step);
            }
        }
        (message, cases)
    }

    #[test]
    fn states_follow_each_other() {
        let mut steps: Vec<Step> = ledgers().into_iter().flatten().collect();
        steps.sort_by_key(|step| step.recorded_us);
        let mut told = Vec::new();
        for length in 1..=steps.len() {
            let (message, cases) = fold(&steps[..length]);
            let case = cases.get(&CASE).map_or("", |case| of_case(case).state);
            told.push((of_message(&message, |id| cases.get(&id)).state, case));
        }
        assert_eq!(
            told,
            [
                ("RECEIVED", ""),
                ("CLASSIFIED", ""),
                ("JOINED", "OPENED"),
                ("JOINED", "ASSIGNED"),
                ("JOINED", "ACCEPTED"),
                ("JOINED", "ANSWER_DRAFTED"),
                ("JOINED", "IN_PROGRESS"),
                ("JOINED", "ANSWER_DRAFTED"),
                ("ANSWERED", "ANSWER_PUBLISHED"),
                ("ANSWERED", "RESOLVED"),
                ("ANSWERED", "RESOLVED"),
                ("JOINED", "REOPENED"),
                ("JOINED", "ASSIGNED"),
                ("JOINED", "ACCEPTED"),
                ("JOINED", "ANSWER_DRAFTED"),
                ("ANSWERED", "ANSWER_PUBLISHED"),
                ("ANSWERED", "ANSWER_PUBLISHED"),
                ("ANSWERED", "RESOLVED"),
                ("RATED", "RESOLVED"),
                ("RATED", "CLOSED_CONFIRMED"),
            ]
        );
    }

    #[test]
    fn who_is_waited_for_is_who_must_act() {
        let steps: Vec<Step> = ledgers().into_iter().flatten().collect();
        let waits = |count: usize, more: Option<Step>| {
            let mut steps = steps.clone();
            steps.sort_by_key(|step| step.recorded_us);
            steps.truncate(count);
            steps.extend(more);
            let (message, cases) = fold(&steps);
            of_message(&message, |id| cases.get(&id)).waiting
        };
        assert_eq!(waits(0, None), Waiting::Intake);
        assert_eq!(waits(1, None), Waiting::Classification);
        assert_eq!(waits(2, None), Waiting::Assignment);
        assert_eq!(waits(5, None), Waiting::Feedback);
        assert_eq!(waits(9, None), Waiting::Assignment);
        assert_eq!(waits(20, None), Waiting::Nobody);
        // No case need be opened any more for what was withdrawn.
        assert_eq!(waits(2, Some(step(3, MessageWithdrawn::default()))), Waiting::Nobody);
    }

    proptest! {
        #[test]
        fn the_order_in_which_ledgers_arrive_does_not_matter(choices in proptest::collection::vec(0usize..4, 80)) {
            let ledgers = ledgers();
            let (message, cases) = fold(ledgers.iter().flatten());
            let expected = (of_message(&message, |id| cases.get(&id)), of_case(&cases[&CASE]));
            // Any interleaving that keeps each ledger's own order.
            let mut next = [0; 4];
            let mut steps = Vec::new();
            for choice in choices {
                if let Some(step) = ledgers[choice].get(next[choice]) {
                    steps.push(step);
                    next[choice] += 1;
                }
            }
            for (ledger, next) in ledgers.iter().zip(next) {
                steps.extend(&ledger[next..]);
            }
            let (message, cases) = fold(steps);
            prop_assert_eq!((of_message(&message, |id| cases.get(&id)), of_case(&cases[&CASE])), expected);
        }
    }
}
