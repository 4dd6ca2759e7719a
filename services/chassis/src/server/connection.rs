//! The connections that a server accepts, each with the ends it must come to.
//!
//! tonic sends GOAWAY when a connection has its age, but not if a grace is set as well; it waits for ever for a peer
//! that has connected and says nothing; and connections outlive an aborted server. So the cutting off is done here,
//! on the socket.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Instant, Sleep},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

/// How long a peer may be silent after it has connected.
const SILENCE: Duration = Duration::from_secs(10);
/// The pause after an accept that failed: when the process is out of file descriptors, the next fails as well.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// When connections end.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    /// How long a connection lives at most.
    pub(super) life: Duration,
    /// The server drains: who has said nothing so far is not waited for.
    pub(super) draining: CancellationToken,
    /// The server has waited long enough for everybody.
    pub(super) cut: CancellationToken,
}

/// A TCP connection that is cut off at its end.
pub(super) struct Connection {
    stream: TcpStream,
    opened: Instant,
    end: Pin<Box<Sleep>>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Until the peer has said something.
    silence: Option<Silence>,
}

struct Silence {
    limit: Pin<Box<Sleep>>,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// When a connection was opened; an extension of its requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened(pub(crate) Instant);

impl Connection {
    fn new(stream: TcpStream, ends: &Ends) -> Self {
        let _ = stream.set_nodelay(true);
        Self {
            stream,
            opened: Instant::now(),
            end: Box::pin(tokio::time::sleep(ends.life)),
            cut: Box::pin(ends.cut.clone().cancelled_owned()),
            silence: Some(Silence {
                limit: Box::pin(tokio::time::sleep(SILENCE)),
                draining: Box::pin(ends.draining.clone().cancelled_owned()),
            }),
        }
    }

    /// Whether the connection must end now. Registers for being woken when it must.
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.cut.as_mut().poll(context).is_ready()
            || self.end.as_mut().poll(context).is_ready()
            || self.silence.as_mut().is_some_and(|silence| {
                silence.limit.as_mut().poll(context).is_ready() || silence.draining.as_mut().poll(context).is_ready()
            })
    }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the server has cut the connection off")
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Ready(result) => {
                this.silence = None;
                Poll::Ready(result)
            }
            // A connection always has a read pending when it is at rest; looking here spares the busy ones.
            Poll::Pending if this.is_over(context) => Poll::Ready(Err(cut_off())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

impl Connected for Connection {
    type ConnectInfo = Opened;

    fn connect_info(&self) -> Opened {
        Opened(self.opened)
    }
}

/// The connections of a listener, for ever.
pub(super) fn accept(listener: TcpListener, ends: Ends) -> impl Stream<Item = io::Result<Connection>> {
    futures::stream::unfold((listener, ends), |(listener, ends)| async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((Ok(Connection::new(stream, &ends)), (listener, ends))),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}
