//! Rows as they are stored.

use std::sync::Arc;

use otklik_chassis::storage::Failure;
use otklik_proto::intake::v1::{ChannelKind, MessageState, Regime, RejectionReason, SourceKind, WithdrawReason};
use sea_orm::{DbErr, QueryResult, Value};
use uuid::Uuid;

use crate::domain::{
    keys::{AuthorKey, ItemKey, KEY_LENGTH},
    source::Source,
    standing::{Standing, Withdrawn},
    submission::Details,
};

/// A row of `messages`: an item of a source.
#[derive(Debug, Clone)]
pub struct MessageRow {
    /// The message's id; provisional while there is only a tombstone.
    pub message_id: Uuid,
    /// The item's key.
    pub item: ItemKey,
    /// The author's key; all zero while there is only a tombstone.
    pub author: AuthorKey,
    /// Code of the source.
    pub source_id: String,
    /// Identifier at the source.
    pub external_id: String,
    /// The channel it came through.
    pub channel: ChannelKind,
    /// Where it stands.
    pub standing: Standing,
    /// Why it was withdrawn, if it was.
    pub withdraw_reason: WithdrawReason,
    /// When the first version was published, in microseconds since 1970.
    pub published_us: i64,
    /// When the first version was received.
    pub received_us: i64,
    /// When it last changed.
    pub updated_us: i64,
    /// Where the entry of the latest change was expected in the ledger; it stands there or later.
    pub entry_seq: u64,
}

/// The columns of `messages` in the order of [`MessageRow::read`] and [`MessageRow::values`].
pub(super) const MESSAGE_COLUMNS: [&str; 16] = [
    "message_id",
    "item_key",
    "author_key",
    "source_id",
    "external_id",
    "channel_kind",
    "state",
    "rejection",
    "version",
    "source_revision",
    "withdrawn_revision",
    "withdraw_reason",
    "published_us",
    "received_us",
    "updated_us",
    "entry_seq",
];

/// The columns of `messages` as a list for `SELECT`, each with the prefix `m.`.
pub(super) fn message_columns() -> String {
    MESSAGE_COLUMNS.map(|column| format!("m.{column}")).join(", ")
}

impl MessageRow {
    /// Reads the first sixteen columns of `row`.
    pub(super) fn read(row: &QueryResult) -> Result<Self, DbErr> {
        let withdrawn: Option<i64> = row.try_get_by_index(10)?;
        Ok(Self {
            message_id: row.try_get_by_index(0)?,
            item: item_of(row, 1)?,
            author: AuthorKey(key_of(row, 2)?),
            source_id: row.try_get_by_index(3)?,
            external_id: row.try_get_by_index(4)?,
            channel: constant(row.try_get_by_index(5)?, ChannelKind::try_from)?,
            standing: Standing {
                state: constant(row.try_get_by_index(6)?, MessageState::try_from)?,
                rejection: constant(row.try_get_by_index(7)?, RejectionReason::try_from)?,
                version: u32::try_from(row.try_get_by_index::<i64>(8)?).map_err(damaged)?,
                revision: to_u64(row.try_get_by_index(9)?),
                withdrawn: withdrawn.map(|bound| Withdrawn::from_stored(to_u64(bound))),
            },
            withdraw_reason: constant(row.try_get_by_index(11)?, WithdrawReason::try_from)?,
            published_us: row.try_get_by_index(12)?,
            received_us: row.try_get_by_index(13)?,
            updated_us: row.try_get_by_index(14)?,
            entry_seq: to_u64(row.try_get_by_index(15)?),
        })
    }

    pub(super) fn values(self) -> [Value; 16] {
        [
            self.message_id.into(),
            self.item.as_bytes().to_vec().into(),
            self.author.0.to_vec().into(),
            self.source_id.into(),
            self.external_id.into(),
            i64::from(self.channel as i32).into(),
            i64::from(self.standing.state as i32).into(),
            i64::from(self.standing.rejection as i32).into(),
            i64::from(self.standing.version).into(),
            to_i64(self.standing.revision).into(),
            self.standing.withdrawn.map(|withdrawn| to_i64(withdrawn.bound())).into(),
            i64::from(self.withdraw_reason as i32).into(),
            self.published_us.into(),
            self.received_us.into(),
            self.updated_us.into(),
            to_i64(self.entry_seq).into(),
        ]
    }
}

/// A row of `versions`.
#[derive(Clone)]
pub struct VersionRow {
    /// Its number, from 1.
    pub version: u32,
    /// Revision at the source.
    pub revision: u64,
    /// When it was published, in microseconds since 1970.
    pub published_us: i64,
    /// When it was received.
    pub received_us: i64,
    /// The text; `None` once it has gone.
    pub text: Option<String>,
    /// What else the source said; empty once it has gone.
    pub details: Details,
}

