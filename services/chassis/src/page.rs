//! Pages of a list: the size rule and the opaque tokens that continue one.
//!
//! A token holds the sort key of the last item shown (keyset paging) and a digest of the other arguments of the
//! call, so that it only ever continues the list that it came from. It is no secret and no permission: whoever
//! makes one up sees at most what the same call shows him anyway.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use prost::Message;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::error::{Error, Violation};

/// The page size when a request says 0.
pub const DEFAULT_SIZE: u32 = 50;
/// The largest page; whoever asks for more gets this many.
pub const LARGEST_SIZE: u32 = 500;

/// The version of the token's layout. A token of another version is refused, and the caller begins again.
const VERSION: u8 = 1;

/// The page that a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<K> {
    /// How many items to return at most, 1 to [`LARGEST_SIZE`].
    pub size: u32,
    /// The sort key of the last item of the page before; `None` for the first page.
    pub after: Option<K>,
    arguments: [u8; DIGEST],
}

/// How many bytes of the arguments' SHA-256 a token keeps: enough that no two calls are confused by chance.
const DIGEST: usize = 16;

#[derive(Serialize, Deserialize)]
struct Token<K> {
    key: K,
    arguments: [u8; DIGEST],
}

impl<K: Serialize + DeserializeOwned> Page<K> {
    /// Reads the page of a list request.
    ///
    /// `arguments` is the request itself with `page_size` and `page_token` cleared; what is left binds the token
    /// to the filter and order it was made for. `method` keeps the tokens of two lists with equal requests apart.
    ///
    /// # Errors
    /// `Invalid`: a negative `page_size`, a `page_token` that is not one, or one of another list or filter.
    pub fn of(method: &str, page_size: i32, page_token: &str, arguments: &impl Message) -> Result<Self, Error> {
        let arguments = digest(method, arguments);
        let size = size(page_size);
        let after = match page_token {
            "" => Ok(None),
            token => decode(token, &arguments).map(Some),
        };
        match (size, after) {
            (Ok(size), Ok(after)) => Ok(Self { size, after, arguments }),
            (size, after) => Err(Error::Invalid(size.err().into_iter().chain(after.err()).collect())),
        }
    }

    /// How many rows to read: one more than the page, which tells whether there is a next one.
    #[must_use]
    pub fn limit(&self) -> u64 {
        u64::from(self.size) + 1
    }

    /// Cuts what [`Page::limit`] rows were read for to the page, and gives the token of the next page (empty on the
    /// last one). `key` is the sort key of an item.
    #[must_use]
    pub fn cut<T>(&self, mut items: Vec<T>, key: impl Fn(&T) -> K) -> (Vec<T>, String) {
        let size = self.size as usize;
        if items.len() <= size {
            return (items, String::new());
        }
        items.truncate(size);
        let token = items.last().map(|last| self.token(key(last))).unwrap_or_default();
        (items, token)
    }

    /// The token of the page that begins after the item with this key.
    #[must_use]
    pub fn token(&self, key: K) -> String {
        // A sort key is numbers, ids and strings: JSON holds every one.
        let body = serde_json::to_vec(&Token { key, arguments: self.arguments }).unwrap_or_default();
        let mut bytes = Vec::with_capacity(body.len() + 1);
        bytes.push(VERSION);
        bytes.extend_from_slice(&body);
        URL_SAFE_NO_PAD.encode(&bytes)
    }
}

fn size(page_size: i32) -> Result<u32, Violation> {
    match u32::try_from(page_size) {
        Ok(0) => Ok(DEFAULT_SIZE),
        Ok(size) => Ok(size.min(LARGEST_SIZE)),
        Err(_) => Err(Violation {
            field: "page_size".into(),
            description: format!("must not be negative; 0 means {DEFAULT_SIZE}, at most {LARGEST_SIZE} are returned"),
        }),
    }
}

