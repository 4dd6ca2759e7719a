//! Statistics: counts, growth and answer times, under corrections, reopenings and closes.

use otklik_chassis::testing;
use otklik_proto::{
    assignment::v1::{CaseAssigned, CaseReopened},
    audit::v1::{
        GetStatisticsRequest, GetStatisticsResponse, StatisticsDimension, StatisticsFilter, StatisticsPeriod,
        StatisticsTime,
    },
    classification::v1::{ClassificationCorrected, MessageClassified},
    time::from_micros,
};
use tonic::Code;

use crate::world::{Auditor, ICE, Matter, World};

const WASTE: Matter =
    Matter { group: "waste", topic: "waste.bins", place: "artyom", executor: "artyom", source: "portal" };
const DAY: i64 = 24 * 60;

async fn count(audit: &mut Auditor, request: GetStatisticsRequest) -> GetStatisticsResponse {
    audit.client.get_statistics(request).await.unwrap().into_inner()
}

fn by(dimension: StatisticsDimension) -> GetStatisticsRequest {
    GetStatisticsRequest { dimension: dimension.into(), ..Default::default() }
}

fn rows(response: &GetStatisticsResponse) -> Vec<(&str, u64, u64, Option<f64>)> {
    response.rows.iter().map(|row| (row.key.as_str(), row.count, row.previous_count, row.growth)).collect()
}

