//! The decisions of feedback: pure functions of what is handed in.

pub mod answer;
pub mod case;
pub mod commitment;
pub mod delivery;
pub mod rating;
pub mod template;

/// The codes of an enumeration without its prefix, as refusals spell them: `ACCEPTED`, `IN_PROGRESS`.
fn listed<'a>(names: impl IntoIterator<Item = &'a str>, prefix: &str) -> String {
    let names: Vec<&str> = names.into_iter().map(|name| name.trim_start_matches(prefix)).collect();
    match names.as_slice() {
        [] => "nothing".to_owned(),
        [only] => (*only).to_owned(),
        [others @ .., last] => format!("{} or {last}", others.join(", ")),
    }
}
