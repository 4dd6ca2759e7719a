//! A channel adapter that appends deliveries to a file, one JSON object a line.
//!
//! For a trial of the suite, for tests, and for whoever carries answers out by other means and reads them from a file. The
//! file is the record: a delivery is answered once its line has been synced, and a delivery id that has a line is never
//! written again, across restarts too, because the ids are read from the file at the start. All ids are held in memory (some
//! 20 bytes each): past tens of millions of deliveries, move the file away and begin another.

mod file;

use std::path::PathBuf;

use async_trait::async_trait;
use otklik_chassis::{
    clock::Clock,
    error::Error,
    run::{Context, Parts, Service},
    sized,
    validate::Violations,
};
use otklik_proto::{
    channel::v1::{
        DeliverRequest, DeliverResponse, Delivery, DeliveryOutcome, DeliveryResult,
        channel_adapter_service_server::{ChannelAdapterService, ChannelAdapterServiceServer},
    },
    intake::v1::ChannelKind,
};
use sea_orm_migration::{MigrationTrait, MigratorTrait};
use serde::{Deserialize, Serialize};
use tonic::{Request, Response, Status, service::Routes};
use uuid::Uuid;

use self::file::{DeliveryFile, Line};

/// Deliveries taken in one call at the most: the contract's limit.
const MOST_DELIVERIES: usize = 500;

/// The adapter as a service of the suite, named `channel`.
#[derive(Debug)]
pub struct FileChannel;

/// The adapter's own settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The file; empty is `deliveries.ndjson` in the data folder.
    pub file: PathBuf,
}

/// The adapter has no tables of its own.
#[derive(Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        Vec::new()
    }
}

#[async_trait]
impl Service for FileChannel {
    const NAME: &'static str = "channel";
    const DEFAULT_PORT: u16 = 7416;
    const KEEPS_LEDGER: bool = false;
    type Settings = Settings;
    type Migrator = Migrator;

    async fn build(context: Context<Settings>) -> anyhow::Result<Parts> {
        let configured = &context.config.settings.file;
        let path = match configured.as_os_str().is_empty() {
            true => context.config.data_dir.join("deliveries.ndjson"),
            false => configured.clone(),
        };
        let file = tokio::task::spawn_blocking(move || DeliveryFile::open(&path)).await??;
        tracing::info!(file = %file.path().display(), delivered = file.len(), "deliveries are appended to a file");
        let api = Api { file, clock: context.clock.clone() };
        Ok(Parts { routes: Routes::new(sized!(ChannelAdapterServiceServer::new(api))) })
    }
}

struct Api {
    file: DeliveryFile,
    clock: Clock,
}

#[async_trait]
impl ChannelAdapterService for Api {
    async fn deliver(&self, request: Request<DeliverRequest>) -> Result<Response<DeliverResponse>, Status> {
        let deliveries = request.into_inner().deliveries;
        let mut violations = Violations::new();
        let count = deliveries.len();
        violations.check(
            (1..=MOST_DELIVERIES).contains(&count),
            "deliveries",
            format!("must be 1 to {MOST_DELIVERIES}"),
        );
        violations.finish()?;

        let time = self.clock.now().to_string();
        let lines: Vec<Result<(Uuid, Line), &'static str>> =
            deliveries.iter().map(|delivery| line(delivery, &time)).collect();
        let sound = lines.iter().filter_map(|line| line.as_ref().ok().cloned()).collect();
        let file = self.file.clone();
        let fresh = tokio::task::spawn_blocking(move || file.append(sound))
            .await
            .map_err(Error::internal)?
            .map_err(|e| Error::unavailable(format!("the file can't be written: {e}")))?;
        let mut fresh = fresh.into_iter();
        let results = deliveries.into_iter().zip(lines).map(|(delivery, line)| {
            let (outcome, reason) = match line {
                Err(reason) => (DeliveryOutcome::Refused, reason),
                Ok(_) if fresh.next().unwrap_or_default() => (DeliveryOutcome::Delivered, ""),
                Ok(_) => (DeliveryOutcome::AlreadyDelivered, ""),
            };
            DeliveryResult {
                answer_external_id: if outcome == DeliveryOutcome::Refused {
                    String::new()
                } else {
                    delivery.delivery_id.clone()
                },
                delivery_id: delivery.delivery_id,
                outcome: outcome.into(),
                reason: reason.to_owned(),
            }
        });
        Ok(Response::new(DeliverResponse { results: results.collect() }))
    }
}

/// The line of a delivery.
///
/// # Errors
/// Why it will never be delivered, as a code.
fn line(delivery: &Delivery, time: &str) -> Result<(Uuid, Line), &'static str> {
    let id = Uuid::try_parse(&delivery.delivery_id).map_err(|_| "DELIVERY_ID_INVALID")?;
    if delivery.text.is_empty() {
        return Err("TEXT_EMPTY");
    }
    if delivery.source_id.is_empty() || delivery.reply_to_external_id.is_empty() {
        return Err("ROUTE_INCOMPLETE");
    }
    let kind = ChannelKind::try_from(delivery.channel_kind).unwrap_or_default();
    Ok((
        id,
        Line {
            delivery_id: id,
            answer_id: delivery.answer_id.clone(),
            source_id: delivery.source_id.clone(),
            channel_kind: kind.as_str_name().trim_start_matches("CHANNEL_KIND_").to_owned(),
            reply_to_external_id: delivery.reply_to_external_id.clone(),
            text: delivery.text.clone(),
            trace_id: delivery.trace_id.clone(),
            deliver_time: time.to_owned(),
        },
    ))
}
