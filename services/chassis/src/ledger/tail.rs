//! The newest entries in memory, so that a reader who keeps up costs the database nothing.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use otklik_proto::ledger::v1::Entry;

/// Entries kept a partition.
const MOST_ENTRIES: usize = 4096;
/// Payload and header bytes kept a partition.
const MOST_BYTES: usize = 4 << 20;

/// A contiguous run of the newest committed entries of one partition.
#[derive(Debug, Default)]
pub(super) struct Tail {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<Entry>,
    bytes: usize,
}

fn seq(entry: &Entry) -> u64 {
    entry.position.as_ref().map_or(0, |p| p.seq)
}

fn size(entry: &Entry) -> usize {
    entry.header.len() + entry.payload.len()
}

impl Tail {
    /// Adds entries that this process has just committed. When another replica committed in between,
    /// the run is broken and begins anew.
    pub(super) fn push(&self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.entries.back().is_some_and(|last| seq(last) + 1 != seq(first)) {
            *kept = Kept::default();
        }
        for entry in entries {
            kept.bytes += size(entry);
            kept.entries.push_back(entry.clone());
        }
        while kept.entries.len() > MOST_ENTRIES || kept.bytes > MOST_BYTES {
            let Some(gone) = kept.entries.pop_front() else { break };
            kept.bytes -= size(&gone);
        }
    }

    /// Up to `limit` entries after `after`, when they are all here.
    pub(super) fn after(&self, after: u64, limit: usize) -> Option<Vec<Entry>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let first = seq(kept.entries.front()?);
        let last = seq(kept.entries.back()?);
        if after + 1 < first || after >= last {
            return None;
        }
        let start = usize::try_from(after + 1 - first).ok()?;
        Some(kept.entries.range(start..).take(limit).cloned().collect())
    }
}
