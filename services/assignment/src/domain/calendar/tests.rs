use std::sync::LazyLock;

use jiff::civil::{DateTime, Time};
use proptest::prelude::*;
use rstest::rstest;

use super::*;

/// The calendar that ships.
static CALENDAR: LazyLock<Calendar> = LazyLock::new(|| {
    let text = include_str!("../../../../../deploy/regions/primorye/calendar.toml");
    let mut problems = otklik_chassis::region::Problems::new();
    let calendar = crate::domain::pack::read_calendar("calendar.toml", text, &mut problems);
    assert!(problems.is_empty(), "{:?}", problems.into_sorted());
    calendar.unwrap()
});

const ZONES: [&str; 4] = ["Asia/Vladivostok", "Europe/Kaliningrad", "America/New_York", "Asia/Kolkata"];

static TABLES: LazyLock<Vec<Timetable>> =
    LazyLock::new(|| ZONES.iter().map(|name| Timetable::new(&CALENDAR, &TimeZone::get(name).unwrap())).collect());

const NO_PAUSE: Pause = Pause { working_us: 0, calendar_us: 0 };

fn table(zone: &str) -> &'static Timetable {
    &TABLES[ZONES.iter().position(|name| *name == zone).unwrap()]
}

fn micros(local: &str, zone: &str) -> i64 {
    TimeZone::get(zone).unwrap().to_timestamp(local.parse().unwrap()).unwrap().as_microsecond()
}

fn local(us: i64, zone: &str) -> String {
    civil(us, &TimeZone::get(zone).unwrap()).strftime("%Y-%m-%d %H:%M").to_string()
}

fn civil(us: i64, zone: &TimeZone) -> DateTime {
    zone.to_datetime(Timestamp::from_microsecond(us).unwrap())
}

#[rstest]
// Inside a day, over the break, over a night, over a weekend.
#[case("2020-11-19 10:00", 2, "wh", "2020-11-19 12:00")]
#[case("2020-11-19 10:00", 4, "wh", "2020-11-19 15:00")]
#[case("2020-11-19 09:00", 8, "wh", "2020-11-19 18:00")]
#[case("2020-11-19 10:00", 9, "wh", "2020-11-20 11:00")]
#[case("2020-11-20 17:30", 4, "wh", "2020-11-23 12:30")]
#[case("2020-11-21 12:00", 4, "wh", "2020-11-23 13:00")]
#[case("2020-11-19 13:30", 1, "wh", "2020-11-19 15:00")]
// New Year: the shortened 31 December 2020, ten closed days, work again on the 11th.
#[case("2020-12-31 16:00", 9, "wh", "2021-01-11 18:00")]
#[case("2020-12-31 17:30", 1, "wh", "2021-01-11 10:00")]
#[case("2020-12-30 12:00", 1, "wd", "2020-12-31 17:00")]
#[case("2020-12-30 12:00", 3, "wd", "2021-01-12 18:00")]
#[case("2021-01-05 03:00", 1, "wd", "2021-01-11 18:00")]
// May: holidays and moved days off of 2020 and 2021, with shortened days before them.
#[case("2020-04-30 16:30", 4, "wh", "2020-05-06 12:30")]
#[case("2020-04-30 10:00", 1, "wd", "2020-05-06 18:00")]
#[case("2020-05-08 16:30", 1, "wh", "2020-05-12 09:30")]
#[case("2020-05-08 10:00", 1, "wd", "2020-05-12 18:00")]
// A moved working Saturday, shortened besides: 20 February 2021.
#[case("2021-02-19 17:00", 8, "wh", "2021-02-20 17:00")]
#[case("2021-02-19 17:00", 1, "wd", "2021-02-20 17:00")]
#[case("2021-02-20 17:00", 1, "wh", "2021-02-24 10:00")]
// Calendar units ask nobody whether it is a holiday.
#[case("2020-12-31 16:00", 4, "ch", "2020-12-31 20:00")]
#[case("2020-12-31 16:30", 7, "cd", "2021-01-07 16:30")]
#[case("2020-01-31 23:59", 30, "cd", "2020-03-01 23:59")]
fn golden(#[case] start: &str, #[case] value: u32, #[case] unit: &str, #[case] due: &str) {
    let term = crate::domain::clocks::read_term(&format!("{value}{unit}")).unwrap();
    for zone in ZONES {
        let computed = table(zone).due(micros(start, zone), term, NO_PAUSE).unwrap();
        assert_eq!(local(computed, zone), due, "{zone}");
    }
}

#[test]
fn the_working_hours_of_a_year_are_the_published_ones() {
    for (year, days, hours) in
        [(2019, 247, 1970), (2021, 247, 1972), (2022, 247, 1973), (2024, 248, 1979), (2026, 247, 1972)]
    {
        let first = Date::constant(year, 1, 1);
        let open: Vec<Vec<Hours>> =
            first.series(1.day()).take_while(|d| d.year() == year).map(|d| CALENDAR.hours(d)).collect();
        let minutes: u32 = open.iter().flatten().map(|hours| u32::from(hours.to - hours.from)).sum();
        assert_eq!((open.iter().filter(|day| !day.is_empty()).count(), minutes / 60), (days, hours), "{year}");
    }
}

