//! Keys that are computed: of items, of authors, of sources; and commitments to texts.

use ring::{
    digest::{Context, Digest, SHA256},
    hmac,
};
use uuid::{Builder, Uuid};

/// Length of an author's key in bytes: half a SHA-256, which no two authors of a region share by chance.
pub const KEY_LENGTH: usize = 16;
/// Length of the salt of a commitment in bytes.
pub const SALT_LENGTH: usize = 16;

/// Bytes of an item's key that stand for its source.
const SOURCE_PART: usize = 8;
/// Longest item key in bytes; what is that long ends in a hash.
const LONGEST_ITEM: usize = 48;
/// Bytes of a long external id that are kept as they are.
const KEPT_OF_LONG: usize = LONGEST_ITEM - SOURCE_PART - KEY_LENGTH;

/// Stands for an item of a source wherever it is looked up: 8 bytes of the SHA-256 of the source's code and the external
/// id as it is, or, when that has 40 bytes or more, its first 24 bytes and 16 of its SHA-256.
///
/// Not a hash as a whole, because sources count upwards: the keys of messages that come together lie together in the
/// index, and a batch of them touches few of its pages however many messages are stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemKey {
    // In this order, keys compare as their bytes do: replicas lock rows in the same order as the database sorts them.
    bytes: [u8; LONGEST_ITEM],
    length: u8,
}

impl ItemKey {
    /// The key of the item that `source_id` knows as `external_id`.
    #[must_use]
    pub fn of(source_id: &str, external_id: &str) -> Self {
        let source = sha256(&[source_id.as_bytes()]);
        let id = external_id.as_bytes();
        let mut key = Self { bytes: [0; LONGEST_ITEM], length: 0 };
        key.push(&source.as_ref()[..SOURCE_PART]);
        if id.len() < LONGEST_ITEM - SOURCE_PART {
            key.push(id);
        } else {
            key.push(&id[..KEPT_OF_LONG]);
            key.push(&first_half(&sha256(&[id])));
        }
        key
    }

    /// The key of its bytes; `None` when they are too many.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut key = Self { bytes: [0; LONGEST_ITEM], length: 0 };
        (bytes.len() <= LONGEST_ITEM).then(|| {
            key.push(bytes);
            key
        })
    }

    /// The bytes, for the database.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    fn push(&mut self, part: &[u8]) {
        for byte in part {
            self.bytes[usize::from(self.length)] = *byte;
            self.length += 1;
        }
    }
}

impl std::fmt::Debug for ItemKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "ItemKey({})", self.as_bytes().escape_ascii())
    }
}

/// The pseudonymous key of an author: the same for all messages of one author of one source. Nobody without the
/// service's own secret can compute it from an author's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorKey(pub [u8; KEY_LENGTH]);

impl AuthorKey {
    /// The key as contracts spell it: 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The key of its hexadecimal digits; `None` for anything else.
    #[must_use]
    pub fn from_hex(digits: &str) -> Option<Self> {
        if digits.len() != 2 * KEY_LENGTH || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut key = [0; KEY_LENGTH];
        for (index, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(Self(key))
    }
}

/// The service's secret that authors' keys are made with.
#[derive(Clone)]
pub struct AuthorSecret(hmac::Key);

impl std::fmt::Debug for AuthorSecret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("AuthorSecret")
    }
}

impl AuthorSecret {
    /// Length of the secret in bytes.
    pub const LENGTH: usize = 32;

    /// The secret that these bytes are.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The key of an author: the first half of HMAC-SHA-256 over the source's code, a zero byte and the author's
    /// external id (RFC 2104, section 5, on shortened output).
    #[must_use]
    pub fn key_of(&self, source_id: &str, author_external_id: &str) -> AuthorKey {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(source_id.as_bytes());
        context.update(&[0]);
        context.update(author_external_id.as_bytes());
        let mut key = [0; KEY_LENGTH];
        key.copy_from_slice(&context.sign().as_ref()[..KEY_LENGTH]);
        AuthorKey(key)
    }
}

/// Commits to a text without giving it away: SHA-256 over `otklik.text.v1`, a zero byte, the salt and the text. Once
/// the salt is gone, nobody can try texts against it.
#[must_use]
pub fn commitment(salt: &[u8; SALT_LENGTH], text: &str) -> Vec<u8> {
    sha256(&[b"otklik.text.v1\0", salt, text.as_bytes()]).as_ref().to_vec()
}

/// The id that a source has as an aggregate of the ledger, derived from its code: a UUIDv8 (RFC 9562).
#[must_use]
pub fn source_aggregate(source_id: &str) -> Uuid {
    Builder::from_custom_bytes(first_half(&sha256(&[b"otklik.source.v1\0", source_id.as_bytes()]))).into_uuid()
}

fn sha256(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    context.finish()
}

fn first_half(digest: &Digest) -> [u8; KEY_LENGTH] {
    let mut key = [0; KEY_LENGTH];
    key.copy_from_slice(&digest.as_ref()[..KEY_LENGTH]);
    key
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_at_a_source_are_neighbours_among_keys() {
        let keys: Vec<ItemKey> = (100..200).map(|n| ItemKey::of("vk", &format!("-1_{n}"))).collect();
        assert!(keys.is_sorted());
    }

    proptest! {
        #[test]
        fn a_key_is_of_one_item_and_sorts_as_its_bytes(
            one in ("(vk|ok)", "[a-c\\x00]{1,3}|[ab]{38,60}"), other in ("(vk|ok)", "[a-c\\x00]{1,3}|[ab]{38,60}")
        ) {
            let (a, b) = (ItemKey::of(&one.0, &one.1), ItemKey::of(&other.0, &other.1));
            prop_assert_eq!(a == b, one == other);
            prop_assert_eq!(a.cmp(&b), a.as_bytes().cmp(b.as_bytes()));
            prop_assert_eq!(ItemKey::from_bytes(a.as_bytes()), Some(a));
        }
    }

    #[test]
    fn what_is_too_long_is_no_key() {
        assert_eq!(ItemKey::from_bytes(&[0; LONGEST_ITEM + 1]), None);
    }

    #[test]
    fn an_author_key_depends_on_the_secret_and_survives_its_spelling() {
        let (one, other) = (AuthorSecret::new(&[1; 32]), AuthorSecret::new(&[2; 32]));
        let key = one.key_of("vk", "id42");
        assert_eq!(key, one.key_of("vk", "id42"));
        assert_ne!(key, other.key_of("vk", "id42"));
        assert_ne!(key, one.key_of("ok", "id42"));
        assert_eq!(AuthorKey::from_hex(&key.to_hex()), Some(key));
        for wrong in ["", "0", &"g".repeat(32), &"0".repeat(31), &"é".repeat(16)] {
            assert_eq!(AuthorKey::from_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_commitment_is_what_the_contract_says() {
        let mut bytes = b"otklik.text.v1\0".to_vec();
        bytes.extend_from_slice(&[7; SALT_LENGTH]);
        bytes.extend_from_slice("Нет света".as_bytes());
        let expected = ring::digest::digest(&SHA256, &bytes);
        assert_eq!(commitment(&[7; SALT_LENGTH], "Нет света"), expected.as_ref());
    }
}
