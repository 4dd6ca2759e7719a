//! The rules the contracts keep, read from the descriptors that the services themselves serve.

use std::collections::BTreeSet;

use otklik_proto::{
    EVENT_TYPES, Effect, EventType, PERMISSIONS, descriptor_pool, method_permission, options::v1::Role,
};
use prost_reflect::{Kind, MessageDescriptor, MethodDescriptor};
use serde::Deserialize;

/// `aip-exceptions.toml`.
#[derive(Deserialize)]
struct Exceptions {
    rule: Vec<RuleException>,
    no_request_id: Vec<MethodException>,
    no_position: Vec<MethodException>,
}

/// A rule of AIP that the suite as a whole doesn't follow.
#[derive(Deserialize)]
struct RuleException {
    aip: u32,
    rule: String,
    reason: String,
}

/// A method that doesn't follow a rule of the suite.
#[derive(Deserialize)]
struct MethodException {
    method: String,
    reason: String,
}

fn exceptions() -> Exceptions {
    toml::from_str(include_str!("../aip-exceptions.toml")).expect("aip-exceptions.toml is valid")
}

fn methods() -> Vec<MethodDescriptor> {
    let services = descriptor_pool().services().filter(|service| service.full_name().starts_with("otklik."));
    services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

fn messages() -> Vec<MessageDescriptor> {
    let all = descriptor_pool().all_messages();
    all.filter(|message| message.full_name().starts_with("otklik.") && !message.is_map_entry()).collect()
}

fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

fn has(message: &MessageDescriptor, field: &str) -> bool {
    message.get_field_by_name(field).is_some()
}

fn names(exceptions: &[MethodException]) -> BTreeSet<&str> {
    exceptions.iter().map(|exception| exception.method.as_str()).collect()
}

#[test]
fn every_method_requires_a_permission_that_somebody_holds() {
    for method in methods() {
        let entry =
            method_permission(&path(&method)).unwrap_or_else(|| panic!("{} has no permission", method.full_name()));
        let words: Vec<_> = entry.permission.split('.').collect();
        assert_eq!(words.len(), 3, "{}: `service.resource.verb`", entry.permission);
        assert_eq!(method.parent_file().package_name(), format!("otklik.{}.v1", words[0]), "{}", entry.path);
        assert!(!entry.roles.is_empty() && !entry.roles.contains(&Role::Unspecified), "{}", entry.path);
    }
    assert_eq!(PERMISSIONS.len(), methods().len());
}

#[test]
fn a_permission_means_the_same_roles_wherever_it_is_required() {
    for one in PERMISSIONS {
        for other in PERMISSIONS.iter().filter(|other| other.permission == one.permission) {
            assert_eq!(one.roles, other.roles, "{} and {}", one.path, other.path);
        }
    }
}

#[test]
fn observers_and_auditors_change_nothing() {
    for entry in PERMISSIONS.iter().filter(|entry| entry.effect != Effect::Read) {
        assert!(!entry.roles.contains(&Role::Observer), "{}", entry.path);
        assert!(!entry.roles.contains(&Role::Auditor), "{}", entry.path);
    }
}

#[test]
fn an_unknown_method_has_no_permission() {
    assert_eq!(method_permission("/otklik.intake.v1.IntakeService/Nothing"), None);
    assert_eq!(method_permission(""), None);
}

#[test]
fn requests_and_responses_belong_to_their_method() {
    for method in methods() {
        assert_eq!(method.input().name(), format!("{}Request", method.name()), "{}", method.full_name());
        assert_eq!(method.output().name(), format!("{}Response", method.name()), "{}", method.full_name());
    }
}

#[test]
fn lists_come_in_pages_with_a_typed_filter() {
    for method in methods().iter().filter(|method| method.name().starts_with("List")) {
        let (request, response) = (method.input(), method.output());
        assert!(has(&request, "page_size") && has(&request, "page_token"), "{}", method.full_name());
        assert!(has(&response, "next_page_token"), "{}", method.full_name());
        let filter =
            request.get_field_by_name("filter").unwrap_or_else(|| panic!("{} has no filter", method.full_name()));
        assert!(matches!(filter.kind(), Kind::Message(_)), "{}", method.full_name());
    }
}

#[test]
fn what_changes_something_takes_a_request_id_or_is_listed() {
    let exceptions = exceptions();
    let broken: BTreeSet<_> = methods()
        .iter()
        .filter(|method| method_permission(&path(method)).is_some_and(|entry| entry.effect != Effect::Read))
        .filter(|method| !has(&method.input(), "request_id"))
        .map(|method| method.full_name().to_owned())
        .collect();
    assert_eq!(broken.iter().map(String::as_str).collect::<BTreeSet<_>>(), names(&exceptions.no_request_id));

    // The option in the contract says the same as the file.
    for method in methods() {
        let effect = method_permission(&path(&method)).expect("checked above").effect;
        assert_eq!(effect == Effect::ChangeByOwnKey, broken.contains(method.full_name()), "{}", method.full_name());
    }
}

#[test]
fn what_changes_something_returns_its_position_or_is_listed() {
    let exceptions = exceptions();
    let broken: BTreeSet<_> = methods()
        .iter()
        .filter(|method| method_permission(&path(method)).is_some_and(|entry| entry.effect != Effect::Read))
        .filter(|method| !has(&method.output(), "position"))
        .map(|method| method.full_name().to_owned())
        .collect();
    assert_eq!(broken.iter().map(String::as_str).collect::<BTreeSet<_>>(), names(&exceptions.no_position));
}

#[test]
fn every_exception_has_a_reason() {
    let exceptions = exceptions();
    for rule in &exceptions.rule {
        assert!(rule.aip > 0 && !rule.rule.is_empty() && !rule.reason.is_empty(), "AIP-{}", rule.aip);
    }
    for exception in exceptions.no_request_id.iter().chain(&exceptions.no_position) {
        assert!(!exception.reason.is_empty(), "{}", exception.method);
    }
}

/// Text and names must not reach a ledger: no field of an event, however deep, may be one that is redacted elsewhere.
#[test]
fn events_hold_nothing_that_must_be_redacted() {
    fn check(message: &MessageDescriptor, seen: &mut BTreeSet<String>) {
        if !seen.insert(message.full_name().to_owned()) {
            return;
        }
        for field in message.fields() {
            let redacted = field.options().get_field_by_name("debug_redact").and_then(|value| value.as_bool());
            assert_ne!(redacted, Some(true), "{} would enter a ledger", field.full_name());
            assert!(!["text", "comment", "display_name", "url"].contains(&field.name()), "{}", field.full_name());
            if let Kind::Message(inner) = field.kind() {
                check(&inner, seen);
            }
        }
    }
    let mut seen = BTreeSet::new();
    for name in EVENT_TYPES {
        check(&descriptor_pool().get_message_by_name(name).expect("an event is a message"), &mut seen);
    }
    check(&descriptor_pool().get_message_by_name("otklik.ledger.v1.EntryHeader").expect("the header"), &mut seen);
}

#[test]
fn fields_that_can_hold_personal_data_are_redacted() {
    for message in messages() {
        for field in message.fields().filter(|field| ["text", "comment", "display_name", "url"].contains(&field.name()))
        {
            let redacted = field.options().get_field_by_name("debug_redact").and_then(|value| value.as_bool());
            assert_eq!(redacted, Some(true), "{} lacks debug_redact", field.full_name());
        }
    }
}

#[test]
fn times_are_named_as_times() {
    for message in messages().iter().filter(|message| !message.full_name().starts_with("otklik.options.")) {
        for field in message.fields() {
            let is_time =
                matches!(field.kind(), Kind::Message(kind) if kind.full_name() == "google.protobuf.Timestamp");
            assert_eq!(is_time, field.name().ends_with("_time"), "{}", field.full_name());
        }
    }
}

#[test]
fn debug_keeps_personal_data_to_itself() {
    use otklik_proto::intake::v1::{Author, ChannelKind, SubmitMessageRequest, SubmitMessagesRequest};

    let message = SubmitMessageRequest {
        source_id: "vk-primorye-gov".into(),
        text: "Прорвало трубу на Светланской, 1".into(),
        author: Some(Author { external_id: "id17".into(), display_name: "Мария".into() }),
        channel_kind: ChannelKind::Comment.into(),
        ..Default::default()
    };
    let printed = format!("{:?}", SubmitMessagesRequest { index: 7, message: Some(message) });
    for secret in ["Прорвало", "id17", "Мария"] {
        assert!(!printed.contains(secret), "{printed}");
    }
    for known in ["index: 7", "vk-primorye-gov", "text: [redacted]", "channel_kind: Comment"] {
        assert!(printed.contains(known), "{printed}");
    }
}

#[test]
fn events_have_the_full_name_of_their_message() {
    use otklik_proto::intake::v1::MessageReceived;
    use prost_reflect::prost::Name;

    assert_eq!(MessageReceived::TYPE, "otklik.intake.v1.MessageReceived");
    assert_eq!(MessageReceived::TYPE, MessageReceived::full_name());
    assert!(EVENT_TYPES.contains(&MessageReceived::TYPE));
}

#[test]
fn roles_have_short_names() {
    assert_eq!(Role::Executor.code(), "EXECUTOR");
    assert_eq!(Role::from_code("EXECUTOR"), Some(Role::Executor));
    assert_eq!(Role::from_code("UNSPECIFIED"), None);
    assert_eq!(Role::from_code("ROLE_EXECUTOR"), None);
}

/// Foreign clients get a deadline and retries for every service, and none for streams, which end by age.
#[test]
fn the_service_config_covers_every_method() {
    let config: serde_json::Value =
        serde_json::from_str(include_str!("../service-config.json")).expect("service-config.json is valid");
    let entries = config["methodConfig"].as_array().expect("methodConfig is a list");
    let entry = |service: &str, method: Option<&str>| {
        entries.iter().find(|entry| {
            let names = entry["name"].as_array().expect("name is a list");
            names.iter().any(|name| name["service"] == service && name["method"].as_str() == method)
        })
    };
    for method in methods() {
        let service = method.parent_service().full_name().to_owned();
        let stream = method.is_client_streaming() || method.is_server_streaming();
        let entry = entry(&service, Some(method.name()))
            .or_else(|| entry(&service, None))
            .unwrap_or_else(|| panic!("{} is not covered", method.full_name()));
        assert_eq!(entry.get("timeout").is_none(), stream, "{}", method.full_name());
        if !stream {
            let codes = &entry["retryPolicy"]["retryableStatusCodes"];
            assert_eq!(codes, &serde_json::json!(["UNAVAILABLE"]), "{}", method.full_name());
        }
    }
}
