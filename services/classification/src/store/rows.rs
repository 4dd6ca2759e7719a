//! Rows as they are stored.

use jiff::Timestamp;
use otklik_chassis::{lane::Tx, storage::Failure};
use otklik_proto::{
    classification::v1::{self as contract, ClassificationState},
    intake::v1::MessageOrigin,
};
use prost::Message;
use sea_orm::{DbErr, QueryResult, Value};
use uuid::Uuid;

use super::QueueKey;
use crate::{
    domain::{
        life::{Classification, State},
        question::{Decision, Urgency},
    },
    wire,
};

/// The columns in the order of [`Row::read`].
pub(super) const COLUMNS: &str =
    "message_id, state, revision, record, origin, received_us, urgency_rank, since_us, review_source";
const NAMES: [&str; 9] =
    ["message_id", "state", "revision", "record", "origin", "received_us", "urgency_rank", "since_us", "review_source"];

/// What a row that is there already takes over from the one that is written.
const REPLACE: &str = "ON CONFLICT (message_id) DO UPDATE SET
    state = excluded.state, revision = excluded.revision, record = excluded.record, origin = excluded.origin,
    received_us = excluded.received_us, urgency_rank = excluded.urgency_rank, since_us = excluded.since_us,
    review_source = excluded.review_source";

/// A row of `classifications`.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub message_id: Uuid,
    /// Counts the changes; it is the etag.
    pub revision: i64,
    pub record: contract::Classification,
    /// Where the message comes from; unset when only its withdrawal or erasure has been seen.
    pub origin: Option<MessageOrigin>,
    /// When intake received the version looked at last.
    pub received: Option<Timestamp>,
    urgency_rank: i64,
    since_us: i64,
}

impl Row {
    /// The row of `message` after `change`.
    pub fn of(
        message_id: Uuid,
        before: Option<&Self>,
        change: &Classification,
        record: contract::Classification,
        origin: Option<MessageOrigin>,
        received: Option<Timestamp>,
    ) -> Self {
        let waits = change.state == State::InReview;
        Self {
            message_id,
            revision: before.map_or(0, |before| before.revision) + 1,
            record,
            origin,
            received,
            urgency_rank: if waits { urgency_rank(change) } else { 0 },
            since_us: change.waiting_since.map_or(0, |since| since.as_microsecond()),
        }
    }

    pub fn read(row: &QueryResult) -> Result<Self, DbErr> {
        let record: Vec<u8> = row.try_get_by_index(3)?;
        let origin: Vec<u8> = row.try_get_by_index(4)?;
        let broken = |e: prost::DecodeError| DbErr::Type(format!("a stored classification can't be read: {e}"));
        let received_us: i64 = row.try_get_by_index(5)?;
        Ok(Self {
            message_id: row.try_get_by_index(0)?,
            revision: row.try_get_by_index(2)?,
            record: contract::Classification::decode(record.as_slice()).map_err(broken)?,
            origin: match origin.as_slice() {
                [] => None,
                origin => Some(MessageOrigin::decode(origin).map_err(broken)?),
            },
            received: (received_us != 0).then(|| Timestamp::from_microsecond(received_us).ok()).flatten(),
            urgency_rank: row.try_get_by_index(6)?,
            since_us: row.try_get_by_index(7)?,
        })
    }

    fn values(&self) -> [Value; 9] {
        let waits = self.record.state() == ClassificationState::InReview;
        let source = self.origin.as_ref().filter(|_| waits).map_or("", |origin| origin.source_id.as_str());
        [
            self.message_id.into(),
            i64::from(self.record.state).into(),
            self.revision.into(),
            self.record.encode_to_vec().into(),
            self.origin.as_ref().map(Message::encode_to_vec).unwrap_or_default().into(),
            self.received.map_or(0, |received| received.as_microsecond()).into(),
            self.urgency_rank.into(),
            self.since_us.into(),
            source.into(),
        ]
    }

    /// The domain's view.
    pub fn classification(&self) -> Classification {
        let waits = self.record.state() == ClassificationState::InReview;
        let since = waits.then(|| Timestamp::from_microsecond(self.since_us).ok()).flatten();
        wire::classification_of(self.record.clone(), since)
    }

    /// The contract's view.
    pub fn contract(&self) -> contract::Classification {
        contract::Classification {
            message_id: self.message_id.to_string(),
            source_id: self.origin.as_ref().map(|origin| origin.source_id.clone()).unwrap_or_default(),
            etag: self.etag(),
            ..self.record.clone()
        }
    }

    /// Changes with every change.
    pub fn etag(&self) -> String {
        self.revision.to_string()
    }

    pub fn queue_key(&self) -> QueueKey {
        QueueKey { urgency_rank: self.urgency_rank, since_us: self.since_us, message_id: self.message_id }
    }
}

/// The rank of the most urgent question that waits.
fn urgency_rank(classification: &Classification) -> i64 {
    let waiting = classification.questions.iter().filter(|question| question.decision == Decision::Review);
    match waiting.map(|question| question.urgency).max() {
        Some(Urgency::Emergency) => 0,
        Some(Urgency::High) => 1,
        _ => 2,
    }
}

/// The rows of the given messages, locked in the order of their keys.
pub(super) async fn load(tx: &Tx<'_>, messages: Vec<Uuid>) -> Result<Vec<Row>, Failure> {
    let sql = format!(
        "SELECT {COLUMNS} FROM classifications WHERE message_id IN ({{keys}}) ORDER BY message_id{}",
        tx.for_update()
    );
    let keys = messages.into_iter().map(Value::from).collect();
    otklik_chassis::storage::rows::select_in(tx.db, &sql, keys, Row::read).await
}

/// Writes rows, new and changed ones.
pub(super) async fn save(tx: &Tx<'_>, rows: impl IntoIterator<Item = &Row>) -> Result<(), Failure> {
    let values = rows.into_iter().map(Row::values).collect();
    otklik_chassis::storage::rows::insert(tx.db, "classifications", NAMES, values, REPLACE).await?;
    Ok(())
}
