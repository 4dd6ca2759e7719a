//! Configuration: read whole, from defaults, a TOML file and the environment, and checked whole before anything
//! is opened. Every mistake is reported at once.
//!
//! A later source wins: the defaults; the file's top level; the file's section of the service; `OTKLIK_<KEY>`;
//! `OTKLIK_<SERVICE>_<KEY>`. A key of a table is spelled `tls.cert` in the file and `TLS_CERT` in the environment.
//! Keys of the service's section that are not common to all services are the service's own settings.
//!
//! ```toml
//! data_dir = "/var/lib/otklik"
//! tls.cert = "/etc/otklik/tls.crt"
//! tls.key = "/etc/otklik/tls.key"
//!
//! [intake]
//! listen = "0.0.0.0:7411"
//! ```

mod check;
mod print;
mod reader;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, de::DeserializeOwned};

use self::reader::Reader;
pub use self::reader::Sources;
use crate::telemetry::LogFormat;

/// The services of the suite and the ports they listen on unless told otherwise; `channel` is the channel adapter
/// that deliveries go to.
pub const SERVICES: [(&str, u16); 6] = [
    ("intake", 7411),
    ("classification", 7412),
    ("assignment", 7413),
    ("feedback", 7414),
    ("audit", 7415),
    ("channel", 7416),
];

/// The configuration of one service; `S` is the type of its own settings.
#[derive(Clone, Debug)]
pub struct Config<S> {
    /// The service's name.
    pub name: &'static str,
    /// The address to listen on; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The URL of the service's PostgreSQL database; SQLite in `data_dir` when there is none.
    pub database_url: Option<SecretString>,
    /// Where the SQLite files live, one per service.
    pub data_dir: PathBuf,
    /// The region pack to use in place of the embedded one.
    pub region_dir: Option<PathBuf>,
    /// Whether `serve` brings the database's schema up to date. By default SQLite does and PostgreSQL does not:
    /// there `migrate` is a step of the deployment, with rights that the service need not have.
    pub migrate_on_start: bool,
    /// How many partitions the ledger gets when the database is created; later changes have no effect.
    pub partitions: u32,
    /// Whether gRPC reflection is offered.
    pub reflection: bool,
    /// What is logged, in the syntax of tracing's `EnvFilter`.
    pub log: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Where the other services are, by name.
    pub peers: BTreeMap<String, String>,
    /// Whom callers' tokens must come from.
    pub auth: Auth,
    /// The server's certificate and whom client certificates must come from.
    pub tls: Tls,
    /// How this service calls the others.
    pub client: Client,
    /// The limits of the server.
    pub server: Server,
    /// The service's own settings.
    pub settings: S,
    /// The socket, when it was bound ahead of the start.
    listener: Arc<Mutex<Option<TcpListener>>>,
}

/// Bearer tokens: JSON Web Tokens signed with RS256, ES256 or EdDSA, with expiry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// A file of the issuer's public keys: a JWK set, or PEM public keys.
    pub jwt_keys: Option<PathBuf>,
    /// The `iss` that a token must have.
    pub jwt_issuer: Option<String>,
    /// The `aud` that a token must have.
    pub jwt_audience: Option<String>,
}

/// Transport security of the server; PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The server's certificate chain.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// The authorities that client certificates must come from. With it, callers may be known by their certificate,
    /// and must be unless tokens are configured too.
    pub client_ca: Option<PathBuf>,
}

/// How a service calls another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// A file with a bearer token; read again when it changes.
    pub token_file: Option<PathBuf>,
    /// The client's certificate chain, PEM.
    pub cert: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
    /// The authorities that servers' certificates must come from, PEM; needed for `https` peers.
    pub ca: Option<PathBuf>,
    /// The name to expect in servers' certificates in place of the host of the URL.
    pub server_name: Option<String>,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// The deadline of a unary call that has no other.
    pub timeout: Duration,
    /// After how much silence a connection is probed.
    pub keepalive_interval: Duration,
    /// How long a probe may go unanswered before the connection is given up.
    pub keepalive_timeout: Duration,
}

