//! The schema, written once for both databases.

use otklik_chassis::storage::ddl;
use sea_orm::DbErr;
use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager};

/// Assignment's migrations.
#[derive(Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(Cases)]
    }
}

struct Cases;

impl MigrationName for Cases {
    fn name(&self) -> &'static str {
        "m0101_assignment_cases"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Cases {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Deadlines stand in the row: `*_under` holds term, policy and versions, separated by blanks.
        // `timer_us` is when the clock itself changes the case; both partial indexes stay as small as the work at hand.
        ddl(
            manager,
            "CREATE TABLE cases (
                case_id UUID NOT NULL PRIMARY KEY,
                number BIGINT NOT NULL, state BIGINT NOT NULL, version BIGINT NOT NULL,
                executor_id TEXT NOT NULL, rule_id TEXT NOT NULL, fallback BIGINT NOT NULL, regime BIGINT NOT NULL,
                topic TEXT NOT NULL, topic_group TEXT NOT NULL, kind BIGINT NOT NULL, urgency BIGINT NOT NULL,
                place_ids TEXT NOT NULL, source_id TEXT NOT NULL, source_kind BIGINT NOT NULL,
                published_us BIGINT, received_us BIGINT, opened_us BIGINT NOT NULL, updated_us BIGINT NOT NULL,
                first_start_us BIGINT, first_due_us BIGINT, first_met_us BIGINT, first_under TEXT,
                resolution_start_us BIGINT, resolution_due_us BIGINT, resolution_met_us BIGINT, resolution_under TEXT,
                paused_working_us BIGINT NOT NULL, paused_calendar_us BIGINT NOT NULL, interim_us BIGINT,
                suspend_reason BIGINT NOT NULL, suspended_us BIGINT, timer_us BIGINT,
                outcome BIGINT NOT NULL, answer_id UUID, resolved_us BIGINT, reopen_count BIGINT NOT NULL,
                next_due_us BIGINT, is_missed BIGINT NOT NULL, is_open BIGINT NOT NULL) CLUSTERED;
             CREATE INDEX cases_by_executor ON cases (executor_id, case_id);
             CREATE INDEX cases_by_topic ON cases (topic, case_id);
             CREATE INDEX cases_open ON cases (executor_id, case_id) WHERE is_open = 1;
             CREATE INDEX cases_by_due ON cases (next_due_us) WHERE next_due_us IS NOT NULL;
             CREATE INDEX cases_by_timer ON cases (timer_us) WHERE timer_us IS NOT NULL;
             CREATE INDEX cases_missed ON cases (case_id) WHERE is_missed = 1;
             CREATE INDEX cases_fallback ON cases (case_id) WHERE fallback = 1;
             CREATE TABLE members (
                message_id UUID NOT NULL, question_id UUID NOT NULL, case_id UUID NOT NULL,
                message_version BIGINT NOT NULL, joined_us BIGINT NOT NULL, satisfied_round BIGINT NOT NULL,
                PRIMARY KEY (message_id, question_id)) CLUSTERED;
             CREATE INDEX members_by_case ON members (case_id);
             CREATE TABLE case_places (
                place_id TEXT NOT NULL, case_id UUID NOT NULL, PRIMARY KEY (place_id, case_id)) CLUSTERED;
             CREATE TABLE withdrawals (
                message_id UUID NOT NULL PRIMARY KEY, withdrawn_us BIGINT NOT NULL) CLUSTERED;
             CREATE TABLE numbering (id BIGINT NOT NULL PRIMARY KEY, year BIGINT NOT NULL, serial BIGINT NOT NULL);
             INSERT INTO numbering (id, year, serial) VALUES (1, 0, 0);",
        )
        .await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("cases are never taken down".into()))
    }
}
