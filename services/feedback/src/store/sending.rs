//! Taking deliveries up, and what became of them.

use std::collections::BTreeSet;

use otklik_chassis::{
    error::Error,
    lane::{Effect, Tx},
    storage::Failure,
};
use uuid::Uuid;

use super::{
    command::{Command, Reply},
    deliveries, entries,
    writer::Outcomes,
};

/// Records what became of deliveries that were taken up.
pub(super) async fn settle(tx: &Tx<'_>, commands: &[&Command], outcomes: &mut Outcomes) -> Result<(), Failure> {
    let settled = commands.iter().filter_map(|command| match command {
        Command::Settle(results) => Some(results),
        _ => None,
    });
    let ids: BTreeSet<Uuid> = settled.flatten().map(|(id, _)| *id).collect();
    let mut known = deliveries::lock(tx, ids).await?;
    for (index, command) in commands.iter().enumerate() {
        let Command::Settle(results) = command else { continue };
        let mut drafts = Vec::new();
        for (id, attempt) in results {
            if let Some(delivery) = known.get_mut(id)
                && let Some(ending) = delivery.settle(attempt, tx.now)
            {
                drafts.push(entries::ended(delivery, ending));
            }
        }
        outcomes.set(index, Ok(Effect::new(Reply::Nothing, "", drafts)));
    }
    deliveries::write(tx, known.values()).await
}

/// Takes deliveries up, last of all, so that it waits for nobody who waits for it.
pub(super) async fn take_up(tx: &Tx<'_>, commands: &[&Command], outcomes: &mut Outcomes) -> Result<(), Failure> {
    for (index, command) in commands.iter().enumerate() {
        let reply = match command {
            Command::EndLeases => {
                deliveries::end_leases(tx).await?;
                Reply::Nothing
            }
            Command::TakeUp(most) => Reply::TakenUp(deliveries::take_up(tx, *most).await?),
            _ => continue,
        };
        outcomes.set(index, Ok::<_, Error>(Effect::new(reply, "", Vec::new())));
    }
    Ok(())
}
