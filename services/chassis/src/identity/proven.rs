//! Remembers whom credentials have proved, so that a signature is checked once and not on every call.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

use super::Principal;

/// How many principals are remembered. Beyond that all are forgotten, which costs a check each.
const MOST: usize = 4096;

/// Principals by the credentials (token, certificate) that proved them.
#[derive(Default)]
pub(super) struct Proven {
    known: RwLock<HashMap<Vec<u8>, Entry>>,
}

struct Entry {
    principal: Arc<Principal>,
    until: Instant,
}

/// Says nothing of the credentials.
impl fmt::Debug for Proven {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Proven").finish_non_exhaustive()
    }
}

impl Proven {
    pub(super) fn get(&self, credentials: &[u8]) -> Option<Arc<Principal>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(credentials).filter(|entry| entry.until > Instant::now()).map(|entry| entry.principal.clone())
    }

    pub(super) fn put(&self, credentials: &[u8], principal: Arc<Principal>, until: Instant) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(credentials.to_vec(), Entry { principal, until });
    }
}
