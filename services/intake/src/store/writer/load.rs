//! The rows that a set of commands needs, and what becomes of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use otklik_chassis::{
    lane::Tx,
    ledger::{Draft, Ledger},
    storage::{Failure, rows},
};
use otklik_proto::intake::v1::MessageState;
use sea_orm::{ConnectionTrait, Value};
use uuid::Uuid;

use super::{Command, ERASED_AT_ONCE, Erasure, WithdrawalTarget};
use crate::{
    domain::{
        keys::{AuthorKey, ItemKey, KEY_LENGTH, SALT_LENGTH},
        submission::Author,
    },
    store::rows::{MessageRow, SOURCE_COLUMNS, SourceRow, item_of, key_of, message_columns},
};

/// What a set of commands works on.
pub(super) struct WorkingSet<'a> {
    pub now: Timestamp,
    ledger: &'a Ledger,
    /// The seq of the last entry of each partition, those of this set included.
    heads: Vec<u64>,
    pub items: HashMap<ItemKey, Item>,
    pub by_id: HashMap<Uuid, ItemKey>,
    pub sources: HashMap<String, SourceRow>,
    pub changed_sources: BTreeSet<String>,
    /// The names that known authors show.
    pub names: HashMap<AuthorKey, String>,
    pub changed_authors: BTreeMap<AuthorKey, (String, Author)>,
    pub gone_authors: BTreeSet<AuthorKey>,
    /// How many messages the authors have that are to be erased: all, and those not erased yet.
    pub authored: HashMap<AuthorKey, Authored>,
    pub versions: BTreeMap<(Uuid, u32), NewVersion>,
    /// Messages whose stored texts go.
    pub cleared: BTreeSet<Uuid>,
    pub activity: BTreeMap<String, Activity>,
    /// For each erasure, the items that are its turn.
    pub turns: HashMap<AuthorKey, Vec<ItemKey>>,
    pub begun: Vec<Erasure>,
    pub complete: Vec<Erasure>,
}

/// An item in a working set.
pub(super) struct Item {
    pub row: MessageRow,
    pub is_stored: bool,
    pub is_changed: bool,
}

/// A version to be stored.
pub(super) struct NewVersion {
    pub revision: u64,
    pub published_us: i64,
    pub content: Option<Content>,
}

/// What goes when a message is withdrawn or erased.
pub(super) struct Content {
    pub text: String,
    pub salt: [u8; SALT_LENGTH],
    /// JSON of the details; `None` when there are none.
    pub details: Option<String>,
}

/// Messages of an author.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Authored {
    pub all: u64,
    pub left: u64,
}

/// What a set adds to the activity of a source.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Activity {
    pub messages: i64,
    pub published_us: i64,
}

impl<'a> WorkingSet<'a> {
    /// Loads what `commands` need.
    pub async fn load(tx: &Tx<'_>, ledger: &'a Ledger, commands: &[&Command]) -> Result<Self, Failure> {
        let wanted = Wanted::of(commands);
        let mut set = Self {
            now: tx.now,
            ledger,
            heads: ledger.heads().borrow().iter().map(|head| head.seq).collect(),
            items: HashMap::with_capacity(wanted.items.len()),
            by_id: HashMap::new(),
            sources: HashMap::new(),
            changed_sources: BTreeSet::new(),
            names: HashMap::new(),
            changed_authors: BTreeMap::new(),
            gone_authors: BTreeSet::new(),
            authored: HashMap::new(),
            versions: BTreeMap::new(),
            cleared: BTreeSet::new(),
            activity: BTreeMap::new(),
            turns: HashMap::new(),
            begun: Vec::new(),
            complete: Vec::new(),
        };
        let mut items = wanted.items;
        items.extend(items_of_messages(tx, wanted.messages).await?);
        for erasure in wanted.erasures {
            let turn = next_turn(tx, &erasure).await?;
            items.extend(&turn);
            set.turns.insert(erasure.author, turn);
        }
        set.load_items(tx, items).await?;
        set.load_sources(tx, wanted.sources, wanted.registers).await?;
        set.load_authors(tx, wanted.authors).await?;
        set.load_authored(tx, wanted.erased).await?;
        Ok(set)
    }

    async fn load_items(&mut self, tx: &Tx<'_>, items: BTreeSet<ItemKey>) -> Result<(), Failure> {
        let sql = format!(
            "SELECT {} FROM messages m WHERE m.item_key IN ({{keys}}) ORDER BY m.item_key{}",
            message_columns(),
            tx.for_update()
        );
        let keys = items.into_iter().map(|item| item.as_bytes().to_vec().into()).collect();
        for row in rows::select_in(tx.db, &sql, keys, MessageRow::read).await? {
            self.by_id.insert(row.message_id, row.item);
            self.items.insert(row.item, Item { row, is_stored: true, is_changed: false });
        }
        Ok(())
    }

    async fn load_sources(&mut self, tx: &Tx<'_>, ids: BTreeSet<&str>, to_change: bool) -> Result<(), Failure> {
        let lock = if to_change { tx.for_update() } else { "" };
        let columns = SOURCE_COLUMNS.join(", ");
        let sql = format!("SELECT {columns} FROM sources WHERE source_id IN ({{keys}}) ORDER BY source_id{lock}");
        let keys = ids.into_iter().map(Value::from).collect();
        for row in rows::select_in(tx.db, &sql, keys, SourceRow::read).await? {
            self.sources.insert(row.source.id.clone(), row);
        }
        Ok(())
    }

