//! The OTLP receiver at the other end.

use std::time::Duration;

use anyhow::Context as _;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, trace_service_client::TraceServiceClient,
};
use otklik_chassis::{error::Error, server::MESSAGE_LIMIT};
use tonic::{
    Request,
    metadata::{MetadataKey, MetadataMap, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::settings::Settings;

/// How long the receiver may take for a request. What it does after that it may do twice: a repeat is the same.
const PATIENCE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(20);

/// What a receiver made of spans.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Accepted {
    /// Spans that it took and will not keep.
    pub rejected: i64,
}

/// A receiver.
#[derive(Debug, Clone)]
pub(super) struct Receiver {
    client: TraceServiceClient<Channel>,
    headers: MetadataMap,
}

impl Receiver {
    /// The receiver that the settings name, or else the standard variables; `None` when none does.
    ///
    /// # Errors
    /// The URL, the headers or the certificate can't be used.
    pub(super) fn of(settings: &Settings) -> anyhow::Result<Option<Self>> {
        let variable = |names: [&str; 2]| {
            names.into_iter().filter_map(|name| std::env::var(name).ok()).find(|value| !value.trim().is_empty())
        };
        let configured = Some(settings.traces_endpoint.clone()).filter(|uri| !uri.is_empty());
        // The standard variables name a receiver and may also say that nothing is to be sent to it.
        let is_off = variable(["OTEL_SDK_DISABLED"; 2]).is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || variable(["OTEL_TRACES_EXPORTER"; 2]).is_some_and(|value| value == "none");
        let standard = || variable(["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]);
        let named = configured.or_else(|| if is_off { None } else { standard() });
        let Some(uri) = named else { return Ok(None) };
        let certificate = variable(["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"]);
        let headers = variable(["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"]).unwrap_or_default();
        Self::at(&uri, certificate.as_deref(), &headers).with_context(|| format!("the OTLP receiver {uri}")).map(Some)
    }

    fn at(uri: &str, certificate: Option<&str>, headers: &str) -> anyhow::Result<Self> {
        let mut endpoint = Endpoint::from_shared(uri.to_owned())?
            .connect_timeout(CONNECT)
            .timeout(PATIENCE)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(PATIENCE)
            .keep_alive_while_idle(true);
        if uri.starts_with("https://") {
            let path = certificate.context("https needs OTEL_EXPORTER_OTLP_CERTIFICATE, the authorities to trust")?;
            let authorities = std::fs::read(path).with_context(|| path.to_owned())?;
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities));
            endpoint = endpoint.tls_config(tls)?;
        }
        let client = TraceServiceClient::new(endpoint.connect_lazy())
            .max_encoding_message_size(MESSAGE_LIMIT)
            .max_decoding_message_size(MESSAGE_LIMIT);
        Ok(Self { client, headers: parse_headers(headers)? })
    }

    /// Hands spans over.
    ///
    /// A partial success is final, as the protocol has it: what was rejected would be rejected again. It is logged and
    /// counted.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for whatever else the receiver answers, or when it doesn't: the spans stay to be sent.
    pub(super) async fn export(&self, request: ExportTraceServiceRequest) -> Result<Accepted, Error> {
        let mut request = Request::new(request);
        *request.metadata_mut() = self.headers.clone();
        let mut client = self.client.clone();
        let answer = match tokio::time::timeout(PATIENCE, client.export(request)).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => {
                let (code, message) = (status.code(), status.message());
                return Err(Error::unavailable(format!("the OTLP receiver answered {code}: {message}")));
            }
            Err(_) => {
                return Err(Error::unavailable(format!("the OTLP receiver took longer than {} s", PATIENCE.as_secs())));
            }
        };
        let rejected = answer.partial_success.as_ref().map_or(0, |partial| partial.rejected_spans.max(0));
        if let Some(partial) = answer.partial_success.filter(|_| rejected > 0) {
            tracing::error!(rejected, message = partial.error_message, "the OTLP receiver rejected lifecycle spans");
        }
        Ok(Accepted { rejected })
    }
}

/// `key1=value1,key2=value2`, as the standard variable spells headers.
fn parse_headers(headers: &str) -> anyhow::Result<MetadataMap> {
    let mut map = MetadataMap::new();
    for pair in headers.split(',').filter(|pair| !pair.trim().is_empty()) {
        let (key, value) = pair.split_once('=').context("OTEL_EXPORTER_OTLP_HEADERS: key=value is expected")?;
        // The value may be a secret: no error repeats it.
        let key: MetadataKey<_> =
            key.trim().to_ascii_lowercase().parse().context("OTEL_EXPORTER_OTLP_HEADERS: a key")?;
        let value: MetadataValue<_> = value.trim().parse().context("OTEL_EXPORTER_OTLP_HEADERS: a value")?;
        map.insert(key, value);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_pairs() {
        let headers = parse_headers("Authorization=Basic abc=,x-tenant = 7").unwrap();
        assert_eq!(headers.get("authorization").unwrap(), "Basic abc=");
        assert_eq!(headers.get("x-tenant").unwrap(), "7");
        assert!(parse_headers("nonsense").is_err());
    }

    #[tokio::test]
    async fn https_needs_authorities() {
        assert!(Receiver::at("https://collector:4317", None, "").is_err());
        assert!(Receiver::at("http://collector:4317", None, "").is_ok());
        assert!(Receiver::at("::", None, "").is_err());
    }
}
