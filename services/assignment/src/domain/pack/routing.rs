//! Routing rules: which executor gets a question.

use std::{cmp::Reverse, collections::HashSet};

use otklik_chassis::region::{Problems, parse};
use otklik_proto::{classification::v1::Urgency, intake::v1::SourceKind};
use serde::Deserialize;
use toml::Spanned;

use super::{Executors, PlaceIndex, Places, Taxonomy, check_code, policies::urgency};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: Spanned<String>,
    #[serde(rename = "title")]
    _title: String,
    executor: Option<Spanned<String>>,
    executor_by_place: Option<bool>,
    topic: Option<Vec<Spanned<String>>>,
    topic_group: Option<Vec<Spanned<String>>>,
    place: Option<Vec<Spanned<String>>>,
    urgency: Option<Vec<Spanned<String>>>,
    source_kind: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    priority: i32,
}

/// What routing looks at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Code of the topic; may be empty.
    pub topic: &'a str,
    /// Code of the topic group; may be empty.
    pub topic_group: &'a str,
    /// How soon.
    pub urgency: Urgency,
    /// What the message came from.
    pub source_kind: SourceKind,
    /// Codes of the places concerned, the most specific first.
    pub place_ids: &'a [String],
}

/// Who gets it, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// Code of the executor.
    pub executor_id: &'a str,
    /// The rule that chose it; empty when none did.
    pub rule_id: &'a str,
    /// No rule matched, or a code is unknown to the pack: the duty coordinator has it.
    pub fallback: bool,
}

#[derive(Clone, Debug)]
struct Rule {
    id: String,
    /// `None`: by place.
    executor_id: Option<String>,
    topics: Option<Vec<u16>>,
    groups: Option<Vec<u16>>,
    places: Option<Vec<PlaceIndex>>,
    urgencies: Option<Vec<Urgency>>,
    source_kinds: Option<Vec<SourceKind>>,
    priority: i32,
}

/// The rules of a region, those that win first.
#[derive(Clone, Debug)]
pub struct Routing {
    rules: Vec<Rule>,
    taxonomy: Taxonomy,
    places: Places,
    /// Executors by number of municipality, and the duty executor.
    by_municipality: Vec<Option<String>>,
    duty: String,
}

/// The facts with codes resolved.
struct Resolved<'a> {
    topic: Option<u16>,
    group: Option<u16>,
    places: Vec<PlaceIndex>,
    facts: &'a Facts<'a>,
}

impl Routing {
    pub(super) fn read(
        file: &str,
        text: &str,
        taxonomy: Taxonomy,
        places: Places,
        executors: &Executors,
        problems: &mut Problems,
    ) -> Self {
        let entries = parse::<File>(file, text, problems).map(|parsed| parsed.rule).unwrap_or_default();
        let mut reader = Reader { file, text, taxonomy: &taxonomy, places: &places, executors, problems };
        let mut ids = HashSet::new();
        let mut rules: Vec<Rule> = entries.iter().map(|entry| reader.rule(entry, &mut ids)).collect();
        // Stable: among equals the earlier in the file stays first.
        rules.sort_by_key(|rule| (Reverse(rule.priority), Reverse(rule.specificity())));
        let mut by_municipality = Vec::new();
        for number in 0u16.. {
            if places.get(number).is_none() {
                break;
            }
            by_municipality.push(executors.of_municipality(number).map(|executor| executor.id.clone()));
        }
        let duty = if executors.is_empty() { String::new() } else { executors.duty().id.clone() };
        Self { rules, taxonomy, places, by_municipality, duty }
    }

    /// Who gets a question: the first rule that matches decides, otherwise the duty coordinator has it.
    pub fn route<'a>(&'a self, facts: &Facts<'_>) -> Route<'a> {
        let fallback = Route { executor_id: &self.duty, rule_id: "", fallback: true };
        let Some(resolved) = self.resolve(facts) else { return fallback };
        let chosen = self.rules.iter().find_map(|rule| {
            let executor_id = rule.executor(self, &resolved)?;
            Some(Route { executor_id, rule_id: &rule.id, fallback: false })
        });
        chosen.unwrap_or(fallback)
    }

    /// `None` when a code is unknown.
    fn resolve<'a>(&self, facts: &'a Facts<'a>) -> Option<Resolved<'a>> {
        let known = |code: &str, number: Option<u16>| if code.is_empty() { Some(None) } else { number.map(Some) };
        Some(Resolved {
            topic: known(facts.topic, self.taxonomy.topic(facts.topic))?,
            group: known(facts.topic_group, self.taxonomy.group(facts.topic_group))?,
            places: facts.place_ids.iter().map(|id| self.places.index(id)).collect::<Option<_>>()?,
            facts,
        })
    }
}

