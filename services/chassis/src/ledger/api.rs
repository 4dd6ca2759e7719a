//! `otklik.ledger.v1.LedgerService`, the same for every service.

use std::{collections::BTreeMap, collections::HashSet, time::Duration};

use futures::{Stream, StreamExt as _, stream};
use otklik_proto::{
    ledger::v1::{
        EntryHeader, GetHeadsRequest, GetHeadsResponse, ListParkedRequest, ListParkedResponse, ParkedCount,
        ParkedEntry, Position, RetryParkedOutcome, RetryParkedRequest, RetryParkedResponse, RetryParkedResult,
        Seen as SeenProto, StreamEntriesRequest, StreamEntriesResponse, ledger_service_server::LedgerService,
    },
    time::from_micros,
};
use prost::Message;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{Head, Ledger};
use crate::{
    consumer::{RetrySignal, parking},
    error::Error,
    page::Page,
    seen::Seen,
    storage::Storage,
};

/// Entries in one response unless the reader asks for fewer, and at the most.
const BATCH: usize = 512;
/// Bytes of one response at the most, well under the message limit.
const BATCH_BYTES: usize = 2 << 20;
/// Heads are sent at least this often.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// The slowest pace a reader can ask for.
const SLOWEST_PACE: Duration = Duration::from_secs(1);
/// A stream ends with OK at an age between these two, below the connection's.
const AGE: (Duration, Duration) = (Duration::from_secs(240), Duration::from_secs(420));
/// Parked entries in one `RetryParked` at the most.
const MOST_RETRIED: usize = 1000;

/// Serves a ledger.
#[derive(Debug, Clone)]
pub struct LedgerApi {
    ledger: Ledger,
    storage: Storage,
    seen: Seen,
    retry: RetrySignal,
    stopping: CancellationToken,
}

impl LedgerApi {
    pub(crate) fn new(
        ledger: Ledger,
        storage: Storage,
        seen: Seen,
        retry: RetrySignal,
        stopping: CancellationToken,
    ) -> Self {
        Self { ledger, storage, seen, retry, stopping }
    }

    /// The places a stream starts from, one for each partition.
    async fn places(&self, after: Vec<Position>) -> Result<Vec<u64>, Error> {
        let mut places = vec![0; self.ledger.partitions() as usize];
        let mut named = HashSet::new();
        for position in after {
            self.ledger.check(&position).await?;
            if !named.insert(position.partition) {
                return Err(Error::invalid("after", format!("names partition {} twice", position.partition)));
            }
            places[position.partition as usize] = position.seq;
        }
        Ok(places)
    }
}

/// Where one stream stands.
struct Reading {
    ledger: Ledger,
    places: Vec<u64>,
    skipped: HashSet<String>,
    batch: usize,
    heads: watch::Receiver<Vec<Head>>,
    first: bool,
    pace: Duration,
    /// When the next response may be sent, unless it would be full.
    not_before: Instant,
    until: Instant,
    stopping: CancellationToken,
}

impl Reading {
    /// The next response, or `None` at the end of the stream's life.
    async fn next(&mut self) -> Result<Option<StreamEntriesResponse>, Error> {
        loop {
            if Instant::now() >= self.until || self.stopping.is_cancelled() {
                return Ok(None);
            }
            let heads = self.heads.borrow_and_update().clone();
            if !self.is_full(&heads) && Instant::now() < self.not_before && self.is_behind(&heads) {
                tokio::select! {
                    () = self.stopping.cancelled() => return Ok(None),
                    () = tokio::time::sleep_until(self.not_before) => continue,
                }
            }
            if let Some(response) = self.read(&heads).await? {
                self.first = false;
                self.not_before = Instant::now() + self.pace;
                return Ok(Some(response));
            }
            if std::mem::take(&mut self.first) {
                // Tells the reader at once how far it is behind: not at all.
                return Ok(Some(self.response(Vec::new(), Vec::new(), &heads)));
            }
            tokio::select! {
                changed = self.heads.changed() => if changed.is_err() { return Ok(None) },
                () = self.stopping.cancelled() => return Ok(None),
                () = tokio::time::sleep(HEARTBEAT) => return Ok(Some(self.response(Vec::new(), Vec::new(), &heads))),
            }
        }
    }

