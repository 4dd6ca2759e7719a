//! Between the contract and the domain.

use jiff::Timestamp;
use otklik_chassis::{error::Error, lane::Done, validate::Violations};
use otklik_proto::{
    feedback::v1::{self as proto, DeliveryState},
    time::from_micros,
};
use prost_types::Timestamp as ProtoTimestamp;
use uuid::Uuid;

use crate::{
    domain::delivery::Delivery,
    store::command::{AnswerView, RatingView, Reply},
};

pub(super) fn answer(view: AnswerView) -> proto::Answer {
    let AnswerView { answer, wording, message_ids } = view;
    proto::Answer {
        answer_id: answer.id.to_string(),
        case_id: answer.case_id.to_string(),
        kind: answer.terms.kind.into(),
        state: answer.state.into(),
        text: wording.text,
        outcome: answer.terms.outcome.into(),
        promise_date: answer.terms.promise_date.map(|date| date.to_string()).unwrap_or_default(),
        etag: answer.etag(),
        template_id: answer.terms.template_id,
        proof_urls: wording.proof_urls,
        revision: answer.revision,
        drafted_by: answer.drafted_by,
        approved_by: answer.approved_by,
        send_back_reason: answer.send_back_reason.into(),
        send_back_comment: wording.send_back_comment,
        message_ids: message_ids.iter().map(Uuid::to_string).collect(),
        draft_time: Some(time(answer.drafted)),
        approve_time: answer.approved.map(time),
        publish_time: answer.published.map(time),
    }
}

pub(super) fn delivery(delivery: Delivery) -> proto::Delivery {
    proto::Delivery {
        delivery_id: delivery.id.to_string(),
        answer_id: delivery.answer_id.to_string(),
        case_id: delivery.case_id.to_string(),
        message_id: delivery.message_id.to_string(),
        next_attempt_time: delivery.is_open().then(|| time(delivery.due)),
        source_id: delivery.route.source_id,
        state: DeliveryState::into(delivery.state),
        attempts: delivery.attempts,
        deliver_time: delivery.delivered.map(time),
        give_up_reason: delivery.give_up_reason.into(),
        last_error: delivery.last_error,
        create_time: Some(time(delivery.created)),
    }
}

pub(super) fn rating(view: RatingView) -> proto::Rating {
    proto::Rating {
        rating_id: view.id.to_string(),
        case_id: view.case_id.to_string(),
        message_id: view.message_id.to_string(),
        answer_id: view.answer_id.to_string(),
        score: view.score,
        satisfied: view.satisfied,
        comment: view.comment,
        rate_time: Some(time(view.rated)),
    }
}

fn time(time: Timestamp) -> ProtoTimestamp {
    from_micros(time.as_microsecond())
}

/// The request id that every change needs.
pub(super) fn require_request_id(violations: &mut Violations, request_id: &str) {
    violations.require("request_id", request_id);
}

/// A text of so many bytes at the most.
pub(super) fn at_most_bytes(violations: &mut Violations, field: &str, text: &str, limit: usize) {
    violations.check(text.len() <= limit, field, format!("must have at most {limit} bytes of UTF-8"));
}

/// The values of a repeated enumeration.
pub(super) fn codes<E: TryFrom<i32>>(violations: &mut Violations, field: &str, numbers: &[i32]) -> Vec<E> {
    let mut known = Vec::with_capacity(numbers.len());
    for (index, number) in numbers.iter().enumerate() {
        match E::try_from(*number) {
            Ok(code) if *number != 0 => known.push(code),
            _ => violations.add(format!("{field}[{index}]"), "must be one of the contract's values"),
        }
    }
    known
}

/// The value of an enumeration; 0 is `UNSPECIFIED`.
pub(super) fn code<E: TryFrom<i32> + Default>(violations: &mut Violations, field: &str, number: i32) -> E {
    E::try_from(number).unwrap_or_else(|_| {
        violations.add(field, "must be one of the contract's values");
        E::default()
    })
}

/// The answer that a command left, if it is not a repeat.
pub(super) fn view_of(done: &mut Done<Reply>) -> Option<AnswerView> {
    match done.reply.take() {
        Some(Reply::Answer(view)) => Some(*view),
        _ => None,
    }
}

/// The id that a repeated call is answered from.
pub(super) fn resource_id(resource: &str) -> Result<Uuid, Error> {
    resource.parse().map_err(|_| Error::internal(anyhow::anyhow!("a stored resource is no id")))
}
