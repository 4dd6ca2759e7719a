//! An entry before it has a place in the ledger.

use bytes::Bytes;
use jiff::Timestamp;
use otklik_proto::{
    ledger::v1::{Actor, EntryHeader, PolicyVersion},
    time::from_micros,
};
use prost::{Message, Name};
use uuid::Uuid;

/// An entry as the domain writes it: what happened to which aggregate. The actor, the cause, the id,
/// the recorded time and the position are added by the writer lane, so that no caller can choose them.
#[derive(Debug, Clone)]
pub struct Draft {
    pub(crate) aggregate: Uuid,
    pub(crate) header: EntryHeader,
    pub(crate) entry_type: String,
    pub(crate) payload: Bytes,
}

impl Draft {
    /// An entry of `aggregate` (`kind` is e.g. `message`, `case`) with the event `payload`.
    pub fn new<M: Message + Name>(kind: &str, aggregate: Uuid, payload: &M) -> Self {
        Self {
            aggregate,
            header: EntryHeader {
                aggregate_kind: kind.to_owned(),
                aggregate_id: aggregate.to_string(),
                ..Default::default()
            },
            entry_type: M::full_name(),
            payload: payload.encode_to_vec().into(),
        }
    }

    /// Messages and cases that the entry concerns besides its aggregate.
    #[must_use]
    pub fn concerning(mut self, subjects: impl IntoIterator<Item = Uuid>) -> Self {
        self.header.subject_ids.extend(subjects.into_iter().map(|id| id.to_string()));
        self
    }

    /// The stable code (or an official's words, never a citizen's) that says why.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.header.reason = reason.into();
        self
    }

    /// A policy, pack, model or calendar version that the decision was made under.
    #[must_use]
    pub fn under(mut self, name: &str, version: &str) -> Self {
        self.header.policy_versions.push(PolicyVersion { name: name.to_owned(), version: version.to_owned() });
        self
    }

    /// When the author published and intake received what this entry is about.
    #[must_use]
    pub fn dated(mut self, published: Option<Timestamp>, received: Option<Timestamp>) -> Self {
        self.header.published_time = published.map(|t| from_micros(t.as_microsecond()));
        self.header.received_time = received.map(|t| from_micros(t.as_microsecond()));
        self
    }

    /// Marks the entry as one that a reader who doesn't know its type may pass over.
    #[must_use]
    pub fn ignorable(mut self) -> Self {
        self.header.ignorable = true;
        self
    }

    /// The full name of the payload's type.
    pub fn entry_type(&self) -> &str {
        &self.entry_type
    }

    /// Stamps what only the lane knows.
    pub(crate) fn stamp(&mut self, now: Timestamp, actor: &Actor, cause: &str, traceparent: &str) {
        let header = &mut self.header;
        header.entry_id = crate::id::new_id(now).to_string();
        header.recorded_time = Some(from_micros(now.as_microsecond()));
        header.actor = Some(actor.clone());
        header.cause_entry_id = cause.to_owned();
        header.traceparent = traceparent.to_owned();
    }
}
