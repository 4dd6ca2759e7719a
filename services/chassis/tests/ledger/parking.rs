//! What the domain refuses is set aside with what concerns the same aggregate, and nothing else waits for it.

use std::{
    net::TcpListener,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use otklik_chassis::{run::Running, testing};
use otklik_proto::ledger::v1::{
    GetHeadsRequest, GetHeadsResponse, ListParkedRequest, RetryParkedOutcome, RetryParkedRequest,
    ledger_service_client::LedgerServiceClient,
};
use tonic::transport::Channel;

use super::{
    replica::{REFUSES_THE_THIRD, Wiring},
    upstream,
};

const ENTRIES: u64 = 50;
const AGGREGATES: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_entry_is_parked_and_only_its_aggregate_waits() {
    REFUSES_THE_THIRD.store(true, Ordering::SeqCst);
    let database = testing::sqlite();
    let settings = upstream::Settings { entries: ENTRIES, aggregates: AGGREGATES };
    let source = upstream::start(database.path(), settings, 1).await;
    let replica = start(&database, &source).await;
    let mut ledger = LedgerServiceClient::connect(replica.uri().to_owned()).await.unwrap();

    let heads = until(&mut ledger, |heads| seen(heads) == ENTRIES).await;
    assert_eq!((heads.parked[0].failed_count, heads.parked[0].waiting_count), (AGGREGATES, AGGREGATES * 7));
    assert_eq!(heads.heads[0].seq, AGGREGATES * 2, "the first two entries of each were applied");

    let page = ledger.list_parked(ListParkedRequest::default()).await.unwrap().into_inner();
    let failed: Vec<_> = page.parked_entries.iter().filter(|p| !p.waiting).collect();
    assert_eq!(failed.len() as u64, AGGREGATES);
    assert!(failed.iter().all(|p| p.error.contains("refused") && p.service == "intake" && p.attempts >= 1));

    REFUSES_THE_THIRD.store(false, Ordering::SeqCst);
    let retry = RetryParkedRequest {
        request_id: "retry-1".into(),
        service: "intake".into(),
        positions: failed.iter().filter_map(|p| p.position.clone()).collect(),
    };
    let results = ledger.retry_parked(retry).await.unwrap().into_inner().results;
    assert!(results.iter().all(|r| r.outcome() == RetryParkedOutcome::Scheduled));
    let heads = until(&mut ledger, |heads| heads.parked.is_empty()).await;
    assert_eq!(heads.heads[0].seq, ENTRIES, "every entry was applied once");

    replica.shut_down();
    source.shut_down();
    drop(ledger);
    replica.stopped().await.unwrap();
    source.stopped().await.unwrap();
}

/// A replica in this process that follows `source`.
pub async fn start(database: &testing::TestDatabase, source: &Running) -> Running {
    let wiring = Wiring {
        database_url: None,
        data_dir: database.path().to_owned(),
        listen: TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(),
        upstream: source.uri().to_owned(),
        partitions: 1,
    };
    wiring.start().await.unwrap()
}

fn seen(heads: &GetHeadsResponse) -> u64 {
    heads.seen.iter().flat_map(|s| &s.positions).map(|p| p.seq).max().unwrap_or(0)
}

async fn until(
    ledger: &mut LedgerServiceClient<Channel>,
    reached: impl Fn(&GetHeadsResponse) -> bool,
) -> GetHeadsResponse {
    let started = Instant::now();
    loop {
        let heads = ledger.get_heads(GetHeadsRequest {}).await.unwrap().into_inner();
        if reached(&heads) {
            return heads;
        }
        assert!(started.elapsed() < PATIENCE, "never reached: {heads:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
