//! The database of audit: raw copies, the index of subjects over them, and the facts projected from them.

mod copies;
mod facts;
mod projection;
mod standings;
mod statistics;
mod traces;
mod writer;

use async_trait::async_trait;
use sea_orm::DbErr;
use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager};

use otklik_chassis::storage::ddl;

pub use self::{
    copies::{Copied, Copies, LedgerKey, encode},
    projection::Projected,
    standings::{Idle, StuckKey, StuckQuery},
    statistics::{AnswerFigures, Dimension, Selection, Statistics, TimeField},
    traces::{Place, TraceStore, Traced},
    writer::{Command, Reply, Writer},
};

/// The migrations of audit.
#[derive(Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(Copy)]
    }
}

struct Copy;

impl MigrationName for Copy {
    fn name(&self) -> &'static str {
        "m0002_audit_copies_and_facts"
    }
}

#[async_trait]
impl MigrationTrait for Copy {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // `number` is the order of arrival here. A body holds up to 32 entries, so a table in the order of its key would
        // only be in the way of the database's overflow pages.
        ddl(
            manager,
            "CREATE TABLE segments (
                number BIGINT NOT NULL PRIMARY KEY, service TEXT NOT NULL, partition BIGINT NOT NULL,
                incarnation UUID NOT NULL, first_seq BIGINT NOT NULL, last_seq BIGINT NOT NULL,
                previous_hash BYTES NOT NULL, last_hash BYTES NOT NULL, body BYTES NOT NULL);
             CREATE UNIQUE INDEX segments_by_ledger ON segments (service, partition, incarnation, first_seq);
             CREATE TABLE arrivals (one BIGINT NOT NULL PRIMARY KEY, last BIGINT NOT NULL);
             INSERT INTO arrivals (one, last) VALUES (1, 0);
             CREATE TABLE subject_entries (
                subject UUID NOT NULL, segment BIGINT NOT NULL, places BYTES NOT NULL,
                PRIMARY KEY (subject, segment)) CLUSTERED;
             CREATE TABLE progress (name TEXT NOT NULL PRIMARY KEY, number BIGINT NOT NULL, rejected BIGINT NOT NULL);
             INSERT INTO progress (name, number, rejected) VALUES ('facts', 0, 0), ('traces', 0, 0);
             CREATE TABLE untraced (
                segment BIGINT NOT NULL, place BIGINT NOT NULL, PRIMARY KEY (segment, place)) CLUSTERED;",
        )
        .await?;
        ddl(
            manager,
            "CREATE TABLE messages (
                id UUID NOT NULL, root UUID, source_id TEXT NOT NULL,
                published_us BIGINT, received_us BIGINT, recorded_us BIGINT,
                intake BIGINT NOT NULL, version BIGINT NOT NULL, settled_version BIGINT NOT NULL,
                classified BIGINT NOT NULL, ratings BIGINT NOT NULL, erasure_complied BIGINT NOT NULL,
                last_us BIGINT NOT NULL, last_type TEXT NOT NULL,
                state TEXT NOT NULL, waiting BIGINT NOT NULL, idle_us BIGINT NOT NULL, PRIMARY KEY (id)) CLUSTERED;
             CREATE INDEX messages_by_published ON messages (published_us);
             CREATE INDEX messages_by_received ON messages (received_us);
             CREATE INDEX messages_waiting ON messages (waiting, idle_us, id) WHERE waiting > 0;
             CREATE TABLE questions (
                message_id UUID NOT NULL, question_id UUID NOT NULL,
                topic_group TEXT NOT NULL, topic TEXT NOT NULL, place_id TEXT NOT NULL,
                present BIGINT NOT NULL, in_review BIGINT NOT NULL, needs_case BIGINT NOT NULL, case_id UUID,
                PRIMARY KEY (message_id, question_id)) CLUSTERED;
             CREATE INDEX questions_by_case ON questions (case_id) WHERE case_id IS NOT NULL;
             CREATE TABLE cases (
                id UUID NOT NULL, root UUID, opened_us BIGINT, received_us BIGINT, assigned BIGINT NOT NULL,
                executor_id TEXT NOT NULL, first_due_us BIGINT, final_due_us BIGINT,
                answer UUID, stage BIGINT NOT NULL, resolved_with UUID, rated_answer UUID,
                first_answer_us BIGINT, final_answer_us BIGINT, first_work_us BIGINT, final_work_us BIGINT,
                reopened_us BIGINT, open_deliveries BIGINT NOT NULL, rests_until_us BIGINT NOT NULL,
                last_us BIGINT NOT NULL, last_type TEXT NOT NULL,
                state TEXT NOT NULL, waiting BIGINT NOT NULL, idle_us BIGINT NOT NULL, PRIMARY KEY (id)) CLUSTERED;
             CREATE INDEX cases_waiting ON cases (waiting, idle_us, id) WHERE waiting > 0;",
        )
        .await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("copies of ledgers are never taken down".into()))
    }
}
