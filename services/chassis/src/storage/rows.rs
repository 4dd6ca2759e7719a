//! Set-based reading and writing: many rows a statement, few distinct statements.
//!
//! Row counts are split into round numbers (and key lists padded to powers of two), so that a batch takes few
//! statements and each table few distinct ones, which stay prepared whatever the sizes of batches.

use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Statement, Value};

use super::Failure;

/// The largest number of rows in one statement.
const MOST_ROWS: usize = 256;
/// SQLite takes at most 32,766 bind variables a statement; PostgreSQL 65,535.
const MOST_BINDS: usize = 32_000;

/// Inserts `rows` into `table`; `tail` follows the values (`ON CONFLICT … DO NOTHING`, or empty).
/// Returns how many rows were written.
///
/// # Errors
/// Those of the database.
pub async fn insert<C: ConnectionTrait, const N: usize>(
    db: &C,
    table: &str,
    columns: [&str; N],
    rows: Vec<[Value; N]>,
    tail: &str,
) -> Result<u64, Failure> {
    let mut written = 0;
    for statement in statements(db, table, columns, rows, tail) {
        written += db.execute_raw(statement).await?.rows_affected();
    }
    Ok(written)
}

/// Inserts `rows` and reads back what `tail`'s `RETURNING` gives (for `ON CONFLICT DO NOTHING`: the winners).
///
/// # Errors
/// Those of the database.
pub async fn insert_returning<C: ConnectionTrait, const N: usize, T>(
    db: &C,
    table: &str,
    columns: [&str; N],
    rows: Vec<[Value; N]>,
    tail: &str,
    read: impl Fn(&QueryResult) -> Result<T, DbErr>,
) -> Result<Vec<T>, Failure> {
    let mut returned = Vec::new();
    for statement in statements(db, table, columns, rows, tail) {
        for row in db.query_all_raw(statement).await? {
            returned.push(read(&row)?);
        }
    }
    Ok(returned)
}

fn statements<C: ConnectionTrait, const N: usize>(
    db: &C,
    table: &str,
    columns: [&str; N],
    rows: Vec<[Value; N]>,
    tail: &str,
) -> Vec<Statement> {
    let head = format!("INSERT INTO {table} ({}) VALUES ", columns.join(", "));
    let most = round(MOST_ROWS.min(MOST_BINDS / N.max(1)));
    let mut left = rows.len();
    let mut rows = rows.into_iter();
    let mut statements = Vec::new();
    while left > 0 {
        let count = round(left.min(most));
        left -= count;
        let mut sql = String::with_capacity(head.len() + count * N * 6 + tail.len());
        sql.push_str(&head);
        for row in 0..count {
            sql.push_str(if row == 0 { "(" } else { ", (" });
            push_placeholders(db.get_database_backend(), &mut sql, row * N, N);
            sql.push(')');
        }
        sql.push(' ');
        sql.push_str(tail);
        let values: Vec<Value> = rows.by_ref().take(count).flatten().collect();
        statements.push(Statement::from_sql_and_values(db.get_database_backend(), sql, values));
    }
    statements
}

/// Selects by a list of keys: `sql` holds `{keys}` where the list belongs, as in
/// `SELECT id, state FROM cases WHERE id IN ({keys})`; further placeholders are not possible.
///
/// # Errors
/// Those of the database.
pub async fn select_in<C: ConnectionTrait, T>(
    db: &C,
    sql: &str,
    keys: Vec<Value>,
    read: impl Fn(&QueryResult) -> Result<T, DbErr>,
) -> Result<Vec<T>, Failure> {
    let mut found = Vec::new();
    for chunk in keys.chunks(MOST_ROWS) {
        let mut values = chunk.to_vec();
        // A repeated key in an IN list changes nothing.
        values.resize(chunk.len().next_power_of_two(), chunk[chunk.len() - 1].clone());
        let mut list = String::with_capacity(values.len() * 5);
        push_placeholders(db.get_database_backend(), &mut list, 0, values.len());
        let statement = Statement::from_sql_and_values(db.get_database_backend(), sql.replace("{keys}", &list), values);
        for row in db.query_all_raw(statement).await? {
            found.push(read(&row)?);
        }
    }
    Ok(found)
}

/// SQLite takes `$1` for a name, and looks every name up from the beginning of the list when it is bound: the time of a
/// statement would grow with the square of its values. `?` has no name.
fn push_placeholders(backend: DbBackend, sql: &mut String, before: usize, count: usize) {
    use std::fmt::Write;
    for n in 0..count {
        let comma = if n == 0 { "" } else { ", " };
        let _ = match backend {
            DbBackend::Sqlite => write!(sql, "{comma}?"),
            _ => write!(sql, "{comma}${}", before + n + 1),
        };
    }
}

/// The largest number up to `n` that has at most three significant binary digits: four an octave.
fn round(n: usize) -> usize {
    let shift = n.max(1).ilog2().saturating_sub(2);
    n >> shift << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_takes_few_statements_of_few_kinds() {
        let mut kinds = std::collections::BTreeSet::new();
        for mut left in 1..=1000 {
            let mut statements = 0;
            while left > 0 {
                let count = round(left.min(MOST_ROWS));
                assert!((1..=left).contains(&count));
                kinds.insert(count);
                left -= count;
                statements += 1;
            }
            assert!(statements <= 3 + 1000 / MOST_ROWS, "{statements}");
        }
        assert!(kinds.len() <= 32, "{}", kinds.len());
    }
}
