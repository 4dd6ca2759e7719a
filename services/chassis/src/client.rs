//! How a service calls another: a channel that connects by itself, notices dead connections, says who calls and how
//! long the caller waits.

mod credentials;
mod retry;

use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::{Context as _, bail};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokio::time::Instant;
use tonic::{
    Code, Status,
    body::Body,
    transport::{self, Endpoint},
};
use tower::Service;

use self::{credentials::Token, retry::Budget};
use crate::{
    config::Client,
    error::Error,
    server::{self, Flow},
    telemetry::{self, ClientSpan, TRACEPARENT},
};

/// The HTTP/2 flow-control windows; see the server's.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// How many calls may wait in a channel for the connection to take them.
const QUEUE: usize = 4096;

/// A channel to a service, for its generated client: `sized!(IntakeServiceClient::new(channel))`. Clones share one
/// connection.
///
/// Every call carries the service's credentials and the trace of the call in whose name it is made. A unary call has a
/// deadline: its own (`tonic::Request::set_timeout`), but never a later one than that of the call in whose name it is
/// made, else `client.timeout`; when it passes, the caller gets DEADLINE_EXCEEDED. Streams have none.
#[derive(Clone, Debug)]
pub struct Channel {
    inner: transport::Channel,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    token: Option<Token>,
    timeout: Duration,
    budget: Budget,
}

/// A channel to the service at a URL. Nothing is connected yet: that happens when the first call is made, and again
/// whenever the connection is lost.
///
/// # Errors
/// The URL is none, or the credentials can't be read. Must be called inside a tokio runtime.
pub fn connect(uri: &str, config: &Client) -> anyhow::Result<Channel> {
    let mut endpoint = endpoint_uri(uri)?
        .connect_timeout(config.connect_timeout)
        .http2_keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .buffer_size(QUEUE);
    if endpoint.uri().scheme_str() == Some("https") {
        endpoint = credentials::secured(endpoint, config)?;
    }
    let token = config.token_file.as_deref().map(Token::open).transpose()?;
    let shared = Shared { token, timeout: config.timeout, budget: Budget::new() };
    Ok(Channel { inner: endpoint.connect_lazy(), shared: Arc::new(shared) })
}

/// Checks a URL of a service.
pub(crate) fn endpoint_uri(uri: &str) -> anyhow::Result<Endpoint> {
    let endpoint = Endpoint::from_shared(uri.to_owned()).with_context(|| format!("{uri:?} is no URL"))?;
    if !matches!(endpoint.uri().scheme_str(), Some("http" | "https")) || endpoint.uri().authority().is_none() {
        bail!("{uri:?} must be a URL such as http://host:7411");
    }
    Ok(endpoint)
}

/// Checks the credentials that a configuration names.
pub(crate) fn check(config: &Client) -> anyhow::Result<()> {
    if let Some(path) = &config.token_file {
        Token::open(path)?;
    }
    if config.ca.is_some() {
        credentials::secured(Endpoint::from_static("https://localhost"), config)?;
    }
    Ok(())
}

impl Channel {
    /// Makes a unary call, and again if it fails with UNAVAILABLE: at most four times in all, after a growing and
    /// random pause (or the one that the service asks for), within the deadline of the current call, and within a
    /// budget that all users of the channel share, so that retries don't add to an outage. Only for calls that may be
    /// repeated; those of the suite's contracts all may, with the same `request_id`.
    ///
    /// ```ignore
    /// let client = sized!(IntakeServiceClient::new(channel.clone()));
    /// let messages = channel.retry(|| { let mut client = client.clone(); let request = request.clone();
    ///     async move { client.batch_get_messages(request).await } }).await?;
    /// ```
    ///
    /// # Errors
    /// What the last attempt failed with.
    pub async fn retry<T, F, Fut>(&self, call: F) -> Result<T, Status>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        retry::retry(&self.shared.budget, retry::FIRST_PAUSE, call).await
    }
}

impl Shared {
    /// Writes who calls, and in which trace.
    fn introduce<B>(&self, request: &mut Request<B>, span: &ClientSpan) {
        let headers = request.headers_mut();
        if let Some(token) = &self.token
            && !headers.contains_key(http::header::AUTHORIZATION)
        {
            headers.insert(http::header::AUTHORIZATION, token.header());
        }
        if let Some(trace) = span.trace() {
            headers.insert(TRACEPARENT, trace.header());
        }
    }

    /// When a unary call must have been answered.
    fn deadline<B>(&self, request: &Request<B>) -> Instant {
        let now = Instant::now();
        let own = now + server::timeout_of(request.headers()).unwrap_or(self.timeout);
        server::deadline().map_or(own, |callers| own.min(callers.into()))
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = transport::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, transport::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), transport::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let started = Instant::now();
        let method = server::method(request.uri().path());
        let span = ClientSpan::begin(method.map(|method| method.name));
        self.shared.introduce(&mut request, &span);
        let deadline = method.is_none_or(|method| method.flow == Flow::Unary).then(|| self.shared.deadline(&request));
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(started);
            request.headers_mut().insert(server::GRPC_TIMEOUT, server::spelled(left));
        }
        // The clone takes the place of the one that has been found ready.
        let next = self.inner.clone();
        let mut ready = mem::replace(&mut self.inner, next);
        Box::pin(async move {
            let too_late = || Status::from(Error::DeadlineExceeded).into_http();
            let result = match deadline {
                None => ready.call(request).await,
                // Work whose deadline has passed is not begun.
                Some(deadline) if deadline <= started => Ok(too_late()),
                Some(deadline) => match tokio::time::timeout_at(deadline, ready.call(request)).await {
                    Ok(result) => result,
                    Err(_) => Ok(too_late()),
                },
            };
            let response = match result {
                Ok(response) => response.map(|body| Body::new(body.map_err(transport_failure))),
                // tonic's own timer, which goes by the same header, may have been a moment faster.
                Err(error) if deadline.is_some() && is_timeout(&error) => too_late(),
                Err(error) => transport_failure(Status::from_error(Box::new(error))).into_http(),
            };
            let code = response.headers().get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()));
            span.end(telemetry::code_name(code.unwrap_or(Code::Ok)), started.elapsed());
            Ok(response)
        })
    }
}

/// A failure below gRPC. tonic calls most of them UNKNOWN or INTERNAL; but it is the connection that failed, not the
/// service, and the call may be made again.
fn transport_failure(status: Status) -> Status {
    match status.code() {
        Code::Unknown | Code::Internal => {
            let mut text = status.message().to_owned();
            if let Some(source) = std::error::Error::source(&status) {
                text = format!("{text}: {}", server::chain(source));
            }
            Status::unavailable(format!("the connection failed: {text}"))
        }
        _ => status,
    }
}

fn is_timeout(error: &transport::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.is::<tonic::TimeoutExpired>() {
            return true;
        }
        source = cause.source();
    }
    false
}
