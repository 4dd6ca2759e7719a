//! Audit, the read side of Otklik: what happened to a message or a case, the proof that the record is whole, and the
//! figures.
//!
//! It follows the ledgers of all services and keeps their entries byte for byte ([`copier`]), makes facts of them in a
//! second step ([`projector`]), and answers from its own database alone. Lifecycle traces are exported from the same
//! copies ([`traces`]).

pub mod copier;
pub mod domain;
pub mod figures;
mod grpc;
pub mod lives;
pub mod projector;
pub mod settings;
pub mod store;
pub mod traces;
pub mod verify;

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use otklik_chassis::{
    foundation::Foundation,
    region::{Files, Problems},
    run::{Context, Parts, Service},
    sized,
};
use otklik_proto::audit::v1::audit_service_server::AuditServiceServer;
use tokio::sync::Notify;
use tonic::service::Routes;

use crate::{
    copier::Copier,
    domain::{
        PRODUCERS,
        calendar::{CALENDAR_FILE, Calendar, PACK_FILE},
    },
    projector::Projector,
    settings::Settings,
    store::{Copies, Writer},
    traces::Exporter,
    verify::Verifier,
};

/// Name of the service.
pub(crate) const NAME: &str = "audit";

/// The service.
#[derive(Debug)]
pub struct Audit;

#[async_trait]
impl Service for Audit {
    const NAME: &'static str = NAME;
    const DEFAULT_PORT: u16 = 7415;
    type Settings = Settings;
    type Migrator = store::Migrator;

    async fn build(context: Context<Settings>) -> anyhow::Result<Parts> {
        let calendar = Arc::new(calendar(context.config.region_dir.as_deref())?);
        let (arrived, projected) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let writer = Writer { calendar: calendar.clone(), arrived: arrived.clone() };
        let foundation = Foundation::lay(&context, NAME, writer).await?;
        for service in PRODUCERS {
            foundation.subscribe(&context, service, Copier { service });
        }

        let storage = context.storage.clone();
        let copies = Copies::new(storage.clone());
        let lane = foundation.lane.clone();
        let projector = Projector { lane: lane.clone(), copies: copies.clone(), arrived, projected: projected.clone() };
        let token = context.stopping.clone();
        context.tasks.spawn("facts", async move {
            let _ = token.run_until_cancelled(projector.run()).await;
            Ok(())
        });
        if let Some(exporter) =
            Exporter::open(&context.config.settings, lane, copies.clone(), storage.clone(), projected)?
        {
            let token = context.stopping.clone();
            context.tasks.spawn("lifecycle-traces", async move {
                let _ = token.run_until_cancelled(exporter.run()).await;
                Ok(())
            });
        }

        let api = grpc::Api {
            verifier: Verifier { copies: copies.clone(), peers: context.peers.clone(), seen: context.seen.clone() },
            clock: context.clock.clone(),
            stuck_after_us: i64::from(context.config.settings.stuck_after_hours) * 3_600_000_000,
            copies,
            storage,
            calendar,
        };
        let routes = Routes::new(sized!(AuditServiceServer::new(api))).add_service(foundation.ledger_api(&context));
        Ok(Parts { routes })
    }
}

/// The region's working calendar: from the given folder, or the shipped one.
fn calendar(region: Option<&std::path::Path>) -> anyhow::Result<Calendar> {
    let files = Files::open(
        region,
        &[
            (PACK_FILE, include_str!("../../../deploy/regions/primorye/pack.toml")),
            (CALENDAR_FILE, include_str!("../../../deploy/regions/primorye/calendar.toml")),
        ],
    )?;
    let mut problems = Problems::new();
    let calendar = Calendar::read(&files, &mut problems);
    problems.finish()?;
    calendar.context("the working calendar can't be read")
}
