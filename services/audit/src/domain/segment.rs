//! Raw copies of entries: many consecutive ones of a ledger in one piece, byte for byte as they came.
//!
//! A segment's body is the concatenation of its entries. Each is header, type and payload, every one of them after its
//! length in bytes as an unsigned 32-bit big-endian integer, and then the 32 bytes of the entry's hash. Seqs are not
//! stored: they follow from the first one, and the hash covers them.

use otklik_chassis::ledger::chain::{HASH_LEN, Hash, Link};
use prost::bytes::Bytes;
use uuid::Uuid;

/// Most entries in one segment: a place within it fits in a byte, and reading one entry reads little else.
pub const MOST_ENTRIES: usize = 32;

/// Consecutive entries of one partition of one service's ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Number in the order of arrival here, from 1 without gaps.
    pub number: i64,
    /// The service that wrote the entries.
    pub service: String,
    /// Incarnation of its ledger.
    pub incarnation: Uuid,
    /// Partition of it.
    pub partition: u32,
    /// Seq of the first entry.
    pub first_seq: u64,
    /// Hash of the entry before the first one.
    pub previous_hash: Vec<u8>,
    /// The entries.
    pub body: Bytes,
}

/// One entry of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEntry {
    /// Place within the segment, from 0.
    pub place: u8,
    /// Seq in the ledger.
    pub seq: u64,
    /// Encoded header.
    pub header: Bytes,
    /// Full name of the payload's type.
    pub entry_type: String,
    /// Encoded payload.
    pub payload: Bytes,
    /// The hash that came with the entry.
    pub hash: Bytes,
    /// What was stored is the entry that has this hash, after the entry that is stored before it.
    pub intact: bool,
}

/// A segment whose body can't be read on from an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the copy of seq {seq} can't be read")]
pub struct Unreadable {
    /// The first entry that can't be read.
    pub seq: u64,
}

/// Appends an entry to the body of a segment.
pub fn append(body: &mut Vec<u8>, header: &[u8], entry_type: &str, payload: &[u8], hash: &[u8]) {
    body.reserve(header.len() + entry_type.len() + payload.len() + 12 + HASH_LEN);
    for part in [header, entry_type.as_bytes(), payload] {
        body.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        body.extend_from_slice(part);
    }
    body.extend_from_slice(hash);
}

impl Segment {
    /// The entries with an up-to-date `intact`, as far as the body can be read.
    pub fn verified(&self) -> (Vec<RawEntry>, Option<Unreadable>) {
        let (mut entries, unreadable) = self.entries();
        let mut previous: &[u8] = &self.previous_hash;
        for entry in &mut entries {
            entry.intact = self.hash_of(entry, previous)[..] == entry.hash[..];
            previous = &entry.hash;
        }
        (entries, unreadable)
    }

    /// The entries without a look at their hashes (`intact` is false), as far as the body can be read.
    pub fn entries(&self) -> (Vec<RawEntry>, Option<Unreadable>) {
        let mut entries = Vec::with_capacity(MOST_ENTRIES);
        let mut rest = self.body.clone();
        while !rest.is_empty() {
            let place = entries.len();
            let seq = self.first_seq + place as u64;
            match (u8::try_from(place), take_entry(&mut rest)) {
                (Ok(place), Some((header, entry_type, payload, hash))) => {
                    entries.push(RawEntry { place, seq, header, entry_type, payload, hash, intact: false });
                }
                _ => return (entries, Some(Unreadable { seq })),
            }
        }
        (entries, None)
    }

    fn hash_of(&self, entry: &RawEntry, previous: &[u8]) -> Hash {
        Link {
            incarnation: self.incarnation,
            partition: self.partition,
            seq: entry.seq,
            previous,
            header: &entry.header,
            entry_type: &entry.entry_type,
            payload: &entry.payload,
        }
        .hash()
    }
}

fn take_entry(rest: &mut Bytes) -> Option<(Bytes, String, Bytes, Bytes)> {
    let header = take_part(rest)?;
    let entry_type = String::from_utf8(take_part(rest)?.to_vec()).ok()?;
    let payload = take_part(rest)?;
    (rest.len() >= HASH_LEN).then(|| (header, entry_type, payload, rest.split_to(HASH_LEN)))
}

fn take_part(rest: &mut Bytes) -> Option<Bytes> {
    let length = rest.get(..4)?;
    let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
    (rest.len() - 4 >= length).then(|| {
        let _ = rest.split_to(4);
        rest.split_to(length)
    })
}

#[cfg(test)]
mod tests {
    use otklik_chassis::ledger::chain::GENESIS;

    use super::*;

    fn segment() -> Segment {
        let incarnation = Uuid::from_u128(7);
        let mut body = Vec::new();
        let mut previous = GENESIS;
        for seq in 1..=3u64 {
            let (header, payload) = (vec![seq as u8; 5], vec![9; seq as usize]);
            let link = Link {
                incarnation,
                partition: 2,
                seq,
                previous: &previous,
                header: &header,
                entry_type: "otklik.intake.v1.MessageReceived",
                payload: &payload,
            };
            let hash = link.hash();
            append(&mut body, &header, link.entry_type, &payload, &hash);
            previous = hash;
        }
        Segment {
            number: 1,
            service: "intake".into(),
            incarnation,
            partition: 2,
            first_seq: 1,
            previous_hash: GENESIS.to_vec(),
            body: body.into(),
        }
    }

    #[test]
    fn entries_come_back_verbatim() {
        let (entries, unreadable) = segment().verified();
        assert_eq!(unreadable, None);
        assert!(entries.iter().all(|entry| entry.intact));
        let read: Vec<_> = entries.iter().map(|e| (e.place, e.seq, e.header.to_vec(), e.payload.len())).collect();
        assert_eq!(read, [(0, 1, vec![1; 5], 1), (1, 2, vec![2; 5], 2), (2, 3, vec![3; 5], 3)]);
    }

    #[test]
    fn whatever_byte_is_altered_it_is_noticed() {
        let whole = segment();
        for index in 0..whole.body.len() {
            let mut body = whole.body.to_vec();
            body[index] ^= 1;
            let (entries, unreadable) = Segment { body: body.into(), ..whole.clone() }.verified();
            let sound = unreadable.is_none() && entries.len() == 3 && entries.iter().all(|entry| entry.intact);
            assert!(!sound, "byte {index}");
        }
        let (entries, _) = Segment { previous_hash: vec![1; 32], ..whole }.verified();
        assert!(!entries[0].intact && entries[1].intact);
    }

    #[test]
    fn a_body_cut_short_is_unreadable_from_there() {
        let whole = segment();
        let cut = Segment { body: whole.body.slice(..whole.body.len() - 1), ..whole };
        let (entries, unreadable) = cut.verified();
        assert_eq!((entries.len(), unreadable), (2, Some(Unreadable { seq: 3 })));
    }
}
