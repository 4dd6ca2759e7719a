//! A text as the classifier reads it: folded, split into words, the words into units.
//!
//! A unit is a sentence or a line, or the part of one that a separator («также», «второй вопрос», «2)») begins. Units cover
//! the text without gaps, so every question made of them has a span on character boundaries.

use std::{collections::HashMap, ops::Range};

use super::words::{self, NO_STEM, StemId, Vocabulary};

/// A word of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Bytes of the folded text.
    pub folded: Range<usize>,
    /// The stem, where a cue uses it.
    pub stem: StemId,
    /// Where the word begins in the text, in bytes.
    pub start: usize,
    /// Whether it is written with a capital letter.
    pub capital: bool,
}

/// A sentence, a line, or the part of one that a separator begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its words, by index.
    pub words: Range<usize>,
    /// Bytes of the text.
    pub span: Range<usize>,
    /// Bytes of the folded text.
    pub folded: Range<usize>,
    /// Whether a separator begins it.
    pub separated: bool,
}

/// A text that has been read.
#[derive(Debug)]
pub struct Reading {
    folded: String,
    /// The words in order.
    pub words: Vec<Word>,
    /// The units in order; none when the text holds no words.
    pub units: Vec<Unit>,
}

impl Reading {
    /// The folded form of a word.
    pub fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", |word| &self.folded[word.folded.clone()])
    }

    /// The folded text of a unit, punctuation included.
    pub fn unit_text(&self, unit: usize) -> &str {
        &self.folded[self.units[unit].folded.clone()]
    }
}

/// Words and literals that begin another question.
#[derive(Debug, Default)]
pub struct Separators {
    /// Sequences of folded words, by their first word.
    worded: HashMap<String, Vec<Vec<String>>>,
    /// Folded literals such as `p.s.`.
    literal: Vec<String>,
}

impl Separators {
    /// Adds one: a literal when it holds more than words, spaces and hyphens.
    pub fn add(&mut self, cue: &str) {
        if super::cues::is_literal(cue) {
            self.literal.push(words::fold(cue));
            return;
        }
        let words = words::folded_words(cue);
        if let Some(first) = words.first() {
            self.worded.entry(first.clone()).or_default().push(words);
        }
    }

    fn begins_at(&self, reading: &Reading, index: usize) -> bool {
        let worded = self.worded.get(reading.word(index)).is_some_and(|sequences| {
            sequences.iter().any(|s| s.iter().enumerate().all(|(k, word)| reading.word(index + k) == word))
        });
        let rest = || &reading.folded[reading.words[index].folded.start..];
        worded || numbered(reading, index) || self.literal.iter().any(|literal| rest().starts_with(literal.as_str()))
    }
}

/// Whether the word is the number of an item of a list after the first, as in «2) лифт не работает».
fn numbered(reading: &Reading, index: usize) -> bool {
    let word = &reading.words[index].folded;
    let number: Option<u32> = reading.folded[word.clone()].parse().ok();
    number.is_some_and(|n| (2..100).contains(&n)) && reading.folded[word.end..].starts_with(')')
}

/// What stood between a word and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Break {
    None,
    /// A comma, semicolon, colon or dash: a separator may follow.
    Clause,
    Sentence,
}

/// Abbreviations after which a full stop ends nothing. Single letters («г.», «д.») never do.
const ABBREVIATIONS: [&str; 28] = [
    "ул",
    "пр",
    "просп",
    "пер",
    "пос",
    "тел",
    "руб",
    "тыс",
    "млн",
    "стр",
    "корп",
    "обл",
    "гор",
    "дер",
    "мкр",
    "бул",
    "наб",
    "им",
    "кв",
    "см",
    "др",
    "тд",
    "тп",
    "ст",
    "пл",
    "оф",
    "эт",
    "км",
];

