//! What assignment decides, without knowing how it is asked or where it is kept.
//!
//! - [`pack`]: the region pack: executors, places, routing rules, policies.
//! - [`calendar`]: when work is done, and so when something is due.
//! - [`state`]: the one table of states and verbs.
//! - [`case`](mod@case): a case and what calls, facts and the clock do to it.

pub mod calendar;
pub mod case;
pub mod clocks;
pub mod entries;
pub mod pack;
pub mod state;
