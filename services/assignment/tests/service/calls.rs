//! What people do with cases, and what they are refused.

use otklik_proto::{
    assignment::v1::{self as api, CaseState},
    time::{from_micros, to_micros},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    on_each_database,
    world::{World, power_outage},
};

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().unwrap().reason.clone()
}

fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    details.bad_request().unwrap().field_violations.iter().map(|violation| violation.field.clone()).collect()
}

const HOUR_US: i64 = 3_600_000_000;

on_each_database! {
    async fn work_goes_from_acceptance_to_progress(world: World) {
        let case = world.case_in_progress().await;
        assert_eq!(case.state(), CaseState::InProgress);
        assert_eq!(world.history(&case.case_id, 4).await[2..], ["CaseAccepted", "WorkStarted"]);
        let entries = world.entries_until(|entries| entries.len() >= 4).await;
        assert_eq!(entries[2].0.actor.as_ref().unwrap().subject, "local");
        assert!(entries[2].0.cause_entry_id.is_empty());
    }

    async fn a_returned_case_is_the_duty_coordinators_until_reassigned(world: World) {
        let case = world.case_of(world.classify(vec![power_outage()])).await;
        let mut client = world.client.clone();
        let request = api::ReturnCaseRequest {
            request_id: world.request_id(),
            case_id: case.case_id.clone(),
            reason: api::ReturnReason::NotResponsible.into(),
            suggested_executor_id: "grids-primorye".into(),
            ..Default::default()
        };
        let returned = client.return_case(request).await.unwrap().into_inner().case.unwrap();
        assert_eq!((returned.state(), returned.executor_id.as_str()), (CaseState::Returned, "duty-coordinator"));
        assert_eq!(world.accept(&case.case_id).await.unwrap_err().code(), Code::FailedPrecondition);
        let request = api::ReassignCaseRequest {
            request_id: world.request_id(),
            case_id: case.case_id.clone(),
            reason: api::ReassignReason::Returned.into(),
            executor_id: "grids-primorye".into(),
            ..Default::default()
        };
        let again = client.reassign_case(request).await.unwrap().into_inner().case.unwrap();
        assert_eq!((again.state(), again.executor_id.as_str(), again.rule_id.as_str()), (CaseState::Assigned, "grids-primorye", ""));
        assert_eq!(again.deadlines, case.deadlines, "handing over resets no clock");
        assert_eq!(world.history(&case.case_id, 4).await[2..], ["CaseReturned", "CaseAssigned"]);
        world.accept(&case.case_id).await.unwrap();
    }

    async fn a_wait_moves_the_deadlines_by_its_working_time(world: World) {
        let case = world.case_in_progress().await;
        let mut client = world.client.clone();
        let suspend = |until_us: Option<i64>| api::SuspendCaseRequest {
            request_id: world.request_id(),
            case_id: case.case_id.clone(),
            reason: api::SuspendReason::WaitingContractor.into(),
            until_time: until_us.map(from_micros),
            ..Default::default()
        };
        let waiting = client.suspend_case(suspend(None)).await.unwrap().into_inner().case.unwrap();
        assert_eq!(waiting.state(), CaseState::Suspended);
        assert_eq!(to_micros(&waiting.suspension.unwrap().until_time.unwrap()), world.now_us() + 30 * 24 * HOUR_US);
        // From Thursday 10:00 to Friday 12:00: 7 + 3 working hours.
        world.pass(26);
        assert!(!world.get(&case.case_id).await.overdue, "a clock that stands still is not overdue");
        let request = api::ResumeCaseRequest { request_id: world.request_id(), case_id: case.case_id.clone(), etag: String::new() };
        let resumed = client.resume_case(request).await.unwrap().into_inner().case.unwrap();
        assert_eq!((resumed.state(), resumed.suspension), (CaseState::InProgress, None));
        // Friday 11:00 and 10 working hours more: Monday 13:00.
        assert_eq!(resumed.deadlines[0].due_time, Some(from_micros("2020-11-23T03:00:00Z".parse::<jiff::Timestamp>().unwrap().as_microsecond())));

        let past = client.suspend_case(suspend(Some(world.now_us()))).await.unwrap_err();
        assert_eq!(fields(&past), ["until_time"]);
    }

    async fn a_wait_ends_by_itself(world: World) {
        let case = world.case_in_progress().await;
        let until_us = world.now_us() + 5 * HOUR_US;
        let request = api::SuspendCaseRequest {
            request_id: world.request_id(),
            case_id: case.case_id.clone(),
            reason: api::SuspendReason::WaitingApplicant.into(),
            until_time: Some(from_micros(until_us)),
            ..Default::default()
        };
        world.client.clone().suspend_case(request).await.unwrap();
        world.pass(50);
        assert_eq!(world.history(&case.case_id, 6).await[4..], ["CaseSuspended", "CaseResumed"]);
        let resumed = world.get(&case.case_id).await;
        assert_eq!(resumed.state(), CaseState::InProgress);
        // Five hours of which four were working time, however late the clock was looked at.
        assert_eq!(resumed.deadlines[0].due_time, Some(from_micros("2020-11-20T06:00:00Z".parse::<jiff::Timestamp>().unwrap().as_microsecond())));
    }

    async fn what_the_state_forbids_is_refused_with_what_it_allows(world: World) {
        let case = world.case_of(world.classify(vec![power_outage()])).await;
        let request = api::ResumeCaseRequest { request_id: world.request_id(), case_id: case.case_id.clone(), etag: String::new() };
        let refused = world.client.clone().resume_case(request).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused)), (Code::FailedPrecondition, "CASE_STATE_FORBIDS".into()));
        assert!(refused.message().contains("ASSIGNED") && refused.message().contains("ACCEPT, RETURN, REASSIGN"), "{}", refused.message());
        let details = refused.get_error_details();
        assert_eq!(details.precondition_failure().unwrap().violations[0].subject, format!("case/{}", case.case_id));

        let cancel = api::CancelCaseRequest {
            request_id: world.request_id(),
            case_id: case.case_id.clone(),
            reason: api::CancelReason::Mistake.into(),
            ..Default::default()
        };
        world.client.clone().cancel_case(cancel).await.unwrap();
        let refused = world.accept(&case.case_id).await.unwrap_err();
        assert!(refused.message().contains("CANCELLED") && refused.message().contains("nothing"));
    }

    async fn a_repeated_call_gives_the_same_answer(world: World) {
        let case = world.case_of(world.classify(vec![power_outage()])).await;
        let request = api::AcceptCaseRequest { request_id: "same".into(), case_id: case.case_id.clone(), etag: case.etag.clone() };
        let mut client = world.client.clone();
        let first = client.accept_case(request.clone()).await.unwrap().into_inner();
        let second = client.accept_case(request.clone()).await.unwrap().into_inner();
        assert_eq!(first, second);
        assert_eq!(first.case.unwrap().etag, "2");
        let other = api::AcceptCaseRequest { etag: String::new(), ..request };
        let refused = client.accept_case(other).await.unwrap_err();
        assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
        assert_eq!(world.history(&case.case_id, 3).await.len(), 3);
    }

    async fn who_looked_at_an_older_case_is_told(world: World) {
        let case = world.case_of(world.classify(vec![power_outage()])).await;
        world.accept(&case.case_id).await.unwrap();
        for etag in [case.etag.as_str(), "nonsense"] {
            let request = api::StartWorkRequest { request_id: world.request_id(), case_id: case.case_id.clone(), etag: etag.into() };
            let refused = world.client.clone().start_work(request).await.unwrap_err();
            assert_eq!((refused.code(), reason(&refused)), (Code::Aborted, "ETAG_MISMATCH".into()));
        }
    }

    async fn everything_wrong_with_a_request_is_said_at_once(world: World) {
        let mut client = world.client.clone();
        let request = api::ReassignCaseRequest { case_id: "7".into(), executor_id: "nobody".into(), ..Default::default() };
        let refused = client.reassign_case(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(fields(&refused), ["request_id", "case_id", "reason", "executor_id"]);
        let request = api::CancelCaseRequest {
            request_id: "r".into(),
            case_id: uuid::Uuid::new_v4().to_string(),
            reason: api::CancelReason::MessagesWithdrawn.into(),
            ..Default::default()
        };
        assert_eq!(fields(&client.cancel_case(request).await.unwrap_err()), ["reason"]);
        let unknown = world.accept(&uuid::Uuid::new_v4().to_string()).await.unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound);
        let many = api::BatchGetCasesRequest { case_ids: vec![uuid::Uuid::new_v4().to_string(); 1001] };
        assert_eq!(fields(&client.batch_get_cases(many).await.unwrap_err()), ["case_ids"]);
    }
}
