//! Assignment's own database.
//!
//! - `cases`: one row a case, with everything that a desk filters by.
//! - `members`: one row for each message's question in a case.
//! - `case_places`: the places that a case concerns, for finding cases by place.
//! - `withdrawals`: messages that were withdrawn, whether a case of theirs is known yet or not.
//! - `numbering`: the last number given out; its row is the gate through which openings and withdrawals pass one by
//!   one, so that neither misses the other when replicas consume them at the same moment.

pub mod cases;
pub mod members;
mod migrations;
pub mod query;
pub mod writer;

pub use migrations::Migrator;
