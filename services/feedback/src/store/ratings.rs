//! Rows of ratings and of their comments.

use std::collections::{BTreeMap, BTreeSet};

use otklik_chassis::{
    lane::Tx,
    storage::{Failure, rows},
};
use sea_orm::{DbErr, QueryResult};
use uuid::Uuid;

use super::{codes, command::RatingView};

/// The columns that [`read_rating`] reads; `r` is the rating, `c` its comment.
pub(super) const COLUMNS: &str =
    "r.rating_id, r.case_id, r.message_id, r.answer_id, r.score, r.satisfied, r.rated_us, c.comment";

/// Where [`COLUMNS`] come from.
pub(super) const TABLES: &str =
    "ratings r LEFT JOIN rating_comments c ON c.message_id = r.message_id AND c.case_id = r.case_id";

pub(super) fn read_rating(row: &QueryResult) -> Result<RatingView, DbErr> {
    Ok(RatingView {
        id: row.try_get_by_index(0)?,
        case_id: row.try_get_by_index(1)?,
        message_id: row.try_get_by_index(2)?,
        answer_id: row.try_get_by_index(3)?,
        score: codes::count(row, 4)?,
        satisfied: row.try_get_by_index::<i64>(5)? != 0,
        rated: codes::time(row, 6)?,
        comment: row.try_get_by_index::<Option<String>>(7)?.unwrap_or_default(),
    })
}

/// A rating is known by its message and case.
pub(super) type Key = (Uuid, Uuid);

/// The ids of the ratings that authors of these messages have given.
pub(super) async fn ids(tx: &Tx<'_>, messages: BTreeSet<Uuid>) -> Result<BTreeMap<Key, Uuid>, Failure> {
    let sql = "SELECT message_id, case_id, rating_id FROM ratings WHERE message_id IN ({keys})";
    let keys = messages.into_iter().map(Into::into).collect();
    let read = |row: &QueryResult| Ok(((row.try_get_by_index(0)?, row.try_get_by_index(1)?), row.try_get_by_index(2)?));
    Ok(rows::select_in(tx.db, sql, keys, read).await?.into_iter().collect())
}

/// A rating to be written.
#[derive(Debug)]
pub(super) struct Given {
    pub rating: RatingView,
    /// It replaces an earlier one, whose comment goes.
    pub again: bool,
}

/// Writes ratings; a later one replaces the one before, and its comment.
pub(super) async fn write(tx: &Tx<'_>, ratings: &BTreeMap<Key, Given>) -> Result<(), Failure> {
    let written = ratings
        .values()
        .map(|Given { rating, .. }| {
            [
                rating.message_id.into(),
                rating.case_id.into(),
                rating.id.into(),
                rating.answer_id.into(),
                i64::from(rating.score).into(),
                i64::from(rating.satisfied).into(),
                rating.rated.as_microsecond().into(),
            ]
        })
        .collect();
    let columns = ["message_id", "case_id", "rating_id", "answer_id", "score", "satisfied", "rated_us"];
    let tail = "ON CONFLICT (message_id, case_id) DO UPDATE SET answer_id = excluded.answer_id, score = excluded.score,
        satisfied = excluded.satisfied, rated_us = excluded.rated_us";
    rows::insert(tx.db, "ratings", columns, written, tail).await?;

    let written = ratings
        .values()
        .filter(|given| given.again || !given.rating.comment.is_empty())
        .map(|Given { rating, .. }| [rating.message_id.into(), rating.case_id.into(), rating.comment.as_str().into()])
        .collect();
    let tail = "ON CONFLICT (message_id, case_id) DO UPDATE SET comment = excluded.comment";
    rows::insert(tx.db, "rating_comments", ["message_id", "case_id", "comment"], written, tail).await?;
    Ok(())
}

/// Removes what authors of these messages said in ratings; returns how many comments of each went.
pub(super) async fn erase_comments(tx: &Tx<'_>, messages: BTreeSet<Uuid>) -> Result<BTreeMap<Uuid, u32>, Failure> {
    let sql = "DELETE FROM rating_comments WHERE message_id IN ({keys}) RETURNING message_id, comment";
    let keys = messages.into_iter().map(Into::into).collect();
    let read = |row: &QueryResult| Ok((row.try_get_by_index::<Uuid>(0)?, row.try_get_by_index::<String>(1)?));
    let mut counts: BTreeMap<Uuid, u32> = BTreeMap::new();
    for (message, comment) in rows::select_in(tx.db, sql, keys, read).await? {
        *counts.entry(message).or_default() += u32::from(!comment.is_empty());
    }
    Ok(counts)
}
