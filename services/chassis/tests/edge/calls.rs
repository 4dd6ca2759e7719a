//! What a caller sees.

use std::time::Duration;

use otklik_chassis::{client, config::Client, identity::ACT_AS, server::MESSAGE_LIMIT};
use otklik_proto::ledger::v1::{
    GetHeadsRequest, ListParkedRequest, RetryParkedRequest, StreamEntriesRequest,
    ledger_service_client::LedgerServiceClient,
};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::house::{House, Plan, quick, to};

fn reason(status: &Status) -> String {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "otklik");
    info.reason
}

#[tokio::test]
async fn everybody_is_local_on_an_open_loopback_or_whom_he_says() {
    let house = House::open();
    let mut client = house.client();
    let answer = client.get_heads(GetHeadsRequest {}).await.unwrap().into_inner();
    assert_eq!(answer.service, "local as SERVICE");

    let mut request = Request::new(GetHeadsRequest {});
    request.metadata_mut().insert(ACT_AS, "anna;executor,observer".parse().unwrap());
    assert_eq!(client.get_heads(request).await.unwrap().into_inner().service, "anna as OBSERVER");

    let mut request = Request::new(ListParkedRequest::default());
    request.metadata_mut().insert(ACT_AS, "anna;observer".parse().unwrap());
    let status = client.list_parked(request).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::PermissionDenied, "PERMISSION_DENIED"));
    assert_eq!(status.get_details_error_info().unwrap().metadata["permission"], "ledger.parked.read");

    let mut request = Request::new(GetHeadsRequest {});
    request.metadata_mut().insert(ACT_AS, "anna".parse().unwrap());
    assert_eq!(client.get_heads(request).await.unwrap_err().code(), Code::Unauthenticated);
    house.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_not_in_the_table_is_denied() {
    let house = House::open();
    let mut grpc = tonic::client::Grpc::new(house.channel());
    grpc.ready().await.unwrap();
    let codec = tonic_prost_codec();
    let path = http::uri::PathAndQuery::from_static("/otklik.ledger.v1.LedgerService/DropEverything");
    let status = grpc.unary(Request::new(GetHeadsRequest {}), path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    house.stop().await.unwrap();
}

fn tonic_prost_codec() -> tonic_prost::ProstCodec<GetHeadsRequest, GetHeadsRequest> {
    tonic_prost::ProstCodec::default()
}

#[tokio::test]
async fn a_deadline_that_passes_is_told_as_such() {
    let house = House::open();
    let mut request = to::<GetHeadsRequest>("wait");
    request.set_timeout(Duration::from_millis(60));
    let status = house.client().get_heads(request).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));

    house.stop().await.unwrap();

    // A client that asks for no time and keeps none.
    let mut limits = quick();
    limits.default_deadline = Duration::from_millis(50);
    let house = House::build(Plan { limits, ..Plan::default() });
    let raw = tonic::transport::Endpoint::from_shared(house.uri.clone()).unwrap().connect().await.unwrap();
    let status = LedgerServiceClient::new(raw).get_heads(to::<GetHeadsRequest>("wait")).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    house.stop().await.unwrap();
}

#[tokio::test]
async fn every_unary_call_has_a_deadline_and_it_is_forwarded() {
    let last = House::open();
    let first = House::build(Plan { limits: quick(), next: Some(last.channel()), ..Plan::default() });
    let millis = |answer: tonic::Response<otklik_proto::ledger::v1::GetHeadsResponse>| {
        answer.into_inner().incarnation.parse::<u64>().unwrap()
    };
    let mut client = first.client();
    let unasked = millis(client.get_heads(GetHeadsRequest {}).await.unwrap());
    assert!((1..=30_000).contains(&unasked), "{unasked}");

    let mut request = to::<GetHeadsRequest>("relay");
    request.set_timeout(Duration::from_secs(7));
    let forwarded = millis(client.get_heads(request).await.unwrap());
    assert!((1..7_000).contains(&forwarded), "{forwarded}");

    let mut request = Request::new(GetHeadsRequest {});
    request.set_timeout(Duration::from_secs(90_000));
    let capped = millis(client.get_heads(request).await.unwrap());
    assert!((1..=300_000).contains(&capped), "{capped}");
    first.stop().await.unwrap();
    last.stop().await.unwrap();
}

