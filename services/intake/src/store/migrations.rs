//! The tables.

use async_trait::async_trait;
use otklik_chassis::storage::ddl;
use sea_orm::DbErr;
use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager};

/// The migrations of intake's own tables, the oldest first.
#[derive(Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(Messages)]
    }
}

/// Messages with their versions, authors, sources.
struct Messages;

impl MigrationName for Messages {
    fn name(&self) -> &'static str {
        "m0001_intake_messages"
    }
}

#[async_trait]
impl MigrationTrait for Messages {
    /// - `messages`: where each item stands. Version 0 is a tombstone that awaits its message; its id is provisional.
    ///   `entry_seq` is where the entry of the latest change was expected in the ledger: it stands there or later.
    /// - `versions`: texts. `content` is a nullable column, so that a text can go while its version stays.
    /// - `source_activity`: several rows a source, so that replicas don't wait for each other at one; they are added up.
    /// - `erasures`: authors whose erasure has begun and is not complete.
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl(
            manager,
            "CREATE TABLE messages (
                message_id UUID NOT NULL PRIMARY KEY, item_key BYTES NOT NULL, author_key BYTES NOT NULL,
                source_id TEXT NOT NULL, external_id TEXT NOT NULL, channel_kind BIGINT NOT NULL,
                state BIGINT NOT NULL, rejection BIGINT NOT NULL, version BIGINT NOT NULL,
                source_revision BIGINT NOT NULL, withdrawn_revision BIGINT, withdraw_reason BIGINT NOT NULL,
                published_us BIGINT NOT NULL, received_us BIGINT NOT NULL, updated_us BIGINT NOT NULL,
                entry_seq BIGINT NOT NULL) CLUSTERED;
             CREATE UNIQUE INDEX messages_by_item ON messages (item_key);
             CREATE INDEX messages_by_author ON messages (author_key, message_id);
             CREATE TABLE versions (
                message_id UUID NOT NULL, version BIGINT NOT NULL, source_revision BIGINT NOT NULL,
                published_us BIGINT NOT NULL, received_us BIGINT NOT NULL,
                content TEXT, salt BYTES, details TEXT,
                PRIMARY KEY (message_id, version)) CLUSTERED;
             CREATE TABLE authors (
                author_key BYTES NOT NULL PRIMARY KEY, source_id TEXT NOT NULL, external_id TEXT NOT NULL,
                display_name TEXT NOT NULL) CLUSTERED;
             CREATE TABLE erasures (author_key BYTES NOT NULL PRIMARY KEY, until_us BIGINT NOT NULL, reason BIGINT NOT NULL);
             CREATE TABLE sources (
                source_id TEXT NOT NULL PRIMARY KEY, kind BIGINT NOT NULL, title TEXT NOT NULL,
                default_place TEXT NOT NULL, regime BIGINT NOT NULL, own_authors TEXT NOT NULL,
                channel_kinds TEXT NOT NULL, expected_silence_hours BIGINT NOT NULL,
                pack_version TEXT NOT NULL, created_us BIGINT NOT NULL, updated_us BIGINT NOT NULL);
             CREATE TABLE source_activity (
                source_id TEXT NOT NULL, shard BIGINT NOT NULL, message_count BIGINT NOT NULL,
                received_us BIGINT NOT NULL, published_us BIGINT NOT NULL,
                PRIMARY KEY (source_id, shard)) CLUSTERED;
             CREATE TABLE secrets (name TEXT NOT NULL PRIMARY KEY, secret BYTES NOT NULL);",
        )
        .await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("messages are never taken down".into()))
    }
}
