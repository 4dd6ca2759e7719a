//! Periods of statistics: the one before, calendar months and years, and growth between them.

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};

/// A time from an instant (inclusive) to another (exclusive), in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// Begin.
    pub from_us: i64,
    /// End.
    pub to_us: i64,
}

impl Period {
    /// All of time.
    pub const ALL: Self = Self { from_us: i64::MIN, to_us: i64::MAX };

    /// The period of the same length just before; `None` when this one has no beginning or no end.
    #[must_use]
    pub fn before(self) -> Option<Self> {
        let bounded = self.from_us != i64::MIN && self.to_us != i64::MAX;
        let from_us = self.from_us.checked_sub(self.to_us.checked_sub(self.from_us)?)?;
        bounded.then_some(Self { from_us, to_us: self.from_us })
    }

    /// What both have in common; empty when nothing is.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let from_us = self.from_us.max(other.from_us);
        Self { from_us, to_us: self.to_us.min(other.to_us).max(from_us) }
    }
}

/// A unit of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Months.
    Month,
    /// Years.
    Year,
}

/// A month or a year in a time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// `YYYY-MM` or `YYYY`.
    pub key: String,
    /// All of it.
    pub period: Period,
    first: Date,
    unit: Unit,
}

impl Bucket {
    /// The month or year that an instant lies in; `None` beyond the calendar.
    #[must_use]
    pub fn at(unit: Unit, zone: &TimeZone, us: i64) -> Option<Self> {
        let date = zone.to_datetime(Timestamp::from_microsecond(us).ok()?).date();
        let first = match unit {
            Unit::Month => date.first_of_month(),
            Unit::Year => date.first_of_year(),
        };
        Self::beginning(unit, zone, first)
    }

    /// The one after this.
    #[must_use]
    pub fn next(&self, zone: &TimeZone) -> Option<Self> {
        Self::beginning(self.unit, zone, self.first.checked_add(span(self.unit)).ok()?)
    }

    /// The one before this.
    #[must_use]
    pub fn previous(&self, zone: &TimeZone) -> Option<Self> {
        Self::beginning(self.unit, zone, self.first.checked_sub(span(self.unit)).ok()?)
    }

    fn beginning(unit: Unit, zone: &TimeZone, first: Date) -> Option<Self> {
        let start = |date: Date| zone.to_timestamp(date.at(0, 0, 0, 0)).ok().map(|at| at.as_microsecond());
        let period = Period { from_us: start(first)?, to_us: start(first.checked_add(span(unit)).ok()?)? };
        let key = match unit {
            Unit::Month => first.strftime("%Y-%m").to_string(),
            Unit::Year => first.strftime("%Y").to_string(),
        };
        Some(Self { key, period, first, unit })
    }
}

fn span(unit: Unit) -> jiff::Span {
    match unit {
        Unit::Month => 1.month(),
        Unit::Year => 1.year(),
    }
}

/// Growth from a count to another: 1 is a doubling, -1 is nothing left; `None` when there was nothing before.
#[must_use]
pub fn growth(count: u64, previous: u64) -> Option<f64> {
    (previous > 0).then(|| count as f64 / previous as f64 - 1.0)
}

/// The rank, from 0, of a percentile among `count` sorted values: the nearest-rank definition, always a value that
/// occurred.
#[must_use]
pub fn nearest_rank(percent: u64, count: u64) -> u64 {
    (count * percent).div_ceil(100).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    #[test]
    fn the_period_before_is_as_long_and_ends_where_this_begins() {
        let year = Period { from_us: us("2020-01-01T00:00:00Z"), to_us: us("2021-01-01T00:00:00Z") };
        let before = year.before().unwrap();
        assert_eq!(before.to_us, year.from_us);
        assert_eq!(before.to_us - before.from_us, year.to_us - year.from_us);
        assert_eq!(Period::ALL.before(), None);
        assert_eq!(Period { to_us: i64::MAX, ..year }.before(), None);
        assert_eq!(Period { from_us: i64::MIN, ..year }.before(), None);
    }

    #[test]
    fn months_are_those_of_the_region() {
        let zone = TimeZone::get("Asia/Vladivostok").unwrap();
        // Ten hours ahead: the year has already begun there.
        let month = Bucket::at(Unit::Month, &zone, us("2020-12-31T14:00:00Z")).unwrap();
        assert_eq!(month.key, "2021-01");
        assert_eq!(month.previous(&zone).unwrap().key, "2020-12");
        assert_eq!(month.next(&zone).unwrap().period.from_us, month.period.to_us);
        let year = Bucket::at(Unit::Year, &zone, us("2020-12-31T13:59:59Z")).unwrap();
        assert_eq!((year.key.as_str(), year.period.to_us), ("2020", us("2020-12-31T14:00:00Z")));
    }

    #[test]
    fn months_keep_their_length_where_clocks_change() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let march = Bucket::at(Unit::Month, &zone, us("2020-03-15T00:00:00Z")).unwrap();
        assert_eq!((march.period.to_us - march.period.from_us) / 3_600_000_000, 31 * 24 - 1);
    }

    #[test]
    fn growth_is_a_share_of_what_was() {
        // 2020 against 2019 in the region: some 60,000 after some 8,000.
        assert_eq!(growth(60_000, 8_000), Some(6.5));
        assert_eq!(growth(0, 4), Some(-1.0));
        assert_eq!(growth(4, 4), Some(0.0));
        assert_eq!(growth(5, 0), None);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let ranks = |count| (nearest_rank(50, count), nearest_rank(90, count));
        assert_eq!(ranks(1), (0, 0));
        assert_eq!(ranks(2), (0, 1));
        assert_eq!(ranks(10), (4, 8));
        assert_eq!(ranks(11), (5, 9));
    }

    #[test]
    fn common_time() {
        let a = Period { from_us: 0, to_us: 10 };
        assert_eq!(a.and(Period { from_us: 5, to_us: 20 }), Period { from_us: 5, to_us: 10 });
        assert_eq!(a.and(Period { from_us: 15, to_us: 20 }), Period { from_us: 15, to_us: 15 });
    }
}
