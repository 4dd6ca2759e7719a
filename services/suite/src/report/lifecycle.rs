//! One lifecycle as a tree: what followed from what, when, by whom.

use std::collections::HashMap;

use jiff::{Timestamp, tz::TimeZone};
use otklik_proto::{
    audit::v1::{Lifecycle, LifecycleProblemKind, LifecycleStep},
    time::to_micros,
};
use serde_json::{Value, json};

/// The tree, with times in `zone`.
pub fn tree(lifecycle: &Lifecycle, zone: &TimeZone) -> String {
    let mut text = format!(
        "{} {}\n  state {}, {}, {}\n  trace id {}\n",
        lifecycle.subject_kind().as_str_name().trim_start_matches("SUBJECT_KIND_").to_lowercase(),
        lifecycle.subject_id,
        lifecycle.state,
        if lifecycle.complete { "complete" } else { "not complete" },
        if lifecycle.verified { "every entry verified" } else { "NOT VERIFIED" },
        lifecycle.trace_id,
    );
    for step in &lifecycle.steps {
        text.push_str(&line(step, zone));
    }
    for problem in &lifecycle.problems {
        text.push_str(&format!("  ! {}: {}\n", problem_name(problem.kind()), problem.detail));
    }
    text
}

fn problem_name(kind: LifecycleProblemKind) -> String {
    kind.as_str_name().trim_start_matches("LIFECYCLE_PROBLEM_KIND_").to_lowercase().replace('_', " ")
}

fn line(step: &LifecycleStep, zone: &TimeZone) -> String {
    let name = step.r#type.rsplit('.').next().unwrap_or_default();
    let actor = step.actor.as_ref().map(|a| format!("{} ({})", a.subject, a.role)).unwrap_or_default();
    let mut details: Vec<String> =
        step.details.iter().filter(|(key, _)| is_telling(key)).map(|(k, v)| format!("{k}={}", short(v))).collect();
    details.sort();
    if !step.reason.is_empty() {
        details.insert(0, step.reason.clone());
    }
    format!(
        "  {}  {}{name:<24} {:<15} {actor}{}{}\n",
        time(step.recorded_time.as_ref(), zone),
        "  ".repeat(step.depth as usize),
        step.service,
        if details.is_empty() { "" } else { "  " },
        details.join(" "),
    )
}

/// Details a person wants to see at a glance; the rest is in the JSON.
fn is_telling(key: &str) -> bool {
    const TELLING: [&str; 13] = [
        "source_id",
        "executor_id",
        "rule_id",
        "fallback",
        "outcome",
        "score",
        "satisfied",
        "kind",
        "attempts",
        "questions[0].topic",
        "questions[1].topic",
        "questions[2].topic",
        "reopen_count",
    ];
    TELLING.contains(&key)
}

/// A value without the prefix that enumerations of the contract have.
fn short(value: &str) -> &str {
    const PREFIXES: [&str; 5] = ["ANSWER_KIND_", "QUESTION_KIND_", "CLOSE_KIND_", "OUTCOME_", "SOURCE_KIND_"];
    PREFIXES.iter().find_map(|prefix| value.strip_prefix(prefix)).unwrap_or(value)
}

fn time(at: Option<&prost_types::Timestamp>, zone: &TimeZone) -> String {
    at.and_then(|t| Timestamp::from_microsecond(to_micros(t)).ok())
        .map(|t| zone.to_datetime(t).strftime("%Y-%m-%d %H:%M:%S").to_string())
        .unwrap_or_default()
}

/// The lifecycle as JSON.
pub fn to_json(lifecycle: &Lifecycle) -> Value {
    let rfc = |t: Option<&prost_types::Timestamp>| {
        t.and_then(|t| Timestamp::from_microsecond(to_micros(t)).ok()).map(|t| t.to_string())
    };
    let steps: Vec<Value> = lifecycle
        .steps
        .iter()
        .map(|s| {
            let details: HashMap<&String, &String> = s.details.iter().collect();
            json!({
                "service": s.service, "type": s.r#type, "entry_id": s.entry_id, "depth": s.depth,
                "seq": s.position.as_ref().map(|p| p.seq), "partition": s.position.as_ref().map(|p| p.partition),
                "actor": s.actor.as_ref().map(|a| json!({"subject": a.subject, "role": a.role})),
                "reason": s.reason, "recorded_time": rfc(s.recorded_time.as_ref()),
                "cause_entry_id": s.cause_entry_id, "message_ids": s.message_ids, "case_ids": s.case_ids,
                "details": details, "span_id": s.span_id,
            })
        })
        .collect();
    json!({
        "kind": lifecycle.subject_kind().as_str_name(), "id": lifecycle.subject_id, "state": lifecycle.state,
        "complete": lifecycle.complete, "verified": lifecycle.verified, "trace_id": lifecycle.trace_id,
        "message_ids": lifecycle.message_ids, "case_ids": lifecycle.case_ids, "steps": steps,
        "problems": lifecycle.problems.iter().map(|p| json!({"kind": problem_name(p.kind()), "detail": p.detail})).collect::<Vec<_>>(),
    })
}
