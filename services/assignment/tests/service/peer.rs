//! A ledger of another service: in memory, served over gRPC, written by the test.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _, stream};
use otklik_chassis::id::new_id;
use otklik_proto::{
    EventType,
    ledger::v1::{
        Actor, Entry, EntryHeader, GetHeadsRequest, GetHeadsResponse, ListParkedRequest, ListParkedResponse, Position,
        RetryParkedRequest, RetryParkedResponse, StreamEntriesRequest, StreamEntriesResponse,
        ledger_service_server::{LedgerService, LedgerServiceServer},
    },
    time::from_micros,
};
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use uuid::Uuid;

/// A service of which only the ledger is played.
#[derive(Clone)]
pub struct Peer {
    name: &'static str,
    pub uri: String,
    incarnation: Uuid,
    entries: Arc<watch::Sender<Vec<Entry>>>,
}

/// When what an entry is about was published, received and recorded, in microseconds.
#[derive(Clone, Copy)]
pub struct Times {
    pub published_us: i64,
    pub received_us: i64,
    pub recorded_us: i64,
}

impl Peer {
    pub async fn start(name: &'static str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let peer = Self { name, uri, incarnation: Uuid::new_v4(), entries: Arc::new(watch::Sender::new(Vec::new())) };
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = tonic::transport::Server::builder().add_service(LedgerServiceServer::new(peer.clone()));
        tokio_util::task::TaskTracker::new().spawn(server.serve_with_incoming(incoming));
        peer
    }

    /// Writes an entry; returns its id.
    pub fn write<M: EventType>(&self, aggregate: Uuid, subjects: &[Uuid], times: Times, event: &M) -> String {
        let recorded = jiff::Timestamp::from_microsecond(times.recorded_us).unwrap();
        let header = EntryHeader {
            entry_id: new_id(recorded).to_string(),
            aggregate_kind: "message".into(),
            aggregate_id: aggregate.to_string(),
            subject_ids: subjects.iter().map(Uuid::to_string).collect(),
            actor: Some(Actor { subject: format!("service:{}", self.name), role: "SERVICE".into() }),
            published_time: Some(from_micros(times.published_us)),
            received_time: Some(from_micros(times.received_us)),
            recorded_time: Some(from_micros(times.recorded_us)),
            ..Default::default()
        };
        self.entries.send_modify(|entries| {
            let seq = entries.len() as u64 + 1;
            entries.push(Entry {
                position: Some(self.position(seq)),
                header: prost::Message::encode_to_vec(&header).into(),
                r#type: M::TYPE.into(),
                payload: event.encode_to_vec().into(),
                previous_hash: self.position(seq - 1).hash,
            });
        });
        header.entry_id
    }

    /// For `otklik-after`: everything written so far.
    pub fn after(&self) -> Option<String> {
        let seq = self.entries.borrow().len();
        (seq > 0).then(|| format!("{}/{}/0/{seq}", self.name, self.incarnation))
    }

    /// Assignment does not verify chains: any hash will do that is the same each time.
    fn position(&self, seq: u64) -> Position {
        let mut hash = vec![0; 32];
        hash[24..].copy_from_slice(&seq.to_be_bytes());
        Position { incarnation: self.incarnation.to_string(), partition: 0, seq, hash: hash.into() }
    }
}

#[tonic::async_trait]
impl LedgerService for Peer {
    type StreamEntriesStream = Pin<Box<dyn Stream<Item = Result<StreamEntriesResponse, Status>> + Send>>;

    async fn stream_entries(
        &self,
        request: Request<StreamEntriesRequest>,
    ) -> Result<Response<Self::StreamEntriesStream>, Status> {
        let request = request.into_inner();
        let place = request.after.first().map_or(0, |position| position.seq);
        let (skipped, batch) = (request.skipped_types, request.max_batch.max(1) as usize);
        let peer = self.clone();
        let changes = self.entries.subscribe();
        let responses = stream::unfold((place, changes), move |(place, mut changes)| {
            let (peer, skipped) = (peer.clone(), skipped.clone());
            async move {
                let entries = changes.wait_for(|entries| entries.len() as u64 > place).await.ok()?.clone();
                let new: Vec<Entry> = entries.iter().skip(place as usize).take(batch).cloned().collect();
                let scanned = peer.position(place + new.len() as u64);
                let response = StreamEntriesResponse {
                    entries: new.into_iter().filter(|entry| !skipped.contains(&entry.r#type)).collect(),
                    heads: vec![peer.position(entries.len() as u64)],
                    scanned: vec![scanned.clone()],
                };
                Some((Ok(response), (scanned.seq, changes)))
            }
        });
        Ok(Response::new(responses.boxed()))
    }

    async fn get_heads(&self, _: Request<GetHeadsRequest>) -> Result<Response<GetHeadsResponse>, Status> {
        Err(Status::unimplemented("not played"))
    }

    async fn list_parked(&self, _: Request<ListParkedRequest>) -> Result<Response<ListParkedResponse>, Status> {
        Err(Status::unimplemented("not played"))
    }

    async fn retry_parked(&self, _: Request<RetryParkedRequest>) -> Result<Response<RetryParkedResponse>, Status> {
        Err(Status::unimplemented("not played"))
    }
}
