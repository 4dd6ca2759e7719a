//! The one place that writes: a set of commands, one transaction.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use jiff::Timestamp;
use otklik_chassis::{
    error::{Error, Violation},
    lane::{Apply, Effect, Outcome, Tx},
    ledger::Draft,
    storage::Failure,
};
use otklik_proto::{
    classification::v1::{
        self as contract, ClassificationCorrected, CorrectionReason, MessageClassified, MessageNotClassified,
        ReviewRequested,
    },
    intake::v1::MessageOrigin,
};
use uuid::Uuid;

use super::rows::{self, Row};
use crate::{
    domain::life::{self, Classification, Correction, Finding, NotClassified, State},
    pack::Pack,
    wire,
};

/// A version of a message that was looked at.
#[derive(Debug)]
pub struct Arrival {
    /// The message.
    pub message_id: Uuid,
    /// Its version.
    pub version: u32,
    /// Where it comes from.
    pub origin: Option<MessageOrigin>,
    /// When the version was published.
    pub published: Option<Timestamp>,
    /// When intake received it.
    pub received: Option<Timestamp>,
    /// What it holds.
    pub finding: Finding,
}

/// A person's decision on a message.
#[derive(Debug)]
pub struct CorrectionOrder {
    /// The message.
    pub message_id: Uuid,
    /// The etag of the classification that the person looked at.
    pub etag: String,
    /// The questions corrected: each by its id, or by none when it was not recognised.
    pub questions: Vec<(Option<Uuid>, Correction)>,
    /// Why.
    pub reason: CorrectionReason,
}

/// What changes a classification.
#[derive(Debug)]
pub enum Command {
    /// A version of a message was looked at.
    Arrive(Box<Arrival>),
    /// A message was withdrawn or erased at this version.
    Go {
        /// The message.
        message_id: Uuid,
        /// Its latest version.
        version: u32,
        /// Withdrawn or erased.
        reason: NotClassified,
    },
    /// A person corrects or confirms.
    Correct(CorrectionOrder),
}

impl Command {
    fn message_id(&self) -> Uuid {
        match self {
            Self::Arrive(arrival) => arrival.message_id,
            Self::Go { message_id, .. } => *message_id,
            Self::Correct(order) => order.message_id,
        }
    }
}

/// Applies commands to the store.
#[derive(Debug, Clone)]
pub struct Writer {
    pack: Arc<Pack>,
}

impl Writer {
    /// A writer that decides and records under `pack`.
    pub fn new(pack: Arc<Pack>) -> Self {
        Self { pack }
    }
}

/// The rows that a set of commands concerns, as they are after the commands decided so far.
#[derive(Default)]
struct Held {
    rows: BTreeMap<Uuid, Row>,
    changed: BTreeSet<Uuid>,
}

impl Held {
    fn put(&mut self, row: Row) {
        self.changed.insert(row.message_id);
        self.rows.insert(row.message_id, row);
    }
}

#[async_trait]
impl Apply for Writer {
    type Command = Command;
    /// The classification after a correction; nothing for the rest.
    type Reply = Option<contract::Classification>;

    async fn apply(&self, tx: &Tx<'_>, commands: &[&Command]) -> Result<Vec<Outcome<Self::Reply>>, Failure> {
        let messages: BTreeSet<Uuid> = commands.iter().map(|command| command.message_id()).collect();
        let mut held = Held::default();
        for row in rows::load(tx, messages.into_iter().collect()).await? {
            held.rows.insert(row.message_id, row);
        }
        let outcomes = commands.iter().map(|command| self.decide(&mut held, command, tx.now)).collect();
        rows::save(tx, held.changed.iter().filter_map(|id| held.rows.get(id))).await?;
        Ok(outcomes)
    }
}

impl Writer {
    fn decide(&self, held: &mut Held, command: &Command, now: Timestamp) -> Outcome<Option<contract::Classification>> {
        match command {
            Command::Arrive(arrival) => Ok(self.arrive(held, arrival, now)),
            Command::Go { message_id, version, reason } => Ok(self.go(held, *message_id, *version, *reason, now)),
            Command::Correct(order) => self.correct(held, order, now),
        }
    }

    fn arrive(&self, held: &mut Held, arrival: &Arrival, now: Timestamp) -> Effect<Option<contract::Classification>> {
        let id = arrival.message_id;
        let before = held.rows.get(&id);
        let known = before.map(Row::classification);
        let Some(after) = life::arrive(known.as_ref(), arrival.version, arrival.finding.clone(), now) else {
            return Effect::new(None, id, Vec::new());
        };
        let versions = (self.pack.classifier.model_version(), self.pack.version.as_str());
        let record = wire::record(id, &after, versions, arrival.published);
        let row = Row::of(id, before, &after, record, arrival.origin.clone(), arrival.received);
        let entries = self.entries(&row, &after);
        held.put(row);
        Effect::new(None, id, entries)
    }

    fn go(
        &self,
        held: &mut Held,
        id: Uuid,
        version: u32,
        reason: NotClassified,
        now: Timestamp,
    ) -> Effect<Option<contract::Classification>> {
        let before = held.rows.get(&id);
        let known = before.map(Row::classification);
        let Some(after) = life::go(known.as_ref(), version, reason, now) else {
            return Effect::new(None, id, Vec::new());
        };
        let row = self.changed(id, before, &after);
        let entries = self.entries(&row, &after);
        held.put(row);
        Effect::new(None, id, entries)
    }

