//! Questions become cases.

use otklik_chassis::id::new_id;
use otklik_proto::{
    assignment::v1::{self as api, CaseState, DeadlineKind},
    classification::v1::{ClassificationCorrected, Decision, QuestionKind, Urgency},
    intake::v1::MessageWithdrawn,
    time::to_micros,
};
use prost::Message as _;

use crate::{
    on_each_database,
    world::{World, id, origin, power_outage, question, question_id},
};

fn due(case: &api::Case, kind: DeadlineKind) -> String {
    let deadline = case.deadlines.iter().find(|deadline| deadline.kind() == kind).unwrap();
    jiff::Timestamp::from_microsecond(to_micros(&deadline.due_time.unwrap())).unwrap().to_string()
}

on_each_database! {
    async fn a_question_becomes_a_case_with_an_executor_and_deadlines(world: World) {
        let message_id = new_id("2020-11-19T00:00:00Z".parse().unwrap());
        let cause = world.classify_version(message_id, 1, vec![power_outage()]);
        let case = world.case_of(message_id).await;
        assert_eq!(case.state(), CaseState::Assigned);
        assert_eq!(case.number, "2020-000001");
        assert_eq!((case.executor_id.as_str(), case.rule_id.as_str()), ("grids-vladivostok", "power-vladivostok"));
        assert!(!case.fallback && !case.overdue && case.etag == "1");
        assert_eq!(case.members[0].question_id, question_id(message_id, 1).to_string());
        assert_eq!(case.allowed_actions().next(), Some(api::CaseAction::Accept));
        // Nine working hours from Thursday 10:00; the seventh working day after it closes at 18:00.
        assert_eq!(due(&case, DeadlineKind::FirstResponse), "2020-11-20T01:00:00Z");
        assert_eq!(due(&case, DeadlineKind::Resolution), "2020-11-30T08:00:00Z");
        assert!(case.deadlines.iter().all(|d| d.policy_id == "social" && !d.policy_version.is_empty() && !d.calendar_version.is_empty()));

        let entries = world.entries_until(|entries| entries.len() == 2).await;
        for (header, _) in &entries {
            assert_eq!(header.cause_entry_id, cause);
            assert_eq!(header.aggregate_id, case.case_id);
            assert_eq!(header.subject_ids, [message_id.to_string(), case.case_id.clone()]);
            assert_eq!(header.actor.as_ref().unwrap().subject, "service:assignment");
            assert!(header.published_time.is_some() && header.received_time.is_some());
        }
        let opened = api::CaseOpened::decode(entries[0].1.payload.clone()).unwrap();
        assert_eq!((opened.number, opened.origin), (case.number.clone(), Some(origin())));
        let assigned = api::CaseAssigned::decode(entries[1].1.payload.clone()).unwrap();
        assert_eq!((assigned.executor_id, assigned.deadlines), (case.executor_id, case.deadlines));
        assert!(!assigned.routing_version.is_empty());
    }

    async fn what_is_spam_or_in_review_opens_no_case(world: World) {
        let mut spam = power_outage();
        spam.kind = QuestionKind::Spam.into();
        let mut doubtful = power_outage();
        doubtful.decision = Decision::Review.into();
        let mut thanks = question("healthcare.general");
        thanks.kind = QuestionKind::Thanks.into();
        let message_id = world.classify(vec![spam, doubtful.clone(), thanks]);
        let cases = world.cases_of(message_id).await;
        assert_eq!(cases.len(), 1, "thanks are answered");
        assert_eq!(cases[0].kind(), QuestionKind::Thanks);

        // A person confirms the doubtful one.
        doubtful.question_id = question_id(message_id, 2).to_string();
        doubtful.decision = Decision::Human.into();
        let event = ClassificationCorrected {
            message_id: message_id.to_string(),
            message_version: 1,
            questions: vec![doubtful],
            origin: Some(origin()),
            ..Default::default()
        };
        world.classification.write(message_id, &[message_id], world.times(), &event);
        assert_eq!(world.cases_of(message_id).await.len(), 2);
    }

    async fn what_nobody_can_route_goes_to_the_duty_coordinator(world: World) {
        let message_id = world.classify(vec![question("spaceflight.moon")]);
        let case = world.case_of(message_id).await;
        assert_eq!((case.executor_id.as_str(), case.rule_id.as_str(), case.fallback), ("duty-coordinator", "", true));
        let found = world.list(api::ListCasesFilter { fallback: true, ..Default::default() }).await;
        assert_eq!(found.len(), 1);
    }

    async fn an_edit_changes_its_cases_and_may_add_one(world: World) {
        let message_id = world.classify(vec![power_outage(), question("roads.general")]);
        let before = world.cases_of(message_id).await;
        assert_eq!(before.len(), 2);
        world.pass(2);
        let mut urgent = power_outage();
        urgent.urgency = Urgency::Emergency.into();
        world.classify_version(message_id, 2, vec![urgent, question("roads.general"), question("healthcare.general")]);
        let after = world.cases_of(message_id).await;
        assert_eq!(after.len(), 3);
        let power = |cases: &[api::Case]| cases.iter().find(|c| c.topic == power_outage().topic).unwrap().clone();
        let (old, new) = (power(&before), power(&after));
        assert_eq!((new.urgency(), &new.case_id), (Urgency::Emergency, &old.case_id));
        // The clocks go on from when they started, under the policy that now applies: four hours, three days.
        assert_eq!(new.deadlines[0].start_time, old.deadlines[0].start_time);
        assert_eq!(due(&new, DeadlineKind::FirstResponse), "2020-11-19T04:00:00Z");
        assert_eq!(due(&new, DeadlineKind::Resolution), "2020-11-22T00:00:00Z");
        assert_eq!(world.history(&new.case_id, 3).await, ["CaseOpened", "CaseAssigned", "CaseReclassified"]);
        let roads = after.iter().find(|c| c.topic == "roads.general").unwrap();
        assert_eq!(roads.etag, "1", "the same said again changes nothing");
    }

    async fn a_corrected_topic_moves_a_case_that_nobody_has_taken(world: World) {
        let untaken = world.classify(vec![power_outage()]);
        let taken = world.classify(vec![power_outage()]);
        world.accept(&world.case_of(taken).await.case_id).await.unwrap();
        for message_id in [untaken, taken] {
            world.classify_version(message_id, 1, vec![question("housing-utilities.gas")]);
        }
        let moved = world.case_of(untaken).await;
        assert_eq!((moved.executor_id.as_str(), moved.state()), ("gas-primorye", CaseState::Assigned));
        assert_eq!(world.history(&moved.case_id, 4).await[2..], ["CaseReclassified", "CaseAssigned"]);
        let stays = world.case_of(taken).await;
        assert_eq!((stays.executor_id.as_str(), stays.state(), stays.topic.as_str()), ("grids-vladivostok", CaseState::Accepted, "housing-utilities.gas"));
    }

    async fn a_withdrawn_message_cancels_its_case_whichever_is_heard_of_first(world: World) {
        let withdraw = |message_id: uuid::Uuid| {
            let event = MessageWithdrawn { message_id: message_id.to_string(), version: 1, source_revision: 2 };
            world.intake.write(message_id, &[message_id], world.times(), &event);
        };
        let later = world.classify(vec![power_outage()]);
        world.case_of(later).await;
        withdraw(later);
        let earlier = new_id("2020-11-19T00:00:00Z".parse().unwrap());
        withdraw(earlier);
        // Everything of intake has been seen once this is answered.
        world.list(api::ListCasesFilter::default()).await;
        world.classify_version(earlier, 1, vec![power_outage()]);
        for message_id in [later, earlier] {
            let case = world.case_of(message_id).await;
            assert_eq!(case.state(), CaseState::Cancelled);
            assert!(case.members[0].withdrawn && case.allowed_actions.is_empty());
            assert_eq!(*world.history(&case.case_id, 3).await, ["CaseOpened", "CaseAssigned", "CaseCancelled"]);
        }
        // With a final answer out there is nothing to cancel.
        let case = world.resolved_case().await;
        withdraw(crate::world::message_of(&case));
        assert_eq!(world.get(&case.case_id).await.state(), CaseState::Resolved);
    }

    async fn a_restart_loses_nothing_and_doubles_nothing(world: World) {
        let messages: Vec<_> = (0..300).map(|_| world.classify(vec![power_outage()])).collect();
        world.case_of(messages[299]).await;
        world.restart().await;
        let more: Vec<_> = (0..300).map(|_| world.classify(vec![power_outage()])).collect();
        let mut numbers = Vec::new();
        for message_id in messages.iter().chain(&more) {
            numbers.push(world.case_of(*message_id).await.number);
        }
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 600, "every case has a number of its own");
        assert_eq!(numbers.last().unwrap(), "2020-000600");
        assert_eq!(world.entries_until(|entries| entries.len() >= 1200).await.len(), 1200);
        assert!(id(&world.case_of(messages[0]).await.case_id).get_version_num() == 7);
    }
}
