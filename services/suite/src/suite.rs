//! All services in one process, each with its own database, port and wiring, as when deployed alone.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use anyhow::Context;
use otklik_assignment::Assignment;
use otklik_audit::Audit;
use otklik_chassis::{
    clock::Clock,
    config::{Client, Config, Sources},
    run::{self, Running, Service},
};
use otklik_classification::Classification;
use otklik_feedback::{Feedback, adapter::FileChannel};
use otklik_intake::Intake;
use tokio_util::sync::CancellationToken;

use crate::clients::Clients;

/// How the services of a process are started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of the SQLite files and of what the file channel adapter writes.
    pub data_dir: PathBuf,
    /// Another region pack than the shipped one.
    pub region_dir: Option<PathBuf>,
    /// Ports chosen by the system instead of the usual ones.
    pub any_port: bool,
    /// A channel adapter of one's own; by default the file adapter of this process.
    pub channel_uri: Option<String>,
    /// Where further configuration comes from, such as the databases; the defaults alone when there is none.
    pub sources: Option<Sources>,
    /// Services that are not started, by name: for measuring the others alone.
    pub without: Vec<String>,
}

/// The running services.
pub struct Suite {
    running: Vec<Running>,
    uris: BTreeMap<String, String>,
    stop: CancellationToken,
}

/// Configurations whose addresses are bound before the first service starts, so that all know all addresses.
struct Prepared {
    intake: Config<<Intake as Service>::Settings>,
    classification: Config<<Classification as Service>::Settings>,
    assignment: Config<<Assignment as Service>::Settings>,
    feedback: Config<<Feedback as Service>::Settings>,
    audit: Config<<Audit as Service>::Settings>,
    channel: Config<<FileChannel as Service>::Settings>,
}

impl Suite {
    /// Starts the services, the ones that others follow first.
    ///
    /// # Errors
    /// What keeps a service from starting: a port in use, a database that can't be opened, a bad region pack.
    pub async fn start(options: &Options, clock: Clock) -> anyhow::Result<Self> {
        let mut uris = BTreeMap::new();
        let mut prepared = Prepared {
            intake: prepare::<Intake>(options, &mut uris)?,
            classification: prepare::<Classification>(options, &mut uris)?,
            assignment: prepare::<Assignment>(options, &mut uris)?,
            feedback: prepare::<Feedback>(options, &mut uris)?,
            audit: prepare::<Audit>(options, &mut uris)?,
            channel: prepare::<FileChannel>(options, &mut uris)?,
        };
        prepared.intake.peers.clone_from(&uris);
        prepared.classification.peers.clone_from(&uris);
        prepared.assignment.peers.clone_from(&uris);
        prepared.feedback.peers.clone_from(&uris);
        if let Some(uri) = &options.channel_uri {
            prepared.feedback.peers.insert("channel".to_owned(), uri.clone());
        }
        prepared.audit.peers.clone_from(&uris);
        let stop = CancellationToken::new();
        let mut suite = Self { running: Vec::new(), uris, stop };
        let started = suite.start_all(prepared, options, clock).await;
        if let Err(error) = started {
            // Nothing half-started stays.
            let _ = suite.stop().await;
            return Err(error);
        }
        Ok(suite)
    }

    async fn start_all(&mut self, prepared: Prepared, options: &Options, clock: Clock) -> anyhow::Result<()> {
        self.add::<Intake>(prepared.intake, options, &clock).await?;
        self.add::<Classification>(prepared.classification, options, &clock).await?;
        self.add::<Assignment>(prepared.assignment, options, &clock).await?;
        self.add::<Feedback>(prepared.feedback, options, &clock).await?;
        self.add::<Audit>(prepared.audit, options, &clock).await?;
        self.add::<FileChannel>(prepared.channel, options, &clock).await
    }

    async fn add<S: Service>(
        &mut self,
        config: Config<S::Settings>,
        options: &Options,
        clock: &Clock,
    ) -> anyhow::Result<()> {
        if options.without.iter().any(|name| name == S::NAME) {
            return Ok(());
        }
        let running = run::start::<S>(config, clock.clone(), self.stop.clone()).await;
        self.running.push(running.with_context(|| format!("{} did not start", S::NAME))?);
        Ok(())
    }

    /// Where each service listens, by name.
    pub fn uris(&self) -> &BTreeMap<String, String> {
        &self.uris
    }

    /// Clients of the services.
    ///
    /// # Errors
    /// When a channel can't be made.
    pub fn clients(&self) -> anyhow::Result<Clients> {
        Clients::new(|service| self.uris.get(service).cloned().unwrap_or_default(), &Client::default())
    }

    /// Waits until a service stops by itself: that is a failure.
    pub async fn failed(&mut self) -> anyhow::Error {
        let stopped = futures::future::select_all(self.running.drain(..).map(|r| Box::pin(r.stopped())));
        match stopped.await {
            (Ok(()), ..) => anyhow::anyhow!("a service stopped without being asked to"),
            (Err(error), ..) => error,
        }
    }

    /// Drains and stops all services.
    ///
    /// # Errors
    /// The first failure of a service, if one had failed.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        let mut outcome = Ok(());
        for running in self.running.drain(..) {
            outcome = outcome.and(running.stopped().await);
        }
        outcome
    }
}

fn prepare<S: Service>(options: &Options, uris: &mut BTreeMap<String, String>) -> anyhow::Result<Config<S::Settings>> {
    let mut config = match &options.sources {
        Some(sources) => Config::<S::Settings>::read(S::NAME, S::DEFAULT_PORT, sources)?,
        None => Config::<S::Settings>::defaults(S::NAME, S::DEFAULT_PORT),
    };
    // A suite in one process is for one machine: nobody else migrates its databases.
    config.migrate_on_start = true;
    config.data_dir.clone_from(&options.data_dir);
    config.region_dir.clone_from(&options.region_dir);
    if options.any_port {
        config.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    }
    let listen = config.listen;
    let address =
        config.bind().with_context(|| format!("{} can't listen on {listen}; is another suite running?", S::NAME))?;
    uris.insert(S::NAME.to_owned(), config.local_uri(address));
    Ok(config)
}
