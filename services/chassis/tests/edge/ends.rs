//! How a server ends, and how connections and streams do.

use std::time::Duration;

use futures::StreamExt;
use otklik_proto::ledger::v1::{GetHeadsRequest, StreamEntriesRequest};
use tokio::io::AsyncReadExt;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::house::{House, Plan, quick, to};

#[tokio::test]
async fn streams_end_with_ok_and_calls_are_answered_when_the_server_stops() {
    let house = House::open();
    let mut client = house.client();
    let mut stream = client.stream_entries(StreamEntriesRequest::default()).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    house.shut_down();
    assert!(stream.message().await.unwrap().is_none(), "the stream ends with OK");
    house.stopped().await.unwrap();
}

#[tokio::test]
async fn a_silent_peer_does_not_keep_the_server() {
    let mut limits = quick();
    // A test that had to wait for the deadline would be noticed.
    limits.drain_deadline = Duration::from_secs(3600);
    let house = House::build(Plan { limits, ..Plan::default() });
    let address = house.uri.trim_start_matches("http://").to_owned();
    let mut silent = tokio::net::TcpStream::connect(address).await.unwrap();
    // So that the peer has been accepted.
    house.client().get_heads(GetHeadsRequest {}).await.unwrap();
    house.stop().await.unwrap();
    let mut buffer = [0; 64];
    while silent.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

#[tokio::test]
async fn what_does_not_end_is_cut_off_at_the_deadline() {
    let house = House::open();
    let mut client = house.client();
    let waits = tokio::spawn(async move { client.get_heads(to::<GetHeadsRequest>("wait")).await });
    house.waiting.notified().await;
    house.stop().await.unwrap();
    let status = waits.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "what may be tried again: {status:?}");
}

#[tokio::test]
async fn a_stream_of_requests_does_not_end_as_if_all_were_answered() {
    let house = House::open();
    let mut client = ServerReflectionClient::new(house.channel());
    let requests = futures::stream::iter([list_services()]).chain(futures::stream::pending());
    let mut answers = client.server_reflection_info(requests).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_some());
    house.shut_down();
    assert_eq!(answers.message().await.unwrap_err().code(), Code::Unavailable);
    house.stopped().await.unwrap();
}

fn list_services() -> ServerReflectionRequest {
    let message_request = Some(MessageRequest::ListServices(String::new()));
    ServerReflectionRequest { host: String::new(), message_request }
}

#[tokio::test]
async fn health_is_told_by_name_and_turns_when_the_server_stops() {
    let mut limits = quick();
    limits.lame_duck = Duration::from_secs(3600);
    let house = House::build(Plan { limits, ..Plan::default() });
    let client = HealthClient::new(house.channel());
    let check = async |service: &str| {
        let request = HealthCheckRequest { service: service.into() };
        client.clone().check(request).await.map(|answer| answer.into_inner().status())
    };
    let names = ["", "otklik.ledger.v1.LedgerService", "liveness"];
    for name in names {
        assert_eq!(check(name).await.unwrap(), ServingStatus::Serving, "{name:?}");
    }
    assert_eq!(check("otklik.nobody.v1.NobodyService").await.unwrap_err().code(), Code::NotFound);

    let mut watch = client.clone().watch(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner();
    let mut next = async || watch.message().await.unwrap().unwrap().status();
    assert_eq!(next().await, ServingStatus::Serving);
    house.health.set(false);
    assert_eq!(next().await, ServingStatus::NotServing);
    assert_eq!(check("liveness").await.unwrap(), ServingStatus::Serving, "it lives all the same");
    house.health.set(true);
    assert_eq!(next().await, ServingStatus::Serving);
    house.shut_down();
    assert_eq!(next().await, ServingStatus::NotServing);
    house.client().get_heads(GetHeadsRequest {}).await.expect("a lame duck still answers");
}

#[tokio::test]
async fn streams_outlive_no_connection_and_the_channel_goes_on() {
    let mut limits = quick();
    limits.connection_age = Duration::from_millis(50);
    limits.connection_grace = Duration::from_secs(1);
    let house = House::build(Plan { limits, ..Plan::default() });
    let mut client = house.client();
    for _ in 0..2 {
        let mut stream = client.stream_entries(StreamEntriesRequest::default()).await.unwrap().into_inner();
        assert!(stream.message().await.unwrap().is_some());
        assert!(stream.message().await.unwrap().is_none(), "the stream ends with OK before the connection is cut");
        client.get_heads(GetHeadsRequest {}).await.unwrap();
    }
    house.stop().await.unwrap();
}

#[tokio::test]
async fn reflection_tells_the_contracts() {
    let house = House::open();
    let mut client = ServerReflectionClient::new(house.channel());
    let mut answers =
        client.server_reflection_info(futures::stream::iter([list_services()])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    names.sort_unstable();
    assert_eq!(names, ["grpc.health.v1.Health", "otklik.ledger.v1.LedgerService"]);
    house.stop().await.unwrap();
}
