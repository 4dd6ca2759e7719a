//! The lifecycle traces: every entry of every life, exported over OTLP from the copies, never sampled and never lost.
//!
//! The export follows the copies in the order of their arrival with a cursor of its own, which moves only after the
//! receiver has accepted. An entry whose parents can't be named yet, because the ledger they are in is behind, waits by
//! itself and holds nobody up.

mod known;
mod otlp;
mod receiver;

use std::{collections::HashMap, sync::Arc, time::Duration};

use otklik_chassis::{
    error::Error,
    lane::{Caller, Lane},
    storage::Storage,
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use uuid::Uuid;

use self::{
    known::Known,
    receiver::{Accepted, Receiver},
};
use crate::{
    NAME,
    domain::{
        span::{self, Origin, Span},
        step::Step,
    },
    settings::Settings,
    store::{Command, Copies, Place, Reply, TraceStore, Traced, Writer},
};

/// Segments exported together at the most: some five hundred entries.
const BATCH: i64 = 16;
/// Waiting entries tried again together.
const RETRIED: i64 = 256;
/// Spans in one request.
const MOST_SPANS: usize = 512;
/// How often new facts are looked for without being told.
const POLL: Duration = Duration::from_secs(1);
/// Back-off while the receiver doesn't accept: the first, doubled up to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Exports the lifecycle traces.
pub struct Exporter {
    lane: Lane<Writer>,
    copies: Copies,
    store: TraceStore,
    receiver: Receiver,
    projected: Arc<Notify>,
    known: Known,
    /// Where the round through the waiting entries stands.
    retried: Place,
}

/// An entry with its spans, or without while they can't be told.
struct Traceable {
    step: Step,
    waited: bool,
    spans: Option<Vec<Span>>,
}

impl Exporter {
    /// The exporter to the receiver that the settings or the standard variables name; `None` when none does.
    ///
    /// # Errors
    /// The receiver's URL, headers or certificate can't be used.
    pub(crate) fn open(
        settings: &Settings,
        lane: Lane<Writer>,
        copies: Copies,
        storage: Storage,
        projected: Arc<Notify>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(receiver) = Receiver::of(settings)? else { return Ok(None) };
        Ok(Some(Self {
            lane,
            copies,
            store: TraceStore::new(storage),
            receiver,
            projected,
            known: Known::default(),
            retried: (0, 0),
        }))
    }

    /// Runs until dropped.
    pub(crate) async fn run(mut self) {
        loop {
            match self.advance().await {
                Ok(true) => {}
                // Told or not: it looks again.
                Ok(false) => drop(timeout(POLL, self.projected.notified()).await),
                Err(error) => {
                    tracing::warn!(%error, "lifecycle traces wait");
                    sleep(POLL).await;
                }
            }
        }
    }

    /// Exports what is new and what has waited, at most a batch of each; `false` when there was nothing new.
    async fn advance(&mut self) -> Result<bool, Error> {
        let (from, _) = self.store.progress().await?;
        let projected = self.copies.projected().await?;
        let segments = self.copies.arrivals(from, projected, BATCH).await?;
        let to = segments.last().map_or(from, |segment| segment.number);

        let waiting = self.waiting().await?;
        let mut entries: Vec<Traceable> = Vec::new();
        let traceable = |step, waited| Traceable { step, waited, spans: None };
        entries.extend(waiting.into_iter().map(|step| traceable(step, true)));
        for segment in &segments {
            let steps = segment.entries().0.into_iter().map(|entry| Step::of(segment, entry));
            entries
                .extend(steps.filter(|step| step.subjects.all().next().is_some()).map(|step| traceable(step, false)));
        }
        self.resolve(&mut entries).await?;

        let accepted = self.send(&entries).await;
        let place = |entry: &&Traceable| entry.step.arrival;
        let traced = Traced {
            from,
            to,
            waiting: entries.iter().filter(|e| !e.waited && e.spans.is_none()).map(|e| place(&e)).collect(),
            done: entries.iter().filter(|e| e.waited && e.spans.is_some()).map(|e| place(&e)).collect(),
            rejected: accepted.rejected,
        };
        if to == from && traced.done.is_empty() {
            return Ok(false);
        }
        let done = self.lane.call(Command::Trace(traced), Caller::service(NAME)).await?;
        Ok(done.reply == Some(Reply::Done) && !segments.is_empty())
    }

    /// The next entries that wait, going round.
    async fn waiting(&mut self) -> Result<Vec<Step>, Error> {
        let mut places = self.store.waiting(self.retried, RETRIED).await?;
        if places.is_empty() && self.retried != (0, 0) {
            places = self.store.waiting((0, 0), RETRIED).await?;
        }
        self.retried = places.last().copied().unwrap_or((0, 0));
        let mut by_segment: HashMap<i64, Vec<u8>> = HashMap::new();
        for (segment, place) in places {
            by_segment.entry(segment).or_default().push(place);
        }
        self.copies.steps_at(by_segment).await
    }

    /// Finds the parents of all entries, and with them their spans.
    async fn resolve(&mut self, entries: &mut [Traceable]) -> Result<(), Error> {
        let nameless = entries.iter().filter(|e| e.step.subjects.messages.is_empty());
        let cases: Vec<Uuid> = nameless.flat_map(|e| e.step.subjects.cases.iter().copied()).collect();
        let members = self.store.members(&cases).await?;
        let members_of = |step: &Step| -> Vec<Uuid> {
            step.subjects.cases.iter().filter_map(|case| members.get(case)).flatten().copied().collect()
        };
        for entry in entries.iter() {
            self.known.learn(&entry.step, span::traces(&entry.step, &members_of(&entry.step)).projected);
        }
        self.learn_causes(entries).await?;

        let mut traces: Vec<Uuid> = Vec::new();
        for entry in entries.iter() {
            let all = span::traces(&entry.step, &members_of(&entry.step));
            traces.extend(all.projected.iter().chain(&all.linked));
        }
        traces.sort_unstable();
        traces.dedup();
        let roots = self.store.roots(&traces).await?;
        for entry in entries {
            entry.spans = self.spans(&entry.step, &members_of(&entry.step), &roots);
        }
        Ok(())
    }

    /// Looks up causes that went through here long ago: they concern somebody whom their effects concern too.
    async fn learn_causes(&mut self, entries: &[Traceable]) -> Result<(), Error> {
        let mut subjects: Vec<Uuid> = entries
            .iter()
            .filter(|e| e.step.cause.is_some_and(|cause| !self.known.has(cause)))
            .flat_map(|e| e.step.subjects.all())
            .collect();
        subjects.sort_unstable();
        subjects.dedup();
        for step in self.copies.steps_of(&subjects).await? {
            let members = if step.subjects.messages.is_empty() {
                let members = self.store.members(&step.subjects.cases).await?;
                members.into_values().flatten().collect()
            } else {
                Vec::new()
            };
            self.known.learn(&step, span::traces(&step, &members).projected);
        }
        Ok(())
    }

    /// The spans of an entry; `None` while a parent is not known.
    fn spans(&self, step: &Step, members: &[Uuid], roots: &HashMap<Uuid, Origin>) -> Option<Vec<Span>> {
        let traces = span::traces(step, members);
        let cause = match step.cause {
            Some(cause) => Some(self.known.get(cause)?),
            None => None,
        };
        let mut links = Vec::with_capacity(traces.linked.len());
        for message in &traces.linked {
            links.push((*message, span::span_id(roots.get(message)?.entry, *message)));
        }
        let mut spans = Vec::with_capacity(traces.projected.len());
        for trace in traces.projected {
            let parent = if step.is_root_of(trace) {
                None
            } else {
                let of_cause = cause.filter(|cause| cause.traces.contains(&trace)).map(|cause| &cause.origin);
                Some(match of_cause {
                    Some(cause) => cause,
                    None => roots.get(&trace)?,
                })
            };
            spans.push(span::span(step, trace, parent, links.clone()));
        }
        Some(spans)
    }

    /// Sends the spans of all entries that have any, in requests of a bounded size, each until it is accepted: a receiver
    /// that takes one of two requests must not be sent the same first one for ever.
    async fn send(&self, entries: &[Traceable]) -> Accepted {
        let mut spans: Vec<(&Step, &Span)> = Vec::new();
        for entry in entries {
            spans.extend(entry.spans.iter().flatten().map(|span| (&entry.step, span)));
        }
        let mut accepted = Accepted::default();
        for batch in spans.chunks(MOST_SPANS) {
            let mut pause = BACKOFF.0;
            accepted.rejected += loop {
                match self.receiver.export(otlp::request(batch)).await {
                    Ok(accepted) => break accepted.rejected,
                    Err(error) => {
                        tracing::warn!(%error, pause_ms = pause.as_millis(), "lifecycle traces wait");
                        sleep(pause).await;
                        pause = (pause * 2).min(BACKOFF.1);
                    }
                }
            };
        }
        accepted
    }
}
