//! What happens to every call before and after the service sees it, as one tower layer: who calls, may he, is there
//! room, until when; and afterwards: did it panic, what is to be measured.
//!
//! All of it is decided on the headers: of a refused call the body is never read.

use std::{
    any::Any,
    convert::Infallible,
    future::poll_fn,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::FutureExt;
use http::{HeaderMap, Request, Response};
use rand::Rng;
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, body::Body, metadata::MetadataMap, transport::server::TlsConnectInfo};
use tonic_types::{ErrorDetails, StatusExt};
use tower::{Layer, Service};
use tracing::Instrument;

use super::{
    call::{self, CALL, Call},
    connection::Opened,
    ending::Ending,
    methods::{self, Flow},
};
use crate::{
    config,
    error::{self, Error},
    identity::{ActingRole, Authenticator, Permissions},
    run::panic_message,
    seen::{AFTER, Seen},
    telemetry::{self, ServerSpan},
};

/// tonic, around this layer, ends a call at the same deadline with CANCELLED. To be the first, this layer ends it a
/// little earlier, which also leaves the answer a moment to travel.
const HEAD_START: Duration = Duration::from_millis(10);
/// How long a stream waits for the writes that it must see.
const SEEN_IN: Duration = Duration::from_secs(10);
/// When a caller may try again that found no room.
const ROOM_AFTER: Duration = Duration::from_millis(200);

/// The layer around all services of a server.
#[derive(Clone)]
pub(super) struct EdgeLayer {
    pub(super) rules: Arc<Rules>,
}

/// What the layer goes by.
pub(super) struct Rules {
    pub(super) authenticator: Authenticator,
    pub(super) permissions: Permissions,
    pub(super) limits: config::Server,
    pub(super) room: Semaphore,
    pub(super) stopping: CancellationToken,
    pub(super) open: Arc<AtomicUsize>,
    pub(super) seen: Seen,
}

impl<S> Layer<S> for EdgeLayer {
    type Service = Edge<S>;

    fn layer(&self, inner: S) -> Edge<S> {
        Edge { inner, rules: self.rules.clone() }
    }
}

/// A service inside the layer.
#[derive(Clone)]
pub(super) struct Edge<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S> Service<Request<Body>> for Edge<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Readiness is asked for when a call is let in.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (rules, inner) = (self.rules.clone(), self.inner.clone());
        Box::pin(async move { Ok(rules.answer(inner, request).await) })
    }
}

impl Rules {
    async fn answer<S>(self: Arc<Self>, inner: S, request: Request<Body>) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send,
        S::Future: Send,
    {
        let method = methods::method(request.uri().path());
        let flow = method.map_or(Flow::Unary, |method| method.flow);
        let started = Instant::now();
        let span = ServerSpan::begin(method.map(|method| method.name), request.headers());
        let deadline = (flow == Flow::Unary).then(|| started + self.time_allowed(request.headers()));
        let opened = opened(&request).unwrap_or(started);
        let call = Call { deadline, trace: span.trace() };
        let mut observation = Observation::begin(span, started, self.open.clone());

        let work = CALL.scope(call.clone(), self.admit_and_work(inner, request, flow, deadline));
        let response = match observation.span.tracing_span() {
            Some(span) => work.instrument(span).await,
            None => work.await,
        };
        match code_of(response.headers()) {
            // A refused stream, and every unary call: what is still to come is at most the one message.
            Some(code) => observation.end(code),
            None if flow == Flow::Unary => observation.end(Code::Ok),
            None => {
                let ends = self.stream_ends(opened);
                let stopping = self.stopping.clone();
                return response.map(|body| Body::new(Ending::new(body, flow, ends, stopping, call, observation)));
            }
        }
        response
    }

