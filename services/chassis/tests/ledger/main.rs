//! The ledger, the lane and the consumer, on both databases: what is handed over arrives once, whatever dies.

mod cursor;
mod kill;
mod lane;
mod replica;
mod upstream;
