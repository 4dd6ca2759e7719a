//! Lifecycles in which nothing happens.

use otklik_chassis::{error::Error, storage::Storage};
use sea_orm::{ConnectionTrait, Value};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::{life::Subject, standing::Waiting};

/// Where a lifecycle stands in the list: the longest idle first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StuckKey {
    /// Since when nothing has happened, in microseconds.
    pub idle_us: i64,
    /// The message or case.
    pub id: Uuid,
}

/// Which lifecycles to list.
#[derive(Debug, Clone)]
pub struct StuckQuery {
    /// Idle since this moment or longer, in microseconds.
    pub idle_before_us: i64,
    /// Waiting for one of these.
    pub waiting: Vec<Waiting>,
    /// Messages.
    pub messages: bool,
    /// Cases.
    pub cases: bool,
    /// After this one.
    pub after: Option<StuckKey>,
    /// How many.
    pub limit: u64,
}

/// A lifecycle in which nothing happens.
#[derive(Debug, Clone)]
pub struct Idle {
    /// Whose life.
    pub subject: Subject,
    /// Its place in the list.
    pub key: StuckKey,
    /// Where it stands.
    pub state: String,
    /// Who should take the next step.
    pub waiting: Waiting,
    /// When its last step was recorded, in microseconds.
    pub last_us: i64,
    /// Full name of the type of that step.
    pub last_type: String,
}

impl StuckQuery {
    /// The lifecycles, the longest idle first.
    ///
    /// Every combination of table and service is a range of its index; their beginnings are merged here.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn run(&self, storage: &Storage) -> Result<Vec<Idle>, Error> {
        let mut found = Vec::new();
        for waiting in &self.waiting {
            if self.messages {
                self.range(storage, "messages", *waiting, Subject::Message, &mut found).await?;
            }
            if self.cases {
                self.range(storage, "cases", *waiting, Subject::Case, &mut found).await?;
            }
        }
        found.sort_by_key(|idle: &Idle| idle.key);
        found.truncate(usize::try_from(self.limit).unwrap_or(usize::MAX));
        Ok(found)
    }

    async fn range(
        &self,
        storage: &Storage,
        table: &str,
        waiting: Waiting,
        subject: fn(Uuid) -> Subject,
        found: &mut Vec<Idle>,
    ) -> Result<(), Error> {
        let after = self.after.unwrap_or(StuckKey { idle_us: i64::MIN, id: Uuid::nil() });
        let sql = format!(
            "SELECT id, idle_us, state, last_us, last_type FROM {table}
             WHERE waiting = $1 AND waiting > 0 AND idle_us <= $2 AND (idle_us, id) > ($3, $4)
             ORDER BY idle_us, id LIMIT $5"
        );
        let values: [Value; 5] = [
            waiting.number().into(),
            self.idle_before_us.into(),
            after.idle_us.into(),
            after.id.into(),
            i64::try_from(self.limit).unwrap_or(i64::MAX).into(),
        ];
        for row in storage.reader().query_all_raw(storage.statement(&sql, values)).await? {
            let id = row.try_get_by_index(0)?;
            found.push(Idle {
                subject: subject(id),
                key: StuckKey { idle_us: row.try_get_by_index(1)?, id },
                state: row.try_get_by_index(2)?,
                waiting,
                last_us: row.try_get_by_index(3)?,
                last_type: row.try_get_by_index(4)?,
            });
        }
        Ok(())
    }
}
