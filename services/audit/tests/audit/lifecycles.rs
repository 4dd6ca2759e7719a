//! Lifecycles, in one answer and with everybody else down; and those that are stuck.

use otklik_chassis::{id::new_id, testing};
use otklik_proto::{
    EventType,
    assignment::v1::{CaseCancelled, CaseReopened, CaseReturned, MessageJoined},
    audit::v1::{
        GetLifecycleRequest, LifecycleProblemKind, ListStuckFilter, ListStuckRequest, SubjectKind,
        get_lifecycle_request::Subject,
    },
    classification::v1::{
        ClassificationCorrected, Decision, MessageClassified, MessageNotClassified, QuestionKind, ReviewRequested,
    },
    feedback::v1::{AnswerPublished, DeliveryGivenUp, ErasureComplied},
    intake::v1::{MessageErased, MessageRejected, MessageRevised, MessageWithdrawn},
    ledger::v1::EntryHeader,
};
use tonic::Code;
use uuid::Uuid;

use crate::world::{ICE, World};

fn short(entry_type: &str) -> &str {
    entry_type.rsplit('.').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_life_is_told_with_every_other_service_down() {
    for database in testing::databases().await {
        let mut world = World::new().await;
        let told = world.close(world.answer(world.assign(ICE, 0), 90), 120);
        let mut audit = world.audit(&database, "").await;
        audit.see(&world).await;
        world.peers.clear();

        let life = audit.of_message(told.message).await;
        let steps: Vec<(&str, u32)> = life.steps.iter().map(|step| (short(&step.r#type), step.depth)).collect();
        assert_eq!(
            steps,
            [
                ("MessageReceived", 0),
                ("MessageClassified", 1),
                ("CaseOpened", 2),
                ("CaseAssigned", 2),
                ("CaseAccepted", 0),
                ("WorkStarted", 0),
                ("AnswerDrafted", 0),
                ("AnswerApproved", 0),
                ("AnswerPublished", 0),
                ("CaseResolved", 1),
                ("AnswerDelivered", 0),
                ("RatingRecorded", 0),
                ("CaseClosed", 1),
            ],
            "{}",
            database.name
        );
        assert_eq!((life.state.as_str(), life.complete, life.verified), ("RATED", true, true));
        assert_eq!(life.problems, []);
        assert_eq!(life.trace_id, told.message.simple().to_string());
        assert_eq!((life.message_ids, life.case_ids), (vec![told.message.to_string()], vec![told.case.to_string()]));
        let resolved = &life.steps[9];
        assert_eq!(resolved.details["outcome"], "OUTCOME_DONE");
        assert_eq!(resolved.service, "assignment");
        assert_eq!(resolved.actor.as_ref().unwrap().subject, "service:assignment");
        assert_eq!(resolved.cause_entry_id, life.steps[8].entry_id);

        let life = audit.of_case(told.case).await;
        assert_eq!((life.state.as_str(), life.complete), ("CLOSED_CONFIRMED", true));
        assert_eq!(short(&life.steps[0].r#type), "CaseOpened");
        // Its cause is no step of the case, and is there all the same.
        assert_eq!((life.steps[0].depth, life.problems.len()), (0, 0));
        assert_eq!(life.message_ids, [told.message.to_string()]);
        audit.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn states_follow_the_lifecycle_in_whatever_order_ledgers_arrive() {
    for database in testing::databases().await {
        let world = World::new().await;
        let mut audit = world.audit(&database, "").await;
        let minute = 10;

        let (received, _) = world.receive(ICE, 0);
        let (rejected, cause) = world.receive(ICE, 0);
        world.say(
            ("message", rejected),
            &[],
            Some(cause),
            0,
            &MessageRejected { message_id: rejected.to_string(), version: 1, ..Default::default() },
        );
        let (unreadable, cause) = world.receive(ICE, 0);
        world.say(
            ("message", unreadable),
            &[],
            Some(cause),
            0,
            &MessageNotClassified { message_id: unreadable.to_string(), message_version: 1, ..Default::default() },
        );
        let (spam, cause) = world.receive(ICE, 0);
        let mut question = World::question(spam, 1, ICE);
        question.kind = QuestionKind::Spam.into();
        let classified = |message: Uuid, version, questions| MessageClassified {
            message_id: message.to_string(),
            message_version: version,
            questions,
            ..Default::default()
        };
        world.say(("message", spam), &[], Some(cause), 0, &classified(spam, 1, vec![question]));
        let (reviewed, cause) = world.receive(ICE, 0);
        let mut question = World::question(reviewed, 1, ICE);
        question.decision = Decision::Review.into();
        let entry =
            world.say(("message", reviewed), &[], Some(cause), 0, &classified(reviewed, 1, vec![question.clone()]));
        let asked = ReviewRequested { message_id: reviewed.to_string(), message_version: 1, ..Default::default() };
        world.say(("message", reviewed), &[], Some(entry), 0, &asked);
        audit.see(&world).await;

        let expected = [
            (received, "RECEIVED", false),
            (rejected, "REJECTED", true),
            (unreadable, "NOT_CLASSIFIED", true),
            (spam, "CLASSIFIED", true),
            (reviewed, "IN_REVIEW", false),
        ];
        for (message, state, complete) in expected {
            let life = audit.of_message(message).await;
            assert_eq!((life.state.as_str(), life.complete), (state, complete), "{}", database.name);
        }

        question.decision = Decision::Human.into();
        world.say(
            ("message", reviewed),
            &[],
            None,
            minute,
            &ClassificationCorrected {
                message_id: reviewed.to_string(),
                message_version: 1,
                questions: vec![question],
                ..Default::default()
            },
        );
        let told = world.assign(ICE, 0);
        let assigned = audit_state(&mut audit, &world, told.case).await;
        assert_eq!(assigned, "ASSIGNED");
        assert_eq!(audit.of_message(reviewed).await.state, "CLASSIFIED");
        assert_eq!(audit.of_message(told.message).await.state, "JOINED");

        // A revision must be classified anew.
        let revised = MessageRevised { message_id: told.message.to_string(), version: 2, ..Default::default() };
        world.say(("message", told.message), &[], None, minute, &revised);
        let told = world.answer(told, minute + 10);
        audit.see(&world).await;
        let life = audit.of_message(told.message).await;
        assert_eq!((life.state.as_str(), life.complete), ("ANSWERED", false));
        let again = classified(told.message, 2, vec![World::question(told.message, 1, ICE)]);
        world.say(("message", told.message), &[], None, minute, &again);

        // Reopened, and answered again.
        assert_eq!(audit_state(&mut audit, &world, told.case).await, "RESOLVED");
        let reopened = CaseReopened { case_id: told.case.to_string(), reopen_count: 1, ..Default::default() };
        world.say(("case", told.case), &[told.message], None, minute + 20, &reopened);
        assert_eq!(audit_state(&mut audit, &world, told.case).await, "REOPENED");
        assert_eq!(audit.of_message(told.message).await.state, "JOINED");

        // A case nobody can answer any more.
        let gone = world.assign(ICE, 0);
        let withdrawn = MessageWithdrawn { message_id: gone.message.to_string(), version: 1, ..Default::default() };
        world.say(("message", gone.message), &[], None, minute, &withdrawn);
        audit.see(&world).await;
        let life = audit.of_message(gone.message).await;
        assert_eq!((life.state.as_str(), life.complete), ("WITHDRAWN", false));
        let cancelled = CaseCancelled { case_id: gone.case.to_string(), ..Default::default() };
        world.say(("case", gone.case), &[gone.message], None, minute, &cancelled);
        audit.see(&world).await;
        assert!(audit.of_message(gone.message).await.complete);
        assert_eq!(audit.of_case(gone.case).await.state, "CANCELLED");

        // Whoever is erased has been forgotten everywhere only when feedback says so.
        let erased = world.close(world.answer(world.assign(ICE, 0), minute), minute);
        let event = MessageErased { message_id: erased.message.to_string(), version: 1, ..Default::default() };
        let cause = world.say(("message", erased.message), &[], None, minute, &event);
        audit.see(&world).await;
        let life = audit.of_message(erased.message).await;
        assert_eq!((life.state.as_str(), life.complete), ("ERASED", false));
        let complied = ErasureComplied { message_id: erased.message.to_string(), ..Default::default() };
        world.say(("message", erased.message), &[erased.case], Some(cause), minute, &complied);
        audit.see(&world).await;
        assert!(audit.of_message(erased.message).await.complete);
        audit.stop().await;
    }
}

async fn audit_state(audit: &mut crate::world::Auditor, world: &World, case: Uuid) -> String {
    audit.see(world).await;
    audit.of_case(case).await.state
}

#[tokio::test]
async fn an_answer_on_its_way_keeps_a_closed_case_incomplete() {
    let world = World::new().await;
    let told = world.answer(world.assign(ICE, 0), 10);
    let other = new_id(world.at(0));
    let again = AnswerPublished {
        answer_id: told.answer.to_string(),
        case_id: told.case.to_string(),
        message_ids: vec![other.to_string()],
        ..Default::default()
    };
    world.say(("case", told.case), &[told.message], None, 11, &again);
    world.close(told, 12);
    let database = testing::sqlite();
    let mut audit = world.audit(&database, "").await;
    audit.see(&world).await;
    let life = audit.of_case(told.case).await;
    assert_eq!((life.state.as_str(), life.complete), ("CLOSED_CONFIRMED", false));
    let given_up = DeliveryGivenUp { case_id: told.case.to_string(), ..Default::default() };
    world.say(("case", told.case), &[other], None, 13, &given_up);
    audit.see(&world).await;
    assert!(audit.of_case(told.case).await.complete);
    audit.stop().await;
}

#[tokio::test]
async fn what_is_unknown_or_names_nobody_is_told_all_the_same() {
    let world = World::new().await;
    let told = world.assign(ICE, 0);
    let header = |kind: &str, id: Uuid, minutes| EntryHeader {
        entry_id: new_id(world.at(minutes)).to_string(),
        aggregate_kind: kind.into(),
        aggregate_id: id.to_string(),
        ..Default::default()
    };
    // A type of a later version, on a case and without a message.
    world.ledgers["assignment"].append(&header("case", told.case, 5), "otklik.assignment.v1.CaseEscalated", vec![8, 1]);
    // A payload that is none.
    world.ledgers["assignment"].append(&header("case", told.case, 6), CaseReturned::TYPE, vec![0xff]);
    // A second message of the case: what happened before it joined is not part of its life.
    let (second, cause) = world.receive(ICE, 7);
    let joined = MessageJoined {
        case_id: told.case.to_string(),
        message_id: second.to_string(),
        question_id: Uuid::new_v4().to_string(),
        ..Default::default()
    };
    world.say(("case", told.case), &[second], Some(cause), 8, &joined);

    let database = testing::sqlite();
    let mut audit = world.audit(&database, "").await;
    audit.see(&world).await;
    let life = audit.of_message(told.message).await;
    let types: Vec<&str> = life.steps.iter().map(|step| short(&step.r#type)).collect();
    assert!(types.contains(&"CaseEscalated") && types.contains(&"CaseReturned"), "{types:?}");
    assert!(!types.contains(&"MessageJoined"), "{types:?}");
    assert!(life.verified);
    assert_eq!(audit.of_case(told.case).await.message_ids.len(), 2);
    assert_eq!(audit.of_case(told.case).await.state, "ASSIGNED");
    audit.stop().await;
}

#[tokio::test]
async fn problems_are_named() {
    let world = World::new().await;
    let told = world.assign(ICE, 0);
    let missing = Uuid::new_v4();
    let reopened = CaseReopened { case_id: told.case.to_string(), ..Default::default() };
    world.say(("case", told.case), &[told.message], Some(missing), 5, &reopened);
    let database = testing::sqlite();
    let mut audit = world.audit(&database, "").await;
    audit.see(&world).await;
    world.clock.advance_to(world.at(60 * 24 * 3));
    let life = audit.of_message(told.message).await;
    let kinds: Vec<LifecycleProblemKind> = life.problems.iter().map(|problem| problem.kind()).collect();
    assert_eq!(
        kinds,
        [LifecycleProblemKind::ImpossibleStep, LifecycleProblemKind::MissingCause, LifecycleProblemKind::Stuck,]
    );
    assert!(life.problems[1].detail.contains(&missing.to_string()));
    assert_eq!(life.problems[0].service, "assignment");
    audit.stop().await;
}

#[tokio::test]
async fn bad_requests_are_refused() {
    let world = World::new().await;
    let told = world.assign(ICE, 0);
    let database = testing::sqlite();
    let mut audit = world.audit(&database, "").await;
    audit.see(&world).await;
    let mut code =
        async |subject| audit.client.get_lifecycle(GetLifecycleRequest { subject }).await.unwrap_err().code();
    assert_eq!(code(None).await, Code::InvalidArgument);
    assert_eq!(code(Some(Subject::MessageId("7".into()))).await, Code::InvalidArgument);
    assert_eq!(code(Some(Subject::MessageId(Uuid::new_v4().to_string()))).await, Code::NotFound);
    assert_eq!(code(Some(Subject::MessageId(told.case.to_string()))).await, Code::NotFound);
    assert_eq!(code(Some(Subject::CaseId(told.message.to_string()))).await, Code::NotFound);
    let mut stuck = async |page_size, service: &str, page_token: &str| {
        let filter = ListStuckFilter { waiting_for_service: service.into(), ..Default::default() };
        let request = ListStuckRequest { filter: Some(filter), page_size, page_token: page_token.into() };
        audit.client.list_stuck(request).await.unwrap_err().code()
    };
    assert_eq!(stuck(-1, "", "").await, Code::InvalidArgument);
    assert_eq!(stuck(1, "weather", "").await, Code::InvalidArgument);
    assert_eq!(stuck(1, "", "x").await, Code::InvalidArgument);
    audit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stuck_lifecycles_are_listed_by_page_the_longest_idle_first() {
    for database in testing::databases().await {
        let world = World::new().await;
        let mut waiting = Vec::new();
        for minutes in 0..7 {
            waiting.push(world.receive(ICE, minutes).0);
        }
        // Resolved: it may rest until the rating window ends.
        let resting = world.answer(world.assign(ICE, 0), 10);
        let done = world.close(world.answer(world.assign(ICE, 0), 10), 10);
        let mut audit = world.audit(&database, "").await;
        audit.see(&world).await;
        world.clock.advance_to(world.at(60 + 6));

        let filter = |service: &str, kind: SubjectKind, minutes: i64| ListStuckFilter {
            min_idle: Some(prost_types::Duration { seconds: minutes * 60, nanos: 0 }),
            waiting_for_service: service.into(),
            subject_kind: kind.into(),
        };
        let mut found = Vec::new();
        let mut page_token = String::new();
        loop {
            let request =
                ListStuckRequest { filter: Some(filter("", SubjectKind::Unspecified, 62)), page_size: 2, page_token };
            let page = audit.client.list_stuck(request).await.unwrap().into_inner();
            found.extend(page.stuck_lifecycles);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let ids: Vec<&str> = found.iter().map(|stuck| stuck.subject_id.as_str()).collect();
        let expected: Vec<String> = waiting[..5].iter().map(ToString::to_string).collect();
        assert_eq!(ids, expected, "{}", database.name);
        assert_eq!((found[0].state.as_str(), found[0].waiting_for_service.as_str()), ("RECEIVED", "classification"));
        assert_eq!(short(&found[0].last_step_type), "MessageReceived");

        let mut count = async |service: &str, kind, minutes| {
            let filter = Some(filter(service, kind, minutes));
            let request = ListStuckRequest { filter, ..Default::default() };
            audit.client.list_stuck(request).await.unwrap().into_inner().stuck_lifecycles.len()
        };
        assert_eq!(count("classification", SubjectKind::Message, 0).await, 7);
        assert_eq!(count("intake", SubjectKind::Unspecified, 0).await, 0);
        assert_eq!(count("", SubjectKind::Case, 0).await, 0);
        world.clock.advance_to(world.at(8 * 24 * 60));
        assert_eq!(count("assignment", SubjectKind::Case, 0).await, 1);
        let life = audit.of_case(resting.case).await;
        assert_eq!((life.state.as_str(), life.complete), ("RESOLVED", false));
        assert!(audit.of_case(done.case).await.complete);
        audit.stop().await;
    }
}
