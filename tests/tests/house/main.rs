//! What no crate can say of itself: the rules of the house as a whole, and services as real processes that are killed
//! and come back.

mod kill;
mod ledgers;
mod processes;
mod tidy;
mod tree;