/// The limits of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// How many unary calls may be in work at once; more are refused with RESOURCE_EXHAUSTED.
    pub max_in_flight: u32,
    /// How many calls and streams one connection may have open.
    pub max_streams_per_connection: u32,
    /// The deadline of a unary call whose caller set none.
    pub default_deadline: Duration,
    /// The longest deadline of a unary call; a longer one is shortened.
    pub max_deadline: Duration,
    /// At what age a connection is asked to go (GOAWAY); server streams end a little earlier, with OK.
    pub connection_age: Duration,
    /// How much later it is cut off.
    pub connection_grace: Duration,
    /// How long a stopping server goes on taking calls after it has said NOT_SERVING, so that load balancers notice.
    pub lame_duck: Duration,
    /// How long calls in flight may take to end, and then tasks, before they are abandoned.
    pub drain_deadline: Duration,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            token_file: None,
            cert: None,
            key: None,
            ca: None,
            server_name: None,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            max_in_flight: 4096,
            max_streams_per_connection: 1024,
            default_deadline: Duration::from_secs(30),
            max_deadline: Duration::from_secs(300),
            connection_age: Duration::from_secs(30 * 60),
            connection_grace: Duration::from_secs(60),
            lame_duck: Duration::from_millis(500),
            drain_deadline: Duration::from_secs(20),
        }
    }
}

/// Everything that is wrong with a configuration, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.join("; "))]
pub struct InvalidConfig {
    /// One sentence per mistake, beginning with the key.
    pub problems: Vec<String>,
}

impl<S: Default> Config<S> {
    /// The configuration of a service that nobody has configured: SQLite in `./data`, an open loopback.
    pub fn defaults(name: &'static str, default_port: u16) -> Self {
        Self {
            name,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, default_port)),
            database_url: None,
            data_dir: PathBuf::from("./data"),
            region_dir: None,
            migrate_on_start: true,
            partitions: 1,
            reflection: true,
            log: "info".into(),
            log_format: LogFormat::default(),
            peers: SERVICES
                .iter()
                .map(|(name, port)| ((*name).to_owned(), format!("http://127.0.0.1:{port}")))
                .collect(),
            auth: Auth::default(),
            tls: Tls::default(),
            client: Client::default(),
            server: Server::default(),
            settings: S::default(),
            listener: Arc::default(),
        }
    }
}

impl<S: DeserializeOwned + Serialize + Default> Config<S> {
    /// Reads and checks the configuration of a service. Files that it names (keys, certificates) are read too, to
    /// check them; nothing is bound or connected to.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn read(name: &'static str, default_port: u16, sources: &Sources) -> Result<Self, InvalidConfig> {
        let mut config = Self::defaults(name, default_port);
        let mut reader = Reader::open(name, sources)?;
        reader.set("listen", &mut config.listen);
        reader.set_some("database_url", &mut config.database_url);
        reader.set("data_dir", &mut config.data_dir);
        reader.set_some("region_dir", &mut config.region_dir);
        config.migrate_on_start = !config.is_postgres();
        reader.set("migrate_on_start", &mut config.migrate_on_start);
        reader.set("partitions", &mut config.partitions);
        reader.set("reflection", &mut config.reflection);
        reader.set("log", &mut config.log);
        reader.set("log_format", &mut config.log_format);
        for (peer, uri) in &mut config.peers {
            reader.set(&format!("peers.{peer}"), uri);
        }
        reader.set_some("auth.jwt_keys", &mut config.auth.jwt_keys);
        reader.set_some("auth.jwt_issuer", &mut config.auth.jwt_issuer);
        reader.set_some("auth.jwt_audience", &mut config.auth.jwt_audience);
        reader.set_some("tls.cert", &mut config.tls.cert);
        reader.set_some("tls.key", &mut config.tls.key);
        reader.set_some("tls.client_ca", &mut config.tls.client_ca);
        config.client.read(&mut reader);
        config.server.read(&mut reader);
        config.settings = reader.settings();

