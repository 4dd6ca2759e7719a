//! The taxonomy: groups of topics with the words by which they are recognised (`taxonomy.toml` of a region pack).

use std::collections::{BTreeMap, HashMap, HashSet};

use otklik_chassis::region::{self, Problems};
use serde::Deserialize;
use toml::Spanned;

use super::cues;

/// The file's name within the pack.
pub const FILE: &str = "taxonomy.toml";

/// A group of topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Code, e.g. `roads`.
    pub code: String,
    /// Title for people.
    pub title: String,
}

/// A topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Topic {
    /// Code, `<group>.<topic>`.
    pub code: String,
    /// Title for people.
    pub title: String,
    /// Code of the official classifier; empty where it is not known.
    pub official_code: String,
    /// The group, by index.
    pub group: usize,
    /// Cues with what each counts.
    pub cues: Vec<(String, f32)>,
}

/// Cues of urgency, by class.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UrgencyCues {
    /// Cues of an emergency.
    pub emergency: Vec<String>,
    /// Cues of high urgency.
    pub high: Vec<String>,
    /// Cues that make it normal whatever else is found.
    pub defused_by: Vec<String>,
}

/// Cues of what a citizen wants, by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KindCues {
    /// Cues of advertising and the like.
    pub spam: Vec<String>,
    /// Cues of thanks.
    pub thanks: Vec<String>,
    /// Cues of a proposal.
    pub proposal: Vec<String>,
    /// Cues of a question.
    pub question: Vec<String>,
    /// Cues of a complaint.
    pub complaint: Vec<String>,
}

/// A valid taxonomy.
#[derive(Debug, Clone, PartialEq)]
pub struct Taxonomy {
    /// How many other words may stand between neighbours of a phrase.
    pub phrase_gap: usize,
    /// What a cue of the list `words` counts; the measure of all evidence.
    pub normal_weight: f32,
    /// The groups in the file's order.
    pub groups: Vec<Group>,
    /// The topics in the file's order.
    pub topics: Vec<Topic>,
    /// Cues of urgency.
    pub urgency: UrgencyCues,
    /// Cues of kind.
    pub kind: KindCues,
    /// What begins another question.
    pub separators: Vec<String>,
}

