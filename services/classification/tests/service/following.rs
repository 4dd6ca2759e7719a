//! What intake's entries make of the store and the ledger.

use otklik_proto::{
    classification::v1::{
        ClassificationState, Decision, MessageClassified, MessageNotClassified, NotClassifiedReason, ReviewRequested,
    },
    intake::v1::TextStatus,
};
use tonic::Code;

use crate::{
    house::House,
    intake::{erased, received, rejected, revised, withdrawn},
};

const CLEAR: &str = "Во Владивостоке нет света, отключили электричество, когда включат свет?";
const UNCLEAR: &str = "Тирлим бом бом, барабам";

#[tokio::test(flavor = "multi_thread")]
async fn each_version_is_classified_once() {
    for mut house in House::all().await {
        let (clear, unclear) = (house.intake.message(CLEAR), house.intake.message(UNCLEAR));
        house.intake.text(clear, 2, TextStatus::Text, "Уже неделю не вывозят мусор, мусорные контейнеры переполнены");
        // Entries delivered twice, as after a producer's repeat.
        let twice =
            vec![received(clear, "vk"), received(unclear, "tg"), received(clear, "vk"), received(unclear, "tg")];
        let seen = house.intake.append(twice).await;

        let found = house.get(clear, &seen).await.unwrap();
        assert_eq!(found.state(), ClassificationState::Classified, "{}: {found:?}", house.name());
        assert_eq!((found.message_version, found.source_id.as_str()), (1, "vk"));
        let question = &found.questions[0];
        assert_eq!(question.topic, "housing-utilities.power-outage");
        assert_eq!(question.topic_group, "housing-utilities");
        assert_eq!(question.decision(), Decision::Auto);
        assert_eq!(question.place_ids[0], "vladivostok");
        assert_eq!((question.span_start, question.span_end as usize), (0, CLEAR.len()));

        let waiting = house.get(unclear, &seen).await.unwrap();
        assert_eq!(waiting.state(), ClassificationState::InReview);
        assert_eq!(waiting.questions[0].topic, "");
        assert_eq!(waiting.questions[0].place_ids[0], "artyom", "the source's place");

        let seen = house.intake.append(vec![revised(clear, 2, "vk"), received(clear, "vk")]).await;
        let edited = house.get(clear, &seen).await.unwrap();
        assert_eq!((edited.message_version, edited.questions[0].topic_group.as_str()), (2, "waste"));
        assert_eq!(edited.questions[0].question_id, question.question_id);
        assert_ne!(edited.etag, found.etag);

        let classified = house.events::<MessageClassified>().await;
        let versions: Vec<(String, u32)> =
            classified.iter().map(|(_, event)| (event.message_id.clone(), event.message_version)).collect();
        assert_eq!(versions, [(clear.to_string(), 1), (unclear.to_string(), 1), (clear.to_string(), 2)]);
        let (header, event) = &classified[0];
        assert_eq!(header.aggregate_id, clear.to_string());
        assert_eq!(header.subject_ids, [clear.to_string()]);
        assert_eq!(header.actor.as_ref().unwrap().subject, "service:classification");
        assert!(!header.cause_entry_id.is_empty());
        assert!(header.published_time.is_some() && header.received_time.is_some());
        let policies: Vec<&str> = header.policy_versions.iter().map(|policy| policy.name.as_str()).collect();
        assert_eq!(policies, ["model", "taxonomy"]);
        assert_eq!(event.origin.as_ref().unwrap().source_id, "vk");
        let requested = house.events::<ReviewRequested>().await;
        assert_eq!(requested.len(), 1);
        assert_eq!(requested[0].1.question_ids, [waiting.questions[0].question_id.clone()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_not_classified() {
    for mut house in House::all().await {
        let blank = house.intake.message("😀 !!!");
        let gone = house.intake.message("");
        house.intake.text(gone, 1, TextStatus::Withdrawn, "");
        let erased_early = house.intake.message("");
        house.intake.text(erased_early, 1, TextStatus::Erased, "");
        let waiting = house.intake.message(UNCLEAR);
        let decided = house.intake.message(CLEAR);
        let never_seen = house.intake.message(CLEAR);
        let first = vec![
            received(blank, "vk"),
            received(gone, "vk"),
            received(erased_early, "vk"),
            received(waiting, "vk"),
            received(decided, "vk"),
        ];
        house.intake.append(first).await;
        let then = vec![
            withdrawn(gone, 1),
            erased(erased_early),
            withdrawn(waiting, 1),
            withdrawn(decided, 1),
            // Out of order: the withdrawal before its original.
            withdrawn(never_seen, 1),
            received(never_seen, "vk"),
        ];
        let seen = house.intake.append(then).await;
        let expected = [
            (blank, NotClassifiedReason::Unreadable),
            (gone, NotClassifiedReason::Withdrawn),
            (erased_early, NotClassifiedReason::Erased),
            (waiting, NotClassifiedReason::Withdrawn),
            (never_seen, NotClassifiedReason::Withdrawn),
        ];
        for (message, reason) in expected {
            let found = house.get(message, &seen).await.unwrap();
            assert_eq!(found.state(), ClassificationState::NotClassified, "{}", house.name());
            assert_eq!(found.not_classified_reason(), reason);
        }
        let found = house.get(decided, &seen).await.unwrap();
        assert_eq!(found.state(), ClassificationState::Classified, "what was decided stays decided");
        let told = house.events::<MessageNotClassified>().await;
        let told: Vec<(String, i32)> = told.into_iter().map(|(_, event)| (event.message_id, event.reason)).collect();
        assert_eq!(told, expected.map(|(message, reason)| (message.to_string(), reason.into())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_intake_rejected_is_not_looked_at() {
    for mut house in House::all().await {
        let together = house.intake.message(CLEAR);
        let apart = house.intake.message(CLEAR);
        house.intake.append(vec![received(together, "vk"), rejected(together)]).await;
        // The rejection is cut off from its version: only intake's answer tells of it.
        house.intake.reject(apart, 1);
        let seen = house.intake.append(vec![received(apart, "vk")]).await;
        assert_eq!(house.get(apart, &seen).await.unwrap_err().code(), Code::NotFound, "{}", house.name());
        let seen = house.intake.append(vec![rejected(apart)]).await;
        for message in [together, apart] {
            assert_eq!(house.get(message, &seen).await.unwrap_err().code(), Code::NotFound);
        }
        assert!(house.entries().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_where_it_was() {
    for mut house in House::all().await {
        let mut messages = Vec::new();
        for _ in 0..300 {
            messages.push(house.intake.message(CLEAR));
        }
        let (before, after) = messages.split_at(150);
        let seen = house.intake.append(before.iter().map(|id| received(*id, "vk")).collect()).await;
        house.get(before[0], &seen).await.unwrap();
        let mut house = house.restart().await;
        let seen = house.intake.append(after.iter().map(|id| received(*id, "vk")).collect()).await;
        for message in &messages {
            house.get(*message, &seen).await.unwrap();
        }
        let classified = house.events::<MessageClassified>().await;
        let ids: Vec<String> = classified.into_iter().map(|(_, event)| event.message_id).collect();
        assert_eq!(ids, messages.iter().map(ToString::to_string).collect::<Vec<_>>(), "{}", house.name());
    }
}
