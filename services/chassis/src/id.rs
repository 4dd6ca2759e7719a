//! Identifiers: UUIDv7 whose bits after the time are all random.

use jiff::Timestamp;
use uuid::{NoContext, Uuid};

/// A new UUIDv7 of the moment `now`.
///
/// A message's id is its trace id, and W3C Trace Context level 2 wants the last seven bytes random:
/// so the id is made without the library's monotonic counter.
pub fn new_id(now: Timestamp) -> Uuid {
    let micros = now.as_microsecond().max(0);
    let seconds = (micros / 1_000_000).unsigned_abs();
    let nanos = u32::try_from(micros % 1_000_000 * 1_000).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanos))
}

/// The `ordinal`-th child of `parent`: the same arguments give the same id.
///
/// The result is a UUIDv8 (RFC 9562, custom): the first 16 bytes of SHA-256 over kind, parent and ordinal.
pub fn child_id(kind: &str, parent: Uuid, ordinal: u32) -> Uuid {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(kind.as_bytes());
    context.update(&[0]);
    context.update(parent.as_bytes());
    context.update(&ordinal.to_be_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&context.finish().as_ref()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_moment_share_nothing_behind_the_time() {
        let now: Timestamp = "2020-11-19T00:00:00.123456Z".parse().unwrap();
        let ids: Vec<Uuid> = (0..1000).map(|_| new_id(now)).collect();
        let mut seventh: Vec<u8> = ids.iter().map(|id| id.as_bytes()[9]).collect();
        seventh.sort_unstable();
        seventh.dedup();
        assert!(seventh.len() > 200, "byte 9 takes {} values", seventh.len());
        assert_eq!(ids[0].get_version_num(), 7);
    }
}
