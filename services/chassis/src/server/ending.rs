//! The end of a response stream. Streams live as long as somebody listens, unless the connection grows old or the
//! server stops; then they end here, between two messages, whatever the service behind them does.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Code, Status, body::Body};

use super::{
    call::{CALL, Call},
    edge::{self, Observation},
    methods::Flow,
};
use crate::error::Error;

/// A response stream with its end.
pub(super) struct Ending {
    inner: Option<Body>,
    flow: Flow,
    age: Pin<Box<Sleep>>,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
    call: Call,
    observation: Observation,
}

impl Ending {
    pub(super) fn new(
        inner: Body,
        flow: Flow,
        ends: Instant,
        stopping: CancellationToken,
        call: Call,
        observation: Observation,
    ) -> Self {
        Self {
            inner: Some(inner),
            flow,
            age: Box::pin(tokio::time::sleep_until(ends)),
            stopping: Box::pin(stopping.cancelled_owned()),
            call,
            observation,
        }
    }

    /// The last frame, with which the stream ends.
    fn end(&mut self, trailers: HeaderMap) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.inner = None;
        self.observation.end(edge::code_of(&trailers).unwrap_or(Code::Ok));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn end_with(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let status = CALL.sync_scope(self.call.clone(), || Status::from(error));
        self.end(trailers_of(&status))
    }
}

/// The trailers that say a status.
fn trailers_of(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // A status of ours has no metadata that could not be a header.
    let _ = status.add_header(&mut trailers);
    trailers
}

impl http_body::Body for Ending {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        // Looked at first: a stream that always has something to say must end as well.
        if this.stopping.as_mut().poll(context).is_ready() || this.age.as_mut().poll(context).is_ready() {
            return match this.flow {
                // Everything sent so far counts; the caller asks again from there.
                Flow::ServerStream => {
                    this.end(HeaderMap::from_iter([(Status::GRPC_STATUS, HeaderValue::from_static("0"))]))
                }
                // OK would say that every request was worked on.
                _ => this.end_with(Error::unavailable(
                    "the stream ends because of its age or because the service stops; send again what was not answered",
                )),
            };
        }
        let poll = || CALL.sync_scope(this.call.clone(), || Pin::new(inner).poll_frame(context));
        let frame: Result<_, Box<dyn Any + Send>> = match catch_unwind(AssertUnwindSafe(poll)) {
            Ok(frame) => Ok(ready!(frame)),
            Err(panic) => Err(panic),
        };
        match frame {
            Err(panic) => this.end_with(edge::panicked(panic.as_ref())),
            Ok(None) => {
                this.inner = None;
                this.observation.end(Code::Ok);
                Poll::Ready(None)
            }
            Ok(Some(Err(status))) => this.end(trailers_of(&status)),
            Ok(Some(Ok(frame))) => match frame.into_trailers() {
                Ok(trailers) => {
                    let trailers = match Status::from_header_map(&trailers) {
                        Some(status) if edge::is_bare(&status) => {
                            let status = CALL.sync_scope(this.call.clone(), || edge::enriched(status));
                            trailers_of(&status)
                        }
                        _ => trailers,
                    };
                    this.end(trailers)
                }
                Err(frame) => Poll::Ready(Some(Ok(frame))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_none()
    }
}
