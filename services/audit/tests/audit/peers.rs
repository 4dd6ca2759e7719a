//! Services that audit follows: hand-made ledgers behind the real contract.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
};

use futures::Stream;
use otklik_chassis::ledger::chain::{GENESIS, Link};
use otklik_proto::ledger::v1::{
    Entry, EntryHeader, GetHeadsRequest, GetHeadsResponse, ListParkedRequest, ListParkedResponse, Position,
    RetryParkedRequest, RetryParkedResponse, StreamEntriesRequest, StreamEntriesResponse,
    ledger_service_server::{LedgerService, LedgerServiceServer},
};
use prost::Message;
use tokio::{net::TcpListener, runtime::Runtime, sync::watch};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::Router},
};
use uuid::Uuid;

/// Entries in one response of a stream.
const BATCH: usize = 100;

/// The ledger of a service, one partition.
#[derive(Clone)]
pub struct Ledger {
    pub service: &'static str,
    pub incarnation: Uuid,
    entries: Arc<Mutex<Vec<Entry>>>,
    head: Arc<watch::Sender<usize>>,
}

impl Ledger {
    pub fn new(service: &'static str) -> Self {
        Self { service, incarnation: Uuid::new_v4(), entries: Arc::default(), head: Arc::new(watch::Sender::new(0)) }
    }

    /// Appends an entry, chained to the one before.
    pub fn append(&self, header: &EntryHeader, entry_type: &str, payload: Vec<u8>) {
        let mut entries = self.entries.lock().unwrap();
        let seq = entries.len() as u64 + 1;
        let previous = entries.last().and_then(|e| e.position.as_ref()).map_or(GENESIS.to_vec(), |p| p.hash.to_vec());
        let header = header.encode_to_vec();
        let link = Link {
            incarnation: self.incarnation,
            partition: 0,
            seq,
            previous: &previous,
            header: &header,
            entry_type,
            payload: &payload,
        };
        let hash = link.hash();
        entries.push(Entry {
            position: Some(self.position(seq, hash.to_vec())),
            header: header.into(),
            r#type: entry_type.to_owned(),
            payload: payload.into(),
            previous_hash: previous.into(),
        });
        self.head.send_replace(entries.len());
    }

    pub fn len(&self) -> usize {
        self.entries.lock().unwrap().len()
    }

    fn position(&self, seq: u64, hash: Vec<u8>) -> Position {
        Position { incarnation: self.incarnation.to_string(), partition: 0, seq, hash: hash.into() }
    }

    fn head(&self) -> Position {
        let entries = self.entries.lock().unwrap();
        entries.last().and_then(|e| e.position.clone()).unwrap_or_else(|| self.position(0, Vec::new()))
    }

    /// Serves the ledger on a port of its own.
    pub fn serve(&self) -> Peer {
        let service = LedgerServiceServer::new(self.clone()).max_encoding_message_size(64 << 20);
        let server = Killable::serve("127.0.0.1:0".parse().unwrap(), Server::builder().add_service(service));
        Peer { uri: format!("http://{}", server.address), _server: server }
    }
}

/// A served ledger; gone when dropped.
pub struct Peer {
    pub uri: String,
    _server: Killable,
}

/// A server that ends with all its connections when dropped, as a killed process does.
pub struct Killable {
    pub address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Killable {
    pub fn serve(address: SocketAddr, router: Router) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
            router.serve_with_incoming(incoming).await.unwrap();
        });
        Self { address, runtime: Some(runtime) }
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

type Responses = Pin<Box<dyn Stream<Item = Result<StreamEntriesResponse, Status>> + Send>>;

#[tonic::async_trait]
impl LedgerService for Ledger {
    type StreamEntriesStream = Responses;

    async fn stream_entries(&self, request: Request<StreamEntriesRequest>) -> Result<Response<Responses>, Status> {
        let mut place = 0;
        for after in request.into_inner().after {
            place = after.seq as usize;
            let known = match place {
                0 => true,
                seq => self.entries.lock().unwrap().get(seq - 1).is_some_and(|e| e.position.as_ref() == Some(&after)),
            };
            if !known {
                return Err(Status::failed_precondition("LEDGER_POSITION_MISMATCH"));
            }
        }
        let (ledger, head) = (self.clone(), self.head.subscribe());
        let stream = futures::stream::unfold((ledger, place), move |(ledger, place)| {
            let mut head = head.clone();
            async move {
                head.wait_for(|length| *length > place).await.ok()?;
                let entries: Vec<Entry> = ledger.entries.lock().unwrap()[place..].iter().take(BATCH).cloned().collect();
                let scanned = entries.last().and_then(|e| e.position.clone()).into_iter().collect();
                let next = place + entries.len();
                let response = StreamEntriesResponse { entries, heads: vec![ledger.head()], scanned };
                Some((Ok(response), (ledger, next)))
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn get_heads(&self, _: Request<GetHeadsRequest>) -> Result<Response<GetHeadsResponse>, Status> {
        Ok(Response::new(GetHeadsResponse {
            service: self.service.to_owned(),
            incarnation: self.incarnation.to_string(),
            heads: vec![self.head()],
            ..Default::default()
        }))
    }

    async fn list_parked(&self, _: Request<ListParkedRequest>) -> Result<Response<ListParkedResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn retry_parked(&self, _: Request<RetryParkedRequest>) -> Result<Response<RetryParkedResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }
}
