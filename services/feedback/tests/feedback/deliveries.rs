//! How deliveries reach the channel, or don't.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use otklik_feedback::domain::delivery::{LEASE, MOST_ATTEMPTS, pause_after};
use otklik_proto::{
    channel::v1::DeliveryOutcome,
    feedback::v1::{
        AnswerDelivered, DeliveryGivenUp, DeliveryState, GiveUpReason, ListDeliveriesFilter, ListDeliveriesRequest,
        RatingRecorded, RecordRatingRequest,
    },
    time::to_micros,
};

use sea_orm::ConnectionTrait;
use uuid::Uuid;

use crate::{on_each_database, stage::Stage};

on_each_database! {
    async fn a_delivery_that_fails_is_tried_again_by_the_clock(stage: Stage) {
        stage.channel.set(|_, attempt| match attempt {
            1 | 2 => (DeliveryOutcome::Retry, "RATE_LIMITED"),
            _ => (DeliveryOutcome::AlreadyDelivered, ""),
        });
        let (case, _) = stage.accepted_case(1);
        let answer = stage.published(case).await;
        for attempt in 1..=2 {
            stage.sent(attempt).await;
            let delivery = stage.settled(&answer, attempt as u32).await;
            assert_eq!((delivery.state(), delivery.last_error.as_str()), (DeliveryState::Retrying, "RATE_LIMITED"));
            let next = to_micros(&delivery.next_attempt_time.unwrap());
            assert_eq!(next - stage.now().as_microsecond(), pause_after(attempt as u32).as_micros() as i64);
            stage.advance(pause_after(attempt as u32));
        }
        let delivered = stage.told::<AnswerDelivered>(1).await;
        assert_eq!(delivered[0].attempts, 3);
        stage.stop().await;
    }

    async fn a_delivery_that_always_fails_is_given_up(stage: Stage) {
        stage.channel.set(|_, _| (DeliveryOutcome::Retry, "что-то про гражданина"));
        let (case, _) = stage.accepted_case(1);
        let answer = stage.published(case).await;
        for attempt in 1..MOST_ATTEMPTS {
            stage.settled(&answer, attempt).await;
            stage.advance(pause_after(attempt));
        }
        let given_up = stage.told::<DeliveryGivenUp>(1).await;
        assert_eq!((given_up[0].reason(), given_up[0].attempts), (GiveUpReason::Exhausted, MOST_ATTEMPTS));
        let filter = ListDeliveriesFilter { states: vec![DeliveryState::GivenUp.into()], ..Default::default() };
        let request = ListDeliveriesRequest { filter: Some(filter), ..Default::default() };
        let listed = stage.client.clone().list_deliveries(stage.by("vera;observer", request)).await.unwrap().into_inner();
        assert_eq!((listed.deliveries.len(), listed.deliveries[0].last_error.as_str()), (1, "OTHER"));
        stage.stop().await;
    }

    async fn a_refused_delivery_is_given_up_and_fails_no_other(stage: Stage) {
        let (case, messages) = stage.accepted_case(3);
        let blocked = messages[1].simple().to_string();
        stage.channel.set(move |delivery, _| match delivery.trace_id == blocked {
            true => (DeliveryOutcome::Refused, "AUTHOR_BLOCKED_US"),
            false => (DeliveryOutcome::Delivered, ""),
        });
        stage.published(case).await;
        stage.told::<AnswerDelivered>(2).await;
        let given_up = stage.told::<DeliveryGivenUp>(1).await;
        assert_eq!((given_up[0].reason(), given_up[0].message_id.clone()), (GiveUpReason::Refused, messages[1].to_string()));
        stage.stop().await;
    }

    async fn a_channel_out_of_reach_costs_no_attempt(stage: Stage) {
        stage.channel.down.store(true, Ordering::SeqCst);
        let (case, _) = stage.accepted_case(2);
        let answer = stage.published(case).await;
        let mut failures = stage.channel.failures.subscribe();
        failures.wait_for(|failures| *failures >= 2).await.unwrap();
        for delivery in stage.deliveries(&answer).await {
            assert_eq!((delivery.state(), delivery.attempts), (DeliveryState::Pending, 0));
        }
        stage.channel.down.store(false, Ordering::SeqCst);
        for delivered in stage.told::<AnswerDelivered>(2).await {
            assert_eq!(delivered.attempts, 1);
        }
        stage.stop().await;
    }

    async fn without_a_channel_deliveries_wait_for_one(stage: Stage) {
        stage.stop().await;
        stage.start_with(&["assignment", "intake"]).await;
        let (case, _) = stage.accepted_case(2);
        let answer = stage.published(case).await;
        assert!(stage.deliveries(&answer).await.iter().all(|delivery| delivery.state() == DeliveryState::Pending));
        stage.stop().await;
        stage.start().await;
        stage.told::<AnswerDelivered>(2).await;
        stage.sent(2).await;
        stage.stop().await;
    }
}