fn period(world: &World, from: i64, to: i64) -> Option<StatisticsPeriod> {
    let time = |minutes| Some(from_micros(world.at(minutes).as_microsecond()));
    Some(StatisticsPeriod { start_time: time(from), end_time: time(to) })
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_counted_once_under_each_value_with_growth() {
    for database in testing::databases().await {
        let world = World::new().await;
        let mut audit = world.audit(&database, "").await;
        // Yesterday one about ice; today three, one of them about waste too, and one nobody has classified.
        world.assign(ICE, -DAY);
        world.assign(ICE, 0);
        world.assign(ICE, 10);
        let both = world.assign(ICE, 20);
        let questions = vec![World::question(both.message, 1, ICE), World::question(both.message, 2, WASTE)];
        let anew = MessageClassified {
            message_id: both.message.to_string(),
            message_version: 1,
            questions: questions.clone(),
            ..Default::default()
        };
        world.say(("message", both.message), &[both.message], None, 21, &anew);
        world.receive(WASTE, 30);
        audit.see(&world).await;

        let today = GetStatisticsRequest { period: period(&world, 0, DAY), ..by(StatisticsDimension::TopicGroup) };
        let response = count(&mut audit, today.clone()).await;
        let expected = [("roads", 3, 1, Some(2.0)), ("", 1, 0, None), ("waste", 1, 0, None)];
        assert_eq!(rows(&response), expected, "{}", database.name);
        assert_eq!((response.message_count, response.previous_message_count, response.case_count), (4, 1, 3));
        let states: Vec<(&str, u64)> = response.state_counts.iter().map(|s| (s.state.as_str(), s.count)).collect();
        assert_eq!(states, [("JOINED", 3), ("RECEIVED", 1)]);

        let places =
            count(&mut audit, GetStatisticsRequest { dimension: StatisticsDimension::Place.into(), ..today.clone() })
                .await;
        assert_eq!(rows(&places)[0], ("vladivostok", 3, 1, Some(2.0)));
        let executors = count(
            &mut audit,
            GetStatisticsRequest { dimension: StatisticsDimension::Executor.into(), ..today.clone() },
        )
        .await;
        assert_eq!(rows(&executors), [("city-roads", 3, 1, Some(2.0)), ("", 1, 0, None)]);
        let filter = StatisticsFilter { topic: "waste.bins".into(), ..Default::default() };
        let filtered = GetStatisticsRequest { filter: Some(filter), ..today.clone() };
        assert_eq!(count(&mut audit, filtered).await.message_count, 1);
        let filter = StatisticsFilter { source_id: "portal".into(), ..Default::default() };
        let filtered = GetStatisticsRequest { filter: Some(filter), ..today.clone() };
        assert_eq!(count(&mut audit, filtered).await.message_count, 1);
        for time in [StatisticsTime::Received, StatisticsTime::Recorded] {
            let request = GetStatisticsRequest { time: time.into(), ..today.clone() };
            assert_eq!(count(&mut audit, request).await.message_count, 4);
        }

        // A person finds that the first matter is waste as well.
        let mut questions = questions;
        questions[0].topic_group = "waste".into();
        questions[0].topic = "waste.bins".into();
        world.say(
            ("message", both.message),
            &[both.message],
            None,
            40,
            &ClassificationCorrected {
                message_id: both.message.to_string(),
                message_version: 1,
                questions,
                ..Default::default()
            },
        );
        audit.see(&world).await;
        let response = count(&mut audit, today).await;
        assert_eq!(rows(&response), [("roads", 2, 1, Some(1.0)), ("", 1, 0, None), ("waste", 1, 0, None)]);
        audit.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn months_and_years_are_those_of_the_region() {
    for database in testing::databases().await {
        let world = World::new().await;
        let mut audit = world.audit(&database, "").await;
        // 18 November is day 0. Midnight of 1 December in Vladivostok is 14:00 UTC of 30 November.
        let december = 12 * DAY + 14 * 60;
        for minutes in [0, 1, 2, december - 1, december, -365 * DAY] {
            world.receive(ICE, minutes);
        }
        audit.see(&world).await;
        let months = count(&mut audit, by(StatisticsDimension::Month)).await;
        assert_eq!(
            rows(&months),
            [
                ("2019-11", 1, 0, None),
                ("2019-12", 0, 1, Some(-1.0)),
                ("2020-11", 4, 0, None),
                ("2020-12", 1, 4, Some(-0.75)),
            ],
            "{}",
            database.name
        );
        let years = count(&mut audit, by(StatisticsDimension::Year)).await;
        assert_eq!(rows(&years), [("2019", 1, 0, None), ("2020", 5, 1, Some(4.0))]);
        assert_eq!(years.previous_message_count, 0);
        let month = GetStatisticsRequest { period: period(&world, 1, december), ..by(StatisticsDimension::Month) };
        let response = count(&mut audit, month).await;
        assert_eq!(rows(&response), [("2020-11", 3, 0, None)]);
        audit.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answer_times_are_working_times_and_survive_a_reopening() {
    for database in testing::databases().await {
        let world = World::new().await;
        let mut audit = world.audit(&database, "").await;
        // Received Wednesday 10:00. The times of the header say so for each.
        let quick = world.answer(world.assign(ICE, 0), 60);
        let slow = world.answer(world.assign(ICE, 0), DAY);
        let late = world.answer(world.assign(ICE, 0), 8 * DAY);
        let none = world.assign(WASTE, 0);
        world.close(quick, 61);
        audit.see(&world).await;
        world.clock.advance_to(world.at(9 * DAY));
        let figures = count(&mut audit, by(StatisticsDimension::State)).await.answer_times.unwrap();
        let hours = |d: &Option<prost_types::Duration>| d.as_ref().unwrap().seconds as f64 / 3600.0;
        assert_eq!((figures.first_answered_count, figures.final_answered_count), (3, 3));
        assert_eq!(hours(&figures.first_answer_p50), 8.0, "{}", database.name);
        assert_eq!(hours(&figures.final_answer_p50), 8.0);
        // To Thursday of the week after, 10:00: six working days.
        assert_eq!(hours(&figures.final_answer_p90), 48.0);
        // One was late with both, one was never answered; the slow one was exactly on time.
        assert_eq!(figures.overdue_count, 2);

        // The quick answer did not hold.
        let reopened = CaseReopened { case_id: quick.case.to_string(), reopen_count: 1, ..Default::default() };
        world.say(("case", quick.case), &[quick.message], None, 2 * DAY, &reopened);
        let again =
            CaseAssigned { case_id: quick.case.to_string(), executor_id: "city-roads".into(), ..Default::default() };
        world.say(("case", quick.case), &[quick.message], None, 2 * DAY, &again);
        audit.see(&world).await;
        let response = count(&mut audit, by(StatisticsDimension::State)).await;
        assert_eq!(response.answer_times.unwrap().overdue_count, 3, "reopened and past its deadline");
        let states: Vec<(&str, u64)> = response.state_counts.iter().map(|s| (s.state.as_str(), s.count)).collect();
        assert_eq!(states, [("ANSWERED", 2), ("JOINED", 2)]);
        world.answer(quick, 5 * DAY);
        audit.see(&world).await;
        let figures = count(&mut audit, by(StatisticsDimension::State)).await.answer_times.unwrap();
        assert_eq!(figures.overdue_count, 2);
        assert_eq!(figures.first_answered_count, 3, "the first answer stays the first");
        let filter = StatisticsFilter { executor_id: "artyom".into(), ..Default::default() };
        let request = GetStatisticsRequest { filter: Some(filter), ..by(StatisticsDimension::Topic) };
        let response = count(&mut audit, request).await;
        assert_eq!((response.message_count, response.case_count), (1, 1));
        assert_eq!(response.answer_times.unwrap().overdue_count, 1);
        let _ = (slow, late, none);
        audit.stop().await;
    }
}

#[tokio::test]
async fn bad_requests_are_refused() {
    let world = World::new().await;
    let database = testing::sqlite();
    let mut audit = world.audit(&database, "").await;
    let mut code = async |request: GetStatisticsRequest| audit.client.get_statistics(request).await.unwrap_err().code();
    assert_eq!(code(GetStatisticsRequest::default()).await, Code::InvalidArgument);
    assert_eq!(code(GetStatisticsRequest { dimension: 99, ..Default::default() }).await, Code::InvalidArgument);
    let backwards = GetStatisticsRequest { period: period(&world, 5, 4), ..by(StatisticsDimension::Topic) };
    assert_eq!(code(backwards).await, Code::InvalidArgument);
    let empty = count(&mut audit, by(StatisticsDimension::Month)).await;
    assert_eq!((empty.rows.len(), empty.message_count), (0, 0));
    audit.stop().await;
}
