//! The region's working calendar: how much working time lies between two instants.

use std::collections::{HashMap, HashSet};

use jiff::{
    Timestamp, ToSpan,
    civil::{Date, Time, Weekday},
    tz::TimeZone,
};
use serde::Deserialize;

use otklik_chassis::region::{Files, Problems, parse};

/// File of the region pack with the week, the holidays and the moved days.
pub const CALENDAR_FILE: &str = "calendar.toml";
/// File of the region pack that names the region's time zone.
pub const PACK_FILE: &str = "pack.toml";

const MICROS_PER_SECOND: i64 = 1_000_000;

/// What `pack.toml` says that matters here.
#[derive(Debug, Deserialize)]
struct PackFile {
    time_zone: toml::Spanned<String>,
}

/// What `calendar.toml` says.
#[derive(Debug, Deserialize)]
struct CalendarFile {
    first_year: i16,
    last_year: i16,
    shortened_by_minutes: i64,
    week: HashMap<String, Vec<toml::Spanned<String>>>,
    #[serde(default)]
    year: Vec<YearFile>,
}

#[derive(Debug, Deserialize)]
struct YearFile {
    #[serde(default)]
    holidays: Vec<toml::Spanned<String>>,
    #[serde(default)]
    days_off: Vec<toml::Spanned<String>>,
    #[serde(default)]
    working_days: Vec<toml::Spanned<String>>,
    #[serde(default)]
    shortened: Vec<toml::Spanned<String>>,
}

/// A working interval of a day, in seconds from midnight.
type Interval = (i64, i64);

/// The working calendar in the region's time zone.
///
/// Beyond the years it covers, the ordinary week holds.
#[derive(Debug, Clone)]
pub struct Calendar {
    zone: TimeZone,
    week: [Vec<Interval>; 7],
    /// The intervals of a moved working day.
    moved: Vec<Interval>,
    closed: HashSet<Date>,
    opened: HashSet<Date>,
    shortened: HashSet<Date>,
    shortened_by: i64,
    /// Of each day from `first` on: the working seconds of all days before it.
    before: Vec<i64>,
    first: Date,
}

impl Calendar {
    /// Reads the calendar and the time zone of a region pack.
    ///
    /// Whatever is wrong is noted in `problems`; `None` if anything is.
    pub fn read(files: &Files, problems: &mut Problems) -> Option<Self> {
        let (pack_text, text) = (files.text(PACK_FILE), files.text(CALENDAR_FILE));
        let pack: Option<PackFile> = parse(PACK_FILE, pack_text, problems);
        let file: Option<CalendarFile> = parse(CALENDAR_FILE, text, problems);
        let (pack, file) = (pack?, file?);
        let zone = TimeZone::get(pack.time_zone.get_ref());
        if let Err(error) = &zone {
            problems.at(PACK_FILE, pack_text, pack.time_zone.span(), format!("no such time zone: {error}"));
        }
        let mut reading = Reading { text, problems, sound: true };
        let week = WEEKDAYS.map(|(name, _)| reading.intervals(file.week.get(name)));
        let mut closed = HashSet::new();
        let (mut opened, mut shortened) = (HashSet::new(), HashSet::new());
        for year in &file.year {
            closed.extend(reading.dates(&year.holidays));
            closed.extend(reading.dates(&year.days_off));
            opened.extend(reading.dates(&year.working_days));
            shortened.extend(reading.dates(&year.shortened));
        }
        let years = Date::new(file.first_year, 1, 1).ok().zip(Date::new(file.last_year, 12, 31).ok());
        let Some((first, last)) = years.filter(|(first, last)| first < last) else {
            reading.problems.of_file(CALENDAR_FILE, "first_year and last_year must be years in order");
            return None;
        };
        if !reading.sound {
            return None;
        }
        let moved = week.iter().find(|day| !day.is_empty()).cloned().unwrap_or_default();
        let mut calendar = Self {
            zone: zone.ok()?,
            week,
            moved,
            closed,
            opened,
            shortened,
            shortened_by: file.shortened_by_minutes * 60,
            before: Vec::new(),
            first,
        };
        let mut sum = 0;
        for date in first.series(1.day()).take_while(|date| *date <= last) {
            calendar.before.push(sum);
            sum += calendar.intervals(date).map(|(from, to)| to - from).sum::<i64>();
        }
        calendar.before.push(sum);
        Some(calendar)
    }

