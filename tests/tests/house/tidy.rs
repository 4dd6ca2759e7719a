//! Rules that hold for all files. What the contracts promise is tested beside them, in `proto/tests`.

use std::{collections::BTreeSet, fs};

use toml::Table;

use crate::tree::{File, files, has_word, root, rust_files};

/// Files may be longer only for a reason.
const LONGEST_FILE: usize = 500;
/// Path and reason of each file that may.
const LONGER_FILES: [(&str, &str); 0] = [];

/// The services; each may know the contracts and the chassis, and no other service.
const SERVICES: [&str; 5] = ["intake", "classification", "assignment", "feedback", "audit"];

/// Fails with all complaints at once.
fn assert_none(rule: &str, complaints: Vec<String>) {
    assert!(complaints.is_empty(), "{rule}:\n  {}", complaints.join("\n  "));
}

/// Every place in shipped code of the files chosen that has one of the words.
fn mentions(chosen: impl Fn(&File) -> bool, words: &[&str]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in rust_files().iter().filter(|file| chosen(file)) {
        for (number, line) in file.code() {
            for word in words.iter().filter(|word| has_word(line, word)) {
                complaints.push(format!("{}:{number}: {word}", file.path));
            }
        }
    }
    complaints
}

/// Whether the file belongs to this layer of a service: `src/<layer>.rs` or what lies in `src/<layer>/`.
fn is_layer(file: &File, layer: &str) -> bool {
    let Some((crate_path, inner)) = file.path.split_once("/src/") else { return false };
    crate_path.starts_with("services/") && (inner.starts_with(&format!("{layer}/")) || inner == format!("{layer}.rs"))
}

fn manifest(path: &str) -> Table {
    let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn members() -> Vec<String> {
    let manifest = manifest("Cargo.toml");
    let members = manifest["workspace"]["members"].as_array().expect("members is a list");
    members.iter().map(|member| member.as_str().expect("a member is a path").to_owned()).collect()
}

/// The crates of the house that a crate names, for whatever purpose.
fn own_dependencies(manifest: &Table) -> BTreeSet<String> {
    ["dependencies", "dev-dependencies", "build-dependencies"]
        .iter()
        .filter_map(|kind| manifest.get(*kind)?.as_table())
        .flat_map(|dependencies| dependencies.keys())
        .filter(|name| name.starts_with("otklik-"))
        .cloned()
        .collect()
}

#[test]
fn services_meet_only_in_the_contracts() {
    let mut complaints = Vec::new();
    let mut check = |path: &str, allowed: &[&str]| {
        for dependency in own_dependencies(&manifest(&format!("{path}/Cargo.toml"))) {
            if !allowed.contains(&dependency.as_str()) {
                complaints.push(format!("{path} depends on {dependency}"));
            }
        }
    };
    check("proto", &[]);
    check("services/chassis", &["otklik-proto"]);
    for service in SERVICES {
        check(&format!("services/{service}"), &["otklik-proto", "otklik-chassis"]);
    }
    assert_none("a service knows the contracts and the chassis, and no other service", complaints);
}

#[test]
fn every_crate_keeps_the_rules_of_the_workspace() {
    let mut complaints = Vec::new();
    for member in members() {
        let manifest = manifest(&format!("{member}/Cargo.toml"));
        let package = manifest["package"].as_table().expect("package is a table");
        let inherits = |value: Option<&toml::Value>| {
            value.and_then(|value| value.get("workspace")).and_then(toml::Value::as_bool) == Some(true)
        };
        if !inherits(manifest.get("lints")) {
            complaints.push(format!("{member} has lints of its own"));
        }
        for key in ["version", "edition", "rust-version", "license", "publish"] {
            if !inherits(package.get(key)) {
                complaints.push(format!("{member} has a {key} of its own"));
            }
        }
        if package.get("description").and_then(toml::Value::as_str).unwrap_or_default().is_empty() {
            complaints.push(format!("{member} has no description"));
        }
        // A version or feature set elsewhere compiles a dependency a second time.
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, value) in manifest.get(kind).and_then(toml::Value::as_table).into_iter().flatten() {
                if !inherits(Some(value)) || value.get("features").is_some() {
                    complaints.push(format!("{member} has its own version or features of {name}"));
                }
            }
        }
    }
    assert_none("crates take versions, features and lints from the workspace", complaints);
}

