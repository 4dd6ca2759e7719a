//! Rows of deliveries.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use otklik_chassis::{
    lane::Tx,
    storage::{Failure, rows},
};
use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use uuid::Uuid;

use super::codes;
use crate::domain::delivery::{Delivery, LEASE, Route};

/// The columns that [`read_delivery`] reads.
pub(super) const COLUMNS: &str =
    "delivery_id, answer_id, case_id, message_id, kind, source_id, external_id, channel_kind, state,
    attempts, due_us, leased, delivered_us, give_up_reason, last_error, created_us";

pub(super) fn read_delivery(row: &QueryResult) -> Result<Delivery, DbErr> {
    Ok(Delivery {
        id: row.try_get_by_index(0)?,
        answer_id: row.try_get_by_index(1)?,
        case_id: row.try_get_by_index(2)?,
        message_id: row.try_get_by_index(3)?,
        kind: codes::code(row, 4)?,
        route: Route {
            source_id: row.try_get_by_index(5)?,
            external_id: row.try_get_by_index(6)?,
            channel_kind: i32::try_from(row.try_get_by_index::<i64>(7)?).unwrap_or(0),
        },
        state: codes::code(row, 8)?,
        attempts: codes::count(row, 9)?,
        due: codes::time(row, 10)?,
        leased: row.try_get_by_index::<i64>(11)? != 0,
        delivered: codes::optional_time(row, 12)?,
        give_up_reason: codes::code(row, 13)?,
        last_error: row.try_get_by_index(14)?,
        created: codes::time(row, 15)?,
    })
}

/// Reads and locks deliveries, in the order of their ids.
pub(super) async fn lock(tx: &Tx<'_>, ids: BTreeSet<Uuid>) -> Result<BTreeMap<Uuid, Delivery>, Failure> {
    lock_where(tx, "delivery_id IN ({keys})", ids).await
}

/// Reads and locks the deliveries to these messages that have not ended, in the order of their ids.
pub(super) async fn lock_open_to(tx: &Tx<'_>, messages: BTreeSet<Uuid>) -> Result<BTreeMap<Uuid, Delivery>, Failure> {
    lock_where(tx, "message_id IN ({keys}) AND state IN (1, 3)", messages).await
}

async fn lock_where(tx: &Tx<'_>, which: &str, keys: BTreeSet<Uuid>) -> Result<BTreeMap<Uuid, Delivery>, Failure> {
    let sql = format!("SELECT {COLUMNS} FROM deliveries WHERE {which} ORDER BY delivery_id{}", tx.for_update());
    let keys = keys.into_iter().map(Into::into).collect();
    let found = rows::select_in(tx.db, &sql, keys, read_delivery).await?;
    Ok(found.into_iter().map(|delivery| (delivery.id, delivery)).collect())
}

/// Writes deliveries as they are now.
pub(super) async fn write<'a>(tx: &Tx<'_>, deliveries: impl IntoIterator<Item = &'a Delivery>) -> Result<(), Failure> {
    let written = deliveries.into_iter().map(row).collect();
    let columns = [
        "delivery_id",
        "answer_id",
        "case_id",
        "message_id",
        "kind",
        "source_id",
        "external_id",
        "channel_kind",
        "state",
        "attempts",
        "due_us",
        "leased",
        "delivered_us",
        "give_up_reason",
        "last_error",
        "created_us",
    ];
    let tail = "ON CONFLICT (delivery_id) DO UPDATE SET state = excluded.state, attempts = excluded.attempts,
        due_us = excluded.due_us, leased = excluded.leased, delivered_us = excluded.delivered_us,
        give_up_reason = excluded.give_up_reason, last_error = excluded.last_error";
    rows::insert(tx.db, "deliveries", columns, written, tail).await?;
    Ok(())
}

fn row(delivery: &Delivery) -> [sea_orm::Value; 16] {
    [
        delivery.id.into(),
        delivery.answer_id.into(),
        delivery.case_id.into(),
        delivery.message_id.into(),
        i64::from(i32::from(delivery.kind)).into(),
        delivery.route.source_id.as_str().into(),
        delivery.route.external_id.as_str().into(),
        i64::from(delivery.route.channel_kind).into(),
        i64::from(i32::from(delivery.state)).into(),
        i64::from(delivery.attempts).into(),
        delivery.due.as_microsecond().into(),
        i64::from(delivery.leased).into(),
        codes::micros(delivery.delivered),
        i64::from(i32::from(delivery.give_up_reason)).into(),
        delivery.last_error.as_str().into(),
        delivery.created.as_microsecond().into(),
    ]
}

/// Takes up what is due, the longest due first, for one lease. What another replica is taking up at this moment is passed
/// over, and so are rows that another transaction holds.
pub(super) async fn take_up(tx: &Tx<'_>, most: u64) -> Result<Vec<Delivery>, Failure> {
    let lock = if tx.for_update().is_empty() { "" } else { " FOR UPDATE SKIP LOCKED" };
    let sql = format!(
        "UPDATE deliveries SET due_us = $1, leased = 1 WHERE delivery_id IN
            (SELECT delivery_id FROM deliveries WHERE state IN (1, 3) AND due_us <= $2 ORDER BY due_us LIMIT $3{lock})
         RETURNING {COLUMNS}"
    );
    let until = tx.now.saturating_add(LEASE).unwrap_or(Timestamp::MAX);
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let values = [until.as_microsecond().into(), tx.now.as_microsecond().into(), most.into()];
    let found = tx.db.query_all_raw(tx.statement(&sql, values)).await?;
    found.iter().map(read_delivery).collect::<Result<Vec<_>, _>>().map_err(Failure::from)
}

/// Makes everything that is leased due at once.
pub(super) async fn end_leases(tx: &Tx<'_>) -> Result<(), Failure> {
    let sql = "UPDATE deliveries SET due_us = $1, leased = 0 WHERE state IN (1, 3) AND leased = 1";
    tx.db.execute_raw(tx.statement(sql, [tx.now.as_microsecond().into()])).await?;
    Ok(())
}
