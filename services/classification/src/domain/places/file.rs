//! `places.toml` of a region pack: reading and checking it.

use std::collections::{HashMap, HashSet};

use otklik_chassis::region::{self, Problems};
use serde::Deserialize;
use toml::Spanned;

use super::{Form, Place, PlaceKind, Places, Traps, form_words};
use crate::domain::{taxonomy::is_code, words};

/// The file's name within the pack.
pub const FILE: &str = "places.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    street_words: Vec<Spanned<String>>,
    #[serde(default)]
    lower_after: Vec<Spanned<String>>,
    #[serde(default)]
    place: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: Spanned<String>,
    name: Spanned<String>,
    kind: Spanned<String>,
    parent: Option<Spanned<String>>,
    forms: Vec<Spanned<String>>,
    #[serde(default)]
    capital: bool,
    #[serde(default)]
    not_after: Vec<Spanned<String>>,
    #[serde(default)]
    not_before: Vec<Spanned<String>>,
}

/// The kinds as the file spells them.
const KINDS: [(&str, PlaceKind); 9] = [
    ("region", PlaceKind::Region),
    ("urban-okrug", PlaceKind::UrbanOkrug),
    ("municipal-okrug", PlaceKind::MunicipalOkrug),
    ("district", PlaceKind::District),
    ("city", PlaceKind::City),
    ("town", PlaceKind::Town),
    ("village", PlaceKind::Village),
    ("city-district", PlaceKind::CityDistrict),
    ("microdistrict", PlaceKind::Microdistrict),
];

impl Places {
    /// Reads and checks `places.toml`; everything that is wrong goes to `problems`, and `None` is returned then.
    pub fn parse(text: &str, problems: &mut Problems) -> Option<Self> {
        let file: File = region::parse(FILE, text, problems)?;
        let mut check = Check { text, problems, sound: true };
        let places = build(file, &mut check);
        check.sound.then_some(places)
    }
}

struct Check<'a> {
    text: &'a str,
    problems: &'a mut Problems,
    sound: bool,
}

impl Check<'_> {
    fn fail<T>(&mut self, at: &Spanned<T>, message: impl Into<String>) {
        self.sound = false;
        self.problems.at(FILE, self.text, at.span(), message);
    }

    /// The folded words of a list of single words.
    fn words(&mut self, list: &[Spanned<String>]) -> HashSet<String> {
        let mut folded = HashSet::new();
        for word in list {
            match &words::folded_words(word.as_ref())[..] {
                [one] => drop(folded.insert(one.clone())),
                _ => self.fail(word, format!("{:?} must be one word", word.as_ref())),
            }
        }
        folded
    }
}

fn build(file: File, check: &mut Check<'_>) -> Places {
    let mut places = Places {
        places: Vec::with_capacity(file.place.len()),
        depths: Vec::new(),
        traps: Vec::with_capacity(file.place.len()),
        by_id: HashMap::new(),
        forms: HashMap::new(),
        street_words: check.words(&file.street_words),
        lower_after: check.words(&file.lower_after),
    };
    for (index, entry) in file.place.iter().enumerate() {
        let id = entry.id.as_ref();
        if !id.split('.').all(is_code) {
            check.fail(&entry.id, format!("{id:?} is not a code: words of a-z and 0-9 joined by `-`, levels by `.`"));
        }
        if places.by_id.insert(id.clone(), index).is_some() {
            check.fail(&entry.id, format!("the place {id} is there already"));
        }
    }
    let mut taken = HashSet::new();
    for (index, entry) in file.place.iter().enumerate() {
        add(entry, index, &mut places, &mut taken, check);
    }
    if file.place.iter().filter(|entry| entry.kind.as_ref() == "region").count() != 1 {
        check.sound = false;
        check.problems.of_file(FILE, "there must be exactly one place of kind \"region\"");
    }
    for forms in places.forms.values_mut() {
        forms.sort_by_key(|form| std::cmp::Reverse(form.rest.len()));
    }
    places.depths = depths(&file, &places, check);
    places
}

