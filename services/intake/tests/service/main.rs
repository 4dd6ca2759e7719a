//! Intake through its public contract: the real service on a free port, on SQLite and, where there is one, on
//! PostgreSQL.

mod erasure;
mod harness;
mod lists;
mod replicas;
mod sources;
mod streams;
mod submissions;
mod withdrawals;
