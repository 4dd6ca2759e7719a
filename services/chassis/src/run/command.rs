//! The command line that the binary of every service has.

use std::{ffi::OsString, io::Write, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::{CommandFactory, FromArgMatches};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{Service, start};
use crate::{
    client,
    clock::SystemClock,
    config::{Config, Sources},
    server::LIVENESS,
    storage::Storage,
    telemetry,
};

/// The exit code of a process whose configuration is bad (`EX_USAGE`).
pub const BAD_CONFIG: u8 = 64;
/// How long a health check waits.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(clap::Parser)]
#[command(
    version,
    after_help = "Every key of the configuration may be given in the file, as OTKLIK_<KEY> or as \
                  OTKLIK_<SERVICE>_<KEY>; `print-config` shows them all. Exit status: 0 done, 1 failed, 64 bad \
                  configuration or usage."
)]
struct Arguments {
    /// The configuration, a TOML file; by default the one that OTKLIK_CONFIG names, if any.
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Serve until SIGINT or SIGTERM, then drain; a second signal ends at once.
    Serve,
    /// Bring the database's schema up to date, and end.
    Migrate,
    /// Check the configuration and the files it names, without opening anything.
    CheckConfig,
    /// Print the configuration in force as TOML, without its secrets.
    PrintConfig,
    /// Ask the running service whether it is fit to serve; exit status 0 if it is.
    Healthcheck {
        /// Ask only whether it lives: for a probe that restarts the process.
        #[arg(long)]
        liveness: bool,
    },
}

/// The `main` of a service's binary.
pub fn main<S: Service>() -> ExitCode {
    main_with::<S, _>(std::env::args_os())
}

/// [`main`] with these arguments, the first of which is the program's name.
pub fn main_with<S, A>(arguments: A) -> ExitCode
where
    S: Service,
    A: IntoIterator<Item: Into<OsString> + Clone>,
{
    let name = format!("otklik-{}", S::NAME);
    let command = Arguments::command()
        .bin_name(name.clone())
        .display_name(name.clone())
        .about(format!("The {} service of Otklik.", S::NAME));
    let arguments =
        match command.try_get_matches_from(arguments).and_then(|matches| Arguments::from_arg_matches(&matches)) {
            Ok(arguments) => arguments,
            Err(error) => {
                let _ = error.print();
                return if error.use_stderr() { ExitCode::from(BAD_CONFIG) } else { ExitCode::SUCCESS };
            }
        };
    let config = match Config::<S::Settings>::read(S::NAME, S::DEFAULT_PORT, &Sources::of_process(arguments.config)) {
        Ok(config) => config,
        Err(error) => {
            complain(&format!("{name}: bad configuration: {error}"));
            return ExitCode::from(BAD_CONFIG);
        }
    };
    let result = match arguments.command {
        Command::CheckConfig => say(&format!("{name}: the configuration is sound")),
        Command::PrintConfig => say(config.to_toml().trim_end()),
        Command::Serve => runtime().and_then(|runtime| runtime.block_on(serve::<S>(config))),
        Command::Migrate => runtime().and_then(|runtime| runtime.block_on(migrate::<S>(config))),
        Command::Healthcheck { liveness } => {
            runtime().and_then(|runtime| runtime.block_on(check_health(config, liveness)))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{name}: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// A runtime of at least two worker threads: an exporter of telemetry may block one.
///
/// # Errors
/// The system refuses threads.
pub fn runtime() -> anyhow::Result<Runtime> {
    let workers = std::thread::available_parallelism().map_or(2, |threads| threads.get().max(2));
    tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build().context("the runtime")
}

/// Cancelled by the first SIGINT or SIGTERM; the second ends the process at once.
///
/// # Errors
/// The signals can't be listened for.
pub fn shutdown_signal() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    tokio_util::task::TaskTracker::new().spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if first {
                tracing::info!("stopping; a second signal ends at once");
                token.cancel();
            }
        }
        complain("ended by a second signal, without draining");
        // As a shell has it: 128 and the number of SIGINT.
        std::process::exit(130);
    });
    Ok(shutdown)
}

async fn serve<S: Service>(config: Config<S::Settings>) -> anyhow::Result<()> {
    let telemetry = telemetry::init(&format!("otklik-{}", S::NAME), &config.log, config.log_format)?;
    tracing::info!(service = S::NAME, version = env!("CARGO_PKG_VERSION"), "starting");
    let shutdown = shutdown_signal()?;
    let result = async {
        let running = start::<S>(config, Arc::new(SystemClock), shutdown).await?;
        say(&format!("otklik-{} listens on {}", S::NAME, running.uri()))?;
        running.stopped().await
    }
    .await;
    telemetry.shut_down().await;
    result
}

async fn migrate<S: Service>(config: Config<S::Settings>) -> anyhow::Result<()> {
    let telemetry = telemetry::init(&format!("otklik-{}", S::NAME), &config.log, config.log_format)?;
    let storage = Storage::open(S::NAME, config.database_url.as_ref(), &config.data_dir).await?;
    let result = storage.migrate::<S::Migrator>().await;
    storage.close().await;
    telemetry.shut_down().await;
    result?;
    say(&format!("otklik-{}: {} is up to date", S::NAME, storage.location()))
}

async fn check_health<S>(config: Config<S>, liveness: bool) -> anyhow::Result<()> {
    let uri = config.local_uri(config.listen);
    let channel = client::connect(&uri, &config.client)?;
    let service = if liveness { LIVENESS } else { "" };
    let mut request = tonic::Request::new(HealthCheckRequest { service: service.into() });
    request.set_timeout(HEALTH_TIMEOUT);
    let answer = HealthClient::new(channel).check(request).await;
    let status =
        answer.map_err(|status| anyhow::anyhow!("{uri}: {}: {}", status.code(), status.message()))?.into_inner();
    match status.status() {
        ServingStatus::Serving => say(&format!("{uri}: SERVING")),
        other => anyhow::bail!("{uri}: {}", other.as_str_name()),
    }
}

/// A line on standard output. A reader that has gone is no failure.
fn say(line: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout().lock(), "{line}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("standard output"),
        _ => Ok(()),
    }
}

/// A line on standard error.
fn complain(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