#[test]
fn the_domain_is_pure() {
    let foreign = ["tonic", "sea_orm", "sea_orm_migration", "sqlx", "tokio", "tracing", "opentelemetry"];
    let clocks = ["SystemTime", "Instant", "Timestamp::now", "Zoned::now"];
    let above = ["crate::grpc", "crate::store"];
    let words: Vec<_> = foreign.into_iter().chain(clocks).chain(above).collect();
    assert!(
        rust_files().iter().filter(|file| is_layer(file, "domain")).count() > 10,
        "the domain's files were not found"
    );
    assert_none(
        "domain/ names no transport, storage, telemetry, clock or layer above it",
        mentions(|file| is_layer(file, "domain"), &words),
    );
}

#[test]
fn layers_call_downwards() {
    let mut complaints = mentions(|file| is_layer(file, "store"), &["tonic", "crate::grpc"]);
    complaints.extend(mentions(|file| is_layer(file, "grpc"), &["sea_orm", "sqlx"]));
    assert_none("store/ knows nothing of calls, grpc/ nothing of tables", complaints);
}

#[test]
fn time_comes_from_the_clock_that_is_handed_in() {
    let words =
        ["SystemTime::now", "Timestamp::now", "Zoned::now", "OffsetDateTime::now_utc", "Utc::now", "Uuid::now_v7"];
    let chosen = |file: &File| !file.is_test() && file.path != "services/chassis/src/clock.rs";
    assert_none("only services/chassis/src/clock.rs asks the system for the time", mentions(chosen, &words));
}

#[test]
fn every_task_belongs_to_a_service() {
    let chosen = |file: &File| !file.is_test() && !file.path.starts_with("services/chassis/");
    assert_none(
        "tasks are spawned by the chassis' Tasks, which waits for them and sees them fail",
        mentions(chosen, &["tokio::spawn", "task::spawn"]),
    );
}

#[test]
fn files_are_short() {
    let mut complaints = Vec::new();
    for file in files() {
        let is_code = ["rs", "proto", "py", "sh"].iter().any(|extension| file.has_extension(extension));
        let lines = file.text.lines().count();
        let exempt = LONGER_FILES.iter().any(|(path, reason)| *path == file.path && !reason.is_empty());
        if is_code && lines > LONGEST_FILE && !exempt {
            complaints.push(format!("{} has {lines} lines", file.path));
        }
    }
    assert_none("a file tells one story within 500 lines", complaints);
}

#[test]
fn nothing_is_left_for_later_or_bound_to_one_machine() {
    // In two pieces each, so that they are not found here.
    let paths = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];
    let hosts = [
        concat!("crates", ".io"),
        concat!("pypi", ".org"),
        concat!("python", "hosted.org"),
        concat!("npm", "js"),
        concat!("proxy.go", "lang"),
    ];
    let postponed = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
    let conflicts = [concat!("<<<", "<<<<"), concat!(">>>", ">>>>")];
    let mut complaints = Vec::new();
    for file in files() {
        for (index, line) in file.text.lines().enumerate() {
            let found = paths.iter().chain(&hosts).chain(&conflicts).filter(|what| line.contains(**what));
            for what in found.chain(postponed.iter().filter(|what| has_word(line, what))) {
                complaints.push(format!("{}:{}: {what}", file.path, index + 1));
            }
        }
    }
    assert_none("no machine's paths, no registry's hosts, no work put off in a comment", complaints);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut complaints = Vec::new();
    for file in files().iter().filter(|file| file.has_extension("md")) {
        let folder = root().join(&file.path).parent().expect("a file lies in a folder").to_owned();
        for (index, line) in file.text.lines().enumerate() {
            let targets = line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
            let local = targets.map(|target| target.split('#').next().unwrap_or(target));
            for target in local.filter(|target| !target.is_empty() && !target.contains(':')) {
                if !folder.join(target).exists() {
                    complaints.push(format!("{}:{}: {target}", file.path, index + 1));
                }
            }
        }
    }
    assert_none("a link leads to a file that is there", complaints);
}

#[test]
fn the_scanner_tells_code_from_comments_and_tests() {
    let text = "use a; // tokio\n// tokio\n#[cfg(test)]\nmod tests;\nuse b::tokio_util;\n#[cfg(test)]\nmod tests {\n tokio\n}\n";
    let file = File { path: "services/x/src/domain/y.rs".into(), text: text.into() };
    let code: Vec<_> = file.code().collect();
    assert_eq!(code, [(1, "use a;"), (3, "#[cfg(test)]"), (4, "mod tests;"), (5, "use b::tokio_util;")]);
    assert!(is_layer(&file, "domain") && !is_layer(&file, "store"));
    assert!(has_word("tokio::spawn(x)", "tokio::spawn") && !has_word("use b::tokio_util;", "tokio"));
}
