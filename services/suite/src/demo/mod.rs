//! `otklik demo`: a year of a region's messages, lived through in seconds under one simulated clock.

pub mod channel;
pub mod desk;
mod outcome;
pub mod script;
mod speed;
mod world;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Instant};

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::{SignedDuration, Timestamp};
use otklik_chassis::client;
use otklik_chassis::{clock::SimulatedClock, telemetry};
use otklik_proto::channel::v1::channel_adapter_service_client::ChannelAdapterServiceClient;

use crate::{
    import::{line::Line, reader},
    settle::settle,
    suite::{Options, Suite},
};
use channel::{FileAdapter, Scripted, Served};
use world::World;

/// The sample that ships.
const SAMPLE: &str = include_str!("../../../../deploy/regions/primorye/sample/messages.ndjson");

/// What `demo` can be told.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Messages to live through instead of the shipped sample.
    #[arg(long, value_name = "FILE.ndjson")]
    messages: Option<PathBuf>,
    /// Folder for the databases, kept afterwards; by default a temporary one, removed at the end.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Another region pack than the shipped one.
    #[arg(long, env = "OTKLIK_REGION_DIR")]
    region_dir: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Lives through the sample and reports. Success means that every message is accounted for and every chain is whole.
///
/// # Errors
/// When the input can't be read or a service fails.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let lines = read(&arguments)?;
    let temporary = tempfile::tempdir()?;
    let data_dir = arguments.data_dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    anyhow::ensure!(
        !data_dir.join("intake.db").exists(),
        "{} holds a suite already; the demo begins with empty databases: choose another --data-dir",
        data_dir.display()
    );
    std::fs::create_dir_all(&data_dir).with_context(|| format!("can't make {}", data_dir.display()))?;
    let log = std::env::var("OTKLIK_LOG").unwrap_or_else(|_| "error".to_owned());
    let telemetry = telemetry::init("otklik-demo", &log, telemetry::LogFormat::Text)?;

    let arrivals = lines.iter().map(Line::arrival).collect::<Result<Vec<_>, _>>().map_err(anyhow::Error::msg)?;
    let (first, last) = arrivals.iter().min().zip(arrivals.iter().max()).context("there are no messages")?;
    let span = (*first, *last);
    let clock = SimulatedClock::new(span.0 - SignedDuration::from_hours(1));
    let file = FileAdapter::default();
    let adapter = Served::start(Scripted::new(file.clone(), &lines)).await?;
    let options = Options {
        data_dir: data_dir.clone(),
        region_dir: arguments.region_dir.clone(),
        any_port: true,
        sources: None,
        channel_uri: Some(adapter.uri().to_owned()),
        without: Vec::new(),
    };
    let mut suite = Box::pin(Suite::start(&options, Arc::new(clock.clone()))).await?;
    let uri = suite.uris().get("channel").cloned().unwrap_or_default();
    let channel = client::connect(&uri, &otklik_chassis::config::Client::default())?;
    file.get_or_init(|| ChannelAdapterServiceClient::new(channel));
    let lived = live(&suite, clock, lines, span, arguments.json).await;
    let report = match lived {
        Ok(world) => outcome::gather(&suite.clients()?, &world, &data_dir, arguments.region_dir.as_deref()).await,
        Err(error) => Err(error),
    };
    let stopped = suite.stop().await;
    adapter.stop().await;
    telemetry.shut_down().await;
    let report = report?;
    stopped?;
    report.print(arguments.json)?;
    if arguments.data_dir.is_some() && !arguments.json {
        crate::report::say(format!("\nThe databases and the delivered answers are in {}.", data_dir.display()));
    }
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The world after everything has happened, and how long that took.
struct Lived {
    happened: world::Happened,
    lines: usize,
    seconds: f64,
    /// When the first and the last line arrived.
    span: (Timestamp, Timestamp),
}

async fn live(
    suite: &Suite,
    clock: SimulatedClock,
    lines: Vec<Line>,
    span: (Timestamp, Timestamp),
    quiet: bool,
) -> anyhow::Result<Lived> {
    let count = lines.len();
    let progress = if quiet { ProgressBar::hidden() } else { ProgressBar::new(count as u64) };
    progress.set_style(ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} messages  {elapsed}")?);
    let clients = suite.clients()?;
    let started = Instant::now();
    let mut world = World::new(clients.clone(), clock, lines, progress.clone()).await?;
    world.live().await?;
    settle(&clients).await?;
    progress.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    Ok(Lived { happened: std::mem::take(&mut world.happened), lines: count, seconds, span })
}

fn read(arguments: &Arguments) -> anyhow::Result<Vec<Line>> {
    let numbered: Vec<reader::Numbered> = match &arguments.messages {
        Some(file) => reader::open(file, None)?.collect(),
        None => reader::ndjson(SAMPLE.as_bytes()).collect(),
    };
    let mut lines = Vec::with_capacity(numbered.len());
    let mut wrong = Vec::new();
    for (number, line) in numbered {
        match line.and_then(|line| line.arrival().map(|_| line)) {
            Ok(line) => lines.push(line),
            Err(why) => wrong.push(format!("line {number} {why}")),
        }
    }
    anyhow::ensure!(wrong.is_empty(), "the messages can't be used:\n{}", wrong.join("\n"));
    Ok(lines)
}
