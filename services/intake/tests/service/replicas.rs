//! Two processes on one database.

use std::collections::HashSet;

use otklik_chassis::testing;
use otklik_proto::intake::v1::Disposition;

use crate::harness::{Service, comment_by};

#[tokio::test]
async fn replicas_that_take_in_the_same_items_agree() {
    let Some(database) = testing::postgres().await else { return };
    let one = Service::start(&database).await;
    let other = Service::start(&database).await;
    let ids: Vec<String> = (0..200).map(|n| format!("m{n}")).collect();
    let to = |service: &Service, backwards: bool| {
        let mut ids = ids.clone();
        if backwards {
            ids.reverse();
        }
        let service = service.client.clone();
        async move {
            let submissions = ids.into_iter().map(|id| {
                let mut client = service.clone();
                async move { client.submit_message(comment_by("id7", &id, 0, "Яма")).await.expect("a submission") }
            });
            futures::future::join_all(submissions).await
        }
    };
    let (first, second) = tokio::join!(to(&one, false), to(&other, true));
    let results: Vec<_> = first.into_iter().chain(second).map(tonic::Response::into_inner).collect();
    let new = results.iter().filter(|result| result.disposition() == Disposition::New).count();
    let repeats = results.iter().filter(|result| result.disposition() == Disposition::Repeat).count();
    assert_eq!((new, repeats), (200, 200));
    let messages: HashSet<&str> = results.iter().map(|result| result.message_id.as_str()).collect();
    assert_eq!(messages.len(), 200);
    // Whoever took it in, a repeat says where that stands in the ledger.
    for result in &results {
        let taken_in = results
            .iter()
            .find(|other| other.message_id == result.message_id && other.disposition() == Disposition::New);
        assert_eq!(taken_in.unwrap().position, result.position);
    }
    let received = one.entries().await.iter().filter(|entry| entry.r#type.ends_with("MessageReceived")).count();
    assert_eq!(received, 200);

    // A withdrawal at one and the original at the other: in whatever order they come, the text is gone.
    for n in 0..40 {
        let id = format!("w{n}");
        tokio::join!(one.withdraw(&id, 0), other.submit(comment_by("id7", &id, 0, "Яма")));
        let message = one.message(&id).await.unwrap();
        assert_eq!(message.state(), otklik_proto::intake::v1::MessageState::Withdrawn, "{id}");
        assert!(message.versions[0].text.is_empty());
    }
    one.stop().await;
    other.stop().await;
}
