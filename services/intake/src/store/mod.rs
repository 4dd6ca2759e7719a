//! Intake's own database: what is stored, how it is read, and the one place where it is written.
//!
//! A new message costs one row of `messages`, one of `versions` (the only table with texts) and its ledger entry, and,
//! when its author is new, one of `authors` (the only table with personal data of authors). Rows of `messages` and
//! `versions` lie in the order of UUIDv7 ids, so they are appended however many there are; only the keys of items and
//! authors are spread over an index each.

mod erasures;
mod events;
mod migrations;
mod reader;
mod rows;
mod secret;
mod writer;

pub use erasures::{finish_erasure, pending_erasures};
pub use migrations::Migrator;
pub use reader::{Listed, MessageFilter, MessageView, Reader, Reference, Route, SourceView, TextView};
pub use rows::VersionRow;
pub use secret::author_secret;
pub use writer::{Command, Erasure, Reply, Submitted, Withdrawal, WithdrawalTarget, Withdrew, Writer};
