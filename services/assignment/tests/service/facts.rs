//! What feedback says moves cases, in any order and however late.

use otklik_chassis::{clock::Time as _, id::new_id};
use otklik_proto::{
    EventType,
    assignment::v1::{self as api, CaseState, LateFactRecorded, Outcome},
    feedback::v1::{
        AnswerApproved, AnswerDrafted, AnswerKind, AnswerPublished, AnswerSentBack, RatingRecorded, ReopenRequested,
    },
    time::to_micros,
};
use prost::Message as _;

use crate::{
    on_each_database,
    world::{World, id, message_of, power_outage},
};

/// Writes a fact of feedback about a case.
fn tell<M: EventType>(world: &World, case: &api::Case, event: &M) {
    world.feedback.write(id(&case.case_id), &[message_of(case)], world.times(), event);
}

fn rating(world: &World, case: &api::Case, satisfied: bool) -> RatingRecorded {
    RatingRecorded {
        rating_id: new_id(world.clock.now()).to_string(),
        case_id: case.case_id.clone(),
        message_id: message_of(case).to_string(),
        answer_id: case.answer_id.clone(),
        score: if satisfied { 5 } else { 1 },
        satisfied,
    }
}

fn reopening(world: &World, case: &api::Case) -> ReopenRequested {
    ReopenRequested {
        reopen_request_id: new_id(world.clock.now()).to_string(),
        case_id: case.case_id.clone(),
        message_id: message_of(case).to_string(),
        reason: api::ReopenReason::NotDone.into(),
    }
}

