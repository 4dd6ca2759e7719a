//! A service to call: a ledger that does what the metadata of the call says.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use otklik_chassis::{
    client::{self, Channel},
    config::{self, Auth, Client, Tls},
    error::Error,
    identity::{self, Authenticator},
    seen::Seen,
    server::{self, Health, Setup},
};
use otklik_proto::ledger::v1::{
    GetHeadsRequest, GetHeadsResponse, ListParkedRequest, ListParkedResponse, RetryParkedRequest, RetryParkedResponse,
    StreamEntriesRequest, StreamEntriesResponse,
    ledger_service_client::LedgerServiceClient,
    ledger_service_server::{LedgerService, LedgerServiceServer},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, metadata::MetadataMap, service::Routes};

/// What the call is to do: a key of its metadata.
pub const DO: &str = "test-do";

/// The service.
#[derive(Clone, Default)]
pub struct Probe {
    /// Told when a call that waits for ever has begun.
    pub waiting: Arc<Notify>,
    /// The service that `relay` calls.
    pub next: Option<Channel>,
}

fn wanted(metadata: &MetadataMap) -> String {
    metadata.get(DO).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

#[tonic::async_trait]
impl LedgerService for Probe {
    type StreamEntriesStream = Pin<Box<dyn Stream<Item = Result<StreamEntriesResponse, Status>> + Send>>;

    /// Answers with the actor as `service`, and with how long the call may take, in milliseconds, as `incarnation`.
    async fn get_heads(&self, request: Request<GetHeadsRequest>) -> Result<Response<GetHeadsResponse>, Status> {
        match wanted(request.metadata()).as_str() {
            "panic" => panic!("the secret of the panic"),
            "fail" => return Err(Error::internal(anyhow::anyhow!("the secret of the failure")).into()),
            "bare" => return Err(Status::internal("the secret of the bare status")),
            "wait" => {
                self.waiting.notify_one();
                std::future::pending::<()>().await;
            }
            "relay" => {
                let next = self.next.clone().ok_or_else(|| Status::internal("nobody to relay to"))?;
                return LedgerServiceClient::new(next).get_heads(GetHeadsRequest {}).await;
            }
            _ => {}
        }
        let actor = identity::actor(&request)?;
        let left = server::deadline().map(|deadline| deadline.saturating_duration_since(std::time::Instant::now()));
        Ok(Response::new(GetHeadsResponse {
            service: format!("{} as {}", actor.subject, identity::role_name(actor.role)),
            incarnation: left.map_or_else(|| "none".into(), |left| left.as_millis().to_string()),
            ..Default::default()
        }))
    }

    /// A heartbeat, and then silence (or a panic).
    async fn stream_entries(
        &self,
        request: Request<StreamEntriesRequest>,
    ) -> Result<Response<Self::StreamEntriesStream>, Status> {
        let wanted = wanted(request.metadata());
        assert!(server::deadline().is_none(), "streams have no deadline");
        let heartbeat = futures::stream::once(async { Ok(StreamEntriesResponse::default()) });
        let rest = async move {
            match wanted.as_str() {
                "panic" => panic!("the secret of the stream"),
                "bare" => Err(Status::internal("the secret of the stream's status")),
                _ => std::future::pending().await,
            }
        };
        Ok(Response::new(heartbeat.chain(futures::stream::once(rest)).boxed()))
    }

    async fn list_parked(&self, _: Request<ListParkedRequest>) -> Result<Response<ListParkedResponse>, Status> {
        Ok(Response::new(ListParkedResponse::default()))
    }

    async fn retry_parked(
        &self,
        request: Request<RetryParkedRequest>,
    ) -> Result<Response<RetryParkedResponse>, Status> {
        Err(Error::invalid("request_id", request.into_inner().request_id).into())
    }
}

/// The service, served.
pub struct House {
    /// Where.
    pub uri: String,
    /// Told when a call that waits for ever has begun.
    pub waiting: Arc<Notify>,
    /// Its health.
    pub health: Health,
    shutdown: CancellationToken,
    ended: tokio::task::JoinHandle<anyhow::Result<()>>,
}

/// How the service is to be served.
#[derive(Default)]
pub struct Plan {
    pub auth: Auth,
    pub tls: Tls,
    pub limits: config::Server,
    pub next: Option<Channel>,
}

/// Limits that don't keep a test waiting.
pub fn quick() -> config::Server {
    config::Server {
        lame_duck: Duration::ZERO,
        drain_deadline: Duration::from_millis(100),
        ..config::Server::default()
    }
}

impl House {
    pub fn build(plan: Plan) -> Self {
        let probe = Probe { next: plan.next, ..Probe::default() };
        let waiting = probe.waiting.clone();
        let listener = server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let scheme = if plan.tls.cert.is_some() { "https" } else { "http" };
        let uri = format!("{scheme}://localhost:{}", listener.local_addr().unwrap().port());
        let health = Health::new();
        let setup = Setup {
            listener,
            routes: Routes::new(otklik_chassis::sized!(LedgerServiceServer::new(probe))),
            services: vec!["otklik.ledger.v1.LedgerService".into()],
            authenticator: Authenticator::open(&plan.auth, &plan.tls).unwrap(),
            limits: plan.limits,
            tls: plan.tls,
            reflection: true,
            health: health.clone(),
            seen: Seen::new("test"),
            stopping: CancellationToken::new(),
        };
        let shutdown = CancellationToken::new();
        let ended = tokio::spawn(server::serve(setup, shutdown.clone()));
        Self { uri, waiting, health, shutdown, ended }
    }

    /// An open loopback.
    pub fn open() -> Self {
        Self::build(Plan { limits: quick(), ..Plan::default() })
    }

    pub fn channel(&self) -> Channel {
        client::connect(&self.uri, &Client::default()).unwrap()
    }

    pub fn client(&self) -> LedgerServiceClient<Channel> {
        otklik_chassis::sized!(LedgerServiceClient::new(self.channel()))
    }

    /// Stops it, and returns what `serve` returned.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        self.stopped().await
    }

    pub async fn stopped(self) -> anyhow::Result<()> {
        tokio::time::timeout(Duration::from_secs(30), self.ended).await.expect("the server ends").unwrap()
    }

    pub fn shut_down(&self) {
        self.shutdown.cancel();
    }
}

/// A request that says what to do.
pub fn to<T: Default>(wanted: &'static str) -> Request<T> {
    let mut request = Request::new(T::default());
    request.metadata_mut().insert(DO, wanted.parse().unwrap());
    request
}
