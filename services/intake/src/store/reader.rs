//! Reading messages and sources, outside any transaction.

mod lists;
mod texts;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use otklik_chassis::{
    error::Error,
    ledger::Ledger,
    storage::{Storage, rows as statements},
};
use otklik_proto::{
    intake::v1::{MessageOrigin, MessageState},
    ledger::v1::{EntryHeader, Position},
};
use prost::Message;
use sea_orm::{ConnectionTrait, QueryResult, Value};
use uuid::Uuid;

pub use self::{
    lists::{Listed, MessageFilter},
    texts::{Reference, Route, TextView},
};
use super::{
    events::origin,
    rows::{MessageRow, SOURCE_COLUMNS, SourceRow, VERSION_COLUMNS, VersionRow, message_columns},
};
use crate::domain::{
    keys::{AuthorKey, ItemKey},
    source::Source,
};

/// Reads intake's database.
#[derive(Debug, Clone)]
pub struct Reader {
    storage: Storage,
    ledger: Ledger,
}

/// A message with its origin and some of its versions, the oldest first.
#[derive(Clone)]
pub struct MessageView {
    /// The message.
    pub row: MessageRow,
    /// Where it comes from.
    pub origin: MessageOrigin,
    /// Versions.
    pub versions: Vec<VersionRow>,
}

/// A source with how it does.
#[derive(Debug, Clone)]
pub struct SourceView {
    /// The registration.
    pub source: Arc<Source>,
    /// When it was first registered, in microseconds since 1970.
    pub created_us: i64,
    /// When the registration last changed.
    pub updated_us: i64,
    /// Messages received so far.
    pub message_count: u64,
    /// When one was last received.
    pub received_us: Option<i64>,
    /// The latest publication among them.
    pub published_us: Option<i64>,
}

/// Entries of the ledger that are looked through for an entry that other replicas pushed back: few at first.
const LOOK_AT: [usize; 2] = [2, 256];

impl Reader {
    /// Reads `storage`, whose ledger is `ledger`.
    #[must_use]
    pub fn new(storage: Storage, ledger: Ledger) -> Self {
        Self { storage, ledger }
    }

    /// A message with all its versions; `None` when there is none.
    ///
    /// # Errors
    /// An outage of the database.
    pub async fn message(&self, message_id: Uuid) -> Result<Option<MessageView>, Error> {
        self.message_where("m.message_id = $1", message_id.into()).await
    }

    /// The message of an item of a source, with all its versions; `None` when there is none.
    ///
    /// # Errors
    /// An outage of the database.
    pub async fn message_of_item(&self, item: ItemKey) -> Result<Option<MessageView>, Error> {
        self.message_where("m.item_key = $1", item.as_bytes().to_vec().into()).await
    }

    async fn message_where(&self, condition: &str, key: Value) -> Result<Option<MessageView>, Error> {
        let sql = format!(
            "SELECT {}, {VERSION_COLUMNS} FROM messages m JOIN versions v ON v.message_id = m.message_id
             WHERE {condition} AND m.version > 0 ORDER BY v.version",
            message_columns()
        );
        let rows = self.storage.reader().query_all_raw(self.storage.statement(&sql, [key])).await?;
        Ok(self.views(&rows).await?.pop())
    }

    /// Messages from rows of their columns and those of a version each; neighbours of one message are one.
    async fn views(&self, rows: &[QueryResult]) -> Result<Vec<MessageView>, Error> {
        let mut found: Vec<(MessageRow, Vec<VersionRow>)> = Vec::new();
        for row in rows {
            let version = VersionRow::read(row, super::rows::MESSAGE_COLUMNS.len())?;
            let message = MessageRow::read(row)?;
            match found.last_mut() {
                Some((last, versions)) if last.message_id == message.message_id => versions.push(version),
                _ => found.push((message, vec![version])),
            }
        }
        let ids = found.iter().map(|(row, _)| row.source_id.clone()).collect();
        let sources = self.registrations(ids).await?;
        let view = |(row, versions): (MessageRow, Vec<VersionRow>)| {
            let origin = sources.get(&row.source_id).map(|source| origin(&row, source)).unwrap_or_default();
            MessageView { row, origin, versions }
        };
        Ok(found.into_iter().map(view).collect())
    }

    /// The registrations of some sources, by code.
    ///
    /// # Errors
    /// An outage of the database.
    pub async fn registrations(&self, ids: BTreeSet<String>) -> Result<HashMap<String, Arc<Source>>, Error> {
        let sql = format!("SELECT {} FROM sources WHERE source_id IN ({{keys}})", SOURCE_COLUMNS.join(", "));
        let keys = ids.into_iter().map(Value::from).collect();
        let found = statements::select_in(self.storage.reader(), &sql, keys, SourceRow::read).await?;
        Ok(found.into_iter().map(|row| (row.source.id.clone(), row.source)).collect())
    }

    /// Where the entry of a message's latest change stands, which was expected at `entry_seq`. It stands there, or
    /// further on when other replicas were faster. `None` when there is no such entry.
    ///
    /// # Errors
    /// An outage of the database.
    pub async fn position(&self, message_id: Uuid, entry_seq: u64) -> Result<Option<Position>, Error> {
        if entry_seq == 0 {
            return Ok(None);
        }
        let partition = self.ledger.partition_of(message_id);
        let aggregate = message_id.to_string();
        let mut after = entry_seq - 1;
        let mut found = None;
        for limit in LOOK_AT.into_iter().chain(std::iter::repeat(LOOK_AT[1])) {
            let entries = self.ledger.read(partition, after, limit).await?;
            let is_end = entries.len() < limit;
            for entry in entries {
                let header = EntryHeader::decode(entry.header).map_err(Error::internal)?;
                let Some(position) = entry.position else { continue };
                after = position.seq;
                if header.aggregate_id == aggregate {
                    // A change may make two entries in a row: received and rejected.
                    found = Some(position);
                } else if found.is_some() {
                    return Ok(found);
                }
            }
            if is_end {
                break;
            }
        }
        Ok(found)
    }

    /// The message of an author that was erased last, with where its entry was expected; `None` when none is erased.
    ///
    /// # Errors
    /// An outage of the database.
    pub async fn last_erased(&self, author: AuthorKey) -> Result<Option<(Uuid, u64)>, Error> {
        let sql = format!(
            "SELECT {} FROM messages m WHERE m.author_key = $1 AND m.state = $2
             ORDER BY m.updated_us DESC, m.entry_seq DESC LIMIT 1",
            message_columns()
        );
        let values = [author.0.to_vec().into(), i64::from(MessageState::Erased as i32).into()];
        let row = self.storage.reader().query_one_raw(self.storage.statement(&sql, values)).await?;
        let row = row.as_ref().map(MessageRow::read).transpose()?;
        Ok(row.map(|row| (row.message_id, row.entry_seq)))
    }
}
