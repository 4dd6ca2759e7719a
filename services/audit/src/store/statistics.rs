//! Counts over the facts.

use std::collections::HashMap;

use otklik_chassis::{error::Error, storage::Storage};
use sea_orm::{ConnectionTrait, QueryResult, Value};

use crate::domain::periods::{Period, nearest_rank};

/// Which time of a message decides whether it is in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeField {
    /// When its author published it.
    Published,
    /// When intake received it.
    Received,
    /// When its reception was recorded.
    Recorded,
}

impl TimeField {
    fn column(self) -> &'static str {
        match self {
            Self::Published => "m.published_us",
            Self::Received => "m.received_us",
            Self::Recorded => "m.recorded_us",
        }
    }
}

/// What to count by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dimension {
    /// Topic group of a question.
    TopicGroup,
    /// Topic of a question.
    Topic,
    /// Most specific place of a question.
    Place,
    /// Executor that holds a case.
    Executor,
    /// State of the message.
    State,
}

impl Dimension {
    fn column(self) -> &'static str {
        match self {
            Self::TopicGroup => "q.topic_group",
            Self::Topic => "q.topic",
            Self::Place => "q.place_id",
            Self::Executor => "c.executor_id",
            Self::State => "m.state",
        }
    }
}

/// Which messages to count; what is empty selects all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// By which time.
    pub time: TimeField,
    /// Code of a topic group.
    pub topic_group: String,
    /// Code of a topic.
    pub topic: String,
    /// Code of a place.
    pub place_id: String,
    /// Code of an executor.
    pub executor_id: String,
    /// Code of a source.
    pub source_id: String,
}

/// How fast answers went out; working times in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnswerFigures {
    /// Cases.
    pub cases: u64,
    /// Cases with a first answer.
    pub first_answered: u64,
    /// Median and 90th percentile of the working time to it.
    pub first_us: Option<(i64, i64)>,
    /// Cases with a final answer.
    pub final_answered: u64,
    /// Median and 90th percentile of the working time to it.
    pub final_us: Option<(i64, i64)>,
    /// Cases with an answer after its deadline, or without one past it.
    pub overdue: u64,
}

/// Counts messages of a selection.
#[derive(Debug, Clone, Copy)]
pub struct Statistics<'a> {
    /// The database.
    pub storage: &'a Storage,
    /// Which messages.
    pub selection: &'a Selection,
}

/// A `FROM … WHERE …` with its values.
struct Source {
    sql: String,
    values: Vec<Value>,
    /// How to count each message once.
    count: &'static str,
}

