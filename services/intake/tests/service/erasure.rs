//! Erasing authors.

use jiff::SignedDuration;
use otklik_chassis::testing::TestDatabase;
use otklik_proto::intake::v1::{
    AuthorReference, BatchGetMessagesRequest, Disposition, EraseAuthorRequest, EraseReason, MessageReference,
    MessageState, TextStatus, erase_author_request,
};
use sea_orm::ConnectionTrait;
use tonic::Code;

use crate::harness::{PAGE, Service, comment, comment_by, fields, on_each};

fn erase(request_id: &str, author: &str) -> EraseAuthorRequest {
    let reference = AuthorReference { source_id: PAGE.into(), author_external_id: author.into() };
    EraseAuthorRequest {
        request_id: request_id.into(),
        author: Some(erase_author_request::Author::Reference(reference)),
        reason: EraseReason::AuthorRequest.into(),
    }
}

async fn count(database: &TestDatabase, sql: &str) -> i64 {
    let storage = database.open("intake").await;
    let row = storage.reader().query_one_raw(storage.statement(sql, [])).await.unwrap().unwrap();
    let count = row.try_get_by_index(0).unwrap();
    storage.close().await;
    count
}

#[tokio::test]
async fn an_author_with_many_messages_is_erased() {
    on_each(|service, database| async move {
        let ids: Vec<String> = (0..1203).map(|n| format!("m{n}")).collect();
        let submissions = ids.iter().map(|id| service.submit(comment_by("id7", id, 0, "Тайна")));
        let taken_in = futures::future::join_all(submissions).await;
        service.submit(comment_by("id7", "m0", 1, "Тайна, исправленная")).await;
        service.withdraw("m1", 0).await;
        service.submit(comment("other", 0, "Чужое")).await;

        let mut client = service.client.clone();
        let erased = client.erase_author(erase("r1", "id7")).await.unwrap().into_inner();
        assert_eq!(erased.erased_message_count, 1203);
        assert_eq!(erased.author_key.len(), 32);
        let position = erased.position.clone().expect("a position");

        let mine = "SELECT count(*) FROM authors WHERE external_id = 'id7'";
        assert_eq!(count(&database, mine).await, 0);
        assert_eq!(count(&database, "SELECT count(*) FROM authors").await, 1);
        assert_eq!(count(&database, "SELECT count(*) FROM versions WHERE content IS NOT NULL").await, 1);
        assert_eq!(count(&database, "SELECT count(*) FROM versions WHERE salt IS NOT NULL").await, 1);
        assert_eq!(count(&database, "SELECT count(*) FROM erasures").await, 0);
        let entries = service.entries().await;
        let written = entries.iter().filter(|entry| entry.r#type == "otklik.intake.v1.MessageErased").count();
        assert_eq!(written, 1203);
        assert!(entries.iter().any(|entry| entry.position.as_ref() == Some(&position)));

        let message = service.message("m0").await.unwrap();
        assert_eq!((message.state(), message.versions.len()), (MessageState::Erased, 2));
        let references = vec![MessageReference { message_id: taken_in[5].message_id.clone(), version: 1 }];
        let texts = client.batch_get_messages(BatchGetMessagesRequest { references }).await.unwrap().into_inner();
        assert_eq!((texts.messages[0].status(), texts.messages[0].text.as_str()), (TextStatus::Erased, ""));

        // The same call again, another call, the same id for another author.
        assert_eq!(client.erase_author(erase("r1", "id7")).await.unwrap().into_inner(), erased);
        let nothing_left = client.erase_author(erase("r2", "id7")).await.unwrap().into_inner();
        assert_eq!((nothing_left.erased_message_count, nothing_left.position), (0, None));
        let reused = client.erase_author(erase("r1", "id8")).await.unwrap_err();
        assert_eq!(reused.code(), Code::Aborted);
        assert_eq!(service.entries().await.len(), entries.len());

        // An erased message stays erased; later ones are taken in as of anybody.
        let edit = service.submit(comment_by("id7", "m0", 9, "Тайна снова")).await;
        assert_eq!((edit.disposition(), edit.state()), (Disposition::StaleRepeat, MessageState::Erased));
        service.pass(SignedDuration::from_mins(1));
        let later = service.submit(comment_by("id7", "later", 0, "Новое")).await;
        assert_eq!(later.disposition(), Disposition::New);
        assert_eq!(count(&database, mine).await, 1);
        assert_eq!(client.erase_author(erase("r1", "id7")).await.unwrap().into_inner(), erased);
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_author_is_erased_by_its_key() {
    on_each(|service, _| async move {
        service.submit(comment_by("id7", "1", 0, "Тайна")).await;
        let key = service.message("1").await.unwrap().origin.unwrap().author_key;
        let by_key = |key: &str| EraseAuthorRequest {
            request_id: "r1".into(),
            author: Some(erase_author_request::Author::AuthorKey(key.into())),
            reason: EraseReason::RetentionExpired.into(),
        };
        let mut client = service.client.clone();
        let unknown = client.erase_author(by_key(&"0".repeat(32))).await.unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound);
        let erased = client.erase_author(by_key(&key)).await.unwrap().into_inner();
        assert_eq!((erased.erased_message_count, &erased.author_key), (1, &key));
        let wrong = client.erase_author(EraseAuthorRequest::default()).await.unwrap_err();
        assert_eq!(fields(&wrong), ["request_id", "reason", "author"]);
        assert_eq!(fields(&client.erase_author(by_key("x")).await.unwrap_err()), ["author_key"]);
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_interrupted_erasure_is_completed_after_a_restart() {
    on_each(|service, database| async move {
        service.submit(comment_by("id7", "1", 0, "Тайна")).await;
        service.stop().await;
        let storage = database.open("intake").await;
        let tx = storage.begin().await.unwrap();
        let begun =
            "INSERT INTO erasures (author_key, until_us, reason) SELECT author_key, received_us, 1 FROM messages";
        tx.execute_raw(storage.statement(begun, [])).await.unwrap();
        tx.commit().await.unwrap();
        storage.close().await;

        let service = Service::start(&database).await;
        let completed = async {
            while service.message("1").await.unwrap().state() != MessageState::Erased {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), completed).await.expect("an erasure");
        service.stop().await;
    })
    .await;
}
