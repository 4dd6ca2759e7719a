//! Positions: gapless for readers while writers race, and refused when they are another ledger's.

use otklik_chassis::testing;
use otklik_proto::ledger::v1::{Position, StreamEntriesRequest, ledger_service_client::LedgerServiceClient};
use tonic::Code;
use tonic_types::StatusExt;

use super::upstream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_beside_the_writer_sees_every_seq_once_and_in_order() {
    let database = testing::sqlite();
    let source = upstream::start(database.path(), upstream::Settings { entries: 1_000, aggregates: 7 }, 1).await;
    let mut client = LedgerServiceClient::connect(source.uri().to_owned()).await.unwrap();
    let mut stream = client.stream_entries(StreamEntriesRequest::default()).await.unwrap().into_inner();
    let mut next = 1;
    while next <= 1_000 {
        for entry in stream.message().await.unwrap().unwrap().entries {
            assert_eq!(entry.position.unwrap().seq, next);
            next += 1;
        }
    }
    source.shut_down();
    drop((stream, client));
    source.stopped().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_of_another_ledger_is_refused() {
    let database = testing::sqlite();
    let source = upstream::start(database.path(), upstream::Settings { entries: 10, aggregates: 1 }, 1).await;
    let mut client = LedgerServiceClient::connect(source.uri().to_owned()).await.unwrap();
    let mut stream = client.stream_entries(StreamEntriesRequest::default()).await.unwrap().into_inner();
    let mut own: Option<Position> = None;
    while own.as_ref().is_none_or(|p| p.seq < 3) {
        own = stream.message().await.unwrap().unwrap().entries.pop().and_then(|e| e.position).or(own);
    }
    let own = own.unwrap();
    let foreign = [
        Position { incarnation: uuid::Uuid::new_v4().to_string(), ..own.clone() },
        Position { hash: vec![7; 32].into(), ..own.clone() },
        Position { seq: 1_000_000, ..own.clone() },
        Position { partition: 9, ..own.clone() },
    ];
    for position in foreign {
        let request = StreamEntriesRequest { after: vec![position], ..Default::default() };
        let status = client.stream_entries(request).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.get_error_details().error_info().unwrap().reason, "LEDGER_POSITION_MISMATCH");
    }
    let request = StreamEntriesRequest { after: vec![own], ..Default::default() };
    assert!(client.stream_entries(request).await.is_ok());
    source.shut_down();
    drop((stream, client));
    source.stopped().await.unwrap();
}
