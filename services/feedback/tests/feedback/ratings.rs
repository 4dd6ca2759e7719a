//! Ratings, and cases that come back.

use otklik_proto::{
    assignment::v1::{CaseAccepted, CaseAssigned, CaseReopened, CaseResolved, CaseState, ReopenReason},
    feedback::v1::{
        AnswerPublished, ListRatingsFilter, ListRatingsRequest, RatingRecorded, RecordRatingRequest, ReopenRequested,
        RequestReopenRequest,
    },
};
use tonic::Code;
use uuid::Uuid;

use crate::{
    on_each_database,
    stage::{Stage, refusal},
};

fn rate(case: Uuid, message: Uuid, score: u32, satisfied: bool) -> RecordRatingRequest {
    RecordRatingRequest {
        request_id: Uuid::new_v4().to_string(),
        case_id: case.to_string(),
        message_id: message.to_string(),
        score,
        satisfied,
        comment: if satisfied { "Спасибо".into() } else { String::new() },
        ..Default::default()
    }
}

on_each_database! {
    async fn authors_rate_what_they_got(stage: Stage) {
        let (case, messages) = stage.accepted_case(2);
        let mut client = stage.client.clone();
        let (code, reason, said) =
            refusal(client.record_rating(stage.by("gate;gateway", rate(case, messages[0], 5, true))).await);
        assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "NOT_ANSWERED"));
        assert!(said.contains("is ACCEPTED"), "{said}");
        let answer = stage.published(case).await;
        let stranger = client.record_rating(stage.by("gate;gateway", rate(case, Uuid::now_v7(), 5, true))).await;
        assert_eq!(refusal(stranger).0, Code::NotFound);
        let (code, _, said) = refusal(client.record_rating(stage.by("gate;gateway", rate(case, messages[0], 6, true))).await);
        assert_eq!(code, Code::InvalidArgument, "{said}");

        let request = rate(case, messages[0], 5, true);
        let first = client.record_rating(stage.by("gate;gateway", request.clone())).await.unwrap().into_inner();
        let again = client.record_rating(stage.by("gate;gateway", request)).await.unwrap().into_inner();
        assert_eq!(first, again);
        let first = first.rating.unwrap();
        assert_eq!((first.answer_id.as_str(), first.score, first.satisfied), (answer.answer_id.as_str(), 5, true));
        let second = client.record_rating(stage.by("gate;gateway", rate(case, messages[1], 4, true))).await.unwrap();
        assert!(second.into_inner().position.is_some());
        stage.told::<RatingRecorded>(2).await;
        stage.told::<ReopenRequested>(0).await;

        // A later rating of the same message replaces the one before, and its comment.
        stage.advance(jiff::SignedDuration::from_secs(1));
        let later = client.record_rating(stage.by("gate;gateway", rate(case, messages[0], 2, true))).await.unwrap();
        let later = later.into_inner().rating.unwrap();
        assert_eq!((later.rating_id.as_str(), later.satisfied), (first.rating_id.as_str(), false));
        let mut worse = rate(case, messages[0], 1, false);
        worse.reopen_reason = ReopenReason::NotDone.into();
        client.record_rating(stage.by("gate;gateway", worse)).await.unwrap();
        let filter = ListRatingsFilter { case_id: case.to_string(), ..Default::default() };
        let request = ListRatingsRequest { filter: Some(filter), ..Default::default() };
        let listed = client.list_ratings(stage.by("vera;observer", request)).await.unwrap().into_inner().ratings;
        assert_eq!(listed.iter().map(|rating| rating.score).collect::<Vec<_>>(), [1, 4]);
        assert_eq!(listed[0].comment, "");
        let asked = stage.told::<ReopenRequested>(2).await;
        assert_eq!((asked[0].reason(), asked[1].reason()), (ReopenReason::Dissatisfied, ReopenReason::NotDone));
        stage.stop().await;
    }

    async fn a_reopened_case_is_answered_again(stage: Stage) {
        let (case, messages) = stage.accepted_case(1);
        let case_id = case.to_string();
        let mut client = stage.client.clone();
        let reopen = || RequestReopenRequest {
            request_id: Uuid::new_v4().to_string(),
            case_id: case.to_string(),
            message_id: messages[0].to_string(),
            reason: ReopenReason::PoorQuality.into(),
        };
        let (code, reason, said) = refusal(client.request_reopen(stage.by("gate;gateway", reopen())).await);
        assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "CASE_STATE_FORBIDS"));
        assert!(said.contains("is ACCEPTED"), "{said}");

        let first = stage.published(case).await;
        stage.assignment_says(case, &CaseResolved { case_id: case_id.clone(), ..Default::default() });
        let request = reopen();
        let asked = client.request_reopen(stage.by("gate;gateway", request.clone())).await.unwrap().into_inner();
        let again = client.request_reopen(stage.by("gate;gateway", request)).await.unwrap().into_inner();
        assert_eq!(asked, again);
        assert_eq!(stage.told::<ReopenRequested>(1).await[0].reopen_request_id, asked.reopen_request_id);

        stage.assignment_says(case, &CaseReopened { case_id: case_id.clone(), reopen_count: 1, ..Default::default() });
        let executor_id = "roads".to_owned();
        stage.assignment_says(case, &CaseAssigned { case_id: case_id.clone(), executor_id, ..Default::default() });
        let (_, reason, _) = refusal(client.request_reopen(stage.by("gate;gateway", reopen())).await);
        assert_eq!(reason, "CASE_STATE_FORBIDS");
        // An author who is late to be dissatisfied is heard; the case is at work already.
        client.record_rating(stage.by("gate;gateway", rate(case, messages[0], 1, false))).await.unwrap();
        stage.told::<RatingRecorded>(1).await;
        stage.told::<ReopenRequested>(1).await;
        let (_, reason, _) = refusal(stage.draft(Stage::final_draft(case)).await);
        assert_eq!(reason, "CASE_STATE_FORBIDS");
        stage.assignment_says(case, &CaseAccepted { case_id, executor_id: "roads".into() });
        stage.set_state(case, CaseState::Accepted, 1);
        let second = stage.published(case).await;
        assert_ne!(first.answer_id, second.answer_id);
        stage.told::<AnswerPublished>(2).await;
        let rated = client.record_rating(stage.by("gate;gateway", rate(case, messages[0], 5, true))).await.unwrap();
        assert_eq!(rated.into_inner().rating.unwrap().answer_id, second.answer_id);
        stage.stop().await;
    }
}
