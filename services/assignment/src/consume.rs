//! What the ledgers of other services mean for cases.

use async_trait::async_trait;
use otklik_chassis::{
    consumer::{Incoming, Prepared, Subscriber},
    error::Error,
};
use otklik_proto::{
    EventType,
    classification::v1::{ClassificationCorrected, ClassifiedQuestion, Decision, MessageClassified},
    feedback::v1::{
        AnswerApproved, AnswerDrafted, AnswerKind, AnswerPublished, AnswerSentBack, RatingRecorded, ReopenRequested,
    },
    intake::v1::{MessageOrigin, MessageWithdrawn},
    time::to_micros,
};
use uuid::Uuid;

use crate::{
    domain::case::{Classified, Fact, FactKind, Question, Subject},
    store::writer::Command,
};

/// Follows classification: questions become cases.
#[derive(Debug)]
pub struct OfClassification;

/// Follows feedback: answers and ratings move cases.
#[derive(Debug)]
pub struct OfFeedback;

/// Follows intake, for withdrawals only: classification has no entry for a message that is withdrawn after it was
/// classified.
#[derive(Debug)]
pub struct OfIntake;

/// Prepares each entry by itself: nobody has to be asked.
fn each(entries: &[Incoming], prepare: fn(&Incoming) -> Result<Option<Command>, Error>) -> Vec<Prepared<Command>> {
    let prepare = |incoming: &Incoming| match prepare(incoming) {
        Ok(Some(command)) => Prepared::Apply(command),
        Ok(None) => Prepared::Skip,
        Err(error) => Prepared::Refuse(error),
    };
    entries.iter().map(prepare).collect()
}

#[async_trait]
impl Subscriber for OfClassification {
    type Command = Command;

    fn handles(&self) -> &'static [&'static str] {
        &[MessageClassified::TYPE, ClassificationCorrected::TYPE]
    }

    async fn prepare(&self, entries: &[Incoming]) -> Result<Vec<Prepared<Command>>, Error> {
        Ok(each(entries, classified))
    }
}

#[async_trait]
impl Subscriber for OfFeedback {
    type Command = Command;

    fn handles(&self) -> &'static [&'static str] {
        &[
            AnswerDrafted::TYPE,
            AnswerSentBack::TYPE,
            AnswerApproved::TYPE,
            AnswerPublished::TYPE,
            RatingRecorded::TYPE,
            ReopenRequested::TYPE,
        ]
    }

    async fn prepare(&self, entries: &[Incoming]) -> Result<Vec<Prepared<Command>>, Error> {
        Ok(each(entries, fact))
    }
}

#[async_trait]
impl Subscriber for OfIntake {
    type Command = Command;

    fn handles(&self) -> &'static [&'static str] {
        &[MessageWithdrawn::TYPE]
    }

    async fn prepare(&self, entries: &[Incoming]) -> Result<Vec<Prepared<Command>>, Error> {
        Ok(each(entries, withdrawn))
    }
}

fn classified(incoming: &Incoming) -> Result<Option<Command>, Error> {
    let (message_id, version, questions, origin) = if incoming.entry.r#type == MessageClassified::TYPE {
        let event: MessageClassified = incoming.payload()?;
        (event.message_id, event.message_version, event.questions, event.origin)
    } else {
        let event: ClassificationCorrected = incoming.payload()?;
        (event.message_id, event.message_version, event.questions, event.origin)
    };
    let origin: MessageOrigin = origin.unwrap_or_default();
    let questions = questions
        .into_iter()
        // A person has yet to look at the others.
        .filter(|question| question.decision() != Decision::Review)
        .map(|question: ClassifiedQuestion| {
            Ok(Question {
                id: id("question_id", &question.question_id)?,
                subject: Subject::new(question, &origin.place_hint_id),
            })
        })
        .collect::<Result<Vec<Question>, Error>>()?;
    if questions.is_empty() {
        return Ok(None);
    }
    let header = &incoming.header;
    Ok(Some(Command::Classified(Box::new(Classified {
        message_id: id("message_id", &message_id)?,
        message_version: version,
        published_us: header.published_time.as_ref().map(to_micros),
        received_us: header.received_time.as_ref().map(to_micros),
        origin,
        questions,
    }))))
}

