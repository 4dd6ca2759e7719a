//! Follows one service's ledger and copies all of it. The chain is verified by the consumer before anything gets here.

use std::time::Duration;

use async_trait::async_trait;
use otklik_chassis::{
    consumer::{Incoming, Prepared, Subscriber},
    error::Error,
};
use uuid::Uuid;

use crate::{
    domain::step::Subjects,
    store::{Command, Copied, encode},
};

/// The copier of one ledger.
#[derive(Debug)]
pub struct Copier {
    /// The service whose ledger it is.
    pub service: &'static str,
}

#[async_trait]
impl Subscriber for Copier {
    type Command = Command;

    fn handles(&self) -> &'static [&'static str] {
        &[]
    }

    fn takes_everything(&self) -> bool {
        true
    }

    /// Nobody's next step waits for a copy: fewer and larger segments are worth a moment.
    fn pace(&self) -> Duration {
        Duration::from_millis(50)
    }

    async fn prepare(&self, entries: &[Incoming]) -> Result<Vec<Prepared<Command>>, Error> {
        Ok(entries.iter().map(|incoming| self.copy(incoming)).collect())
    }
}

impl Copier {
    fn copy(&self, Incoming { entry, header }: &Incoming) -> Prepared<Command> {
        let placed = entry.position.as_ref().and_then(|p| Some((p, Uuid::try_parse(&p.incarnation).ok()?)));
        let Some((position, incarnation)) = placed else {
            return Prepared::Refuse(Error::internal(anyhow::anyhow!("an entry of {} has no position", self.service)));
        };
        Prepared::Apply(Command::Copy(Copied {
            service: self.service,
            incarnation,
            partition: position.partition,
            seq: position.seq,
            previous_hash: entry.previous_hash.clone(),
            hash: position.hash.clone(),
            encoded: encode(&entry.header, &entry.r#type, &entry.payload, &position.hash),
            subjects: Subjects::of(header).all().collect(),
        }))
    }
}
