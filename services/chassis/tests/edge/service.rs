//! A whole service, from its configuration to its end.

use std::{
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use otklik_chassis::{
    client,
    clock::{Clock, SystemClock},
    config::{Client, Config},
    run::{self, Context, Parts, Running, Service},
};
use otklik_proto::ledger::v1::{
    GetHeadsRequest, ledger_service_client::LedgerServiceClient, ledger_service_server::LedgerServiceServer,
};
use sea_orm_migration::{MigrationTrait, MigratorTrait};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::Notify,
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::house::{Probe, quick};

/// No tables beside the chassis'.
struct NoTables;

impl MigratorTrait for NoTables {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        Vec::new()
    }
}

/// What the test sees of the service, and how it makes it fail.
#[derive(Clone, Default)]
struct Strings {
    fail: Arc<Notify>,
    ended: Arc<AtomicBool>,
}

/// By the name of the configured string, since a service is built from its configuration alone.
static STRINGS: Mutex<Vec<(String, Strings)>> = Mutex::new(Vec::new());

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Settings {
    test: String,
}

struct Sample;

#[async_trait]
impl Service for Sample {
    const NAME: &'static str = "intake";
    const DEFAULT_PORT: u16 = 7411;
    type Settings = Settings;
    type Migrator = NoTables;

    async fn build(context: Context<Settings>) -> anyhow::Result<Parts> {
        anyhow::ensure!(context.config.settings.test != "unfit", "this one can't be built");
        let known = STRINGS.lock().unwrap().iter().find(|(test, _)| *test == context.config.settings.test).cloned();
        let strings = known.map(|(_, strings)| strings).unwrap_or_default();
        let token = context.tasks.token();
        context.tasks.spawn("sample", async move {
            tokio::select! {
                () = token.cancelled() => strings.ended.store(true, Ordering::SeqCst),
                () = strings.fail.notified() => anyhow::bail!("the string was pulled"),
            }
            Ok(())
        });
        let routes = Routes::new(otklik_chassis::sized!(LedgerServiceServer::new(Probe::default())));
        Ok(Parts { routes })
    }
}

fn config(dir: &TempDir, test: &str) -> (Config<Settings>, Strings) {
    let strings = Strings::default();
    STRINGS.lock().unwrap().push((test.into(), strings.clone()));
    let mut config = Config::<Settings>::defaults("intake", 0);
    config.data_dir = dir.path().to_owned();
    config.server = quick();
    config.settings.test = test.into();
    (config, strings)
}

fn clock() -> Clock {
    Arc::new(SystemClock)
}

async fn call(running: &Running) {
    let channel = client::connect(running.uri(), &Client::default()).unwrap();
    LedgerServiceClient::new(channel).get_heads(GetHeadsRequest {}).await.unwrap();
}

#[tokio::test]
async fn a_service_starts_stops_and_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut config, strings) = config(&dir, "restart");
    let address = config.bind().unwrap();
    for _ in 0..2 {
        let running = run::start::<Sample>(config.clone(), clock(), CancellationToken::new()).await.unwrap();
        assert_eq!(running.local_addr(), address);
        assert_eq!(running.name(), "intake");
        assert!(running.health().is_serving());
        call(&running).await;
        running.shut_down();
        running.stopped().await.unwrap();
        assert!(strings.ended.swap(false, Ordering::SeqCst), "its tasks were ended");
    }
    std::net::TcpListener::bind(address).expect("the port is free again");
}

#[tokio::test]
async fn a_task_that_fails_stops_the_service_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let (config, strings) = config(&dir, "fail");
    let running = run::start::<Sample>(config, clock(), CancellationToken::new()).await.unwrap();
    call(&running).await;
    strings.fail.notify_one();
    let error = running.stopped().await.unwrap_err();
    assert_eq!(error.to_string(), "task sample of intake: the string was pulled");
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (sound, _) = config(&dir, "taken");
    let running = run::start::<Sample>(sound.clone(), clock(), CancellationToken::new()).await.unwrap();
    let start = async |config| run::start::<Sample>(config, clock(), CancellationToken::new()).await.err().unwrap();

    let mut taken = sound.clone();
    taken.listen = running.local_addr();
    let taken = start(taken).await;
    assert!(format!("{taken:#}").starts_with("can't listen on"), "{taken:#}");

    let other = tempfile::tempdir().unwrap();
    let (mut unmigrated, _) = config(&other, "unmigrated");
    unmigrated.migrate_on_start = false;
    assert!(format!("{:#}", start(unmigrated).await).ends_with("run `migrate`"));

    let (unfit, _) = config(&other, "unfit");
    assert_eq!(start(unfit).await.to_string(), "this one can't be built");
    running.shut_down();
    running.stopped().await.unwrap();
}

#[test]
fn the_command_line_checks_and_prints_the_configuration() {
    use std::process::ExitCode;

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("otklik.toml");
    let exit = |config: &str, command: &str| {
        std::fs::write(&file, config).unwrap();
        let arguments = ["otklik-intake", command, "--config", file.to_str().unwrap()];
        format!("{:?}", run::main_with::<Sample, _>(arguments))
    };
    let (done, failed) = (format!("{:?}", ExitCode::SUCCESS), format!("{:?}", ExitCode::FAILURE));
    let bad_config = format!("{:?}", ExitCode::from(64));
    let data = format!("data_dir = '{}'\nlog = 'off'\n", dir.path().join("data").display());
    assert_eq!(exit(&data, "check-config"), done);
    assert_eq!(exit(&data, "print-config"), done);
    assert_eq!(exit("listen = '0.0.0.0:7411'", "check-config"), bad_config);
    assert_eq!(exit("listen = '0.0.0.0:7411'", "serve"), bad_config);
    assert_eq!(exit(&data, "no-such-command"), bad_config);
    assert_eq!(exit(&data, "--help"), done);
    assert!(!dir.path().join("data").exists(), "nothing was opened");
    assert_eq!(exit(&format!("{data}[intake]\nlisten = '127.0.0.1:1'"), "healthcheck"), failed);
    assert_eq!(exit(&data, "migrate"), done);
    assert!(dir.path().join("data/intake.db").exists());
}

/// Not a test by itself: a service in a process of its own, configured by its environment.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn another_process() {
    let code = run::main_with::<Sample, _>(["otklik-intake", "serve"]);
    assert_eq!(format!("{code:?}"), format!("{:?}", std::process::ExitCode::SUCCESS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_prints_where_it_listens_and_drains_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "service::another_process", "--ignored", "--nocapture"])
        .env("OTKLIK_INTAKE_LISTEN", "127.0.0.1:0")
        .env("OTKLIK_DATA_DIR", dir.path())
        .env("OTKLIK_SERVER_LAME_DUCK", "1ms")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let uri = loop {
        let line = lines.next_line().await.unwrap().expect("a line that says where it listens");
        if let Some((_, uri)) = line.split_once("otklik-intake listens on ") {
            break uri.to_owned();
        }
    };
    let channel = client::connect(&uri, &Client::default()).unwrap();
    let mut stream = LedgerServiceClient::new(channel)
        .stream_entries(otklik_proto::ledger::v1::StreamEntriesRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(stream.message().await.unwrap().is_some());

    let pid = child.id().unwrap().to_string();
    assert!(tokio::process::Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    assert!(stream.message().await.unwrap().is_none(), "the stream ends with OK");
    let output = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await.unwrap().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{log}");
    for told in ["starting", "callers are not authenticated", "stopping", "NOT_SERVING"] {
        assert!(log.contains(told), "{told} is not in {log}");
    }
}
