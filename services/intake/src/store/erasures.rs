//! Erasures: an author may have thousands of messages, so they are erased some at a time. What has begun is kept until
//! it is complete: whoever was interrupted, and whoever was killed, goes on with it.

use otklik_chassis::{
    error::Error,
    lane::{Caller, Lane},
    storage::Storage,
};
use otklik_proto::{intake::v1::EraseReason, ledger::v1::Position};
use sea_orm::{ConnectionTrait, DbErr, QueryResult};

use super::{
    rows::{constant, key_of},
    writer::{Command, Erasure, Reply, Writer},
};
use crate::domain::keys::AuthorKey;

/// The erasures that are not complete.
///
/// # Errors
/// An outage of the database.
pub async fn pending_erasures(storage: &Storage) -> Result<Vec<Erasure>, Error> {
    let statement = storage.statement("SELECT author_key, until_us, reason FROM erasures ORDER BY author_key", []);
    let rows = storage.reader().query_all_raw(statement).await?;
    rows.iter().map(read).collect::<Result<_, _>>().map_err(Error::from)
}

fn read(row: &QueryResult) -> Result<Erasure, DbErr> {
    Ok(Erasure {
        author: AuthorKey(key_of(row, 0)?),
        until_us: row.try_get_by_index(1)?,
        reason: constant(row.try_get_by_index(2)?, EraseReason::try_from)?,
    })
}

/// Completes an erasure that has begun, in the name of `caller`. Returns the last entry that was made; `None` when
/// nothing was left to erase.
///
/// # Errors
/// An outage of the database; what was done stays done.
pub async fn finish_erasure(lane: &Lane<Writer>, erasure: Erasure, caller: &Caller) -> Result<Option<Position>, Error> {
    let mut last = None;
    loop {
        let done = lane.call(Command::Erase(erasure), caller.clone()).await?;
        last = done.position.or(last);
        if !matches!(done.reply, Some(Reply::Erased(false))) {
            return Ok(last);
        }
    }
}
