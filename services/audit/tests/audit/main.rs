//! Audit as its callers see it: ledgers of other services in, lifecycles, proof, figures and traces out.

mod figures;
mod lifecycles;
mod peers;
mod proof;
mod receiver;
mod traces;
mod world;
