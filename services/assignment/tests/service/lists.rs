//! Lists and watches.

use std::time::Duration;

use otklik_proto::{
    assignment::v1::{self as api, CaseState, ExecutorKind},
    classification::v1::Urgency,
    time::from_micros,
};
use tonic::Code;

use crate::{
    on_each_database,
    world::{World, power_outage, question},
};

type Cases = Vec<api::Case>;

async fn next_cases(stream: &mut tonic::Streaming<api::WatchCasesResponse>) -> (Cases, String) {
    loop {
        let response = tokio::time::timeout(Duration::from_secs(30), stream.message()).await.unwrap().unwrap().unwrap();
        if !response.cases.is_empty() {
            return (response.cases, response.resume_token);
        }
    }
}

fn watch(executor_id: &str, resume_token: &str) -> api::WatchCasesRequest {
    api::WatchCasesRequest { executor_id: executor_id.into(), resume_token: resume_token.into() }
}

on_each_database! {
    async fn every_filter_selects(world: World) {
        let mut urgent = question("roads.general");
        urgent.urgency = Urgency::Emergency.into();
        urgent.place_ids = vec!["artyom".into()];
        let power = world.classify(vec![power_outage()]);
        let roads = world.classify(vec![urgent]);
        let power = world.accept(&world.case_of(power).await.case_id).await.unwrap();
        let roads = world.case_of(roads).await;
        world.classify(vec![question("healthcare.general")]);
        assert_eq!(world.list(api::ListCasesFilter::default()).await.len(), 3);

        let soon = world.now_us() + 5 * 3_600_000_000;
        let filters = [
            (api::ListCasesFilter { executor_id: power.executor_id.clone(), ..Default::default() }, &power),
            (api::ListCasesFilter { states: vec![CaseState::Accepted.into(), CaseState::InProgress.into()], ..Default::default() }, &power),
            (api::ListCasesFilter { states: vec![CaseState::Accepted.into(), CaseState::Cancelled.into()], ..Default::default() }, &power),
            (api::ListCasesFilter { topic_group: "roads".into(), ..Default::default() }, &roads),
            (api::ListCasesFilter { topic: power.topic.clone(), ..Default::default() }, &power),
            (api::ListCasesFilter { place_id: "artyom".into(), ..Default::default() }, &roads),
            (api::ListCasesFilter { urgency: Urgency::Emergency.into(), ..Default::default() }, &roads),
            (api::ListCasesFilter { due_before_time: Some(from_micros(soon)), ..Default::default() }, &roads),
            (api::ListCasesFilter { message_id: power.members[0].message_id.clone(), ..Default::default() }, &power),
        ];
        for (filter, expected) in filters {
            assert_eq!(world.list(filter.clone()).await, std::slice::from_ref(expected), "{filter:?}");
        }
        world.pass(5);
        let overdue = world.list(api::ListCasesFilter { overdue: true, ..Default::default() }).await;
        assert_eq!(overdue.iter().map(|case| &case.case_id).collect::<Vec<_>>(), [&roads.case_id]);
        assert!(overdue[0].overdue);

        let ids = vec![roads.case_id.clone(), uuid::Uuid::new_v4().to_string(), power.case_id.clone()];
        let found = world.client.clone().batch_get_cases(api::BatchGetCasesRequest { case_ids: ids }).await.unwrap();
        let found: Vec<String> = found.into_inner().cases.into_iter().map(|case| case.case_id).collect();
        assert_eq!(found, [roads.case_id, power.case_id]);
    }

    async fn a_list_is_walked_page_by_page(world: World) {
        for _ in 0..7 {
            world.classify(vec![power_outage()]);
            world.pass(1);
        }
        let mut client = world.client.clone();
        let (mut ids, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = world.informed(api::ListCasesRequest { page_size: 3, page_token, ..Default::default() });
            let page = client.list_cases(request).await.unwrap().into_inner();
            ids.extend(page.cases.into_iter().map(|case| case.case_id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(ids.len(), 7);
        assert!(ids.windows(2).all(|pair| pair[0] > pair[1]), "the latest opened comes first");
        let wrong = api::ListCasesRequest { page_size: -1, page_token: "x".into(), ..Default::default() };
        assert_eq!(client.list_cases(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    }

    async fn executors_are_listed_by_code(world: World) {
        let mut client = world.client.clone();
        let all = client.list_executors(api::ListExecutorsRequest { page_size: 500, ..Default::default() }).await.unwrap().into_inner();
        assert!(all.executors.len() > 30 && all.next_page_token.is_empty());
        assert!(all.executors.windows(2).all(|pair| pair[0].executor_id < pair[1].executor_id));
        let filter = Some(api::ListExecutorsFilter { kinds: vec![ExecutorKind::DutyCoordinator.into()] });
        let duty = client.list_executors(api::ListExecutorsRequest { filter, ..Default::default() }).await.unwrap().into_inner();
        assert_eq!(duty.executors.len(), 1);
    }

    async fn a_desk_sees_its_cases_come_change_and_leave(world: World) {
        let case = world.case_of(world.classify(vec![power_outage()])).await;
        let mut client = world.client.clone();
        let mut stream = client.watch_cases(watch("grids-vladivostok", "")).await.unwrap().into_inner();
        let (cases, _) = next_cases(&mut stream).await;
        assert_eq!(cases, std::slice::from_ref(&case), "what is there comes first");
        world.accept(&case.case_id).await.unwrap();
        let (cases, token) = next_cases(&mut stream).await;
        assert_eq!(cases[0].state(), CaseState::Accepted);
        drop(stream);

        // While nobody watches, another desk's case comes, one of this desk's leaves, and a new one comes.
        world.case_of(world.classify(vec![question("healthcare.general")])).await;
        let reassign = api::ReassignCaseRequest {
            request_id: world.request_id(),
            case_id: case.case_id.clone(),
            reason: api::ReassignReason::Overload.into(),
            executor_id: "grids-primorye".into(),
            ..Default::default()
        };
        client.reassign_case(reassign).await.unwrap();
        let new = world.case_of(world.classify(vec![power_outage()])).await;
        let mut stream = client.watch_cases(watch("grids-vladivostok", &token)).await.unwrap().into_inner();
        let mut seen = Vec::new();
        while seen.len() < 2 {
            seen.extend(next_cases(&mut stream).await.0);
        }
        let seen: Vec<_> = seen.iter().map(|case| (case.case_id.as_str(), case.executor_id.as_str())).collect();
        assert!(seen.contains(&(&case.case_id, "grids-primorye")), "{seen:?}");
        assert!(seen.contains(&(&new.case_id, "grids-vladivostok")), "{seen:?}");

        let foreign = client.watch_cases(watch("grids-primorye", &token)).await.unwrap_err();
        assert_eq!(foreign.code(), Code::InvalidArgument);
        world.restart().await;
        let mut client = world.client.clone();
        client.watch_cases(watch("grids-vladivostok", &token)).await.expect("a token outlives a restart");
    }
}
