//! The ledger, the lane and the consumer, on both databases: what is handed over arrives once, whatever dies.

mod after;
mod cursor;
mod kill;
mod lane;
mod parking;
mod replica;
mod upstream;