#[tokio::test]
async fn failures_keep_their_causes_to_themselves() {
    let house = House::open();
    let mut client = house.client();
    for wanted in ["panic", "fail", "bare"] {
        let mut request = to::<GetHeadsRequest>(wanted);
        let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
        let status = client.get_heads(request).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Internal, "INTERNAL"), "{wanted}");
        assert!(!format!("{status:?}").contains("secret"), "{status:?}");
        let trace_id = &status.get_details_error_info().unwrap().metadata["trace_id"];
        assert_eq!(trace_id, "4bf92f3577b34da6a3ce929d0e0e4736", "{wanted}");
    }
    for wanted in ["panic", "bare"] {
        let mut stream = client.stream_entries(to::<StreamEntriesRequest>(wanted)).await.unwrap().into_inner();
        let status = loop {
            // What had been said before may have been lost with the panic.
            match stream.message().await {
                Ok(heartbeat) => assert!(heartbeat.is_some(), "{wanted}"),
                Err(status) => break status,
            }
        };
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Internal, "INTERNAL"), "{wanted}");
        assert!(!format!("{status:?}").contains("secret"), "{status:?}");
    }
    // It goes on serving.
    client.get_heads(GetHeadsRequest {}).await.unwrap();
    house.stop().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_read_is_the_callers_fault() {
    let house = House::open();
    let mut client = house.client();
    let status =
        client.retry_parked(RetryParkedRequest { request_id: "x".repeat(64), ..Default::default() }).await.unwrap_err();
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "request_id");

    // Field 1 (a string) with a byte that is no UTF-8.
    let mut grpc = tonic::client::Grpc::new(house.channel());
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/otklik.ledger.v1.LedgerService/RetryParked");
    let codec = tonic_prost::ProstCodec::<Bytes, GetHeadsRequest>::default();
    let status = grpc.unary(Request::new(Bytes { request_id: vec![0xff] }), path, codec).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_FIELDS"), "{status:?}");

    let mut large = LedgerServiceClient::new(house.channel()).max_encoding_message_size(usize::MAX);
    let request = RetryParkedRequest { request_id: "x".repeat(10_000_000), ..Default::default() };
    let status = large.retry_parked(request).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"), "{status:?}");
    assert!(status.message().contains(&MESSAGE_LIMIT.to_string()), "{status:?}");
    house.stop().await.unwrap();
}

/// A request with bytes where the contract has a string.
#[derive(Clone, PartialEq, prost::Message)]
struct Bytes {
    #[prost(bytes = "vec", tag = "1")]
    request_id: Vec<u8>,
}

#[tokio::test]
async fn gzip_is_accepted() {
    let house = House::open();
    let mut client = house.client().send_compressed(tonic::codec::CompressionEncoding::Gzip);
    client.get_heads(GetHeadsRequest {}).await.unwrap();
    house.stop().await.unwrap();
}

#[tokio::test]
async fn beyond_the_room_calls_are_refused() {
    let mut limits = quick();
    limits.max_in_flight = 1;
    let house = House::build(Plan { limits, ..Plan::default() });
    let mut client = house.client();
    let waits = tokio::spawn({
        let mut client = client.clone();
        async move { client.get_heads(to::<GetHeadsRequest>("wait")).await }
    });
    house.waiting.notified().await;
    let status = client.get_heads(GetHeadsRequest {}).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "RESOURCE_EXHAUSTED"));
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    waits.abort();
    // The room of a caller that has gone is free again.
    let mut free = client.get_heads(GetHeadsRequest {}).await;
    while free.as_ref().is_err_and(|status| status.code() == Code::ResourceExhausted) {
        tokio::task::yield_now().await;
        free = client.get_heads(GetHeadsRequest {}).await;
    }
    free.unwrap();
    house.stop().await.unwrap();
}

#[tokio::test]
async fn a_channel_finds_a_service_that_comes_later_and_retries() {
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let channel = client::connect(&format!("http://{address}"), &Client::default()).unwrap();
    let mut client = LedgerServiceClient::new(channel.clone());
    let status = client.get_heads(GetHeadsRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let answer = channel
        .retry(|| {
            let mut client = client.clone();
            async move { client.get_heads(GetHeadsRequest {}).await }
        })
        .await;
    assert_eq!(answer.unwrap_err().code(), Code::Unavailable);
}
