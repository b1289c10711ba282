//! A connection to a SQLite file.
//!
//! SQLite may end a transaction by itself, when the disk is full or fails. The driver, which counts
//! transactions where it is asked to begin them, would not notice, and refuse every later one on that
//! connection; so they begin and end as plain statements. A connection that was not given back, for
//! whatever reason, is closed, and SQLite rolls back.

use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqlitePool, SqliteRow};
use sqlx::{Executor as _, Row};

use super::statements::APPEND;
use crate::log::LogEntry;
use crate::store::session::{Fields, Session, Statement, Value};
use crate::store::{BoxFuture, StoreError, json};

/// Takes the write lock at once. A transaction that begins with a read and writes later fails if
/// another one wrote in between.
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";

/// A connection of the pool. Dropped without having been given back, it is closed.
pub(in crate::store) struct SqliteSession {
    connection: PoolConnection<Sqlite>,
    usable: bool,
}

impl SqliteSession {
    /// Takes a connection out of the pool.
    pub(super) async fn take(pool: &SqlitePool) -> Result<Self, StoreError> {
        Ok(Self { connection: pool.acquire().await?, usable: false })
    }

    pub(super) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        self.connection.execute(BEGIN).await?;
        Ok(())
    }

    /// Ends the transaction with this word.
    async fn end(mut self, word: &'static str) -> Result<(), sqlx::Error> {
        self.connection.execute(word).await?;
        self.back();
        Ok(())
    }
}

impl Session for SqliteSession {
    type Row = SqliteRow;

    fn execute(&mut self, statement: Statement) -> BoxFuture<'_, Result<u64, sqlx::Error>> {
        Box::pin(async { Ok(bound(statement).execute(&mut *self.connection).await?.rows_affected()) })
    }

    fn append(&mut self, entries: &[LogEntry]) -> BoxFuture<'_, Result<u64, sqlx::Error>> {
        self.execute(Statement::new(APPEND).text(json::entries(entries)))
    }

    fn all(&mut self, statement: Statement) -> BoxFuture<'_, Result<Vec<SqliteRow>, sqlx::Error>> {
        Box::pin(bound(statement).fetch_all(&mut *self.connection))
    }

    fn commit(self) -> BoxFuture<'static, Result<(), sqlx::Error>> {
        Box::pin(self.end("COMMIT"))
    }

    fn rollback(self) -> BoxFuture<'static, Result<(), sqlx::Error>> {
        Box::pin(self.end("ROLLBACK"))
    }

    fn back(mut self) {
        self.usable = true;
    }
}

impl Drop for SqliteSession {
    fn drop(&mut self) {
        if !self.usable {
            self.connection.close_on_drop();
        }
    }
}

impl Fields for SqliteRow {
    fn number(&self, column: &str) -> Result<Option<i64>, sqlx::Error> {
        self.try_get(column)
    }

    fn text(&self, column: &str) -> Result<Option<String>, sqlx::Error> {
        self.try_get(column)
    }
}

fn bound(statement: Statement) -> Query<'static, Sqlite, SqliteArguments> {
    statement.values.into_iter().fold(sqlx::query(statement.text), |query, value| match value {
        Value::Number(number) => query.bind(number),
        Value::Text(text) => query.bind(text),
    })
}
