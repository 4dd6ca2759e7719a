//! Writing what a set of commands has changed.

use otklik_chassis::{
    lane::Tx,
    storage::{Failure, rows},
};
use sea_orm::{ConnectionTrait, Value};

use super::load::{Item, WorkingSet};
use crate::store::rows::{MESSAGE_COLUMNS, MessageRow, SOURCE_COLUMNS, to_i64};

/// A row that another replica stored in between: the set runs again and finds it.
const OVERTAKEN: &str = "another replica stored the same item or source at the same moment";

impl WorkingSet<'_> {
    /// Writes all changes; activity goes to row `shard` of each source. The order of tables, and of keys within each,
    /// is the same in every replica, or they would deadlock.
    pub(super) async fn save(self, tx: &Tx<'_>, shard: i64) -> Result<(), Failure> {
        let now_us = self.now.as_microsecond();
        save_messages(tx, self.items.into_values().collect()).await?;

        let cleared = self.cleared.into_iter().map(Value::from).collect();
        let clear = "UPDATE versions SET content = NULL, salt = NULL, details = NULL
                     WHERE message_id IN ({keys}) AND content IS NOT NULL RETURNING version";
        rows::select_in(tx.db, clear, cleared, |_| Ok(())).await?;

        let columns =
            ["message_id", "version", "source_revision", "published_us", "received_us", "content", "salt", "details"];
        let versions = self.versions.into_iter().map(|((message_id, number), version)| {
            let (text, salt, details) = match version.content {
                Some(content) => (Some(content.text), Some(content.salt.to_vec()), content.details),
                None => (None, None, None),
            };
            let revision = to_i64(version.revision);
            [
                message_id.into(),
                i64::from(number).into(),
                revision.into(),
                version.published_us.into(),
                now_us.into(),
                text.into(),
                salt.into(),
                details.into(),
            ]
        });
        rows::insert(tx.db, "versions", columns, versions.collect(), "").await?;

        let gone = self.gone_authors.into_iter().map(|author| Value::from(author.0.to_vec())).collect();
        let forget = "DELETE FROM authors WHERE author_key IN ({keys}) RETURNING author_key";
        rows::select_in(tx.db, forget, gone, |_| Ok(())).await?;
        let authors = self.changed_authors.into_iter().map(|(key, (source_id, author))| {
            [key.0.to_vec().into(), source_id.into(), author.external_id.into(), author.name.into()]
        });
        let columns = ["author_key", "source_id", "external_id", "display_name"];
        let rename = "ON CONFLICT (author_key) DO UPDATE SET display_name = excluded.display_name";
        rows::insert(tx.db, "authors", columns, authors.collect(), rename).await?;

        let begun = self.begun.iter().map(|erasure| {
            [erasure.author.0.to_vec().into(), erasure.until_us.into(), i64::from(erasure.reason as i32).into()]
        });
        let later = "ON CONFLICT (author_key) DO UPDATE SET until_us = excluded.until_us, reason = excluded.reason";
        // One row an author, though two callers may have begun in the same set.
        for row in begun {
            rows::insert(tx.db, "erasures", ["author_key", "until_us", "reason"], vec![row], later).await?;
        }
        for erasure in self.complete {
            let done = "DELETE FROM erasures WHERE author_key = $1 AND until_us <= $2";
            tx.db.execute_raw(tx.statement(done, [erasure.author.0.to_vec().into(), erasure.until_us.into()])).await?;
        }

        let sources = self.changed_sources.iter().filter_map(|id| self.sources.get(id));
        let sources = sources.map(|row| row.values()).collect::<Result<Vec<_>, _>>()?;
        let replace = "ON CONFLICT (source_id) DO UPDATE SET kind = excluded.kind, title = excluded.title,
            default_place = excluded.default_place, regime = excluded.regime, own_authors = excluded.own_authors,
            channel_kinds = excluded.channel_kinds, expected_silence_hours = excluded.expected_silence_hours,
            pack_version = excluded.pack_version, updated_us = excluded.updated_us";
        rows::insert(tx.db, "sources", SOURCE_COLUMNS, sources, replace).await?;

        let columns = ["source_id", "shard", "message_count", "received_us", "published_us"];
        let activity = self.activity.into_iter().map(|(source_id, activity)| {
            [source_id.into(), shard.into(), activity.messages.into(), now_us.into(), activity.published_us.into()]
        });
        let add = "ON CONFLICT (source_id, shard) DO UPDATE SET
            message_count = source_activity.message_count + excluded.message_count,
            received_us = CASE WHEN excluded.received_us > source_activity.received_us
                THEN excluded.received_us ELSE source_activity.received_us END,
            published_us = CASE WHEN excluded.published_us > source_activity.published_us
                THEN excluded.published_us ELSE source_activity.published_us END";
        rows::insert(tx.db, "source_activity", columns, activity.collect(), add).await?;
        Ok(())
    }
}

async fn save_messages(tx: &Tx<'_>, mut items: Vec<Item>) -> Result<(), Failure> {
    items.retain(|item| item.is_changed);
    items.sort_unstable_by_key(|item| item.row.item);
    let (stored, new): (Vec<Item>, Vec<Item>) = items.into_iter().partition(|item| item.is_stored);

    let count = new.len() as u64;
    let new = new.into_iter().map(|item| MessageRow::values(item.row)).collect();
    let skip = "ON CONFLICT (item_key) DO NOTHING";
    if rows::insert(tx.db, "messages", MESSAGE_COLUMNS, new, skip).await? < count {
        return Err(Failure::Conflict(OVERTAKEN.into()));
    }

    let stored = stored.into_iter().map(|item| MessageRow::values(item.row)).collect();
    // A tombstone that becomes a message gets everything from it, its id included.
    let set: Vec<String> = MESSAGE_COLUMNS
        .iter()
        .filter(|column| **column != "item_key")
        .map(|column| format!("{column} = excluded.{column}"))
        .collect();
    let replace = format!("ON CONFLICT (item_key) DO UPDATE SET {}", set.join(", "));
    rows::insert(tx.db, "messages", MESSAGE_COLUMNS, stored, &replace).await?;
    Ok(())
}
