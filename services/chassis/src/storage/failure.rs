//! The one place where database errors are sorted by what is to be done about them.

use sea_orm::{DbErr, RuntimeErr, sqlx};

use crate::error::Error;

/// What a database error means to whoever made the call.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// Another transaction was in the way; the whole unit may be run again at once.
    #[error("another transaction was in the way: {0}")]
    Conflict(String),
    /// The database is away, full or refuses connections; try again later.
    #[error("the database is not available: {0}")]
    Outage(String),
    /// The statement itself failed and would fail again.
    #[error("the database refused the statement: {0}")]
    Refused(String),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Conflict(_) | Failure::Outage(_) => Self::unavailable(failure.to_string()),
            Failure::Refused(_) => Self::internal(failure),
        }
    }
}

impl From<DbErr> for Failure {
    fn from(error: DbErr) -> Self {
        sort(error)
    }
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        sort(error).into()
    }
}

/// Sorts a database error.
///
/// PostgreSQL by SQLSTATE class (appendix A of its manual), SQLite by primary result code
/// (<https://sqlite.org/rescode.html>).
pub fn sort(error: DbErr) -> Failure {
    let text = error.to_string();
    let source = match &error {
        DbErr::Conn(RuntimeErr::SqlxError(e))
        | DbErr::Exec(RuntimeErr::SqlxError(e))
        | DbErr::Query(RuntimeErr::SqlxError(e)) => e,
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => return Failure::Outage(text),
        _ => return Failure::Refused(text),
    };
    match &**source {
        sqlx::Error::Database(e) => {
            let code = e.code().unwrap_or_default();
            if e.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
                sort_sqlstate(&code, text)
            } else {
                sort_sqlite(code.parse().unwrap_or(0), text)
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Protocol(_) => Failure::Outage(text),
        _ => Failure::Refused(text),
    }
}

fn sort_sqlstate(code: &str, text: String) -> Failure {
    match code {
        // serialization_failure, deadlock_detected, lock_not_available.
        "40001" | "40P01" | "55P03" => Failure::Conflict(text),
        // 08 connection, 53 insufficient resources (disk full), 57 operator intervention, 58 system error,
        // 25006 read-only (a standby); 3D000 and 3F000: the database or schema is missing.
        _ if ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => Failure::Outage(text),
        "25006" | "3D000" | "3F000" => Failure::Outage(text),
        _ => Failure::Refused(text),
    }
}

fn sort_sqlite(code: i32, text: String) -> Failure {
    // Extended codes hold the primary one in their low byte.
    match code & 0xff {
        // BUSY, LOCKED.
        5 | 6 => Failure::Conflict(text),
        // NOMEM, READONLY (the file was replaced), IOERR, CORRUPT, FULL, CANTOPEN, NOTADB.
        7 | 8 | 10 | 11 | 13 | 14 | 26 => Failure::Outage(text),
        _ => Failure::Refused(text),
    }
}
