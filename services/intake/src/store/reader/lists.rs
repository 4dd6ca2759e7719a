//! Lists, page by page in the order of a key.

use otklik_chassis::error::Error;
use otklik_proto::intake::v1::{MessageState, SourceKind};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Value};
use uuid::{Builder, Uuid};

use super::{MessageView, Reader, SourceView};
use crate::{
    domain::keys::AuthorKey,
    store::rows::{SOURCE_COLUMNS, SourceRow, VERSION_COLUMNS, message_columns},
};

/// Selects messages; what is unset or empty selects all.
#[derive(Debug, Clone, Default)]
pub struct MessageFilter {
    /// Code of the source.
    pub source_id: Option<String>,
    /// States; any of them.
    pub states: Vec<MessageState>,
    /// Received at this time or later, in microseconds since 1970.
    pub received_from_us: Option<i64>,
    /// Received before this time.
    pub received_before_us: Option<i64>,
    /// Messages of one author.
    pub author: Option<AuthorKey>,
}

/// Which part of a list is wanted.
#[derive(Debug, Clone)]
pub struct Listed<K> {
    /// The key of the last item of the part before.
    pub after: Option<K>,
    /// How many items at the most.
    pub limit: u64,
}

/// Conditions with their values, in the order of placeholders.
#[derive(Default)]
struct Conditions {
    sql: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    /// Adds a condition; `{}` in it stands for the value.
    fn add(&mut self, condition: &str, value: impl Into<Value>) {
        let placeholder = self.placeholder(value);
        self.sql.push(condition.replace("{}", &placeholder));
    }

    fn placeholder(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("${}", self.values.len())
    }

    /// Adds that `column` is one of `values`, if there are any.
    fn any_of(&mut self, column: &str, values: impl Iterator<Item = i64>) {
        let list: Vec<String> = values.map(|value| self.placeholder(value)).collect();
        if !list.is_empty() {
            self.sql.push(format!("{column} IN ({})", list.join(", ")));
        }
    }
}

impl Reader {
    /// Messages with their latest version each, the latest received first; the key is the message's id, which
    /// begins with the time of reception.
    ///
    /// # Errors
    /// An outage of the database.
    pub async fn list_messages(
        &self,
        filter: &MessageFilter,
        listed: &Listed<Uuid>,
    ) -> Result<Vec<MessageView>, Error> {
        let mut conditions = Conditions::default();
        conditions.sql.push("m.version > 0".into());
        if let Some(after) = listed.after {
            conditions.add("m.message_id < {}", after);
        }
        if let Some(author) = filter.author {
            conditions.add("m.author_key = {}", author.0.to_vec());
        }
        if let Some(source_id) = &filter.source_id {
            conditions.add("m.source_id = {}", source_id.as_str());
        }
        conditions.any_of("m.state", filter.states.iter().map(|state| i64::from(*state as i32)));
        // Ids know the millisecond and are in order; the exact time decides at the edges.
        if let Some(from_us) = filter.received_from_us {
            conditions.add("m.message_id >= {}", first_id_of(from_us, 0));
            conditions.add("m.received_us >= {}", from_us);
        }
        if let Some(before_us) = filter.received_before_us {
            conditions.add("m.message_id < {}", first_id_of(before_us, 1));
            conditions.add("m.received_us < {}", before_us);
        }
        let limit = conditions.placeholder(i64::try_from(listed.limit).unwrap_or(i64::MAX));
        let sql = format!(
            "SELECT {}, {VERSION_COLUMNS} FROM messages m
             JOIN versions v ON v.message_id = m.message_id AND v.version = m.version
             WHERE {} ORDER BY m.message_id DESC LIMIT {limit}",
            message_columns(),
            conditions.sql.join(" AND ")
        );
        let rows = self.storage.reader().query_all_raw(self.storage.statement(&sql, conditions.values)).await?;
        self.views(&rows).await
    }

    /// Sources by code, which is the key.
    ///
    /// # Errors
    /// An outage of the database.
    pub async fn list_sources(&self, kinds: &[SourceKind], listed: &Listed<String>) -> Result<Vec<SourceView>, Error> {
        let mut conditions = Conditions::default();
        conditions.add("s.source_id > {}", listed.after.as_deref().unwrap_or_default());
        conditions.any_of("s.kind", kinds.iter().map(|kind| i64::from(*kind as i32)));
        self.sources_where(conditions, listed.limit).await
    }

    /// A source; `None` when there is none.
    ///
    /// # Errors
    /// An outage of the database.
    pub async fn source(&self, source_id: &str) -> Result<Option<SourceView>, Error> {
        let mut conditions = Conditions::default();
        conditions.add("s.source_id = {}", source_id);
        Ok(self.sources_where(conditions, 1).await?.pop())
    }

    async fn sources_where(&self, mut conditions: Conditions, limit: u64) -> Result<Vec<SourceView>, Error> {
        let limit = conditions.placeholder(i64::try_from(limit).unwrap_or(i64::MAX));
        let sql = format!(
            "SELECT {}, a.message_count, a.received_us, a.published_us FROM sources s
             LEFT JOIN (
                SELECT source_id, CAST(sum(message_count) AS BIGINT) AS message_count,
                       max(received_us) AS received_us, max(published_us) AS published_us
                FROM source_activity GROUP BY source_id
             ) a ON a.source_id = s.source_id
             WHERE {} ORDER BY s.source_id LIMIT {limit}",
            SOURCE_COLUMNS.map(|column| format!("s.{column}")).join(", "),
            conditions.sql.join(" AND ")
        );
        let rows = self.storage.reader().query_all_raw(self.storage.statement(&sql, conditions.values)).await?;
        rows.iter().map(read_source).collect::<Result<_, _>>().map_err(Error::from)
    }
}

fn read_source(row: &QueryResult) -> Result<SourceView, DbErr> {
    let SourceRow { source, created_us, updated_us, .. } = SourceRow::read(row)?;
    let at = SOURCE_COLUMNS.len();
    let message_count: Option<i64> = row.try_get_by_index(at)?;
    Ok(SourceView {
        source,
        created_us,
        updated_us,
        message_count: message_count.unwrap_or(0).unsigned_abs(),
        received_us: row.try_get_by_index(at + 1)?,
        published_us: row.try_get_by_index(at + 2)?,
    })
}

/// The lowest UUID that begins with the millisecond `later` milliseconds after that of `micros`.
fn first_id_of(micros: i64, later: u64) -> Uuid {
    let millis = u64::try_from(micros.div_euclid(1_000)).unwrap_or(0) + later;
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&millis.min((1 << 48) - 1).to_be_bytes()[2..]);
    Builder::from_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_millisecond_lie_between_its_bounds() {
        let moment: jiff::Timestamp = "2020-11-19T03:04:05.678901Z".parse().unwrap();
        let micros = moment.as_microsecond();
        for _ in 0..100 {
            let id = otklik_chassis::id::new_id(moment);
            assert!(first_id_of(micros, 0) <= id && id < first_id_of(micros, 1));
        }
        assert_eq!(first_id_of(-5, 0), Uuid::nil());
        assert!(first_id_of(i64::MAX, 1) > first_id_of(micros, 1));
    }
}
