//! `WatchCases`: cases as they change, told by the service's own ledger.
//!
//! A resume token is a place in that ledger, so nothing is missed between two streams, whichever replica serves them.

use std::{collections::BTreeSet, pin::Pin, time::Duration};

use futures::{Stream, StreamExt as _, stream};
use otklik_chassis::{
    error::Error,
    ledger::{Head, Ledger},
    page::Page,
};
use otklik_proto::{
    EventType,
    assignment::v1::{self as api, CaseAssigned, CaseReturned},
    ledger::v1::{Entry, EntryHeader},
};
use prost::Message;
use tokio::sync::watch;
use tonic::Status;
use uuid::Uuid;

use super::{Api, convert};
use crate::store::query::{self, Filter};

/// What `WatchCases` answers with.
pub type CaseStream = Pin<Box<dyn Stream<Item = Result<api::WatchCasesResponse, Status>> + Send>>;

/// Entries read at once.
const BATCH: usize = 512;
/// Cases in one of the first responses.
const PAGE: u64 = 500;
/// While nothing changes, a response without cases comes this often.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Where a watch stands: incarnation of the ledger, then seq and hash of each partition; and, while the cases that
/// matched at the beginning are still being sent, the last of them.
type Place = (String, Vec<(u64, Vec<u8>)>, Option<Uuid>);

/// One watch.
struct Watching {
    api: Api,
    ledger: Ledger,
    executor_id: Option<String>,
    /// For making tokens.
    tokens: Page<Place>,
    seqs: Vec<(u64, Vec<u8>)>,
    heads: watch::Receiver<Vec<Head>>,
    /// The cases that matched at the beginning are being sent; the last one sent.
    first: Option<Option<Uuid>>,
}

impl Api {
    pub(super) async fn watch(&self, request: api::WatchCasesRequest) -> Result<CaseStream, Error> {
        let arguments =
            api::WatchCasesRequest { executor_id: request.executor_id.clone(), resume_token: String::new() };
        let tokens: Page<Place> = Page::of("WatchCases", 0, &request.resume_token, &arguments).map_err(named)?;
        let ledger = self.lane.ledger().clone();
        // Where the heads are before the cases are read: what changes meanwhile comes twice rather than never.
        ledger.refresh_heads().await?;
        let heads = ledger.heads();
        let (seqs, first) = match &tokens.after {
            None => (heads.borrow().iter().map(|head| (head.seq, head.hash.to_vec())).collect(), Some(None)),
            Some((incarnation, seqs, first)) => {
                for (partition, (seq, hash)) in (0u32..).zip(seqs) {
                    let mut position = ledger.position(partition, *seq, hash.clone());
                    position.incarnation.clone_from(incarnation);
                    ledger.check(&position).await?;
                }
                (seqs.clone(), first.map(Some))
            }
        };
        let executor_id = Some(request.executor_id).filter(|id| !id.is_empty());
        let watching = Watching { api: self.clone(), ledger, executor_id, tokens, seqs, heads, first };
        let responses = stream::try_unfold(watching, |mut watching| async move {
            Ok::<_, Status>(watching.next().await?.map(|response| (response, watching)))
        });
        Ok(responses.boxed())
    }
}

impl Watching {
    /// The next response; `None` when the service stops.
    async fn next(&mut self) -> Result<Option<api::WatchCasesResponse>, Error> {
        if let Some(after) = self.first {
            return self.next_of_first(after).await.map(Some);
        }
        let stopping = self.api.stopping.clone();
        loop {
            let heads = self.heads.borrow_and_update().clone();
            if let Some(response) = self.changed(&heads).await? {
                return Ok(Some(response));
            }
            tokio::select! {
                changed = self.heads.changed() => if changed.is_err() { return Ok(None) },
                () = stopping.cancelled() => return Ok(None),
                () = tokio::time::sleep(HEARTBEAT) => return Ok(Some(self.response(Vec::new()))),
            }
        }
    }