fn add(entry: &Entry, index: usize, places: &mut Places, taken: &mut HashSet<Vec<String>>, check: &mut Check<'_>) {
    if entry.name.as_ref().trim().is_empty() {
        check.fail(&entry.name, "the name must not be empty");
    }
    let kind = KINDS.iter().find(|(name, _)| name == entry.kind.as_ref()).map(|(_, kind)| *kind);
    if kind.is_none() {
        let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
        check.fail(&entry.kind, format!("{:?} is not one of {}", entry.kind.as_ref(), names.join(", ")));
    }
    let parent = match (&entry.parent, kind) {
        (Some(parent), Some(PlaceKind::Region)) => {
            check.fail(parent, "the region has no parent");
            None
        }
        (None, Some(PlaceKind::Region)) => None,
        (None, _) => {
            check.fail(&entry.id, "every place but the region has a parent");
            None
        }
        (Some(parent), _) => {
            let found = places.by_id.get(parent.as_ref()).copied();
            if found.is_none() {
                check.fail(parent, format!("there is no place {:?}", parent.as_ref()));
            }
            found
        }
    };
    for form in &entry.forms {
        let Some((first, rest)) = form_words(form.as_ref()) else {
            check.fail(form, "a form must hold a word");
            continue;
        };
        let folded = std::iter::once(&first).chain(rest.iter()).cloned().collect();
        if !taken.insert(folded) {
            check.fail(form, format!("the form {:?} is there already", form.as_ref()));
        }
        places.forms.entry(first).or_default().push(Form { rest, place: index });
    }
    places.traps.push(Traps {
        capital: entry.capital,
        not_after: check.words(&entry.not_after),
        not_before: check.words(&entry.not_before),
    });
    places.places.push(Place {
        id: entry.id.as_ref().clone(),
        name: entry.name.as_ref().clone(),
        kind: kind.unwrap_or(PlaceKind::Village),
        parent,
    });
}

/// How many places each lies in; a circle of parents is a problem.
fn depths(file: &File, places: &Places, check: &mut Check<'_>) -> Vec<usize> {
    let mut depths = Vec::with_capacity(places.places.len());
    for (entry, place) in file.place.iter().zip(&places.places) {
        let mut depth = 0;
        let mut next = place.parent;
        while let Some(parent) = next
            && depth <= places.places.len()
        {
            depth += 1;
            next = places.places[parent].parent;
        }
        if depth > places.places.len()
            && let Some(parent) = &entry.parent
        {
            check.fail(parent, "the parents form a circle");
        }
        depths.push(depth);
    }
    depths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::samples;

    fn problem_lines(text: &str) -> Vec<usize> {
        let mut problems = Problems::new();
        let places = Places::parse(text, &mut problems);
        assert_eq!(places.is_some(), problems.is_empty());
        problems.into_sorted().into_iter().map(|p| p.line).collect()
    }

    #[test]
    fn the_sample_is_sound() {
        assert!(problem_lines(samples::PLACES).is_empty());
    }

    #[test]
    fn all_problems_are_told_with_their_lines() {
        let text = r#"street_words = ["улица Мира"]
[[place]]
id = "A"
name = ""
kind = "country"
forms = ["Артём", "артем", "—"]
[[place]]
id = "b"
name = "B"
kind = "city"
parent = "c"
forms = []
[[place]]
id = "c"
name = "C"
kind = "city"
parent = "b"
forms = []
not_after = [""]
[[place]]
id = "c"
name = "C"
kind = "city"
parent = "x"
forms = []
"#;
        // No region at all; the street word; the id, its missing parent, name, kind, a form twice and one without a word;
        // an empty word; the id taken; the unknown parent.
        assert_eq!(problem_lines(text), [0, 1, 3, 3, 4, 5, 6, 6, 19, 21, 24]);
    }

    #[test]
    fn parents_must_lead_to_the_region() {
        let place = |id: &str, kind: &str, parent: &str| {
            format!("[[place]]\nid = \"{id}\"\nname = \"N\"\nkind = \"{kind}\"\n{parent}\nforms = []\n")
        };
        let circle = [
            place("a", "region", ""),
            place("b", "city", "parent = \"c\""),
            place("c", "city", "parent = \"b\""),
            place("d", "city", "parent = \"a\""),
        ];
        assert_eq!(problem_lines(&circle.concat()), [11, 17]);
    }
}
