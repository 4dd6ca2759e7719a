//! What makes a configuration that could be read unfit all the same.

use std::time::Duration;

use super::{Config, Spelled};
use crate::{client, identity::Authenticator, server, telemetry};

/// How many partitions a ledger may have.
const MOST_PARTITIONS: u32 = 256;
/// The shortest and the longest sensible value of any duration.
const DURATIONS: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(7 * 24 * 3600);

impl<S> Config<S> {
    /// Everything that is wrong, one sentence each.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |holds: bool, problem: &dyn Fn() -> String| {
            if !holds {
                problems.push(problem());
            }
        };
        check(self.database_url.is_none() || self.is_postgres() || self.is_sqlite_url(), &|| {
            "database_url: must begin with postgres:// or sqlite:".into()
        });
        check((1..=MOST_PARTITIONS).contains(&self.partitions), &|| {
            format!("partitions: must be 1 to {MOST_PARTITIONS}")
        });
        check(telemetry::filter(&self.log).is_ok(), &|| format!("log: {:?} is no log filter", self.log));
        for (name, uri) in &self.peers {
            check(client::endpoint_uri(uri).is_ok(), &|| {
                format!("peers.{name}: {uri:?} is not a URL such as http://host:7411")
            });
            check(!uri.starts_with("https://") || self.client.ca.is_some(), &|| {
                format!("peers.{name}: https needs client.ca, the authorities to trust")
            });
        }
        let together = [
            ("tls.cert", self.tls.cert.is_some(), "tls.key", self.tls.key.is_some()),
            ("client.cert", self.client.cert.is_some(), "client.key", self.client.key.is_some()),
        ];
        for (one, has_one, other, has_other) in together {
            check(has_one == has_other, &|| format!("{one} and {other}: one is set without the other"));
        }
        check(self.tls.client_ca.is_none() || self.tls.cert.is_some(), &|| {
            "tls.client_ca: client certificates need tls.cert and tls.key".into()
        });
        let issuer = self.auth.jwt_issuer.is_some() && self.auth.jwt_audience.is_some();
        check(self.auth.jwt_keys.is_none() || issuer, &|| {
            "auth.jwt_keys: tokens need auth.jwt_issuer and auth.jwt_audience too".into()
        });
        let idle = self.auth.jwt_issuer.is_some() || self.auth.jwt_audience.is_some();
        check(self.auth.jwt_keys.is_some() || !idle, &|| {
            "auth.jwt_issuer and auth.jwt_audience: have no effect without auth.jwt_keys".into()
        });
        check(self.is_authenticated() || self.listen.ip().is_loopback(), &|| {
            format!(
                "listen: {} is not a loopback address, and without auth.jwt_keys or tls.client_ca callers are not \
                 authenticated; configure one of them, or listen on 127.0.0.1",
                self.listen
            )
        });
        let durations = [
            ("client.connect_timeout", self.client.connect_timeout),
            ("client.timeout", self.client.timeout),
            ("client.keepalive_interval", self.client.keepalive_interval),
            ("client.keepalive_timeout", self.client.keepalive_timeout),
            ("server.default_deadline", self.server.default_deadline),
            ("server.max_deadline", self.server.max_deadline),
            ("server.connection_age", self.server.connection_age),
            ("server.connection_grace", self.server.connection_grace),
            ("server.drain_deadline", self.server.drain_deadline),
        ];
        for (key, duration) in durations {
            check(DURATIONS.contains(&duration), &|| {
                format!("{key}: must be from {} to {}", Spelled(*DURATIONS.start()), Spelled(*DURATIONS.end()))
            });
        }
        check(self.server.default_deadline <= self.server.max_deadline, &|| {
            "server.default_deadline: must not be longer than server.max_deadline".into()
        });
        check(self.server.max_in_flight > 0, &|| "server.max_in_flight: must be at least 1".into());
        check(self.server.max_streams_per_connection > 0, &|| {
            "server.max_streams_per_connection: must be at least 1".into()
        });
        // The files last, and only if the keys fit together: a missing key file would be reported twice.
        if problems.is_empty() {
            problems.extend(Authenticator::open(&self.auth, &self.tls).err().map(|error| format!("{error:#}")));
            problems
                .extend(server::tls(&self.tls, self.auth.jwt_keys.is_some()).err().map(|error| format!("{error:#}")));
            problems.extend(client::check(&self.client).err().map(|error| format!("{error:#}")));
        }
        problems
    }

    fn is_sqlite_url(&self) -> bool {
        use secrecy::ExposeSecret;
        self.database_url.as_ref().is_some_and(|url| url.expose_secret().starts_with("sqlite:"))
    }
}
