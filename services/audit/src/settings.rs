//! Audit's own settings.

use serde::{Deserialize, Serialize};

/// The keys of the section `audit` that are not common to all services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Where the lifecycle traces go: the URL of an OTLP receiver that speaks gRPC. Empty takes the standard
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or `OTEL_EXPORTER_OTLP_ENDPOINT`; without any, or when
    /// `OTEL_TRACES_EXPORTER` is `none` or `OTEL_SDK_DISABLED` is `true`, nothing is exported.
    pub traces_endpoint: String,
    /// After how many hours of domain time without a step a lifecycle counts as stuck, where nobody says otherwise.
    pub stuck_after_hours: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { traces_endpoint: String::new(), stuck_after_hours: 24 }
    }
}
