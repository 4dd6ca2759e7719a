//! The life of a service: the trait it implements, its start, its tasks and its end; and the command line that
//! every service's binary has.
//!
//! Order, as in linkerd2-proxy: logging, version, configuration read whole without binding a port (bad
//! configuration is one clear line and exit code 64), runtime, bind, addresses printed, serve, SIGINT or SIGTERM,
//! drain under a deadline.

mod command;
mod peers;
mod tasks;

use std::net::SocketAddr;

use anyhow::Context as _;
use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;

pub(crate) use self::tasks::panic_message;
pub use self::{
    command::{BAD_CONFIG, main, main_with, runtime, shutdown_signal},
    peers::Peers,
    tasks::Tasks,
};
use crate::{
    clock::Clock,
    config::Config,
    identity::Authenticator,
    seen::Seen,
    server::{self, Health, Setup},
    storage::Storage,
};

/// A service of the suite, as the chassis sees it.
///
/// ```ignore
/// pub struct Intake;
///
/// #[async_trait]
/// impl Service for Intake {
///     const NAME: &'static str = "intake";
///     const DEFAULT_PORT: u16 = 7411;
///     type Settings = settings::Settings;
///     type Migrator = store::Migrator;
///
///     async fn build(context: Context<Self::Settings>) -> anyhow::Result<Parts> {
///         let service = grpc::Intake::new(…);
///         Ok(Parts { routes: Routes::new(otklik_chassis::sized!(IntakeServiceServer::new(service))) })
///     }
/// }
///
/// // main.rs
/// fn main() -> std::process::ExitCode {
///     otklik_chassis::run::main::<otklik_intake::Intake>()
/// }
/// ```
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// The short name: of the configuration section, the database, the metrics, the `otklik.<name>.v1` package.
    const NAME: &'static str;
    /// The port it listens on when the configuration names none.
    const DEFAULT_PORT: u16;
    /// Whether it serves a ledger, as all do but the adapters of channels.
    const KEEPS_LEDGER: bool = true;
    /// The service's own settings: the keys of its section of the configuration that are not common to all
    /// services. They must serialise to the keys they are read from (that is how unknown keys are found), and
    /// should be `#[serde(default)]`.
    type Settings: DeserializeOwned + Serialize + Default + Clone + Send + Sync;
    /// The migrations of the service's own tables; the chassis adds those of its own.
    type Migrator: sea_orm_migration::MigratorTrait;

    /// Puts the service together: reads what it needs, spawns its tasks, returns its routes. The port is bound and
    /// the database migrated by then; calls are answered once this returns.
    ///
    /// # Errors
    /// Whatever keeps the service from starting; it is printed, and the process ends.
    async fn build(context: Context<Self::Settings>) -> anyhow::Result<Parts>;
}

/// What the chassis hands to a service that is being built.
pub struct Context<S> {
    /// The whole configuration; `config.settings` is the service's own.
    pub config: Config<S>,
    /// The clock of the domain.
    pub clock: Clock,
    /// The service's database, open and migrated.
    pub storage: Storage,
    /// Says whether the service is fit to serve.
    pub health: Health,
    /// Spawns what lives as long as the service.
    pub tasks: Tasks,
    /// The other services.
    pub peers: Peers,
    /// How far this service has consumed the others.
    pub seen: Seen,
    /// Cancelled when the service begins to stop, while calls in flight are still answered: what would otherwise go
    /// on for ever (a consumer, a stream) takes nothing new. [`Tasks::token`] is cancelled later.
    pub stopping: CancellationToken,
}

/// What a service hands back.
pub struct Parts {
    /// Its gRPC services, each wrapped in [`sized!`](crate::sized). Health and reflection are the chassis'.
    pub routes: tonic::service::Routes,
}

/// A service that runs.
#[must_use = "dropping it leaves the service running unsupervised; await `stopped`"]
pub struct Running {
    name: &'static str,
    local_addr: SocketAddr,
    uri: String,
    health: Health,
    shutdown: CancellationToken,
    supervisor: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// The service's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The address it listens on; the port is the real one even if the configuration said 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where a client on the same machine reaches it: `http://127.0.0.1:7411`.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The service's health.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Asks it to stop, and returns at once; [`Running::stopped`] tells when it has.
    pub fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// Returns when the service has stopped, whether it was asked to or not.
    ///
    /// # Errors
    /// What made it stop if nobody asked it to: a task that failed, or a server that ended.
    pub async fn stopped(self) -> anyhow::Result<()> {
        self.supervisor.await.with_context(|| format!("the supervisor of {} failed", self.name))?
    }
}

