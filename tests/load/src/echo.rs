//! The bare limit of the same machine in the same run: a tonic service that only answers.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::Context;
use otklik_proto::channel::v1::{
    DeliverRequest, DeliverResponse, Delivery,
    channel_adapter_service_client::ChannelAdapterServiceClient,
    channel_adapter_service_server::{ChannelAdapterService, ChannelAdapterServiceServer},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

struct Echo;

#[tonic::async_trait]
impl ChannelAdapterService for Echo {
    async fn deliver(&self, _: Request<DeliverRequest>) -> Result<Response<DeliverResponse>, Status> {
        Ok(Response::new(DeliverResponse::default()))
    }
}

/// Serves until killed; the address is printed.
pub async fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    otklik_suite::report::say(format!("http://{}", listener.local_addr()?));
    let service = ChannelAdapterServiceServer::new(Echo);
    Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)).await?;
    Ok(())
}

const CALLS: u64 = 60_000;

/// Unary echoes a second with `in_flight` calls in flight.
pub async fn measure(in_flight: usize) -> anyhow::Result<Value> {
    let mut server = Command::new(std::env::current_exe()?).arg("--echo-server").stdout(Stdio::piped()).spawn()?;
    let mut uri = String::new();
    BufReader::new(server.stdout.take().context("the echo server has no output")?).read_line(&mut uri)?;
    let channel = tonic::transport::Endpoint::from_shared(uri.trim().to_owned())?.connect().await?;
    let text = "На улице Светланской третий день нет света, когда починят?".to_owned();
    let done = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut calls = JoinSet::new();
    for _ in 0..in_flight {
        let (mut client, done, text) = (ChannelAdapterServiceClient::new(channel.clone()), done.clone(), text.clone());
        calls.spawn(async move {
            while done.fetch_add(1, Ordering::Relaxed) < CALLS {
                let delivery = Delivery { text: text.clone(), ..Default::default() };
                client.deliver(DeliverRequest { deliveries: vec![delivery] }).await?;
            }
            Ok::<_, Status>(())
        });
    }
    for call in calls.join_all().await {
        call?;
    }
    let seconds = started.elapsed().as_secs_f64();
    server.kill()?;
    server.wait()?;
    Ok(json!({ "per_second": (CALLS as f64 / seconds).round() }))
}
