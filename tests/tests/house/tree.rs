//! The files of the house.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folders that hold nothing of ours.
const FOREIGN: [&str; 6] = ["target", ".git", ".venv", "__pycache__", "data", "node_modules"];
/// Files that are written by tools or by others.
const NOT_OURS: [&str; 2] = ["Cargo.lock", "LICENSE"];

/// A text file of the house.
pub struct File {
    /// Its path from the root, with slashes.
    pub path: String,
    /// What it says.
    pub text: String,
}

/// The root of the house.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the house").to_owned()
}

/// All text files.
pub fn files() -> Vec<File> {
    let mut files = Vec::new();
    collect(&root(), "", &mut files);
    assert!(files.len() > 100, "only {} files were found", files.len());
    files
}

/// All Rust files.
pub fn rust_files() -> Vec<File> {
    files().into_iter().filter(|file| file.has_extension("rs")).collect()
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<File>) {
    let entries = fs::read_dir(folder).expect("a folder of the house can be read");
    for entry in entries.map(|entry| entry.expect("an entry of a folder can be read")) {
        let name = entry.file_name().into_string().expect("names of files are UTF-8");
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().expect("the kind of a file can be read");
        if kind.is_dir() && !FOREIGN.contains(&name.as_str()) {
            collect(&entry.path(), &format!("{path}/"), files);
        } else if kind.is_file() && !NOT_OURS.contains(&name.as_str()) {
            // What is no UTF-8 is no text: an image, a descriptor set.
            if let Ok(text) = fs::read_to_string(entry.path()) {
                files.push(File { path, text });
            }
        }
    }
}

impl File {
    /// Whether the name ends so.
    pub fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|own| own == extension)
    }

    /// Whether the file holds tests or what only tests use, and nothing that is shipped.
    pub fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
            || self.path.ends_with("/testing.rs")
    }

    /// The lines of Rust that are shipped, with their numbers: no comments, no tests at the end of the file.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut lines = self.text.lines().enumerate().peekable();
        std::iter::from_fn(move || {
            let (index, line) = lines.next()?;
            let begins_tests =
                line.trim() == "#[cfg(test)]" && lines.peek().is_some_and(|(_, next)| next.trim_end().ends_with('{'));
            (!begins_tests).then_some((index + 1, line))
        })
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(number, line)| (number, line.split(" // ").next().unwrap_or(line)))
    }
}

/// Whether `line` has `word` standing for itself, not as a part of another name.
pub fn has_word(line: &str, word: &str) -> bool {
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(is_name)
            && !line[at + word.len()..].chars().next().is_some_and(is_name)
    })
}
