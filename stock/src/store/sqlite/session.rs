//! A connection to a SQLite file.

use sqlx::Row;
use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection, SqliteRow};

use crate::store::BoxFuture;
use crate::store::session::{Fields, Session, Statement, Value};

/// Dropped in the middle of a transaction, it is rolled back before anybody else gets the connection.
pub(in crate::store) enum SqliteSession {
    /// For single statements.
    Single(PoolConnection<Sqlite>),
    /// In a transaction.
    Transaction(sqlx::Transaction<'static, Sqlite>),
}

impl SqliteSession {
    fn connection(&mut self) -> &mut SqliteConnection {
        match self {
            Self::Single(connection) => connection,
            Self::Transaction(transaction) => transaction,
        }
    }
}

impl Session for SqliteSession {
    type Row = SqliteRow;

    fn execute(&mut self, statement: Statement) -> BoxFuture<'_, Result<u64, sqlx::Error>> {
        Box::pin(async { Ok(bound(statement).execute(self.connection()).await?.rows_affected()) })
    }

    fn all(&mut self, statement: Statement) -> BoxFuture<'_, Result<Vec<SqliteRow>, sqlx::Error>> {
        Box::pin(bound(statement).fetch_all(self.connection()))
    }

    fn commit(self) -> BoxFuture<'static, Result<(), sqlx::Error>> {
        Box::pin(async {
            match self {
                Self::Single(_) => Ok(()),
                Self::Transaction(transaction) => transaction.commit().await,
            }
        })
    }

    fn rollback(self) -> BoxFuture<'static, Result<(), sqlx::Error>> {
        Box::pin(async {
            match self {
                Self::Single(_) => Ok(()),
                Self::Transaction(transaction) => transaction.rollback().await,
            }
        })
    }

    fn back(self) {}
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
