//! Spans as OTLP spells them.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{self as otlp, ResourceSpans, ScopeSpans, span::SpanKind},
};
use uuid::Uuid;

use crate::domain::{
    details::details,
    span::{Span, SpanId},
    step::Step,
};

/// The instrumentation scope of lifecycle spans.
const SCOPE: &str = "otklik.lifecycle";
/// The W3C trace flag: lifecycle traces are never sampled out.
const SAMPLED: u32 = 1;

/// A request with these spans, under the services whose entries they are.
pub(super) fn request(spans: &[(&Step, &Span)]) -> ExportTraceServiceRequest {
    let mut by_service: BTreeMap<&str, Vec<otlp::Span>> = BTreeMap::new();
    for (step, span) in spans {
        by_service.entry(&step.service).or_default().push(encode(step, span));
    }
    let resource_spans = by_service.into_iter().map(|(service, spans)| ResourceSpans {
        resource: Some(Resource {
            attributes: vec![
                attribute("service.name", format!("otklik-{service}")),
                attribute("service.namespace", "otklik".to_owned()),
            ],
            ..Default::default()
        }),
        scope_spans: vec![ScopeSpans {
            scope: Some(InstrumentationScope { name: SCOPE.to_owned(), ..Default::default() }),
            spans,
            ..Default::default()
        }],
        ..Default::default()
    });
    ExportTraceServiceRequest { resource_spans: resource_spans.collect() }
}

fn encode(step: &Step, span: &Span) -> otlp::Span {
    let mut links: Vec<otlp::span::Link> = span.links.iter().map(|(trace, id)| link(*trace, *id)).collect();
    links.extend(request_link(&step.header.traceparent));
    otlp::Span {
        trace_id: span.trace.as_bytes().to_vec(),
        span_id: span.id.to_vec(),
        parent_span_id: span.parent.map(|id| id.to_vec()).unwrap_or_default(),
        flags: SAMPLED,
        name: span.name.clone(),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: nanos(span.start_us),
        end_time_unix_nano: nanos(span.end_us),
        attributes: attributes(step),
        links,
        ..Default::default()
    }
}

/// Ids and codes of an entry, sorted by their role, so that a repeat is the same byte for byte.
fn attributes(step: &Step) -> Vec<KeyValue> {
    let header = &step.header;
    let (subject, role) = header.actor.as_ref().map_or(("", ""), |actor| (&actor.subject, &actor.role));
    let known = [
        ("otklik.entry.id", header.entry_id.clone()),
        ("otklik.entry.type", step.entry_type.clone()),
        ("otklik.entry.cause", header.cause_entry_id.clone()),
        ("otklik.ledger.incarnation", step.incarnation.to_string()),
        ("otklik.ledger.partition", step.partition.to_string()),
        ("otklik.ledger.seq", step.seq.to_string()),
        ("otklik.aggregate.kind", header.aggregate_kind.clone()),
        ("otklik.aggregate.id", header.aggregate_id.clone()),
        ("otklik.actor.subject", subject.to_owned()),
        ("otklik.actor.role", role.to_owned()),
        ("otklik.reason", header.reason.clone()),
    ];
    let mut attributes: Vec<KeyValue> =
        known.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| attribute(key, value)).collect();
    let details = details(&step.entry_type, &step.payload);
    attributes.extend(details.into_iter().map(|(field, value)| attribute(&format!("otklik.detail.{field}"), value)));
    attributes
}

fn attribute(key: &str, value: String) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value)) }),
        ..Default::default()
    }
}

fn link(trace: Uuid, span: SpanId) -> otlp::span::Link {
    otlp::span::Link {
        trace_id: trace.as_bytes().to_vec(),
        span_id: span.to_vec(),
        flags: SAMPLED,
        ..Default::default()
    }
}

/// The request that caused the entry, from its W3C `traceparent`: a trace of its own, linked and not merged.
fn request_link(traceparent: &str) -> Option<otlp::span::Link> {
    let mut parts = traceparent.split('-');
    let (_version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
    let trace = (trace.len() == 32).then(|| Uuid::try_parse(trace).ok()).flatten()?;
    let span = (span.len() == 16).then(|| u64::from_str_radix(span, 16).ok()).flatten()?;
    (!trace.is_nil() && span != 0).then(|| link(trace, span.to_be_bytes()))
}

/// Nanoseconds since 1970; what was before is 1970.
fn nanos(us: i64) -> u64 {
    u64::try_from(us).unwrap_or(0).saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_linked_by_its_traceparent() {
        let link = request_link("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!(link.span_id, [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
        assert_eq!(link.trace_id[..2], [0x4b, 0xf9]);
        for wrong in ["", "00", "00-0-0-0", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"] {
            assert!(request_link(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn times_are_nanoseconds() {
        assert_eq!(nanos(1_500), 1_500_000);
        assert_eq!(nanos(-1), 0);
    }
}