impl Rule {
    fn specificity(&self) -> u8 {
        16 * u8::from(self.topics.is_some())
            + 8 * u8::from(self.places.is_some() || self.executor_id.is_none())
            + 4 * u8::from(self.groups.is_some())
            + 2 * u8::from(self.urgencies.is_some())
            + u8::from(self.source_kinds.is_some())
    }

    /// The executor, if the rule matches.
    fn executor<'a>(&'a self, routing: &'a Routing, question: &Resolved<'_>) -> Option<&'a str> {
        let among = |list: &Option<Vec<u16>>, number: Option<u16>| {
            list.as_ref().is_none_or(|list| number.is_some_and(|number| list.contains(&number)))
        };
        let inside = |list: &Vec<PlaceIndex>| {
            question.places.iter().any(|place| routing.places.within(*place).iter().any(|within| list.contains(within)))
        };
        let matches = among(&self.topics, question.topic)
            && among(&self.groups, question.group)
            && self.urgencies.as_ref().is_none_or(|list| list.contains(&question.facts.urgency))
            && self.source_kinds.as_ref().is_none_or(|list| list.contains(&question.facts.source_kind))
            && self.places.as_ref().is_none_or(inside);
        if !matches {
            return None;
        }
        match &self.executor_id {
            Some(id) => Some(id),
            None => question.places.iter().find_map(|place| {
                let municipality = routing.places.municipality(*place)?;
                routing.by_municipality.get(usize::from(municipality))?.as_deref()
            }),
        }
    }
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    taxonomy: &'a Taxonomy,
    places: &'a Places,
    executors: &'a Executors,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    fn rule(&mut self, entry: &Entry, ids: &mut HashSet<String>) -> Rule {
        check_code(self.file, self.text, &entry.id, self.problems);
        if !ids.insert(entry.id.get_ref().clone()) {
            self.problem(&entry.id, format!("the rule `{}` is there twice", entry.id.get_ref()));
        }
        let executor_id = match (&entry.executor, entry.executor_by_place) {
            (Some(executor), None) => {
                if !self.executors.is_empty() && self.executors.get(executor.get_ref()).is_none() {
                    self.problem(executor, format!("there is no executor `{}`", executor.get_ref()));
                }
                Some(executor.get_ref().clone())
            }
            (None, Some(true)) => None,
            _ => {
                self.problem(&entry.id, "needs exactly one of `executor` and `executor_by_place = true`".to_owned());
                None
            }
        };
        let (taxonomy, places) = (self.taxonomy, self.places);
        Rule {
            id: entry.id.get_ref().clone(),
            executor_id,
            topics: self.codes(entry.topic.as_ref(), "topic", taxonomy.is_empty(), |code| taxonomy.topic(code)),
            groups: self
                .codes(entry.topic_group.as_ref(), "topic group", taxonomy.is_empty(), |code| taxonomy.group(code)),
            places: self.codes(entry.place.as_ref(), "place", places.is_empty(), |code| places.index(code)),
            urgencies: entry.urgency.as_ref().map(|list| {
                list.iter().filter_map(|name| urgency(self.file, self.text, name, self.problems)).collect()
            }),
            source_kinds: entry
                .source_kind
                .as_ref()
                .map(|list| list.iter().filter_map(|name| self.source_kind(name)).collect()),
            priority: entry.priority,
        }
    }

    fn codes(
        &mut self,
        list: Option<&Vec<Spanned<String>>>,
        what: &str,
        unread: bool,
        number: impl Fn(&str) -> Option<u16>,
    ) -> Option<Vec<u16>> {
        let list = list?;
        let mut numbers = Vec::with_capacity(list.len());
        for code in list {
            match number(code.get_ref()) {
                Some(number) => numbers.push(number),
                None if unread => {}
                None => self.problem(code, format!("there is no {what} `{}`", code.get_ref())),
            }
        }
        Some(numbers)
    }

    fn source_kind(&mut self, name: &Spanned<String>) -> Option<SourceKind> {
        let kind = SourceKind::from_str_name(&format!("SOURCE_KIND_{}", name.get_ref()))
            .filter(|kind| *kind != SourceKind::Unspecified);
        if kind.is_none() {
            self.problem(name, format!("`{}` is no kind of source, such as PAGE or PORTAL", name.get_ref()));
        }
        kind
    }

    fn problem(&mut self, at: &Spanned<String>, message: String) {
        self.problems.at(self.file, self.text, at.span(), message);
    }
}
