//! Everything that audit writes, as sets.

use std::sync::Arc;

use async_trait::async_trait;
use otklik_chassis::{
    lane::{Apply, Effect, Outcome, Tx},
    storage::Failure,
};
use tokio::sync::Notify;

use super::{
    copies::{self, Copied},
    projection::{self, Projected},
    traces::{self, Traced},
};
use crate::domain::calendar::Calendar;

/// A change of what audit stores.
#[derive(Debug)]
pub enum Command {
    /// An entry of a ledger, to be kept as it is and indexed by whom it concerns.
    Copy(Copied),
    /// What some segments say, to become facts.
    Project(Projected),
    /// Spans that a receiver has accepted.
    Trace(Traced),
}

/// What came of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// It was made.
    Done,
    /// Another replica was first: its progress must be read again.
    Moved,
}

/// Audit's writer.
#[derive(Debug)]
pub struct Writer {
    /// The calendar that answer times are measured by.
    pub calendar: Arc<Calendar>,
    /// Told when entries have arrived.
    pub arrived: Arc<Notify>,
}

#[async_trait]
impl Apply for Writer {
    type Command = Command;
    type Reply = Reply;

    async fn apply(&self, tx: &Tx<'_>, commands: &[&Command]) -> Result<Vec<Outcome<Reply>>, Failure> {
        let copied: Vec<&Copied> = commands
            .iter()
            .filter_map(|command| match command {
                Command::Copy(copied) => Some(copied),
                _ => None,
            })
            .collect();
        if !copied.is_empty() {
            copies::store(tx, &copied).await?;
            self.arrived.notify_one();
        }
        let mut outcomes = Vec::with_capacity(commands.len());
        for command in commands {
            let reply = match command {
                Command::Copy(_) => Reply::Done,
                Command::Project(projected) => projection::store(tx, &self.calendar, projected).await?,
                Command::Trace(traced) => traces::store(tx, traced).await?,
            };
            outcomes.push(Ok(Effect::new(reply, "", Vec::new())));
        }
        Ok(outcomes)
    }
}