    fn waiting(&self, heads: &[Head]) -> u64 {
        heads.iter().zip(&self.places).map(|(head, place)| head.seq.saturating_sub(*place)).sum()
    }

    fn is_behind(&self, heads: &[Head]) -> bool {
        self.waiting(heads) > 0
    }

    fn is_full(&self, heads: &[Head]) -> bool {
        self.waiting(heads) >= self.batch as u64
    }

    async fn read(&mut self, heads: &[Head]) -> Result<Option<StreamEntriesResponse>, Error> {
        let mut entries = Vec::new();
        let mut scanned = Vec::new();
        let mut bytes = 0;
        for (partition, head) in (0u32..).zip(heads) {
            let place = self.places[partition as usize];
            if head.seq <= place || entries.len() >= self.batch || bytes >= BATCH_BYTES {
                continue;
            }
            let read = self.ledger.read(partition, place, self.batch - entries.len()).await?;
            for entry in read {
                bytes += entry.header.len() + entry.payload.len();
                if let Some(position) = &entry.position {
                    self.places[partition as usize] = position.seq;
                    if scanned.last().is_none_or(|p: &Position| p.partition != partition) {
                        scanned.push(position.clone());
                    } else if let Some(last) = scanned.last_mut() {
                        last.clone_from(position);
                    }
                }
                if !self.skipped.contains(&entry.r#type) {
                    entries.push(entry);
                }
                if bytes >= BATCH_BYTES {
                    break;
                }
            }
        }
        Ok((!scanned.is_empty()).then(|| self.response(entries, scanned, heads)))
    }

    fn response(
        &self,
        entries: Vec<otklik_proto::ledger::v1::Entry>,
        scanned: Vec<Position>,
        heads: &[Head],
    ) -> StreamEntriesResponse {
        StreamEntriesResponse { entries, heads: positions(&self.ledger, heads), scanned }
    }
}

/// The pace that a reader asked for, within its bounds.
fn pace_of(asked: Option<prost_types::Duration>) -> Duration {
    asked.and_then(|pace| Duration::try_from(pace).ok()).unwrap_or_default().min(SLOWEST_PACE)
}

fn positions(ledger: &Ledger, heads: &[Head]) -> Vec<Position> {
    (0u32..).zip(heads).map(|(partition, head)| ledger.position(partition, head.seq, head.hash.to_vec())).collect()
}

type EntryStream = std::pin::Pin<Box<dyn Stream<Item = Result<StreamEntriesResponse, Status>> + Send>>;

#[tonic::async_trait]
impl LedgerService for LedgerApi {
    type StreamEntriesStream = EntryStream;

    async fn stream_entries(
        &self,
        request: Request<StreamEntriesRequest>,
    ) -> Result<Response<Self::StreamEntriesStream>, Status> {
        let request = request.into_inner();
        let reading = Reading {
            places: self.places(request.after).await?,
            skipped: request.skipped_types.into_iter().collect(),
            batch: if request.max_batch == 0 { BATCH } else { BATCH.min(request.max_batch as usize) },
            heads: self.ledger.heads(),
            first: true,
            pace: pace_of(request.pace),
            not_before: Instant::now(),
            until: Instant::now() + rand::random_range(AGE.0..AGE.1),
            stopping: self.stopping.clone(),
            ledger: self.ledger.clone(),
        };
        let responses = stream::try_unfold(reading, |mut reading| async move {
            Ok::<_, Status>(reading.next().await?.map(|response| (response, reading)))
        });
        Ok(Response::new(responses.boxed()))
    }

