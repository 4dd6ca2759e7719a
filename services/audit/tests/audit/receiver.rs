//! A real OTLP receiver that can be down, slow, choosy and killed half-way.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::Span,
};
use prost::Message;
use tonic::{Request, Response, Status, transport::Server};

use crate::peers::Killable;

/// Trace id and span id.
pub type Key = (Vec<u8>, Vec<u8>);

/// What has been received, whichever server did.
#[derive(Clone, Default)]
pub struct Collector {
    spans: Arc<Mutex<HashMap<Key, (String, Span)>>>,
    repeats: Arc<AtomicU32>,
    requests: Arc<AtomicU32>,
    behaviour: Arc<Mutex<Behaviour>>,
}

/// How the receiver treats requests.
#[derive(Clone, Copy, Default)]
pub struct Behaviour {
    /// How long a request takes.
    pub delay: Duration,
    /// The request, counted from 1, at which the connection is lost after its spans were kept, so that the sender has to
    /// repeat it.
    pub lose_answer_of: u32,
    /// Answers UNAVAILABLE to every other request.
    pub moody: bool,
    /// Spans said to be rejected, in every answer.
    pub rejected: i64,
}

impl Collector {
    pub fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// Serves on an address; port 0 takes any.
    pub fn serve(&self, address: SocketAddr) -> Killable {
        let service = TraceServiceServer::new(self.clone()).max_decoding_message_size(64 << 20);
        Killable::serve(address, Server::builder().add_service(service))
    }

    /// Every span once: the service and the span.
    pub fn spans(&self) -> HashMap<Key, (String, Span)> {
        self.spans.lock().unwrap().clone()
    }

    pub fn len(&self) -> usize {
        self.spans.lock().unwrap().len()
    }

    pub fn repeats(&self) -> u32 {
        self.repeats.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }

    fn keep(&self, request: ExportTraceServiceRequest) {
        let mut spans = self.spans.lock().unwrap();
        for resource in request.resource_spans {
            let attributes = resource.resource.unwrap().attributes;
            let name = attributes.into_iter().find(|a| a.key == "service.name").and_then(|a| a.value?.value);
            let Some(Value::StringValue(service)) = name else { panic!("a resource without service.name") };
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let key = (span.trace_id.clone(), span.span_id.clone());
                if let Some((_, former)) = spans.get(&key) {
                    assert_eq!(former.encode_to_vec(), span.encode_to_vec(), "a repeat is the same byte for byte");
                    self.repeats.fetch_add(1, Ordering::SeqCst);
                }
                spans.insert(key, (service.clone(), span));
            }
        }
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let behaviour = *self.behaviour.lock().unwrap();
        tokio::time::sleep(behaviour.delay).await;
        if behaviour.moody && number % 2 == 1 {
            return Err(Status::unavailable("not now"));
        }
        self.keep(request.into_inner());
        if behaviour.lose_answer_of == number {
            return Err(Status::unknown("the connection is gone"));
        }
        let partial_success = (behaviour.rejected > 0)
            .then(|| ExportTracePartialSuccess { rejected_spans: behaviour.rejected, error_message: "too old".into() });
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}