    async fn admit_and_work<S>(
        &self,
        mut inner: S,
        mut request: Request<Body>,
        flow: Flow,
        deadline: Option<Instant>,
    ) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send,
        S::Future: Send,
    {
        if let Err(error) = self.admit(&mut request) {
            return Status::from(error).into_http();
        }
        let _room = match flow {
            Flow::Unary => match self.room.try_acquire() {
                Ok(room) => Some(room),
                Err(_) => {
                    let error = Error::Exhausted {
                        description: format!("the service already works on {} calls", self.limits.max_in_flight),
                        retry_after: ROOM_AFTER,
                    };
                    return Status::from(error).into_http();
                }
            },
            _ => None,
        };
        let work = AssertUnwindSafe(async move {
            if request.headers().contains_key(AFTER)
                && let Err(error) = self.wait_until_seen(request.headers(), deadline).await
            {
                return Status::from(error).into_http();
            }
            let Ok(()) = poll_fn(|context| inner.poll_ready(context)).await;
            let Ok(response) = inner.call(request).await;
            response
        })
        .catch_unwind();
        let result = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, work).await,
            None => Ok(work.await),
        };
        match result {
            Ok(Ok(response)) => match Status::from_header_map(response.headers()) {
                Some(status) if is_bare(&status) => enriched(status).into_http(),
                _ => response,
            },
            Ok(Err(panic)) => Status::from(panicked(panic.as_ref())).into_http(),
            Err(_) => Status::from(Error::DeadlineExceeded).into_http(),
        }
    }

    /// Has a call that must read certain writes wait for them: most of its time, so that there is some left to answer.
    async fn wait_until_seen(&self, headers: &HeaderMap, deadline: Option<Instant>) -> Result<(), Error> {
        let left = deadline.map_or(SEEN_IN, |deadline| deadline.saturating_duration_since(Instant::now()).mul_f64(0.8));
        self.seen.wait(&MetadataMap::from_headers(headers.clone()), left).await
    }

    /// Lets a call in, with its principal among its extensions.
    fn admit(&self, request: &mut Request<Body>) -> Result<(), Error> {
        if Permissions::is_open(request.uri().path()) {
            return Ok(());
        }
        let principal = self.authenticator.authenticate(request.headers(), request.extensions())?;
        let role = self.permissions.check(request.uri().path(), &principal)?;
        request.extensions_mut().insert(principal);
        request.extensions_mut().insert(ActingRole(role));
        Ok(())
    }

    fn time_allowed(&self, headers: &HeaderMap) -> Duration {
        let wanted = call::timeout_of(headers).unwrap_or(self.limits.default_deadline);
        let allowed = wanted.min(self.limits.max_deadline);
        allowed.saturating_sub(HEAD_START.min(allowed / 4))
    }

    /// When a stream on a connection ends: after the connection was asked to go, so that it is taken up again on
    /// another one, and before it is cut off; not all at once.
    fn stream_ends(&self, opened: Instant) -> Instant {
        let part = rand::rng().random_range(0.1..0.8);
        opened + self.limits.connection_age + self.limits.connection_grace.mul_f64(part)
    }
}

fn opened(request: &Request<Body>) -> Option<Instant> {
    let extensions = request.extensions();
    let plain = extensions.get::<Opened>();
    plain.or_else(|| extensions.get::<TlsConnectInfo<Opened>>().map(TlsConnectInfo::get_ref)).map(|opened| opened.0)
}

/// The status that headers or trailers carry.
pub(super) fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|value| Code::from_bytes(value.as_bytes()))
}

/// The error of a call whose service panicked.
pub(super) fn panicked(panic: &(dyn Any + Send)) -> Error {
    Error::internal(anyhow::anyhow!("the service panicked: {}", panic_message(panic)))
}

/// Whether a status is an error that does not come from [`Error`]: one of tonic's own.
pub(super) fn is_bare(status: &Status) -> bool {
    status.code() != Code::Ok && status.details().is_empty()
}

/// What tonic refuses by itself, said as everything else is: a request that can't be read, a method that is not there.
///
/// Services that read a stream of requests pass the errors of reading through this as well.
#[must_use]
pub fn enriched(status: Status) -> Status {
    if !is_bare(&status) {
        return status;
    }
    let metadata = status.metadata().clone();
    let mut rich = reasoned(&status);
    // Which encodings are accepted, for example.
    *rich.metadata_mut() = metadata;
    rich
}

fn reasoned(status: &Status) -> Status {
    let with_reason = |code, reason: &str, message: String| {
        let details = ErrorDetails::with_error_info(reason, error::DOMAIN, std::collections::HashMap::new());
        Status::with_error_details(code, message, details)
    };
    let message = status.message().to_owned();
    match status.code() {
        Code::Internal if UNREADABLE.iter().any(|beginning| message.starts_with(beginning)) => {
            Error::invalid("", message).into()
        }
        Code::OutOfRange | Code::ResourceExhausted => {
            let text = format!("{message}; messages may have at most {} bytes", super::MESSAGE_LIMIT);
            with_reason(Code::ResourceExhausted, "MESSAGE_TOO_LARGE", text)
        }
        Code::Unimplemented => {
            let message = if message.is_empty() { "there is no such method here".to_owned() } else { message };
            with_reason(Code::Unimplemented, "UNIMPLEMENTED", message)
        }
        // The cause stays with us.
        Code::Internal | Code::Unknown | Code::DataLoss => Error::internal(anyhow::anyhow!("{message}")).into(),
        Code::Cancelled => with_reason(Code::Cancelled, "CANCELLED", message),
        code => with_reason(code, &format!("{code:?}").to_ascii_uppercase(), message),
    }
}

/// How tonic begins to say that a request can't be read; it calls that INTERNAL.
const UNREADABLE: [&str; 5] = [
    "failed to decode Protobuf message",
    "protocol error: received message with",
    "Missing request message",
    "Unexpected EOF decoding stream",
    "Error decompressing",
];

/// One call, from its headers to its end: measured, and counted as open.
pub(super) struct Observation {
    span: ServerSpan,
    started: Instant,
    open: Arc<AtomicUsize>,
    ended: bool,
}

impl Observation {
    fn begin(span: ServerSpan, started: Instant, open: Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self { span, started, open, ended: false }
    }

    pub(super) fn end(&mut self, code: Code) {
        if !std::mem::replace(&mut self.ended, true) {
            self.span.end(telemetry::code_name(code), self.started.elapsed());
        }
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        // Whoever called did not wait for the end.
        self.end(Code::Cancelled);
    }
}