    async fn get_heads(&self, _: Request<GetHeadsRequest>) -> Result<Response<GetHeadsResponse>, Status> {
        self.ledger.refresh_heads().await.map_err(Error::from)?;
        let heads = self.ledger.heads().borrow().clone();
        let mut seen: BTreeMap<String, Vec<Position>> = BTreeMap::new();
        for (service, position) in self.seen.positions() {
            seen.entry(service).or_default().push(position);
        }
        let parked = parking::counts(&self.storage).await.map_err(Error::from)?;
        Ok(Response::new(GetHeadsResponse {
            service: self.ledger.service().to_owned(),
            incarnation: self.ledger.incarnation().to_string(),
            heads: positions(&self.ledger, &heads),
            seen: seen.into_iter().map(|(service, positions)| SeenProto { service, positions }).collect(),
            parked: parked
                .into_iter()
                .map(|(service, failed_count, waiting_count)| ParkedCount { service, failed_count, waiting_count })
                .collect(),
        }))
    }

    async fn list_parked(&self, request: Request<ListParkedRequest>) -> Result<Response<ListParkedResponse>, Status> {
        let request = request.into_inner();
        let filter = request.filter.unwrap_or_default();
        let page = Page::of("ListParked", request.page_size, &request.page_token, &filter)?;
        let (upstream, partition, seq): (String, u32, u64) = page.after.clone().unwrap_or_default();
        let limit = usize::try_from(page.limit()).unwrap_or(usize::MAX);
        let place = (upstream.as_str(), partition, seq);
        let parked = parking::list(&self.storage, &filter.service, filter.failed_only, place, limit)
            .await
            .map_err(Error::from)?;
        let (parked, next_page_token) = page.cut(parked, |last| {
            let position = last.entry.position.clone().unwrap_or_default();
            (last.upstream.clone(), position.partition, position.seq)
        });
        Ok(Response::new(ListParkedResponse {
            parked_entries: parked.into_iter().map(parked_entry).collect(),
            next_page_token,
        }))
    }

    async fn retry_parked(
        &self,
        request: Request<RetryParkedRequest>,
    ) -> Result<Response<RetryParkedResponse>, Status> {
        let request = request.into_inner();
        let mut violations = crate::validate::Violations::new();
        violations.require("request_id", &request.request_id);
        violations.require("service", &request.service);
        violations.check(
            (1..=MOST_RETRIED).contains(&request.positions.len()),
            "positions",
            format!("must name 1 to {MOST_RETRIED} entries"),
        );
        violations.finish()?;
        let parked = parking::list(&self.storage, &request.service, false, ("", 0, 0), parking::MOST_PARKED)
            .await
            .map_err(Error::from)?;
        let places: HashSet<(u32, u64)> =
            parked.iter().filter_map(|p| p.entry.position.as_ref()).map(|p| (p.partition, p.seq)).collect();
        let results = request
            .positions
            .into_iter()
            .map(|position| {
                let is_parked = places.contains(&(position.partition, position.seq));
                let outcome = if is_parked { RetryParkedOutcome::Scheduled } else { RetryParkedOutcome::NotParked };
                RetryParkedResult { position: Some(position), outcome: outcome.into(), error: String::new() }
            })
            .collect();
        self.retry.notify_waiters();
        Ok(Response::new(RetryParkedResponse { results }))
    }
}

fn parked_entry(stored: parking::Stored) -> ParkedEntry {
    let header = EntryHeader::decode(stored.entry.header.clone()).unwrap_or_default();
    ParkedEntry {
        service: stored.upstream,
        position: stored.entry.position,
        r#type: stored.entry.r#type,
        aggregate_id: header.aggregate_id,
        error: stored.error,
        trace_id: stored.trace_id,
        attempts: stored.attempts,
        park_time: Some(from_micros(stored.parked_us)),
        waiting: stored.behind,
    }
}