on_each_database! {
    async fn an_answer_is_drafted_sent_back_approved_published_and_rated(world: World) {
        let case = world.case_in_progress().await;
        let answer_id = new_id(world.clock.now()).to_string();
        let (case_id, kind) = (case.case_id.clone(), i32::from(AnswerKind::Final));
        let drafted = AnswerDrafted { answer_id: answer_id.clone(), case_id: case_id.clone(), kind, revision: 1, ..Default::default() };
        tell(&world, &case, &drafted);
        assert_eq!(world.get(&case_id).await.state(), CaseState::AnswerDrafted);
        tell(&world, &case, &AnswerSentBack { answer_id: answer_id.clone(), case_id: case_id.clone(), kind, ..Default::default() });
        assert_eq!(world.get(&case_id).await.state(), CaseState::InProgress);
        tell(&world, &case, &drafted);
        tell(&world, &case, &AnswerApproved { answer_id: answer_id.clone(), case_id: case_id.clone(), kind, revision: 2 });
        assert_eq!(world.get(&case_id).await.state(), CaseState::AnswerApproved);
        world.pass(3);
        let outcome = i32::from(Outcome::PartlyDone);
        tell(&world, &case, &AnswerPublished { answer_id: answer_id.clone(), case_id: case_id.clone(), kind, outcome, ..Default::default() });
        let resolved = world.get(&case_id).await;
        assert_eq!((resolved.state(), resolved.outcome()), (CaseState::Resolved, Outcome::PartlyDone));
        assert_eq!(resolved.answer_id, answer_id);
        assert!(resolved.deadlines.iter().all(|deadline| deadline.meet_time.is_some()) && !resolved.overdue);
        tell(&world, &case, &rating(&world, &resolved, true));
        assert_eq!(world.get(&case_id).await.state(), CaseState::ClosedConfirmed);
        let expected = ["CaseOpened", "CaseAssigned", "CaseAccepted", "WorkStarted", "CaseResolved", "CaseClosed"];
        assert_eq!(world.history(&case_id, 6).await, expected);
    }

    async fn a_first_response_and_an_interim_answer_keep_the_clocks(world: World) {
        let case = world.case_in_progress().await;
        world.publish(&case, AnswerKind::FirstResponse, Outcome::Unspecified);
        let answered = world.get(&case.case_id).await;
        assert_eq!(answered.state(), CaseState::InProgress);
        assert!(answered.deadlines[0].meet_time.is_some() && answered.deadlines[1].meet_time.is_none());
        // An interim answer a week later gives seven working days more.
        world.pass(7 * 24);
        world.publish(&case, AnswerKind::Interim, Outcome::Unspecified);
        let interim = world.get(&case.case_id).await;
        assert_eq!(interim.state(), CaseState::InterimAnswered);
        let due = to_micros(&interim.deadlines[1].due_time.unwrap());
        assert_eq!(jiff::Timestamp::from_microsecond(due).unwrap().to_string(), "2020-12-07T08:00:00Z");
        world.pass(24);
        world.publish(&case, AnswerKind::Interim, Outcome::Unspecified);
        let second = world.get(&case.case_id).await;
        assert_eq!(second.deadlines, interim.deadlines, "nobody gains time by answering again that work goes on");
        world.pass(12 * 24);
        assert!(world.get(&case.case_id).await.overdue);
        assert_eq!(world.list(api::ListCasesFilter { overdue: true, ..Default::default() }).await.len(), 1);
    }

    async fn a_dissatisfied_citizen_reopens_the_case(world: World) {
        let case = world.resolved_case().await;
        world.pass(24);
        tell(&world, &case, &rating(&world, &case, false));
        tell(&world, &case, &reopening(&world, &case));
        let reopened = world.get(&case.case_id).await;
        assert_eq!((reopened.state(), reopened.reopen_count, reopened.outcome()), (CaseState::Assigned, 1, Outcome::Unspecified));
        assert_eq!(reopened.executor_id, case.executor_id);
        assert!(to_micros(&reopened.deadlines[1].due_time.unwrap()) > to_micros(&case.deadlines[1].due_time.unwrap()));
        assert!(reopened.deadlines[1].meet_time.is_none());
        assert_eq!(world.history(&case.case_id, 7).await[5..], ["CaseReopened", "CaseAssigned"]);
        // The rating of the former answer closes nothing now; the second answer has a round of its own.
        tell(&world, &case, &rating(&world, &case, true));
        assert_eq!(world.get(&case.case_id).await.state(), CaseState::Assigned);
        world.publish(&case, AnswerKind::Final, Outcome::Done);
        let again = world.get(&case.case_id).await;
        assert_eq!(again.state(), CaseState::Resolved);
        tell(&world, &case, &rating(&world, &again, true));
        assert_eq!(world.get(&case.case_id).await.state(), CaseState::ClosedConfirmed);
        // Even a closed case may be reopened.
        tell(&world, &case, &reopening(&world, &case));
        assert_eq!(world.get(&case.case_id).await.reopen_count, 2);
    }

    async fn a_fact_that_comes_too_late_is_recorded_and_changes_nothing(world: World) {
        let case = world.case_of(world.classify(vec![power_outage()])).await;
        let cancel = api::CancelCaseRequest {
            request_id: world.request_id(),
            case_id: case.case_id.clone(),
            reason: api::CancelReason::NoMatter.into(),
            ..Default::default()
        };
        let cancelled = world.client.clone().cancel_case(cancel).await.unwrap().into_inner().case.unwrap();
        let answer_id = world.publish(&case, AnswerKind::Final, Outcome::Done);
        tell(&world, &case, &rating(&world, &case, true));
        tell(&world, &case, &reopening(&world, &case));
        assert_eq!(world.get(&case.case_id).await, cancelled);
        let late = world.history(&case.case_id, 6).await;
        assert_eq!(late[3..], ["LateFactRecorded"; 3]);
        let entries = world.entries_until(|entries| entries.len() >= 6).await;
        let fact = LateFactRecorded::decode(entries[3].1.payload.clone()).unwrap();
        assert_eq!((fact.fact_type.as_str(), fact.state()), (AnswerPublished::TYPE, CaseState::Cancelled));
        assert_eq!(fact.answer_id, answer_id.to_string());
        assert!(entries[3].0.ignorable);
    }

    async fn a_published_answer_resolves_a_case_that_has_moved_on(world: World) {
        let case = world.case_in_progress().await;
        let reassign = api::ReassignCaseRequest {
            request_id: world.request_id(),
            case_id: case.case_id.clone(),
            reason: api::ReassignReason::WrongExecutor.into(),
            executor_id: "grids-primorye".into(),
            ..Default::default()
        };
        world.client.clone().reassign_case(reassign).await.unwrap();
        world.publish(&case, AnswerKind::Final, Outcome::Explained);
        assert_eq!(world.get(&case.case_id).await.state(), CaseState::Resolved, "it can't be taken back");
    }

    async fn an_entry_about_an_unknown_case_is_parked_and_holds_up_nobody(world: World) {
        let case = world.case_in_progress().await;
        let stranger = api::Case { case_id: uuid::Uuid::new_v4().to_string(), members: case.members.clone(), ..Default::default() };
        let event = ReopenRequested { case_id: stranger.case_id.clone(), ..reopening(&world, &stranger) };
        world.feedback.write(id(&stranger.case_id), &[], world.times(), &event);
        world.publish(&case, AnswerKind::Final, Outcome::Done);
        assert_eq!(world.get(&case.case_id).await.state(), CaseState::Resolved);
    }
}
