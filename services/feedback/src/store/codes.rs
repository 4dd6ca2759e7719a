//! How values of the domain are written in columns: numbers of the contracts, microseconds, lists one to a line.

use jiff::Timestamp;
use sea_orm::{DbErr, QueryResult, Value};

/// The time of a column of microseconds.
pub(super) fn time(row: &QueryResult, index: usize) -> Result<Timestamp, DbErr> {
    let micros: i64 = row.try_get_by_index(index)?;
    Timestamp::from_microsecond(micros).map_err(|e| DbErr::Type(format!("column {index} is no time: {e}")))
}

/// The time of a column that may be null.
pub(super) fn optional_time(row: &QueryResult, index: usize) -> Result<Option<Timestamp>, DbErr> {
    let micros: Option<i64> = row.try_get_by_index(index)?;
    micros
        .map(|m| Timestamp::from_microsecond(m).map_err(|e| DbErr::Type(format!("column {index} is no time: {e}"))))
        .transpose()
}

/// A time as a column has it.
pub(super) fn micros(time: Option<Timestamp>) -> Value {
    time.map(Timestamp::as_microsecond).into()
}

/// The value of an enumeration of the contracts.
pub(super) fn code<E: TryFrom<i32>>(row: &QueryResult, index: usize) -> Result<E, DbErr> {
    let number: i64 = row.try_get_by_index(index)?;
    i32::try_from(number)
        .ok()
        .and_then(|number| E::try_from(number).ok())
        .ok_or_else(|| DbErr::Type(format!("column {index} holds the unknown code {number}")))
}

/// A number that is never negative.
pub(super) fn count(row: &QueryResult, index: usize) -> Result<u32, DbErr> {
    let number: i64 = row.try_get_by_index(index)?;
    u32::try_from(number).map_err(|e| DbErr::Type(format!("column {index}: {e}")))
}
