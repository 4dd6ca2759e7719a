//! The tables of feedback.

use otklik_chassis::storage::ddl;
use sea_orm::DbErr;
use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager};

/// The migrations of feedback, the oldest first.
#[derive(Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(First)]
    }
}

/// Cases with their members, answers and their texts, deliveries, ratings and their comments.
struct First;

impl MigrationName for First {
    fn name(&self) -> &'static str {
        "m0101_feedback_first"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for First {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Texts and comments stand apart from what is about them: they are erased by deleting their rows.
        // Deliveries: due_us is when one is taken up next, while it is leased when the lease ends; 0 once it has ended.
        ddl(
            manager,
            "CREATE TABLE cases (
                case_id UUID NOT NULL PRIMARY KEY, number TEXT NOT NULL, state BIGINT NOT NULL, executor_id TEXT NOT NULL,
                round BIGINT NOT NULL, answered_round BIGINT, answer_id UUID) CLUSTERED;
             CREATE TABLE members (
                case_id UUID NOT NULL, message_id UUID NOT NULL, PRIMARY KEY (case_id, message_id)) CLUSTERED;
             CREATE INDEX members_by_message ON members (message_id);
             CREATE TABLE gone_messages (message_id UUID NOT NULL PRIMARY KEY, fate BIGINT NOT NULL) CLUSTERED;
             CREATE TABLE answers (
                answer_id UUID NOT NULL PRIMARY KEY, case_id UUID NOT NULL, kind BIGINT NOT NULL, state BIGINT NOT NULL,
                outcome BIGINT NOT NULL, promise_date TEXT NOT NULL, template_id TEXT NOT NULL, revision BIGINT NOT NULL,
                version BIGINT NOT NULL, drafted_by TEXT NOT NULL, approved_by TEXT NOT NULL,
                send_back_reason BIGINT NOT NULL, drafted_us BIGINT NOT NULL, approved_us BIGINT, published_us BIGINT
                ) CLUSTERED;
             CREATE INDEX answers_by_case ON answers (case_id);
             CREATE INDEX answers_by_draft ON answers (drafted_us, answer_id);
             CREATE TABLE answer_texts (
                answer_id UUID NOT NULL PRIMARY KEY, text TEXT NOT NULL, salt BYTES NOT NULL, proof_urls TEXT NOT NULL,
                send_back_comment TEXT NOT NULL) CLUSTERED;
             CREATE TABLE deliveries (
                delivery_id UUID NOT NULL PRIMARY KEY, answer_id UUID NOT NULL, case_id UUID NOT NULL,
                message_id UUID NOT NULL, kind BIGINT NOT NULL, source_id TEXT NOT NULL, external_id TEXT NOT NULL,
                channel_kind BIGINT NOT NULL, state BIGINT NOT NULL, attempts BIGINT NOT NULL, due_us BIGINT NOT NULL,
                leased BIGINT NOT NULL, delivered_us BIGINT, give_up_reason BIGINT NOT NULL, last_error TEXT NOT NULL,
                created_us BIGINT NOT NULL) CLUSTERED;
             CREATE INDEX deliveries_by_answer ON deliveries (answer_id);
             CREATE INDEX deliveries_by_message ON deliveries (message_id);
             CREATE INDEX deliveries_due ON deliveries (due_us) WHERE state IN (1, 3);
             CREATE INDEX deliveries_given_up ON deliveries (delivery_id) WHERE state = 4;
             CREATE TABLE ratings (
                message_id UUID NOT NULL, case_id UUID NOT NULL, rating_id UUID NOT NULL, answer_id UUID NOT NULL,
                score BIGINT NOT NULL, satisfied BIGINT NOT NULL, rated_us BIGINT NOT NULL,
                PRIMARY KEY (message_id, case_id)) CLUSTERED;
             CREATE INDEX ratings_by_case ON ratings (case_id);
             CREATE INDEX ratings_by_time ON ratings (rated_us, rating_id);
             CREATE TABLE rating_comments (
                message_id UUID NOT NULL, case_id UUID NOT NULL, comment TEXT NOT NULL,
                PRIMARY KEY (message_id, case_id)) CLUSTERED;",
        )
        .await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("answers are never taken down".into()))
    }
}
