//! The way of spans and metrics out of the process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use opentelemetry::{metrics::MeterProvider as _, trace::TracerProvider as _};
use opentelemetry_otlp::{MetricExporter, SpanExporter};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    metrics::SdkMeterProvider,
    trace::{SdkTracerProvider, SpanData},
};
use tracing::Subscriber;
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

use super::rpc;

/// How long the last spans and metrics may take.
const FAREWELL: Duration = Duration::from_secs(5);
/// The instrumentation scope.
const SCOPE: &str = "otklik";

/// What is exported.
#[derive(Debug)]
pub(super) struct Export {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
    lost: Arc<AtomicU64>,
}

impl Export {
    /// What the `OTEL_*` variables ask for; `None` if that is nothing.
    pub(super) fn of_environment(service: &str) -> anyhow::Result<Option<Self>> {
        let wanted = Wanted::of(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        if wanted == Wanted::default() {
            return Ok(None);
        }
        // `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` win over what we know.
        let named = wanted.is_named;
        let resource = Resource::builder();
        let resource = if named { resource } else { resource.with_service_name(service.to_owned()) };
        let resource =
            resource.with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))).build();
        let lost = Arc::new(AtomicU64::new(0));
        let traces = match wanted.traces {
            false => None,
            true => {
                let exporter = SpanExporter::builder().with_tonic().build().context("the OTLP exporter of spans")?;
                let exporter = Counting { exporter, lost: lost.clone() };
                Some(SdkTracerProvider::builder().with_resource(resource.clone()).with_batch_exporter(exporter).build())
            }
        };
        let metrics = match wanted.metrics {
            false => None,
            true => {
                let exporter =
                    MetricExporter::builder().with_tonic().build().context("the OTLP exporter of metrics")?;
                Some(SdkMeterProvider::builder().with_resource(resource).with_periodic_exporter(exporter).build())
            }
        };
        Ok(Some(Self { traces, metrics, lost }))
    }

    /// The layer that makes OpenTelemetry spans of the suite's own spans, not of those of its libraries.
    pub(super) fn layer<S>(&self) -> Option<impl Layer<S> + use<S>>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let tracer = self.traces.as_ref()?.tracer(SCOPE);
        let own = Targets::new().with_target("otklik", tracing::Level::INFO);
        Some(
            tracing_opentelemetry::layer()
                .with_tracer(tracer)
                .with_location(false)
                .with_threads(false)
                .with_filter(own),
        )
    }

    /// Begins to measure calls, if metrics are exported.
    pub(super) fn measure(&self) {
        if let Some(metrics) = &self.metrics {
            rpc::measure_with(&metrics.meter(SCOPE));
            opentelemetry::global::set_meter_provider(metrics.clone());
        }
    }

    pub(super) async fn shut_down(self) {
        let Self { traces, metrics, lost } = self;
        // The SDK blocks, and not always for as long as it says.
        let farewell = tokio::task::spawn_blocking(move || {
            let traces = traces.map(|traces| traces.shutdown_with_timeout(FAREWELL));
            let metrics = metrics.map(|metrics| metrics.shutdown_with_timeout(FAREWELL));
            [traces, metrics].into_iter().flatten().find_map(Result::err)
        });
        match tokio::time::timeout(2 * FAREWELL, farewell).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(error))) => tracing::warn!(%error, "the last spans and metrics may be lost"),
            Ok(Err(error)) => tracing::warn!(%error, "the last spans and metrics may be lost"),
            Err(_) => tracing::warn!("the last spans and metrics are lost: the collector did not answer"),
        }
        let lost = lost.load(Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(spans = lost, "spans were lost on their way to the collector");
        }
    }
}

/// What is to be exported.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    traces: bool,
    metrics: bool,
    is_named: bool,
}

impl Wanted {
    fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let is = |name: &str, value: &str| variable(name).is_some_and(|text| text.eq_ignore_ascii_case(value));
        if is("OTEL_SDK_DISABLED", "true") {
            return Self::default();
        }
        let everything = variable("OTEL_EXPORTER_OTLP_ENDPOINT").is_some();
        let wanted = |signal: &str| {
            (everything || variable(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")).is_some())
                && !is(&format!("OTEL_{signal}_EXPORTER"), "none")
        };
        let (traces, metrics) = (wanted("TRACES"), wanted("METRICS"));
        let attributes = variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        let is_named = variable("OTEL_SERVICE_NAME").is_some() || attributes.contains("service.name=");
        Self { traces, metrics, is_named: is_named && (traces || metrics) }
    }
}

/// Counts the spans that did not arrive: the SDK's shutdown answers Ok even if none did.
#[derive(Debug)]
struct Counting<E> {
    exporter: E,
    lost: Arc<AtomicU64>,
}

impl<E: opentelemetry_sdk::trace::SpanExporter> opentelemetry_sdk::trace::SpanExporter for Counting<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let result = self.exporter.export(batch).await;
        if result.is_err() {
            self.lost.fetch_add(spans, Ordering::Relaxed);
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(variables: &[(&str, &str)]) -> (bool, bool) {
        let wanted = Wanted::of(|name| {
            variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        });
        (wanted.traces, wanted.metrics)
    }

    #[test]
    fn the_environment_decides() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317");
        assert_eq!(wanted(&[]), (false, false));
        assert_eq!(wanted(&[("OTEL_SERVICE_NAME", "x")]), (false, false));
        assert_eq!(wanted(&[endpoint]), (true, true));
        assert_eq!(wanted(&[endpoint, ("OTEL_METRICS_EXPORTER", "none")]), (true, false));
        assert_eq!(wanted(&[endpoint, ("OTEL_SDK_DISABLED", "true")]), (false, false));
        assert_eq!(wanted(&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://localhost:4317")]), (false, true));
    }
}
