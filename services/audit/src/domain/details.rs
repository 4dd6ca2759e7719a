//! What a payload says, in codes, by field name.

use std::collections::BTreeMap;

use prost_reflect::{Cardinality, DynamicMessage, FieldDescriptor, Kind, ReflectMessage, Value};

/// Longest value shown; codes and ids are shorter.
const LONGEST: usize = 256;
/// Most elements of a list shown.
const MOST: usize = 50;

/// The fields of a payload that are set, flattened: `topic`, `origin.source_id`, `questions[0].topic`,
/// `message_ids[1]`. Enumerations are given by name, times in RFC 3339.
///
/// Bytes (commitments to texts) are left out, and so is every field that the contract marks as personal. A payload of an
/// unknown type has no details.
#[must_use]
pub fn details(entry_type: &str, payload: &[u8]) -> BTreeMap<String, String> {
    let mut details = BTreeMap::new();
    let pool = otklik_proto::descriptor_pool();
    if let Some(descriptor) = pool.get_message_by_name(entry_type)
        && let Ok(message) = DynamicMessage::decode(descriptor, payload)
    {
        flatten(&message, "", &mut details);
    }
    details
}

fn flatten(message: &DynamicMessage, prefix: &str, details: &mut BTreeMap<String, String>) {
    for (field, value) in message.fields() {
        if is_personal(&field) {
            continue;
        }
        let name = format!("{prefix}{}", field.name());
        match value {
            Value::List(values) if field.cardinality() == Cardinality::Repeated => {
                for (index, value) in values.iter().take(MOST).enumerate() {
                    put(&field, &format!("{name}[{index}]"), value, details);
                }
            }
            Value::Map(_) => {}
            value => put(&field, &name, value, details),
        }
    }
}

fn put(field: &FieldDescriptor, name: &str, value: &Value, details: &mut BTreeMap<String, String>) {
    let text = match value {
        Value::Message(message) if message.descriptor().full_name() == "google.protobuf.Timestamp" => time(message),
        Value::Message(message) => return flatten(message, &format!("{name}."), details),
        Value::EnumNumber(number) => match field.kind() {
            Kind::Enum(kind) => {
                kind.get_value(*number).map_or_else(|| number.to_string(), |value| value.name().to_owned())
            }
            _ => number.to_string(),
        },
        Value::String(text) => text.chars().take(LONGEST).collect(),
        Value::Bool(value) => value.to_string(),
        Value::I32(value) => value.to_string(),
        Value::I64(value) => value.to_string(),
        Value::U32(value) => value.to_string(),
        Value::U64(value) => value.to_string(),
        Value::F32(value) => format!("{value:.4}"),
        Value::F64(value) => format!("{value:.4}"),
        Value::Bytes(_) | Value::List(_) | Value::Map(_) => return,
    };
    if !text.is_empty() {
        details.insert(name.to_owned(), text);
    }
}

fn time(message: &DynamicMessage) -> String {
    let number = |name: &str| {
        message.get_field_by_name(name).map_or(0, |value| value.as_i64().or(value.as_i32().map(i64::from)).unwrap_or(0))
    };
    let nanos = i32::try_from(number("nanos")).unwrap_or(0);
    jiff::Timestamp::new(number("seconds"), nanos).map(|time| time.to_string()).unwrap_or_default()
}

fn is_personal(field: &FieldDescriptor) -> bool {
    field.options().get_field_by_name("debug_redact").is_some_and(|value| value.as_bool() == Some(true))
}

#[cfg(test)]
mod tests {
    use otklik_proto::{
        EventType,
        assignment::v1::{CaseResolved, Outcome},
        classification::v1::{ClassifiedQuestion, Decision, MessageClassified},
        feedback::v1::{AnswerDrafted, AnswerKind},
        time::from_micros,
    };

    use super::*;

    fn of<M: EventType>(event: &M) -> Vec<(String, String)> {
        details(M::TYPE, &event.encode_to_vec()).into_iter().collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn codes_enumerations_and_times() {
        let event = CaseResolved {
            case_id: "c".into(),
            outcome: Outcome::PartlyDone.into(),
            rating_end_time: Some(from_micros(1_605_700_000_500_000)),
            ..Default::default()
        };
        assert_eq!(
            of(&event),
            [
                pair("case_id", "c"),
                pair("outcome", "OUTCOME_PARTLY_DONE"),
                pair("rating_end_time", "2020-11-18T11:46:40.5Z"),
            ]
        );
    }

    #[test]
    fn lists_are_numbered() {
        let question = ClassifiedQuestion {
            topic: "roads.ice".into(),
            place_ids: vec!["vladivostok".into(), "primorye".into()],
            decision: Decision::Auto.into(),
            ..Default::default()
        };
        let event = MessageClassified { questions: vec![question], ..Default::default() };
        assert_eq!(
            of(&event),
            [
                pair("questions[0].decision", "DECISION_AUTO"),
                pair("questions[0].place_ids[0]", "vladivostok"),
                pair("questions[0].place_ids[1]", "primorye"),
                pair("questions[0].topic", "roads.ice"),
            ]
        );
    }

    #[test]
    fn bytes_and_unknown_types_say_nothing() {
        let event =
            AnswerDrafted { kind: AnswerKind::Final.into(), text_commitment: vec![1; 32], ..Default::default() };
        assert_eq!(of(&event), [pair("kind", "ANSWER_KIND_FINAL")]);
        assert!(details("otklik.weather.v1.RainFell", b"x").is_empty());
    }
}