fn digest(method: &str, arguments: &impl Message) -> [u8; DIGEST] {
    let mut context = Context::new(&SHA256);
    context.update(method.as_bytes());
    context.update(&[0]);
    context.update(&arguments.encode_to_vec());
    let mut digest = [0; DIGEST];
    digest.copy_from_slice(&context.finish().as_ref()[..DIGEST]);
    digest
}

fn decode<K: DeserializeOwned>(token: &str, arguments: &[u8; DIGEST]) -> Result<K, Violation> {
    let foreign = |description: &str| Violation { field: "page_token".into(), description: description.into() };
    let unknown = || foreign("is not a page token of this list; begin again without one");
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| unknown())?;
    let Some((&VERSION, body)) = bytes.split_first() else { return Err(unknown()) };
    // The digest is looked at before the key: the key of another list need not even have the same type.
    let Token { key, arguments: made_for } =
        serde_json::from_slice::<Token<serde_json::Value>>(body).map_err(|_| unknown())?;
    if made_for != *arguments {
        return Err(foreign("was made for other arguments; repeat them with the token, or begin again without one"));
    }
    serde_json::from_value(key).map_err(|_| unknown())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Key = (i64, uuid::Uuid);

    fn arguments(filter: &str) -> prost_types::FileDescriptorProto {
        prost_types::FileDescriptorProto { name: Some(filter.into()), ..Default::default() }
    }

    fn page(size: i32, token: &str, filter: &str) -> Result<Page<Key>, Error> {
        Page::of("otklik.test.v1.Test/List", size, token, &arguments(filter))
    }

    fn violations(error: Error) -> Vec<String> {
        match error {
            Error::Invalid(found) => found.into_iter().map(|violation| violation.field).collect(),
            other => panic!("not an Invalid: {other}"),
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(page(0, "", "a").unwrap().size, DEFAULT_SIZE);
        assert_eq!(page(7, "", "a").unwrap().size, 7);
        assert_eq!(page(i32::MAX, "", "a").unwrap().size, LARGEST_SIZE);
        assert_eq!(violations(page(-1, "", "a").unwrap_err()), ["page_size"]);
    }

    #[test]
    fn a_list_is_walked_to_its_end() {
        let all: Vec<Key> = (0..7).map(|n| (n, uuid::Uuid::from_u128(n as u128))).collect();
        let (mut seen, mut token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = page(3, &token, "a").unwrap();
            let rows = all
                .iter()
                .copied()
                .filter(|key| page.after.is_none_or(|after| *key > after))
                .take(page.limit() as usize)
                .collect();
            let (items, next) = page.cut(rows, |key| *key);
            seen.extend(items);
            pages += 1;
            if next.is_empty() {
                break;
            }
            token = next;
        }
        assert_eq!(pages, 3);
        assert_eq!(seen, all);
    }

    #[test]
    fn a_token_may_be_used_with_another_size_only() {
        let token = page(3, "", "a").unwrap().token((1, uuid::Uuid::nil()));
        assert_eq!(page(9, &token, "a").unwrap().after, Some((1, uuid::Uuid::nil())));
        assert_eq!(violations(page(3, &token, "b").unwrap_err()), ["page_token"]);
        let other_list = Page::<Key>::of("otklik.test.v1.Test/ListOthers", 3, &token, &arguments("a"));
        assert_eq!(violations(other_list.unwrap_err()), ["page_token"]);
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for token in ["x", "!", "AQ", "AXt9", &"A".repeat(5000)] {
            assert_eq!(violations(page(-3, token, "a").unwrap_err()), ["page_size", "page_token"], "{token}");
        }
        // A sound token for another type of key.
        let numbers = Page::<i64>::of("otklik.test.v1.Test/List", 0, "", &arguments("a")).unwrap().token(5);
        assert_eq!(violations(page(0, &numbers, "a").unwrap_err()), ["page_token"]);
    }
}