/// Starts a service: binds, opens the database, migrates it if it is to, builds the service, serves. It stops when
/// `shutdown` is cancelled, or by itself when one of its tasks fails.
///
/// # Errors
/// The address is taken, the database is away or not migrated, or the service could not be built.
pub async fn start<S: Service>(
    config: Config<S::Settings>,
    clock: Clock,
    shutdown: CancellationToken,
) -> anyhow::Result<Running> {
    // Starting holds much at once; whoever starts several services should not have to.
    Box::pin(begin::<S>(config, clock, shutdown)).await
}

async fn begin<S: Service>(
    config: Config<S::Settings>,
    clock: Clock,
    shutdown: CancellationToken,
) -> anyhow::Result<Running> {
    let listener = config.take_listener().map_or_else(|| server::bind(config.listen), Ok)?;
    let local_addr = listener.local_addr()?;
    let authenticator = Authenticator::open(&config.auth, &config.tls)?;
    announce(&config, local_addr);

    let storage = Storage::open(S::NAME, config.database_url.as_ref(), &config.data_dir).await?;
    if config.migrate_on_start {
        storage.migrate::<S::Migrator>().await?;
    } else if !storage.is_migrated::<S::Migrator>().await? {
        anyhow::bail!("the database {} is not up to date; run `migrate`", storage.location());
    }

    let health = Health::new();
    let tasks = Tasks::new(S::NAME);
    watch_over(&storage, &health, &tasks);
    let stopping = CancellationToken::new();
    let seen = Seen::new(S::NAME);
    let context = Context {
        config: config.clone(),
        clock,
        storage: storage.clone(),
        health: health.clone(),
        tasks: tasks.clone(),
        peers: Peers::new(config.peers.clone(), config.client.clone()),
        seen: seen.clone(),
        stopping: stopping.clone(),
    };
    let parts = match S::build(context).await {
        Ok(parts) => parts,
        Err(error) => {
            stopping.cancel();
            tasks.end(config.server.drain_deadline).await;
            storage.close().await;
            return Err(error);
        }
    };

    let mut services = server::services_of(&format!("otklik.{}.v1", S::NAME));
    if S::KEEPS_LEDGER {
        services.extend(server::services_of("otklik.ledger.v1"));
    }
    let uri = config.local_uri(local_addr);
    let setup = Setup {
        listener,
        routes: parts.routes,
        services,
        limits: config.server.clone(),
        tls: config.tls.clone(),
        authenticator,
        reflection: config.reflection,
        health: health.clone(),
        seen,
        stopping,
    };
    let shutdown = shutdown.child_token();
    // A group of its own: the supervisor is what waits for the tasks.
    let supervisor = tokio_util::task::TaskTracker::new().spawn(supervise(setup, tasks, storage, shutdown.clone()));
    Ok(Running { name: S::NAME, local_addr, uri, health, shutdown, supervisor })
}

/// Says what an operator should know about how the service can be reached.
fn announce<S>(config: &Config<S>, address: SocketAddr) {
    tracing::info!(service = config.name, %address, tls = config.tls.cert.is_some(), "listening");
    if !config.is_authenticated() {
        tracing::warn!(
            service = config.name,
            "callers are not authenticated: everybody on this machine may do everything; for development only"
        );
    } else if config.tls.cert.is_none() && !address.ip().is_loopback() {
        tracing::warn!(
            service = config.name,
            "tokens travel without TLS; something in front of the service must add it"
        );
    }
}

/// Keeps an eye on the database, and has the health say what it sees.
fn watch_over(storage: &Storage, health: &Health, tasks: &Tasks) {
    let (watched, token) = (storage.clone(), tasks.token());
    tasks.spawn("database-watch", async move {
        let _ = token.run_until_cancelled(watched.watch()).await;
        Ok(())
    });
    let (mut fit, health, token) = (storage.health(), health.clone(), tasks.token());
    tasks.spawn("database-health", async move {
        let tell = async {
            loop {
                health.set(*fit.borrow_and_update());
                if fit.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = token.run_until_cancelled(tell).await;
        Ok(())
    });
}

/// Serves, then ends the tasks, then closes the database.
async fn supervise(setup: Setup, tasks: Tasks, storage: Storage, shutdown: CancellationToken) -> anyhow::Result<()> {
    let (limit, stopping) = (setup.limits.drain_deadline, setup.stopping.clone());
    let serving = server::serve(setup, shutdown.clone());
    tokio::pin!(serving);
    let mut result = tokio::select! {
        result = &mut serving => result,
        failure = tasks.failed() => {
            shutdown.cancel();
            let _ = serving.await;
            Err(anyhow::anyhow!(failure))
        }
    };
    stopping.cancel();
    if !tasks.end(limit).await {
        tracing::warn!(tasks = tasks.running(), "some tasks did not end in time; they are abandoned");
    }
    if result.is_ok()
        && let Some(failure) = tasks.failure()
    {
        result = Err(anyhow::anyhow!(failure));
    }
    storage.close().await;
    result
}
