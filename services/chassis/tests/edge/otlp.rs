//! What reaches an OTLP collector. Exporting is a matter of the whole process and of its environment, so the test runs
//! itself again as another process.

use std::{process::Stdio, time::Duration};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::{Span, span::SpanKind},
};
use otklik_chassis::telemetry::{self, LogFormat};
use otklik_proto::ledger::v1::GetHeadsRequest;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use crate::house::{House, Plan, quick, to};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

struct Collector(mpsc::UnboundedSender<(String, Span)>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.unwrap_or_default().attributes;
            let name = attributes.iter().find(|attribute| attribute.key == "service.name");
            let name = name.map(|attribute| format!("{:?}", attribute.value)).unwrap_or_default();
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let _ = self.0.send((name.clone(), span));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn run_again(endpoint: &str) -> (bool, String) {
    let child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "otlp::another_process", "--ignored", "--nocapture"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_METRICS_EXPORTER", "none")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await.unwrap().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

/// Not a test by itself: what the other process does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the other tests, in a process of its own"]
async fn another_process() {
    let telemetry = telemetry::init("otklik-test", "info", LogFormat::Json).unwrap();
    let last = House::open();
    let first = House::build(Plan { limits: quick(), next: Some(last.channel()), ..Plan::default() });
    let mut request = to::<GetHeadsRequest>("relay");
    request.metadata_mut().insert("traceparent", format!("00-{TRACE_ID}-00f067aa0ba902b7-01").parse().unwrap());
    let raw = tonic::transport::Endpoint::from_shared(first.uri.clone()).unwrap().connect().await.unwrap();
    let mut client = otklik_proto::ledger::v1::ledger_service_client::LedgerServiceClient::new(raw);
    client.get_heads(request).await.unwrap();
    client.get_heads(to::<GetHeadsRequest>("fail")).await.unwrap_err();
    drop(client);
    first.stop().await.unwrap();
    last.stop().await.unwrap();
    telemetry.shut_down().await;
}

#[tokio::test]
async fn calls_are_spans_of_one_trace() {
    let (sender, mut spans) = mpsc::unbounded_channel();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let collector = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(Collector(sender)))
        .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
    let collector = tokio::spawn(collector);
    let (success, log) = run_again(&endpoint).await;
    assert!(success, "{log}");
    collector.abort();
    let _ = collector.await;

    let mut trace = Vec::new();
    let mut failures = Vec::new();
    while let Ok((service, span)) = spans.try_recv() {
        assert!(service.contains("otklik-test"), "{service}");
        assert_eq!(span.name, "otklik.ledger.v1.LedgerService/GetHeads");
        let in_trace = span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect::<String>() == TRACE_ID;
        if in_trace { trace.push(span) } else { failures.push(span) }
    }
    // The caller's span, which nobody here exports; the first server's; its client's; the last server's.
    trace.sort_by_key(|span| span.start_time_unix_nano);
    let kinds: Vec<_> = trace.iter().map(Span::kind).collect();
    assert_eq!(kinds, [SpanKind::Server, SpanKind::Client, SpanKind::Server]);
    assert_eq!(trace[0].parent_span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    assert_eq!(trace[1].parent_span_id, trace[0].span_id);
    assert_eq!(trace[2].parent_span_id, trace[1].span_id);
    assert_eq!(failures.len(), 1);
    let attribute = |name: &str| failures[0].attributes.iter().find(|attribute| attribute.key == name).cloned();
    for (name, value) in
        [("rpc.system.name", "grpc"), ("rpc.response.status_code", "INTERNAL"), ("error.type", "INTERNAL")]
    {
        let found = attribute(name).unwrap_or_else(|| panic!("no {name}"));
        assert!(format!("{:?}", found.value).contains(value), "{found:?}");
    }
}

#[tokio::test]
async fn lost_spans_are_admitted() {
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", reserved.local_addr().unwrap());
    drop(reserved);
    let (success, log) = run_again(&endpoint).await;
    assert!(success, "{log}");
    assert!(log.contains("spans were lost"), "{log}");
}
