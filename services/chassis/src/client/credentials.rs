//! What a client shows of itself, and whom it trusts.

use std::{
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock},
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context as _;
use http::HeaderValue;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::{config::Client, server::chain};

/// How often the token file is looked at for a change.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// A bearer token in a file, which whoever issues it replaces before it expires.
pub(super) struct Token {
    path: PathBuf,
    current: RwLock<Current>,
}

#[derive(Clone)]
struct Current {
    header: HeaderValue,
    modified: Option<SystemTime>,
    looked: Instant,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "the token of {}", self.path.display())
    }
}

impl Token {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        Ok(Self { path: path.to_owned(), current: RwLock::new(Current::read(path)?) })
    }

    /// The header `authorization`. A file that has become unreadable leaves the old token in use.
    pub(super) fn header(&self) -> HeaderValue {
        let known = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        if known.looked.elapsed() < LOOK_INTERVAL {
            return known.header;
        }
        let next = if modified(&self.path) == known.modified {
            Current { looked: Instant::now(), ..known }
        } else {
            Current::read(&self.path).unwrap_or_else(|error| {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the changed token file can't be used; the token before it stays"
                );
                Current { looked: Instant::now(), ..known }
            })
        };
        let header = next.header.clone();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        header
    }
}

impl Current {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let (modified, looked) = (modified(path), Instant::now());
        let about = || format!("client.token_file: {}", path.display());
        let text = std::fs::read_to_string(path).with_context(about)?;
        // The error of the header would repeat nothing of the token, and says nothing else either.
        let mut header = HeaderValue::from_str(&format!("Bearer {}", text.trim()))
            .map_err(|_| anyhow::anyhow!("holds no token"))
            .with_context(about)?;
        header.set_sensitive(true);
        Ok(Self { header, modified, looked })
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// The endpoint with TLS.
pub(super) fn secured(endpoint: Endpoint, config: &Client) -> anyhow::Result<Endpoint> {
    let read = |name: &str, path: &Path| std::fs::read(path).with_context(|| format!("{name}: {}", path.display()));
    let ca = config.ca.as_deref().context("client.ca: an https URL needs the authorities to trust")?;
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read("client.ca", ca)?));
    if let (Some(cert), Some(key)) = (&config.cert, &config.key) {
        tls = tls.identity(Identity::from_pem(read("client.cert", cert)?, read("client.key", key)?));
    }
    if let Some(name) = &config.server_name {
        tls = tls.domain_name(name);
    }
    endpoint.tls_config(tls).map_err(|error| anyhow::anyhow!("client.ca, client.cert, client.key: {}", chain(&error)))
}
