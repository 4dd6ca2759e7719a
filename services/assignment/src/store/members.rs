//! Rows of `members`, `case_places` and `withdrawals`.

use otklik_chassis::{
    lane::Tx,
    storage::{Failure, rows},
};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Value};
use uuid::Uuid;

use crate::domain::case::Member;

const FROM: &str =
    "SELECT m.case_id, m.message_id, m.question_id, m.message_version, m.joined_us, m.satisfied_round, w.withdrawn_us
    FROM members m LEFT JOIN withdrawals w ON w.message_id = m.message_id";

/// The questions of these messages that are in a case.
///
/// # Errors
/// Those of the database.
pub async fn of_messages<C: ConnectionTrait>(db: &C, messages: Vec<Uuid>) -> Result<Vec<Member>, Failure> {
    select(db, "m.message_id", messages).await
}

/// The members of these cases, those that joined first first.
///
/// # Errors
/// Those of the database.
pub async fn of_cases<C: ConnectionTrait>(db: &C, cases: Vec<Uuid>) -> Result<Vec<Member>, Failure> {
    let mut members = select(db, "m.case_id", cases).await?;
    members.sort_by_key(|member| (member.joined_us, member.message_id));
    Ok(members)
}

async fn select<C: ConnectionTrait>(db: &C, column: &str, keys: Vec<Uuid>) -> Result<Vec<Member>, Failure> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!("{FROM} WHERE {column} IN ({{keys}})");
    rows::select_in(db, &sql, keys.into_iter().map(Value::from).collect(), read).await
}

fn read(row: &QueryResult) -> Result<Member, DbErr> {
    let count = |index| row.try_get_by_index::<i64>(index).map(|n| u32::try_from(n).unwrap_or(0));
    Ok(Member {
        case_id: row.try_get_by_index(0)?,
        message_id: row.try_get_by_index(1)?,
        question_id: row.try_get_by_index(2)?,
        message_version: count(3)?,
        joined_us: row.try_get_by_index(4)?,
        satisfied_round: count(5)?,
        withdrawn_us: row.try_get_by_index(6)?,
    })
}

/// Writes new and changed members.
///
/// # Errors
/// Those of the database.
pub async fn save(tx: &Tx<'_>, mut members: Vec<&Member>) -> Result<(), Failure> {
    members.sort_unstable_by_key(|member| (member.message_id, member.question_id));
    let values = members
        .into_iter()
        .map(|member| {
            [
                member.message_id.into(),
                member.question_id.into(),
                member.case_id.into(),
                i64::from(member.message_version).into(),
                member.joined_us.into(),
                i64::from(member.satisfied_round).into(),
            ]
        })
        .collect();
    let columns = ["message_id", "question_id", "case_id", "message_version", "joined_us", "satisfied_round"];
    let tail = "ON CONFLICT (message_id, question_id) DO UPDATE SET satisfied_round = excluded.satisfied_round";
    rows::insert(tx.db, "members", columns, values, tail).await?;
    Ok(())
}

/// Which of these messages are withdrawn, and since when.
///
/// # Errors
/// Those of the database.
pub async fn withdrawn(tx: &Tx<'_>, messages: Vec<Uuid>) -> Result<Vec<(Uuid, i64)>, Failure> {
    let sql = "SELECT message_id, withdrawn_us FROM withdrawals WHERE message_id IN ({keys})";
    let keys = messages.into_iter().map(Value::from).collect();
    rows::select_in(tx.db, sql, keys, |row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).await
}

/// Notes withdrawals.
///
/// # Errors
/// Those of the database.
pub async fn note_withdrawn(tx: &Tx<'_>, mut withdrawals: Vec<(Uuid, i64)>) -> Result<(), Failure> {
    withdrawals.sort_unstable();
    let values = withdrawals.into_iter().map(|(message_id, at_us)| [message_id.into(), at_us.into()]).collect();
    rows::insert(tx.db, "withdrawals", ["message_id", "withdrawn_us"], values, "ON CONFLICT DO NOTHING").await?;
    Ok(())
}

/// Notes the places that cases concern, and forgets those that they concern no more.
///
/// # Errors
/// Those of the database.
pub async fn save_places(tx: &Tx<'_>, gone: Vec<(String, Uuid)>, new: Vec<(String, Uuid)>) -> Result<(), Failure> {
    for (place_id, case_id) in gone {
        let sql = "DELETE FROM case_places WHERE place_id = $1 AND case_id = $2";
        tx.db.execute_raw(tx.statement(sql, [place_id.into(), case_id.into()])).await?;
    }
    let mut new = new;
    new.sort_unstable();
    new.dedup();
    let values = new.into_iter().map(|(place_id, case_id)| [place_id.into(), case_id.into()]).collect();
    rows::insert(tx.db, "case_places", ["place_id", "case_id"], values, "ON CONFLICT DO NOTHING").await?;
    Ok(())
}
