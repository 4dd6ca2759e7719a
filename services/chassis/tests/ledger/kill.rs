//! Three replicas on PostgreSQL and one process on SQLite, killed at random under calls and consumption:
//! nothing is lost, doubled or reordered, and no caller sees a database's quarrels.

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use otklik_chassis::{
    ledger,
    storage::Storage,
    testing::{self, TestDatabase},
};
use otklik_proto::channel::v1::{
    DeliverRequest, Delivery, channel_adapter_service_client::ChannelAdapterServiceClient,
};
use sea_orm::ConnectionTrait;
use secrecy::ExposeSecret;
use tokio::task::JoinSet;
use tonic::{Code, transport::Endpoint};
use uuid::Uuid;

use super::{replica::Wiring, upstream};

const ENTRIES: u64 = 3_000;
const AGGREGATES: u64 = 40;
const CALLERS: usize = 8;
const CALLS: usize = 60;
const KILLS: usize = 6;
const PATIENCE: Duration = Duration::from_secs(90);

/// A replica as a process: this test binary again, in another role.
#[test]
#[ignore = "is started by the other tests as a process of its own"]
fn replica_process() {
    let Some(wiring) = Wiring::from_env() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let running = wiring.start().await.unwrap();
        running.stopped().await.unwrap();
    });
}

fn spawn(wiring: &Wiring) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::replica_process", "--ignored", "--nocapture"])
        .envs(wiring.to_env())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_with_one_partition() {
    survive(testing::sqlite(), 1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_with_eight_partitions() {
    survive(testing::sqlite(), 1, 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_with_one_partition() {
    if let Some(database) = testing::postgres().await {
        survive(database, 3, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_with_eight_partitions() {
    if let Some(database) = testing::postgres().await {
        survive(database, 3, 8).await;
    }
}

async fn survive(database: TestDatabase, replicas: usize, partitions: u32) {
    let settings = upstream::Settings { entries: ENTRIES, aggregates: AGGREGATES };
    let source = upstream::start(database.path(), settings, partitions).await;
    let wirings: Vec<Wiring> = (0..replicas).map(|_| wiring(&database, source.uri(), partitions)).collect();
    // The first one migrates alone.
    let mut processes = vec![spawn(&wirings[0])];
    wait_until_listening(wirings[0].listen).await;
    processes.extend(wirings[1..].iter().map(spawn));

    let addresses: Vec<SocketAddr> = wirings.iter().map(|w| w.listen).collect();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(call(addresses.clone()));
    }
    for n in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(rand::random_range(100..700))).await;
        let victim = n % replicas;
        processes[victim].kill().unwrap();
        processes[victim].wait().unwrap();
        processes[victim] = spawn(&wirings[victim]);
    }
    let acknowledged: Vec<Uuid> = callers.join_all().await.into_iter().flatten().collect();
    assert_eq!(acknowledged.len(), CALLERS * CALLS);

    let storage = database.open("channel").await;
    wait_until_consumed(&storage).await;
    for process in &mut processes {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    check(&storage, &acknowledged).await;
    storage.close().await;
    source.shut_down();
    source.stopped().await.unwrap();
}

fn wiring(database: &TestDatabase, upstream: &str, partitions: u32) -> Wiring {
    Wiring {
        database_url: database.url.as_ref().map(|url| url.expose_secret().to_owned()),
        data_dir: database.path().to_owned(),
        listen: TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(),
        upstream: upstream.to_owned(),
        partitions,
    }
}

async fn wait_until_listening(address: SocketAddr) {
    let started = Instant::now();
    while tokio::net::TcpStream::connect(address).await.is_err() {
        assert!(started.elapsed() < PATIENCE, "the first replica did not start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Calls with one id until it is acknowledged, [`CALLS`] times. Only outages may be seen.
async fn call(addresses: Vec<SocketAddr>) -> Vec<Uuid> {
    let mut acknowledged = Vec::new();
    for _ in 0..CALLS {
        let id = Uuid::new_v4();
        let started = Instant::now();
        loop {
            assert!(started.elapsed() < PATIENCE, "a call was not acknowledged");
            let address = addresses[rand::random_range(0..addresses.len())];
            match deliver(address, id).await {
                Ok(()) => break,
                Err(Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(code) => panic!("a caller saw {code:?}"),
            }
        }
        acknowledged.push(id);
    }
    acknowledged
}

async fn deliver(address: SocketAddr, id: Uuid) -> Result<(), Code> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap().timeout(Duration::from_secs(10));
    let channel = endpoint.connect().await.map_err(|_| Code::Unavailable)?;
    let delivery = Delivery { delivery_id: id.to_string(), ..Default::default() };
    let request = DeliverRequest { deliveries: vec![delivery] };
    ChannelAdapterServiceClient::new(channel).deliver(request).await.map_err(|status| status.code())?;
    Ok(())
}

async fn count(storage: &Storage, sql: &str) -> i64 {
    let row = storage.reader().query_one_raw(storage.statement(sql, [])).await.unwrap().unwrap();
    row.try_get_by_index(0).unwrap()
}

async fn wait_until_consumed(storage: &Storage) {
    let started = Instant::now();
    while count(storage, "SELECT count(*) FROM consumed").await < i64::try_from(ENTRIES).unwrap() {
        assert!(started.elapsed() < PATIENCE, "not everything was consumed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn check(storage: &Storage, acknowledged: &[Uuid]) {
    assert_eq!(count(storage, "SELECT count(*) FROM parked").await, 0, "something failed for good");
    assert_eq!(count(storage, "SELECT count(*) FROM consumed").await, i64::try_from(ENTRIES).unwrap());
    let called = storage.reader().query_all_raw(storage.statement("SELECT id FROM called", [])).await.unwrap();
    let called: Vec<Uuid> = called.iter().map(|row| row.try_get_by_index(0).unwrap()).collect();
    assert!(acknowledged.iter().all(|id| called.contains(id)), "an acknowledged call was lost");

    // Every chain is whole, and each entry and call left exactly one entry, in the upstream's order.
    let verified = ledger::verify(storage).await.unwrap();
    assert!(verified.iter().all(|v| v.broken.is_none()), "{verified:?}");
    let total: u64 = verified.iter().map(|v| v.seq).sum();
    assert_eq!(total, ENTRIES + called.len() as u64);
    let sql = "SELECT payload FROM ledger_entries WHERE entry_type = 'otklik.intake.v1.MessageReceived' ORDER BY partition, seq";
    let rows = storage.reader().query_all_raw(storage.statement(sql, [])).await.unwrap();
    let mut last: HashMap<String, u32> = HashMap::new();
    for row in rows {
        let payload: Vec<u8> = row.try_get_by_index(0).unwrap();
        let received: otklik_proto::intake::v1::MessageReceived = prost::Message::decode(payload.as_slice()).unwrap();
        let before = last.insert(received.message_id.clone(), received.version).unwrap_or(0);
        assert_eq!(received.version, before + 1, "entries of {} were reordered", received.message_id);
    }
    assert_eq!(last.len() as u64, AGGREGATES);
}
