//! The working calendar: when an executor's desk is open, and when something is due.
//!
//! A deadline is computed once per case, thousands of times a second, so each time zone gets a [`Timetable`]: every
//! opening and closing of its desks as instants, with the working time before each. A deadline is then a binary search.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{
    Timestamp, ToSpan as _,
    civil::{Date, Weekday},
    tz::TimeZone,
};

/// Microseconds of a minute.
pub const MINUTE_US: i64 = 60_000_000;
/// Microseconds of an hour.
pub const HOUR_US: i64 = 60 * MINUTE_US;
/// Minutes of a day.
pub const DAY_MINUTES: u16 = 24 * 60;

/// The unit of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Hours in which the desk is open.
    WorkingHours,
    /// Working days; the day of the start does not count, and the last one ends when the desk closes.
    WorkingDays,
    /// Hours, whatever the day.
    CalendarHours,
    /// Days of the local calendar; due at the local time of the start.
    CalendarDays,
}

impl Unit {
    /// The unit of a name as packs spell it: `working-hours`.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "working-hours" => Self::WorkingHours,
            "working-days" => Self::WorkingDays,
            "calendar-hours" => Self::CalendarHours,
            "calendar-days" => Self::CalendarDays,
            _ => return None,
        })
    }

    /// Whether only working time counts.
    pub fn is_working(self) -> bool {
        matches!(self, Self::WorkingHours | Self::WorkingDays)
    }
}

/// A length of time in a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// How many; at least 1.
    pub value: u32,
    /// Of what.
    pub unit: Unit,
}

/// Time in which a clock stood still, measured both ways, so that it can be added to a term of any unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pause {
    /// Working time, in microseconds.
    pub working_us: i64,
    /// Time, in microseconds.
    pub calendar_us: i64,
}

/// Open minutes of a day, `from` inclusive, `to` exclusive, both since local midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    /// Opening.
    pub from: u16,
    /// Closing.
    pub to: u16,
}

/// What the law and the decrees say of one year.
#[derive(Clone, Debug, Default)]
pub struct Year {
    /// Closed: statutory holidays and moved days off.
    pub closed: BTreeSet<Date>,
    /// Open with Friday's hours though the week says closed.
    pub moved_working: BTreeSet<Date>,
    /// Open days that end earlier.
    pub shortened: BTreeSet<Date>,
}

/// The calendar of a region, independent of time zones.
#[derive(Clone, Debug)]
pub struct Calendar {
    /// Open hours from Monday to Sunday.
    pub week: [Vec<Hours>; 7],
    /// How much earlier a shortened day ends, in minutes.
    pub shortened_by: u16,
    /// The years that are known.
    pub years: BTreeMap<i16, Year>,
}

impl Calendar {
    /// The open hours of a local date. In years that the calendar does not know the ordinary week goes on.
    pub fn hours(&self, date: Date) -> Vec<Hours> {
        let year = self.years.get(&date.year());
        let is_in = |dates: fn(&Year) -> &BTreeSet<Date>| year.is_some_and(|y| dates(y).contains(&date));
        let mut hours = if is_in(|y| &y.closed) {
            Vec::new()
        } else if is_in(|y| &y.moved_working) {
            self.week[weekday_index(Weekday::Friday)].clone()
        } else {
            self.week[weekday_index(date.weekday())].clone()
        };
        if is_in(|y| &y.shortened)
            && let Some(last) = hours.last_mut()
        {
            last.to -= self.shortened_by;
        }
        hours
    }

    /// The first and the last year that are known.
    pub fn known_years(&self) -> Option<(i16, i16)> {
        Some((*self.years.first_key_value()?.0, *self.years.last_key_value()?.0))
    }
}

/// Index of a weekday in [`Calendar::week`].
pub fn weekday_index(day: Weekday) -> usize {
    usize::try_from(day.to_monday_zero_offset()).unwrap_or(0)
}

/// Years after the last known one for which the ordinary week is laid out.
const YEARS_AFTER: i16 = 10;

/// The openings of desks in one time zone.
#[derive(Clone, Debug)]
pub struct Timetable {
    zone: TimeZone,
    open: Vec<Open>,
    days: Vec<Day>,
    /// What is laid out.
    span_us: std::ops::Range<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    from_us: i64,
    to_us: i64,
    /// Working time before `from_us`.
    before_us: i64,
}

/// A working day.
#[derive(Clone, Copy, Debug)]
struct Day {
    midnight_us: i64,
    close_us: i64,
}

