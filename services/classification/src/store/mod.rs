//! The service's own database: one row for each message that was looked at. No text is kept.

mod migrations;
mod rows;
mod writer;

use otklik_chassis::{error::Error, page::Page, storage::Storage};
use otklik_proto::classification::v1::Classification;
use sea_orm::ConnectionTrait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::rows::{COLUMNS, Row};
pub use self::{
    migrations::Migrator,
    writer::{Arrival, Command, CorrectionOrder, Writer},
};

/// The sort key of the review queue: the most urgent first, then who has waited longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct QueueKey {
    /// 0 emergency, 1 high, 2 normal.
    pub urgency_rank: i64,
    /// Since when, in microseconds since 1970.
    pub since_us: i64,
    /// The message.
    pub message_id: Uuid,
}

/// The first key of all.
const QUEUE_START: QueueKey = QueueKey { urgency_rank: -1, since_us: i64::MIN, message_id: Uuid::nil() };

/// The classification of a message, if it was looked at.
///
/// # Errors
/// An outage of the database.
pub async fn get(storage: &Storage, message: Uuid) -> Result<Option<Classification>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM classifications WHERE message_id = $1");
    let row = storage.reader().query_one_raw(storage.statement(&sql, [message.into()])).await?;
    Ok(row.as_ref().map(Row::read).transpose()?.map(|row| row.contract()))
}

/// A page of the review queue with its keys, and one item more if there is one; of one source unless `source` is empty.
///
/// # Errors
/// An outage of the database.
pub async fn review_queue(
    storage: &Storage,
    source: &str,
    page: &Page<QueueKey>,
) -> Result<Vec<(QueueKey, Classification)>, Error> {
    let after = page.after.unwrap_or(QUEUE_START);
    let of_source = if source.is_empty() { "" } else { "AND review_source = $5" };
    // `state = 2` is spelled out so that the partial indexes serve.
    let sql = format!(
        "SELECT {COLUMNS} FROM classifications
         WHERE state = 2 AND (urgency_rank, since_us, message_id) > ($1, $2, $3) {of_source}
         ORDER BY urgency_rank, since_us, message_id LIMIT $4"
    );
    let limit = i64::try_from(page.limit()).unwrap_or(i64::MAX);
    let mut values = vec![after.urgency_rank.into(), after.since_us.into(), after.message_id.into(), limit.into()];
    if !source.is_empty() {
        values.push(source.into());
    }
    let rows = storage.reader().query_all_raw(storage.statement(&sql, values)).await?;
    rows.iter()
        .map(|row| {
            let row = Row::read(row)?;
            Ok((row.queue_key(), row.contract()))
        })
        .collect()
}
