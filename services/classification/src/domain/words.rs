//! Words: how they are folded, split off and reduced to stems.
//!
//! Folding is lower case and ё→е. A word is a run of letters and digits; a hyphen ends it. Accents and other combining
//! marks are left out without ending a word, and the two letters that some keyboards compose (й, ё) are put together
//! first, so that «район» typed either way is one word.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use rust_stemmers::{Algorithm, Stemmer};

/// A stem that some cue uses, by number; [`NO_STEM`] is any other.
pub type StemId = u32;

/// The number of a stem that no cue uses.
pub const NO_STEM: StemId = StemId::MAX;

const COMBINING_BREVE: char = '\u{306}';
const COMBINING_DIAERESIS: char = '\u{308}';

/// Whether the character belongs to the one before it and is no letter of its own: accents, joiners, soft hyphens.
pub(crate) fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

/// Appends the folded form of `c`; a mark changes the letter before it or vanishes.
pub(crate) fn push_folded(folded: &mut String, c: char) {
    match c {
        'a'..='z' | 'а'..='я' | '0'..='9' | ' ' | '.' | ',' => folded.push(c),
        'ё' | 'Ё' => folded.push('е'),
        'А'..='Я' => folded.push(char::from_u32(c as u32 + 32).unwrap_or(c)),
        COMBINING_BREVE if folded.ends_with('и') => {
            folded.pop();
            folded.push('й');
        }
        // е with a diaeresis is ё, which folds to е.
        COMBINING_DIAERESIS => {}
        _ if is_mark(c) => {}
        _ if c.is_ascii() => folded.push(c.to_ascii_lowercase()),
        _ => folded.extend(c.to_lowercase().filter(|c| !is_mark(*c))),
    }
}

/// The folded form of a text.
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.chars() {
        push_folded(&mut folded, c);
    }
    folded
}

/// The folded words of a cue or of a place's form.
pub fn folded_words(text: &str) -> Vec<String> {
    fold(text).split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

/// Reduces folded words to stems (Snowball's Russian stemmer; words without Cyrillic letters stay as they are).
struct Reducer(Stemmer);

impl Reducer {
    fn new() -> Self {
        Self(Stemmer::create(Algorithm::Russian))
    }

    fn stem<'a>(&self, word: &'a str) -> std::borrow::Cow<'a, str> {
        if word.chars().all(|c| matches!(c, 'а'..='я')) { self.0.stem(word) } else { word.into() }
    }
}

/// Collects the stems that cues use and numbers them.
pub struct VocabularyBuilder {
    reducer: Reducer,
    ids: HashMap<String, StemId>,
}

impl Default for VocabularyBuilder {
    fn default() -> Self {
        Self { reducer: Reducer::new(), ids: HashMap::new() }
    }
}

impl VocabularyBuilder {
    /// The number of the stem of a folded word, given out on first sight.
    pub fn stem(&mut self, word: &str) -> StemId {
        let next = StemId::try_from(self.ids.len()).unwrap_or(NO_STEM);
        *self.ids.entry(self.reducer.stem(word).into_owned()).or_insert(next)
    }

    /// How many stems there are so far.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is none yet.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Ends the collection.
    pub fn build(self) -> Vocabulary {
        Vocabulary { reducer: self.reducer, ids: self.ids, seen: RwLock::default() }
    }
}

/// The stems that cues use. Remembers the stem of every word it has met, up to [`MOST_SEEN`]: stemming costs more than
/// everything else that is done with a word.
pub struct Vocabulary {
    reducer: Reducer,
    ids: HashMap<String, StemId>,
    seen: RwLock<HashMap<Box<str>, StemId>>,
}

impl std::fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vocabulary").field("stems", &self.ids.len()).finish_non_exhaustive()
    }
}

/// How many words are remembered (a few megabytes). Then all are forgotten: what is frequent comes back at once.
const MOST_SEEN: usize = 50_000;

/// Longest word that is remembered, in bytes; longer ones are no words people repeat.
const LONGEST_SEEN: usize = 48;

impl Vocabulary {
    /// The numbers of the stems of folded words, in their order.
    pub fn stems<'a>(&self, words: impl Iterator<Item = &'a str>) -> Vec<StemId> {
        let mut missed = Vec::new();
        let mut stems: Vec<StemId>;
        {
            let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
            stems = Vec::with_capacity(words.size_hint().0);
            for (index, word) in words.enumerate() {
                stems.push(seen.get(word).copied().unwrap_or_else(|| {
                    missed.push((index, word));
                    NO_STEM
                }));
            }
        }
        if missed.is_empty() {
            return stems;
        }
        for (index, word) in &missed {
            let stem = self.reducer.stem(word);
            stems[*index] = self.ids.get(stem.as_ref()).copied().unwrap_or(NO_STEM);
        }
        // Whoever finds the lock taken goes on: the words will be met again.
        if let Ok(mut seen) = self.seen.try_write() {
            if seen.len() + missed.len() > MOST_SEEN {
                seen.clear();
            }
            for (index, word) in missed.into_iter().filter(|(_, word)| word.len() <= LONGEST_SEEN) {
                seen.insert(word.into(), stems[index]);
            }
        }
        stems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding() {
        assert_eq!(fold("Ёлка В ПАРКЕ, Щит!"), "елка в парке, щит!");
        // Decomposed й and ё, a stress mark, a soft hyphen.
        assert_eq!(fold("раи\u{306}он е\u{308}лка во\u{301}ды во\u{ad}да"), "район елка воды вода");
        assert_eq!(folded_words("Спасск-Дальний, 5-й км"), ["спасск", "дальний", "5", "й", "км"]);
    }

    #[test]
    fn forms_of_a_word_have_one_stem() {
        let mut builder = VocabularyBuilder::default();
        let bus = builder.stem("автобус");
        let code = builder.stem("qr");
        let vocabulary = builder.build();
        for _ in 0..2 {
            let stems = vocabulary.stems(["автобуса", "автобусами", "трамвай", "qr"].into_iter());
            assert_eq!(stems, [bus, bus, NO_STEM, code]);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let vocabulary = VocabularyBuilder::default().build();
        let words: Vec<String> = (0..MOST_SEEN + 10).map(|n| format!("w{n}")).collect();
        for chunk in words.chunks(1000) {
            vocabulary.stems(chunk.iter().map(String::as_str));
        }
        assert!(vocabulary.seen.read().unwrap().len() <= MOST_SEEN);
    }
}