type Cues = Vec<Spanned<String>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    phrase_gap: Spanned<i64>,
    weights: Weights,
    #[serde(default)]
    group: Vec<GroupEntry>,
    urgency: UrgencyEntry,
    kind: KindEntry,
    separators: SeparatorsEntry,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Weights {
    strong: Spanned<f64>,
    normal: Spanned<f64>,
    weak: Spanned<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupEntry {
    code: Spanned<String>,
    title: Spanned<String>,
    #[serde(default)]
    topic: Vec<TopicEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicEntry {
    code: Spanned<String>,
    title: Spanned<String>,
    official_code: Option<Spanned<String>>,
    #[serde(default)]
    strong: Cues,
    words: Spanned<Cues>,
    #[serde(default)]
    weak: Cues,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UrgencyEntry {
    #[serde(default)]
    emergency: Cues,
    #[serde(default)]
    high: Cues,
    #[serde(default)]
    defused_by: Cues,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KindEntry {
    #[serde(default)]
    spam: Cues,
    #[serde(default)]
    thanks: Cues,
    #[serde(default)]
    proposal: Cues,
    #[serde(default)]
    question: Cues,
    #[serde(default)]
    complaint: Cues,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SeparatorsEntry {
    #[serde(default)]
    cues: Cues,
}

/// Widest gap that still makes a phrase of two words.
const WIDEST_GAP: i64 = 10;

impl Taxonomy {
    /// Reads and checks `taxonomy.toml`; everything that is wrong goes to `problems`, and `None` is returned then.
    pub fn parse(text: &str, problems: &mut Problems) -> Option<Self> {
        let file: File = region::parse(FILE, text, problems)?;
        let mut check = Check { text, problems, sound: true };
        let taxonomy = file.into_taxonomy(&mut check);
        check.sound.then_some(taxonomy)
    }

    /// The index of a topic by its code.
    pub fn topic_index(&self) -> HashMap<String, usize> {
        self.topics.iter().enumerate().map(|(index, topic)| (topic.code.clone(), index)).collect()
    }
}

/// Notes problems of the file and remembers that there were some.
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

    fn title(&mut self, title: &Spanned<String>) {
        if title.as_ref().trim().is_empty() {
            self.fail(title, "the title must not be empty");
        }
    }

    fn weight(&mut self, weight: &Spanned<f64>) -> f32 {
        let value = *weight.as_ref();
        if !(value > 0.0 && value <= 100.0) {
            self.fail(weight, "a weight must be greater than 0 and at most 100");
        }
        value as f32
    }

    fn cues(&mut self, cues: Cues) -> Vec<String> {
        for cue in &cues {
            if let Some(fault) = cues::fault(cue.as_ref()) {
                self.fail(cue, format!("{fault}: {:?}", cue.as_ref()));
            }
        }
        cues.into_iter().map(Spanned::into_inner).collect()
    }
}

/// Whether a code is words of `[a-z0-9]` joined by `-`.
pub(super) fn is_code(code: &str) -> bool {
    code.split('-').all(|w| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
}

/// Whether a code is of the official classifier: four groups of four digits, or five.
fn is_official_code(code: &str) -> bool {
    let parts: Vec<&str> = code.split('.').collect();
    matches!(parts.len(), 4 | 5) && parts.iter().all(|p| p.len() == 4 && p.bytes().all(|b| b.is_ascii_digit()))
}

impl File {
    fn into_taxonomy(self, check: &mut Check<'_>) -> Taxonomy {
        if !(0..=WIDEST_GAP).contains(self.phrase_gap.as_ref()) {
            check.fail(&self.phrase_gap, format!("must be from 0 to {WIDEST_GAP}"));
        }
        let weights = [&self.weights.strong, &self.weights.normal, &self.weights.weak].map(|w| check.weight(w));
        if !(weights[0] >= weights[1] && weights[1] >= weights[2]) {
            check.fail(&self.weights.strong, "weights must not grow from strong over normal to weak");
        }
        let mut taxonomy = Taxonomy {
            phrase_gap: usize::try_from(*self.phrase_gap.as_ref()).unwrap_or(0),
            normal_weight: weights[1],
            groups: Vec::new(),
            topics: Vec::new(),
            urgency: UrgencyCues {
                emergency: check.cues(self.urgency.emergency),
                high: check.cues(self.urgency.high),
                defused_by: check.cues(self.urgency.defused_by),
            },
            kind: KindCues {
                spam: check.cues(self.kind.spam),
                thanks: check.cues(self.kind.thanks),
                proposal: check.cues(self.kind.proposal),
                question: check.cues(self.kind.question),
                complaint: check.cues(self.kind.complaint),
            },
            separators: check.cues(self.separators.cues),
        };
        if self.group.is_empty() {
            check.sound = false;
            check.problems.of_file(FILE, "there must be at least one [[group]]");
        }
        let mut codes = HashSet::new();
        for group in self.group {
            group.into_group(&mut taxonomy, &mut codes, weights, check);
        }
        taxonomy
    }
}

impl GroupEntry {
    fn into_group(
        self,
        taxonomy: &mut Taxonomy,
        codes: &mut HashSet<String>,
        weights: [f32; 3],
        check: &mut Check<'_>,
    ) {
        let code = self.code.as_ref();
        if !is_code(code) {
            check.fail(&self.code, format!("{code:?} is not a code: words of a-z and 0-9 joined by `-`"));
        }
        if !codes.insert(code.clone()) {
            check.fail(&self.code, format!("the group {code} is there already"));
        }
        check.title(&self.title);
        let general = format!("{code}.general");
        if !self.topic.iter().any(|topic| *topic.code.as_ref() == general) {
            check.fail(&self.code, format!("the group must have a topic {general}"));
        }
        let index = taxonomy.groups.len();
        for topic in self.topic {
            let topic = topic.into_topic(code, index, codes, weights, check);
            taxonomy.topics.push(topic);
        }
        taxonomy.groups.push(Group { code: self.code.into_inner(), title: self.title.into_inner() });
    }
}

impl TopicEntry {
    fn into_topic(
        self,
        group: &str,
        index: usize,
        codes: &mut HashSet<String>,
        weights: [f32; 3],
        check: &mut Check<'_>,
    ) -> Topic {
        let code = self.code.as_ref();
        if !code.strip_prefix(group).and_then(|rest| rest.strip_prefix('.')).is_some_and(is_code) {
            check.fail(&self.code, format!("{code:?} must be `{group}.` and a word or words joined by `-`"));
        }
        if !codes.insert(code.clone()) {
            check.fail(&self.code, format!("the topic {code} is there already"));
        }
        check.title(&self.title);
        if let Some(official) = &self.official_code
            && !is_official_code(official.as_ref())
        {
            check.fail(official, "must be SSSS.TTTT.MMMM.QQQQ or SSSS.TTTT.MMMM.QQQQ.PPPP");
        }
        if self.words.as_ref().is_empty() && self.strong.is_empty() {
            check.fail(&self.words, "a topic needs words to be recognised by");
        }
        let mut counted: BTreeMap<String, f32> = BTreeMap::new();
        for (cues, weight) in
            [(self.strong, weights[0]), (self.words.into_inner(), weights[1]), (self.weak, weights[2])]
        {
            for cue in check.cues(cues) {
                // A cue of two lists counts what it counts most.
                counted.entry(cue).and_modify(|w| *w = w.max(weight)).or_insert(weight);
            }
        }
        Topic {
            code: self.code.into_inner(),
            title: self.title.into_inner(),
            official_code: self.official_code.map(Spanned::into_inner).unwrap_or_default(),
            group: index,
            cues: counted.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::samples;

    fn problems_of(text: &str) -> Vec<(usize, String)> {
        let mut problems = Problems::new();
        let taxonomy = Taxonomy::parse(text, &mut problems);
        assert_eq!(taxonomy.is_some(), problems.is_empty());
        problems.into_sorted().into_iter().map(|p| (p.line, p.message)).collect()
    }

    #[test]
    fn the_sample_is_sound() {
        assert!(problems_of(samples::TAXONOMY).is_empty());
    }

    #[test]
    fn all_problems_are_told_with_their_lines() {
        let text = r#"phrase_gap = -1
[weights]
strong = 0.1
normal = 1.0
weak = 0.4
[[group]]
code = "Roads"
title = " "
[[group.topic]]
code = "waste.x"
title = "T"
official_code = "12"
words = []
[[group.topic]]
code = "waste.x"
title = "T"
words = ["вода + ", ""]
[urgency]
[kind]
[separators]
"#;
        let lines: Vec<usize> = problems_of(text).into_iter().map(|(line, _)| line).collect();
        // The gap; the weights; the group's code and its missing `general`; its title; the topics' codes, the official
        // code, no words; the second topic's code twice wrong; both cues.
        assert_eq!(lines, [1, 3, 7, 7, 8, 10, 12, 13, 15, 15, 17, 17]);
    }

    #[test]
    fn an_unknown_key_is_a_problem() {
        let found = problems_of("phrase_gap = 2\nphrase_gp = 3\n");
        assert_eq!(found[0].0, 2, "{found:?}");
    }
}
