//! The contract's messages from the domain's values, and back.

use jiff::Timestamp;
use otklik_chassis::id::child_id;
use otklik_proto::{
    classification::v1::{
        self as contract, Alternative, ClassificationState, ClassifiedQuestion, NotClassifiedReason, QuestionKind,
    },
    time::{from_micros, to_micros},
};
use uuid::Uuid;

use crate::domain::{
    life::{Classification, NotClassified, State},
    question::{Candidate, Decision, Kind, Question, Urgency},
};

/// The id of a question: the same for every classification of the message.
pub fn question_id(message: Uuid, ordinal: u32) -> Uuid {
    child_id("question", message, ordinal)
}

/// A question of a message; without a message (a text that was only looked at) it has no id.
pub fn question(message: Option<Uuid>, question: &Question) -> ClassifiedQuestion {
    ClassifiedQuestion {
        question_id: message.map(|message| question_id(message, question.ordinal).to_string()).unwrap_or_default(),
        ordinal: question.ordinal,
        topic: question.topic.clone(),
        topic_group: question.group.clone(),
        confidence: question.confidence,
        alternatives: question.alternatives.iter().map(alternative).collect(),
        kind: kind(question.kind).into(),
        urgency: urgency(question.urgency).into(),
        place_ids: question.places.clone(),
        span_start: question.span.start,
        span_end: question.span.end,
        decision: decision(question.decision).into(),
    }
}

fn alternative(candidate: &Candidate) -> Alternative {
    Alternative {
        topic: candidate.topic.clone(),
        topic_group: candidate.group.clone(),
        confidence: candidate.confidence,
    }
}

/// A stored question as the domain has it.
pub fn question_of(stored: ClassifiedQuestion) -> Question {
    Question {
        ordinal: stored.ordinal,
        alternatives: stored
            .alternatives
            .into_iter()
            .map(|a| Candidate { topic: a.topic, group: a.topic_group, confidence: a.confidence })
            .collect(),
        kind: QuestionKind::try_from(stored.kind).ok().and_then(kind_of).unwrap_or(Kind::Complaint),
        urgency: contract::Urgency::try_from(stored.urgency).ok().and_then(urgency_of).unwrap_or(Urgency::Normal),
        decision: match contract::Decision::try_from(stored.decision) {
            Ok(contract::Decision::Auto) => Decision::Auto,
            Ok(contract::Decision::Human) => Decision::Human,
            _ => Decision::Review,
        },
        topic: stored.topic,
        group: stored.topic_group,
        confidence: stored.confidence,
        places: stored.place_ids,
        span: stored.span_start..stored.span_end,
    }
}

fn kind(kind: Kind) -> QuestionKind {
    match kind {
        Kind::Complaint => QuestionKind::Complaint,
        Kind::Question => QuestionKind::Question,
        Kind::Proposal => QuestionKind::Proposal,
        Kind::Thanks => QuestionKind::Thanks,
        Kind::Spam => QuestionKind::Spam,
    }
}

/// The kind that a caller states; `None` for the unspecified one.
pub fn kind_of(kind: QuestionKind) -> Option<Kind> {
    Some(match kind {
        QuestionKind::Unspecified => return None,
        QuestionKind::Complaint => Kind::Complaint,
        QuestionKind::Question => Kind::Question,
        QuestionKind::Proposal => Kind::Proposal,
        QuestionKind::Thanks => Kind::Thanks,
        QuestionKind::Spam => Kind::Spam,
    })
}

fn urgency(urgency: Urgency) -> contract::Urgency {
    match urgency {
        Urgency::Normal => contract::Urgency::Normal,
        Urgency::High => contract::Urgency::High,
        Urgency::Emergency => contract::Urgency::Emergency,
    }
}

/// The urgency that a caller states; `None` for the unspecified one.
pub fn urgency_of(urgency: contract::Urgency) -> Option<Urgency> {
    Some(match urgency {
        contract::Urgency::Unspecified => return None,
        contract::Urgency::Normal => Urgency::Normal,
        contract::Urgency::High => Urgency::High,
        contract::Urgency::Emergency => Urgency::Emergency,
    })
}

fn decision(decision: Decision) -> contract::Decision {
    match decision {
        Decision::Auto => contract::Decision::Auto,
        Decision::Review => contract::Decision::Review,
        Decision::Human => contract::Decision::Human,
    }
}

/// The contract's state and reason.
pub fn state(state: State) -> (ClassificationState, NotClassifiedReason) {
    match state {
        State::Classified => (ClassificationState::Classified, NotClassifiedReason::Unspecified),
        State::InReview => (ClassificationState::InReview, NotClassifiedReason::Unspecified),
        State::NotClassified(reason) => (
            ClassificationState::NotClassified,
            match reason {
                NotClassified::Withdrawn => NotClassifiedReason::Withdrawn,
                NotClassified::Erased => NotClassifiedReason::Erased,
                NotClassified::Unreadable => NotClassifiedReason::Unreadable,
            },
        ),
    }
}

/// The domain's state of a stored one.
pub fn state_of(state: ClassificationState, reason: NotClassifiedReason) -> State {
    match (state, reason) {
        (ClassificationState::Classified, _) => State::Classified,
        (ClassificationState::InReview, _) => State::InReview,
        (_, NotClassifiedReason::Erased) => State::NotClassified(NotClassified::Erased),
        (_, NotClassifiedReason::Unreadable) => State::NotClassified(NotClassified::Unreadable),
        _ => State::NotClassified(NotClassified::Withdrawn),
    }
}

/// A time of the contract.
pub fn time(at: Timestamp) -> prost_types::Timestamp {
    from_micros(at.as_microsecond())
}

/// The domain's time of a contract's; `None` where it is unset or out of range.
pub fn time_of(at: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    at.and_then(|at| Timestamp::from_microsecond(to_micros(at)).ok())
}

/// A classification as it is stored: what depends on the row (message, etag, source) and on nobody else is left out.
pub fn record(
    message: Uuid,
    classification: &Classification,
    versions: (&str, &str),
    published: Option<Timestamp>,
) -> contract::Classification {
    let (state, reason) = state(classification.state);
    contract::Classification {
        message_id: String::new(),
        message_version: classification.version,
        state: state.into(),
        not_classified_reason: reason.into(),
        questions: classification.questions.iter().map(|q| question(Some(message), q)).collect(),
        model_version: versions.0.to_owned(),
        taxonomy_version: versions.1.to_owned(),
        source_id: String::new(),
        classify_time: Some(time(classification.classified)),
        correct_time: classification.corrected.map(time),
        published_time: published.map(time),
        etag: String::new(),
    }
}

/// The domain's view of a stored classification.
pub fn classification_of(record: contract::Classification, waiting_since: Option<Timestamp>) -> Classification {
    Classification {
        version: record.message_version,
        state: state_of(record.state(), record.not_classified_reason()),
        classified: time_of(record.classify_time.as_ref()).unwrap_or(Timestamp::UNIX_EPOCH),
        corrected: time_of(record.correct_time.as_ref()),
        questions: record.questions.into_iter().map(question_of).collect(),
        waiting_since,
    }
}