    /// The region's time zone.
    #[must_use]
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The working time from one instant to another, all in microseconds; 0 if the second isn't later.
    #[must_use]
    pub fn working_us(&self, from_us: i64, to_us: i64) -> i64 {
        if to_us <= from_us {
            return 0;
        }
        let Some((start, end)) = self.local(from_us).zip(self.local(to_us)) else { return 0 };
        let days = self.full_days(start.0, end.0);
        (days + self.until(end) - self.until(start)).max(0) * MICROS_PER_SECOND
    }

    /// Local date and seconds of the day.
    fn local(&self, us: i64) -> Option<(Date, i64)> {
        let local = self.zone.to_datetime(Timestamp::from_microsecond(us).ok()?);
        let time = local.time();
        Some((local.date(), i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second())))
    }

    /// Working seconds of the days from one date (inclusive) to another (exclusive).
    fn full_days(&self, from: Date, to: Date) -> i64 {
        let covered = |date: Date| {
            let days = self.first.until(date).map_or(-1, |span| i64::from(span.get_days()));
            usize::try_from(days).ok().and_then(|days| self.before.get(days)).copied()
        };
        match (covered(from), covered(to)) {
            (Some(from), Some(to)) => to - from,
            _ => from.series(1.day()).take_while(|date| *date < to).map(|date| self.day(date)).sum(),
        }
    }

    fn day(&self, date: Date) -> i64 {
        self.intervals(date).map(|(from, to)| to - from).sum()
    }

    /// Working seconds of a day up to a time of it.
    fn until(&self, (date, second): (Date, i64)) -> i64 {
        self.intervals(date).map(|(from, to)| second.clamp(from, to) - from).sum()
    }

    /// The working intervals of a day. A shortened day ends earlier.
    fn intervals(&self, date: Date) -> impl Iterator<Item = Interval> + '_ {
        let ordinary = &self.week[date.weekday().to_monday_zero_offset().unsigned_abs() as usize];
        let day: &[Interval] = if self.closed.contains(&date) {
            &[]
        } else if self.opened.contains(&date) && ordinary.is_empty() {
            &self.moved
        } else {
            ordinary
        };
        let end = day.last().map_or(0, |(_, to)| *to);
        let end = if self.shortened.contains(&date) { end - self.shortened_by } else { end };
        day.iter().map(move |(from, to)| (*from, (*to).min(end))).filter(|(from, to)| from < to)
    }
}

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

/// Reads values of the calendar's file and notes what is wrong with them.
struct Reading<'a> {
    text: &'a str,
    problems: &'a mut Problems,
    sound: bool,
}

