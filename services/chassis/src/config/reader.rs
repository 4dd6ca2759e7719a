//! Looks a key up in all sources, and knows afterwards which keys nobody asked for.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use toml::{Table, Value};

use super::{InvalidConfig, SERVICES};

/// Variables that begin with `OTKLIK_` and are no configuration keys.
const OTHER_VARIABLES: [&str; 1] = ["CONFIG"];

/// Where configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The TOML file, if there is one.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
}

impl Sources {
    /// The environment of the process, and the file of the command line or of `OTKLIK_CONFIG`.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("OTKLIK_"))
            .collect();
        let file = file.or_else(|| environment.get("OTKLIK_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from));
        Self { file, environment }
    }
}

/// The sources, with what has been read taken out.
pub(super) struct Reader {
    service: &'static str,
    /// `OTKLIK_<SERVICE>_…`, by the rest of the name.
    own_variables: BTreeMap<String, String>,
    /// `OTKLIK_…`, by the rest of the name.
    shared_variables: BTreeMap<String, String>,
    own_section: Table,
    shared_section: Table,
    problems: Vec<String>,
}

impl Reader {
    /// # Errors
    /// The file can't be read or is no TOML: then nothing else can be said about it.
    pub(super) fn open(service: &'static str, sources: &Sources) -> Result<Self, InvalidConfig> {
        let mut problems = Vec::new();
        let mut shared_section = match &sources.file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| format!("{}: {error}", path.display()))
                .and_then(|text| text.parse::<Table>().map_err(|error| describe(path, &text, &error)))
                .map_err(|problem| InvalidConfig { problems: vec![problem] })?,
            None => Table::new(),
        };
        let mut own_section = Table::new();
        for (name, _) in SERVICES.iter().chain([&(service, 0)]) {
            match shared_section.remove(*name) {
                Some(Value::Table(section)) if *name == service => own_section = section,
                Some(Value::Table(_)) | None => {}
                Some(_) => problems.push(format!("{name}: must be a section")),
            }
        }
        let (mut own_variables, mut shared_variables) = (BTreeMap::new(), BTreeMap::new());
        let own_prefix = format!("{}_", service.to_ascii_uppercase());
        for (name, value) in &sources.environment {
            let Some(name) = name.strip_prefix("OTKLIK_") else { continue };
            if OTHER_VARIABLES.contains(&name) || name.starts_with("TEST_") || is_service_link(name) {
                continue;
            }
            if let Some(own) = name.strip_prefix(&own_prefix) {
                own_variables.insert(own.to_owned(), value.clone());
            } else if !is_of_another_service(name) {
                shared_variables.insert(name.to_owned(), value.clone());
            }
        }
        Ok(Self { service, own_variables, shared_variables, own_section, shared_section, problems })
    }

    /// Sets `target` to the value of the key, if any source has it.
    pub(super) fn set<T: DeserializeOwned>(&mut self, key: &str, target: &mut T) {
        let variable = key.replace('.', "_").to_ascii_uppercase();
        // Every source is asked, so that a value that another one overrides is not taken for an unknown key.
        let file = [take(&mut self.own_section, key), take(&mut self.shared_section, key)];
        let variables = [
            (format!("OTKLIK_{}_{variable}", self.service.to_ascii_uppercase()), self.own_variables.remove(&variable)),
            (format!("OTKLIK_{variable}"), self.shared_variables.remove(&variable)),
        ];
        for (name, value) in variables {
            // An empty variable is an unset one: that is how a deployment takes a value back.
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                match from_text(&value) {
                    Ok(value) => *target = value,
                    Err(problem) => self.problems.push(format!("{name}: {problem}")),
                }
                return;
            }
        }
        if let Some(value) = file.into_iter().flatten().next() {
            match value.try_into() {
                Ok(value) => *target = value,
                Err(error) => self.problems.push(format!("{key}: {}", one_line(&error))),
            }
        }
    }

    /// [`Reader::set`] for a key that has no default.
    pub(super) fn set_some<T: DeserializeOwned>(&mut self, key: &str, target: &mut Option<T>) {
        let mut value = None::<Wrapped<T>>;
        self.set(key, &mut value);
        if let Some(Wrapped(value)) = value {
            *target = Some(value);
        }
    }

    /// [`Reader::set`] for a duration such as `30s`.
    pub(super) fn set_duration(&mut self, key: &str, target: &mut Duration) {
        let mut text = String::new();
        self.set(key, &mut text);
        if text.is_empty() {
            return;
        }
        match text.parse::<jiff::SignedDuration>().map(Duration::try_from) {
            Ok(Ok(duration)) => *target = duration,
            _ => self.problems.push(format!("{key}: {text:?} is not a duration such as \"30s\" or \"1h 30m\"")),
        }
    }

    /// What is left of the service's own section and variables, as the service's settings.
    pub(super) fn settings<S: DeserializeOwned + Serialize + Default>(&mut self) -> S {
        let mut given = std::mem::take(&mut self.own_section);
        for (name, value) in std::mem::take(&mut self.own_variables) {
            if !value.is_empty() {
                put(&mut given, &name.to_ascii_lowercase(), value);
            }
        }
        let defaults = match Table::try_from(S::default()) {
            Ok(defaults) => defaults,
            Err(error) => {
                self.problems.push(format!(
                    "{}: the settings can't be written as TOML: {}",
                    self.service,
                    one_line(&error)
                ));
                return S::default();
            }
        };
        // Each key is tried by itself, so that every wrong one is found.
        let mut sound = defaults.clone();
        for (key, value) in given {
            let mut alone = defaults.clone();
            let candidates = match &value {
                Value::String(text) => vec![value.clone(), literal(text).unwrap_or_else(|| value.clone())],
                _ => vec![value.clone()],
            };
            let mut failure = None;
            for candidate in candidates {
                alone.insert(key.clone(), candidate.clone());
                match S::deserialize(Value::Table(alone.clone())) {
                    Ok(settings) => {
                        failure = unknown_key(&key, &candidate, &settings);
                        if failure.is_none() {
                            sound.insert(key.clone(), candidate);
                        }
                        break;
                    }
                    Err(error) => failure = failure.or_else(|| Some(one_line(&error))),
                }
            }
            if let Some(problem) = failure {
                self.problems.push(format!("{}.{key}: {problem}", self.service));
            }
        }
        S::deserialize(Value::Table(sound)).unwrap_or_else(|error| {
            self.problems.push(format!("{}: {}", self.service, one_line(&error)));
            S::default()
        })
    }

    /// Everything that was wrong, and every key that nobody asked for.
    pub(super) fn finish(mut self) -> Vec<String> {
        for key in leaves(&self.shared_section) {
            self.problems.push(format!("{key}: unknown key"));
        }
        for name in self.shared_variables.keys() {
            self.problems.push(format!("OTKLIK_{name}: unknown key"));
        }
        self.problems
    }
}

