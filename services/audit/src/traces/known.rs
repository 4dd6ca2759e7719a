//! Entries that went through lately: most causes are among them.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

use crate::domain::{span::Origin, step::Step};

/// Entries remembered; older ones are looked up in the copies.
const MOST: usize = 32_768;

/// An entry that may be the cause of others.
#[derive(Debug, Clone)]
pub(super) struct Cause {
    /// What a child needs of it.
    pub origin: Origin,
    /// The traces that it is a span of.
    pub traces: Vec<Uuid>,
}

/// The entries remembered.
#[derive(Debug, Default)]
pub(super) struct Known {
    causes: HashMap<Uuid, Cause>,
    order: VecDeque<Uuid>,
}

impl Known {
    /// Remembers an entry with the traces that it is a span of, and forgets the oldest ones.
    pub(super) fn learn(&mut self, step: &Step, traces: Vec<Uuid>) {
        let origin = Origin { entry: step.id, recorded_us: step.recorded_us };
        if self.causes.insert(step.id, Cause { origin, traces }).is_none() {
            self.order.push_back(step.id);
        }
        while self.order.len() > MOST {
            let Some(oldest) = self.order.pop_front() else { break };
            self.causes.remove(&oldest);
        }
    }

    pub(super) fn has(&self, entry: Uuid) -> bool {
        self.causes.contains_key(&entry)
    }

    pub(super) fn get(&self, entry: Uuid) -> Option<&Cause> {
        self.causes.get(&entry)
    }
}
