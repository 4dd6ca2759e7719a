//! Texts and reply routes of many messages at once.

use std::collections::{BTreeSet, HashMap};

use otklik_chassis::{error::Error, storage::rows};
use otklik_proto::intake::v1::{ChannelKind, MessageState, TextStatus};
use sea_orm::{DbErr, QueryResult, Value};
use uuid::Uuid;

use super::Reader;
use crate::store::rows::constant;

/// A version of a message that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference {
    /// The message.
    pub message_id: Uuid,
    /// The version; 0 asks for the latest.
    pub version: u32,
}

/// The text of a version, or why there is none.
#[derive(Clone)]
pub struct TextView {
    /// The version; 0 when there is none.
    pub version: u32,
    /// Whether there is a text.
    pub status: TextStatus,
    /// The text, where there is one.
    pub text: String,
    /// How an answer reaches the author; `None` when there is no such message.
    pub route: Option<Route>,
    /// When the version was published, in microseconds since 1970.
    pub published_us: Option<i64>,
}

/// How an answer reaches the author of a message.
#[derive(Debug, Clone)]
pub struct Route {
    /// Code of the source.
    pub source_id: String,
    /// The item to reply to.
    pub external_id: String,
    /// The channel.
    pub channel: ChannelKind,
}

struct Stored {
    state: MessageState,
    latest: u32,
    route: Route,
    versions: Vec<StoredVersion>,
}

struct StoredVersion {
    version: u32,
    published_us: i64,
    text: Option<String>,
}

impl Reader {
    /// The texts that are asked for, in the same order.
    ///
    /// # Errors
    /// An outage of the database.
    pub async fn texts(&self, references: &[Reference]) -> Result<Vec<TextView>, Error> {
        let ids: BTreeSet<Uuid> = references.iter().map(|reference| reference.message_id).collect();
        let sql = "SELECT m.message_id, m.state, m.version, m.source_id, m.external_id, m.channel_kind,
                          v.version, v.published_us, v.content
                   FROM messages m JOIN versions v ON v.message_id = m.message_id
                   WHERE m.message_id IN ({keys}) AND m.version > 0";
        let keys = ids.into_iter().map(Value::from).collect();
        let rows = rows::select_in(self.storage.reader(), sql, keys, read).await?;
        let mut messages: HashMap<Uuid, Stored> = HashMap::with_capacity(rows.len());
        for (message_id, mut stored) in rows {
            match messages.get_mut(&message_id) {
                Some(known) => known.versions.append(&mut stored.versions),
                None => drop(messages.insert(message_id, stored)),
            }
        }
        Ok(references.iter().map(|reference| view(*reference, messages.get(&reference.message_id))).collect())
    }
}

fn read(row: &QueryResult) -> Result<(Uuid, Stored), DbErr> {
    let number = |at| row.try_get_by_index::<i64>(at).map(|number| u32::try_from(number).unwrap_or(0));
    let version =
        StoredVersion { version: number(6)?, published_us: row.try_get_by_index(7)?, text: row.try_get_by_index(8)? };
    let stored = Stored {
        state: constant(row.try_get_by_index(1)?, MessageState::try_from)?,
        latest: number(2)?,
        route: Route {
            source_id: row.try_get_by_index(3)?,
            external_id: row.try_get_by_index(4)?,
            channel: constant(row.try_get_by_index(5)?, ChannelKind::try_from)?,
        },
        versions: vec![version],
    };
    Ok((row.try_get_by_index(0)?, stored))
}

fn view(reference: Reference, stored: Option<&Stored>) -> TextView {
    let missing =
        |route| TextView { version: 0, status: TextStatus::NotFound, text: String::new(), route, published_us: None };
    let Some(stored) = stored else { return missing(None) };
    let wanted = if reference.version == 0 { stored.latest } else { reference.version };
    let Some(found) = stored.versions.iter().find(|version| version.version == wanted) else {
        return missing(Some(stored.route.clone()));
    };
    let status = match (stored.state, &found.text) {
        (MessageState::Erased, _) => TextStatus::Erased,
        (_, Some(_)) => TextStatus::Text,
        // A version may have gone with a withdrawal that a newer one has overcome.
        (_, None) => TextStatus::Withdrawn,
    };
    TextView {
        version: found.version,
        status,
        text: found.text.clone().unwrap_or_default(),
        route: Some(stored.route.clone()),
        published_us: Some(found.published_us),
    }
}
