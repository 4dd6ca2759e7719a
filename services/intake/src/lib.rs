//! Intake: takes messages of citizens in, exactly once, and keeps their texts.
//!
//! It owns sources and their health, messages with all their versions, and what is personal of their authors. Others
//! learn of messages from its ledger, which holds no texts and no names, and ask for the texts they need.

pub mod domain;
mod grpc;
mod store;

use std::{
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use otklik_chassis::{
    error::Error,
    foundation::Foundation,
    lane::{Caller, Lane},
    region::{Files, Problems},
    run::{Context, Parts, Service},
    sized,
    storage::Storage,
};
use otklik_proto::intake::v1::intake_service_server::IntakeServiceServer;
use serde::{Deserialize, Serialize};
use tonic::service::Routes;

use crate::{
    domain::pack,
    store::{Command, Reader, Writer},
};

/// The files of a region pack that intake reads, with the texts of the pack that ships.
pub const REGION_FILES: [(&str, &str); 1] =
    [(pack::FILE, include_str!("../../../deploy/regions/primorye/sources.toml"))];

/// The service.
#[derive(Debug)]
pub struct Intake;

/// Intake has no settings beyond those of every service.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {}

#[async_trait]
impl Service for Intake {
    const NAME: &'static str = "intake";
    const DEFAULT_PORT: u16 = 7411;
    type Settings = Settings;
    type Migrator = store::Migrator;

    async fn build(context: Context<Settings>) -> anyhow::Result<Parts> {
        let sources = load_pack(context.config.region_dir.as_deref())?;
        let secret = store::author_secret(&context.storage).await?;
        let ledger = Arc::new(OnceLock::new());
        let foundation = Foundation::lay(&context, Self::NAME, Writer::new(ledger.clone())).await?;
        let ledger = ledger.get_or_init(|| foundation.ledger.clone()).clone();
        let lane = foundation.lane.clone();
        lane.call(Command::TakeOver(sources), Caller::service(Self::NAME)).await?;

        let (erasing, storage, stopping) = (lane.clone(), context.storage.clone(), context.stopping.clone());
        context.tasks.spawn("erasures", async move {
            let _ = stopping.run_until_cancelled(complete_erasures(erasing, storage)).await;
            Ok(())
        });
        let reader = Reader::new(context.storage.clone(), ledger);
        let api = grpc::Api::new(lane, reader, context.clock.clone(), secret);
        let routes = Routes::new(sized!(IntakeServiceServer::new(api))).add_service(foundation.ledger_api(&context));
        Ok(Parts { routes })
    }
}

/// The sources of the region pack in `dir`, or of the shipped one.
///
/// # Errors
/// When the file can't be read; [`otklik_chassis::region::UnsoundPack`] with everything that is wrong with it.
pub fn load_pack(dir: Option<&Path>) -> anyhow::Result<Vec<domain::source::Source>> {
    let files = Files::open(dir, &REGION_FILES)?;
    let mut problems = Problems::new();
    let sources = pack::sources(files.text(pack::FILE), &mut problems);
    problems.finish()?;
    Ok(sources)
}

/// How often unfinished erasures are looked for.
const ERASURES_EVERY: Duration = Duration::from_secs(30);

/// Completes erasures whose callers have gone or whose process was killed half-way. Runs until dropped.
async fn complete_erasures(lane: Lane<Writer>, storage: Storage) {
    loop {
        if let Err(error) = complete_pending(&lane, &storage).await {
            tracing::warn!(%error, "unfinished erasures wait");
        }
        tokio::time::sleep(ERASURES_EVERY).await;
    }
}

async fn complete_pending(lane: &Lane<Writer>, storage: &Storage) -> Result<(), Error> {
    for erasure in store::pending_erasures(storage).await? {
        store::finish_erasure(lane, erasure, &Caller::service(Intake::NAME)).await?;
    }
    Ok(())
}
