//! Reading, outside any transaction.

use std::collections::HashMap;

use jiff::Timestamp;
use otklik_chassis::storage::{Failure, Storage, rows};
use otklik_proto::feedback::v1::{AnswerState, DeliveryState};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Value};
use uuid::Uuid;

use super::{
    answers, cases,
    command::{AnswerView, RatingView},
    deliveries, ratings,
};
use crate::domain::{
    answer::{Answer, Wording},
    case::Case,
    delivery::Delivery,
};

/// Where the page before ended: the time that the list is ordered by, in microseconds, and the id.
pub type Keyset = (i64, Uuid);

/// Selects answers; what is unset selects all.
#[derive(Debug, Default)]
pub struct AnswerFilter {
    /// Answers to this case.
    pub case_id: Option<Uuid>,
    /// Answers that went to the author of this message.
    pub message_id: Option<Uuid>,
    /// States; any of them.
    pub states: Vec<AnswerState>,
}

/// Selects deliveries; what is unset selects all.
#[derive(Debug, Default)]
pub struct DeliveryFilter {
    /// Deliveries of this answer.
    pub answer_id: Option<Uuid>,
    /// Deliveries of answers to this case.
    pub case_id: Option<Uuid>,
    /// Deliveries to the author of this message.
    pub message_id: Option<Uuid>,
    /// States; any of them.
    pub states: Vec<DeliveryState>,
}

/// Selects ratings; what is unset selects all.
#[derive(Debug, Default)]
pub struct RatingFilter {
    /// Ratings of answers to this case.
    pub case_id: Option<Uuid>,
    /// Ratings by the author of this message.
    pub message_id: Option<Uuid>,
}

/// Reads the database of feedback. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reader {
    storage: Storage,
}

/// A query that grows condition by condition.
struct Query {
    sql: String,
    values: Vec<Value>,
    conditions: usize,
}

impl Query {
    fn new(columns: &str, tables: &str) -> Self {
        Self { sql: format!("SELECT {columns} FROM {tables}"), values: Vec::new(), conditions: 0 }
    }

    /// Adds a condition; `{}` in it is the place of the next value.
    fn and<const N: usize>(&mut self, condition: &str, values: [Value; N]) {
        self.sql.push_str(if self.conditions == 0 { " WHERE " } else { " AND " });
        self.conditions += 1;
        let mut parts = condition.split("{}");
        self.sql.push_str(parts.next().unwrap_or_default());
        for (part, value) in parts.zip(values) {
            self.values.push(value);
            self.sql.push_str(&format!("${}{part}", self.values.len()));
        }
    }

    fn and_id(&mut self, condition: &str, id: Option<Uuid>) {
        if let Some(id) = id {
            self.and(condition, [id.into()]);
        }
    }

    fn and_one_of(&mut self, column: &str, codes: impl Iterator<Item = i32>) {
        let codes: Vec<String> = codes.map(|code| code.to_string()).collect();
        if !codes.is_empty() {
            self.and(&format!("{column} IN ({})", codes.join(", ")), []);
        }
    }

    async fn all<T>(
        mut self,
        storage: &Storage,
        end: &str,
        limit: u64,
        read: impl Fn(&QueryResult) -> Result<T, DbErr>,
    ) -> Result<Vec<T>, Failure> {
        self.values.push(i64::try_from(limit).unwrap_or(i64::MAX).into());
        self.sql.push_str(&format!(" {end} LIMIT ${}", self.values.len()));
        let rows = storage.reader().query_all_raw(storage.statement(&self.sql, self.values)).await?;
        rows.iter().map(|row| read(row).map_err(Failure::from)).collect()
    }
}

impl Reader {
    /// A reader of this database.
    #[must_use]
    pub fn new(storage: Storage) -> Self {
        Self { storage }
    }

    /// A case as far as feedback knows it.
    ///
    /// # Errors
    /// An outage of the database.
    pub async fn case(&self, id: Uuid) -> Result<Option<Case>, Failure> {
        let mut query = Query::new(cases::CASE_COLUMNS, "cases");
        query.and("case_id = {}", [id.into()]);
        Ok(query.all(&self.storage, "", 1, cases::read_case).await?.pop())
    }

    /// An answer.
    ///
    /// # Errors
    /// An outage of the database.
    pub async fn answer(&self, id: Uuid) -> Result<Option<AnswerView>, Failure> {
        let mut query = Query::new(answers::COLUMNS, answers::TABLES);
        query.and("a.answer_id = {}", [id.into()]);
        let found = query.all(&self.storage, "", 1, answers::read_answer).await?;
        Ok(self.with_messages(found).await?.pop())
    }

    /// The case and the state of an answer.
    ///
    /// # Errors
    /// An outage of the database.
    pub async fn answer_state(&self, id: Uuid) -> Result<Option<(Uuid, AnswerState)>, Failure> {
        let mut query = Query::new("case_id, state", "answers");
        query.and("answer_id = {}", [id.into()]);
        let read = |row: &QueryResult| Ok((row.try_get_by_index(0)?, super::codes::code(row, 1)?));
        Ok(query.all(&self.storage, "", 1, read).await?.pop())
    }

