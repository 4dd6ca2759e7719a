//! Figures.

use std::collections::HashMap;

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
    domain::periods::{Bucket, Period, Unit, growth},
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
            By::Value(dimension) => by_value(&statistics, dimension, &wanted).await?,
            By::Time(unit) => self.by_time(&statistics, unit, wanted.period).await?,
        };
        let states = statistics.count_by(Dimension::State, wanted.period).await?;
        let answers = statistics.answers(wanted.period, self.now_us()).await?;
        let previous_message_count = match wanted.previous {
            Some(previous) => statistics.count(previous).await?,
            None => 0,
        };
        Ok(GetStatisticsResponse {
            rows,
            message_count: statistics.count(wanted.period).await?,
            previous_message_count,
            state_counts: most_frequent(states).into_iter().map(|(state, count)| StateCount { state, count }).collect(),
            case_count: answers.cases,
            answer_times: Some(answer_times(&answers)),
        })
    }

    /// One row a month or year, from the first to the last with messages in the period. Months without any are left
    /// out, unless the one before had some.
    async fn by_time(
        &self,
        statistics: &Statistics<'_>,
        unit: Unit,
        period: Period,
    ) -> Result<Vec<StatisticsRow>, Error> {
        let zone = self.calendar.zone();
        let mut rows = Vec::new();
        let mut from = period;
        // From one stretch of messages to the next: an odd date in the far past costs one step, not a century of them.
        while let Some((first, last)) = statistics.extent(from).await? {
            let Some(mut bucket) = Bucket::at(unit, zone, first) else { break };
            loop {
                let count = statistics.count(bucket.period.and(period)).await?;
                let previous_count = match bucket.previous(zone) {
                    Some(previous) => statistics.count(previous.period).await?,
                    None => 0,
                };
                if count > 0 || previous_count > 0 {
                    rows.push(row(bucket.key.clone(), count, previous_count));
                }
                from.from_us = bucket.period.to_us;
                match bucket.next(zone) {
                    Some(next) if next.period.from_us <= last && (count > 0 || previous_count > 0) => bucket = next,
                    _ => break,
                }
            }
        }
        Ok(rows)
    }
}

async fn by_value(
    statistics: &Statistics<'_>,
    dimension: Dimension,
    wanted: &Wanted,
) -> Result<Vec<StatisticsRow>, Error> {
    let mut counts = statistics.count_by(dimension, wanted.period).await?;
    let previous = match wanted.previous {
        Some(previous) => statistics.count_by(dimension, previous).await?,
        None => HashMap::new(),
    };
    for key in previous.keys() {
        counts.entry(key.clone()).or_insert(0);
    }
    let rows = most_frequent(counts).into_iter().map(|(key, count)| {
        let previous = previous.get(&key).copied().unwrap_or(0);
        row(key, count, previous)
    });
    Ok(rows.collect())
}

fn row(key: String, count: u64, previous_count: u64) -> StatisticsRow {
    StatisticsRow { key, count, previous_count, growth: growth(count, previous_count) }
}

fn most_frequent(counts: HashMap<String, u64>) -> Vec<(String, u64)> {
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|(a, most), (b, other)| other.cmp(most).then_with(|| a.cmp(b)));
    counts
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
