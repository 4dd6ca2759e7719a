//! The service that is killed: it consumes the upstream and takes calls, and counts what reached it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use otklik_chassis::{
    clock::SystemClock,
    config::Config,
    consumer::{Incoming, Prepared, Subscriber},
    error::Error,
    foundation::Foundation,
    lane::{Apply, Caller, Effect, Lane, Outcome, Tx},
    ledger::Draft,
    run::{self, Context, Parts, Running, Service},
    storage::{Failure, ddl, rows},
};
use otklik_proto::{
    EventType,
    channel::v1::{
        DeliverRequest, DeliverResponse, DeliveryOutcome, DeliveryResult,
        channel_adapter_service_server::{ChannelAdapterService, ChannelAdapterServiceServer},
    },
    feedback::v1::AnswerDelivered,
    intake::v1::MessageReceived,
};
use sea_orm::{DbErr, QueryResult, Value};
use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, service::Routes};
use uuid::Uuid;

pub struct Tables;

impl MigratorTrait for Tables {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(Tables)]
    }
}

impl MigrationName for Tables {
    fn name(&self) -> &'static str {
        "m0002_replica"
    }
}

#[async_trait]
impl MigrationTrait for Tables {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl(
            manager,
            "CREATE TABLE consumed (partition BIGINT NOT NULL, seq BIGINT NOT NULL, aggregate UUID NOT NULL,
                version BIGINT NOT NULL, PRIMARY KEY (partition, seq)) CLUSTERED;
             CREATE TABLE called (id UUID NOT NULL PRIMARY KEY) CLUSTERED;",
        )
        .await
    }
}

pub struct Replica;

pub enum Command {
    /// An entry of the upstream.
    Consumed { partition: u32, seq: u64, aggregate: Uuid, version: u32 },
    /// A call.
    Called(Uuid),
}

struct Writer;

/// Has the domain refuse the third entry of every aggregate.
pub static REFUSES_THE_THIRD: AtomicBool = AtomicBool::new(false);

fn is_refused(command: &Command) -> bool {
    matches!(command, Command::Consumed { version: 3, .. }) && REFUSES_THE_THIRD.load(Ordering::SeqCst)
}

#[async_trait]
impl Apply for Writer {
    type Command = Command;
    /// Whether it was new.
    type Reply = bool;

    async fn apply(&self, tx: &Tx<'_>, commands: &[&Command]) -> Result<Vec<Outcome<bool>>, Failure> {
        let mut consumed: Vec<[Value; 4]> = Vec::new();
        let mut called: Vec<Uuid> = Vec::new();
        for command in commands.iter().filter(|command| !is_refused(command)) {
            match command {
                Command::Consumed { partition, seq, aggregate, version } => consumed.push([
                    i64::from(*partition).into(),
                    i64::try_from(*seq).unwrap().into(),
                    (*aggregate).into(),
                    i64::from(*version).into(),
                ]),
                Command::Called(id) => called.push(*id),
            }
        }
        // Without ON CONFLICT: an entry consumed twice is an error that the test finds parked.
        rows::insert(tx.db, "consumed", ["partition", "seq", "aggregate", "version"], consumed, "").await?;
        called.sort_unstable();
        called.dedup();
        let values = called.iter().map(|id| [(*id).into()]).collect();
        let read = |row: &QueryResult| row.try_get_by_index::<Uuid>(0);
        let mut fresh =
            rows::insert_returning(tx.db, "called", ["id"], values, "ON CONFLICT DO NOTHING RETURNING id", read)
                .await?;
        let outcome = |command: &&Command| match command {
            command if is_refused(command) => Err(Error::Precondition {
                reason: "THIRD",
                subject: "message".into(),
                description: "a third entry is refused".into(),
            }),
            Command::Consumed { aggregate, version, .. } => {
                let payload =
                    MessageReceived { message_id: aggregate.to_string(), version: *version, ..Default::default() };
                Ok(Effect::new(true, aggregate, vec![Draft::new("message", *aggregate, &payload)]))
            }
            Command::Called(id) => {
                let place = fresh.iter().position(|f| f == id);
                let payload = AnswerDelivered { delivery_id: id.to_string(), ..Default::default() };
                let entries = place.map(|p| {
                    fresh.swap_remove(p);
                    Draft::new("delivery", *id, &payload)
                });
                Ok(Effect::new(place.is_some(), id, entries.into_iter().collect()))
            }
        };
        Ok(commands.iter().map(outcome).collect())
    }
}

