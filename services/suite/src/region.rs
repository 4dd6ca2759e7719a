//! `otklik region check`: a pack validated offline by all services that read it.

use std::path::Path;

use otklik_assignment::domain::pack::Pack;
use otklik_chassis::region::{Problem, UnsoundPack};

/// Everything wrong with the pack in `dir`, by file and line.
pub fn check(dir: &Path) -> Vec<Problem> {
    let dir = Some(dir);
    let mut problems = [
        problems(otklik_intake::load_pack(dir)),
        problems(otklik_classification::pack::open(dir)),
        problems(Pack::load(dir)),
        problems(otklik_feedback::load_pack(dir)),
    ]
    .concat();
    problems.sort();
    problems.dedup();
    problems
}

fn problems<T>(loaded: anyhow::Result<T>) -> Vec<Problem> {
    let Err(error) = loaded else { return Vec::new() };
    match error.downcast::<UnsoundPack>() {
        Ok(unsound) => unsound.problems,
        Err(other) => vec![Problem { file: "the pack".to_owned(), line: 0, message: format!("{other:#}") }],
    }
}
