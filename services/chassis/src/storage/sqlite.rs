//! SQLite connections with the settings the house relies on.

use std::{path::Path, time::Duration};

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbErr, SqlxSqliteConnector,
    sqlx::{
        self, ConnectOptions,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
    },
};

/// Reading connections a process keeps at the most.
const READERS: u32 = 4;
/// A write-ahead log larger than this is restarted from its beginning, at the price of a short wait for writers.
const WAL_RESTART_BYTES: u64 = 64 << 20;

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(10))
        .foreign_keys(true)
        .pragma("secure_delete", "ON")
        .pragma("cache_size", "-16384")
        // The log is folded into the file by a task of its own, not by whoever commits.
        .pragma("wal_autocheckpoint", "0")
        .statement_cache_capacity(256)
        .disable_statement_logging()
}

/// The write connection (one) and the read-only pool.
pub(super) async fn open(file: &Path) -> Result<(DatabaseConnection, DatabaseConnection), sqlx::Error> {
    if let Some(folder) = file.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let write = SqlitePoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_with(options(file).create_if_missing(true))
        .await?;
    let read = readers(options(file)).await?;
    Ok((SqlxSqliteConnector::from_sqlx_sqlite_pool(write), SqlxSqliteConnector::from_sqlx_sqlite_pool(read)))
}

/// A read-only pool on an existing file.
pub(super) async fn open_read_only(file: &Path) -> Result<DatabaseConnection, sqlx::Error> {
    let options =
        SqliteConnectOptions::new().filename(file).busy_timeout(Duration::from_secs(10)).disable_statement_logging();
    Ok(SqlxSqliteConnector::from_sqlx_sqlite_pool(readers(options).await?))
}

async fn readers(options: SqliteConnectOptions) -> Result<sqlx::SqlitePool, sqlx::Error> {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .max_lifetime(None)
        // `query_only` rather than a read-only file handle: a reader must be able to recover the log's index.
        .connect_with(options.pragma("query_only", "ON"))
        .await
}

/// Moves what is in the write-ahead log into the database file: beside the writer while the log is
/// small, and once it has grown large by restarting it, which the writer waits for.
pub(super) async fn checkpoint(
    read: &DatabaseConnection,
    write: &DatabaseConnection,
    file: &Path,
) -> Result<(), DbErr> {
    let mut wal = file.as_os_str().to_owned();
    wal.push("-wal");
    let size = std::fs::metadata(&wal).map_or(0, |m| m.len());
    if size > WAL_RESTART_BYTES {
        write.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await?;
    } else if size > 0 {
        read.execute_unprepared("PRAGMA wal_checkpoint(PASSIVE)").await?;
    }
    Ok(())
}
