//! What happened to messages and cases, decided from the entries of all ledgers alone.
//!
//! Entries of different ledgers arrive here in any order; those of one ledger in theirs. Everything in this module comes
//! to the same result whatever the order of arrival.

pub mod calendar;
pub mod case;
pub mod details;
pub mod event;
pub mod life;
pub mod message;
pub mod order;
pub mod periods;
pub mod segment;
pub mod span;
pub mod standing;
pub mod step;

/// The services whose ledgers are copied, in the order in which a message meets them.
pub const PRODUCERS: [&str; 4] = ["intake", "classification", "assignment", "feedback"];
