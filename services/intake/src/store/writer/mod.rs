//! The one place where intake writes: sets of commands, each set in one transaction.
//!
//! All rows that a set needs are loaded (and on PostgreSQL locked, in the order of the items' keys) with few
//! statements; each command is decided in memory, seeing what the ones before it did; what has changed is written with
//! few statements. An item that another replica created in between makes the whole set run again.

mod decide;
mod load;
mod save;

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use otklik_chassis::{
    error::Error,
    lane::{Apply, Effect, Outcome, Tx},
    ledger::Ledger,
    storage::Failure,
};
use otklik_proto::intake::v1::{
    Disposition, EraseReason, MessageState, RejectionReason, WithdrawDisposition, WithdrawReason,
};
use uuid::Uuid;

use self::load::WorkingSet;
use crate::domain::{
    keys::{AuthorKey, ItemKey},
    source::Source,
    submission::Submission,
};

/// Messages that one [`Command::Erase`] erases at the most.
pub(super) const ERASED_AT_ONCE: usize = 500;
/// Rows that the activity of a source is spread over.
const ACTIVITY_SHARDS: u64 = 16;

/// A change of intake's state.
#[derive(Debug)]
pub enum Command {
    /// Takes a message in.
    Submit(Box<Submission>),
    /// Takes a message back.
    Withdraw(Withdrawal),
    /// Removes an author's personal data, and notes that its messages are to be erased.
    BeginErasure(AuthorKey, EraseReason),
    /// Erases some messages of an author.
    Erase(Erasure),
    /// Registers a source, or replaces what a caller can say of it: its channels and its usual silence stay.
    Register(Source),
    /// Takes over the sources of the region pack that have changed in it since they were last taken over.
    TakeOver(Vec<Source>),
}

/// A withdrawal of an item.
#[derive(Debug, Clone)]
pub struct Withdrawal {
    /// Of what.
    pub target: WithdrawalTarget,
    /// Its revision at the source; 0 for none.
    pub revision: u64,
    /// Why.
    pub reason: WithdrawReason,
}

/// What is withdrawn.
#[derive(Debug, Clone)]
pub enum WithdrawalTarget {
    /// An item of a source, known or not.
    Item {
        /// Code of the source.
        source_id: String,
        /// Identifier of the item at its source.
        external_id: String,
    },
    /// A message.
    Message(Uuid),
}

/// An erasure of an author's messages that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erasure {
    /// Whose.
    pub author: AuthorKey,
    /// Messages received up to this time are erased, in microseconds since 1970.
    pub until_us: i64,
    /// Why.
    pub reason: EraseReason,
}

/// What a caller is told.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Of a submission.
    Submitted(Submitted),
    /// Of a withdrawal.
    Withdrew(Withdrew),
    /// Of the beginning of an erasure: the erasure to go on with, and how many messages it concerns.
    ErasureBegun(Erasure, u64),
    /// Of a part of an erasure: whether it was the last.
    Erased(bool),
    /// Of a registration, or of taking over sources.
    Registered,
}

/// What became of a submission.
#[derive(Debug, Clone, Copy)]
pub struct Submitted {
    /// The message.
    pub message_id: Uuid,
    /// Its latest version.
    pub version: u32,
    /// What the submission did.
    pub disposition: Disposition,
    /// Where the message stands.
    pub state: MessageState,
    /// Why it was rejected; unspecified unless it was.
    pub rejection: RejectionReason,
    /// Where the entry of its latest change was expected in the ledger.
    pub entry_seq: u64,
}

/// What became of a withdrawal.
#[derive(Debug, Clone, Copy)]
pub struct Withdrew {
    /// The message; `None` while there is only a tombstone.
    pub message_id: Option<Uuid>,
    /// What the withdrawal did.
    pub disposition: WithdrawDisposition,
    /// Where the message stands.
    pub state: MessageState,
    /// Where the entry of its latest change was expected in the ledger.
    pub entry_seq: u64,
}

/// Applies commands. It needs the ledger to note where entries are expected, and the ledger is laid with it: whoever
/// builds the service puts the ledger into the cell before the first command.
#[derive(Debug)]
pub struct Writer {
    ledger: Arc<OnceLock<Ledger>>,
    shard: i64,
}

impl Writer {
    /// A writer that finds the ledger in `ledger`.
    #[must_use]
    pub fn new(ledger: Arc<OnceLock<Ledger>>) -> Self {
        let shard = RandomState::new().build_hasher().finish() % ACTIVITY_SHARDS;
        Self { ledger, shard: i64::try_from(shard).unwrap_or(0) }
    }
}

#[async_trait]
impl Apply for Writer {
    type Command = Command;
    type Reply = Reply;

    async fn apply(&self, tx: &Tx<'_>, commands: &[&Command]) -> Result<Vec<Outcome<Reply>>, Failure> {
        let ledger = self.ledger.get().ok_or_else(|| Failure::Outage("the ledger is not open yet".into()))?;
        let mut set = WorkingSet::load(tx, ledger, commands).await?;
        let outcomes = commands.iter().map(|command| set.decide(command)).collect();
        set.save(tx, self.shard).await?;
        Ok(outcomes)
    }
}

impl WorkingSet<'_> {
    fn decide(&mut self, command: &Command) -> Outcome<Reply> {
        match command {
            Command::Submit(submission) => self.submit(submission),
            Command::Withdraw(withdrawal) => self.withdraw(withdrawal),
            Command::BeginErasure(author, reason) => self.begin_erasure(*author, *reason),
            Command::Erase(erasure) => Ok(self.erase(erasure)),
            Command::Register(source) => Ok(self.register(source)),
            Command::TakeOver(sources) => Ok(self.take_over(sources)),
        }
    }
}

impl WithdrawalTarget {
    /// The item's key; `None` when only the message is named.
    fn item(&self) -> Option<ItemKey> {
        match self {
            Self::Item { source_id, external_id } => Some(ItemKey::of(source_id, external_id)),
            Self::Message(_) => None,
        }
    }
}

/// The refusal of what names a source that is not registered.
fn no_source(source_id: &str) -> Error {
    Error::not_found("source", source_id)
}

/// An effect without a resource: repeats of the command are recognised by the item.
fn by_item(reply: Reply, entries: Vec<otklik_chassis::ledger::Draft>) -> Effect<Reply> {
    Effect::new(reply, "", entries)
}
