//! `sources.toml`, the region pack's list of sources.

use std::collections::HashSet;

use otklik_chassis::region::{Problems, parse};
use otklik_proto::intake::v1::{ChannelKind, Regime, SourceKind};
use serde::Deserialize;
use toml::Spanned;

use super::{
    source::{LONGEST_TITLE, MOST_OWN_AUTHORS, Source, is_code, is_place_code},
    submission::LONGEST_EXTERNAL_ID,
};

/// Name of the file.
pub const FILE: &str = "sources.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    source: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: Spanned<String>,
    title: Spanned<String>,
    kind: Spanned<String>,
    channel_kinds: Vec<Spanned<String>>,
    regime: Spanned<String>,
    default_place: Option<Spanned<String>>,
    own_author_external_ids: Spanned<Vec<Spanned<String>>>,
    expected_silence_hours: Spanned<i64>,
}

/// Reads the sources from `text`; everything that is wrong goes to `problems`.
#[must_use]
pub fn sources(text: &str, problems: &mut Problems) -> Vec<Source> {
    let Some(document) = parse::<Document>(FILE, text, problems) else { return Vec::new() };
    if document.source.is_empty() {
        problems.of_file(FILE, "names no source; write a [[source]] for each");
    }
    let mut reader = Reader { text, problems, ids: HashSet::new() };
    document.source.iter().filter_map(|entry| reader.source(entry)).collect()
}

struct Reader<'a> {
    text: &'a str,
    problems: &'a mut Problems,
    ids: HashSet<String>,
}

impl Reader<'_> {
    fn check<T>(&mut self, holds: bool, at: &Spanned<T>, problem: impl Into<String>) -> bool {
        if !holds {
            self.problems.at(FILE, self.text, at.span(), problem);
        }
        holds
    }

    /// The constant of an enumeration that a word names, as contracts spell it without `prefix`.
    fn constant<T>(&mut self, word: &Spanned<String>, prefix: &str, named: fn(&str) -> Option<T>) -> Option<T> {
        let name = word.get_ref();
        let constant = if name == "UNSPECIFIED" { None } else { named(&format!("{prefix}{name}")) };
        self.check(constant.is_some(), word, format!("there is no {prefix}{name}"));
        constant
    }

    /// A source, with all that is wrong with it noted; `None` where it can't be one.
    fn source(&mut self, entry: &Entry) -> Option<Source> {
        let id = entry.id.get_ref();
        self.check(is_code(id), &entry.id, "must be lower-case Latin letters, digits and hyphens, at most 64");
        let is_new = self.ids.insert(id.clone());
        self.check(is_new, &entry.id, format!("there is another source {id}"));
        let title = entry.title.get_ref();
        let is_title = !title.trim().is_empty() && title.chars().count() <= LONGEST_TITLE;
        self.check(is_title, &entry.title, format!("must have 1 to {LONGEST_TITLE} characters"));
        if let Some(place) = &entry.default_place {
            self.check(is_place_code(place.get_ref()), place, "must be the code of a place");
        }
        let own = &entry.own_author_external_ids;
        self.check(own.get_ref().len() <= MOST_OWN_AUTHORS, own, format!("must have at most {MOST_OWN_AUTHORS}"));
        for author in own.get_ref() {
            let is_id = (1..=LONGEST_EXTERNAL_ID).contains(&author.get_ref().len());
            self.check(is_id, author, format!("must have 1 to {LONGEST_EXTERNAL_ID} bytes"));
        }
        let silence = u32::try_from(*entry.expected_silence_hours.get_ref()).ok().filter(|hours| *hours > 0);
        self.check(silence.is_some(), &entry.expected_silence_hours, "must be a number of hours above 0");
        let kind = self.constant(&entry.kind, "SOURCE_KIND_", SourceKind::from_str_name);
        let regime = self.constant(&entry.regime, "REGIME_", Regime::from_str_name);
        let channel_kinds = entry
            .channel_kinds
            .iter()
            .filter_map(|word| self.constant(word, "CHANNEL_KIND_", ChannelKind::from_str_name))
            .collect();
        Some(Source {
            id: id.clone(),
            kind: kind?,
            title: title.clone(),
            default_place: entry.default_place.as_ref().map(|place| place.get_ref().clone()).unwrap_or_default(),
            regime: regime?,
            own_authors: own.get_ref().iter().map(|author| author.get_ref().clone()).collect(),
            channel_kinds,
            expected_silence_hours: silence?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../../deploy/regions/primorye/sources.toml");

    #[test]
    fn the_shipped_sources_are_sound() {
        let mut problems = Problems::new();
        let sources = sources(SHIPPED, &mut problems);
        problems.finish().unwrap();
        let portal = sources.iter().find(|source| source.kind == SourceKind::Portal).unwrap();
        assert_eq!(portal.regime, Regime::PortalMessage);
        assert_eq!(portal.channel_kinds, [ChannelKind::PortalMessage]);
    }

    #[test]
    fn everything_wrong_is_told_with_its_line() {
        let text = r#"
[[source]]
id = "VK"
title = " "
kind = "PAGES"
channel_kinds = ["COMMENT", "LETTER"]
regime = "UNSPECIFIED"
default_place = "?"
own_author_external_ids = [""]
expected_silence_hours = 0
[[source]]
id = "VK"
title = "ВК"
kind = "PAGE"
channel_kinds = []
regime = "STATUTORY_APPEAL"
own_author_external_ids = []
expected_silence_hours = 5
"#;
        let mut problems = Problems::new();
        let _ = sources(text, &mut problems);
        let mut lines: Vec<usize> = problems.into_sorted().iter().map(|problem| problem.line).collect();
        lines.dedup();
        assert_eq!(lines, [3, 4, 5, 6, 7, 8, 9, 10, 12]);
    }

    #[test]
    fn an_unknown_key_and_an_empty_file() {
        for (text, line) in [("[[source]]\nid = \"a\"\ncolour = 1\n", 3), ("", 0)] {
            let mut problems = Problems::new();
            assert!(sources(text, &mut problems).is_empty());
            assert_eq!(problems.into_sorted()[0].line, line, "{text}");
        }
    }
}
