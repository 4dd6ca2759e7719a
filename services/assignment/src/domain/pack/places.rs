//! Places and what they lie in. How their names are recognised is classification's business, and checked there.

use std::collections::HashMap;

use otklik_chassis::region::{Problems, parse};
use serde::Deserialize;
use toml::Spanned;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    place: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    id: Spanned<String>,
    name: String,
    kind: Spanned<String>,
    parent: Option<Spanned<String>>,
}

/// Number of a place.
pub type PlaceIndex = u16;

/// A place.
#[derive(Clone, Debug)]
pub struct Place {
    /// Code.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Whether it is a municipality.
    pub is_municipality: bool,
    /// The place itself and all it lies in, the smallest first.
    pub within: Vec<PlaceIndex>,
}

/// The places of a region.
#[derive(Clone, Debug, Default)]
pub struct Places {
    places: Vec<Place>,
    by_id: HashMap<String, PlaceIndex>,
}

const KINDS: [&str; 9] = [
    "region",
    "urban-okrug",
    "municipal-okrug",
    "district",
    "city",
    "town",
    "village",
    "city-district",
    "microdistrict",
];
const MUNICIPALITIES: [&str; 3] = ["urban-okrug", "municipal-okrug", "district"];

impl Places {
    pub(super) fn read(file: &str, text: &str, problems: &mut Problems) -> Self {
        let Some(parsed) = parse::<File>(file, text, problems) else { return Self::default() };
        let mut by_id = HashMap::new();
        for (entry, index) in parsed.place.iter().zip(0u16..) {
            if by_id.insert(entry.id.get_ref().clone(), index).is_some() {
                problems.at(file, text, entry.id.span(), format!("the place `{}` is there twice", entry.id.get_ref()));
            }
            if !KINDS.contains(&entry.kind.get_ref().as_str()) {
                let message =
                    format!("`{}` is no kind of place; it must be one of {}", entry.kind.get_ref(), KINDS.join(", "));
                problems.at(file, text, entry.kind.span(), message);
            }
            if entry.parent.is_none() && entry.kind.get_ref() != "region" {
                problems.at(file, text, entry.id.span(), "only the region itself lies in nothing: name the `parent`");
            }
        }
        let parents: Vec<Option<PlaceIndex>> = parsed
            .place
            .iter()
            .map(|entry| {
                let parent = entry.parent.as_ref()?;
                let index = by_id.get(parent.get_ref()).copied();
                if index.is_none() {
                    problems.at(file, text, parent.span(), format!("there is no place `{}`", parent.get_ref()));
                }
                index
            })
            .collect();
        let mut places = Vec::with_capacity(parsed.place.len());
        for (entry, index) in parsed.place.iter().zip(0u16..) {
            let mut within = vec![index];
            let mut above = parents[usize::from(index)];
            while let Some(next) = above {
                if within.contains(&next) {
                    problems.at(file, text, entry.id.span(), format!("`{}` lies in itself", entry.id.get_ref()));
                    break;
                }
                within.push(next);
                above = parents[usize::from(next)];
            }
            places.push(Place {
                id: entry.id.get_ref().clone(),
                name: entry.name.clone(),
                is_municipality: MUNICIPALITIES.contains(&entry.kind.get_ref().as_str()),
                within,
            });
        }
        Self { places, by_id }
    }

    /// The number of a place.
    pub fn index(&self, id: &str) -> Option<PlaceIndex> {
        self.by_id.get(id).copied()
    }

    /// A place by its number.
    pub fn get(&self, index: PlaceIndex) -> Option<&Place> {
        self.places.get(usize::from(index))
    }

    /// The place itself and all it lies in, the smallest first.
    pub fn within(&self, index: PlaceIndex) -> &[PlaceIndex] {
        self.get(index).map_or(&[], |place| &place.within)
    }

    /// The municipality of a place: itself or the nearest it lies in.
    pub fn municipality(&self, index: PlaceIndex) -> Option<PlaceIndex> {
        self.within(index).iter().copied().find(|i| self.get(*i).is_some_and(|place| place.is_municipality))
    }

    /// Whether nothing could be read: then nothing is said of places elsewhere.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}
