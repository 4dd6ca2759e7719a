//! The channel of the demo: the file adapter, except where the sample says that a channel is flaky or dead.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use anyhow::Context;
use otklik_chassis::{client::Channel, sized};
use otklik_proto::channel::v1::{
    DeliverRequest, DeliverResponse, Delivery, DeliveryOutcome, DeliveryResult,
    channel_adapter_service_client::ChannelAdapterServiceClient,
    channel_adapter_service_server::{ChannelAdapterService, ChannelAdapterServiceServer},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status, transport::Server};

use crate::import::line::Line;

/// Times that a flaky channel fails before it delivers.
const FLAKY_FAILURES: u32 = 2;

/// How a channel misbehaves towards one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Flaky,
    Dead,
}

/// The file adapter, known once the suite has started.
pub type FileAdapter = Arc<OnceLock<ChannelAdapterServiceClient<Channel>>>;

/// An adapter that fails where the sample says so, and leaves the rest to the file adapter.
pub struct Scripted {
    file: FileAdapter,
    moods: HashMap<(String, String), Mood>,
    failures: Mutex<HashMap<String, u32>>,
}

impl Scripted {
    /// An adapter for the items of `lines`.
    pub fn new(file: FileAdapter, lines: &[Line]) -> Self {
        let mood = |line: &Line| {
            let mood = match line.sample.as_ref()?.play.channel.as_str() {
                "flaky" => Mood::Flaky,
                "dead" => Mood::Dead,
                _ => return None,
            };
            Some(((line.source_id.clone(), line.external_id.clone()), mood))
        };
        Self { file, moods: lines.iter().filter_map(mood).collect(), failures: Mutex::default() }
    }

    fn misbehaves(&self, delivery: &Delivery) -> Option<DeliveryResult> {
        let key = (delivery.source_id.clone(), delivery.reply_to_external_id.clone());
        let fail = |outcome: DeliveryOutcome, reason: &str| {
            Some(DeliveryResult {
                delivery_id: delivery.delivery_id.clone(),
                outcome: outcome.into(),
                reason: reason.to_owned(),
                ..Default::default()
            })
        };
        match self.moods.get(&key)? {
            Mood::Dead => fail(DeliveryOutcome::Refused, "RECIPIENT_GONE"),
            Mood::Flaky => {
                let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
                let count = failures.entry(delivery.delivery_id.clone()).or_default();
                *count += 1;
                if *count > FLAKY_FAILURES { None } else { fail(DeliveryOutcome::Retry, "CHANNEL_BUSY") }
            }
        }
    }
}

#[tonic::async_trait]
impl ChannelAdapterService for Scripted {
    async fn deliver(&self, request: Request<DeliverRequest>) -> Result<Response<DeliverResponse>, Status> {
        let body = request.into_inner();
        let mut results = Vec::new();
        let mut deliverable = Vec::new();
        for delivery in body.deliveries {
            match self.misbehaves(&delivery) {
                Some(failed) => results.push(failed),
                None => deliverable.push(delivery),
            }
        }
        if !deliverable.is_empty() {
            let file = self.file.get().ok_or_else(|| Status::unavailable("the file adapter has not started yet"))?;
            let answer = file.clone().deliver(DeliverRequest { deliveries: deliverable }).await?;
            results.extend(answer.into_inner().results);
        }
        Ok(Response::new(DeliverResponse { results }))
    }
}

/// A served adapter.
pub struct Served {
    uri: String,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Served {
    /// Serves `adapter` on a loopback port of the system's choice.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(adapter: Scripted) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port for the channel of the demo")?;
        let uri = format!("http://{}", listener.local_addr()?);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let server = Server::builder()
            .add_service(sized!(ChannelAdapterServiceServer::new(adapter)))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.clone().cancelled_owned());
        tasks.spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the channel of the demo failed");
            }
        });
        tasks.close();
        Ok(Self { uri, stop, tasks })
    }

    /// Where it listens.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Stops it; called after feedback has stopped, whose connection keeps it open.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}
