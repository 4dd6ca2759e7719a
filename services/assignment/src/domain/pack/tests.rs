use otklik_proto::{
    assignment::v1::ExecutorKind,
    classification::v1::Urgency,
    intake::v1::{Regime, SourceKind},
};
use rstest::rstest;

use super::*;

fn files(change: &[(&str, &str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [PACK, TAXONOMY, PLACES, EXECUTORS, ROUTING, POLICIES, CALENDAR] {
        let mut text = text.to_owned();
        for (file, from, to) in change.iter().filter(|(file, ..)| *file == name) {
            assert!(text.contains(from), "{file} has no {from:?}");
            text = text.replacen(from, to, 1);
        }
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

#[test]
fn the_shipped_pack_is_sound() {
    let pack = Pack::load(None).unwrap();
    assert!(pack.executors.all().len() > 30);
    assert_eq!(pack.executors.duty().kind, ExecutorKind::DutyCoordinator);
    assert!(pack.versions.routing != pack.versions.policies);
    assert!(Pack::check(files(&[]).path()).unwrap().is_empty());
}

#[test]
fn every_problem_is_listed_with_file_and_line() {
    let dir = files(&[
        ("executors.toml", "kind = \"agency\"", "kind = \"shop\""),
        ("executors.toml", "duty = true", "duty = false"),
        ("routing.toml", "executor_by_place = true", "executor = \"nobody\""),
        ("policies.toml", "value = 9", "value = 0"),
        ("policies.toml", "unit = \"working-days\"", "unit = \"moons\""),
        ("calendar.toml", "09:00-13:00", "13:00-09:00"),
        ("calendar.toml", "\"2019-01-02\"", "\"2019-02-30\""),
        ("pack.toml", "\"Asia/Vladivostok\"", "\"Asia/Atlantis\""),
    ]);
    let problems = Pack::check(dir.path()).unwrap();
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for part in [
        "executors.toml",
        "`shop`",
        "on duty",
        "`nobody`",
        "policies.toml",
        "`moons`",
        "13:00-09:00",
        "2019-02-30",
        "Atlantis",
    ] {
        assert!(told.iter().any(|line| line.contains(part)), "{part} is missing in {told:#?}");
    }
    assert!(problems.iter().filter(|problem| problem.line > 0).count() >= 7, "{told:#?}");
    assert!(Pack::load(Some(dir.path())).unwrap_err().to_string().contains("problem(s)"));
}

#[test]
fn an_unknown_key_and_a_broken_file_are_problems() {
    let dir = files(&[
        ("routing.toml", "executor_by_place = true", "executor_by_plcae = true"),
        ("policies.toml", "\n[[policy]]\n", "\n[[policy]\n"),
    ]);
    let told: Vec<String> = Pack::check(dir.path()).unwrap().iter().map(ToString::to_string).collect();
    assert!(
        told.iter().any(|line| line.starts_with("routing.toml:") && line.contains("executor_by_plcae")),
        "{told:#?}"
    );
    assert!(told.iter().any(|line| line.starts_with("policies.toml:")), "{told:#?}");
}

fn route<'a>(pack: &'a Pack, topic: &str, urgency: Urgency, source_kind: SourceKind, places: &[&str]) -> Route<'a> {
    let place_ids: Vec<String> = places.iter().map(|place| (*place).to_owned()).collect();
    let topic_group = topic.split('.').next().unwrap_or_default();
    pack.routing.route(&Facts { topic, topic_group, urgency, source_kind, place_ids: &place_ids })
}

/// Rules in which each kind of specificity meets the next lower one.
const RULES: &str = r#"
[[rule]]
id = "anything-from-a-portal"
title = ""
executor = "ministry-health"
source_kind = ["PORTAL"]
[[rule]]
id = "group"
title = ""
executor = "ministry-housing"
topic_group = ["housing-utilities"]
[[rule]]
id = "group-urgent"
title = ""
executor = "ministry-energy"
topic_group = ["housing-utilities"]
urgency = ["emergency"]
[[rule]]
id = "place"
title = ""
executor = "ministry-transport"
place = ["vladivostok"]
[[rule]]
id = "group-by-place"
title = ""
executor_by_place = true
topic_group = ["housing-utilities"]
[[rule]]
id = "topic"
title = ""
executor = "ministry-education"
topic = ["housing-utilities.gas"]
[[rule]]
id = "topic-again"
title = ""
executor = "ministry-energy"
topic = ["housing-utilities.gas"]
[[rule]]
id = "first-of-all"
title = ""
executor = "duty-coordinator"
urgency = ["high"]
priority = 5
"#;

#[rstest]
#[case::only_source("roads.general", Urgency::Normal, SourceKind::Portal, &[], "anything-from-a-portal")]
#[case::group("housing-utilities.heating", Urgency::Normal, SourceKind::Portal, &[], "group")]
#[case::urgency_adds("housing-utilities.heating", Urgency::Emergency, SourceKind::Page, &[], "group-urgent")]
#[case::place_beats_group("roads.general", Urgency::Normal, SourceKind::Portal, &["vladivostok"], "place")]
#[case::sums("housing-utilities.heating", Urgency::Emergency, SourceKind::Page, &["vladivostok"], "group-by-place")]
#[case::topic_is_most("housing-utilities.gas", Urgency::Emergency, SourceKind::Page, &["vladivostok"], "topic")]
#[case::priority("housing-utilities.gas", Urgency::High, SourceKind::Page, &["vladivostok"], "first-of-all")]
fn the_most_specific_rule_wins(
    #[case] topic: &str,
    #[case] urgency: Urgency,
    #[case] source_kind: SourceKind,
    #[case] places: &[&str],
    #[case] rule: &str,
) {
    let dir = files(&[]);
    std::fs::write(dir.path().join("routing.toml"), RULES).unwrap();
    let pack = Pack::load(Some(dir.path())).unwrap();
    let route = route(&pack, topic, urgency, source_kind, places);
    assert_eq!((route.rule_id, route.fallback), (rule, false));
    if rule == "group-by-place" {
        assert_eq!(pack.executors.get(route.executor_id).unwrap().place_id, "vladivostok");
    }
}

#[test]
fn what_nothing_matches_or_nobody_knows_goes_to_the_duty_coordinator() {
    let dir = files(&[]);
    std::fs::write(dir.path().join("routing.toml"), RULES).unwrap();
    let pack = Pack::load(Some(dir.path())).unwrap();
    let fallback = Route { executor_id: "duty-coordinator", rule_id: "", fallback: true };
    let normal = |topic, source_kind, places| route(&pack, topic, Urgency::Normal, source_kind, places);
    assert_eq!(normal("roads.general", SourceKind::Page, &[]), fallback);
    assert_eq!(normal("", SourceKind::Page, &[]), fallback);
    assert_eq!(normal("roads.of-gold", SourceKind::Portal, &[]), fallback, "an unknown topic");
    assert_eq!(normal("housing-utilities.gas", SourceKind::Page, &["atlantis"]), fallback, "an unknown place");
    assert_eq!(normal("", SourceKind::Portal, &[]).rule_id, "anything-from-a-portal");
}

#[test]
fn a_place_inside_a_municipality_finds_its_administration() {
    let pack = Pack::load(None).unwrap();
    let places = &pack.routing;
    let inside =
        route(&pack, "housing-utilities.management-company", Urgency::Normal, SourceKind::Page, &["vladivostok"]);
    assert!(!inside.fallback, "{inside:?} {places:?}");
}

#[test]
fn the_most_specific_policy_wins() {
    let pack = Pack::load(None).unwrap();
    let id = |regime, group, urgency| pack.policies.select(regime, group, urgency).unwrap().id.as_str();
    assert_eq!(id(Regime::OpenSourceMessage, "roads", Urgency::Normal), "social");
    assert_eq!(id(Regime::Unspecified, "", Urgency::Normal), "social");
    assert_eq!(id(Regime::OpenSourceMessage, "roads", Urgency::Emergency), "social-emergency");
    assert_eq!(id(Regime::PortalMessage, "roads", Urgency::Normal), "portal-fast-topics");
    assert_eq!(id(Regime::PortalMessage, "roads", Urgency::High), "portal-fast-topics-urgent");
    assert_eq!(id(Regime::PortalMessage, "no-such-group", Urgency::High), "portal-high");
    assert_eq!(id(Regime::StatutoryAppeal, "roads", Urgency::High), "statutory");
}
