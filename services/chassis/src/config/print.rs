//! The configuration in force, as TOML that could be read back, without its secrets.

use std::{path::Path, time::Duration};

use secrecy::ExposeSecret;
use serde::Serialize;
use toml::{Table, Value};

use super::{Config, Spelled};

/// What stands in place of a secret.
const REDACTED: &str = "[redacted]";

impl<S: Serialize> Config<S> {
    /// The configuration as TOML: every key that has a value, defaults included; passwords replaced by
    /// `[redacted]`. Secrets of the service's own settings are for its `Serialize` to redact.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut top = Table::new();
        let mut section = Printer(Table::new());
        section.text("listen", &self.listen);
        section.some("database_url", self.database_url.as_ref().map(|url| redacted_url(url.expose_secret())));
        if let Ok(Value::Table(settings)) = Value::try_from(&self.settings) {
            section.0.extend(settings);
        }

        let mut shared = Printer(Table::new());
        shared.text("data_dir", &self.data_dir.display());
        shared.some("region_dir", self.region_dir.as_deref().map(path));
        shared.0.insert("migrate_on_start".into(), self.migrate_on_start.into());
        shared.0.insert("partitions".into(), i64::from(self.partitions).into());
        shared.0.insert("reflection".into(), self.reflection.into());
        shared.text("log", &self.log);
        shared.text("log_format", &self.log_format);
        top.extend(shared.0);

        let mut peers = Printer(Table::new());
        for (name, uri) in &self.peers {
            peers.text(name, uri);
        }
        let mut auth = Printer(Table::new());
        auth.some("jwt_keys", self.auth.jwt_keys.as_deref().map(path));
        auth.some("jwt_issuer", self.auth.jwt_issuer.clone());
        auth.some("jwt_audience", self.auth.jwt_audience.clone());
        let mut tls = Printer(Table::new());
        tls.some("cert", self.tls.cert.as_deref().map(path));
        tls.some("key", self.tls.key.as_deref().map(path));
        tls.some("client_ca", self.tls.client_ca.as_deref().map(path));
        let mut client = Printer(Table::new());
        client.some("token_file", self.client.token_file.as_deref().map(path));
        client.some("cert", self.client.cert.as_deref().map(path));
        client.some("key", self.client.key.as_deref().map(path));
        client.some("ca", self.client.ca.as_deref().map(path));
        client.some("server_name", self.client.server_name.clone());
        client.duration("connect_timeout", self.client.connect_timeout);
        client.duration("timeout", self.client.timeout);
        client.duration("keepalive_interval", self.client.keepalive_interval);
        client.duration("keepalive_timeout", self.client.keepalive_timeout);
        let mut server = Printer(Table::new());
        server.0.insert("max_in_flight".into(), i64::from(self.server.max_in_flight).into());
        server.0.insert("max_streams_per_connection".into(), i64::from(self.server.max_streams_per_connection).into());
        server.duration("default_deadline", self.server.default_deadline);
        server.duration("max_deadline", self.server.max_deadline);
        server.duration("connection_age", self.server.connection_age);
        server.duration("connection_grace", self.server.connection_grace);
        server.duration("lame_duck", self.server.lame_duck);
        server.duration("drain_deadline", self.server.drain_deadline);
        for (name, table) in [
            ("peers", peers),
            ("auth", auth),
            ("tls", tls),
            ("client", client),
            ("server", server),
            (self.name, section),
        ] {
            if !table.0.is_empty() {
                top.insert(name.into(), table.0.into());
            }
        }
        toml::to_string(&top).unwrap_or_else(|error| format!("# {error}\n"))
    }
}

struct Printer(Table);

impl Printer {
    fn text(&mut self, key: &str, value: &impl ToString) {
        self.0.insert(key.into(), value.to_string().into());
    }

    fn some(&mut self, key: &str, value: Option<String>) {
        if let Some(value) = value {
            self.text(key, &value);
        }
    }

    fn duration(&mut self, key: &str, value: Duration) {
        self.text(key, &Spelled(value));
    }
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// The URL without its password. What is not understood is hidden whole.
fn redacted_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return if url.starts_with("sqlite:") { url.to_owned() } else { REDACTED.to_owned() };
    };
    if rest.to_ascii_lowercase().contains("password") {
        return REDACTED.to_owned();
    }
    match rest.rsplit_once('@') {
        None => url.to_owned(),
        Some((user, host)) => {
            let name = user.split(':').next().unwrap_or_default();
            let password = if user.contains(':') { format!(":{REDACTED}") } else { String::new() };
            format!("{scheme}://{name}{password}@{host}")
        }
    }
}
