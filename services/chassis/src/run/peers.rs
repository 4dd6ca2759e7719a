//! The other services, as this one reaches them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    client::{self, Channel},
    config::Client,
};

/// Channels to the other services, made when first asked for. A channel connects by itself, when it is used, and
/// again whenever the connection is lost: the order in which services start does not matter.
#[derive(Clone, Debug)]
pub struct Peers {
    uris: Arc<BTreeMap<String, String>>,
    client: Client,
    channels: Arc<Mutex<HashMap<String, Channel>>>,
}

impl Peers {
    /// The peers at these URLs, by name.
    #[must_use]
    pub fn new(uris: BTreeMap<String, String>, client: Client) -> Self {
        Self { uris: Arc::new(uris), client, channels: Arc::default() }
    }

    /// The channel to a service of the suite, for its generated client: `LedgerServiceClient::new(channel)` (see
    /// also [`sized!`](crate::sized)).
    ///
    /// # Panics
    /// If there is no such service. Names are written in the code ([`SERVICES`](crate::config::SERVICES)), and the
    /// configuration has, and has checked, a URL for each.
    #[must_use]
    pub fn channel(&self, name: &str) -> Channel {
        let Some(uri) = self.uris.get(name) else { panic!("{name} is not one of the services of the suite") };
        match self.connect(uri) {
            Ok(channel) => channel,
            Err(error) => panic!("the URL of {name}: {error:#}"),
        }
    }

    /// The channel to any URL, with this service's credentials: for addresses that a service has in its own settings.
    /// The same URL gives the same channel.
    ///
    /// # Errors
    /// The URL is none, or the credentials can't be read.
    pub fn connect(&self, uri: &str) -> anyhow::Result<Channel> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(uri) {
            return Ok(channel.clone());
        }
        let channel = client::connect(uri, &self.client)?;
        channels.insert(uri.to_owned(), channel.clone());
        Ok(channel)
    }

    /// The URL of a service of the suite, if there is one of this name.
    #[must_use]
    pub fn uri(&self, name: &str) -> Option<&str> {
        self.uris.get(name).map(String::as_str)
    }
}
