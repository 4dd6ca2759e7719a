//! Cues: the words and phrases that speak for something, compiled once into a matcher that is walked once a text.
//!
//! - One word: its stem stands in the text.
//! - Several words: their stems stand in this order within one unit, with at most so many others between neighbours.
//! - Parts joined by ` + `: every part is found in what is looked at, in any order.
//! - A part that holds anything but letters, digits, spaces and hyphens is a literal, found case-insensitively.

use std::collections::HashMap;

use super::{
    text::{Reading, Word},
    words::{self, StemId, VocabularyBuilder},
};

/// What joins the parts of a cue.
const JOINER: &str = " + ";

/// Whether a part of a cue is matched literally.
pub fn is_literal(part: &str) -> bool {
    part.chars().any(|c| !(c.is_alphanumeric() || c == '-' || c.is_whitespace() || words::is_mark(c)))
}

/// Why a cue can't be used; `None` when it can.
pub fn fault(cue: &str) -> Option<&'static str> {
    if cue.trim().is_empty() {
        Some("a cue must not be empty")
    } else if cue
        .split(JOINER)
        .any(|part| !is_literal(part) && words::folded_words(part).is_empty() || part.trim().is_empty())
    {
        Some("every part of a cue must hold a word or a literal")
    } else {
        None
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Pattern {
    Words(Vec<StemId>),
    Literal(String),
}

/// What a cue speaks for, by the number its user gave it.
type Target = usize;

#[derive(Debug)]
struct Cue {
    parts: usize,
    target: Target,
    weight: f32,
}

/// Collects cues.
#[derive(Debug, Default)]
pub struct CueBookBuilder {
    patterns: HashMap<Pattern, usize>,
    known: HashMap<(Vec<usize>, Target), usize>,
    cues: Vec<Cue>,
    targets: usize,
}

impl CueBookBuilder {
    /// A cue without [`fault`] for `target` that counts `weight`. The same cue given again for the same target counts
    /// once, with the larger weight.
    pub fn add(&mut self, vocabulary: &mut VocabularyBuilder, cue: &str, target: Target, weight: f32) {
        let mut parts: Vec<usize> = cue.split(JOINER).map(|part| self.pattern(vocabulary, part)).collect();
        parts.sort_unstable();
        parts.dedup();
        self.targets = self.targets.max(target + 1);
        let next = self.cues.len();
        let count = parts.len();
        match *self.known.entry((parts, target)).or_insert(next) {
            index if index == next => self.cues.push(Cue { parts: count, target, weight }),
            index => self.cues[index].weight = self.cues[index].weight.max(weight),
        }
    }

    fn pattern(&mut self, vocabulary: &mut VocabularyBuilder, part: &str) -> usize {
        let pattern = if is_literal(part) {
            Pattern::Literal(words::fold(part.trim()))
        } else {
            Pattern::Words(words::folded_words(part).iter().map(|word| vocabulary.stem(word)).collect())
        };
        let next = self.patterns.len();
        *self.patterns.entry(pattern).or_insert(next)
    }

    /// Ends the collection; `targets` is how many there are, `gap` how many other words may stand between neighbours
    /// of a phrase.
    pub fn build(self, targets: usize, gap: usize) -> CueBook {
        let mut book = CueBook {
            gap,
            targets: targets.max(self.targets),
            by_first: Vec::new(),
            literals: Vec::new(),
            uses: vec![Vec::new(); self.patterns.len()],
            cues: self.cues,
        };
        for ((parts, _), cue) in self.known {
            for part in parts {
                book.uses[part].push(cue);
            }
        }
        for (pattern, index) in self.patterns {
            match pattern {
                Pattern::Literal(literal) => book.literals.push((literal, index)),
                Pattern::Words(stems) => {
                    let Some((first, rest)) = stems.split_first() else { continue };
                    let first = *first as usize;
                    if book.by_first.len() <= first {
                        book.by_first.resize_with(first + 1, Vec::new);
                    }
                    book.by_first[first].push((rest.into(), index));
                }
            }
        }
        book
    }
}

/// Compiled cues.
#[derive(Debug)]
pub struct CueBook {
    gap: usize,
    targets: usize,
    /// By the first stem of a pattern: the other stems, and the pattern.
    by_first: Vec<Vec<(Box<[StemId]>, usize)>>,
    literals: Vec<(String, usize)>,
    /// By pattern: the cues it is a part of.
    uses: Vec<Vec<usize>>,
    cues: Vec<Cue>,
}

impl CueBook {
    /// The weight of the different cues found in the given units, by target.
    pub fn weigh(&self, reading: &Reading, units: &[usize]) -> Vec<f32> {
        let mut weights = vec![0.0; self.targets];
        let mut joined = Vec::new();
        for pattern in self.patterns_in(reading, units) {
            for &index in &self.uses[pattern] {
                let cue = &self.cues[index];
                if cue.parts == 1 {
                    weights[cue.target] += cue.weight;
                } else {
                    joined.push(index);
                }
            }
        }
        joined.sort_unstable();
        for found in joined.chunk_by(|a, b| a == b) {
            let cue = &self.cues[found[0]];
            if found.len() == cue.parts {
                weights[cue.target] += cue.weight;
            }
        }
        weights
    }

    /// The different patterns found in the given units.
    fn patterns_in(&self, reading: &Reading, units: &[usize]) -> Vec<usize> {
        let mut found = Vec::new();
        for &unit in units {
            let words = &reading.words[reading.units[unit].words.clone()];
            for (index, word) in words.iter().enumerate() {
                let Some(patterns) = self.by_first.get(word.stem as usize) else { continue };
                for (rest, pattern) in patterns {
                    if self.follows(&words[index + 1..], rest) {
                        found.push(*pattern);
                    }
                }
            }
            let text = reading.unit_text(unit);
            found.extend(self.literals.iter().filter(|(literal, _)| text.contains(literal.as_str())).map(|(_, p)| *p));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Whether `words` hold `rest` in order, with no more than the gap before each.
    fn follows(&self, words: &[Word], rest: &[StemId]) -> bool {
        let Some((next, rest)) = rest.split_first() else { return true };
        words
            .iter()
            .take(self.gap + 1)
            .enumerate()
            .any(|(index, word)| word.stem == *next && self.follows(&words[index + 1..], rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::text::{Separators, read};

    fn weight(cues: &[&str], text: &str) -> f32 {
        let mut vocabulary = VocabularyBuilder::default();
        let mut book = CueBookBuilder::default();
        for cue in cues {
            assert_eq!(fault(cue), None, "{cue}");
            book.add(&mut vocabulary, cue, 0, 1.0);
        }
        let book = book.build(1, 2);
        let reading = read(text, &vocabulary.build(), &Separators::default());
        let all: Vec<usize> = (0..reading.units.len()).collect();
        book.weigh(&reading, &all)[0]
    }

    #[test]
    fn words_and_phrases() {
        assert_eq!(weight(&["автобус"], "Автобусами, автобусов!"), 1.0);
        assert_eq!(weight(&["нет воды"], "нет холодной и горячей воды"), 0.0, "three words lie between");
        assert_eq!(weight(&["нет воды"], "Нет у нас горячей... нет уже сутки воды"), 1.0);
        assert_eq!(weight(&["нет воды"], "Нет! Воды дайте"), 0.0, "a sentence ends between");
        assert_eq!(weight(&["нет воды"], "воды нет"), 0.0, "another order");
        // The first «а» is too far away, the second is not.
        assert_eq!(weight(&["мост река город"], "мост река река дом дом город"), 1.0);
    }

    #[test]
    fn joined_parts_and_literals() {
        assert_eq!(weight(&["нет отопления + мороз"], "Мороз! Второй день нет отопления."), 1.0);
        assert_eq!(weight(&["нет отопления + мороз"], "Нет отопления."), 0.0);
        assert_eq!(weight(&["?", "https://", "!!!"], "Где? HTTPS://x.ru"), 2.0);
        assert_eq!(weight(&["лифт", "лифты", "лифт + лифт"], "лифт"), 1.0, "all three are one cue");
    }

    #[test]
    fn faults() {
        for cue in ["", "  ", "-", "вода + ", "вода + -"] {
            assert!(fault(cue).is_some(), "{cue}");
        }
    }
}
