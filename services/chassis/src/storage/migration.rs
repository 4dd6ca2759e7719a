//! Migrations: the chassis' tables first, then the service's own, in one list.

use std::marker::PhantomData;

use sea_orm::{ConnectionTrait, DbBackend, DbErr};
use sea_orm_migration::{MigrationTrait, MigratorTrait, SchemaManager};

/// The chassis' migrations followed by those of a service.
pub(super) struct House<M>(PhantomData<M>);

impl<M: MigratorTrait> MigratorTrait for House<M> {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut all: Vec<Box<dyn MigrationTrait>> = vec![Box::new(Foundation)];
        all.extend(M::migrations());
        all
    }
}

/// Runs DDL written once for both databases.
///
/// In `sql`, `UUID` and `BYTES` become the database's own types, and a table that ends in
/// `CLUSTERED` is stored in the order of its primary key where the database can do that
/// (SQLite's `WITHOUT ROWID`). Integers are always `BIGINT`, times `BIGINT` microseconds since 1970 UTC.
///
/// # Errors
/// Those of the database.
pub async fn ddl(manager: &SchemaManager<'_>, sql: &str) -> Result<(), DbErr> {
    let sqlite = manager.get_database_backend() == DbBackend::Sqlite;
    let (uuid, bytes, clustered) = if sqlite { ("BLOB", "BLOB", "WITHOUT ROWID") } else { ("UUID", "BYTEA", "") };
    let sql = sql
        .replace(" UUID", &format!(" {uuid}"))
        .replace(" BYTES", &format!(" {bytes}"))
        .replace(") CLUSTERED", &format!(") {clustered}"));
    manager.get_connection().execute_unprepared(&sql).await?;
    Ok(())
}

/// Ledger, cursors, parked entries and request ids.
struct Foundation;

impl sea_orm_migration::MigrationName for Foundation {
    fn name(&self) -> &'static str {
        "m0001_chassis_foundation"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Foundation {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl(
            manager,
            "CREATE TABLE ledger_identity (incarnation UUID NOT NULL PRIMARY KEY, partitions BIGINT NOT NULL, ballast BYTES);
             CREATE TABLE ledger_heads (partition BIGINT NOT NULL PRIMARY KEY, seq BIGINT NOT NULL, hash BYTES NOT NULL);
             CREATE TABLE ledger_entries (
                partition BIGINT NOT NULL, seq BIGINT NOT NULL, header BYTES NOT NULL,
                entry_type TEXT NOT NULL, payload BYTES NOT NULL, hash BYTES NOT NULL,
                PRIMARY KEY (partition, seq)) CLUSTERED;
             CREATE TABLE cursors (
                upstream TEXT NOT NULL, partition BIGINT NOT NULL, incarnation UUID NOT NULL,
                seq BIGINT NOT NULL, hash BYTES NOT NULL, PRIMARY KEY (upstream, partition)) CLUSTERED;
             CREATE TABLE parked (
                upstream TEXT NOT NULL, partition BIGINT NOT NULL, seq BIGINT NOT NULL,
                entry BYTES NOT NULL, subjects BYTES NOT NULL, error TEXT NOT NULL, trace_id TEXT NOT NULL,
                behind BIGINT NOT NULL, attempts BIGINT NOT NULL, parked_us BIGINT NOT NULL,
                PRIMARY KEY (upstream, partition, seq)) CLUSTERED;
             CREATE TABLE requests (
                caller TEXT NOT NULL, method TEXT NOT NULL, request_id TEXT NOT NULL,
                body_hash BYTES NOT NULL, resource TEXT NOT NULL, partition BIGINT NOT NULL, seq BIGINT NOT NULL,
                made_us BIGINT NOT NULL, PRIMARY KEY (request_id, caller, method)) CLUSTERED;
             CREATE INDEX requests_by_age ON requests (made_us);",
        )
        .await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("the ledger is never taken down".into()))
    }
}
