//! Answer templates of the region pack: `templates.toml`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
};

use otklik_chassis::region::{Problems, parse};
use otklik_proto::{assignment::v1::Outcome, feedback::v1::AnswerKind};
use serde::Deserialize;
use toml::Spanned;

use super::answer::Terms;

/// The file of the pack.
pub const FILE: &str = "templates.toml";

/// The templates of a region.
#[derive(Debug, Clone, Default)]
pub struct Templates {
    by_id: HashMap<String, Template>,
}

/// One template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its code.
    pub id: String,
    /// Kinds of answer it is for.
    pub kinds: Vec<AnswerKind>,
    /// Outcome it is for; unspecified unless it is for final answers.
    pub outcome: Outcome,
    /// The text with `{placeholders}`.
    pub text: String,
    placeholders: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    template: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: Spanned<String>,
    title: Spanned<String>,
    kind: Spanned<String>,
    outcome: Option<Spanned<String>>,
    placeholders: Spanned<Vec<String>>,
    text: Spanned<String>,
}

impl Templates {
    /// Reads and checks the file; what is wrong with it is noted.
    #[must_use]
    pub fn parse(text: &str, problems: &mut Problems) -> Self {
        let mut templates = Self::default();
        let Some(document) = parse::<Document>(FILE, text, problems) else { return templates };
        for entry in document.template {
            let mut note = |span: Range<usize>, message: String| problems.at(FILE, text, span, message);
            let span = entry.id.span();
            let template = entry.check(&mut note);
            if templates.by_id.insert(template.id.clone(), template).is_some() {
                note(span, "another template has this id".into());
            }
        }
        templates
    }

    /// The template of this code.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Template> {
        self.by_id.get(id)
    }
}

impl Entry {
    fn check(self, note: &mut impl FnMut(Range<usize>, String)) -> Template {
        let Self { id, title, kind, outcome, placeholders, text } = self;
        let code = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        if id.get_ref().is_empty() || !id.get_ref().bytes().all(code) {
            note(id.span(), "an id is lower-case words joined by `-`, levels joined by `.`".into());
        }
        for (name, value) in [("title", &title), ("text", &text)] {
            if value.get_ref().trim().is_empty() {
                note(value.span(), format!("the {name} is empty"));
            }
        }
        let kinds = match kind.get_ref().as_str() {
            "first-response" => vec![AnswerKind::FirstResponse],
            "interim" => vec![AnswerKind::Interim],
            "final" => vec![AnswerKind::Final],
            // Told to many at once while work goes on.
            "mass-outage" => vec![AnswerKind::FirstResponse, AnswerKind::Interim],
            other => {
                note(kind.span(), format!("{other:?} is none of first-response, interim, final, mass-outage"));
                Vec::new()
            }
        };
        let is_final = kinds == [AnswerKind::Final];
        let outcome = match outcome {
            None if is_final => {
                note(kind.span(), "a template for final answers must have an outcome".into());
                Outcome::Unspecified
            }
            None => Outcome::Unspecified,
            Some(named) => {
                if !is_final {
                    note(named.span(), "only a template for final answers has an outcome".into());
                }
                let found = Outcome::from_str_name(&format!("OUTCOME_{}", named.get_ref()));
                found.filter(|outcome| *outcome != Outcome::Unspecified).unwrap_or_else(|| {
                    note(named.span(), format!("{:?} is no outcome", named.get_ref()));
                    Outcome::Unspecified
                })
            }
        };
        let used = placeholders_of(text.get_ref());
        let declared: BTreeSet<String> = placeholders.get_ref().iter().cloned().collect();
        if used != declared || declared.len() != placeholders.get_ref().len() {
            let used: Vec<&str> = used.iter().map(String::as_str).collect();
            note(placeholders.span(), format!("must name each placeholder of the text once: {used:?}"));
        }
        Template { id: id.into_inner(), kinds, outcome, text: text.into_inner().trim().to_owned(), placeholders: used }
    }
}

