//! Figures.

use otklik_chassis::{error::Error, validate::Violations};
use otklik_proto::{
    audit::v1::{
        AnswerTimes, GetStatisticsRequest, GetStatisticsResponse, StateCount, StatisticsDimension, StatisticsPeriod,
        StatisticsRow, StatisticsTime,
    },
    time::to_micros,
};

use super::Api;
use crate::{
    domain::periods::{Period, Unit, growth},
    figures::{self, Row},
    store::{AnswerFigures, Dimension, Selection, Statistics, TimeField},
};

const MICROS_PER_SECOND: i64 = 1_000_000;

/// What to count by: a value of the messages, or a unit of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Value(Dimension),
    Time(Unit),
}

/// Figures that are asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    by: By,
    selection: Selection,
    period: Period,
    previous: Option<Period>,
}

impl Wanted {
    /// Reads what is asked for.
    pub(super) fn of(request: GetStatisticsRequest) -> Result<Self, Error> {
        let mut violations = Violations::new();
        let by = match request.dimension() {
            StatisticsDimension::Unspecified => None,
            StatisticsDimension::TopicGroup => Some(By::Value(Dimension::TopicGroup)),
            StatisticsDimension::Topic => Some(By::Value(Dimension::Topic)),
            StatisticsDimension::Place => Some(By::Value(Dimension::Place)),
            StatisticsDimension::Executor => Some(By::Value(Dimension::Executor)),
            StatisticsDimension::State => Some(By::Value(Dimension::State)),
            StatisticsDimension::Month => Some(By::Time(Unit::Month)),
            StatisticsDimension::Year => Some(By::Time(Unit::Year)),
        };
        violations.check(by.is_some(), "dimension", "must be set to a known dimension");
        violations.check(StatisticsTime::try_from(request.time).is_ok(), "time", "is unknown");
        let time = match request.time() {
            StatisticsTime::Unspecified | StatisticsTime::Published => TimeField::Published,
            StatisticsTime::Received => TimeField::Received,
            StatisticsTime::Recorded => TimeField::Recorded,
        };
        let given = period("period", request.period.as_ref(), &mut violations);
        let compared = period("comparison_period", request.comparison_period.as_ref(), &mut violations);
        violations.finish()?;
        let filter = request.filter.unwrap_or_default();
        let period = given.unwrap_or(Period::ALL);
        Ok(Self {
            by: by.unwrap_or(By::Value(Dimension::State)),
            selection: Selection {
                time,
                topic_group: filter.topic_group,
                topic: filter.topic,
                place_id: filter.place_id,
                executor_id: filter.executor_id,
                source_id: filter.source_id,
            },
            period,
            previous: compared.or_else(|| period.before()),
        })
    }
}

fn period(field: &str, period: Option<&StatisticsPeriod>, violations: &mut Violations) -> Option<Period> {
    let period = period?;
    let read = Period {
        from_us: period.start_time.as_ref().map_or(i64::MIN, to_micros),
        to_us: period.end_time.as_ref().map_or(i64::MAX, to_micros),
    };
    violations.check(read.from_us <= read.to_us, field, "must not end before it begins");
    Some(read)
}

impl Api {
    /// The figures.
    pub(super) async fn statistics(&self, wanted: Wanted) -> Result<GetStatisticsResponse, Error> {
        let statistics = Statistics { storage: &self.storage, selection: &wanted.selection };
        let rows = match wanted.by {
            By::Value(dimension) => figures::by_value(&statistics, dimension, wanted.period, wanted.previous).await?,
            By::Time(unit) => figures::by_time(&statistics, unit, self.calendar.zone(), wanted.period).await?,
        };
        let states = statistics.count_by(Dimension::State, wanted.period).await?;
        let answers = statistics.answers(wanted.period, self.now_us()).await?;
        let previous_message_count = match wanted.previous {
            Some(previous) => statistics.count(previous).await?,
            None => 0,
        };
        Ok(GetStatisticsResponse {
            rows: rows.into_iter().map(convert).collect(),
            message_count: statistics.count(wanted.period).await?,
            previous_message_count,
            state_counts: figures::most_frequent(states)
                .into_iter()
                .map(|(state, count)| StateCount { state, count })
                .collect(),
            case_count: answers.cases,
            answer_times: Some(answer_times(&answers)),
        })
    }
}

fn convert(Row { key, count, previous }: Row) -> StatisticsRow {
    StatisticsRow { key, count, previous_count: previous, growth: growth(count, previous) }
}

fn answer_times(figures: &AnswerFigures) -> AnswerTimes {
    let duration = |us: i64| prost_types::Duration {
        seconds: us / MICROS_PER_SECOND,
        nanos: i32::try_from(us % MICROS_PER_SECOND * 1_000).unwrap_or(0),
    };
    let (first, last) = (figures.first_us, figures.final_us);
    AnswerTimes {
        first_answered_count: figures.first_answered,
        first_answer_p50: first.map(|(median, _)| duration(median)),
        first_answer_p90: first.map(|(_, high)| duration(high)),
        final_answered_count: figures.final_answered,
        final_answer_p50: last.map(|(median, _)| duration(median)),
        final_answer_p90: last.map(|(_, high)| duration(high)),
        overdue_count: figures.overdue,
    }
}