fn fact(incoming: &Incoming) -> Result<Option<Command>, Error> {
    let entry_type = incoming.entry.r#type.as_str();
    let final_only = |kind: AnswerKind, fact: FactKind| (kind == AnswerKind::Final).then_some(fact);
    let (entry_type, case_id, kind) = match entry_type {
        AnswerDrafted::TYPE => {
            let event: AnswerDrafted = incoming.payload()?;
            let answer_id = id("answer_id", &event.answer_id)?;
            (AnswerDrafted::TYPE, event.case_id.clone(), final_only(event.kind(), FactKind::Drafted { answer_id }))
        }
        AnswerSentBack::TYPE => {
            let event: AnswerSentBack = incoming.payload()?;
            let answer_id = id("answer_id", &event.answer_id)?;
            (AnswerSentBack::TYPE, event.case_id.clone(), final_only(event.kind(), FactKind::SentBack { answer_id }))
        }
        AnswerApproved::TYPE => {
            let event: AnswerApproved = incoming.payload()?;
            let answer_id = id("answer_id", &event.answer_id)?;
            (AnswerApproved::TYPE, event.case_id.clone(), final_only(event.kind(), FactKind::Approved { answer_id }))
        }
        AnswerPublished::TYPE => {
            let event: AnswerPublished = incoming.payload()?;
            let answer_id = id("answer_id", &event.answer_id)?;
            let kind = FactKind::Published { answer_id, kind: event.kind(), outcome: event.outcome() };
            (AnswerPublished::TYPE, event.case_id.clone(), Some(kind))
        }
        RatingRecorded::TYPE => {
            let event: RatingRecorded = incoming.payload()?;
            let answer_id = optional_id("answer_id", &event.answer_id)?;
            let kind = FactKind::Rated {
                message_id: id("message_id", &event.message_id)?,
                answer_id,
                is_satisfied: event.satisfied,
            };
            (RatingRecorded::TYPE, event.case_id, Some(kind))
        }
        ReopenRequested::TYPE => {
            let event: ReopenRequested = incoming.payload()?;
            let message_id = optional_id("message_id", &event.message_id)?;
            let kind = FactKind::ReopenRequested { message_id, reason: event.reason() };
            (ReopenRequested::TYPE, event.case_id, Some(kind))
        }
        _ => return Ok(None),
    };
    let Some(kind) = kind else { return Ok(None) };
    Ok(Some(Command::Absorb(Fact {
        case_id: id("case_id", &case_id)?,
        kind,
        at_us: recorded_us(incoming)?,
        entry_type,
    })))
}

fn withdrawn(incoming: &Incoming) -> Result<Option<Command>, Error> {
    if incoming.entry.r#type != MessageWithdrawn::TYPE {
        return Ok(None);
    }
    let event: MessageWithdrawn = incoming.payload()?;
    Ok(Some(Command::Withdrawn { message_id: id("message_id", &event.message_id)?, at_us: recorded_us(incoming)? }))
}

fn recorded_us(incoming: &Incoming) -> Result<i64, Error> {
    incoming.header.recorded_time.as_ref().map(to_micros).ok_or_else(|| unreadable("the header has no recorded_time"))
}

fn id(field: &str, text: &str) -> Result<Uuid, Error> {
    text.parse().map_err(|_| unreadable(format!("{field} is not a UUID")))
}

fn optional_id(field: &str, text: &str) -> Result<Option<Uuid>, Error> {
    if text.is_empty() { Ok(None) } else { id(field, text).map(Some) }
}

fn unreadable(what: impl std::fmt::Display) -> Error {
    Error::internal(anyhow::anyhow!("the entry can't be understood: {what}"))
}
