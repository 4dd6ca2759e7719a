//! The gRPC server of a service: limits, health, reflection, and an orderly end.

mod call;
mod connection;
mod edge;
mod ending;
mod health;
mod methods;

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use rand::Rng;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{Certificate, Identity, Server as Transport, ServerTlsConfig},
};

pub(crate) use self::{
    call::{GRPC_TIMEOUT, spelled, timeout_of, trace},
    connection::Opened,
    methods::{Flow, method, services_of},
};
pub use self::{
    call::{deadline, with_deadline},
    edge::enriched,
    health::{Health, LIVENESS},
};
use self::{connection::Ends, edge::EdgeLayer};
use crate::{
    config::{self, Tls},
    identity::{Authenticator, Permissions},
    seen::Seen,
};

/// The largest message, in bytes, that a service or a client of the suite takes or sends.
pub const MESSAGE_LIMIT: usize = 8 * 1024 * 1024;

#[doc(hidden)]
pub use tonic::codec::CompressionEncoding;

/// Gives a generated gRPC server or client the suite's message limits, and has it accept gzip:
/// `sized!(IntakeServiceServer::new(service))`, `sized!(IntakeServiceClient::new(channel))`.
#[macro_export]
macro_rules! sized {
    ($grpc:expr) => {
        $grpc
            .max_decoding_message_size($crate::server::MESSAGE_LIMIT)
            .max_encoding_message_size($crate::server::MESSAGE_LIMIT)
            .accept_compressed($crate::server::CompressionEncoding::Gzip)
    };
}

/// How often a server at rest probes a connection, and how long it waits for the answer.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// The HTTP/2 flow-control windows. The defaults of 64 KiB are less than one batch of ledger entries.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// After connections were cut off: how long until they are gone.
const AFTERMATH: Duration = Duration::from_secs(2);

/// What a server is made of.
pub struct Setup {
    /// The socket; it accepts connections into its backlog from the moment it is bound.
    pub listener: TcpListener,
    /// The gRPC services. Health and reflection are added.
    pub routes: Routes,
    /// Their full names, for health and reflection.
    pub services: Vec<String>,
    /// The limits.
    pub limits: config::Server,
    /// The certificate, if there is one.
    pub tls: Tls,
    /// Finds out who calls.
    pub authenticator: Authenticator,
    /// Whether reflection is offered.
    pub reflection: bool,
    /// The health to tell.
    pub health: Health,
    /// How far the service has consumed the others, for callers that read their own writes.
    pub seen: Seen,
    /// Is cancelled by the server when it begins to drain, after the lame-duck time.
    pub stopping: CancellationToken,
}

/// Binds an address.
///
/// # Errors
/// The address is taken, or not this machine's.
pub fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).with_context(|| format!("can't listen on {address}"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until `shutdown` is cancelled, and then drains: NOT_SERVING, the lame-duck time, no new connections and an
/// end to streams, time for the calls in flight, and an honest warning about those that had to be cut off.
///
/// # Errors
/// The certificate can't be used, or the server ended by itself.
pub async fn serve(setup: Setup, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Setup {
        listener,
        routes,
        services,
        limits,
        tls: certificate,
        authenticator,
        reflection,
        health,
        seen,
        stopping,
    } = setup;
    let open = Arc::new(AtomicUsize::new(0));
    let cut = CancellationToken::new();
    let ends =
        Ends { life: limits.connection_age + limits.connection_grace, draining: stopping.clone(), cut: cut.clone() };
    let accepted = connection::accept(tokio::net::TcpListener::from_std(listener)?, ends);

    let reporter = tonic_health::server::HealthReporter::new();
    let health_service = tonic_health::server::HealthService::from_health_reporter(reporter.clone());
    let mut routes = routes.add_service(tonic_health::pb::health_server::HealthServer::new(health_service));
    if reflection {
        routes = routes.add_service(reflection_of(&services)?);
    }

    let mut transport = Transport::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(limits.max_streams_per_connection)
        // Replicas that were started together should not lose their callers together. The grace is kept on the
        // socket: given to tonic as well, it would take the place of the GOAWAY.
        .max_connection_age(limits.connection_age.mul_f64(rand::rng().random_range(0.9..1.0)));
    if let Some(tls) = tls(&certificate, authenticator.takes_tokens())? {
        transport = transport.tls_config(tls)?;
    }
    let rules = edge::Rules {
        authenticator,
        permissions: Permissions::of_contracts(),
        room: Semaphore::new(limits.max_in_flight as usize),
        limits: limits.clone(),
        stopping: stopping.clone(),
        open: open.clone(),
        seen,
    };
    let serving = transport
        .layer(EdgeLayer { rules: Arc::new(rules) })
        .add_routes(routes)
        .serve_with_incoming_shutdown(accepted, stopping.clone().cancelled_owned());
    tokio::pin!(serving);

    let mut names = services;
    names.push(String::new());
    let telling = health.report(reporter, names);
    tokio::pin!(telling);

    // While it serves, and while it is a lame duck.
    tokio::select! {
        result = &mut serving => {
            result.context("the server failed")?;
            anyhow::bail!("the server ended by itself");
        }
        () = &mut telling => {}
        () = async {
            shutdown.cancelled().await;
            health.drain();
            tokio::time::sleep(limits.lame_duck).await;
        } => {}
    }

    stopping.cancel();
    let drained = async {
        tokio::select! {
            result = &mut serving => result,
            () = &mut telling => std::future::pending().await,
        }
    };
    if let Ok(result) = tokio::time::timeout(limits.drain_deadline, drained).await {
        return result.context("the server failed while it drained");
    }
    let calls = open.load(Ordering::Relaxed);
    tracing::warn!(
        calls,
        deadline = %config::Spelled(limits.drain_deadline),
        "not everything ended in time; connections are cut off, and calls in flight fail at their callers"
    );
    cut.cancel();
    if tokio::time::timeout(AFTERMATH, serving).await.is_err() {
        tracing::warn!("some connections have not even ended after they were cut off");
    }
    Ok(())
}

/// The transport security that the configuration asks for. Client certificates are optional where tokens are taken too.
///
/// # Errors
/// A file can't be read, or does not hold what it should.
pub(crate) fn tls(config: &Tls, takes_tokens: bool) -> anyhow::Result<Option<ServerTlsConfig>> {
    let (Some(cert), Some(key)) = (&config.cert, &config.key) else { return Ok(None) };
    let read =
        |name: &str, path: &std::path::Path| std::fs::read(path).with_context(|| format!("{name}: {}", path.display()));
    let mut tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(read("tls.cert", cert)?, read("tls.key", key)?))
        .timeout(HANDSHAKE);
    if let Some(ca) = &config.client_ca {
        tls = tls.client_ca_root(Certificate::from_pem(read("tls.client_ca", ca)?)).client_auth_optional(takes_tokens);
    }
    // The transport is the one that understands the files.
    Transport::builder()
        .tls_config(tls.clone())
        .map_err(|error| anyhow::anyhow!("tls.cert, tls.key, tls.client_ca: {}", chain(&error)))?;
    Ok(Some(tls))
}

/// An error with its causes: transport errors say nothing by themselves.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

fn reflection_of(
    services: &[String],
) -> anyhow::Result<
    tonic_reflection::server::v1::ServerReflectionServer<impl tonic_reflection::server::v1::ServerReflection>,
> {
    let mut builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(otklik_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name("grpc.health.v1.Health");
    for service in services {
        builder = builder.with_service_name(service);
    }
    builder.build_v1().context("reflection of the contracts")
}
