//! Databases for contract tests: SQLite always, PostgreSQL where one is installed.
//!
//! The PostgreSQL is a cluster of the test process's own, made with `initdb` in a temporary folder and
//! thrown away when the process ends. `OTKLIK_TEST_POSTGRES=required` makes its absence a failure.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use sea_orm::ConnectionTrait;
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::storage::Storage;

/// An empty database for one test.
#[derive(Debug)]
pub struct TestDatabase {
    /// `sqlite` or `postgres`, for messages.
    pub name: &'static str,
    /// For the service's `database_url`; `None` is SQLite under [`TestDatabase::dir`].
    pub url: Option<SecretString>,
    /// A folder of the test's own, removed with this value.
    pub dir: TempDir,
}

impl TestDatabase {
    /// Opens the database under the name of a service.
    ///
    /// # Panics
    /// When it can't be opened: the test can't go on.
    pub async fn open(&self, service: &str) -> Storage {
        match Storage::open(service, self.url.as_ref(), self.dir.path()).await {
            Ok(storage) => storage,
            Err(error) => panic!("the test database can't be opened: {error}"),
        }
    }

    /// The folder, as a path.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// An empty database of each kind that can be had here.
///
/// # Panics
/// When a temporary folder can't be made, or PostgreSQL is required and can't be started.
pub async fn databases() -> Vec<TestDatabase> {
    let mut all = vec![sqlite()];
    all.extend(postgres().await);
    all
}

/// An empty SQLite database.
///
/// # Panics
/// When a temporary folder can't be made.
pub fn sqlite() -> TestDatabase {
    TestDatabase { name: "sqlite", url: None, dir: temporary_folder() }
}

/// An empty database in this process's PostgreSQL cluster, where PostgreSQL is installed.
///
/// # Panics
/// When PostgreSQL is required and can't be started.
pub async fn postgres() -> Option<TestDatabase> {
    static CLUSTER: OnceCell<Result<Cluster, String>> = OnceCell::const_new();
    let cluster = CLUSTER.get_or_init(|| async { Cluster::start().await.map_err(|e| format!("{e:#}")) }).await;
    match cluster {
        Ok(cluster) => Some(cluster.database().await),
        Err(why) if std::env::var("OTKLIK_TEST_POSTGRES").is_ok_and(|v| v == "required") => {
            panic!("PostgreSQL is required (OTKLIK_TEST_POSTGRES) and can't be used: {why}")
        }
        Err(why) => {
            tracing::warn!("the PostgreSQL half of this test does not run: {why}");
            let _ = writeln_stderr(&format!("the PostgreSQL half of this test does not run: {why}"));
            None
        }
    }
}

fn writeln_stderr(line: &str) -> std::io::Result<()> {
    use std::io::Write;
    writeln!(std::io::stderr(), "{line}")
}

fn temporary_folder() -> TempDir {
    match tempfile::Builder::new().prefix("otklik-test-").tempdir() {
        Ok(dir) => dir,
        Err(error) => panic!("no temporary folder: {error}"),
    }
}

/// A PostgreSQL server that ends with this process.
struct Cluster {
    port: u16,
    /// The guard's standard input: closed when this process ends, however it ends.
    _guard: Child,
}

/// Ends the server and removes its folder once standard input closes.
const GUARD: &str = r#""$1/postgres" -D "$2/data" -h 127.0.0.1 -p "$3" -k "$2" -c fsync=off -c full_page_writes=off -c max_connections=200 >"$2/log" 2>&1 </dev/null &
server=$!; read -r _; kill -INT $server; wait $server; rm -rf "$2""#;

impl Cluster {
    async fn start() -> anyhow::Result<Self> {
        let bin = binaries().ok_or_else(|| anyhow::anyhow!("no initdb is installed"))?;
        let folder = temporary_folder().keep();
        let data = folder.join("data");
        let mut initdb = unprivileged(&folder)?;
        let made = initdb
            .arg(bin.join("initdb"))
            .args(["--auth=trust", "--username=otklik", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data)
            .output()?;
        anyhow::ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let guard = unprivileged(&folder)?
            .args(["sh", "-c", GUARD, "otklik-postgres"])
            .arg(&bin)
            .arg(&folder)
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let cluster = Self { port, _guard: guard };
        cluster.wait_until_ready(&bin).await?;
        Ok(cluster)
    }

    async fn wait_until_ready(&self, bin: &Path) -> anyhow::Result<()> {
        for _ in 0..300 {
            let ready = Command::new(bin.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                .status()?;
            if ready.success() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("the server on port {} did not become ready", self.port)
    }

    async fn database(&self) -> TestDatabase {
        let name = format!("test_{}", Uuid::new_v4().simple());
        let admin = SecretString::from(self.url("postgres"));
        let dir = temporary_folder();
        let made = async {
            let storage = Storage::open("admin", Some(&admin), dir.path()).await?;
            storage.reader().execute_unprepared(&format!("CREATE DATABASE {name}")).await?;
            storage.close().await;
            Ok::<_, crate::error::Error>(())
        };
        if let Err(error) = made.await {
            panic!("no test database could be made: {error}");
        }
        TestDatabase { name: "postgres", url: Some(SecretString::from(self.url(&name))), dir }
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://otklik@127.0.0.1:{}/{database}", self.port)
    }
}

/// Where PostgreSQL's programs are: on the path, or the newest of Debian's folders.
fn binaries() -> Option<PathBuf> {
    let on_path = std::env::var_os("PATH").map(|p| std::env::split_paths(&p).collect::<Vec<_>>()).unwrap_or_default();
    let mut debian: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|dir| dir.flatten().map(|d| d.path().join("bin")).collect())
        .unwrap_or_default();
    debian.sort();
    debian.reverse();
    let complete = |dir: &PathBuf| ["initdb", "postgres", "pg_isready"].iter().all(|p| dir.join(p).exists());
    debian.into_iter().chain(on_path).find(complete)
}

/// A command that runs what follows as somebody PostgreSQL agrees to run as: it refuses root.
fn unprivileged(folder: &Path) -> anyhow::Result<Command> {
    let me = Command::new("id").arg("-u").output()?;
    if String::from_utf8_lossy(&me.stdout).trim() != "0" {
        return Ok(Command::new("env"));
    }
    let owner = Command::new("chown").args(["-R", "postgres"]).arg(folder).output()?;
    anyhow::ensure!(owner.status.success(), "as root a user `postgres` is needed to run the server");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).current_dir(folder);
    Ok(command)
}
