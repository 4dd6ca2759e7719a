//! Measures the suite under load, against a server in a process of its own, and prints one JSON line.
//!
//! Rates are measured with a fixed number of calls in flight; latencies open-loop: a call's time counts
//! from the moment it was due, not from when it could be sent, so a stall is seen by all that it delays.

#![expect(clippy::disallowed_methods, reason = "a measuring tool has no domain clock and no service to own its tasks")]

mod echo;
mod generate;
mod lifecycles;
mod measure;
mod server;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};
use serde_json::json;

use server::Server;

/// Measures the suite under load and prints one JSON line.
#[derive(Debug, Parser)]
struct Arguments {
    /// The database of the services.
    #[arg(long, value_enum, default_value = "sqlite")]
    store: Store,
    /// Messages stored before anything is measured.
    #[arg(long, default_value_t = 0)]
    preload: u64,
    /// Messages sent in each measurement of a rate.
    #[arg(long, default_value_t = 40_000)]
    messages: u64,
    /// Full lifecycles lived through.
    #[arg(long, default_value_t = 3_000)]
    lifecycles: u64,
    /// Calls in flight.
    #[arg(long, default_value_t = 512)]
    in_flight: usize,
    /// The binary under test; by default the `otklik` beside this one.
    #[arg(long)]
    otklik: Option<PathBuf>,
    /// Only measure these; by default all.
    #[arg(long, value_enum)]
    only: Vec<Figure>,
    /// Runs as the echo server that the figures are held against.
    #[arg(long, hide = true)]
    echo_server: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Store {
    Sqlite,
    Postgres,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Figure {
    /// The bare tonic echo.
    Echo,
    /// `SubmitMessage` with everything downstream stopped.
    Accepted,
    /// From accepted to audited.
    Audited,
    /// Latencies, idle and loaded.
    Latency,
    /// Full lifecycles.
    Lifecycles,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let outcome = runtime.block_on(async {
        if arguments.echo_server { echo::serve().await } else { Box::pin(measure_all(&arguments)).await }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "load: {error:#}");
    ExitCode::FAILURE
}

async fn measure_all(arguments: &Arguments) -> anyhow::Result<()> {
    let wanted = |figure: Figure| arguments.only.is_empty() || arguments.only.contains(&figure);
    let mut result = json!({
        "store": format!("{:?}", arguments.store).to_lowercase(),
        "preload": arguments.preload, "messages": arguments.messages, "in_flight": arguments.in_flight,
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
    });
    if wanted(Figure::Echo) {
        result["echo"] = echo::measure(arguments.in_flight).await?;
    }
    if wanted(Figure::Accepted) {
        let downstream = ["classification", "assignment", "feedback", "audit"];
        let server = Server::start(arguments.otklik.as_deref(), arguments.store, &downstream).await?;
        generate::preload(&server, arguments.preload).await?;
        result["accepted"] = measure::accepted(&server, arguments.messages, arguments.in_flight).await?;
        server.stop().await?;
    }
    if wanted(Figure::Audited) || wanted(Figure::Latency) || wanted(Figure::Lifecycles) {
        let server = Server::start(arguments.otklik.as_deref(), arguments.store, &[]).await?;
        result["idle_memory_mib"] = server.memory_mib()?.into();
        result["texts"] = generate::choose(&server).await?.into();
        generate::preload(&server, arguments.preload).await?;
        if wanted(Figure::Latency) {
            result["latency_idle"] = measure::latency(&server, 20, 200).await?;
        }
        if wanted(Figure::Audited) {
            result["audited"] = measure::audited(&server, arguments.messages, arguments.in_flight).await?;
        }
        if wanted(Figure::Latency) {
            result["latency_loaded"] = measure::latency(&server, 1_000, 5_000).await?;
        }
        if wanted(Figure::Lifecycles) {
            result["lifecycles"] = lifecycles::measure(&server, arguments.lifecycles).await?;
        }
        result["peak_memory_mib"] = server.peak_memory_mib()?.into();
        server.stop().await?;
    }
    otklik_suite::report::say(result);
    Ok(())
}