    /// Answers, the latest drafted first.
    ///
    /// # Errors
    /// An outage of the database.
    pub async fn answers(
        &self,
        filter: &AnswerFilter,
        after: Option<Keyset>,
        limit: u64,
    ) -> Result<Vec<AnswerView>, Failure> {
        let mut query = Query::new(answers::COLUMNS, answers::TABLES);
        query.and_id("a.case_id = {}", filter.case_id);
        query.and_id("a.answer_id IN (SELECT answer_id FROM deliveries WHERE message_id = {})", filter.message_id);
        query.and_one_of("a.state", filter.states.iter().map(|state| i32::from(*state)));
        if let Some((micros, id)) = after {
            query.and("(a.drafted_us, a.answer_id) < ({}, {})", [micros.into(), id.into()]);
        }
        let end = "ORDER BY a.drafted_us DESC, a.answer_id DESC";
        let found = query.all(&self.storage, end, limit, answers::read_answer).await?;
        self.with_messages(found).await
    }

    async fn with_messages(&self, found: Vec<(Answer, Wording)>) -> Result<Vec<AnswerView>, Failure> {
        let published = found.iter().filter(|(answer, _)| answer.state == AnswerState::Published);
        let keys = published.map(|(answer, _)| answer.id.into()).collect();
        let sql =
            "SELECT answer_id, message_id FROM deliveries WHERE answer_id IN ({keys}) ORDER BY answer_id, message_id";
        let read = |row: &QueryResult| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?));
        let mut messages: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
        for (answer, message) in rows::select_in(self.storage.reader(), sql, keys, read).await? {
            messages.entry(answer).or_default().push(message);
        }
        let view = |(answer, wording): (Answer, _)| AnswerView {
            message_ids: messages.remove(&answer.id).unwrap_or_default(),
            answer,
            wording,
        };
        Ok(found.into_iter().map(view).collect())
    }

    /// The texts of answers; those erased are left out.
    ///
    /// # Errors
    /// An outage of the database.
    pub async fn texts(&self, answers: impl IntoIterator<Item = Uuid>) -> Result<HashMap<Uuid, String>, Failure> {
        let sql = "SELECT answer_id, text FROM answer_texts WHERE answer_id IN ({keys})";
        let keys = answers.into_iter().map(Into::into).collect();
        let read = |row: &QueryResult| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?));
        Ok(rows::select_in(self.storage.reader(), sql, keys, read).await?.into_iter().collect())
    }

    /// Deliveries, the latest created first (their ids begin with the time of their making).
    ///
    /// # Errors
    /// An outage of the database.
    pub async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<Delivery>, Failure> {
        let mut query = Query::new(deliveries::COLUMNS, "deliveries");
        query.and_id("answer_id = {}", filter.answer_id);
        query.and_id("answer_id IN (SELECT answer_id FROM answers WHERE case_id = {})", filter.case_id);
        query.and_id("message_id = {}", filter.message_id);
        // One state by `=`, so that the index of those given up serves.
        match filter.states.as_slice() {
            [only] => query.and(&format!("state = {}", i32::from(*only)), []),
            states => query.and_one_of("state", states.iter().map(|state| i32::from(*state))),
        }
        query.and_id("delivery_id < {}", after);
        query.all(&self.storage, "ORDER BY delivery_id DESC", limit, deliveries::read_delivery).await
    }

    /// When the next delivery is due; `None` when all have ended.
    ///
    /// # Errors
    /// An outage of the database.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, Failure> {
        let mut query = Query::new("due_us", "deliveries");
        query.and("state IN (1, 3)", []);
        Ok(query.all(&self.storage, "ORDER BY due_us", 1, |row| super::codes::time(row, 0)).await?.pop())
    }

    /// A rating.
    ///
    /// # Errors
    /// An outage of the database.
    pub async fn rating(&self, message_id: Uuid, case_id: Uuid) -> Result<Option<RatingView>, Failure> {
        let mut query = Query::new(ratings::COLUMNS, ratings::TABLES);
        query.and("r.message_id = {} AND r.case_id = {}", [message_id.into(), case_id.into()]);
        Ok(query.all(&self.storage, "", 1, ratings::read_rating).await?.pop())
    }

    /// Ratings, the latest first.
    ///
    /// # Errors
    /// An outage of the database.
    pub async fn ratings(
        &self,
        filter: &RatingFilter,
        after: Option<Keyset>,
        limit: u64,
    ) -> Result<Vec<RatingView>, Failure> {
        let mut query = Query::new(ratings::COLUMNS, ratings::TABLES);
        query.and_id("r.case_id = {}", filter.case_id);
        query.and_id("r.message_id = {}", filter.message_id);
        if let Some((micros, id)) = after {
            query.and("(r.rated_us, r.rating_id) < ({}, {})", [micros.into(), id.into()]);
        }
        query.all(&self.storage, "ORDER BY r.rated_us DESC, r.rating_id DESC", limit, ratings::read_rating).await
    }
}
