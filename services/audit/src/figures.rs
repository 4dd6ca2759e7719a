//! Rows of figures from counts.

use std::collections::HashMap;

use jiff::tz::TimeZone;
use otklik_chassis::error::Error;

use crate::{
    domain::periods::{Bucket, Period, Unit},
    store::{Dimension, Statistics},
};

/// One row of figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The value counted.
    pub key: String,
    /// How many there are.
    pub count: u64,
    /// How many there were in the period before.
    pub previous: u64,
}

/// One row a value, the most frequent first; values that only the previous period had come with a count of 0.
///
/// # Errors
/// Those of the database.
pub async fn by_value(
    statistics: &Statistics<'_>,
    dimension: Dimension,
    period: Period,
    previous: Option<Period>,
) -> Result<Vec<Row>, Error> {
    let mut counts = statistics.count_by(dimension, period).await?;
    let previous = match previous {
        Some(previous) => statistics.count_by(dimension, previous).await?,
        None => HashMap::new(),
    };
    for key in previous.keys() {
        counts.entry(key.clone()).or_insert(0);
    }
    let rows = most_frequent(counts).into_iter().map(|(key, count)| {
        let previous = previous.get(&key).copied().unwrap_or(0);
        Row { key, count, previous }
    });
    Ok(rows.collect())
}

/// One row a month or year, from the first to the last with messages in the period. Months without any are left
/// out, unless the one before had some.
///
/// # Errors
/// Those of the database.
pub async fn by_time(
    statistics: &Statistics<'_>,
    unit: Unit,
    zone: &TimeZone,
    period: Period,
) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    let mut from = period;
    // From one stretch of messages to the next: an odd date in the far past costs one step, not a century of them.
    while let Some((first, last)) = statistics.extent(from).await? {
        let Some(mut bucket) = Bucket::at(unit, zone, first) else { break };
        loop {
            let count = statistics.count(bucket.period.and(period)).await?;
            let previous = match bucket.previous(zone) {
                Some(previous) => statistics.count(previous.period).await?,
                None => 0,
            };
            if count > 0 || previous > 0 {
                rows.push(Row { key: bucket.key.clone(), count, previous });
            }
            from.from_us = bucket.period.to_us;
            match bucket.next(zone) {
                Some(next) if next.period.from_us <= last && (count > 0 || previous > 0) => bucket = next,
                _ => break,
            }
        }
    }
    Ok(rows)
}

/// The most frequent first, equal ones by key.
#[must_use]
pub fn most_frequent(counts: HashMap<String, u64>) -> Vec<(String, u64)> {
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|(a, most), (b, other)| other.cmp(most).then_with(|| a.cmp(b)));
    counts
}
