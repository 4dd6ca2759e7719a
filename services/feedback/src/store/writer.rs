//! The one place where feedback writes: a set of commands in one transaction.
//!
//! The commands of a set are taken by subject, not in the order they came in: first what other services say (cases, then
//! messages that are gone), then calls, then what became of deliveries, then the taking up of further ones. No caller has
//! had an answer to any of them yet, so every order of commands of different origin is true; within one subject they keep
//! theirs. Each subject reads, decides and writes as a set. Locks: cases, then answers, then deliveries, each by id.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use otklik_chassis::{
    error::Error,
    lane::{Apply, Effect, Outcome, Tx},
    storage::Failure,
};
use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    answering,
    cases::{self, Cases},
    command::{Command, Reply},
    leaving, rating, sending,
};
use crate::domain::case::{Case, Fact};

/// Applies commands.
#[derive(Debug)]
pub struct Writer {
    templates_version: String,
    /// Told when there are deliveries that nobody has taken up.
    new_deliveries: Arc<Notify>,
}

impl Writer {
    /// A writer for drafts made under this version of the templates.
    pub fn new(templates_version: impl Into<String>, new_deliveries: Arc<Notify>) -> Self {
        Self { templates_version: templates_version.into(), new_deliveries }
    }
}

/// The outcomes of a set, by the index of the command.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    by_index: BTreeMap<usize, Outcome<Reply>>,
}

impl Outcomes {
    pub(super) fn set(&mut self, index: usize, outcome: Outcome<Reply>) {
        self.by_index.insert(index, outcome);
    }

    fn in_order(mut self, count: usize) -> Vec<Outcome<Reply>> {
        (0..count)
            .map(|index| {
                let lost = || Err(Error::internal(anyhow::anyhow!("a command was not applied")));
                self.by_index.remove(&index).unwrap_or_else(lost)
            })
            .collect()
    }
}

#[async_trait]
impl Apply for Writer {
    type Command = Command;
    type Reply = Reply;

    async fn apply(&self, tx: &Tx<'_>, commands: &[&Command]) -> Result<Vec<Outcome<Reply>>, Failure> {
        let mut outcomes = Outcomes::default();
        let mut cases = Cases::lock(tx, concerned(tx, commands).await?).await?;
        follow(tx, commands, &mut cases, &mut outcomes).await?;
        leaving::apply(tx, commands, &mut outcomes).await?;
        let sent = answering::apply(tx, commands, &mut cases, &self.templates_version, &mut outcomes).await?;
        rating::apply(tx, commands, &cases, &mut outcomes).await?;
        cases.write(tx).await?;
        sending::settle(tx, commands, &mut outcomes).await?;
        sending::take_up(tx, commands, &mut outcomes).await?;
        if sent {
            // Whoever hears this asks the lane for deliveries, and the lane comes to that after this set.
            self.new_deliveries.notify_one();
        }
        Ok(outcomes.in_order(commands.len()))
    }
}

/// The cases that commands concern.
async fn concerned(tx: &Tx<'_>, commands: &[&Command]) -> Result<BTreeSet<Uuid>, Failure> {
    let mut ids = BTreeSet::new();
    let mut gone = BTreeSet::new();
    for command in commands {
        match command {
            Command::Follow(case_id, _) | Command::RequestReopen { case_id, .. } => drop(ids.insert(*case_id)),
            Command::Draft(draft) => drop(ids.insert(draft.case_id)),
            Command::Publish(publication) => drop(ids.insert(publication.case_id)),
            Command::Rate(rate) => drop(ids.insert(rate.case_id)),
            Command::MessageGone(message_id, _) => drop(gone.insert(*message_id)),
            Command::Approve(_)
            | Command::SendBack(..)
            | Command::TakeUp(_)
            | Command::Settle(_)
            | Command::EndLeases => {}
        }
    }
    ids.extend(cases::cases_of(tx, gone).await?.into_values().flatten());
    Ok(ids)
}

/// Follows the assignment service.
async fn follow(tx: &Tx<'_>, commands: &[&Command], cases: &mut Cases, outcomes: &mut Outcomes) -> Result<(), Failure> {
    let mut joined = BTreeSet::new();
    for (index, command) in commands.iter().enumerate() {
        let Command::Follow(id, fact) = command else { continue };
        if let Fact::Opened { number, .. } = fact
            && cases.get(*id).is_none()
        {
            cases.add(Case::opened(*id, number.clone()));
        }
        let Some(case) = cases.change(*id) else {
            outcomes.set(index, Err(Error::not_found("case", id)));
            continue;
        };
        case.follow(fact);
        if let Fact::Opened { message_id, .. } | Fact::Joined { message_id } = fact {
            joined.insert((*id, *message_id));
        }
        outcomes.set(index, Ok(Effect::new(Reply::Nothing, id, Vec::new())));
    }
    cases::add_members(tx, joined).await
}
