//! Spans and metrics of calls, on both sides. With OpenTelemetry off and the log at `info` a call costs no span.

use std::{sync::OnceLock, time::Duration};

use http::HeaderMap;
use opentelemetry::{
    Context, KeyValue,
    metrics::{Histogram, Meter},
    trace::{Status, TraceContextExt},
};
use tonic::Code;
use tracing::{Level, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{
    TraceContext,
    names::{
        DURATION_BOUNDS, ERROR_TYPE, GRPC, OTHER, RPC_CLIENT_CALL_DURATION, RPC_METHOD, RPC_RESPONSE_STATUS_CODE,
        RPC_SERVER_CALL_DURATION, RPC_SYSTEM_NAME,
    },
    traces_are_exported,
};
use crate::server;

struct Durations {
    server: Histogram<f64>,
    client: Histogram<f64>,
}

/// Set when metrics are exported, and not before.
static DURATIONS: OnceLock<Durations> = OnceLock::new();

/// From now on the durations of calls are measured.
pub(super) fn measure_with(meter: &Meter) {
    let histogram = |name| {
        meter
            .f64_histogram(name)
            .with_unit("s")
            .with_description("Duration of a call, from its headers to its end.")
            .with_boundaries(DURATION_BOUNDS.to_vec())
            .build()
    };
    DURATIONS.get_or_init(|| Durations {
        server: histogram(RPC_SERVER_CALL_DURATION),
        client: histogram(RPC_CLIENT_CALL_DURATION),
    });
}

/// A call that is answered.
pub(crate) struct ServerSpan {
    method: &'static str,
    span: Option<Span>,
    trace: TraceContext,
}

impl ServerSpan {
    /// Begins with the headers of the call; `None` for a method that is not known.
    pub(crate) fn begin(method: Option<&'static str>, headers: &HeaderMap) -> Self {
        let method = method.unwrap_or(OTHER);
        let caller = TraceContext::of_headers(headers);
        let parent =
            || caller.map_or_else(Context::new, |caller| Context::new().with_remote_span_context(caller.to_otel()));
        let (span, trace) = match span("server", method, parent) {
            Some((span, trace)) => (Some(span), trace),
            None => (None, None),
        };
        let trace = trace.or(caller).unwrap_or_else(TraceContext::random);
        if let Some(span) = &span {
            span.record("trace_id", trace.trace_id());
        }
        Self { method, span, trace }
    }

    /// The place in the trace for whatever the call causes.
    pub(crate) fn trace(&self) -> TraceContext {
        self.trace
    }

    pub(crate) fn tracing_span(&self) -> Option<Span> {
        self.span.clone()
    }

    pub(crate) fn end(&self, code: &'static str, took: Duration) {
        // What the caller did wrong is no error of the server's span.
        let fault = matches!(
            code,
            "UNKNOWN" | "DEADLINE_EXCEEDED" | "UNIMPLEMENTED" | "INTERNAL" | "UNAVAILABLE" | "DATA_LOSS"
        );
        end(self.span.as_ref(), code, fault);
        if let Some(durations) = DURATIONS.get() {
            durations.server.record(took.as_secs_f64(), &attributes(self.method, code));
        }
    }
}

/// A call that is made.
pub(crate) struct ClientSpan {
    method: &'static str,
    span: Option<Span>,
    trace: Option<TraceContext>,
}

impl ClientSpan {
    /// Begins below the current span.
    pub(crate) fn begin(method: Option<&'static str>) -> Self {
        let method = method.unwrap_or(OTHER);
        let current = server::trace();
        let parent = || {
            let context = Span::current().context();
            match current {
                Some(current) if !context.span().span_context().is_valid() => {
                    Context::new().with_remote_span_context(current.to_otel())
                }
                _ => context,
            }
        };
        let (span, trace) = match span("client", method, parent) {
            Some((span, trace)) => (Some(span), trace),
            None => (None, None),
        };
        Self { method, span, trace: trace.or(current) }
    }

    /// The place in the trace to send along, if the call is part of one.
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        self.trace
    }

    pub(crate) fn end(&self, code: &'static str, took: Duration) {
        end(self.span.as_ref(), code, code != "OK");
        if let Some(durations) = DURATIONS.get() {
            durations.client.record(took.as_secs_f64(), &attributes(self.method, code));
        }
    }
}

/// A span, and its place in the trace if it is exported.
fn span(
    kind: &'static str,
    method: &'static str,
    parent: impl FnOnce() -> Context,
) -> Option<(Span, Option<TraceContext>)> {
    let exported = traces_are_exported();
    if !exported && !tracing::enabled!(target: "otklik::rpc", Level::DEBUG) {
        return None;
    }
    let span = if exported {
        tracing::info_span!(
            target: "otklik::rpc", "rpc", otel.name = method, otel.kind = kind, trace_id = tracing::field::Empty
        )
    } else {
        tracing::debug_span!(target: "otklik::rpc", "rpc", kind, method, trace_id = tracing::field::Empty)
    };
    if !exported {
        return Some((span, None));
    }
    // Before the span is entered: later, the parent would be ignored.
    if let Err(error) = span.set_parent(parent()) {
        tracing::debug!(?error, "a span has lost its parent");
    }
    span.set_attribute(RPC_SYSTEM_NAME, GRPC);
    span.set_attribute(RPC_METHOD, method);
    let trace = TraceContext::of_otel(span.context().span().span_context());
    Some((span, trace))
}

fn end(span: Option<&Span>, code: &'static str, fault: bool) {
    if let Some(span) = span.filter(|_| traces_are_exported()) {
        span.set_attribute(RPC_RESPONSE_STATUS_CODE, code);
        if fault {
            span.set_attribute(ERROR_TYPE, code);
            span.set_status(Status::error(code));
        }
    }
}

fn attributes(method: &'static str, code: &'static str) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new(RPC_SYSTEM_NAME, GRPC),
        KeyValue::new(RPC_METHOD, method),
        KeyValue::new(RPC_RESPONSE_STATUS_CODE, code),
    ];
    if code != "OK" {
        attributes.push(KeyValue::new(ERROR_TYPE, code));
    }
    attributes
}

/// The name of a code, as the protocol has it.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
