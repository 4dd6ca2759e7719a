//! Feedback: answers the authors of messages and asks whether it helped.
//!
//! An answer is drafted, approved by another person or sent back, and published; from then on there is a delivery for the
//! author of every message of the case, carried by a task to the channel until it arrives or is given up. Authors rate what
//! they get, and whoever is not satisfied has the case reopened.

pub mod adapter;
mod checks;
pub mod domain;
mod grpc;
mod sender;
pub mod settings;
pub mod store;
mod subscribers;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use otklik_chassis::{
    foundation::Foundation,
    lane::Caller,
    region,
    run::{Context, Parts, Service},
    sized,
};
use otklik_proto::feedback::v1::feedback_service_server::FeedbackServiceServer;
use sea_orm::DbBackend;
use tokio::sync::Notify;
use tonic::service::Routes;

use crate::{
    checks::Checks,
    domain::template::{self, Templates},
    sender::Sender,
    settings::Settings,
    store::{Migrator, Reader, Writer, command::Command},
    subscribers::{Cases, GoneMessages},
};

/// The shipped templates.
const SHIPPED: &str = include_str!("../../../deploy/regions/primorye/templates.toml");

/// The service.
#[derive(Debug)]
pub struct Feedback;

/// The answer templates of the region pack in `dir`, or of the shipped one, and their content hash.
///
/// # Errors
/// When the file can't be read; [`region::UnsoundPack`] with everything that is wrong with it.
pub fn load_pack(dir: Option<&Path>) -> anyhow::Result<(Templates, String)> {
    let files = region::Files::open(dir, &[(template::FILE, SHIPPED)])?;
    let mut problems = region::Problems::new();
    let templates = Templates::parse(files.text(template::FILE), &mut problems);
    problems.finish()?;
    Ok((templates, files.version().to_owned()))
}

#[async_trait]
impl Service for Feedback {
    const NAME: &'static str = "feedback";
    const DEFAULT_PORT: u16 = 7414;
    type Settings = Settings;
    type Migrator = Migrator;

    async fn build(context: Context<Settings>) -> anyhow::Result<Parts> {
        let (templates, version) = load_pack(context.config.region_dir.as_deref())?;
        let new_deliveries = Arc::new(Notify::new());
        let writer = Writer::new(&version, new_deliveries.clone());
        let foundation = Foundation::lay(&context, Self::NAME, writer).await?;
        foundation.subscribe(&context, "assignment", Cases);
        foundation.subscribe(&context, "intake", GoneMessages);

        let lane = foundation.lane.clone();
        let reader = Reader::new(context.storage.clone());
        if context.storage.backend() == DbBackend::Sqlite {
            // There are no replicas: whoever had taken deliveries up was this service, before it stopped.
            lane.call(Command::EndLeases, Caller::service(Self::NAME)).await?;
        }
        match context.peers.uri("channel") {
            Some(_) => {
                let sender = Sender {
                    channel: context.peers.channel("channel"),
                    lane: lane.clone(),
                    reader: reader.clone(),
                    clock: context.clock.clone(),
                    new_deliveries,
                };
                let stopping = context.stopping.clone();
                context.tasks.spawn("deliveries", async move {
                    sender.send_until(stopping).await;
                    Ok(())
                });
            }
            None => tracing::warn!("no channel is configured (peers.channel): deliveries wait until one is"),
        }
        let checks = Checks::start(
            context.peers.channel("assignment"),
            context.peers.channel("intake"),
            foundation.ledger.clone(),
            &context.tasks,
        );
        let api = grpc::Api::new(lane, reader, checks, templates, context.clock.clone());
        let routes = Routes::new(sized!(FeedbackServiceServer::new(api))).add_service(foundation.ledger_api(&context));
        Ok(Parts { routes })
    }
}