    fn correct(
        &self,
        held: &mut Held,
        order: &CorrectionOrder,
        now: Timestamp,
    ) -> Outcome<Option<contract::Classification>> {
        let id = order.message_id;
        let before = held.rows.get(&id).ok_or_else(|| Error::not_found("classification", id))?;
        let known = before.classification();
        if let State::NotClassified(_) = known.state {
            return Err(Error::Precondition {
                reason: "MESSAGE_NOT_CLASSIFIABLE",
                subject: format!("message/{id}"),
                description: format!(
                    "the message is {}: there is nothing to classify, and nothing can be corrected",
                    before.record.not_classified_reason().as_str_name()
                ),
            });
        }
        if before.etag() != order.etag {
            return Err(Error::Aborted {
                reason: "ETAG_MISMATCH",
                description: "the classification has changed since it was read: read it again and decide anew"
                    .to_owned(),
            });
        }
        let corrections = corrections(id, &known, &order.questions)?;
        let (taxonomy, places) = (self.pack.classifier.taxonomy(), self.pack.classifier.places());
        let after = life::correct(&known, &corrections, taxonomy, places, now).map_err(|faults| {
            let violation = |(index, field, description): life::Fault| Violation {
                field: index.map_or_else(|| field.to_owned(), |index| format!("questions[{index}].{field}")),
                description,
            };
            Error::Invalid(faults.into_iter().map(violation).collect())
        })?;
        let mut row = self.changed(id, Some(before), &after);
        row.record.taxonomy_version.clone_from(&self.pack.version);
        let event = ClassificationCorrected {
            message_id: id.to_string(),
            message_version: after.version,
            questions: row.record.questions.clone(),
            taxonomy_version: self.pack.version.clone(),
            origin: row.origin.clone(),
        };
        let draft = dated(&row, Draft::new("message", id, &event))
            .because(order.reason.as_str_name())
            .under("taxonomy", &self.pack.version);
        let answer = row.contract();
        held.put(row);
        Ok(Effect::new(Some(answer), id, vec![draft]))
    }

    /// The row after a change that looked at no text: what was recorded of the text stays.
    fn changed(&self, id: Uuid, before: Option<&Row>, after: &Classification) -> Row {
        let known = before.map(|before| &before.record);
        let versions = known.map_or(("", ""), |known| (known.model_version.as_str(), known.taxonomy_version.as_str()));
        let published = known.and_then(|known| wire::time_of(known.published_time.as_ref()));
        let record = wire::record(id, after, versions, published);
        let origin = before.and_then(|before| before.origin.clone());
        Row::of(id, before, after, record, origin, before.and_then(|before| before.received))
    }

    /// What the ledger is told of a classification that nobody decided on by hand.
    fn entries(&self, row: &Row, after: &Classification) -> Vec<Draft> {
        let (id, message_id, message_version) = (row.message_id, row.message_id.to_string(), after.version);
        if let State::NotClassified(_) = after.state {
            let reason = row.record.not_classified_reason();
            let event = MessageNotClassified { message_id, message_version, reason: reason.into() };
            return vec![dated(row, Draft::new("message", id, &event)).because(reason.as_str_name())];
        }
        let classified = MessageClassified {
            message_id: message_id.clone(),
            message_version,
            questions: row.record.questions.clone(),
            model_version: row.record.model_version.clone(),
            taxonomy_version: row.record.taxonomy_version.clone(),
            origin: row.origin.clone(),
        };
        let mut entries = vec![
            dated(row, Draft::new("message", id, &classified))
                .under("model", &row.record.model_version)
                .under("taxonomy", &row.record.taxonomy_version),
        ];
        if after.state == State::InReview {
            let waiting = row.record.questions.iter().filter(|q| q.decision() == contract::Decision::Review);
            let question_ids = waiting.map(|question| question.question_id.clone()).collect();
            let requested = ReviewRequested { message_id, message_version, question_ids };
            entries.push(dated(row, Draft::new("message", id, &requested)));
        }
        entries
    }
}

fn dated(row: &Row, draft: Draft) -> Draft {
    let published = wire::time_of(row.record.published_time.as_ref());
    draft.concerning([row.message_id]).dated(published, row.received)
}

/// The corrections with their questions' ordinals.
fn corrections(
    message: Uuid,
    known: &Classification,
    ordered: &[(Option<Uuid>, Correction)],
) -> Result<Vec<Correction>, Error> {
    let mut violations = Vec::new();
    let mut corrections = Vec::with_capacity(ordered.len());
    for (index, (question, correction)) in ordered.iter().enumerate() {
        let of_id = |id: &Uuid| known.questions.iter().find(|q| wire::question_id(message, q.ordinal) == *id);
        let ordinal = question.as_ref().map(|id| of_id(id).map(|q| q.ordinal));
        if ordinal == Some(None) {
            let description = "is not a question of this message".to_owned();
            violations.push(Violation { field: format!("questions[{index}].question_id"), description });
        }
        corrections.push(Correction { ordinal: ordinal.flatten(), ..correction.clone() });
    }
    if violations.is_empty() { Ok(corrections) } else { Err(Error::Invalid(violations)) }
}
