//! The command line of `otklik`.

use std::{collections::HashMap, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::tz::TimeZone;
use otklik_chassis::{
    clock::SystemClock,
    config::{Client, SERVICES, Sources},
    run, telemetry,
};
use otklik_proto::{
    audit::v1::{GetLifecycleRequest, GetStatisticsRequest, StatisticsDimension, get_lifecycle_request::Subject},
    classification::v1::GetTaxonomyRequest,
};
use serde_json::json;

use crate::{
    clients::Clients,
    demo,
    import::{self, reader::Format},
    region,
    report::{self, say},
    suite::{Options, Suite},
    verify,
};

/// A region's answers to its citizens: all services in one process, and the tools around them.
#[derive(Debug, Parser)]
#[command(name = "otklik", version, about, max_term_width = 110)]
pub struct Otklik {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs all services on this machine, with SQLite files in the data folder, until Ctrl-C.
    Serve(Serve),
    /// Lives through a sample year in seconds: messages, officials, citizens, one simulated clock; then reports.
    Demo(demo::Arguments),
    /// Sends messages from an NDJSON or CSV file to a running intake; running it again doubles nothing.
    Import(Import),
    /// Shows what happened to a message or a case, as a tree.
    Lifecycle(Lifecycle),
    /// Counts messages by topic, place, executor, state, month or year, with growth against the period before.
    Stats(Stats),
    /// Verifies the ledgers in a data folder, beside a running suite or after it.
    Verify(Verify),
    /// Works with region packs.
    Region {
        #[command(subcommand)]
        command: Region,
    },
}

#[derive(Debug, Args)]
struct Serve {
    /// Folder of the SQLite files and of what the file channel adapter writes.
    #[arg(long, env = "OTKLIK_DATA_DIR", default_value = "./data")]
    data_dir: PathBuf,
    /// Another region pack than the shipped one.
    #[arg(long, env = "OTKLIK_REGION_DIR")]
    region_dir: Option<PathBuf>,
    /// Let the system choose the ports.
    #[arg(long)]
    any_port: bool,
    /// A service not to run here, for example because it runs elsewhere; may be repeated.
    #[arg(long, value_name = "SERVICE")]
    without: Vec<String>,
}

#[derive(Debug, Args)]
struct Import {
    /// The file; `-` is standard input.
    file: PathBuf,
    /// How it is written; by default its name tells.
    #[arg(long)]
    format: Option<Format>,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, Args)]
struct Lifecycle {
    /// Id of a message or a case.
    id: String,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, Args)]
