//! Executors: the organisations that work on cases.

use std::collections::{BTreeMap, HashMap};

use jiff::tz::TimeZone;
use otklik_chassis::region::{Problems, parse};
use otklik_proto::assignment::v1::ExecutorKind;
use serde::Deserialize;
use toml::Spanned;

use super::{PlaceIndex, Places, check_code, zone};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    executor: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: Spanned<String>,
    title: Spanned<String>,
    desk: String,
    kind: Spanned<String>,
    jurisdiction: Spanned<String>,
    time_zone: Spanned<String>,
    place: Option<Spanned<String>>,
    #[serde(default)]
    duty: bool,
}

/// An organisation that works on cases.
#[derive(Clone, Debug)]
pub struct Executor {
    /// Code.
    pub id: String,
    /// Title for people.
    pub title: String,
    /// Title of the desk that reads the messages.
    pub desk: String,
    /// What it is.
    pub kind: ExecutorKind,
    /// Code of the municipality it administers; empty for all others.
    pub place_id: String,
    /// IANA name of its time zone.
    pub time_zone: String,
}

/// The executors of a region.
#[derive(Clone, Debug)]
pub struct Executors {
    all: Vec<Executor>,
    by_id: HashMap<String, usize>,
    by_place: HashMap<PlaceIndex, usize>,
    duty: usize,
    zones: BTreeMap<String, TimeZone>,
}

const JURISDICTIONS: [&str; 4] = ["federal", "regional", "municipal", "oversight"];

/// The kinds of a pack and those of the contract.
const KINDS: [(&str, ExecutorKind); 6] = [
    ("ministry", ExecutorKind::Ministry),
    ("agency", ExecutorKind::RegionalService),
    ("municipality", ExecutorKind::Municipality),
    ("regional-service", ExecutorKind::RegionalService),
    ("supplier", ExecutorKind::Supplier),
    ("federal-body", ExecutorKind::FederalBody),
];

impl Executors {
    pub(super) fn read(file: &str, text: &str, places: &Places, problems: &mut Problems) -> Self {
        let mut read =
            Self { all: Vec::new(), by_id: HashMap::new(), by_place: HashMap::new(), duty: 0, zones: BTreeMap::new() };
        let Some(parsed) = parse::<File>(file, text, problems) else { return read };
        let mut on_duty = 0;
        for (number, entry) in parsed.executor.into_iter().enumerate() {
            read.add(file, text, number, &entry, places, problems);
            if entry.duty {
                on_duty += 1;
                read.duty = number;
                if on_duty > 1 {
                    problems.at(
                        file,
                        text,
                        entry.id.span(),
                        "another executor is on duty already: `duty = true` stands at one only",
                    );
                }
            }
        }
        if on_duty == 0 {
            problems.of_file(file, "no executor is on duty: exactly one must have `duty = true`");
        }
        read
    }

    fn add(&mut self, file: &str, text: &str, number: usize, entry: &Entry, places: &Places, problems: &mut Problems) {
        let id = entry.id.get_ref();
        check_code(file, text, &entry.id, problems);
        if self.by_id.insert(id.clone(), number).is_some() {
            problems.at(file, text, entry.id.span(), format!("the executor `{id}` is there twice"));
        }
        if entry.title.get_ref().trim().is_empty() {
            problems.at(file, text, entry.title.span(), "the title is empty");
        }
        let kind = KINDS.iter().find(|(name, _)| name == entry.kind.get_ref()).map(|(_, kind)| *kind);
        if kind.is_none() {
            let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
            let message =
                format!("`{}` is no kind of executor; it must be one of {}", entry.kind.get_ref(), names.join(", "));
            problems.at(file, text, entry.kind.span(), message);
        }
        if !JURISDICTIONS.contains(&entry.jurisdiction.get_ref().as_str()) {
            let message = format!(
                "`{}` is no jurisdiction; it must be one of {}",
                entry.jurisdiction.get_ref(),
                JURISDICTIONS.join(", ")
            );
            problems.at(file, text, entry.jurisdiction.span(), message);
        }
        if let Some(found) = zone(file, text, &entry.time_zone, problems) {
            self.zones.insert(entry.time_zone.get_ref().clone(), found);
        }
        match (&entry.place, kind) {
            (None, Some(ExecutorKind::Municipality)) => {
                problems.at(file, text, entry.id.span(), "a municipality needs `place`, the place it administers");
            }
            (Some(place), kind) => {
                if kind != Some(ExecutorKind::Municipality) {
                    problems.at(file, text, place.span(), "only a municipality has a `place`");
                }
                self.bind(file, text, number, place, places, problems);
            }
            (None, _) => {}
        }
        self.all.push(Executor {
            id: id.clone(),
            title: entry.title.get_ref().clone(),
            desk: entry.desk.clone(),
            kind: if entry.duty { ExecutorKind::DutyCoordinator } else { kind.unwrap_or(ExecutorKind::Unspecified) },
            place_id: entry.place.as_ref().map(|place| place.get_ref().clone()).unwrap_or_default(),
            time_zone: entry.time_zone.get_ref().clone(),
        });
    }

    fn bind(
        &mut self,
        file: &str,
        text: &str,
        number: usize,
        place: &Spanned<String>,
        places: &Places,
        problems: &mut Problems,
    ) {
        let Some(index) = places.index(place.get_ref()) else {
            if !places.is_empty() {
                problems.at(file, text, place.span(), format!("there is no place `{}`", place.get_ref()));
            }
            return;
        };
        if !places.get(index).is_some_and(|place| place.is_municipality) {
            problems.at(file, text, place.span(), format!("`{}` is not a municipality", place.get_ref()));
        }
        if self.by_place.insert(index, number).is_some() {
            problems.at(file, text, place.span(), format!("`{}` has an administration already", place.get_ref()));
        }
    }

    /// All of them, in the order of the file.
    pub fn all(&self) -> &[Executor] {
        &self.all
    }

    /// An executor by its code.
    pub fn get(&self, id: &str) -> Option<&Executor> {
        self.by_id.get(id).map(|number| &self.all[*number])
    }

    /// The duty coordinator, who has what nobody else has.
    pub fn duty(&self) -> &Executor {
        &self.all[self.duty]
    }

    /// The administration of a municipality.
    pub fn of_municipality(&self, place: PlaceIndex) -> Option<&Executor> {
        self.by_place.get(&place).map(|number| &self.all[*number])
    }

    /// The time zones in which there are desks.
    pub fn zones(&self) -> impl Iterator<Item = (&str, &TimeZone)> {
        self.zones.iter().map(|(name, zone)| (name.as_str(), zone))
    }

    /// Whether nothing could be read: then nothing is said of executors elsewhere.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}
