//! Messages that go, and what goes with them.

use std::sync::atomic::Ordering;

use otklik_proto::{
    feedback::v1::{
        AnswerPublished, DeliveryGivenUp, ErasureComplied, GetAnswerRequest, GiveUpReason, ListRatingsRequest,
        RatingRecorded, RecordRatingRequest,
    },
    intake::v1::{MessageErased, MessageWithdrawn, TextStatus},
};
use uuid::Uuid;

use crate::{
    on_each_database,
    peers::locked,
    stage::{header, refusal},
};

fn erased(message: Uuid) -> MessageErased {
    MessageErased { message_id: message.to_string(), version: 1, author_key: "key".into() }
}

on_each_database! {
    async fn messages_that_are_gone_get_no_answer(stage: Stage) {
        let (case, messages) = stage.accepted_case(3);
        locked(&stage.messages.status).insert(messages[0].to_string(), TextStatus::Withdrawn);
        // Intake has not said so when asked, and says it in its ledger.
        stage.intake_says(messages[1], &erased(messages[1]));
        stage.published(case).await;
        let given_up = stage.told::<DeliveryGivenUp>(2).await;
        let mut reasons: Vec<(String, GiveUpReason)> =
            given_up.iter().map(|event| (event.message_id.clone(), event.reason())).collect();
        reasons.sort();
        let expected =
            [(messages[0].to_string(), GiveUpReason::Withdrawn), (messages[1].to_string(), GiveUpReason::Erased)];
        assert_eq!(reasons, expected);
        assert_eq!(stage.sent(1).await[0].trace_id, messages[2].simple().to_string());
        stage.stop().await;
    }

    async fn what_waits_is_given_up_when_its_message_goes(stage: Stage) {
        stage.channel.down.store(true, Ordering::SeqCst);
        let (case, messages) = stage.accepted_case(3);
        let answer = stage.published(case).await;
        stage.intake_says(messages[0], &erased(messages[0]));
        stage.intake_says(messages[1], &MessageWithdrawn { message_id: messages[1].to_string(), ..Default::default() });
        let given_up = stage.told::<DeliveryGivenUp>(2).await;
        assert_eq!((given_up[0].reason(), given_up[1].reason()), (GiveUpReason::Erased, GiveUpReason::Withdrawn));
        let complied = stage.told::<ErasureComplied>(1).await;
        assert_eq!(complied[0].given_up_delivery_count, 1);
        assert_eq!(complied[0].erased_answer_count, 0, "others still read the answer");
        stage.channel.down.store(false, Ordering::SeqCst);
        assert_eq!(stage.sent(1).await[0].trace_id, messages[2].simple().to_string());
        assert_eq!(stage.deliveries(&answer).await.len(), 3);
        stage.stop().await;
    }

    async fn derived_texts_go_with_the_last_message(stage: Stage) {
        let (case, messages) = stage.accepted_case(2);
        let answer = stage.published(case).await;
        let rate = |message: Uuid| RecordRatingRequest {
            request_id: Uuid::new_v4().to_string(),
            case_id: case.to_string(),
            message_id: message.to_string(),
            score: 5,
            satisfied: true,
            comment: "Спасибо, у дома 5 теперь светло".into(),
            ..Default::default()
        };
        let mut client = stage.client.clone();
        let rating = client.record_rating(stage.by("gate;gateway", rate(messages[0]))).await.unwrap().into_inner().rating;
        assert_eq!(rating.unwrap().comment, "Спасибо, у дома 5 теперь светло");

        stage.intake_says(messages[0], &erased(messages[0]));
        let complied = stage.told::<ErasureComplied>(1).await.remove(0);
        assert_eq!((complied.message_id.as_str(), complied.erased_comment_count), (messages[0].to_string().as_str(), 1));
        assert_eq!(complied.erased_answer_count, 0);
        let ratings = client.list_ratings(stage.by("vera;observer", ListRatingsRequest::default())).await.unwrap().into_inner();
        assert_eq!((ratings.ratings.len(), ratings.ratings[0].comment.as_str()), (1, ""));
        // Nothing that an erased author says is kept.
        let rating = client.record_rating(stage.by("gate;gateway", rate(messages[0]))).await.unwrap().into_inner().rating;
        assert_eq!(rating.unwrap().comment, "");
        stage.told::<RatingRecorded>(2).await;

        stage.intake_says(messages[1], &erased(messages[1]));
        let complied = stage.told::<ErasureComplied>(2).await.remove(1);
        assert_eq!((complied.erased_comment_count, complied.erased_answer_count), (0, 1));
        let entry = stage.ledger.borrow().last().cloned().unwrap();
        let header = header(&entry);
        assert_eq!((header.aggregate_kind.as_str(), header.aggregate_id), ("message", messages[1].to_string()));
        assert_eq!(header.subject_ids, [case.to_string()]);
        let request = GetAnswerRequest { answer_id: answer.answer_id.clone() };
        let read = client.get_answer(stage.by("vera;curator", request)).await.unwrap().into_inner().answer.unwrap();
        assert_eq!((read.text.as_str(), read.message_ids.len()), ("", 2));

        // The same fact again (a stranger's message, too) changes nothing or is simply complied with.
        stage.intake_says(messages[1], &erased(messages[1]));
        let stranger = Uuid::now_v7();
        stage.intake_says(stranger, &erased(stranger));
        assert_eq!(stage.told::<ErasureComplied>(3).await[2].message_id, stranger.to_string());
        stage.stop().await;
    }

    async fn a_case_goes_on_when_all_its_messages_are_erased(stage: Stage) {
        let (case, messages) = stage.accepted_case(1);
        let answer = stage.approved(case).await;
        stage.intake_says(messages[0], &erased(messages[0]));
        assert_eq!(stage.told::<ErasureComplied>(1).await[0].erased_answer_count, 1);
        // A message that is not erased joins: it can't be sent words that are no more.
        let newcomer = Uuid::now_v7();
        let joined = otklik_proto::assignment::v1::MessageJoined {
            case_id: case.to_string(),
            message_id: newcomer.to_string(),
            ..Default::default()
        };
        stage.assignment_says(case, &joined);
        let member = |id: Uuid| otklik_proto::assignment::v1::CaseMember { message_id: id.to_string(), ..Default::default() };
        locked(&stage.cases.known).get_mut(&case.to_string()).unwrap().members.push(member(newcomer));
        let (_, reason, said) = refusal(stage.publish(&answer).await);
        assert_eq!(reason, "ANSWER_STATE_FORBIDS");
        assert!(said.contains("erased"), "{said}");
        locked(&stage.cases.known).get_mut(&case.to_string()).unwrap().members.pop();
        stage.publish(&answer).await.unwrap();
        stage.told::<AnswerPublished>(1).await;
        assert_eq!(stage.told::<DeliveryGivenUp>(1).await[0].reason(), GiveUpReason::Erased);
        stage.sent(0).await;
        stage.stop().await;
    }
}
