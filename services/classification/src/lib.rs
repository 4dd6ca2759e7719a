//! Classification: says what citizens' messages are about.
//!
//! It follows intake's ledger, fetches the texts of a batch at once, and records for every version of a message the
//! questions it raises: topic, kind, urgency, places, and how sure that is. What it isn't sure of waits for a person in
//! the review queue. No text is stored here.

pub mod domain;
pub mod grpc;
mod listener;
pub mod pack;
pub mod store;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use otklik_chassis::{
    foundation::Foundation,
    run::{Context, Parts, Service},
    sized,
};
use otklik_proto::classification::v1::classification_service_server::ClassificationServiceServer;
use serde::{Deserialize, Serialize};
use tonic::service::Routes;

/// The service.
#[derive(Debug)]
pub struct Classification;

/// It has no settings of its own: what decides is in the region pack and in the model, and recorded by their versions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {}

#[async_trait]
impl Service for Classification {
    const NAME: &'static str = "classification";
    const DEFAULT_PORT: u16 = 7412;
    type Settings = Settings;
    type Migrator = store::Migrator;

    async fn build(context: Context<Settings>) -> anyhow::Result<Parts> {
        let pack = Arc::new(pack::open(context.config.region_dir.as_deref())?);
        let foundation = Foundation::lay(&context, Self::NAME, store::Writer::new(pack.clone())).await?;
        let intake = context.peers.channel("intake");
        foundation.subscribe(&context, "intake", listener::Listener::new(pack.clone(), intake));
        let api = grpc::Api::new(pack, foundation.lane.clone());
        let routes =
            Routes::new(sized!(ClassificationServiceServer::new(api))).add_service(foundation.ledger_api(&context));
        Ok(Parts { routes })
    }
}
