//! What every service of Otklik stands on: configuration, telemetry, gRPC server and client, storage,
//! ledger, writer lane, consumer, identity, clock.
//!
//! What every service does the same way is here once; what only one needs is not.

pub mod client;
pub mod clock;
pub mod config;
pub mod consumer;
pub mod error;
pub mod foundation;
pub mod id;
pub mod identity;
pub mod lane;
pub mod ledger;
pub mod page;
pub mod region;
pub mod run;
pub mod seen;
pub mod server;
pub mod storage;
pub mod telemetry;
pub mod testing;
pub mod validate;

/// The allocator of every binary: batches of small values are made and dropped in different threads, which the
/// system's allocator answers with locks and consolidation.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
