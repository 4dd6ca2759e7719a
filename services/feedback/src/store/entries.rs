//! What happened, as the ledger tells it: codes, ids and times, never words.

use otklik_chassis::ledger::Draft;
use otklik_proto::{
    assignment::v1::ReopenReason,
    feedback::v1::{
        AnswerApproved, AnswerDelivered, AnswerDrafted, AnswerPublished, AnswerSentBack, DeliveryGivenUp,
        ErasureComplied, RatingRecorded, ReopenRequested,
    },
};
use uuid::Uuid;

use super::command::RatingView;
use crate::domain::{
    answer::{Answer, Wording},
    commitment::commitment,
    delivery::{Delivery, Ending},
};

/// An answer was drafted. `templates` is the version of the templates it may have begun from.
pub(super) fn drafted(answer: &Answer, wording: &Wording, members: &[Uuid], templates: &str) -> Draft {
    let terms = &answer.terms;
    let event = AnswerDrafted {
        answer_id: answer.id.to_string(),
        case_id: answer.case_id.to_string(),
        kind: terms.kind.into(),
        outcome: terms.outcome.into(),
        promise_date: terms.promise_date.map(|date| date.to_string()).unwrap_or_default(),
        template_id: terms.template_id.clone(),
        revision: answer.revision,
        text_commitment: commitment(&wording.salt, &wording.text),
    };
    let draft = of_case(answer.case_id, &event).concerning(members.iter().copied());
    if terms.template_id.is_empty() { draft } else { draft.under("templates", templates) }
}

/// An answer was sent back.
pub(super) fn sent_back(answer: &Answer, members: &[Uuid]) -> Draft {
    let event = AnswerSentBack {
        answer_id: answer.id.to_string(),
        case_id: answer.case_id.to_string(),
        kind: answer.terms.kind.into(),
        reason: answer.send_back_reason.into(),
        revision: answer.revision,
    };
    of_case(answer.case_id, &event).concerning(members.iter().copied()).because(answer.send_back_reason.as_str_name())
}

/// An answer was approved.
pub(super) fn approved(answer: &Answer, members: &[Uuid]) -> Draft {
    let event = AnswerApproved {
        answer_id: answer.id.to_string(),
        case_id: answer.case_id.to_string(),
        kind: answer.terms.kind.into(),
        revision: answer.revision,
    };
    of_case(answer.case_id, &event).concerning(members.iter().copied())
}

/// An answer was published for the authors of these messages.
pub(super) fn published(answer: &Answer, messages: &[Uuid]) -> Draft {
    let terms = &answer.terms;
    let event = AnswerPublished {
        answer_id: answer.id.to_string(),
        case_id: answer.case_id.to_string(),
        kind: terms.kind.into(),
        outcome: terms.outcome.into(),
        promise_date: terms.promise_date.map(|date| date.to_string()).unwrap_or_default(),
        message_ids: messages.iter().map(Uuid::to_string).collect(),
        revision: answer.revision,
    };
    of_case(answer.case_id, &event).concerning(messages.iter().copied())
}

/// A delivery ended.
pub(super) fn ended(delivery: &Delivery, ending: Ending) -> Draft {
    let (delivery_id, answer_id) = (delivery.id.to_string(), delivery.answer_id.to_string());
    let (case_id, message_id) = (delivery.case_id.to_string(), delivery.message_id.to_string());
    let (kind, attempts) = (delivery.kind.into(), delivery.attempts);
    let draft = match ending {
        Ending::Delivered => {
            of_case(delivery.case_id, &AnswerDelivered { delivery_id, answer_id, case_id, message_id, kind, attempts })
        }
        Ending::GivenUp => {
            let reason = delivery.give_up_reason.into();
            let event = DeliveryGivenUp { delivery_id, answer_id, case_id, message_id, kind, attempts, reason };
            of_case(delivery.case_id, &event).because(delivery.give_up_reason.as_str_name())
        }
    };
    draft.concerning([delivery.message_id])
}

/// An author rated an answer.
pub(super) fn rated(rating: &RatingView) -> Draft {
    let event = RatingRecorded {
        rating_id: rating.id.to_string(),
        case_id: rating.case_id.to_string(),
        message_id: rating.message_id.to_string(),
        answer_id: rating.answer_id.to_string(),
        score: rating.score,
        satisfied: rating.satisfied,
    };
    of_case(rating.case_id, &event).concerning([rating.message_id])
}

/// An author wants a case reopened.
pub(super) fn reopen_requested(request: Uuid, case: Uuid, message: Uuid, reason: ReopenReason) -> Draft {
    let event = ReopenRequested {
        reopen_request_id: request.to_string(),
        case_id: case.to_string(),
        message_id: message.to_string(),
        reason: reason.into(),
    };
    of_case(case, &event).concerning([message]).because(reason.as_str_name())
}

/// What was derived from an erased message has been removed.
pub(super) fn erasure_complied(event: &ErasureComplied, message: Uuid, cases: &[Uuid]) -> Draft {
    Draft::new("message", message, event).concerning(cases.iter().copied())
}

fn of_case<M: prost::Message + prost::Name>(case: Uuid, event: &M) -> Draft {
    Draft::new("case", case, event)
}
