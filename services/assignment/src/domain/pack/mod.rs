//! The region pack, as far as assignment needs it: who works, where, on what, and how soon.
//!
//! It is read as a whole: every problem is found, with file and line, before anything is refused.

mod calendar;
mod executors;
mod places;
mod policies;
mod routing;
mod taxonomy;

use std::path::Path;

use jiff::tz::TimeZone;
use otklik_chassis::region::{Files, Problem, Problems, parse};
use serde::Deserialize;
use toml::Spanned;

use crate::domain::{
    calendar::{Pause, Term, Timetable},
    clocks::Terms,
};
#[cfg(test)]
pub(crate) use calendar::read as read_calendar;
pub use executors::{Executor, Executors};
pub use places::{Place, PlaceIndex, Places};
pub use policies::{Policies, Policy};
pub use routing::{Facts, Route, Routing};
pub use taxonomy::Taxonomy;

const PACK: (&str, &str) = ("pack.toml", include_str!("../../../../../deploy/regions/primorye/pack.toml"));
const TAXONOMY: (&str, &str) = ("taxonomy.toml", include_str!("../../../../../deploy/regions/primorye/taxonomy.toml"));
const PLACES: (&str, &str) = ("places.toml", include_str!("../../../../../deploy/regions/primorye/places.toml"));
const EXECUTORS: (&str, &str) =
    ("executors.toml", include_str!("../../../../../deploy/regions/primorye/executors.toml"));
const ROUTING: (&str, &str) = ("routing.toml", include_str!("../../../../../deploy/regions/primorye/routing.toml"));
const POLICIES: (&str, &str) = ("policies.toml", include_str!("../../../../../deploy/regions/primorye/policies.toml"));
const CALENDAR: (&str, &str) = ("calendar.toml", include_str!("../../../../../deploy/regions/primorye/calendar.toml"));

/// A region pack that is in force.
#[derive(Debug)]
pub struct Pack {
    /// The region's own time zone: the year of case numbers is taken there.
    pub time_zone: TimeZone,
    /// Who works.
    pub executors: Executors,
    /// Who gets what.
    pub routing: Routing,
    /// How soon.
    pub policies: Policies,
    /// The years that the working calendar knows, first and last.
    pub calendar_years: (i16, i16),
    /// What decisions made under this pack are recorded with.
    pub versions: Versions,
    timetables: std::collections::BTreeMap<String, Timetable>,
}

/// Content hashes of what decisions depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// Of rules, executors, places and the taxonomy.
    pub routing: String,
    /// Of the service-level policies.
    pub policies: String,
    /// Of the working calendar.
    pub calendar: String,
}

#[derive(Deserialize)]
struct PackFile {
    time_zone: Spanned<String>,
}

impl Pack {
    /// The pack in `dir`, or the one that is shipped.
    ///
    /// # Errors
    /// A file that can't be read; or everything that is wrong with the pack, by file and line.
    pub fn load(dir: Option<&Path>) -> anyhow::Result<Self> {
        let mut problems = Problems::new();
        let pack = Self::read(dir, &mut problems)?;
        problems.finish()?;
        pack.ok_or_else(|| anyhow::anyhow!("the region pack can't be used"))
    }

    /// Everything that is wrong with the pack in `dir`, as far as it is assignment's, by file and line.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn check(dir: &Path) -> anyhow::Result<Vec<Problem>> {
        let mut problems = Problems::new();
        Self::read(Some(dir), &mut problems)?;
        Ok(problems.into_sorted())
    }

    fn read(dir: Option<&Path>, problems: &mut Problems) -> anyhow::Result<Option<Self>> {
        let files = Files::open(dir, &[PACK, TAXONOMY, PLACES, EXECUTORS, ROUTING, POLICIES, CALENDAR])?;
        let version =
            |shipped: &[(&'static str, &str)]| Files::open(dir, shipped).map(|files| files.version().to_owned());
        let versions = Versions {
            routing: version(&[ROUTING, EXECUTORS, PLACES, TAXONOMY])?,
            policies: version(&[POLICIES])?,
            calendar: version(&[CALENDAR])?,
        };
        let text = |(name, _): (&'static str, &str)| files.text(name);

        let time_zone = read_time_zone(PACK.0, text(PACK), problems);
        let taxonomy = Taxonomy::read(TAXONOMY.0, text(TAXONOMY), problems);
        let places = Places::read(PLACES.0, text(PLACES), problems);
        let executors = Executors::read(EXECUTORS.0, text(EXECUTORS), &places, problems);
        let routing = Routing::read(ROUTING.0, text(ROUTING), taxonomy.clone(), places, &executors, problems);
        let policies = Policies::read(POLICIES.0, text(POLICIES), &taxonomy, problems);
        let calendar = calendar::read(CALENDAR.0, text(CALENDAR), problems);
        let (Some(time_zone), Some(calendar)) = (time_zone, calendar) else { return Ok(None) };
        if !problems.is_empty() {
            return Ok(None);
        }
        let timetables =
            executors.zones().map(|(name, zone)| (name.to_owned(), Timetable::new(&calendar, zone))).collect();
        let calendar_years = calendar.known_years().unwrap_or_default();
        Ok(Some(Self { time_zone, executors, routing, policies, calendar_years, versions, timetables }))
    }

    /// The openings of an executor's desk; the duty executor's for an executor that the pack doesn't know.
    pub fn timetable(&self, executor_id: &str) -> Option<&Timetable> {
        let executor = self.executors.get(executor_id).unwrap_or(self.executors.duty());
        self.timetables.get(&executor.time_zone)
    }

    /// When a term that starts at `start_us` ends at an executor's desk; `None` outside what the calendar can say.
    pub fn due(&self, executor_id: &str, start_us: i64, term: Term, pause: Pause) -> Option<i64> {
        self.timetable(executor_id)?.due(start_us, term, pause)
    }

    /// What a deadline set by `policy` now is recorded with.
    pub fn terms(&self, policy: &Policy) -> Terms {
        Terms {
            policy: policy.id.clone(),
            policies: self.versions.policies.clone(),
            calendar: self.versions.calendar.clone(),
        }
    }
}

fn read_time_zone(file: &str, text: &str, problems: &mut Problems) -> Option<TimeZone> {
    let pack: PackFile = parse(file, text, problems)?;
    zone(file, text, &pack.time_zone, problems)
}

/// The time zone of an IANA name; one that is unknown is a problem.
fn zone(file: &str, text: &str, name: &Spanned<String>, problems: &mut Problems) -> Option<TimeZone> {
    match TimeZone::get(name.get_ref()) {
        Ok(zone) => Some(zone),
        Err(_) => {
            problems.at(
                file,
                text,
                name.span(),
                format!("`{}` is not an IANA time zone, such as Asia/Vladivostok", name.get_ref()),
            );
            None
        }
    }
}

/// Notes a code that is not one: lower-case words of letters and digits, joined by `-`, levels joined by `.`.
fn check_code(file: &str, text: &str, code: &Spanned<String>, problems: &mut Problems) {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if !code.get_ref().split(['.', '-']).all(is_word) {
        problems.at(
            file,
            text,
            code.span(),
            format!("`{}` is not a code: lower-case words joined by `-`, levels by `.`", code.get_ref()),
        );
    }
}

#[cfg(test)]
mod tests;
