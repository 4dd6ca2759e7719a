//! Checks of requests, all violations at once.

use std::collections::HashSet;

use otklik_chassis::{error::Error, validate::Violations};
use otklik_proto::classification::v1::{
    ClassifyRequest, CorrectClassificationRequest, CorrectedQuestion, CorrectionReason,
};
use uuid::Uuid;

use crate::{domain::life::Correction, pack::Pack, store::CorrectionOrder, wire};

/// Longest text in bytes.
const LONGEST_TEXT: usize = 32 * 1024;
/// Most questions of one correction.
const MOST_QUESTIONS: usize = 32;
/// Most places of one question.
const MOST_PLACES: usize = 16;

/// A text to be classified.
pub(super) fn text(request: ClassifyRequest, pack: &Pack) -> Result<ClassifyRequest, Error> {
    let mut violations = Violations::new();
    violations.check(!request.text.is_empty(), "text", "must not be empty");
    violations.check(request.text.len() <= LONGEST_TEXT, "text", format!("must have at most {LONGEST_TEXT} bytes"));
    let hint = &request.place_hint_id;
    violations.check(
        hint.is_empty() || pack.classifier.places().contains(hint),
        "place_hint_id",
        "is not a place of the region pack",
    );
    if request.published_time.is_some() {
        violations.timestamp("published_time", request.published_time.as_ref());
    }
    violations.finish()?;
    Ok(request)
}

/// A message's id.
pub(super) fn message_id(text: &str) -> Result<Uuid, Error> {
    let mut violations = Violations::new();
    let id = violations.uuid("message_id", text);
    violations.finish()?;
    Ok(id.unwrap_or_default())
}

/// A correction as the domain has it.
pub(super) fn correction(request: CorrectClassificationRequest, pack: &Pack) -> Result<CorrectionOrder, Error> {
    let mut violations = Violations::new();
    violations.require("request_id", &request.request_id);
    let message_id = violations.uuid("message_id", &request.message_id);
    violations.require("etag", &request.etag);
    let reason = request.reason();
    violations.check(reason != CorrectionReason::Unspecified, "reason", "must be set to a known value");
    violations.check(
        request.questions.len() <= MOST_QUESTIONS,
        "questions",
        format!("must be at most {MOST_QUESTIONS}"),
    );
    let topics: HashSet<&str> = pack.classifier.taxonomy().topics.iter().map(|topic| topic.code.as_str()).collect();
    let mut questions = Vec::with_capacity(request.questions.len());
    for (index, corrected) in request.questions.iter().enumerate() {
        questions.extend(question(&mut violations, &format!("questions[{index}]"), corrected, &topics, pack));
    }
    violations.finish()?;
    Ok(CorrectionOrder { message_id: message_id.unwrap_or_default(), etag: request.etag, questions, reason })
}

fn question(
    violations: &mut Violations,
    path: &str,
    corrected: &CorrectedQuestion,
    topics: &HashSet<&str>,
    pack: &Pack,
) -> Option<(Option<Uuid>, Correction)> {
    let id = violations.optional_uuid(format!("{path}.question_id"), &corrected.question_id);
    let topic = format!("{path}.topic");
    if violations.require(&topic, &corrected.topic) {
        violations.check(topics.contains(corrected.topic.as_str()), topic, "is not a topic of the taxonomy in force");
    }
    let kind = violations.required(format!("{path}.kind"), wire::kind_of(corrected.kind()));
    let urgency = violations.required(format!("{path}.urgency"), wire::urgency_of(corrected.urgency()));
    let places = &corrected.place_ids;
    violations.check(
        places.len() <= MOST_PLACES,
        format!("{path}.place_ids"),
        format!("must be at most {MOST_PLACES}"),
    );
    for (index, place) in places.iter().enumerate().take(MOST_PLACES) {
        violations.check(
            pack.classifier.places().contains(place),
            format!("{path}.place_ids[{index}]"),
            "is not a place of the region pack",
        );
    }
    let correction = Correction {
        ordinal: None,
        topic: corrected.topic.clone(),
        kind: kind?,
        urgency: urgency?,
        places: places.clone(),
    };
    Some((id, correction))
}
