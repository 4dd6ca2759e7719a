//! The edge of a service, tried over real sockets: identity, permissions, deadlines, errors, limits, the orderly end,
//! the client, and what of it reaches an OTLP collector.

#![expect(clippy::disallowed_methods, reason = "the tasks of a test end with its runtime")]

mod calls;
mod ends;
mod house;
mod otlp;
mod service;
mod tls;
mod tokens;