        let mut problems = reader.finish();
        problems.extend(config.problems());
        if problems.is_empty() { Ok(config) } else { Err(InvalidConfig { problems }) }
    }
}

impl Client {
    fn read(&mut self, reader: &mut Reader) {
        reader.set_some("client.token_file", &mut self.token_file);
        reader.set_some("client.cert", &mut self.cert);
        reader.set_some("client.key", &mut self.key);
        reader.set_some("client.ca", &mut self.ca);
        reader.set_some("client.server_name", &mut self.server_name);
        reader.set_duration("client.connect_timeout", &mut self.connect_timeout);
        reader.set_duration("client.timeout", &mut self.timeout);
        reader.set_duration("client.keepalive_interval", &mut self.keepalive_interval);
        reader.set_duration("client.keepalive_timeout", &mut self.keepalive_timeout);
    }
}

impl Server {
    fn read(&mut self, reader: &mut Reader) {
        reader.set("server.max_in_flight", &mut self.max_in_flight);
        reader.set("server.max_streams_per_connection", &mut self.max_streams_per_connection);
        reader.set_duration("server.default_deadline", &mut self.default_deadline);
        reader.set_duration("server.max_deadline", &mut self.max_deadline);
        reader.set_duration("server.connection_age", &mut self.connection_age);
        reader.set_duration("server.connection_grace", &mut self.connection_grace);
        reader.set_duration("server.lame_duck", &mut self.lame_duck);
        reader.set_duration("server.drain_deadline", &mut self.drain_deadline);
    }
}

impl<S> Config<S> {
    /// Whether the service's database is PostgreSQL.
    #[must_use]
    pub fn is_postgres(&self) -> bool {
        self.database_url.as_ref().is_some_and(|url| {
            let url = url.expose_secret();
            url.starts_with("postgres://") || url.starts_with("postgresql://")
        })
    }

    /// Whether callers must prove who they are. Without it the service is an open loopback.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        self.auth.jwt_keys.is_some() || self.tls.client_ca.is_some()
    }

    /// Binds the address ahead of the start, and puts the real one into `listen`. For whoever must know the
    /// addresses of several services before the first of them starts.
    ///
    /// # Errors
    /// The address is taken, or not this machine's.
    pub fn bind(&mut self) -> std::io::Result<SocketAddr> {
        let listener = TcpListener::bind(self.listen)?;
        listener.set_nonblocking(true)?;
        self.listen = listener.local_addr()?;
        self.listener = Arc::new(Mutex::new(Some(listener)));
        Ok(self.listen)
    }

    /// The socket that was bound ahead. Only the first start gets it: were it kept, the port would stay open after
    /// the service has stopped.
    pub(crate) fn take_listener(&self) -> Option<TcpListener> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Where a client on the same machine reaches the service once it listens.
    #[must_use]
    pub fn local_uri(&self, address: SocketAddr) -> String {
        let scheme = if self.tls.cert.is_some() { "https" } else { "http" };
        let host = match address.ip() {
            ip if ip.is_unspecified() && ip.is_ipv4() => "127.0.0.1".to_owned(),
            ip if ip.is_unspecified() => "[::1]".to_owned(),
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
            ip => ip.to_string(),
        };
        format!("{scheme}://{host}:{}", address.port())
    }
}

/// A duration as the configuration spells it: `30s`, `500ms`, `1h 30m`.
pub(crate) struct Spelled(pub(crate) Duration);

impl fmt::Display for Spelled {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::SignedDuration::try_from(self.0) {
            Ok(duration) => write!(formatter, "{duration:#}"),
            Err(_) => write!(formatter, "{}s", self.0.as_secs()),
        }
    }
}