impl Reading<'_> {
    fn dates(&mut self, texts: &[toml::Spanned<String>]) -> Vec<Date> {
        texts
            .iter()
            .filter_map(|text| self.value(text, text.get_ref().parse().ok(), "a date such as 2020-11-04"))
            .collect()
    }

    fn intervals(&mut self, texts: Option<&Vec<toml::Spanned<String>>>) -> Vec<Interval> {
        let second = |text: &str| {
            let time: Time = text.trim().parse().ok()?;
            Some(i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60)
        };
        texts
            .into_iter()
            .flatten()
            .filter_map(|text| {
                let interval = text.get_ref().split_once('-').and_then(|(from, to)| second(from).zip(second(to)));
                self.value(text, interval.filter(|(from, to)| from < to), "an interval such as 09:00-13:00")
            })
            .collect()
    }

    fn value<T>(&mut self, text: &toml::Spanned<String>, value: Option<T>, wanted: &str) -> Option<T> {
        if value.is_none() {
            self.sound = false;
            self.problems.at(CALENDAR_FILE, self.text, text.span(), format!("{:?} is not {wanted}", text.get_ref()));
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar() -> Calendar {
        let files = Files::open(
            None,
            &[
                (PACK_FILE, include_str!("../../../../deploy/regions/primorye/pack.toml")),
                (CALENDAR_FILE, include_str!("../../../../deploy/regions/primorye/calendar.toml")),
            ],
        )
        .unwrap();
        let mut problems = Problems::new();
        let calendar = Calendar::read(&files, &mut problems);
        problems.finish().unwrap();
        calendar.unwrap()
    }

    fn hours(calendar: &Calendar, from: &str, to: &str) -> f64 {
        let us = |text: &str| format!("{text}+10:00").parse::<Timestamp>().unwrap().as_microsecond();
        calendar.working_us(us(from), us(to)) as f64 / 3_600_000_000.0
    }

    #[test]
    fn nights_breaks_and_weekends_do_not_count() {
        let calendar = calendar();
        let cases = [
            // Wednesday.
            ("2020-11-18T09:00:00", "2020-11-18T18:00:00", 8.0),
            ("2020-11-18T12:30:00", "2020-11-18T14:15:00", 0.75),
            ("2020-11-18T17:00:00", "2020-11-19T10:00:00", 2.0),
            // Friday evening to Monday morning.
            ("2020-11-20T19:00:00", "2020-11-23T09:30:00", 0.5),
            ("2020-11-23T09:30:00", "2020-11-20T19:00:00", 0.0),
            // The day before the holiday of 4 November is an hour shorter.
            ("2020-11-03T09:00:00", "2020-11-05T09:00:00", 7.0),
            // Seconds count.
            ("2020-11-18T09:00:00", "2020-11-18T09:00:36", 0.01),
            // A moved working Saturday, itself shortened.
            ("2027-02-20T00:00:00", "2027-02-21T00:00:00", 7.0),
            // Beyond the calendar's years the ordinary week holds.
            ("2031-01-01T00:00:00", "2031-01-03T00:00:00", 16.0),
        ];
        for (from, to, expected) in cases {
            assert!(
                (hours(&calendar, from, to) - expected).abs() < 1e-9,
                "{from} to {to}: {}",
                hours(&calendar, from, to)
            );
        }
    }

    #[test]
    fn a_year_has_its_published_norm_of_hours() {
        let calendar = calendar();
        // Without 24 June and 1 July, which the President made days off.
        assert_eq!(hours(&calendar, "2020-01-01T00:00:00", "2021-01-01T00:00:00"), 1963.0);
        assert_eq!(hours(&calendar, "2021-01-01T00:00:00", "2022-01-01T00:00:00"), 1972.0);
    }

    #[test]
    fn parts_of_a_time_sum_to_the_whole() {
        let calendar = calendar();
        let start = "2020-10-30T00:00:00Z".parse::<Timestamp>().unwrap().as_microsecond();
        let step = 3_700 * MICROS_PER_SECOND;
        let parts: i64 = (0..400).map(|i| calendar.working_us(start + i * step, start + (i + 1) * step)).sum();
        assert_eq!(parts, calendar.working_us(start, start + 400 * step));
    }

    #[test]
    fn every_mistake_is_named_with_its_line() {
        let files = Files::open(
            None,
            &[
                (PACK_FILE, "time_zone = \"Asia/Nowhere\"\n"),
                (
                    CALENDAR_FILE,
                    "first_year = 2020\nlast_year = 2021\nshortened_by_minutes = 60\n[week]\nmonday = [\"9 to 5\"]\n\
                 [[year]]\nyear = 2020\nholidays = [\"2020-13-01\"]\n",
                ),
            ],
        )
        .unwrap();
        let mut problems = Problems::new();
        assert!(Calendar::read(&files, &mut problems).is_none());
        let lines: Vec<_> = problems.into_sorted().into_iter().map(|p| (p.file, p.line)).collect();
        assert_eq!(
            lines,
            [("calendar.toml".to_owned(), 5), ("calendar.toml".to_owned(), 8), ("pack.toml".to_owned(), 1)]
        );
    }
}
