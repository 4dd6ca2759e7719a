//! What is known of a message: facts gathered from the entries about it.

use std::collections::BTreeMap;

use otklik_proto::{
    classification::v1::{ClassifiedQuestion, Decision, QuestionKind},
    time::to_micros,
};
use uuid::Uuid;

use super::{
    event::Event,
    step::{Step, identifier},
};

/// Where a message stands in intake; a later one outweighs an earlier one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Intake {
    /// Its reception is not known here yet.
    #[default]
    Unknown,
    /// Taken in.
    Received,
    /// Not passed on.
    Rejected,
    /// Deleted at its source or withdrawn by its author.
    Withdrawn,
    /// Erased with its author's data.
    Erased,
}

/// A message, as the ledgers tell of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MessageLife {
    /// The entry of its reception.
    pub root: Option<Uuid>,
    /// Code of its source.
    pub source_id: String,
    /// When its author published it, in microseconds.
    pub published_us: Option<i64>,
    /// When intake received it.
    pub received_us: Option<i64>,
    /// When its reception was recorded.
    pub recorded_us: Option<i64>,
    /// Where it stands in intake.
    pub intake: Intake,
    /// Its latest version.
    pub version: u32,
    /// The latest version that classification has settled, classified or not; 0 when none.
    pub settled_version: u32,
    /// That version was classified, not put aside.
    pub classified: bool,
    /// Ratings its author has given.
    pub ratings: u32,
    /// Texts derived from it have been removed after its erasure.
    pub erasure_complied: bool,
    /// Its questions by id, former ones of it included.
    pub questions: BTreeMap<Uuid, Question>,
    /// When its last step was recorded.
    pub last_us: i64,
    /// Full name of the type of that step.
    pub last_type: String,
}

/// A question of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// Code of the topic group; may be empty.
    pub topic_group: String,
    /// Code of the topic; may be empty.
    pub topic: String,
    /// Code of the most specific place; may be empty.
    pub place_id: String,
    /// The message, in the version classified last, raises it.
    pub present: bool,
    /// It waits for a person to look at it.
    pub in_review: bool,
    /// A case is to be opened for it.
    pub needs_case: bool,
    /// The case it is in.
    pub case_id: Option<Uuid>,
}

impl MessageLife {
    /// Takes in a step that concerns this message, `id`. Steps of one ledger come in their order.
    pub fn take(&mut self, id: Uuid, step: &Step) {
        if step.recorded_us >= self.last_us {
            self.last_us = step.recorded_us;
            self.last_type.clone_from(&step.entry_type);
        }
        match &step.event {
            Event::MessageReceived(event) => {
                self.root = Some(step.id);
                self.recorded_us = Some(step.recorded_us);
                let received_us = event.received_time.as_ref().map_or(step.recorded_us, to_micros);
                self.received_us = Some(received_us);
                self.published_us = Some(event.published_time.as_ref().map_or(received_us, to_micros));
                self.source_id = event.origin.as_ref().map(|o| o.source_id.clone()).unwrap_or_default();
                self.version = self.version.max(event.version);
                self.intake = self.intake.max(Intake::Received);
            }
            Event::MessageRevised(event) => {
                self.version = self.version.max(event.version);
                if self.intake == Intake::Rejected {
                    self.intake = Intake::Received;
                }
            }
            Event::MessageRejected(_) => self.intake = self.intake.max(Intake::Rejected),
            Event::MessageWithdrawn(_) => self.intake = self.intake.max(Intake::Withdrawn),
            Event::MessageErased(_) => self.intake = self.intake.max(Intake::Erased),
            Event::ErasureComplied(_) => self.erasure_complied = true,
            Event::MessageClassified(event) => self.classify(event.message_version, &event.questions),
            Event::ClassificationCorrected(event) => self.classify(event.message_version, &event.questions),
            Event::MessageNotClassified(event) => {
                self.settled_version = self.settled_version.max(event.message_version);
                self.classified = false;
            }
            Event::CaseOpened(event) => self.join(id, &event.message_id, &event.question_id, &event.case_id),
            Event::MessageJoined(event) => self.join(id, &event.message_id, &event.question_id, &event.case_id),
            Event::RatingRecorded(event) if identifier(&event.message_id) == Some(id) => self.ratings += 1,
            _ => {}
        }
    }

    fn classify(&mut self, version: u32, questions: &[ClassifiedQuestion]) {
        self.settled_version = self.settled_version.max(version);
        self.classified = true;
        for question in self.questions.values_mut() {
            question.present = false;
        }
        for question in questions {
            let Some(id) = identifier(&question.question_id) else { continue };
            let in_review = question.decision() == Decision::Review;
            let known = self.questions.entry(id).or_default();
            *known = Question {
                topic_group: question.topic_group.clone(),
                topic: question.topic.clone(),
                place_id: question.place_ids.first().cloned().unwrap_or_default(),
                present: true,
                in_review,
                needs_case: !in_review && question.kind() != QuestionKind::Spam,
                case_id: known.case_id,
            };
        }
    }

    /// A case may be known before the question it was opened for: their ledgers arrive independently.
    fn join(&mut self, id: Uuid, message: &str, question: &str, case: &str) {
        if identifier(message) == Some(id)
            && let Some(question) = identifier(question)
        {
            self.questions.entry(question).or_default().case_id = identifier(case);
        }
    }

    /// The cases that questions of it are in, each once.
    #[must_use]
    pub fn cases(&self) -> Vec<Uuid> {
        let mut cases: Vec<Uuid> = self.questions.values().filter_map(|question| question.case_id).collect();
        cases.sort_unstable();
        cases.dedup();
        cases
    }
}
