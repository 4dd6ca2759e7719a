//! From the draft to the publication.

use otklik_proto::{
    EventType,
    assignment::v1::{CaseState, CaseSuspended, Outcome},
    feedback::v1::{
        Answer, AnswerDelivered, AnswerDrafted, AnswerKind, AnswerPublished, AnswerState, ApproveAnswerRequest,
        DeliveryState, DraftAnswerRequest, GetAnswerRequest, ListAnswersFilter, ListAnswersRequest,
        PublishAnswerRequest, SendBackAnswerRequest, SendBackReason,
    },
};
use tonic::Code;
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::{
    on_each_database,
    peers::locked,
    stage::{Stage, header, refusal},
};

fn send_back(answer: &Answer, comment: &str) -> SendBackAnswerRequest {
    SendBackAnswerRequest {
        request_id: Uuid::new_v4().to_string(),
        answer_id: answer.answer_id.clone(),
        etag: String::new(),
        reason: SendBackReason::EmptyReply.into(),
        comment: comment.into(),
    }
}

on_each_database! {
    async fn an_answer_goes_its_whole_way(stage: Stage) {
        let (case, mut messages) = stage.accepted_case(2);
        messages.sort();
        let answer = stage.draft(Stage::final_draft(case)).await.unwrap();
        assert_eq!((answer.state(), answer.revision, answer.drafted_by.as_str()), (AnswerState::Drafted, 1, "anna"));
        let (code, reason, said) = refusal(stage.approve("anna;approver", &answer).await);
        assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "FOUR_EYES"), "{said}");
        let (code, reason, said) = refusal(stage.publish(&answer).await);
        assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "ANSWER_STATE_FORBIDS"));
        assert!(said.contains("is DRAFTED") && said.contains("ApproveAnswer"), "{said}");

        let answer = stage.approve("boris;approver", &answer).await.unwrap();
        assert_eq!((answer.state(), answer.approved_by.as_str()), (AnswerState::Approved, "boris"));
        assert_eq!(answer.text, Stage::final_draft(case).text);
        let answer = stage.publish(&answer).await.unwrap();
        assert_eq!(answer.message_ids, messages.iter().map(Uuid::to_string).collect::<Vec<_>>());
        assert_eq!(answer.state(), AnswerState::Published);

        stage.told::<AnswerDelivered>(2).await;
        let sent = stage.sent(2).await;
        for delivery in &sent {
            assert_eq!((delivery.text.as_str(), delivery.source_id.as_str()), (answer.text.as_str(), "vk"));
            let message = Uuid::parse_str(&delivery.trace_id).unwrap();
            assert_eq!(delivery.reply_to_external_id, format!("item-{message}"));
        }
        for delivery in stage.deliveries(&answer).await {
            assert_eq!((delivery.state(), delivery.attempts), (DeliveryState::Delivered, 1));
            assert!(delivery.deliver_time.is_some() && delivery.next_attempt_time.is_none());
        }
        assert_eq!(
            stage.types(),
            ["AnswerDrafted", "AnswerApproved", "AnswerPublished", "AnswerDelivered", "AnswerDelivered"]
        );
        let after = locked(&stage.cases.after).clone();
        assert!(after.len() == 1 && after[0].starts_with("feedback/") && after[0].ends_with("/0/2"), "{after:?}");

        // Entries name the case and every message, and tell no word of the text.
        let entries = stage.ledger.borrow().clone();
        for entry in &entries {
            let header = header(entry);
            assert_eq!((header.aggregate_kind.as_str(), header.aggregate_id), ("case", case.to_string()));
            let all = [AnswerDrafted::TYPE, AnswerPublished::TYPE].contains(&entry.r#type.as_str());
            assert!(!all || header.subject_ids.len() == 2);
            assert!(!String::from_utf8_lossy(&entry.payload).contains("Яма"));
        }
        assert_eq!(header(&entries[1]).actor.unwrap().subject, "boris");
        assert_eq!(header(&entries[3]).actor.unwrap().subject, "service:feedback");

        let (_, reason, _) = refusal(stage.publish(&answer).await);
        assert_eq!(reason, "ANSWER_STATE_FORBIDS");
        let filter = ListAnswersFilter { message_id: messages[1].to_string(), ..Default::default() };
        let request = ListAnswersRequest { filter: Some(filter), ..Default::default() };
        let listed = stage.client.clone().list_answers(stage.by("vera;curator", request)).await.unwrap().into_inner();
        assert_eq!(listed.answers, std::slice::from_ref(&answer));
        let request = GetAnswerRequest { answer_id: answer.answer_id.clone() };
        let read = stage.client.clone().get_answer(stage.by("vera;curator", request)).await.unwrap().into_inner();
        assert_eq!(read.answer, Some(answer));
        stage.stop().await;
    }

    async fn repeats_are_answered_alike(stage: Stage) {
        let (case, _) = stage.accepted_case(1);
        let mut client = stage.client.clone();
        let request = Stage::final_draft(case);
        let first = client.draft_answer(stage.by("anna;executor", request.clone())).await.unwrap().into_inner();
        let again = client.draft_answer(stage.by("anna;executor", request.clone())).await.unwrap().into_inner();
        assert_eq!(first, again);
        let other = DraftAnswerRequest { text: "Другой текст".into(), ..request };
        let (_, reason, _) = refusal(client.draft_answer(stage.by("anna;executor", other)).await);
        assert_eq!(reason, "REQUEST_ID_REUSED");

        let answer = stage.approve("boris;approver", &first.answer.unwrap()).await.unwrap();
        let publish = PublishAnswerRequest { request_id: "p".into(), answer_id: answer.answer_id.clone(), etag: answer.etag };
        let first = client.publish_answer(stage.by("anna;executor", publish.clone())).await.unwrap().into_inner();
        // The case has moved on meanwhile: a repeat is answered all the same.
        stage.set_state(case, CaseState::Resolved, 0);
        let again = client.publish_answer(stage.by("anna;executor", publish)).await.unwrap().into_inner();
        assert_eq!(first, again);
        stage.told::<AnswerPublished>(1).await;
        stage.stop().await;
    }

    async fn an_answer_is_sent_back_and_drafted_anew(stage: Stage) {
        let (case, _) = stage.accepted_case(1);
        let first = stage.approved(case).await;
        let request = stage.by("boris;approver", send_back(&first, "кто и когда?"));
        let sent_back = stage.client.clone().send_back_answer(request).await.unwrap().into_inner().answer.unwrap();
        assert_eq!((sent_back.state(), sent_back.approved_by.as_str()), (AnswerState::SentBack, ""));
        assert_eq!((sent_back.send_back_reason(), sent_back.send_back_comment.as_str()), (SendBackReason::EmptyReply, "кто и когда?"));
        let (_, reason, said) = refusal(stage.approve("boris;approver", &sent_back).await);
        assert_eq!(reason, "ANSWER_STATE_FORBIDS");
        assert!(said.contains("is SENT_BACK"), "{said}");

        let anew = DraftAnswerRequest {
            answer_id: first.answer_id.clone(),
            etag: first.etag.clone(),
            text: "Засыпала служба дорог 18 ноября.".into(),
            ..Stage::final_draft(case)
        };
        let (code, reason, _) = refusal(stage.draft(anew.clone()).await);
        assert_eq!((code, reason.as_str()), (Code::Aborted, "ETAG_MISMATCH"));
        let answer = stage.draft(DraftAnswerRequest { etag: sent_back.etag, ..anew }).await.unwrap();
        assert_eq!((answer.revision, answer.state(), answer.answer_id.as_str()), (2, AnswerState::Drafted, first.answer_id.as_str()));
        assert_eq!((answer.text.as_str(), answer.send_back_comment.as_str()), ("Засыпала служба дорог 18 ноября.", "кто и когда?"));
        let drafted = stage.told::<AnswerDrafted>(2).await;
        assert_ne!(drafted[0].text_commitment, drafted[1].text_commitment);
        assert_eq!((drafted[1].revision, drafted[1].text_commitment.len()), (2, 32));
        stage.stop().await;
    }

    async fn only_a_case_at_work_is_answered(stage: Stage) {
        let (_, reason, _) = refusal(stage.draft(Stage::final_draft(Uuid::now_v7())).await);
        assert_eq!(reason, "CASE_NOT_FOUND");
        let (assigned, _) = stage.assigned_case(1);
        let (code, reason, said) = refusal(stage.draft(Stage::final_draft(assigned)).await);
        assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "CASE_STATE_FORBIDS"));
        assert!(said.contains("is ASSIGNED") && said.contains("AcceptCase"), "{said}");

        let (case, _) = stage.accepted_case(1);
        let answer = stage.approved(case).await;
        // The owner knows better than what was heard of it.
        stage.set_state(case, CaseState::Cancelled, 0);
        let (code, reason, said) = refusal(stage.publish(&answer).await);
        assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "CASE_STATE_FORBIDS"));
        assert!(said.contains("is CANCELLED"), "{said}");
        stage.cases.down.store(true, std::sync::atomic::Ordering::SeqCst);
        let status = stage.publish(&answer).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.get_error_details().retry_info().is_some());
        stage.cases.down.store(false, std::sync::atomic::Ordering::SeqCst);
        stage.told::<AnswerPublished>(0).await;

        let (suspended, _) = stage.accepted_case(1);
        stage.assignment_says(suspended, &CaseSuspended { case_id: suspended.to_string(), ..Default::default() });
        let (_, reason, said) = refusal(stage.draft(Stage::final_draft(suspended)).await);
        assert_eq!(reason, "CASE_STATE_FORBIDS");
        assert!(said.contains("is SUSPENDED") && said.contains("ResumeCase"), "{said}");
        stage.stop().await;
    }

    async fn interim_answers_leave_the_final_one_open(stage: Stage) {
        let (case, _) = stage.accepted_case(1);
        for kind in [AnswerKind::FirstResponse, AnswerKind::Interim] {
            let request = DraftAnswerRequest { kind: kind.into(), outcome: 0, ..Stage::final_draft(case) };
            let answer = stage.draft(request).await.unwrap();
            let answer = stage.approve("boris;approver", &answer).await.unwrap();
            stage.publish(&answer).await.unwrap();
        }
        let (one, other) = (stage.approved(case).await, stage.approved(case).await);
        stage.publish(&one).await.unwrap();
        let (_, reason, said) = refusal(stage.publish(&other).await);
        assert_eq!(reason, "CASE_STATE_FORBIDS");
        assert!(said.contains("is ANSWER_PUBLISHED") && said.contains(&one.answer_id), "{said}");
        let (_, reason, _) = refusal(stage.draft(Stage::final_draft(case)).await);
        assert_eq!(reason, "CASE_STATE_FORBIDS");
        stage.told::<AnswerPublished>(3).await;
        stage.stop().await;
    }

    async fn a_template_gives_the_text(stage: Stage) {
        let (case, _) = stage.accepted_case(1);
        let promised = DraftAnswerRequest {
            outcome: Outcome::Promised.into(),
            promise_date: "2020-12-01".into(),
            template_id: "final-promised".into(),
            text: String::new(),
            ..Stage::final_draft(case)
        };
        let status = stage.draft(promised.clone()).await.unwrap_err();
        let details = status.get_error_details();
        let violations = &details.bad_request().unwrap().field_violations;
        assert_eq!((violations.len(), violations[0].field.as_str()), (1, "text"));
        assert!(violations[0].description.ends_with("executor, plan"), "{}", violations[0].description);

        let text = "По сообщению № {case_number}: дорогу починят до {deadline}.";
        let answer = stage.draft(DraftAnswerRequest { text: text.into(), ..promised }).await.unwrap();
        assert_eq!(answer.text, "По сообщению № 2020-000007: дорогу починят до 01.12.2020.");
        assert_eq!((answer.template_id.as_str(), answer.promise_date.as_str()), ("final-promised", "2020-12-01"));
        stage.told::<AnswerDrafted>(1).await;
        let entries = stage.ledger.borrow().clone();
        assert_eq!(header(&entries[0]).policy_versions[0].name, "templates");
        stage.stop().await;
    }

    async fn bad_input_is_refused_whole(stage: Stage) {
        let (case, _) = stage.accepted_case(1);
        let wrong = DraftAnswerRequest {
            request_id: String::new(),
            case_id: "7".into(),
            etag: "v1".into(),
            outcome: Outcome::Promised.into(),
            promise_date: "tomorrow".into(),
            kind: 77,
            template_id: "no-such".into(),
            text: "я".repeat(10_000),
            proof_urls: vec!["file:///etc/passwd".into()],
            ..Stage::final_draft(case)
        };
        let status = stage.draft(wrong).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        let mut fields: Vec<&str> = details.bad_request().unwrap().field_violations.iter().map(|v| v.field.as_str()).collect();
        fields.sort_unstable();
        fields.dedup();
        assert_eq!(
            fields,
            ["case_id", "etag", "kind", "promise_date", "proof_urls[0]", "request_id", "template_id", "text"]
        );
        let mut client = stage.client.clone();
        let unknown = ApproveAnswerRequest { request_id: "a".into(), answer_id: Uuid::now_v7().to_string(), etag: String::new() };
        assert_eq!(refusal(client.approve_answer(stage.by("boris;approver", unknown)).await).0, Code::NotFound);
        let negative = ListAnswersRequest { page_size: -1, page_token: "!".into(), ..Default::default() };
        let status = client.list_answers(stage.by("vera;curator", negative)).await.unwrap_err();
        assert_eq!(status.get_error_details().bad_request().unwrap().field_violations.len(), 2);
        let denied = client.draft_answer(stage.by("vera;observer", Stage::final_draft(case))).await.unwrap_err();
        assert_eq!(denied.code(), Code::PermissionDenied);
        assert!(stage.types().is_empty());
        stage.stop().await;
    }

    async fn lists_are_paged(stage: Stage) {
        let (case, _) = stage.accepted_case(1);
        for _ in 0..5 {
            stage.draft(Stage::final_draft(case)).await.unwrap();
            stage.advance(jiff::SignedDuration::from_secs(1));
        }
        let filter = ListAnswersFilter {
            case_id: case.to_string(),
            states: vec![AnswerState::Drafted.into()],
            ..Default::default()
        };
        let mut request = ListAnswersRequest { filter: Some(filter), page_size: 2, ..Default::default() };
        let (mut times, mut pages) = (Vec::new(), 0);
        loop {
            let page = stage.client.clone().list_answers(stage.by("vera;curator", request.clone())).await.unwrap().into_inner();
            times.extend(page.answers.iter().map(|answer| answer.draft_time.unwrap().seconds));
            pages += 1;
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        assert_eq!((pages, times.len()), (3, 5));
        assert!(times.is_sorted_by(|a, b| a > b), "{times:?}");
        stage.stop().await;
    }
}