    /// The cases that match now and have not ended, the latest opened first, a page at a time; the last one may be empty.
    async fn next_of_first(&mut self, after: Option<Uuid>) -> Result<api::WatchCasesResponse, Error> {
        let filter = Filter { executor_id: self.executor_id.clone(), open: true, ..Filter::default() };
        let found = query::list(self.api.lane.storage(), &filter, after, PAGE).await?;
        let last = found.last().map(|snapshot| snapshot.case.id);
        self.first = last.filter(|_| found.len() as u64 == PAGE).map(Some);
        let now_us = self.api.now_us();
        Ok(self.response(found.into_iter().map(|snapshot| convert::case(snapshot, now_us)).collect()))
    }

    /// The cases that changed up to the heads; `None` when none did that are watched.
    async fn changed(&mut self, heads: &[Head]) -> Result<Option<api::WatchCasesResponse>, Error> {
        self.seqs.resize_with(heads.len(), Default::default);
        loop {
            let mut ids = BTreeSet::new();
            let mut left = BTreeSet::new();
            let mut has_read = false;
            for (partition, head) in (0u32..).zip(heads) {
                let place = &mut self.seqs[partition as usize];
                if head.seq <= place.0 {
                    continue;
                }
                let entries = self.ledger.read(partition, place.0, BATCH).await?;
                for entry in &entries {
                    note(entry, self.executor_id.as_deref(), &mut ids, &mut left)?;
                }
                if let Some(position) = entries.last().and_then(|entry| entry.position.as_ref()) {
                    *place = (position.seq, position.hash.to_vec());
                    has_read = true;
                }
            }
            if !has_read {
                return Ok(None);
            }
            let is_watched = |id: &str, case_id| {
                self.executor_id.as_deref().is_none_or(|watched| watched == id) || left.contains(&case_id)
            };
            let found = query::batch(self.api.lane.storage(), ids.into_iter().collect()).await?;
            let now_us = self.api.now_us();
            let cases: Vec<api::Case> = found
                .into_iter()
                .filter(|snapshot| is_watched(&snapshot.case.executor_id, snapshot.case.id))
                .map(|snapshot| convert::case(snapshot, now_us))
                .collect();
            if !cases.is_empty() {
                return Ok(Some(self.response(cases)));
            }
        }
    }

    fn response(&self, cases: Vec<api::Case>) -> api::WatchCasesResponse {
        let place = (self.ledger.incarnation().to_string(), self.seqs.clone(), self.first.flatten());
        api::WatchCasesResponse { cases, resume_token: self.tokens.token(place) }
    }
}

/// Notes the case that an entry changed, and whether it left the executor thereby.
fn note(
    entry: &Entry,
    executor_id: Option<&str>,
    ids: &mut BTreeSet<Uuid>,
    left: &mut BTreeSet<Uuid>,
) -> Result<(), Error> {
    let header = EntryHeader::decode(entry.header.clone()).map_err(Error::internal)?;
    let Ok(case_id) = header.aggregate_id.parse() else { return Ok(()) };
    ids.insert(case_id);
    let Some(executor_id) = executor_id else { return Ok(()) };
    let former = match entry.r#type.as_str() {
        CaseAssigned::TYPE => {
            CaseAssigned::decode(entry.payload.clone()).map_err(Error::internal)?.previous_executor_id
        }
        CaseReturned::TYPE => CaseReturned::decode(entry.payload.clone()).map_err(Error::internal)?.executor_id,
        _ => return Ok(()),
    };
    if former == executor_id {
        left.insert(case_id);
    }
    Ok(())
}

/// A page token's violations under the name that the field has here.
fn named(error: Error) -> Error {
    match error {
        Error::Invalid(mut violations) => {
            for violation in &mut violations {
                "resume_token".clone_into(&mut violation.field);
            }
            Error::Invalid(violations)
        }
        other => other,
    }
}
