//! Reads the working calendar.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::{Date, Weekday};
use otklik_chassis::region::{Problems, parse};
use serde::Deserialize;
use toml::Spanned;

use crate::domain::calendar::{Calendar, DAY_MINUTES, Hours, Year, weekday_index};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "id")]
    _id: String,
    #[serde(rename = "title")]
    _title: String,
    first_year: Spanned<i16>,
    last_year: Spanned<i16>,
    shortened_by_minutes: Spanned<u16>,
    week: Week,
    #[serde(default)]
    year: Vec<YearEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Week {
    monday: Vec<Spanned<String>>,
    tuesday: Vec<Spanned<String>>,
    wednesday: Vec<Spanned<String>>,
    thursday: Vec<Spanned<String>>,
    friday: Vec<Spanned<String>>,
    saturday: Vec<Spanned<String>>,
    sunday: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct YearEntry {
    year: Spanned<i16>,
    sources: Spanned<Vec<String>>,
    #[serde(rename = "provisional")]
    _provisional: bool,
    #[serde(default)]
    holidays: Vec<Spanned<String>>,
    #[serde(default)]
    days_off: Vec<Spanned<String>>,
    #[serde(default)]
    working_days: Vec<Spanned<String>>,
    #[serde(default)]
    shortened: Vec<Spanned<String>>,
}

/// The years that a calendar may speak of.
const YEARS: std::ops::RangeInclusive<i16> = 1900..=2200;

/// Reads the calendar; what is wrong with it is noted. `None` when it can't be used.
pub(crate) fn read(file: &str, text: &str, problems: &mut Problems) -> Option<Calendar> {
    let parsed: File = parse(file, text, problems)?;
    let mut reader = Reader { file, text, problems };
    let week = reader.week(&parsed.week);
    let shortened_by = *parsed.shortened_by_minutes.get_ref();
    let mut calendar = Calendar { week, shortened_by, years: BTreeMap::new() };
    let (first, last) = (*parsed.first_year.get_ref(), *parsed.last_year.get_ref());
    if !YEARS.contains(&first) || !YEARS.contains(&last) || first > last {
        reader.problems.at(
            file,
            text,
            parsed.last_year.span(),
            "first_year and last_year must be years, in this order",
        );
        return None;
    }
    for entry in &parsed.year {
        let year = *entry.year.get_ref();
        if !(first..=last).contains(&year) {
            reader.problems.at(
                file,
                text,
                entry.year.span(),
                format!("{year} is not between first_year and last_year"),
            );
        }
        let dates = reader.year(entry, &calendar);
        if calendar.years.insert(year, dates).is_some() {
            reader.problems.at(file, text, entry.year.span(), format!("the year {year} is there twice"));
        }
    }
    for year in first..=last {
        if !calendar.years.contains_key(&year) {
            reader.problems.at(file, text, parsed.first_year.span(), format!("the year {year} is missing"));
        }
    }
    Some(calendar)
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    fn problem<T>(&mut self, at: &Spanned<T>, message: impl Into<String>) {
        self.problems.at(self.file, self.text, at.span(), message);
    }

    fn week(&mut self, week: &Week) -> [Vec<Hours>; 7] {
        [&week.monday, &week.tuesday, &week.wednesday, &week.thursday, &week.friday, &week.saturday, &week.sunday]
            .map(|day| self.day(day))
    }

    fn day(&mut self, intervals: &[Spanned<String>]) -> Vec<Hours> {
        let mut hours: Vec<Hours> = Vec::with_capacity(intervals.len());
        for interval in intervals {
            match parse_hours(interval.get_ref()) {
                None => self.problem(
                    interval,
                    format!("`{}` is not \"HH:MM-HH:MM\" with the end after the beginning", interval.get_ref()),
                ),
                Some(next) if hours.last().is_some_and(|last| last.to > next.from) => {
                    self.problem(interval, "begins before the interval before it ends");
                }
                Some(next) => hours.push(next),
            }
        }
        hours
    }

    fn year(&mut self, entry: &YearEntry, calendar: &Calendar) -> Year {
        if entry.sources.get_ref().is_empty() {
            self.problem(&entry.sources, "name the law or decree that the year follows");
        }
        let year = *entry.year.get_ref();
        let mut closed = BTreeSet::new();
        let mut moved_working = BTreeSet::new();
        let mut shortened = BTreeSet::new();
        for date in entry.holidays.iter().chain(&entry.days_off) {
            if let Some(day) = self.date(year, date)
                && !closed.insert(day)
            {
                self.problem(date, format!("{day} is closed already"));
            }
        }
        for date in &entry.working_days {
            let Some(day) = self.date(year, date) else { continue };
            if closed.contains(&day) || !moved_working.insert(day) {
                self.problem(date, format!("{day} stands in another list already"));
            } else if !calendar.week[weekday_index(day.weekday())].is_empty() {
                self.problem(date, format!("{day} is open by the week"));
            }
        }
        for date in &entry.shortened {
            let Some(day) = self.date(year, date) else { continue };
            let hours = if moved_working.contains(&day) { Weekday::Friday } else { day.weekday() };
            let last = calendar.week[weekday_index(hours)].last();
            if closed.contains(&day) || !shortened.insert(day) {
                self.problem(date, format!("{day} stands in another list already"));
            } else if last.is_none_or(|last| last.to - last.from <= calendar.shortened_by) {
                self.problem(
                    date,
                    format!("{day} has no open hours to be shortened by {} minutes", calendar.shortened_by),
                );
            }
        }
        Year { closed, moved_working, shortened }
    }

    fn date(&mut self, year: i16, date: &Spanned<String>) -> Option<Date> {
        let parsed = date.get_ref().parse::<Date>().ok().filter(|d| d.to_string() == *date.get_ref());
        match parsed {
            None => self.problem(date, format!("`{}` is not a date \"YYYY-MM-DD\"", date.get_ref())),
            Some(day) if day.year() != year => self.problem(date, format!("{day} is not in {year}")),
            Some(_) => return parsed,
        }
        None
    }
}

fn parse_hours(text: &str) -> Option<Hours> {
    let (from, to) = text.split_once('-')?;
    let hours = Hours { from: parse_minute(from)?, to: parse_minute(to)? };
    (hours.from < hours.to).then_some(hours)
}

fn parse_minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two_digits =
        |part: &str| (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse::<u16>().ok())?;
    let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
    let minute = hours * 60 + minutes;
    (minutes < 60 && minute <= DAY_MINUTES).then_some(minute)
}
