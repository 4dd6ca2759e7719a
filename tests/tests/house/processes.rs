//! Services as processes of their own, which can be killed and started again.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use otklik_chassis::testing::{self, TestDatabase};
use otklik_proto::ledger::v1::{GetHeadsRequest, ledger_service_client::LedgerServiceClient};
use secrecy::ExposeSecret;
use tonic::transport::{Channel, Endpoint};

/// The services that a message meets before anybody works on its case, and the one that watches them.
pub const SERVICES: [&str; 5] = ["intake", "classification", "assignment", "feedback", "audit"];
/// How long a service may take to answer after its start.
const START_LIMIT: Duration = Duration::from_secs(60);
/// The pause between two looks at something that is waited for.
pub const PAUSE: Duration = Duration::from_millis(20);
/// Ports that the system does not hand out by itself: nobody can take one between two starts of a service.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// All services, each a process with a database of its own.
pub struct House {
    processes: BTreeMap<&'static str, Process>,
    /// Kept for as long as the processes live.
    databases: Vec<TestDatabase>,
}

struct Process {
    name: &'static str,
    uri: String,
    variables: Vec<(String, String)>,
    log: PathBuf,
    child: Mutex<Child>,
}

impl House {
    /// All services over SQLite files, or each over an own PostgreSQL database; `None` where PostgreSQL is wanted and
    /// there is none.
    pub async fn start(on_postgres: bool) -> Option<Self> {
        let mut databases = Vec::new();
        for _ in SERVICES {
            databases.push(if on_postgres { testing::postgres().await? } else { testing::sqlite() });
        }
        let ports: Vec<_> = SERVICES.iter().map(|_| free_port()).collect();
        let mut shared = vec![("OTKLIK_LOG".to_owned(), "warn".to_owned())];
        for (name, port) in SERVICES.iter().zip(&ports) {
            shared.push((format!("OTKLIK_PEERS_{}", name.to_uppercase()), format!("http://127.0.0.1:{port}")));
        }
        let mut processes = BTreeMap::new();
        for ((name, port), database) in SERVICES.into_iter().zip(&ports).zip(&databases) {
            let mut variables = shared.clone();
            variables.push(("OTKLIK_LISTEN".into(), format!("127.0.0.1:{port}")));
            variables.push(("OTKLIK_DATA_DIR".into(), database.path().display().to_string()));
            variables.push(("OTKLIK_MIGRATE_ON_START".into(), "true".into()));
            if let Some(url) = &database.url {
                variables.push(("OTKLIK_DATABASE_URL".into(), url.expose_secret().to_owned()));
            }
            let log = database.path().join("log");
            let uri = format!("http://127.0.0.1:{port}");
            let child = Mutex::new(spawn(name, &variables, &log));
            processes.insert(name, Process { name, uri, variables, log, child });
        }
        let house = Self { processes, databases };
        for name in SERVICES {
            house.wait_until_answering(name).await;
        }
        Some(house)
    }

    /// What the services store their data in.
    pub fn database(&self) -> &'static str {
        self.databases[0].name
    }

    /// A channel to a service. It connects when it is used, and again after the service was killed.
    pub fn channel(&self, name: &str) -> Channel {
        Endpoint::from_shared(self.processes[name].uri.clone())
            .expect("the address is a URL")
            .connect_timeout(Duration::from_secs(2))
            .http2_keep_alive_interval(Duration::from_secs(5))
            .connect_lazy()
    }

    /// Kills a service on the spot, as `kill -9` does, and starts it again.
    pub fn kill_and_restart(&self, name: &str) {
        let process = &self.processes[name];
        let mut child = process.child.lock().expect("nobody panics with the lock");
        child.kill().expect("the service runs");
        let status = child.wait().expect("the service can be waited for");
        assert!(!status.success(), "{name} had ended by itself: {status}");
        *child = spawn(process.name, &process.variables, &process.log);
    }

    async fn wait_until_answering(&self, name: &str) {
        let mut client = LedgerServiceClient::new(self.channel(name));
        let begin = Instant::now();
        loop {
            let mut request = tonic::Request::new(GetHeadsRequest {});
            request.set_timeout(Duration::from_secs(5));
            let Err(error) = client.get_heads(request).await else { return };
            let ended = self.processes[name].child.lock().expect("nobody panics with the lock").try_wait();
            assert!(matches!(ended, Ok(None)), "{name} has ended: {ended:?}");
            assert!(begin.elapsed() < START_LIMIT, "{name} does not answer: {error}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        for process in self.processes.values_mut() {
            let child = process.child.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
            let _ = child.kill();
            let _ = child.wait();
            if std::thread::panicking() {
                let log = fs::read_to_string(&process.log).unwrap_or_default();
                let tail: Vec<_> = log.lines().rev().take(20).collect();
                let tail: Vec<_> = tail.into_iter().rev().collect();
                eprintln!("--- the last lines of {}:\n{}", process.name, tail.join("\n"));
            }
        }
    }
}

fn spawn(name: &str, variables: &[(String, String)], log: &Path) -> Child {
    let log = File::options().create(true).append(true).open(log).expect("the log can be written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_otklik-test-service"));
    // Nothing of what the tests themselves are configured with, or send their telemetry to.
    for (variable, _) in std::env::vars_os() {
        if variable.to_str().is_some_and(|variable| variable.starts_with("OTKLIK_") || variable.starts_with("OTEL_")) {
            command.env_remove(variable);
        }
    }
    command
        .arg0(format!("otklik-{name}"))
        .arg("serve")
        .envs(variables.iter().map(|(variable, value)| (variable, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("the log can be shared"))
        .stderr(log)
        .spawn()
        .expect("the service can be started")
}

fn free_port() -> u16 {
    static NEXT: Mutex<u16> = Mutex::new(0);
    let mut tried = NEXT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // Processes that run at the same time begin at different places.
    let span = PORTS.end - PORTS.start;
    let begin = u16::try_from(std::process::id() * 37 % u32::from(span)).expect("less than a port");
    loop {
        *tried += 1;
        assert!(*tried < span, "no port is free");
        let port = PORTS.start + (begin + *tried) % span;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
