//! The service as its neighbours and callers see it: a real one on port 0, neighbours whose ledgers the test writes, on
//! SQLite and, where it is installed, on PostgreSQL.

mod calls;
mod facts;
mod lists;
mod opening;
mod peer;
mod replicas;
mod timers;
mod world;
