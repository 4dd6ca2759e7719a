//! The hash chain of a partition.

use otklik_proto::ledger::v1::Entry;
use ring::digest::{Context, SHA256};
use uuid::Uuid;

/// Bytes of a hash.
pub const HASH_LEN: usize = 32;
/// A SHA-256 hash.
pub type Hash = [u8; HASH_LEN];
/// What the first entry of a partition takes for the hash before it.
pub const GENESIS: Hash = [0; HASH_LEN];

const PREFIX: &[u8] = b"otklik.ledger.v1\0";

/// What one entry's hash covers, all of it verbatim.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    /// The ledger's incarnation.
    pub incarnation: Uuid,
    /// The partition.
    pub partition: u32,
    /// Position in the partition, from 1 without gaps.
    pub seq: u64,
    /// Hash of the entry before, [`GENESIS`] for the first.
    pub previous: &'a [u8],
    /// Encoded `EntryHeader`.
    pub header: &'a [u8],
    /// Full name of the payload's message type.
    pub entry_type: &'a str,
    /// Encoded payload.
    pub payload: &'a [u8],
}

impl Link<'_> {
    /// SHA-256 over the layout that `otklik/ledger/v1/ledger.proto` documents.
    pub fn hash(&self) -> Hash {
        let mut context = Context::new(&SHA256);
        context.update(PREFIX);
        context.update(self.incarnation.as_bytes());
        context.update(&self.partition.to_be_bytes());
        context.update(&self.seq.to_be_bytes());
        context.update(self.previous);
        for part in [self.header, self.entry_type.as_bytes(), self.payload] {
            context.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            context.update(part);
        }
        let mut hash = GENESIS;
        hash.copy_from_slice(context.finish().as_ref());
        hash
    }
}

/// Why an entry does not continue its chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Break {
    /// The position is not the next one.
    #[error("expected seq {expected}, found {found}")]
    Gap {
        /// The seq that should have come.
        expected: u64,
        /// The seq that came.
        found: u64,
    },
    /// The content does not have the hash that is recorded for it.
    #[error("the content of seq {seq} does not match its hash: it was altered after it was written")]
    Altered {
        /// Where.
        seq: u64,
    },
    /// The entry names another predecessor.
    #[error("seq {seq} does not follow the entry before it")]
    Unlinked {
        /// Where.
        seq: u64,
    },
    /// The entry has no usable position.
    #[error("the entry has no valid position")]
    NoPosition,
}

/// Follows one partition's chain entry by entry.
#[derive(Debug, Clone)]
pub struct Follower {
    /// The ledger's incarnation.
    pub incarnation: Uuid,
    /// The partition.
    pub partition: u32,
    /// The last verified seq, 0 before the first.
    pub seq: u64,
    /// The last verified hash.
    pub hash: Hash,
}

impl Follower {
    /// A follower before the first entry.
    pub fn start(incarnation: Uuid, partition: u32) -> Self {
        Self { incarnation, partition, seq: 0, hash: GENESIS }
    }

    /// Verifies that `entry` is the next of the chain and steps onto it.
    ///
    /// # Errors
    /// The [`Break`]; the follower stays where it was.
    pub fn step(&mut self, entry: &Entry) -> Result<(), Break> {
        let position = entry.position.as_ref().ok_or(Break::NoPosition)?;
        let seq = position.seq;
        if seq != self.seq + 1 || position.partition != self.partition {
            return Err(Break::Gap { expected: self.seq + 1, found: seq });
        }
        if entry.previous_hash[..] != self.hash {
            return Err(Break::Unlinked { seq });
        }
        let hash = Link {
            incarnation: self.incarnation,
            partition: self.partition,
            seq,
            previous: &self.hash,
            header: &entry.header,
            entry_type: &entry.r#type,
            payload: &entry.payload,
        }
        .hash();
        if position.hash[..] != hash {
            return Err(Break::Altered { seq });
        }
        self.seq = seq;
        self.hash = hash;
        Ok(())
    }
}
