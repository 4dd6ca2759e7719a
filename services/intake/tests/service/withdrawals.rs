//! Withdrawals, and the tombstones that await their messages.

use otklik_proto::intake::v1::{
    Disposition, GetMessageRequest, MessageState, WithdrawDisposition, WithdrawMessageRequest, WithdrawReason,
    get_message_request, withdraw_message_request,
};
use tonic::Code;

use crate::harness::{comment, fields, on_each};

#[tokio::test]
async fn a_withdrawn_message_loses_its_text() {
    on_each(|service, _| async move {
        let first = service.submit(comment("1", 2, "Нет света")).await;
        service.submit(comment("1", 3, "Нет света!")).await;
        assert_eq!(service.withdraw("1", 2).await.disposition(), WithdrawDisposition::Stale);
        let withdrawn = service.withdraw("1", 3).await;
        assert_eq!(withdrawn.disposition(), WithdrawDisposition::Withdrawn);
        assert_eq!((&withdrawn.message_id, withdrawn.state()), (&first.message_id, MessageState::Withdrawn));
        let repeat = service.withdraw("1", 3).await;
        assert_eq!(repeat.disposition(), WithdrawDisposition::Repeat);
        assert_eq!(repeat.position, withdrawn.position);

        let message = service.message("1").await.unwrap();
        assert_eq!((message.versions.len(), message.state()), (2, MessageState::Withdrawn));
        assert!(message.versions.iter().all(|version| version.text.is_empty()));

        let again = service.submit(comment("1", 4, "Опубликовано снова")).await;
        assert_eq!((again.disposition(), again.version), (Disposition::Revised, 3));
        let texts: Vec<String> =
            service.message("1").await.unwrap().versions.into_iter().map(|version| version.text).collect();
        assert_eq!(texts, ["", "", "Опубликовано снова"]);
        assert_eq!(
            service.life_of(&first.message_id).await,
            ["MessageReceived", "MessageRevised", "MessageWithdrawn", "MessageRevised"]
        );
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_tombstone_meets_its_original() {
    on_each(|service, _| async move {
        for _ in 0..2 {
            let tombstone = service.withdraw("1", 0).await;
            assert_eq!(tombstone.disposition(), WithdrawDisposition::Tombstoned);
            assert!(tombstone.message_id.is_empty() && tombstone.position.is_none());
            assert_eq!(tombstone.state(), MessageState::Unspecified);
            assert!(service.message("1").await.is_none(), "a tombstone is not a message");
        }
        let original = service.submit(comment("1", 7, "Удалено до нас")).await;
        assert_eq!((original.disposition(), original.state()), (Disposition::Tombstoned, MessageState::Withdrawn));
        assert_eq!(original.version, 1);
        let message = service.message("1").await.unwrap();
        assert_eq!(message.message_id, original.message_id);
        assert_eq!((message.versions.len(), message.versions[0].text.as_str()), (1, ""));
        assert_eq!(service.life_of(&original.message_id).await, ["MessageReceived", "MessageWithdrawn"]);
        assert_eq!(service.submit(comment("1", 7, "Удалено до нас")).await.disposition(), Disposition::Repeat);

        // Of the withdrawal of an old revision, what is newer knows nothing.
        service.withdraw("2", 3).await;
        assert_eq!(service.submit(comment("2", 4, "Написано заново")).await.disposition(), Disposition::New);
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_message_is_withdrawn_by_its_id() {
    on_each(|service, _| async move {
        let message_id = service.submit(comment("1", 0, "Нет света")).await.message_id;
        let request = |id: &str| WithdrawMessageRequest {
            target: Some(withdraw_message_request::Target::MessageId(id.into())),
            source_revision: 0,
            reason: WithdrawReason::AuthorRequest.into(),
        };
        let mut client = service.client.clone();
        let done = client.withdraw_message(request(&message_id)).await.unwrap().into_inner();
        assert_eq!(done.disposition(), WithdrawDisposition::Withdrawn);
        let unknown = client.withdraw_message(request("018f3b1e-0000-7000-8000-000000000001")).await.unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound);
        let nothing = client.withdraw_message(WithdrawMessageRequest::default()).await.unwrap_err();
        assert_eq!(fields(&nothing), ["reason", "target"]);
        let by_id = GetMessageRequest { target: Some(get_message_request::Target::MessageId(message_id)) };
        let message = client.get_message(by_id).await.unwrap().into_inner().message.unwrap();
        assert_eq!(message.state(), MessageState::Withdrawn);
        let nobody = GetMessageRequest { target: Some(get_message_request::Target::MessageId("7".into())) };
        assert_eq!(fields(&client.get_message(nobody).await.unwrap_err()), ["message_id"]);
        service.stop().await;
    })
    .await;
}