/// The columns of `versions` that are read, in the order of [`VersionRow::read`].
pub(super) const VERSION_COLUMNS: &str =
    "v.version, v.source_revision, v.published_us, v.received_us, v.content, v.details";

impl VersionRow {
    /// Reads [`VERSION_COLUMNS`] of `row` from column `at`.
    pub(super) fn read(row: &QueryResult, at: usize) -> Result<Self, DbErr> {
        let details: Option<String> = row.try_get_by_index(at + 5)?;
        Ok(Self {
            version: u32::try_from(row.try_get_by_index::<i64>(at)?).map_err(damaged)?,
            revision: to_u64(row.try_get_by_index(at + 1)?),
            published_us: row.try_get_by_index(at + 2)?,
            received_us: row.try_get_by_index(at + 3)?,
            text: row.try_get_by_index(at + 4)?,
            details: details.map(|json| serde_json::from_str(&json)).transpose().map_err(damaged)?.unwrap_or_default(),
        })
    }
}

/// A row of `sources`.
#[derive(Debug, Clone)]
pub(super) struct SourceRow {
    pub source: Arc<Source>,
    /// Version of the region pack's definition that was last taken over; empty when the pack has none.
    pub pack_version: String,
    pub created_us: i64,
    pub updated_us: i64,
}

/// The columns of `sources` in the order of [`SourceRow::read`] and [`SourceRow::values`].
pub(super) const SOURCE_COLUMNS: [&str; 11] = [
    "source_id",
    "kind",
    "title",
    "default_place",
    "regime",
    "own_authors",
    "channel_kinds",
    "expected_silence_hours",
    "pack_version",
    "created_us",
    "updated_us",
];

impl SourceRow {
    /// Reads the first eleven columns of `row`.
    pub(super) fn read(row: &QueryResult) -> Result<Self, DbErr> {
        let own_authors: String = row.try_get_by_index(5)?;
        let channel_kinds: String = row.try_get_by_index(6)?;
        let channel_kinds: Vec<i64> = serde_json::from_str(&channel_kinds).map_err(damaged)?;
        let channel_kinds = channel_kinds.into_iter().map(|kind| constant(kind, ChannelKind::try_from));
        Ok(Self {
            source: Arc::new(Source {
                id: row.try_get_by_index(0)?,
                kind: constant(row.try_get_by_index(1)?, SourceKind::try_from)?,
                title: row.try_get_by_index(2)?,
                default_place: row.try_get_by_index(3)?,
                regime: constant(row.try_get_by_index(4)?, Regime::try_from)?,
                own_authors: serde_json::from_str(&own_authors).map_err(damaged)?,
                channel_kinds: channel_kinds.collect::<Result<_, _>>()?,
                expected_silence_hours: u32::try_from(row.try_get_by_index::<i64>(7)?).map_err(damaged)?,
            }),
            pack_version: row.try_get_by_index(8)?,
            created_us: row.try_get_by_index(9)?,
            updated_us: row.try_get_by_index(10)?,
        })
    }

    pub(super) fn values(&self) -> Result<[Value; 11], Failure> {
        let source = &self.source;
        let channel_kinds: Vec<i32> = source.channel_kinds.iter().map(|kind| *kind as i32).collect();
        Ok([
            source.id.as_str().into(),
            i64::from(source.kind as i32).into(),
            source.title.as_str().into(),
            source.default_place.as_str().into(),
            i64::from(source.regime as i32).into(),
            json(&source.own_authors)?.into(),
            json(&channel_kinds)?.into(),
            i64::from(source.expected_silence_hours).into(),
            self.pack_version.as_str().into(),
            self.created_us.into(),
            self.updated_us.into(),
        ])
    }
}

/// A value as JSON text.
pub(super) fn json<T: serde::Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::Refused(error.to_string()))
}

/// The item's key in column `at`.
pub(super) fn item_of(row: &QueryResult, at: usize) -> Result<ItemKey, DbErr> {
    let bytes: Vec<u8> = row.try_get_by_index(at)?;
    ItemKey::from_bytes(&bytes).ok_or_else(|| damaged("an item's key is too long"))
}

/// The author's key in column `at`.
pub(super) fn key_of(row: &QueryResult, at: usize) -> Result<[u8; KEY_LENGTH], DbErr> {
    let bytes: Vec<u8> = row.try_get_by_index(at)?;
    bytes.as_slice().try_into().map_err(damaged)
}

/// The constant with a stored number.
pub(super) fn constant<T>(number: i64, named: fn(i32) -> Result<T, prost::UnknownEnumValue>) -> Result<T, DbErr> {
    i32::try_from(number).map_err(damaged).and_then(|number| named(number).map_err(damaged))
}

fn damaged(error: impl std::fmt::Display) -> DbErr {
    DbErr::Custom(format!("a stored row can't be read: {error}"))
}

pub(super) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn to_u64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