impl Timetable {
    /// Lays the calendar out in a time zone: the known years, one before and some after, in which the ordinary week
    /// goes on.
    pub fn new(calendar: &Calendar, zone: &TimeZone) -> Self {
        let (first, last) = calendar.known_years().unwrap_or((2020, 2020));
        let mut date = Date::constant(first - 1, 1, 1);
        let end = Date::constant(last + YEARS_AFTER + 1, 1, 1);
        let span_us = instant(zone, date, 0)..instant(zone, end, 0);
        let mut table = Self { zone: zone.clone(), open: Vec::new(), days: Vec::new(), span_us };
        let mut worked_us = 0;
        while date < end {
            let hours = calendar.hours(date);
            for Hours { from, to } in &hours {
                let (from_us, to_us) = (instant(zone, date, *from), instant(zone, date, *to));
                // A clock set back or forward inside the hours changes their length: what counts is time.
                table.open.push(Open { from_us, to_us, before_us: worked_us });
                worked_us += to_us - from_us;
            }
            if let Some(last) = hours.last() {
                let midnight_us = instant(zone, date, 0);
                table.days.push(Day { midnight_us, close_us: instant(zone, date, last.to) });
            }
            date = date.tomorrow().unwrap_or(end);
        }
        table
    }

    /// When a term that starts at `start_us` ends, after standing still for `pause`. `None` when that is outside what
    /// the calendar can say.
    pub fn due(&self, start_us: i64, term: Term, pause: Pause) -> Option<i64> {
        let value = i64::from(term.value);
        let due_us = match term.unit {
            Unit::WorkingHours => self.after_working(start_us, value * HOUR_US)?,
            Unit::WorkingDays => self.after_working_days(start_us, term.value)?,
            Unit::CalendarHours => start_us.checked_add(value * HOUR_US)?,
            Unit::CalendarDays => self.after_days(start_us, value)?,
        };
        self.postponed(due_us, term.unit, pause)
    }

    /// A deadline of a term in `unit`, moved by a pause.
    pub fn postponed(&self, due_us: i64, unit: Unit, pause: Pause) -> Option<i64> {
        if unit.is_working() {
            self.after_working(due_us, pause.working_us)
        } else {
            due_us.checked_add(pause.calendar_us)
        }
    }

    /// The pause from `from_us` to `to_us`.
    pub fn pause(&self, from_us: i64, to_us: i64) -> Pause {
        Pause {
            working_us: (self.worked_until(to_us) - self.worked_until(from_us)).max(0),
            calendar_us: (to_us - from_us).max(0),
        }
    }

    /// The first instant at which `amount_us` of working time has passed since `start_us`.
    fn after_working(&self, start_us: i64, amount_us: i64) -> Option<i64> {
        if amount_us == 0 {
            return Some(start_us);
        }
        if !self.span_us.contains(&start_us) {
            return None;
        }
        let target_us = self.worked_until(start_us) + amount_us;
        let index = self.open.partition_point(|open| open.before_us < target_us).checked_sub(1)?;
        let open = self.open[index];
        let due_us = open.from_us + (target_us - open.before_us);
        (due_us <= open.to_us).then_some(due_us)
    }

    /// The close of the `count`-th working day after the local day of `start_us`.
    fn after_working_days(&self, start_us: i64, count: u32) -> Option<i64> {
        if !self.span_us.contains(&start_us) {
            return None;
        }
        let next = self.days.partition_point(|day| day.midnight_us <= start_us);
        let last = next.checked_add(usize::try_from(count).ok()?)?.checked_sub(1)?;
        self.days.get(last).map(|day| day.close_us)
    }

    fn after_days(&self, start_us: i64, count: i64) -> Option<i64> {
        let start = self.zone.to_datetime(Timestamp::from_microsecond(start_us).ok()?);
        let due = start.checked_add(count.days()).ok()?;
        Some(self.zone.to_timestamp(due).ok()?.as_microsecond())
    }

    /// Working time from the beginning of the table to an instant.
    fn worked_until(&self, at_us: i64) -> i64 {
        match self.open.partition_point(|open| open.from_us <= at_us).checked_sub(1) {
            None => 0,
            Some(index) => {
                let open = self.open[index];
                open.before_us + at_us.min(open.to_us) - open.from_us
            }
        }
    }
}

/// The instant of a local minute; one that a change of clocks skips or repeats is taken as `jiff` takes it by default.
fn instant(zone: &TimeZone, date: Date, minute: u16) -> i64 {
    let (date, minute) =
        if minute >= DAY_MINUTES { (date.tomorrow().unwrap_or(date), minute - DAY_MINUTES) } else { (date, minute) };
    let time = jiff::civil::time(i8::try_from(minute / 60).unwrap_or(0), i8::try_from(minute % 60).unwrap_or(0), 0, 0);
    zone.to_timestamp(date.to_datetime(time)).map_or(i64::MAX, Timestamp::as_microsecond)
}

#[cfg(test)]
mod tests;
