//! Request telemetry: log lines to standard error; spans and metrics to an OTLP collector, if the standard `OTEL_*`
//! variables name one. Best effort, sampled, never the record of what happened: that is the ledger.
//!
//! `OTEL_EXPORTER_OTLP_ENDPOINT` (or `…_TRACES_ENDPOINT`, `…_METRICS_ENDPOINT`) switches exporting on, gRPC only;
//! `OTEL_SDK_DISABLED=true`, `OTEL_TRACES_EXPORTER=none` and `OTEL_METRICS_EXPORTER=none` switch it off. Sampling, headers,
//! timeouts and resource attributes are the OpenTelemetry SDK's own variables.

mod export;
mod names;
mod rpc;
mod trace;

use std::{
    fmt,
    io::IsTerminal,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::Context as _;
use serde::Deserialize;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

pub(crate) use self::{
    rpc::{ClientSpan, ServerSpan, code_name},
    trace::{TRACEPARENT, TraceContext},
};
use crate::server;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    #[default]
    Text,
    /// An object per line, for log collectors.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Whether spans of calls are exported.
static TRACES: AtomicBool = AtomicBool::new(false);

fn traces_are_exported() -> bool {
    TRACES.load(Ordering::Relaxed)
}

/// The telemetry of the process; [`Telemetry::shut_down`] sends what is still waiting.
#[derive(Debug, Default)]
#[must_use = "what is still waiting is only sent by `shut_down`"]
pub struct Telemetry {
    export: Option<export::Export>,
}

/// Sets up logging and, if the environment asks for it, OpenTelemetry. Once per process, inside a tokio runtime of at
/// least two worker threads (the exporter may block one).
///
/// # Errors
/// `log` is no filter, the exporter can't be built, or it has been done already.
pub fn init(service: &str, log: &str, format: LogFormat) -> anyhow::Result<Telemetry> {
    let filter = filter(log)?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    let export = export::Export::of_environment(service)?;
    let spans = export.as_ref().and_then(export::Export::layer);
    TRACES.store(spans.is_some(), Ordering::Relaxed);
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(spans)
        .try_init()
        .context("logging is set up already")?;
    if let Some(export) = &export {
        export.measure();
    }
    Ok(Telemetry { export })
}

/// The filter of log lines that a text describes.
pub(crate) fn filter(log: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(log).with_context(|| format!("{log:?} is no log filter"))
}

impl Telemetry {
    /// Sends what is still waiting, within a few seconds, and says in the log what was lost.
    pub async fn shut_down(self) {
        if let Some(export) = self.export {
            export.shut_down().await;
        }
    }
}

/// The id of the trace that the current call belongs to, 32 hexadecimal digits; empty outside a call.
#[must_use]
pub fn current_trace_id() -> String {
    server::trace().map(TraceContext::trace_id).unwrap_or_default()
}

/// The place of the current call in its trace, as W3C `traceparent` spells it; empty outside a call.
#[must_use]
pub fn current_traceparent() -> String {
    server::trace().map(|trace| trace.to_string()).unwrap_or_default()
}
