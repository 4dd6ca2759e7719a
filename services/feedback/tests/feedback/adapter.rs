//! The adapter that writes deliveries to a file.

use std::sync::Arc;

use otklik_chassis::{
    clock::SystemClock,
    config::Config,
    run::{self, Running},
};
use otklik_feedback::adapter::{FileChannel, Settings};
use otklik_proto::{
    channel::v1::{
        DeliverRequest, Delivery, DeliveryOutcome, channel_adapter_service_client::ChannelAdapterServiceClient,
    },
    intake::v1::ChannelKind,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

async fn start(dir: &std::path::Path) -> Running {
    let mut config = Config::<Settings>::defaults("channel", 0);
    config.data_dir = dir.to_owned();
    config.server.lame_duck = std::time::Duration::from_millis(1);
    run::start::<FileChannel>(config, Arc::new(SystemClock), CancellationToken::new()).await.unwrap()
}

async fn deliver(adapter: &Running, deliveries: Vec<Delivery>) -> Result<Vec<DeliveryOutcome>, tonic::Status> {
    let mut client = ChannelAdapterServiceClient::connect(adapter.uri().to_owned()).await.unwrap();
    let response = client.deliver(DeliverRequest { deliveries }).await?.into_inner();
    Ok(response.results.iter().map(|result| result.outcome()).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_is_written_once_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let delivery = |id: &str| Delivery {
        delivery_id: id.to_owned(),
        source_id: "vk".into(),
        channel_kind: ChannelKind::Comment.into(),
        reply_to_external_id: "wall-1_2".into(),
        text: "Яма засыпана".into(),
        ..Default::default()
    };
    let (one, two) = (Uuid::now_v7().to_string(), Uuid::now_v7().to_string());
    let adapter = start(folder.path()).await;
    let outcomes = deliver(&adapter, vec![delivery(&one), delivery("7"), delivery(&one)]).await.unwrap();
    assert_eq!(outcomes, [DeliveryOutcome::Delivered, DeliveryOutcome::Refused, DeliveryOutcome::AlreadyDelivered]);
    assert_eq!(deliver(&adapter, Vec::new()).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    adapter.shut_down();
    adapter.stopped().await.unwrap();

    let adapter = start(folder.path()).await;
    let outcomes = deliver(&adapter, vec![delivery(&two), delivery(&one)]).await.unwrap();
    assert_eq!(outcomes, [DeliveryOutcome::Delivered, DeliveryOutcome::AlreadyDelivered]);
    adapter.shut_down();
    adapter.stopped().await.unwrap();
    let text = std::fs::read_to_string(folder.path().join("deliveries.ndjson")).unwrap();
    let ids: Vec<String> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["delivery_id"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(ids, [one, two]);
}
