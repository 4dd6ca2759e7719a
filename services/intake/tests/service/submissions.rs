//! New, repeated, edited, rejected and refused messages.

use jiff::SignedDuration;
use otklik_proto::intake::v1::{
    Author, BatchGetMessagesRequest, ChannelKind, Disposition, Location, MessageReference, MessageState,
    RejectionReason, SubmitMessageRequest, TextStatus,
};
use tonic::Code;

use crate::harness::{PAGE, Service, comment, comment_by, fields, on_each};

#[tokio::test]
async fn an_item_is_taken_in_once_and_its_edits_are_versions() {
    on_each(|service, _| async move {
        let first = service.submit(comment_by("id7", "1", 3, "Нет света")).await;
        assert_eq!((first.disposition(), first.state(), first.version), (Disposition::New, MessageState::Received, 1));
        let position = first.position.clone().expect("a position");
        assert!(position.seq > 0);

        let repeat = service.submit(comment_by("id7", "1", 3, "Нет света")).await;
        assert_eq!(repeat.disposition(), Disposition::Repeat);
        assert_eq!((&repeat.message_id, repeat.version), (&first.message_id, 1));
        assert_eq!(repeat.position.as_ref(), Some(&position));

        service.pass(SignedDuration::from_mins(5));
        let edit = service.submit(comment_by("id7", "1", 4, "Нет света второй день")).await;
        assert_eq!((edit.disposition(), edit.version), (Disposition::Revised, 2));
        assert_eq!(edit.message_id, first.message_id);
        for other in 0..5 {
            service.submit(comment(&format!("other-{other}"), 0, "Другое")).await;
        }
        let stale = service.submit(comment_by("id7", "1", 3, "Нет света")).await;
        assert_eq!((stale.disposition(), stale.version), (Disposition::StaleRepeat, 2));
        assert_eq!(stale.position, edit.position);

        let message = service.message("1").await.expect("a message");
        let texts: Vec<&str> = message.versions.iter().map(|version| version.text.as_str()).collect();
        assert_eq!(texts, ["Нет света", "Нет света второй день"]);
        assert_eq!(message.origin.as_ref().unwrap().source_id, PAGE);
        assert!(message.update_time.unwrap().seconds > message.received_time.unwrap().seconds);
        assert_eq!(service.life_of(&first.message_id).await, ["MessageReceived", "MessageRevised"]);
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_edit_that_comes_before_its_original_is_the_message() {
    on_each(|service, _| async move {
        let edit = service.submit(comment("1", 5, "Исправлено")).await;
        assert_eq!(edit.disposition(), Disposition::New);
        let original = service.submit(comment("1", 1, "Написано")).await;
        assert_eq!((original.disposition(), original.version), (Disposition::StaleRepeat, 1));
        assert_eq!(service.message("1").await.unwrap().versions[0].text, "Исправлено");
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn own_posts_and_empty_ones_are_received_and_rejected() {
    on_each(|service, _| async move {
        let author = service.own_author().await;
        let own = service.submit(comment_by(&author, "own", 0, "Уважаемые жители!")).await;
        assert_eq!((own.state(), own.rejection_reason()), (MessageState::Rejected, RejectionReason::OwnPost));
        assert_eq!(service.life_of(&own.message_id).await, ["MessageReceived", "MessageRejected"]);
        let repeat = service.submit(comment_by(&author, "own", 0, "Уважаемые жители!")).await;
        assert_eq!((repeat.disposition(), repeat.rejection_reason()), (Disposition::Repeat, RejectionReason::OwnPost));
        assert_eq!(repeat.position, own.position, "of the rejection");

        let empty = service.submit(comment("empty", 0, "…!!")).await;
        assert_eq!((empty.state(), empty.rejection_reason()), (MessageState::Rejected, RejectionReason::Empty));
        let edited = service.submit(comment("empty", 1, "Яма на дороге")).await;
        assert_eq!((edited.state(), edited.rejection_reason()), (MessageState::Received, RejectionReason::Unspecified));
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn everything_wrong_is_told_at_once_and_nothing_is_stored() {
    on_each(|service, _| async move {
        let before = service.entries().await.len();
        let status = service
            .refused(SubmitMessageRequest {
                source_id: "Page!".into(),
                external_id: "x".repeat(257),
                source_revision: u64::MAX,
                text: "я".repeat(20_000),
                author: Some(Author::default()),
                channel_kind: 77,
                url: "a\0b".into(),
                attachment_urls: vec![String::new(); 21],
                location: Some(Location { latitude: 91.0, longitude: f64::NAN }),
                ..Default::default()
            })
            .await;
        assert_eq!(status.code(), Code::InvalidArgument);
        let found = fields(&status);
        for field in [
            "source_id",
            "external_id",
            "source_revision",
            "text",
            "author.external_id",
            "channel_kind",
            "published_time",
            "url",
            "attachment_urls",
            "attachment_urls[0]",
            "location.latitude",
            "location.longitude",
        ] {
            assert!(found.iter().any(|name| name == field), "{field} is missing in {found:?}");
        }
        let nothing = service.refused(SubmitMessageRequest::default()).await;
        let found = fields(&nothing);
        assert_eq!(found, ["source_id", "external_id", "text", "channel_kind", "published_time", "author"]);

        // What only the source knows is told together with the rest.
        let wrong = SubmitMessageRequest {
            text: String::new(),
            channel_kind: ChannelKind::Email.into(),
            ..comment("1", 0, "x")
        };
        assert_eq!(fields(&service.refused(wrong.clone()).await), ["text", "channel_kind"]);
        let status = service.refused(SubmitMessageRequest { text: "x".into(), ..wrong }).await;
        assert_eq!(fields(&status), ["channel_kind"]);

        let status =
            service.refused(SubmitMessageRequest { source_id: "nowhere".into(), ..comment("1", 0, "x") }).await;
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(service.entries().await.len(), before);
        assert!(service.message("1").await.is_none());
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn fifty_deliveries_of_one_item_at_once_are_one_message() {
    on_each(|service, _| async move {
        let deliveries = (0..50).map(|_| service.submit(comment_by("id7", "1", 0, "Нет воды")));
        let results = futures::future::join_all(deliveries).await;
        let new = results.iter().filter(|result| result.disposition() == Disposition::New).count();
        assert_eq!(new, 1);
        assert!(results.iter().all(|result| result.message_id == results[0].message_id));
        assert_eq!(service.life_of(&results[0].message_id).await, ["MessageReceived"]);
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_the_source_says_beside_the_text_is_kept_with_it() {
    on_each(|service, _| async move {
        service
            .submit(SubmitMessageRequest {
                in_reply_to_external_id: "0".into(),
                thread_external_id: "t".into(),
                url: "https://vk.example/1".into(),
                attachment_urls: vec!["https://vk.example/photo".into()],
                location: Some(Location { latitude: 43.1, longitude: 131.9 }),
                ..comment("1", 0, "Яма")
            })
            .await;
        let message = service.message("1").await.unwrap();
        assert_eq!((message.in_reply_to_external_id.as_str(), message.thread_external_id.as_str()), ("0", "t"));
        assert_eq!((message.url.as_str(), message.location.unwrap().longitude), ("https://vk.example/1", 131.9));
        assert_eq!(message.versions[0].attachment_urls, ["https://vk.example/photo"]);
        service.withdraw("1", 0).await;
        let message = service.message("1").await.unwrap();
        assert!(message.url.is_empty() && message.location.is_none() && message.versions[0].attachment_urls.is_empty());
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn texts_are_read_in_batches() {
    on_each(|service, _| async move {
        let edited = service.submit(comment("1", 0, "Первый")).await.message_id;
        service.submit(comment("1", 1, "Второй")).await;
        let gone = service.submit(comment("2", 0, "Удалён")).await.message_id;
        service.withdraw("2", 0).await;
        let unknown = "018f3b1e-0000-7000-8000-000000000001";
        let reference = |id: &str, version| MessageReference { message_id: id.into(), version };
        let references = vec![
            reference(&edited, 0),
            reference(unknown, 0),
            reference(&edited, 1),
            reference(&gone, 1),
            reference(&edited, 9),
        ];
        let mut client = service.client.clone();
        let request = BatchGetMessagesRequest { references };
        let found = client.batch_get_messages(request).await.unwrap().into_inner().messages;
        let told: Vec<_> = found
            .iter()
            .map(|text| (text.message_id.as_str(), text.version, text.status(), text.text.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (edited.as_str(), 2, TextStatus::Text, "Второй"),
                (unknown, 0, TextStatus::NotFound, ""),
                (edited.as_str(), 1, TextStatus::Text, "Первый"),
                (gone.as_str(), 1, TextStatus::Withdrawn, ""),
                (edited.as_str(), 0, TextStatus::NotFound, ""),
            ]
        );
        let route = found[0].route.as_ref().unwrap();
        assert_eq!((route.source_id.as_str(), route.external_id.as_str()), (PAGE, "1"));
        assert_eq!(route.channel_kind(), ChannelKind::Comment);
        assert!(found[1].route.is_none());

        let many = BatchGetMessagesRequest { references: vec![reference(&edited, 0); 1000] };
        assert_eq!(client.batch_get_messages(many).await.unwrap().into_inner().messages.len(), 1000);
        let too_many = BatchGetMessagesRequest { references: vec![reference("?", 0); 1001] };
        let status = client.batch_get_messages(too_many).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let found = fields(&status);
        assert_eq!((&found[0][..], &found[1][..]), ("references", "references[0].message_id"));
        assert!(found.len() < 100, "an answer that fits into its headers");
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn no_text_and_no_name_reaches_the_ledger() {
    on_each(|service, _| async move {
        service.submit(comment_by("author-mark", "1", 0, "text-mark")).await;
        service.submit(comment_by("author-mark", "1", 1, "text-mark again")).await;
        service.withdraw("1", 0).await;
        for entry in service.entries().await {
            for bytes in [&entry.header[..], &entry.payload[..]] {
                let written = String::from_utf8_lossy(bytes);
                for mark in ["text-mark", "author-mark", "Мария"] {
                    assert!(!written.contains(mark), "{} holds {mark}", entry.r#type);
                }
            }
        }
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    on_each(|service, database| async move {
        let first = service.submit(comment_by("id7", "1", 0, "Нет света")).await;
        let entries = service.entries().await.len();
        let author = service.message("1").await.unwrap().origin.unwrap().author_key;
        service.stop().await;
        let service = Service::start(&database).await;
        assert_eq!(service.entries().await.len(), entries, "the pack's sources are not registered again");
        let repeat = service.submit(comment_by("id7", "1", 0, "Нет света")).await;
        assert_eq!((repeat.disposition(), &repeat.position), (Disposition::Repeat, &first.position));
        service.submit(comment_by("id7", "2", 0, "И воды")).await;
        assert_eq!(service.message("2").await.unwrap().origin.unwrap().author_key, author);
        service.stop().await;
    })
    .await;
}
