//! A service whose ledger is followed: `intake` by name, with messages that come by themselves.

use async_trait::async_trait;
use otklik_chassis::{
    clock::SystemClock,
    config::Config,
    foundation::Foundation,
    id::new_id,
    lane::{Apply, Caller, Effect, Outcome, Tx},
    ledger::Draft,
    run::{self, Context, Parts, Running, Service},
    storage::Failure,
};
use otklik_proto::intake::v1::MessageReceived;
use sea_orm_migration::{MigrationTrait, MigratorTrait};
use serde::{Deserialize, Serialize};
use std::{path::Path, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use uuid::Uuid;

/// A service that has no tables of its own.
pub struct NoTables;

impl MigratorTrait for NoTables {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        Vec::new()
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// How many entries to write.
    pub entries: u64,
    /// Of how many aggregates, in turn.
    pub aggregates: u64,
}

pub struct Upstream;

struct Writer;

/// The `version`-th entry of an aggregate.
struct Say {
    aggregate: Uuid,
    version: u32,
}

#[async_trait]
impl Apply for Writer {
    type Command = Say;
    type Reply = ();

    async fn apply(&self, _: &Tx<'_>, commands: &[&Say]) -> Result<Vec<Outcome<()>>, Failure> {
        let effect = |say: &&Say| {
            let payload =
                MessageReceived { message_id: say.aggregate.to_string(), version: say.version, ..Default::default() };
            Ok(Effect::new((), say.aggregate, vec![Draft::new("message", say.aggregate, &payload)]))
        };
        Ok(commands.iter().map(effect).collect())
    }
}

#[async_trait]
impl Service for Upstream {
    const NAME: &'static str = "intake";
    const DEFAULT_PORT: u16 = 0;
    type Settings = Settings;
    type Migrator = NoTables;

    async fn build(context: Context<Settings>) -> anyhow::Result<Parts> {
        let foundation = Foundation::lay(&context, Self::NAME, Writer).await?;
        let lane = foundation.lane.clone();
        let Settings { entries, aggregates } = context.config.settings;
        let now = context.clock.now();
        context.tasks.spawn("messages", async move {
            let ids: Vec<Uuid> = (0..aggregates).map(|_| new_id(now)).collect();
            for n in 0..entries {
                let aggregate = ids[usize::try_from(n % aggregates)?];
                let version = u32::try_from(n / aggregates)? + 1;
                lane.call(Say { aggregate, version }, Caller::service(Self::NAME)).await?;
                if n % 100 == 99 {
                    // Bursts, so that batches of all sizes form.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Ok(())
        });
        Ok(Parts { routes: Routes::new(foundation.ledger_api(&context)) })
    }
}

/// Starts the upstream on a port of the system's choice.
pub async fn start(dir: &Path, settings: Settings, partitions: u32) -> Running {
    let mut config = Config::<Settings>::defaults(Upstream::NAME, 0);
    config.data_dir = dir.join("upstream");
    config.partitions = partitions;
    config.settings = settings;
    run::start::<Upstream>(config, Arc::new(SystemClock), CancellationToken::new()).await.unwrap()
}
