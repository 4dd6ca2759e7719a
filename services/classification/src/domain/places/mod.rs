//! Places: the region's gazetteer and how a text's places are found.

mod file;

use std::collections::{HashMap, HashSet};

use super::{text::Reading, words};

pub use file::FILE;

/// What a place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceKind {
    /// The region itself, the root.
    Region,
    /// An urban okrug (городской округ), with the city of the same name.
    UrbanOkrug,
    /// A municipal okrug.
    MunicipalOkrug,
    /// A municipal district.
    District,
    /// A city within a municipality.
    City,
    /// An urban settlement.
    Town,
    /// A village.
    Village,
    /// A district of a city.
    CityDistrict,
    /// A part of a city that people know by name.
    Microdistrict,
}

/// A place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Code.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// What it is.
    pub kind: PlaceKind,
    /// What it lies in, by index; none for the region.
    pub parent: Option<usize>,
}

/// A form of a place's name, compiled.
#[derive(Debug)]
struct Form {
    /// Its folded words after the first.
    rest: Box<[String]>,
    place: usize,
}

/// Conditions that keep a form from being a place.
#[derive(Debug, Default)]
struct Traps {
    capital: bool,
    not_after: HashSet<String>,
    not_before: HashSet<String>,
}

/// The gazetteer of a region.
#[derive(Debug)]
pub struct Places {
    places: Vec<Place>,
    /// How many places a place lies in.
    depths: Vec<usize>,
    traps: Vec<Traps>,
    by_id: HashMap<String, usize>,
    /// By the first folded word: the forms, the longest first.
    forms: HashMap<String, Vec<Form>>,
    street_words: HashSet<String>,
    lower_after: HashSet<String>,
}

impl Places {
    /// The places in the file's order.
    pub fn all(&self) -> &[Place] {
        &self.places
    }

    /// Whether there is a place of this code.
    pub fn contains(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    /// The places that a text names, each once, in the order of their first mention, with the word where it stands.
    pub fn find(&self, reading: &Reading) -> Vec<(usize, usize)> {
        let mut found: Vec<(usize, usize)> = Vec::new();
        let mut word = 0;
        while word < reading.words.len() {
            match self.form_at(reading, word) {
                // What is part of a longer name is not looked at again, whether it counts or not.
                Some((form, length)) => {
                    if self.counts(reading, word, length, form.place) {
                        found.push((word, form.place));
                    }
                    word += length;
                }
                None => word += 1,
            }
        }
        found
    }

    /// The longest form that begins at a word, and its number of words.
    fn form_at(&self, reading: &Reading, word: usize) -> Option<(&Form, usize)> {
        let forms = self.forms.get(reading.word(word))?;
        let fits = |form: &&Form| form.rest.iter().enumerate().all(|(k, rest)| reading.word(word + 1 + k) == rest);
        forms.iter().find(fits).map(|form| (form, form.rest.len() + 1))
    }

    fn counts(&self, reading: &Reading, word: usize, length: usize, place: usize) -> bool {
        let before = word.checked_sub(1).map_or("", |before| reading.word(before));
        let after = reading.word(word + length);
        let traps = &self.traps[place];
        let written = || reading.words[word].capital || self.lower_after.contains(before);
        !self.street_words.contains(before)
            && !traps.not_after.contains(before)
            && !traps.not_before.contains(after)
            && (!traps.capital || written())
    }

    /// Codes of the given places, the most specific first, followed by what they lie in (without the region, unless it
    /// is all there is).
    pub fn codes(&self, places: impl IntoIterator<Item = usize>) -> Vec<String> {
        let mut named: Vec<usize> = Vec::new();
        for place in places {
            let mut next = Some(place);
            while let Some(place) = next {
                if !named.contains(&place) {
                    named.push(place);
                }
                next = self.places[place].parent;
            }
        }
        if named.iter().any(|place| self.places[*place].kind != PlaceKind::Region) {
            named.retain(|place| self.places[*place].kind != PlaceKind::Region);
        }
        // Stable: places of one depth stay in the order of mention.
        named.sort_by_key(|place| std::cmp::Reverse(self.depths[*place]));
        named.into_iter().map(|place| self.places[place].id.clone()).collect()
    }

    /// The codes of given codes as [`Places::codes`] has them; unknown ones are left out.
    pub fn expand<'a>(&self, ids: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        self.codes(ids.into_iter().filter_map(|id| self.by_id.get(id).copied()))
    }
}

/// The folded words of a form, if it has any.
fn form_words(form: &str) -> Option<(String, Box<[String]>)> {
    let mut words = words::folded_words(form).into_iter();
    let first = words.next()?;
    Some((first, words.collect()))
}

#[cfg(test)]
mod tests {
    use crate::domain::{samples, text, words::VocabularyBuilder};

    fn found(text: &str) -> Vec<String> {
        let places = samples::places();
        let reading = text::read(text, &VocabularyBuilder::default().build(), &text::Separators::default());
        places.find(&reading).into_iter().map(|(_, place)| places.all()[place].id.clone()).collect()
    }

    #[test]
    fn whole_words_and_the_longest_form() {
        assert_eq!(found("Во Владивостоке, Ленинском районе"), ["vladivostok", "vladivostok.leninsky"]);
        assert_eq!(found("Спасск-Дальний"), ["spassk-dalny"]);
        assert_eq!(found("Спасский район"), ["spassky"]);
        assert_eq!(found("Владивостокский"), Vec::<String>::new());
    }

    #[test]
    fn traps() {
        assert_eq!(found("На ул. Артем, на улице Уссурийск"), Vec::<String>::new());
        assert_eq!(found("Меня зовут Артем Иванович, находка века"), Vec::<String>::new());
        assert_eq!(found("Сергея Артема нет"), Vec::<String>::new());
        assert_eq!(found("В находке и в Артёме"), ["nakhodka", "artem"]);
        assert_eq!(found("Находка, ул. Мира"), ["nakhodka"]);
    }

    #[test]
    fn codes_are_the_most_specific_first_with_what_they_lie_in() {
        let places = samples::places();
        assert_eq!(places.expand(["vladivostok.leninsky"]), ["vladivostok.leninsky", "vladivostok"]);
        assert_eq!(
            places.expand(["artem", "vladivostok.leninsky", "vladivostok", "nowhere"]),
            ["vladivostok.leninsky", "artem", "vladivostok"]
        );
        assert_eq!(places.expand(["primorye"]), ["primorye"]);
    }
}
