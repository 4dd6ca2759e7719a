//! One entry of a ledger, as lifecycles see it.

use otklik_proto::{ledger::v1::EntryHeader, time::to_micros};
use prost::{Message, bytes::Bytes};
use ring::digest::{SHA256, digest};
use uuid::Uuid;

use super::{
    event::Event,
    segment::{RawEntry, Segment},
};

/// Kind of the aggregate of entries about a message.
pub const MESSAGE: &str = "message";
/// Kind of the aggregate of entries about a case.
pub const CASE: &str = "case";

/// An entry, decoded.
#[derive(Debug, Clone)]
pub struct Step {
    /// Number of its segment, and place in it: the order of arrival.
    pub arrival: (i64, u8),
    /// Service that wrote it.
    pub service: String,
    /// Incarnation of its ledger.
    pub incarnation: Uuid,
    /// Partition.
    pub partition: u32,
    /// Seq.
    pub seq: u64,
    /// Hash that came with it.
    pub hash: Bytes,
    /// Whether the copy still has that hash.
    pub intact: bool,
    /// Its header; empty if it can't be decoded.
    pub header: EntryHeader,
    /// Full name of its type.
    pub entry_type: String,
    /// What it says happened.
    pub event: Event,
    /// Its payload.
    pub payload: Bytes,
    /// Its id.
    pub id: Uuid,
    /// The entry that caused it.
    pub cause: Option<Uuid>,
    /// When it was recorded, in microseconds.
    pub recorded_us: i64,
    /// Messages and cases that it concerns.
    pub subjects: Subjects,
}

/// The messages and cases that an entry concerns, each once and in the order of the header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subjects {
    /// Messages.
    pub messages: Vec<Uuid>,
    /// Cases.
    pub cases: Vec<Uuid>,
}

impl Step {
    /// Decodes a stored entry.
    #[must_use]
    pub fn of(segment: &Segment, entry: RawEntry) -> Self {
        let header = EntryHeader::decode(entry.header).unwrap_or_default();
        Self {
            arrival: (segment.number, entry.place),
            service: segment.service.clone(),
            incarnation: segment.incarnation,
            partition: segment.partition,
            seq: entry.seq,
            hash: entry.hash,
            intact: entry.intact,
            event: Event::decode(&entry.entry_type, &entry.payload),
            id: identifier(&header.entry_id).unwrap_or_default(),
            cause: identifier(&header.cause_entry_id),
            recorded_us: header.recorded_time.as_ref().map_or(0, to_micros),
            subjects: Subjects::of(&header),
            header,
            entry_type: entry.entry_type,
            payload: entry.payload,
        }
    }

    /// The message that changed, if one did.
    #[must_use]
    pub fn message(&self) -> Option<Uuid> {
        (self.header.aggregate_kind == MESSAGE).then(|| identifier(&self.header.aggregate_id)).flatten()
    }

    /// The case that changed, if one did.
    #[must_use]
    pub fn case(&self) -> Option<Uuid> {
        (self.header.aggregate_kind == CASE).then(|| identifier(&self.header.aggregate_id)).flatten()
    }

    /// Whether the life of a subject begins with this step.
    #[must_use]
    pub fn is_root(&self) -> bool {
        matches!(self.event, Event::MessageReceived(_) | Event::CaseOpened(_))
    }

    /// Whether the life (and the trace) of `subject` begins with this step.
    #[must_use]
    pub fn is_root_of(&self, subject: Uuid) -> bool {
        self.is_root() && identifier(&self.header.aggregate_id) == Some(subject)
    }
}

impl Subjects {
    /// Sorts the ids that a header names into messages and cases.
    ///
    /// A header doesn't say which of its subjects is what. Its aggregate has a kind; beside a message stand cases, and
    /// beside anything else stand messages.
    #[must_use]
    pub fn of(header: &EntryHeader) -> Self {
        let aggregate = identifier(&header.aggregate_id);
        let mut subjects = Self::default();
        match header.aggregate_kind.as_str() {
            MESSAGE => subjects.messages.extend(aggregate),
            CASE => subjects.cases.extend(aggregate),
            _ => {}
        }
        let others = if header.aggregate_kind == MESSAGE { &mut subjects.cases } else { &mut subjects.messages };
        for id in header.subject_ids.iter().filter_map(|id| identifier(id)) {
            if Some(id) != aggregate && !others.contains(&id) {
                others.push(id);
            }
        }
        subjects
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = Uuid> + '_ {
        self.messages.iter().chain(&self.cases).copied()
    }
}

/// An id of the contract as a UUID: `None` when empty. One that is no UUID becomes a hash of itself, so that it is
/// still the same thing everywhere.
#[must_use]
pub fn identifier(id: &str) -> Option<Uuid> {
    if id.is_empty() {
        return None;
    }
    Some(Uuid::try_parse(id).unwrap_or_else(|_| {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest(&SHA256, id.as_bytes()).as_ref()[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_sorted_by_the_aggregate() {
        let ids: Vec<Uuid> = (1..4u128).map(Uuid::from_u128).collect();
        let header = |kind: &str| EntryHeader {
            aggregate_kind: kind.into(),
            aggregate_id: ids[0].to_string(),
            subject_ids: [0, 1, 2, 1].map(|i| ids[i].to_string()).to_vec(),
            ..Default::default()
        };
        let of = |kind| Subjects::of(&header(kind));
        assert_eq!(of(CASE), Subjects { cases: vec![ids[0]], messages: vec![ids[1], ids[2]] });
        assert_eq!(of(MESSAGE), Subjects { messages: vec![ids[0]], cases: vec![ids[1], ids[2]] });
        assert_eq!(of("author"), Subjects { messages: vec![ids[1], ids[2]], cases: vec![] });
    }

    #[test]
    fn an_id_that_is_no_uuid_is_still_one_thing() {
        assert_eq!(identifier(""), None);
        assert_eq!(identifier("q-1"), identifier("q-1"));
        assert_ne!(identifier("q-1"), identifier("q-2"));
    }
}