struct Stats {
    /// What to count by.
    #[arg(long, default_value = "topic-group")]
    by: Dimension,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Dimension {
    TopicGroup,
    Topic,
    Place,
    Executor,
    State,
    Month,
    Year,
}

impl From<Dimension> for StatisticsDimension {
    fn from(dimension: Dimension) -> Self {
        match dimension {
            Dimension::TopicGroup => Self::TopicGroup,
            Dimension::Topic => Self::Topic,
            Dimension::Place => Self::Place,
            Dimension::Executor => Self::Executor,
            Dimension::State => Self::State,
            Dimension::Month => Self::Month,
            Dimension::Year => Self::Year,
        }
    }
}

#[derive(Debug, Args)]
struct Verify {
    /// Folder of the SQLite files.
    #[arg(long, env = "OTKLIK_DATA_DIR", default_value = "./data")]
    data_dir: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Region {
    /// Validates a pack offline; everything wrong is named with file and line.
    Check {
        /// The folder of the pack.
        dir: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// How a running suite is reached.
#[derive(Debug, Args)]
struct Access {
    /// Address of a service that does not listen at its usual place, as in `intake=https://intake.example:7411`.
    #[arg(long = "peer", value_name = "SERVICE=URI")]
    peers: Vec<String>,
    /// File with a bearer token.
    #[arg(long, env = "OTKLIK_CLIENT_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Authority that the servers' certificates come from, PEM.
    #[arg(long, env = "OTKLIK_CLIENT_CA")]
    ca: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Access {
    fn clients(&self) -> anyhow::Result<Clients> {
        let mut uris: HashMap<String, String> =
            SERVICES.iter().map(|(name, port)| ((*name).to_owned(), format!("http://127.0.0.1:{port}"))).collect();
        for peer in &self.peers {
            let (name, uri) = peer.split_once('=').with_context(|| format!("--peer {peer}: must be SERVICE=URI"))?;
            anyhow::ensure!(uris.contains_key(name), "--peer {peer}: there is no service {name}");
            uris.insert(name.to_owned(), uri.to_owned());
        }
        let client = Client { token_file: self.token_file.clone(), ca: self.ca.clone(), ..Client::default() };
        Clients::new(|service| uris.get(service).cloned().unwrap_or_default(), &client)
    }
}

impl Otklik {
    /// Runs the command; its failure is one line on standard error.
    pub fn run(self) -> ExitCode {
        let runtime = match run::runtime() {
            Ok(runtime) => runtime,
            Err(error) => return fail(&error),
        };
        match runtime.block_on(self.command.run()) {
            Ok(code) => code,
            Err(error) => fail(&error),
        }
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "otklik: {error:#}");
    ExitCode::FAILURE
}

impl Command {
    async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Serve(arguments) => Box::pin(serve(arguments)).await,
            Self::Demo(arguments) => Box::pin(demo::run(arguments)).await,
            Self::Import(arguments) => run_import(arguments).await,
            Self::Lifecycle(arguments) => lifecycle(arguments).await,
            Self::Stats(arguments) => stats(arguments).await,
            Self::Verify(arguments) => run_verify(arguments).await,
            Self::Region { command: Region::Check { dir, json } } => Ok(region_check(&dir, json)),
        }
    }
}

async fn serve(arguments: Serve) -> anyhow::Result<ExitCode> {
    let log = std::env::var("OTKLIK_LOG").unwrap_or_else(|_| "warn".to_owned());
    let telemetry = telemetry::init("otklik", &log, telemetry::LogFormat::Text)?;
    let options = Options {
        data_dir: arguments.data_dir,
        region_dir: arguments.region_dir,
        any_port: arguments.any_port,
        channel_uri: None,
        sources: Some(Sources::of_process(None)),
        without: arguments.without,
    };
    let signal = run::shutdown_signal()?;
    let mut suite = Box::pin(Suite::start(&options, Arc::new(SystemClock))).await?;
    for (service, uri) in suite.uris() {
        say(format!("{service:<15} {uri}"));
    }
    say(format!("data in {}; Ctrl-C stops", options.data_dir.display()));
    let outcome = tokio::select! {
        () = signal.cancelled() => Ok(()),
        failure = suite.failed() => Err(failure),
    };
    let stopped = suite.stop().await;
    telemetry.shut_down().await;
    outcome.and(stopped)?;
    Ok(ExitCode::SUCCESS)
}

async fn run_import(arguments: Import) -> anyhow::Result<ExitCode> {
    let json = arguments.access.json;
    let clients = arguments.access.clients()?;
    let summary = import::import(&clients, &arguments.file, arguments.format, json).await?;
    if json {
        say(serde_json::to_string_pretty(&summary)?);
    } else {
        let counts: Vec<String> =
            summary.messages.iter().map(|(name, n)| format!("{n} {}", name.replace('_', " "))).collect();
        say(format!(
            "{} lines: {}",
            summary.lines,
            if counts.is_empty() { "no messages".into() } else { counts.join(", ") }
        ));
        if summary.withdrawals + summary.erasures > 0 {
            say(format!("{} withdrawals, {} erasures", summary.withdrawals, summary.erasures));
        }
        for left in &summary.left_out {
            say(format!("line {} left out: {}", left.line, left.why));
        }
        if summary.left_out_unlisted > 0 {
            say(format!("and {} more lines left out", summary.left_out_unlisted));
        }
    }
    Ok(if summary.left_out.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

async fn lifecycle(arguments: Lifecycle) -> anyhow::Result<ExitCode> {
    let clients = arguments.access.clients()?;
    let mut answer = Err(tonic::Status::not_found(""));
    for subject in [Subject::MessageId(arguments.id.clone()), Subject::CaseId(arguments.id.clone())] {
        answer = clients.audit().get_lifecycle(GetLifecycleRequest { subject: Some(subject) }).await;
        if !matches!(&answer, Err(status) if status.code() == tonic::Code::NotFound) {
            break;
        }
    }
    let lifecycle = answer.map_err(|s| anyhow::anyhow!("{}", s.message()))?.into_inner().lifecycle.unwrap_or_default();
    if arguments.access.json {
        say(serde_json::to_string_pretty(&report::lifecycle::to_json(&lifecycle))?);
    } else {
        say(report::lifecycle::tree(&lifecycle, &TimeZone::system()));
    }
    Ok(ExitCode::SUCCESS)
}

async fn stats(arguments: Stats) -> anyhow::Result<ExitCode> {
    let clients = arguments.access.clients()?;
    let dimension = StatisticsDimension::from(arguments.by);
    let request = GetStatisticsRequest { dimension: dimension.into(), ..Default::default() };
    let statistics =
        clients.audit().get_statistics(request).await.map_err(|s| anyhow::anyhow!("{}", s.message()))?.into_inner();
    if arguments.access.json {
        say(serde_json::to_string_pretty(&report::statistics::to_json(&statistics))?);
        return Ok(ExitCode::SUCCESS);
    }
    let heading = arguments.by.to_possible_value().map(|v| v.get_name().replace('-', " ")).unwrap_or_default();
    // Titles are a courtesy: without classification the codes are shown.
    let titles = titles(&clients).await.unwrap_or_default();
    say(report::statistics::table(&statistics, &heading, &titles));
    say(format!("{} messages, {} cases", statistics.message_count, statistics.case_count));
    Ok(ExitCode::SUCCESS)
}

/// Titles of topics, topic groups and places by code.
///
/// # Errors
/// When classification does not answer.
pub async fn titles(clients: &Clients) -> anyhow::Result<HashMap<String, String>> {
    let taxonomy = clients.classification().get_taxonomy(GetTaxonomyRequest {}).await?.into_inner();
    let mut titles: HashMap<String, String> =
        taxonomy.places.into_iter().map(|place| (place.place_id, place.title)).collect();
    for group in taxonomy.topic_groups {
        titles.extend(group.topics.into_iter().map(|topic| (topic.topic, topic.title)));
        titles.insert(group.topic_group, group.title);
    }
    Ok(titles)
}

async fn run_verify(arguments: Verify) -> anyhow::Result<ExitCode> {
    let found = verify::verify(&arguments.data_dir).await?;
    if arguments.json {
        say(serde_json::to_string_pretty(&found)?);
    } else {
        say(report::verification::table(&found));
    }
    Ok(if found.iter().all(|v| v.intact) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn region_check(dir: &std::path::Path, as_json: bool) -> ExitCode {
    let problems = region::check(dir);
    if as_json {
        let list: Vec<_> =
            problems.iter().map(|p| json!({"file": p.file, "line": p.line, "message": p.message})).collect();
        say(json!({ "problems": list }));
    } else {
        for problem in &problems {
            say(problem);
        }
        say(if problems.is_empty() {
            "the pack is sound".to_owned()
        } else {
            format!("{} problem(s)", problems.len())
        });
    }
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
