//! Streams of submissions.

use std::collections::HashMap;

use futures::StreamExt;
use otklik_proto::intake::v1::{
    Disposition, SubmitMessageRequest, SubmitMessagesRequest, SubmitMessagesResponse, submit_messages_response::Result,
};
use tonic::Code;

use crate::harness::{Service, comment, comment_by, on_each};

async fn stream(service: &Service, items: Vec<SubmitMessagesRequest>) -> HashMap<u64, SubmitMessagesResponse> {
    let mut client = service.client.clone();
    let answered = client.submit_messages(futures::stream::iter(items)).await.expect("a stream").into_inner();
    let mut results = HashMap::new();
    let mut answered = std::pin::pin!(answered);
    while let Some(result) = answered.next().await {
        let result = result.expect("a result");
        assert!(results.insert(result.index, result).is_none(), "one result an item");
    }
    results
}

fn item(index: u64, message: SubmitMessageRequest) -> SubmitMessagesRequest {
    SubmitMessagesRequest { index, message: Some(message) }
}

#[tokio::test]
async fn a_thousand_items_and_the_bad_ones_among_them() {
    on_each(|service, _| async move {
        let items: Vec<SubmitMessagesRequest> = (0..1000)
            .map(|index| match index % 100 {
                17 => item(index, SubmitMessageRequest::default()),
                31 => SubmitMessagesRequest { index, message: None },
                53 => item(index, SubmitMessageRequest { source_id: "nowhere".into(), ..comment("x", 0, "x") }),
                // Every hundredth is a repeat of the one before it.
                71 => item(index, comment_by("id70", &format!("m{}", index - 1), 0, "Яма")),
                70 => item(index, comment_by("id70", &format!("m{index}"), 0, "Яма")),
                _ => item(index, comment(&format!("m{index}"), 0, "Яма")),
            })
            .collect();
        let results = stream(&service, items.clone()).await;
        assert_eq!(results.len(), 1000);
        for (index, result) in &results {
            match (index % 100, result.result.as_ref().unwrap()) {
                (17, Result::Error(error)) => {
                    assert_eq!(error.code, i32::from(Code::InvalidArgument));
                    assert_eq!(error.field_violations.len(), 6);
                }
                (31, Result::Error(error)) => assert_eq!(error.field_violations[0].field, "message"),
                (53, Result::Error(error)) => assert_eq!(error.code, i32::from(Code::NotFound)),
                (70 | 71, Result::Response(response)) => {
                    assert!(matches!(response.disposition(), Disposition::New | Disposition::Repeat));
                }
                (_, Result::Response(response)) => {
                    assert_eq!(response.disposition(), Disposition::New);
                    assert!(response.position.is_some());
                }
                (_, result) => panic!("{index}: {result:?}"),
            }
        }
        // Sent again, everything good is a repeat.
        let again = stream(&service, items).await;
        let repeats = again.values().filter(|result| match result.result.as_ref().unwrap() {
            Result::Response(response) => response.disposition() == Disposition::Repeat,
            Result::Error(_) => false,
        });
        assert_eq!(repeats.count(), 970);
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_empty_stream_ends() {
    on_each(|service, _| async move {
        assert!(stream(&service, Vec::new()).await.is_empty());
        service.stop().await;
    })
    .await;
}