/// An `Option` that never deserialises to `None`.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Wrapped<T>(T);

/// Kubernetes puts variables like `OTKLIK_INTAKE_SERVICE_HOST` and `OTKLIK_INTAKE_PORT_7411_TCP` into every
/// container beside a service called `otklik-intake`.
fn is_service_link(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.contains("_PORT_")
}

fn is_of_another_service(name: &str) -> bool {
    SERVICES
        .iter()
        .any(|(service, _)| name.strip_prefix(&service.to_ascii_uppercase()).is_some_and(|rest| rest.starts_with('_')))
}

/// Takes `a.b` out of the table.
fn take(table: &mut Table, key: &str) -> Option<Value> {
    match key.split_once('.') {
        None => table.remove(key),
        Some((head, rest)) => {
            let Some(Value::Table(inner)) = table.get_mut(head) else { return None };
            let value = take(inner, rest);
            if inner.is_empty() {
                table.remove(head);
            }
            value
        }
    }
}

/// Puts a variable's text under its name; `A__B` is the key `b` of the table `a`.
fn put(table: &mut Table, name: &str, text: String) {
    match name.split_once("__") {
        None => {
            table.insert(name.to_owned(), Value::String(text));
        }
        Some((head, rest)) => {
            let inner = table.entry(head).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                let value = literal(&text).unwrap_or(Value::String(text));
                inner.insert(rest.to_owned(), value);
            }
        }
    }
}

/// The value of a variable: a text if a text is wanted, else what TOML makes of it (a number, `true`, a list).
fn from_text<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    T::deserialize(Value::String(text.to_owned())).or_else(|as_text| match literal(text) {
        Some(value) => T::deserialize(value).map_err(|error| one_line(&error)),
        None => Err(one_line(&as_text)),
    })
}

fn literal(text: &str) -> Option<Value> {
    format!("value = {text}").parse::<Table>().ok()?.remove("value")
}

/// A key of `given` that the settings did not take, which shows in that they don't write it.
fn unknown_key<S: Serialize>(key: &str, given: &Value, settings: &S) -> Option<String> {
    let written = Table::try_from(settings).ok()?;
    match written.get(key) {
        None => Some("unknown key".into()),
        Some(written) => missing(given, written).map(|path| format!("{path}: unknown key")),
    }
}

fn missing(given: &Value, written: &Value) -> Option<String> {
    match (given, written) {
        (Value::Table(given), Value::Table(written)) => given.iter().find_map(|(key, value)| match written.get(key) {
            None => Some(key.clone()),
            Some(written) => missing(value, written).map(|path| format!("{key}.{path}")),
        }),
        (Value::Array(given), Value::Array(written)) => {
            given.iter().zip(written).find_map(|(given, written)| missing(given, written))
        }
        _ => None,
    }
}

fn leaves(table: &Table) -> Vec<String> {
    let mut keys = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) if !inner.is_empty() => {
                keys.extend(leaves(inner).into_iter().map(|rest| format!("{key}.{rest}")));
            }
            _ => keys.push(key.clone()),
        }
    }
    keys
}

fn describe(path: &std::path::Path, text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    format!("{}:{line}: {}", path.display(), error.message())
}

fn one_line(error: &dyn std::fmt::Display) -> String {
    error.to_string().split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ")
}
