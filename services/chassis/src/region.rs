//! Region packs: what differs from region to region, in files a person can read and review.
//!
//! A service loads the files that are its own, validates them as a whole with errors that name file and
//! line, and records the content hash with every decision made under them.

use std::{fmt, ops::Range, path::Path};

use ring::digest::{Context, SHA256};
use serde::de::DeserializeOwned;

/// The texts of some files of a pack.
#[derive(Debug, Clone)]
pub struct Files {
    files: Vec<(&'static str, String)>,
    version: String,
}

/// Something wrong with a pack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, e.g. `routing.toml`.
    pub file: String,
    /// The line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// All that is wrong with a pack, collected before anything is refused.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    found: Vec<Problem>,
}

impl Problems {
    /// Nothing wrong yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a problem at byte range `span` of `text`, the content of `file`.
    pub fn at(&mut self, file: &str, text: &str, span: Range<usize>, message: impl Into<String>) {
        self.found.push(Problem { file: file.to_owned(), line: line_of(text, span.start), message: message.into() });
    }

    /// Notes a problem of a whole file.
    pub fn of_file(&mut self, file: &str, message: impl Into<String>) {
        self.found.push(Problem { file: file.to_owned(), line: 0, message: message.into() });
    }

    /// What was found, by file and line.
    pub fn into_sorted(mut self) -> Vec<Problem> {
        self.found.sort();
        self.found
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Ends the collection.
    ///
    /// # Errors
    /// Everything that was found, as [`UnsoundPack`].
    pub fn finish(self) -> Result<(), UnsoundPack> {
        if self.is_empty() { Ok(()) } else { Err(UnsoundPack { problems: self.into_sorted() }) }
    }
}

/// A pack that can't be used, with everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the region pack has {} problem(s):\n{}", .problems.len(), listed(.problems))]
pub struct UnsoundPack {
    /// The problems, by file and line.
    pub problems: Vec<Problem>,
}

fn listed(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    1 + before.iter().filter(|b| **b == b'\n').count()
}

impl Files {
    /// Reads the named files from `dir`; without one, takes the shipped texts given beside the names.
    ///
    /// # Errors
    /// When a file is missing or is not UTF-8; the error names all such files.
    pub fn open(dir: Option<&Path>, shipped: &[(&'static str, &str)]) -> anyhow::Result<Self> {
        let mut problems = Problems::new();
        let mut files = Vec::with_capacity(shipped.len());
        for (name, text) in shipped {
            match dir.map(|dir| std::fs::read_to_string(dir.join(name))) {
                None => files.push((*name, (*text).to_owned())),
                Some(Ok(text)) => files.push((*name, text)),
                Some(Err(error)) => problems.of_file(name, format!("can't be read: {error}")),
            }
        }
        problems.finish()?;
        let mut context = Context::new(&SHA256);
        for (name, text) in &files {
            for part in [name.as_bytes(), text.as_bytes()] {
                context.update(&(part.len() as u64).to_be_bytes());
                context.update(part);
            }
        }
        let hash = context.finish();
        let version = hash.as_ref().iter().take(8).map(|b| format!("{b:02x}")).collect();
        Ok(Self { files, version })
    }

    /// The text of a file that was opened; empty for any other.
    pub fn text(&self, name: &str) -> &str {
        self.files.iter().find(|(n, _)| *n == name).map_or("", |(_, text)| text)
    }

    /// The content hash of all the files: 16 hexadecimal digits of their SHA-256.
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// Parses the TOML text of `file`; what can't be parsed is noted in `problems`.
pub fn parse<T: DeserializeOwned>(file: &str, text: &str, problems: &mut Problems) -> Option<T> {
    match toml::from_str(text) {
        Ok(value) => Some(value),
        Err(error) => {
            problems.at(file, text, error.span().unwrap_or(0..0), error.message());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only parsing is tested")]
        name: String,
    }

    #[test]
    fn a_problem_names_file_and_line() {
        let mut problems = Problems::new();
        assert!(parse::<Sample>("pack.toml", "name = \"x\"\nnmae = 1\n", &mut problems).is_none());
        let found = problems.into_sorted();
        assert_eq!((found[0].file.as_str(), found[0].line), ("pack.toml", 2));
    }
}