impl Statistics<'_> {
    /// How many messages of a period have each value of the dimension; under the empty key, how many have none.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn count_by(&self, dimension: Dimension, period: Period) -> Result<HashMap<String, u64>, Error> {
        let source = self.source(Some(dimension), period);
        let (column, count) = (dimension.column(), source.count);
        let sql = format!("SELECT {column}, {count} {} AND {column} <> '' GROUP BY {column}", source.sql);
        let mut counts = HashMap::new();
        for row in self.rows(&sql, source.values).await? {
            counts.insert(row.try_get_by_index(0)?, unsigned(&row, 1)?);
        }
        let source = self.source(Some(dimension), period);
        let sql = format!("SELECT {count} {} AND {column} <> ''", source.sql);
        let with: u64 = self.number(&sql, source.values).await?;
        let without = self.count(period).await?.saturating_sub(with);
        if without > 0 {
            counts.insert(String::new(), without);
        }
        Ok(counts)
    }

    /// How many messages there are in a period.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn count(&self, period: Period) -> Result<u64, Error> {
        let source = self.source(None, period);
        self.number(&format!("SELECT {} {}", source.count, source.sql), source.values).await
    }

    /// The earliest and the latest time of a message in a period, in microseconds.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn extent(&self, period: Period) -> Result<Option<(i64, i64)>, Error> {
        let column = self.selection.time.column();
        // One after the other, so that each is the end of an index.
        let mut ends = [None; 2];
        for (end, order) in ends.iter_mut().zip(["ASC", "DESC"]) {
            let sql = format!(
                "SELECT {column} FROM messages m WHERE {column} >= $1 AND {column} < $2 ORDER BY {column} {order} LIMIT 1"
            );
            let rows = self.rows(&sql, vec![period.from_us.into(), period.to_us.into()]).await?;
            *end = rows.first().map(|row| row.try_get_by_index(0)).transpose()?;
        }
        Ok(ends[0].zip(ends[1]))
    }

    /// How fast answers to the messages of a period went out. `now_us` decides what is overdue without an answer.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn answers(&self, period: Period, now_us: i64) -> Result<AnswerFigures, Error> {
        let source = self.source(Some(Dimension::Executor), period);
        let now = source.values.len() + 1;
        let picked = format!("WITH picked AS (SELECT DISTINCT c.id AS id {} AND c.id IS NOT NULL)", source.sql);
        let mut values = source.values.clone();
        values.push(now_us.into());
        let sql = format!(
            "{picked} SELECT count(*), count(c.first_answer_us), count(c.first_work_us), count(c.final_answer_us),
                count(c.final_work_us), COALESCE(sum(CASE
                    WHEN c.state IN ('CANCELLED', 'MERGED_INTO') THEN 0
                    WHEN c.first_answer_us > c.first_due_us THEN 1
                    WHEN c.first_answer_us IS NULL AND c.first_due_us < ${now} THEN 1
                    WHEN c.final_answer_us > COALESCE(c.reopened_us, c.final_answer_us - 1) THEN
                        CASE WHEN c.final_answer_us > c.final_due_us THEN 1 ELSE 0 END
                    WHEN c.final_due_us < ${now} THEN 1
                    ELSE 0 END), 0)
             FROM picked JOIN cases c ON c.id = picked.id"
        );
        let rows = self.rows(&sql, values).await?;
        let Some(row) = rows.first() else { return Ok(AnswerFigures::default()) };
        let (first, last) = (unsigned(row, 2)?, unsigned(row, 4)?);
        Ok(AnswerFigures {
            cases: unsigned(row, 0)?,
            first_answered: unsigned(row, 1)?,
            first_us: self.percentiles(&picked, &source.values, "c.first_work_us", first).await?,
            final_answered: unsigned(row, 3)?,
            final_us: self.percentiles(&picked, &source.values, "c.final_work_us", last).await?,
            overdue: unsigned(row, 5)?,
        })
    }

    async fn percentiles(
        &self,
        picked: &str,
        values: &[Value],
        column: &str,
        count: u64,
    ) -> Result<Option<(i64, i64)>, Error> {
        let mut found = [None; 2];
        for (found, percent) in found.iter_mut().zip([50, 90]) {
            let mut values = values.to_vec();
            values.push(i64::try_from(nearest_rank(percent, count)).unwrap_or(i64::MAX).into());
            let sql = format!(
                "{picked} SELECT {column} FROM picked JOIN cases c ON c.id = picked.id WHERE {column} IS NOT NULL
                 ORDER BY {column} LIMIT 1 OFFSET ${}",
                values.len()
            );
            *found = self.rows(&sql, values).await?.first().map(|row| row.try_get_by_index(0)).transpose()?;
        }
        Ok(found[0].zip(found[1]))
    }

    /// The rows that a dimension and the selection need, of the messages of a period.
    fn source(&self, dimension: Option<Dimension>, period: Period) -> Source {
        let Selection { time, topic_group, topic, place_id, executor_id, source_id } = self.selection;
        let mut source = Source { sql: "FROM messages m".into(), values: Vec::new(), count: "count(*)" };
        let of_question = [topic_group, topic, place_id].iter().any(|code| !code.is_empty())
            || matches!(dimension, Some(Dimension::TopicGroup | Dimension::Topic | Dimension::Place));
        let of_case = !executor_id.is_empty() || dimension == Some(Dimension::Executor);
        if of_question || of_case {
            // A question that a later version of its message no longer raises still has its case.
            let present = if of_question { " AND q.present = 1" } else { "" };
            source.sql.push_str(&format!(" LEFT JOIN questions q ON q.message_id = m.id{present}"));
            source.count = "count(DISTINCT m.id)";
        }
        if of_case {
            source.sql.push_str(" LEFT JOIN cases c ON c.id = q.case_id");
        }
        let column = time.column();
        source.sql.push_str(&format!(" WHERE {column} >= $1 AND {column} < $2"));
        source.values.extend([Value::from(period.from_us), period.to_us.into()]);
        let codes = [
            ("q.topic_group", topic_group),
            ("q.topic", topic),
            ("q.place_id", place_id),
            ("c.executor_id", executor_id),
            ("m.source_id", source_id),
        ];
        for (column, code) in codes.into_iter().filter(|(_, code)| !code.is_empty()) {
            source.values.push(code.as_str().into());
            source.sql.push_str(&format!(" AND {column} = ${}", source.values.len()));
        }
        source
    }

    async fn rows(&self, sql: &str, values: Vec<Value>) -> Result<Vec<QueryResult>, Error> {
        Ok(self.storage.reader().query_all_raw(self.storage.statement(sql, values)).await?)
    }

    async fn number(&self, sql: &str, values: Vec<Value>) -> Result<u64, Error> {
        self.rows(sql, values).await?.first().map_or(Ok(0), |row| unsigned(row, 0))
    }
}

fn unsigned(row: &QueryResult, index: usize) -> Result<u64, Error> {
    Ok(u64::try_from(row.try_get_by_index::<i64>(index)?).unwrap_or(0))
}
