//! A service's own database: SQLite or PostgreSQL through one code path.
//!
//! SQLite: one write connection (`BEGIN IMMEDIATE`), a read-only pool beside it, WAL with
//! `synchronous=FULL`, `secure_delete`, checkpoints in a task of their own, outside the writer lane.
//! PostgreSQL: one pool, READ COMMITTED.

mod failure;
mod migration;
pub mod rows;
mod sqlite;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, SqliteTransactionMode, Statement,
    TransactionOptions, TransactionTrait, Value,
    sqlx::postgres::{PgConnectOptions, PgPoolOptions},
};
use sea_orm_migration::MigratorTrait;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;

use crate::error::Error;

pub use failure::{Failure, sort};
pub use migration::ddl;

/// A service's database. Cheap to clone; all clones share the pools.
#[derive(Clone)]
pub struct Storage {
    inner: Arc<Inner>,
}

struct Inner {
    write: DatabaseConnection,
    read: DatabaseConnection,
    backend: DbBackend,
    location: String,
    sqlite_file: Option<PathBuf>,
    healthy: watch::Sender<bool>,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Storage").field(&self.inner.location).finish()
    }
}

/// Connections to PostgreSQL a process keeps at the most.
const POSTGRES_CONNECTIONS: u32 = 8;
/// How long a call waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

impl Storage {
    /// Opens the database of service `name`: the PostgreSQL at `url`, or the SQLite file
    /// `<data_dir>/<name>.db`, made when missing. A `sqlite:` url names another file.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database can't be reached, naming it without its password.
    pub async fn open(name: &str, url: Option<&SecretString>, data_dir: &Path) -> Result<Self, Error> {
        match url.map(ExposeSecret::expose_secret) {
            Some(url) if url.starts_with("postgres") => Self::open_postgres(url).await,
            Some(url) if url.starts_with("sqlite:") => {
                Self::open_sqlite(Path::new(url.trim_start_matches("sqlite:").trim_start_matches("//"))).await
            }
            Some(_) => Err(Error::invalid("database_url", "must begin with postgres:// or sqlite:")),
            None => Self::open_sqlite(&data_dir.join(format!("{name}.db"))).await,
        }
    }