    async fn load_authors(&mut self, tx: &Tx<'_>, authors: BTreeSet<AuthorKey>) -> Result<(), Failure> {
        let sql = "SELECT author_key, display_name FROM authors WHERE author_key IN ({keys})";
        let keys = authors.into_iter().map(|author| bytes(author.0)).collect();
        let read = |row: &sea_orm::QueryResult| Ok((AuthorKey(key_of(row, 0)?), row.try_get_by_index(1)?));
        self.names = rows::select_in(tx.db, sql, keys, read).await?.into_iter().collect();
        Ok(())
    }

    async fn load_authored(&mut self, tx: &Tx<'_>, authors: BTreeSet<AuthorKey>) -> Result<(), Failure> {
        let sql = format!(
            "SELECT author_key, count(*), CAST(sum(CASE WHEN state = {} THEN 0 ELSE 1 END) AS BIGINT)
             FROM messages WHERE author_key IN ({{keys}}) AND version > 0 GROUP BY author_key",
            MessageState::Erased as i32
        );
        let keys = authors.into_iter().map(|author| bytes(author.0)).collect();
        let read = |row: &sea_orm::QueryResult| {
            let (all, left): (i64, i64) = (row.try_get_by_index(1)?, row.try_get_by_index(2)?);
            let authored = Authored { all: all.unsigned_abs(), left: left.unsigned_abs() };
            Ok((AuthorKey(key_of(row, 0)?), authored))
        };
        self.authored = rows::select_in(tx.db, &sql, keys, read).await?.into_iter().collect();
        Ok(())
    }

    /// Puts an entry of `aggregate` among `entries`, and says where in the ledger it is expected: behind the head as
    /// this process knows it and the entries of this set. Other replicas may have been faster, never slower.
    pub fn enter(&mut self, entries: &mut Vec<Draft>, aggregate: Uuid, draft: Draft) -> u64 {
        entries.push(draft);
        let partition = self.ledger.partition_of(aggregate) as usize;
        self.heads.get_mut(partition).map_or(0, |head| {
            *head += 1;
            *head
        })
    }
}

/// What commands ask to be loaded.
#[derive(Default)]
struct Wanted<'a> {
    items: BTreeSet<ItemKey>,
    messages: BTreeSet<Uuid>,
    sources: BTreeSet<&'a str>,
    registers: bool,
    authors: BTreeSet<AuthorKey>,
    erased: BTreeSet<AuthorKey>,
    erasures: Vec<Erasure>,
}

impl<'a> Wanted<'a> {
    fn of(commands: &[&'a Command]) -> Self {
        let mut wanted = Self::default();
        for command in commands {
            match command {
                Command::Submit(submission) => {
                    wanted.items.insert(submission.item);
                    wanted.sources.insert(&submission.source_id);
                    wanted.authors.insert(submission.author.key);
                }
                Command::Withdraw(withdrawal) => {
                    wanted.items.extend(withdrawal.target.item());
                    match &withdrawal.target {
                        WithdrawalTarget::Item { source_id, .. } => drop(wanted.sources.insert(source_id)),
                        WithdrawalTarget::Message(id) => drop(wanted.messages.insert(*id)),
                    }
                }
                Command::BeginErasure(author, _) => {
                    wanted.authors.insert(*author);
                    wanted.erased.insert(*author);
                }
                Command::Erase(erasure) => {
                    if !wanted.erasures.iter().any(|other| other.author == erasure.author) {
                        wanted.erasures.push(*erasure);
                    }
                }
                Command::Register(source) => {
                    wanted.sources.insert(&source.id);
                    wanted.registers = true;
                }
                Command::TakeOver(sources) => {
                    wanted.sources.extend(sources.iter().map(|source| source.id.as_str()));
                    wanted.registers = true;
                }
            }
        }
        wanted
    }
}

async fn items_of_messages(tx: &Tx<'_>, ids: BTreeSet<Uuid>) -> Result<Vec<ItemKey>, Failure> {
    let sql = "SELECT item_key FROM messages WHERE message_id IN ({keys}) AND version > 0";
    let keys = ids.into_iter().map(Value::from).collect();
    rows::select_in(tx.db, sql, keys, |row| item_of(row, 0)).await
}

/// The items that are the next to be erased: fewer than [`ERASED_AT_ONCE`] when they are the last.
async fn next_turn(tx: &Tx<'_>, erasure: &Erasure) -> Result<Vec<ItemKey>, Failure> {
    let statement = tx.statement(
        "SELECT item_key FROM messages
         WHERE author_key = $1 AND version > 0 AND state <> $2 AND received_us <= $3 ORDER BY message_id LIMIT $4",
        [
            bytes(erasure.author.0),
            i64::from(MessageState::Erased as i32).into(),
            erasure.until_us.into(),
            i64::try_from(ERASED_AT_ONCE).unwrap_or(i64::MAX).into(),
        ],
    );
    let rows = tx.db.query_all_raw(statement).await?;
    rows.iter().map(|row| Ok(item_of(row, 0)?)).collect()
}

fn bytes(key: [u8; KEY_LENGTH]) -> Value {
    key.to_vec().into()
}
