//! The review queue and what people decide.

use otklik_proto::{
    classification::v1::{
        Classification, ClassificationCorrected, ClassificationState, CorrectClassificationRequest, CorrectedQuestion,
        CorrectionReason, Decision, ListReviewQueueFilter, ListReviewQueueRequest, QuestionKind, Urgency,
    },
    ledger::v1::Position,
};
use tonic::Code;
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::{
    house::House,
    intake::{received, withdrawn},
};

const UNCLEAR: &str = "Тирлим бом бом, барабам";
const URGENT: &str = "Срочно помогите, тирлим бом бом";

fn correction(of: &Classification, request_id: &str, topic: &str) -> CorrectClassificationRequest {
    CorrectClassificationRequest {
        request_id: request_id.to_owned(),
        message_id: of.message_id.clone(),
        etag: of.etag.clone(),
        questions: vec![CorrectedQuestion {
            question_id: of.questions[0].question_id.clone(),
            topic: topic.to_owned(),
            kind: QuestionKind::Complaint.into(),
            urgency: Urgency::High.into(),
            place_ids: vec!["vladivostok".to_owned()],
        }],
        reason: CorrectionReason::WrongTopic.into(),
    }
}

async fn waiting(house: &mut House, text: &str, source: &str) -> (Uuid, Position) {
    let message = house.intake.message(text);
    let seen = house.intake.append(vec![received(message, source)]).await;
    house.get(message, &seen).await.unwrap();
    (message, seen)
}

async fn queue(house: &mut House, source: &str, page_size: i32) -> Vec<String> {
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let filter = Some(ListReviewQueueFilter { source_id: source.to_owned() });
        let request = ListReviewQueueRequest { filter, page_size, page_token };
        let page = house.client.list_review_queue(request).await.unwrap().into_inner();
        assert!(page.classifications.len() <= page_size as usize);
        found.extend(page.classifications.into_iter().map(|c| c.message_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_urgent_first_and_then_by_age() {
    for mut house in House::all().await {
        let mut messages = Vec::new();
        for (text, source) in [(UNCLEAR, "vk"), (URGENT, "tg"), (UNCLEAR, "tg"), (URGENT, "vk"), (UNCLEAR, "vk")] {
            messages.push(waiting(&mut house, text, source).await.0.to_string());
        }
        let expected = |order: &[usize]| order.iter().map(|n| messages[*n].clone()).collect::<Vec<_>>();
        assert_eq!(queue(&mut house, "", 2).await, expected(&[1, 3, 0, 2, 4]), "{}", house.name());
        assert_eq!(queue(&mut house, "vk", 1).await, expected(&[3, 0, 4]));
        assert_eq!(queue(&mut house, "other", 10).await, expected(&[]));
        for (page_size, page_token) in [(-1, ""), (10, "nonsense")] {
            let request = ListReviewQueueRequest { filter: None, page_size, page_token: page_token.to_owned() };
            assert_eq!(house.client.list_review_queue(request).await.unwrap_err().code(), Code::InvalidArgument);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_decides_once() {
    for mut house in House::all().await {
        let (message, seen) = waiting(&mut house, UNCLEAR, "vk").await;
        let before = house.get(message, &seen).await.unwrap();
        let request = correction(&before, "first", "roads.potholes");
        let answer = house.client.correct_classification(request.clone()).await.unwrap().into_inner();
        let after = answer.classification.unwrap();
        assert_eq!(after.state(), ClassificationState::Classified, "{}", house.name());
        assert_eq!(
            (after.questions[0].topic.as_str(), after.questions[0].decision()),
            ("roads.potholes", Decision::Human)
        );
        assert_eq!((after.questions[0].topic_group.as_str(), after.questions[0].urgency()), ("roads", Urgency::High));
        assert!(after.correct_time.is_some());
        assert_eq!(queue(&mut house, "", 10).await, Vec::<String>::new());

        // The same call again, another body under its id, and a look that has become old.
        let again = house.client.correct_classification(request.clone()).await.unwrap().into_inner();
        assert_eq!((again.classification.unwrap(), again.position), (after.clone(), answer.position));
        let reused = CorrectClassificationRequest { reason: CorrectionReason::Confirmed.into(), ..request.clone() };
        let reused = house.client.correct_classification(reused).await.unwrap_err();
        assert_eq!(reused.get_error_details().error_info().unwrap().reason, "REQUEST_ID_REUSED");
        let stale = CorrectClassificationRequest { request_id: "second".to_owned(), ..request };
        let stale = house.client.correct_classification(stale).await.unwrap_err();
        assert_eq!(stale.code(), Code::Aborted);
        assert_eq!(stale.get_error_details().error_info().unwrap().reason, "ETAG_MISMATCH");

        let events = house.events::<ClassificationCorrected>().await;
        assert_eq!(events.len(), 1);
        let (header, event) = &events[0];
        assert_eq!((header.reason.as_str(), event.message_version), ("CORRECTION_REASON_WRONG_TOPIC", 1));
        assert_eq!(header.actor.as_ref().unwrap().subject, "local");
        assert_eq!(event.questions, after.questions);
        assert_eq!(event.origin.as_ref().unwrap().source_id, "vk");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_corrected_is_refused_whole() {
    for mut house in House::all().await {
        let (message, seen) = waiting(&mut house, UNCLEAR, "vk").await;
        let before = house.get(message, &seen).await.unwrap();
        let wrong = CorrectClassificationRequest {
            request_id: String::new(),
            message_id: "7".to_owned(),
            etag: String::new(),
            questions: vec![CorrectedQuestion {
                question_id: "x".to_owned(),
                topic: "roads.nowhere".to_owned(),
                kind: 0,
                urgency: 99,
                place_ids: vec!["atlantis".to_owned()],
            }],
            reason: 0,
        };
        let refused = house.client.correct_classification(wrong).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        let violations = refused.get_error_details().bad_request().unwrap().field_violations.clone();
        let mut fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
        fields.sort_unstable();
        let all = [
            "etag",
            "message_id",
            "questions[0].kind",
            "questions[0].place_ids[0]",
            "questions[0].question_id",
            "questions[0].topic",
            "questions[0].urgency",
            "reason",
            "request_id",
        ];
        assert_eq!(fields, all, "{}", house.name());

        let foreign = CorrectClassificationRequest {
            questions: vec![CorrectedQuestion {
                question_id: message.to_string(),
                ..correction(&before, "", "roads.potholes").questions[0].clone()
            }],
            ..correction(&before, "foreign", "roads.potholes")
        };
        // Nothing was recognised, so there is nothing to confirm either.
        let unnamed = CorrectClassificationRequest { questions: Vec::new(), ..correction(&before, "unnamed", "") };
        for request in [foreign, unnamed] {
            assert_eq!(house.client.correct_classification(request).await.unwrap_err().code(), Code::InvalidArgument);
        }
        let unknown = CorrectClassificationRequest {
            message_id: Uuid::nil().to_string(),
            ..correction(&before, "unknown", "roads.potholes")
        };
        assert_eq!(house.client.correct_classification(unknown).await.unwrap_err().code(), Code::NotFound);

        let seen = house.intake.append(vec![withdrawn(message, 1)]).await;
        let gone = house.get(message, &seen).await.unwrap();
        let refused =
            house.client.correct_classification(correction(&gone, "gone", "roads.potholes")).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(refused.get_error_details().error_info().unwrap().reason, "MESSAGE_NOT_CLASSIFIABLE");
        assert!(house.events::<ClassificationCorrected>().await.is_empty());
    }
}
