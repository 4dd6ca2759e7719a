//! Reading one's own writes through another service.

use std::time::Duration;

use otklik_chassis::{seen, testing};
use otklik_proto::{
    channel::v1::{DeliverRequest, channel_adapter_service_client::ChannelAdapterServiceClient},
    ledger::v1::{GetHeadsRequest, Position, ledger_service_client::LedgerServiceClient},
};
use tonic::{Code, Request, Status};

use super::{parking, upstream};

const ENTRIES: u64 = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_waits_until_its_service_has_seen_the_position() {
    let database = testing::sqlite();
    let source = upstream::start(database.path(), upstream::Settings { entries: ENTRIES, aggregates: 3 }, 1).await;
    let replica = parking::start(&database, &source).await;
    let mut upstream = LedgerServiceClient::connect(source.uri().to_owned()).await.unwrap();
    let incarnation = upstream.get_heads(GetHeadsRequest {}).await.unwrap().into_inner().incarnation;
    let position = |seq| Position { incarnation: incarnation.clone(), partition: 0, seq, ..Default::default() };

    // The last entry may not even have been written when the call is made.
    call(replica.uri(), &seen::after("intake", &position(ENTRIES)), 30).await.unwrap();
    let mut ledger = LedgerServiceClient::connect(replica.uri().to_owned()).await.unwrap();
    let heads = ledger.get_heads(GetHeadsRequest {}).await.unwrap().into_inner();
    assert_eq!(heads.seen[0].positions[0].seq, ENTRIES);

    let late = call(replica.uri(), &seen::after("intake", &position(ENTRIES + 1)), 1).await.unwrap_err();
    assert_eq!(late.code(), Code::Unavailable);
    let foreign = Position { incarnation: uuid::Uuid::new_v4().to_string(), ..position(1) };
    let foreign = call(replica.uri(), &seen::after("intake", &foreign), 5).await.unwrap_err();
    assert_eq!(foreign.code(), Code::FailedPrecondition);
    let malformed = call(replica.uri(), "intake/somewhere", 5).await.unwrap_err();
    assert_eq!(malformed.code(), Code::InvalidArgument);

    replica.shut_down();
    source.shut_down();
    drop((upstream, ledger));
    replica.stopped().await.unwrap();
    source.stopped().await.unwrap();
}

async fn call(uri: &str, after: &str, seconds: u64) -> Result<(), Status> {
    let mut client = ChannelAdapterServiceClient::connect(uri.to_owned()).await.unwrap();
    let mut request = Request::new(DeliverRequest::default());
    request.set_timeout(Duration::from_secs(seconds));
    request.metadata_mut().insert(seen::AFTER, after.parse().unwrap());
    client.deliver(request).await.map(drop)
}
