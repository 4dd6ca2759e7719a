//! The suite under test, in a process of its own.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::Context;
use otklik_chassis::{config::Client, testing};
use otklik_suite::clients::{Clients, SERVICES};
use secrecy::ExposeSecret;
use tempfile::TempDir;

use crate::Store;

/// Clock ticks a second in `/proc/<pid>/stat`; Linux reports in hundredths whatever the kernel's own tick.
const TICKS: f64 = 100.0;

/// A running suite.
pub struct Server {
    process: Child,
    uris: HashMap<String, String>,
    /// Databases of the run; thrown away with this value.
    _databases: Vec<testing::TestDatabase>,
    _data_dir: TempDir,
}

impl Server {
    /// Starts `otklik serve` on empty databases, without the services named.
    pub async fn start(otklik: Option<&Path>, store: Store, without: &[&str]) -> anyhow::Result<Self> {
        let binary = match otklik {
            Some(path) => path.to_owned(),
            None => beside()?,
        };
        let data_dir = tempfile::tempdir()?;
        let mut command = Command::new(&binary);
        command.args(["serve", "--any-port", "--data-dir"]).arg(data_dir.path()).stdout(Stdio::piped());
        for service in without {
            command.args(["--without", service]);
        }
        let mut databases = Vec::new();
        if store == Store::Postgres {
            for service in SERVICES {
                let database = testing::postgres().await.context("no PostgreSQL is installed")?;
                let url = database.url.as_ref().context("the database has no url")?.expose_secret().to_owned();
                command.env(format!("OTKLIK_{}_DATABASE_URL", service.to_uppercase()), url);
                databases.push(database);
            }
        }
        let mut process = command.spawn().with_context(|| format!("can't start {}", binary.display()))?;
        let output = BufReader::new(process.stdout.take().context("the suite has no output")?);
        let mut uris = HashMap::new();
        for line in output.lines() {
            let line = line?;
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                [service, uri] if uri.starts_with("http") => drop(uris.insert(service.to_owned(), uri.to_owned())),
                _ => break,
            }
        }
        anyhow::ensure!(uris.contains_key("intake"), "the suite did not start");
        Ok(Self { process, uris, _databases: databases, _data_dir: data_dir })
    }

    /// Clients on connections of their own.
    pub fn clients(&self) -> anyhow::Result<Clients> {
        Clients::new(|service| self.uris.get(service).cloned().unwrap_or_default(), &Client::default())
    }

    /// CPU seconds that the suite has used so far.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        cpu_seconds(&self.process.id().to_string())
    }

    /// Memory in use, in MiB.
    pub fn memory_mib(&self) -> anyhow::Result<u64> {
        self.status("VmRSS:")
    }

    /// The most memory that was ever in use, in MiB.
    pub fn peak_memory_mib(&self) -> anyhow::Result<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, key: &str) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|l| l.strip_prefix(key)).context("no memory in /proc")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kib / 1024)
    }

    /// Asks the suite to stop and waits for it.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status()?;
        let status = tokio::task::spawn_blocking(move || self.process.wait()).await??;
        anyhow::ensure!(status.success(), "the suite did not stop well: {status}");
        Ok(())
    }
}

/// CPU seconds that a process (`self` or its id) has used so far, in user and system mode.
pub fn cpu_seconds(process: &str) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let rest = stat.rsplit_once(')').context("no CPU times in /proc")?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / TICKS)
}

fn beside() -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let otklik = here.with_file_name("otklik");
    anyhow::ensure!(
        otklik.exists(),
        "{} is missing; build it with `cargo build --release -p otklik-suite`",
        otklik.display()
    );
    Ok(otklik)
}
