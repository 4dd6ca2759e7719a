//! The schema.

use otklik_chassis::storage::ddl;
use sea_orm::DbErr;
use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager};

/// The migrations of classification's own tables.
#[derive(Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(Classifications)]
    }
}

struct Classifications;

impl MigrationName for Classifications {
    fn name(&self) -> &'static str {
        "m0002_classification_classifications"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Classifications {
    /// `record` is an encoded `otklik.classification.v1.Classification` without what the other columns say, `origin` an
    /// encoded `otklik.intake.v1.MessageOrigin` (empty when a withdrawal came first). The columns from `urgency_rank` on
    /// are the review queue's and are filled while a message waits in it.
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl(
            manager,
            "CREATE TABLE classifications (
                message_id UUID NOT NULL PRIMARY KEY, state BIGINT NOT NULL, revision BIGINT NOT NULL,
                record BYTES NOT NULL, origin BYTES NOT NULL, received_us BIGINT NOT NULL,
                urgency_rank BIGINT NOT NULL, since_us BIGINT NOT NULL, review_source TEXT NOT NULL) CLUSTERED;
             CREATE INDEX classifications_in_review
                ON classifications (urgency_rank, since_us, message_id) WHERE state = 2;
             CREATE INDEX classifications_in_review_by_source
                ON classifications (review_source, urgency_rank, since_us, message_id) WHERE state = 2;",
        )
        .await
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("classifications are never taken down".into()))
    }
}