/// Reads `text`.
pub fn read(text: &str, vocabulary: &Vocabulary, separators: &Separators) -> Reading {
    let mut reading = Reading { folded: String::with_capacity(text.len()), words: Vec::new(), units: Vec::new() };
    let breaks = split(text, &mut reading);
    let stems = vocabulary.stems(reading.words.iter().map(|word| &reading.folded[word.folded.clone()]));
    for (word, stem) in reading.words.iter_mut().zip(stems) {
        word.stem = stem;
    }
    let mut begins = Vec::new();
    for (index, before) in breaks.iter().enumerate() {
        let separated = *before >= Break::Clause && separators.begins_at(&reading, index);
        if index == 0 || *before == Break::Sentence || separated {
            begins.push((index, separated));
        }
    }
    for (n, (first, separated)) in begins.iter().enumerate() {
        let next = begins.get(n + 1).map(|(next, _)| *next);
        let (start, folded_start) = match n {
            0 => (0, 0),
            _ => (reading.words[*first].start, reading.words[*first].folded.start),
        };
        reading.units.push(Unit {
            words: *first..next.unwrap_or(reading.words.len()),
            span: start..next.map_or(text.len(), |next| reading.words[next].start),
            folded: folded_start..next.map_or(reading.folded.len(), |next| reading.words[next].folded.start),
            separated: *separated,
        });
    }
    reading
}

/// Folds the text and finds its words; returns what stands before each word.
fn split(text: &str, reading: &mut Reading) -> Vec<Break> {
    let mut breaks = Vec::new();
    let mut before = Break::Sentence;
    let mut in_word = false;
    let mut chars = text.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        let folded_start = reading.folded.len();
        words::push_folded(&mut reading.folded, c);
        // A breve may have replaced the last letter by one of the same length: the word's range still holds.
        if words::is_mark(c) {
            continue;
        }
        if c.is_alphanumeric() {
            if in_word {
                if let Some(word) = reading.words.last_mut() {
                    word.folded.end = reading.folded.len();
                }
            } else {
                let folded = folded_start..reading.folded.len();
                reading.words.push(Word { folded, stem: NO_STEM, start, capital: c.is_uppercase() });
                breaks.push(std::mem::replace(&mut before, Break::None));
                in_word = true;
            }
            continue;
        }
        in_word = false;
        let next = chars.peek().map(|(_, next)| *next);
        before = before.max(match c {
            '!' | '?' | '…' | '\n' | '\r' | '\u{2028}' | '\u{2029}' => Break::Sentence,
            '.' if ends_sentence(reading, next) => Break::Sentence,
            ',' | ';' | ':' | '—' | '–' => Break::Clause,
            _ => Break::None,
        });
    }
    breaks
}

/// Whether a full stop after the last word ends a sentence.
fn ends_sentence(reading: &Reading, next: Option<char>) -> bool {
    let Some(last) = reading.words.last() else { return false };
    let word = &reading.folded[last.folded.clone()];
    let abbreviated = word.chars().nth(1).is_none() && !word.starts_with(|c: char| c.is_ascii_digit());
    // «7.30», «госуслуги.ru».
    let inside = next.is_some_and(|c| c.is_ascii_alphanumeric());
    !abbreviated && !inside && !ABBREVIATIONS.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::words::VocabularyBuilder;

    fn units(text: &str) -> Vec<(String, bool)> {
        let mut separators = Separators::default();
        for cue in ["и еще", "также", "второй вопрос", "P.S."] {
            separators.add(cue);
        }
        let reading = read(text, &VocabularyBuilder::default().build(), &separators);
        reading.units.iter().map(|u| (text[u.span.clone()].to_owned(), u.separated)).collect()
    }

    #[test]
    fn sentences_and_lines_are_units() {
        let found = units("Нет света на ул. Ленина, д. 5. Когда дадут?! Дети мерзнут\nПомогите… с 7.30 до 9.00 ждем");
        let texts: Vec<&str> = found.iter().map(|(text, _)| text.trim()).collect();
        assert_eq!(
            texts,
            ["Нет света на ул. Ленина, д. 5.", "Когда дадут?!", "Дети мерзнут", "Помогите…", "с 7.30 до 9.00 ждем"]
        );
    }

    #[test]
    fn a_separator_begins_a_unit_where_a_clause_begins() {
        let found =
            units("Нет света, также не чистят дороги. И ещё: нет воды. Мы также ждем. P.S. лифт стоит; 2) мусор");
        let begun: Vec<&str> = found.iter().filter(|(_, separated)| *separated).map(|(text, _)| text.trim()).collect();
        assert_eq!(begun, ["также не чистят дороги.", "И ещё: нет воды.", "P.S. лифт стоит;", "2) мусор"]);
    }

    #[test]
    fn units_cover_the_text() {
        let text = "«Здравствуйте!» 😀 Света нет — также воды!!!";
        let all: String = units(text).into_iter().map(|(text, _)| text).collect();
        assert_eq!(all, text);
        assert_eq!(units("😀 !!! …"), []);
        assert_eq!(units(""), []);
    }
}
