//! What feedback makes of the entries of others.

use async_trait::async_trait;
use otklik_chassis::{
    consumer::{Incoming, Prepared, Subscriber},
    error::Error,
};
use otklik_proto::{
    EventType,
    assignment::v1::{
        CaseAccepted, CaseAssigned, CaseCancelled, CaseClosed, CaseInterimAnswered, CaseOpened, CaseReopened,
        CaseResolved, CaseResumed, CaseReturned, CaseState, CaseSuspended, MessageJoined, WorkStarted,
    },
    intake::v1::{MessageErased, MessageWithdrawn},
};
use uuid::Uuid;

use crate::{
    domain::case::Fact,
    store::command::{Command, Fate},
};

/// Follows the cases of the assignment service.
#[derive(Debug)]
pub struct Cases;

/// Follows the messages of intake that go.
#[derive(Debug)]
pub struct GoneMessages;

#[async_trait]
impl Subscriber for Cases {
    type Command = Command;

    fn handles(&self) -> &'static [&'static str] {
        &[
            CaseOpened::TYPE,
            MessageJoined::TYPE,
            CaseAssigned::TYPE,
            CaseAccepted::TYPE,
            CaseReturned::TYPE,
            WorkStarted::TYPE,
            CaseSuspended::TYPE,
            CaseResumed::TYPE,
            CaseInterimAnswered::TYPE,
            CaseCancelled::TYPE,
            CaseResolved::TYPE,
            CaseReopened::TYPE,
            CaseClosed::TYPE,
        ]
    }

    async fn prepare(&self, entries: &[Incoming]) -> Result<Vec<Prepared<Command>>, Error> {
        Ok(entries.iter().map(|incoming| prepared(case_fact(incoming))).collect())
    }
}

#[async_trait]
impl Subscriber for GoneMessages {
    type Command = Command;

    fn handles(&self) -> &'static [&'static str] {
        &[MessageErased::TYPE, MessageWithdrawn::TYPE]
    }

    async fn prepare(&self, entries: &[Incoming]) -> Result<Vec<Prepared<Command>>, Error> {
        Ok(entries.iter().map(|incoming| prepared(message_fate(incoming))).collect())
    }
}

fn prepared(command: Result<Option<Command>, Error>) -> Prepared<Command> {
    match command {
        Ok(Some(command)) => Prepared::Apply(command),
        Ok(None) => Prepared::Skip,
        Err(error) => Prepared::Refuse(error),
    }
}

fn case_fact(incoming: &Incoming) -> Result<Option<Command>, Error> {
    let case = id(&incoming.header.aggregate_id)?;
    let fact = match incoming.entry.r#type.as_str() {
        CaseOpened::TYPE => {
            let event: CaseOpened = incoming.payload()?;
            Fact::Opened { message_id: id(&event.message_id)?, number: event.number }
        }
        MessageJoined::TYPE => Fact::Joined { message_id: id(&incoming.payload::<MessageJoined>()?.message_id)? },
        CaseAssigned::TYPE => Fact::Assigned { executor_id: incoming.payload::<CaseAssigned>()?.executor_id },
        CaseAccepted::TYPE => Fact::Entered(CaseState::Accepted),
        CaseReturned::TYPE => Fact::Entered(CaseState::Returned),
        WorkStarted::TYPE | CaseResumed::TYPE => Fact::Entered(CaseState::InProgress),
        CaseSuspended::TYPE => Fact::Entered(CaseState::Suspended),
        CaseInterimAnswered::TYPE => Fact::Entered(CaseState::InterimAnswered),
        CaseCancelled::TYPE => Fact::Entered(CaseState::Cancelled),
        CaseResolved::TYPE => Fact::Entered(CaseState::Resolved),
        CaseReopened::TYPE => Fact::Reopened { round: incoming.payload::<CaseReopened>()?.reopen_count },
        CaseClosed::TYPE => Fact::closed(incoming.payload::<CaseClosed>()?.kind()),
        _ => return Ok(None),
    };
    Ok(Some(Command::Follow(case, fact)))
}

fn message_fate(incoming: &Incoming) -> Result<Option<Command>, Error> {
    let fate = match incoming.entry.r#type.as_str() {
        MessageErased::TYPE => Fate::Erased,
        MessageWithdrawn::TYPE => Fate::Withdrawn,
        _ => return Ok(None),
    };
    Ok(Some(Command::MessageGone(id(&incoming.header.aggregate_id)?, fate)))
}

fn id(text: &str) -> Result<Uuid, Error> {
    text.parse().map_err(|_| Error::internal(anyhow::anyhow!("an entry has an id that is no UUID")))
}
