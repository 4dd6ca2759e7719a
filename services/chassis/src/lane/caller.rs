//! In whose name a command enters the lane.

use std::time::Instant;

use otklik_proto::{ledger::v1::Actor, options::v1::Role};
use prost::Message;
use ring::digest::{SHA256, digest};

use crate::{error::Error, identity, server};

/// Who asks for a change, until when, and under which request id.
#[derive(Debug, Clone)]
pub struct Caller {
    pub(crate) actor: Actor,
    pub(crate) request: Option<RequestKey>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) traceparent: String,
}

/// A request id in its scope: the same key with the same body is the same call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestKey {
    pub caller: String,
    pub method: &'static str,
    pub id: String,
    pub body_hash: Vec<u8>,
}

impl RequestKey {
    pub(crate) fn scope(&self) -> (&str, &str, &str) {
        (&self.caller, self.method, &self.id)
    }
}

impl Caller {
    /// The caller of `request`; `request_id` (empty where the method has none) makes the call repeatable.
    ///
    /// # Errors
    /// `Unauthenticated` when the request carries no principal; `Invalid` when the id is longer than 128 bytes.
    pub fn of<M: Message>(request: &tonic::Request<M>, method: &'static str, request_id: &str) -> Result<Self, Error> {
        let actor = identity::actor(request)?;
        if request_id.len() > LONGEST_REQUEST_ID {
            return Err(Error::invalid("request_id", format!("is longer than {LONGEST_REQUEST_ID} bytes")));
        }
        let key = (!request_id.is_empty()).then(|| RequestKey {
            caller: actor.subject.clone(),
            method,
            id: request_id.to_owned(),
            body_hash: digest(&SHA256, &request.get_ref().encode_to_vec()).as_ref().to_vec(),
        });
        Ok(Self {
            actor: Actor { subject: actor.subject, role: identity::role_name(actor.role) },
            request: key,
            deadline: server::deadline(),
            traceparent: crate::telemetry::current_traceparent(),
        })
    }

    /// The service itself: for what its clock or its own tasks cause.
    pub fn service(name: &str) -> Self {
        Self { actor: service_actor(name), request: None, deadline: None, traceparent: String::new() }
    }
}

/// Longest request id in bytes.
const LONGEST_REQUEST_ID: usize = 128;

/// The actor of entries that a service makes by itself.
pub(crate) fn service_actor(name: &str) -> Actor {
    Actor { subject: format!("service:{name}"), role: identity::role_name(Role::Service) }
}