impl Template {
    /// Why the template is not for an answer of these terms.
    ///
    /// # Errors
    /// What it is for.
    pub fn check(&self, terms: &Terms) -> Result<(), String> {
        if !self.kinds.contains(&terms.kind) {
            let kinds: Vec<&str> =
                self.kinds.iter().map(|kind| kind.as_str_name().trim_start_matches("ANSWER_KIND_")).collect();
            return Err(format!("is for answers of kind {}", kinds.join(" or ")));
        }
        if self.outcome != terms.outcome {
            return Err(format!("is for outcome {}", self.outcome.as_str_name().trim_start_matches("OUTCOME_")));
        }
        Ok(())
    }

    /// `text` (the template's own when it is empty) with the placeholders of the template replaced by `known` values.
    ///
    /// # Errors
    /// The placeholders that a person still has to fill in.
    pub fn fill(&self, text: &str, known: &BTreeMap<&str, String>) -> Result<String, Vec<&str>> {
        let mut filled = if text.is_empty() { self.text.clone() } else { text.to_owned() };
        let mut missing = Vec::new();
        for name in &self.placeholders {
            let braced = format!("{{{name}}}");
            if !filled.contains(&braced) {
                continue;
            }
            match known.get(name.as_str()) {
                Some(value) => filled = filled.replace(&braced, value),
                None => missing.push(name.as_str()),
            }
        }
        if missing.is_empty() { Ok(filled) } else { Err(missing) }
    }
}

/// The names in braces.
fn placeholders_of(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for part in text.split('{').skip(1) {
        let Some((name, _)) = part.split_once('}') else { continue };
        if !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        {
            names.insert(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = r#"
[[template]]
id = "final-done"
title = "Решено"
kind = "final"
outcome = "DONE"
placeholders = ["case_number", "measures"]
text = """Здравствуйте! По сообщению № {case_number}: {measures}"""
"#;

    fn read(text: &str) -> (Templates, Vec<(usize, String)>) {
        let mut problems = Problems::new();
        let templates = Templates::parse(text, &mut problems);
        (templates, problems.into_sorted().into_iter().map(|p| (p.line, p.message)).collect())
    }

    fn terms(kind: AnswerKind, outcome: Outcome) -> Terms {
        Terms { kind, outcome, promise_date: None, template_id: "final-done".into() }
    }

    #[test]
    fn the_shipped_templates_are_sound() {
        let (templates, problems) = read(include_str!("../../../../deploy/regions/primorye/templates.toml"));
        assert_eq!(problems, []);
        assert!(!templates.by_id.is_empty());
    }

    #[test]
    fn known_values_are_filled_in_and_the_rest_is_asked_for() {
        let (templates, problems) = read(SOUND);
        assert_eq!(problems, []);
        let template = templates.get("final-done").unwrap();
        let known = BTreeMap::from([("case_number", "2020-000007".to_owned())]);
        assert_eq!(template.fill("", &known), Err(vec!["measures"]));
        let written = "По сообщению № {case_number}: яма засыпана {сегодня}";
        assert_eq!(template.fill(written, &known).unwrap(), "По сообщению № 2020-000007: яма засыпана {сегодня}");
        assert!(template.check(&terms(AnswerKind::Final, Outcome::Done)).is_ok());
        assert!(template.check(&terms(AnswerKind::Final, Outcome::Explained)).unwrap_err().contains("DONE"));
        assert!(template.check(&terms(AnswerKind::Interim, Outcome::Unspecified)).unwrap_err().contains("FINAL"));
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let (_, problems) = read(&format!(
            "{SOUND}{}",
            SOUND.replace("final-done", "Final Done").replace("\"measures\"", "\"deeds\"").replace("DONE", "FINE")
        ));
        let lines: Vec<usize> = problems.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [11, 14, 15]);
        let (_, problems) = read(&format!("{SOUND}{SOUND}"));
        assert_eq!(problems, [(11, "another template has this id".into())]);
        let (_, problems) = read(&SOUND.replace("kind = \"final\"", "kind = \"interim\""));
        assert_eq!(problems.len(), 1);
        let (_, problems) = read(&SOUND.replace("title", "titel"));
        assert_eq!(problems.len(), 1);
    }
}