    async fn open_postgres(url: &str) -> Result<Self, Error> {
        let options: PgConnectOptions =
            url.parse().map_err(|_| Error::invalid("database_url", "is not a PostgreSQL connection url"))?;
        let location = format!(
            "postgres://{}:{}/{}",
            options.get_host(),
            options.get_port(),
            options.get_database().unwrap_or_default()
        );
        let pool = PgPoolOptions::new()
            .max_connections(POSTGRES_CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(sea_orm::sqlx::ConnectOptions::disable_statement_logging(
                options.statement_cache_capacity(512),
            ))
            .await
            .map_err(|e| Error::unavailable(format!("can't connect to {location}: {e}")))?;
        let connection = sea_orm::SqlxPostgresConnector::from_sqlx_postgres_pool(pool);
        Ok(Self::new(connection.clone(), connection, DbBackend::Postgres, location, None))
    }

    async fn open_sqlite(file: &Path) -> Result<Self, Error> {
        let location = file.display().to_string();
        let (write, read) = sqlite::open(file)
            .await
            .map_err(|e| Error::unavailable(format!("can't open the database {location}: {e}")))?;
        Ok(Self::new(write, read, DbBackend::Sqlite, location, Some(file.to_owned())))
    }

    /// Opens an existing SQLite file for reading only, beside a running service or after it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when there is no such file or it is not a database.
    pub async fn open_read_only(file: &Path) -> Result<Self, Error> {
        let location = file.display().to_string();
        let read = sqlite::open_read_only(file)
            .await
            .map_err(|e| Error::unavailable(format!("can't open the database {location}: {e}")))?;
        Ok(Self::new(read.clone(), read, DbBackend::Sqlite, location, Some(file.to_owned())))
    }

    fn new(
        write: DatabaseConnection,
        read: DatabaseConnection,
        backend: DbBackend,
        location: String,
        sqlite_file: Option<PathBuf>,
    ) -> Self {
        let inner = Inner { write, read, backend, location, sqlite_file, healthy: watch::Sender::new(true) };
        Self { inner: Arc::new(inner) }
    }

    /// Which of the two databases this is.
    pub fn backend(&self) -> DbBackend {
        self.inner.backend
    }

    /// Where the database is, without secrets: for logs and errors.
    pub fn location(&self) -> &str {
        &self.inner.location
    }

    /// For reading outside a transaction. On SQLite these connections can't write.
    pub fn reader(&self) -> &DatabaseConnection {
        &self.inner.read
    }

    /// Begins a write transaction (`BEGIN IMMEDIATE` on SQLite, READ COMMITTED on PostgreSQL).
    ///
    /// # Errors
    /// [`Failure::Outage`] when the database is away or busy.
    pub async fn begin(&self) -> Result<DatabaseTransaction, Failure> {
        let options = TransactionOptions {
            sqlite_transaction_mode: match self.inner.backend {
                DbBackend::Sqlite => Some(SqliteTransactionMode::Immediate),
                _ => None,
            },
            ..Default::default()
        };
        self.inner.write.begin_with_options(options).await.map_err(sort)
    }

    /// Applies the chassis' migrations and then the service's own.
    ///
    /// # Errors
    /// An outage, or [`Error::Internal`] naming the migration that failed.
    pub async fn migrate<M: MigratorTrait>(&self) -> Result<(), Error> {
        // Replicas that start together on an empty PostgreSQL would make the same tables at once: one at a time.
        let turn = match self.inner.backend {
            DbBackend::Sqlite => None,
            _ => {
                let turn = self.begin().await?;
                turn.query_one_raw(
                    self.statement("SELECT 1 AS turn FROM pg_advisory_xact_lock($1)", [MIGRATION_LOCK.into()]),
                )
                .await?;
                Some(turn)
            }
        };
        migration::House::<M>::up(&self.inner.write, None).await?;
        if let Some(turn) = turn {
            turn.commit().await?;
        }
        Ok(())
    }

    /// Whether every migration known to this binary has been applied.
    ///
    /// # Errors
    /// An outage of the database.
    pub async fn is_migrated<M: MigratorTrait>(&self) -> Result<bool, Error> {
        let table = match self.inner.backend {
            DbBackend::Sqlite => "SELECT count(*) AS n FROM sqlite_master WHERE name = 'seaql_migrations'",
            _ => {
                "SELECT count(*) AS n FROM pg_tables WHERE tablename = 'seaql_migrations' AND schemaname = current_schema()"
            }
        };
        if self.count(table).await? == 0 {
            return Ok(false);
        }
        let applied = self.count("SELECT count(*) AS n FROM seaql_migrations").await?;
        Ok(usize::try_from(applied).unwrap_or(0) >= migration::House::<M>::migrations().len())
    }

    async fn count(&self, sql: &str) -> Result<i64, Error> {
        let row = self.reader().query_one_raw(self.statement(sql, [])).await?;
        Ok(row.map(|r| r.try_get_by_index(0)).transpose()?.unwrap_or(0))
    }

    /// A statement for this backend. Placeholders are `$1`, `$2`… on both databases.
    pub fn statement<I>(&self, sql: &str, values: I) -> Statement
    where
        I: IntoIterator<Item = Value>,
    {
        Statement::from_sql_and_values(self.inner.backend, sql, values)
    }

    /// Whether the last use or probe of the database succeeded.
    pub fn is_healthy(&self) -> bool {
        *self.inner.healthy.borrow()
    }

    /// Notes an outage (or its end) for the health service to report.
    pub fn set_healthy(&self, healthy: bool) {
        self.inner.healthy.send_if_modified(|was| std::mem::replace(was, healthy) != healthy);
    }

    /// Changes of [`Storage::is_healthy`].
    pub fn health(&self) -> watch::Receiver<bool> {
        self.inner.healthy.subscribe()
    }

    /// Watches over the database until dropped: reads while all is well, and after a failure tries a
    /// small write until one succeeds (a full disk reads well and can't be written). On SQLite it also
    /// moves the write-ahead log into the database file.
    pub async fn watch(&self) {
        loop {
            tokio::time::sleep(PROBE_EVERY).await;
            let well = if self.is_healthy() { self.probe_read().await } else { self.probe_write().await };
            if let Err(error) = &well {
                tracing::warn!(database = self.location(), %error, "the database does not answer");
            } else if !self.is_healthy() {
                tracing::info!(database = self.location(), "the database answers again");
            }
            self.set_healthy(well.is_ok());
            if let Some(file) = &self.inner.sqlite_file
                && let Err(error) = sqlite::checkpoint(&self.inner.read, &self.inner.write, file).await
            {
                tracing::warn!(database = self.location(), %error, "can't checkpoint the write-ahead log");
            }
        }
    }

    async fn probe_read(&self) -> Result<(), Failure> {
        if let Some(file) = &self.inner.sqlite_file
            && !file.exists()
        {
            return Err(Failure::Outage(format!("the file {} is gone", file.display())));
        }
        self.reader()
            .query_one_raw(self.statement("SELECT seq FROM ledger_heads WHERE partition = 0", []))
            .await
            .map_err(sort)?;
        Ok(())
    }

    /// Writes as much as a large batch would, then takes it back: a full disk often has room for a few bytes more.
    async fn probe_write(&self) -> Result<(), Failure> {
        self.probe_read().await?;
        for ballast in [Some(vec![0; PROBE_BYTES]), None] {
            let tx = self.begin().await?;
            let statement = self.statement("UPDATE ledger_identity SET ballast = $1", [ballast.into()]);
            tx.execute_raw(statement).await.map_err(sort)?;
            tx.commit().await.map_err(sort)?;
        }
        Ok(())
    }

    /// Closes the pools; on SQLite the write-ahead log is folded into the file.
    pub async fn close(&self) {
        let inner = &self.inner;
        if inner.sqlite_file.is_some() {
            let _ = inner.write.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await;
        }
        let _ = inner.read.clone().close().await;
        let _ = inner.write.clone().close().await;
    }
}

/// The advisory lock of whoever migrates a PostgreSQL database; any number that nobody else uses.
const MIGRATION_LOCK: i64 = 0x6f74_6b6c_696b;
/// What must fit into a database that has been full, in bytes.
const PROBE_BYTES: usize = 512 << 10;
/// How often the database is probed.
const PROBE_EVERY: Duration = Duration::from_millis(500);