#[test]
fn outside_the_table_nothing_is_due() {
    let table = table("Asia/Vladivostok");
    let term = |unit| Term { value: 1, unit };
    for start in ["1999-05-05 10:00", "2099-05-05 10:00"] {
        let start = micros(start, "Asia/Vladivostok");
        assert_eq!(table.due(start, term(Unit::WorkingHours), NO_PAUSE), None);
        assert_eq!(table.due(start, term(Unit::WorkingDays), NO_PAUSE), None);
        assert!(table.due(start, term(Unit::CalendarDays), NO_PAUSE).is_some());
    }
    let start = micros("2027-12-01 10:00", "Asia/Vladivostok");
    assert_eq!(table.due(start, Term { value: 1_000_000, unit: Unit::WorkingHours }, NO_PAUSE), None);
}

/// The slow and obvious way: minute by minute.
struct Minutes {
    zone: TimeZone,
}

impl Minutes {
    fn is_open(at: DateTime) -> bool {
        let minute = u16::try_from(at.hour()).unwrap() * 60 + u16::try_from(at.minute()).unwrap();
        CALENDAR.hours(at.date()).iter().any(|hours| hours.from <= minute && minute < hours.to)
    }

    /// `start` is at a full minute.
    fn after_working(&self, start_us: i64, minutes: u32) -> i64 {
        let mut left = minutes;
        let mut at = start_us;
        while left > 0 {
            left -= u32::from(Self::is_open(civil(at, &self.zone)));
            at += MINUTE_US;
        }
        at
    }

    fn after_working_days(&self, start_us: i64, days: u32) -> i64 {
        let mut date = civil(start_us, &self.zone).date();
        let mut left = days;
        loop {
            date = date.tomorrow().unwrap();
            if let Some(last) = CALENDAR.hours(date).last() {
                left -= 1;
                if left == 0 {
                    let close = Time::constant((last.to / 60) as i8, (last.to % 60) as i8, 0, 0);
                    return self.zone.to_timestamp(date.to_datetime(close)).unwrap().as_microsecond();
                }
            }
        }
    }
}

/// Full minutes of the years that the calendar knows.
fn starts() -> impl Strategy<Value = i64> {
    let minute = |date: &str| micros(date, "Asia/Vladivostok") / MINUTE_US;
    (minute("2019-01-01 00:00")..minute("2027-10-01 00:00")).prop_map(|minute| minute * MINUTE_US)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_table_agrees_with_the_slow_way(start in starts(), hours in 1u32..30, days in 1u32..25, zone in 0..ZONES.len()) {
        let slow = Minutes { zone: TimeZone::get(ZONES[zone]).unwrap() };
        let term = |value, unit| Term { value, unit };
        let due = TABLES[zone].due(start, term(hours, Unit::WorkingHours), NO_PAUSE).unwrap();
        prop_assert_eq!(due, slow.after_working(start, hours * 60), "{} hours after {}", hours, local(start, ZONES[zone]));
        let due = TABLES[zone].due(start, term(days, Unit::WorkingDays), NO_PAUSE).unwrap();
        prop_assert_eq!(due, slow.after_working_days(start, days), "{} days after {}", days, local(start, ZONES[zone]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn a_later_start_is_due_no_earlier(start in starts(), later in 0i64..10_000_000_000_000, value in 1u32..100, zone in 0..ZONES.len()) {
        for unit in [Unit::WorkingHours, Unit::WorkingDays, Unit::CalendarHours, Unit::CalendarDays] {
            let term = Term { value, unit };
            let (early, late) = (TABLES[zone].due(start, term, NO_PAUSE), TABLES[zone].due(start + later, term, NO_PAUSE));
            prop_assert!(early.unwrap() <= late.unwrap(), "{:?}", term);
            prop_assert!(early.unwrap() > start);
        }
    }

    #[test]
    fn a_term_may_be_split(start in starts(), a in 1u32..60, b in 1u32..60, zone in 0..ZONES.len()) {
        for unit in [Unit::WorkingHours, Unit::WorkingDays, Unit::CalendarHours] {
            let due = |start, value| TABLES[zone].due(start, Term { value, unit }, NO_PAUSE).unwrap();
            prop_assert_eq!(due(due(start, a), b), due(start, a + b), "{:?}", unit);
        }
    }

    #[test]
    fn a_working_deadline_is_never_inside_closed_time(start in starts(), value in 1u32..200, zone in 0..ZONES.len()) {
        for unit in [Unit::WorkingHours, Unit::WorkingDays] {
            let due = TABLES[zone].due(start, Term { value, unit }, NO_PAUSE).unwrap();
            let just_before = civil(due - 1, &TimeZone::get(ZONES[zone]).unwrap());
            prop_assert!(Minutes::is_open(just_before), "{:?} {}", unit, just_before);
        }
    }

    #[test]
    fn two_pauses_are_one(start in starts(), a in 0i64..5_000, b in 0i64..5_000, value in 1u32..60, zone in 0..ZONES.len()) {
        let table = &TABLES[zone];
        let (first, second) = (start + a * MINUTE_US, start + (a + b) * MINUTE_US);
        let (whole, left, right) = (table.pause(start, second), table.pause(start, first), table.pause(first, second));
        prop_assert_eq!(whole.working_us, left.working_us + right.working_us);
        prop_assert_eq!(whole.calendar_us, left.calendar_us + right.calendar_us);
        for unit in [Unit::WorkingHours, Unit::CalendarHours] {
            let due = table.due(start, Term { value, unit }, NO_PAUSE).unwrap();
            let twice = table.postponed(table.postponed(due, unit, left).unwrap(), unit, right);
            prop_assert_eq!(twice, table.postponed(due, unit, whole));
            // Work that waits from the start begins when the wait ends.
            prop_assert_eq!(table.due(start, Term { value, unit }, whole), table.due(second, Term { value, unit }, NO_PAUSE));
        }
    }
}