/// A service that died had taken deliveries up: on SQLite its successor knows that nobody else can have, a replica waits
/// for the end of the lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_service_had_taken_up_is_sent() {
    for database in otklik_chassis::testing::databases().await {
        let mut stage = Stage::bare(database).await;
        stage.start_with(&["assignment", "intake"]).await;
        let (case, _) = stage.accepted_case(2);
        stage.published(case).await;
        stage.stop().await;
        let storage = stage.database.open("feedback").await;
        let until = (stage.now() + LEASE).as_microsecond();
        let taken = storage.statement("UPDATE deliveries SET leased = 1, due_us = $1", [until.into()]);
        let tx = storage.begin().await.unwrap();
        assert_eq!(tx.execute_raw(taken).await.unwrap().rows_affected(), 2);
        tx.commit().await.unwrap();
        storage.close().await;
        stage.start().await;
        if stage.database.name == "postgres" {
            stage.told::<AnswerDelivered>(0).await;
            stage.advance(LEASE);
        }
        stage.told::<AnswerDelivered>(2).await;
        stage.sent(2).await;
        stage.stop().await;
    }
}

/// A crowd: whatever is asked together is done together, and nothing is lost or mixed up in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_answered() {
    for database in otklik_chassis::testing::databases().await {
        let mut stage = Stage::set(database).await;
        let cases: Vec<_> = (0..300).map(|_| stage.accepted_case(1)).collect();
        let one = |(case, messages): (Uuid, Vec<Uuid>)| {
            let stage = &stage;
            async move {
                let answer = stage.published(case).await;
                assert_eq!(answer.message_ids, [messages[0].to_string()]);
                let rating = RecordRatingRequest {
                    request_id: Uuid::new_v4().to_string(),
                    case_id: case.to_string(),
                    message_id: messages[0].to_string(),
                    satisfied: true,
                    ..Default::default()
                };
                let rating = stage.client.clone().record_rating(stage.by("gate;gateway", rating)).await.unwrap();
                assert_eq!(rating.into_inner().rating.unwrap().answer_id, answer.answer_id);
            }
        };
        futures::future::join_all(cases.into_iter().map(one)).await;
        stage.told::<AnswerDelivered>(300).await;
        stage.told::<RatingRecorded>(300).await;
        stage.sent(300).await;
        stage.stop().await;
    }
}

/// Replicas share the deliveries: each is sent once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_do_not_send_the_same_twice() {
    let Some(database) = otklik_chassis::testing::postgres().await else { return };
    let mut stage = Stage::set(database).await;
    let replica = stage.replica(&["assignment", "intake", "channel"]).await;
    stage.channel.down.store(true, Ordering::SeqCst);
    let mut cases = Vec::new();
    for _ in 0..6 {
        let (case, _) = stage.accepted_case(100);
        cases.push(case);
    }
    for case in cases {
        stage.published(case).await;
    }
    stage.channel.down.store(false, Ordering::SeqCst);
    stage.told::<AnswerDelivered>(600).await;
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for delivery in stage.sent(600).await {
        *times.entry(delivery.delivery_id).or_default() += 1;
    }
    assert_eq!(times.len(), 600);
    replica.shut_down();
    replica.stopped().await.unwrap();
    stage.stop().await;
}