struct Reader;

#[async_trait]
impl Subscriber for Reader {
    type Command = Command;

    fn handles(&self) -> &'static [&'static str] {
        &[MessageReceived::TYPE]
    }

    async fn prepare(&self, entries: &[Incoming]) -> Result<Vec<Prepared<Command>>, Error> {
        let prepare = |incoming: &Incoming| {
            let position = incoming.entry.position.clone().unwrap_or_default();
            let received: MessageReceived = incoming.payload()?;
            Ok(Prepared::Apply(Command::Consumed {
                partition: position.partition,
                seq: position.seq,
                aggregate: received.message_id.parse().unwrap_or_default(),
                version: received.version,
            }))
        };
        entries.iter().map(prepare).collect()
    }
}

struct Api {
    lane: Lane<Writer>,
}

#[tonic::async_trait]
impl ChannelAdapterService for Api {
    async fn deliver(&self, request: Request<DeliverRequest>) -> Result<Response<DeliverResponse>, Status> {
        let caller = Caller::of(&request, "Deliver", "")?;
        let mut results = Vec::new();
        for delivery in request.into_inner().deliveries {
            let id = delivery.delivery_id.parse().map_err(|_| Error::invalid("delivery_id", "is no UUID"))?;
            let done = self.lane.call(Command::Called(id), caller.clone()).await?;
            let outcome = match done.reply {
                Some(true) => DeliveryOutcome::Delivered,
                _ => DeliveryOutcome::AlreadyDelivered,
            };
            results.push(DeliveryResult {
                delivery_id: delivery.delivery_id,
                outcome: outcome.into(),
                ..Default::default()
            });
        }
        Ok(Response::new(DeliverResponse { results }))
    }
}

#[async_trait]
impl Service for Replica {
    const NAME: &'static str = "channel";
    const DEFAULT_PORT: u16 = 0;
    type Settings = super::upstream::Settings;
    type Migrator = Tables;

    async fn build(context: Context<Self::Settings>) -> anyhow::Result<Parts> {
        let foundation = Foundation::lay(&context, Self::NAME, Writer).await?;
        foundation.subscribe(&context, "intake", Reader);
        let api = ChannelAdapterServiceServer::new(Api { lane: foundation.lane.clone() });
        Ok(Parts { routes: Routes::new(api).add_service(foundation.ledger_api(&context)) })
    }
}

/// What a replica needs to know, through its environment when it is a process of its own.
#[derive(Debug, Clone)]
pub struct Wiring {
    pub database_url: Option<String>,
    pub data_dir: PathBuf,
    pub listen: std::net::SocketAddr,
    pub upstream: String,
    pub partitions: u32,
}

impl Wiring {
    /// Starts a replica in this process.
    pub async fn start(&self) -> anyhow::Result<Running> {
        let mut config = Config::<super::upstream::Settings>::defaults(Replica::NAME, 0);
        config.database_url = self.database_url.clone().map(Into::into);
        config.data_dir.clone_from(&self.data_dir);
        config.listen = self.listen;
        config.partitions = self.partitions;
        config.peers.insert("intake".into(), self.upstream.clone());
        run::start::<Replica>(config, Arc::new(SystemClock), CancellationToken::new()).await
    }

    pub fn to_env(&self) -> [(&'static str, String); 5] {
        [
            ("REPLICA_DATABASE_URL", self.database_url.clone().unwrap_or_default()),
            ("REPLICA_DATA_DIR", self.data_dir.display().to_string()),
            ("REPLICA_LISTEN", self.listen.to_string()),
            ("REPLICA_UPSTREAM", self.upstream.clone()),
            ("REPLICA_PARTITIONS", self.partitions.to_string()),
        ]
    }

    pub fn from_env() -> Option<Self> {
        let get = |key: &str| std::env::var(key).ok();
        Some(Self {
            database_url: get("REPLICA_DATABASE_URL").filter(|url| !url.is_empty()),
            data_dir: get("REPLICA_DATA_DIR")?.into(),
            listen: get("REPLICA_LISTEN")?.parse().ok()?,
            upstream: get("REPLICA_UPSTREAM")?,
            partitions: get("REPLICA_PARTITIONS")?.parse().ok()?,
        })
    }
}
