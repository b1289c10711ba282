//! What the two kinds of database have in common for those who talk to them: a statement goes in, rows
//! come out. Only the implementations of these traits know a driver.

use std::fmt;

use super::dialect::Dialect;
use super::{BoxFuture, StoreError, Turn};
use crate::levels::StockLevels;
use crate::log::LogEntry;

/// A fixed text, so that it is prepared once per connection, and what is bound to it.
pub(super) struct Statement {
    pub(super) text: &'static str,
    pub(super) values: Vec<Value>,
}

pub(super) enum Value {
    Number(Option<i64>),
    Text(Option<String>),
}

impl Statement {
    pub(super) fn new(text: &'static str) -> Self {
        Self { text, values: Vec::new() }
    }

    pub(super) fn number(self, number: u64) -> Self {
        self.optional(Some(number))
    }

    /// Levels, quantities and ids end at 2^53 − 1, and versions and row numbers come from the database
    /// itself, so nothing is ever cut off here.
    pub(super) fn optional(mut self, number: Option<u64>) -> Self {
        let number = number.map(|number| i64::try_from(number).unwrap_or(i64::MAX));
        self.values.push(Value::Number(number));
        self
    }

    pub(super) fn text(self, text: impl Into<String>) -> Self {
        self.optional_text(Some(text))
    }

    pub(super) fn optional_text(mut self, text: Option<impl Into<String>>) -> Self {
        self.values.push(Value::Text(text.map(Into::into)));
        self
    }

    /// Stock, available, locked and reserved units, in the order every statement has them.
    pub(super) fn levels(self, levels: StockLevels) -> Self {
        self.number(levels.stock()).number(levels.available()).number(levels.locked()).number(levels.reserved())
    }
}

/// The fields of a row, by the name of their column.
pub(super) trait Fields: Send {
    fn number(&self, column: &str) -> Result<Option<i64>, sqlx::Error>;
    fn text(&self, column: &str) -> Result<Option<String>, sqlx::Error>;
}

/// A connection, for one caller at a time.
pub(super) trait Session: Send + 'static {
    type Row: Fields;

    /// How many rows the statement found.
    fn execute(&mut self, statement: Statement) -> BoxFuture<'_, Result<u64, sqlx::Error>>;

    /// Adds several entries to the log; how many there were.
    fn append(&mut self, entries: &[LogEntry]) -> BoxFuture<'_, Result<u64, sqlx::Error>>;

    /// Executes a statement and adds entries to the log; how many rows the statement found, and how many entries there
    /// were. Entries need not be added where no row was found.
    fn execute_logged<'a>(
        &'a mut self,
        statement: Statement,
        entries: &'a [LogEntry],
    ) -> BoxFuture<'a, Result<(u64, u64), sqlx::Error>> {
        Box::pin(async move {
            match self.execute(statement).await? {
                0 => Ok((0, 0)),
                found => Ok((found, self.append(entries).await?)),
            }
        })
    }

    /// All rows the statement finds.
    fn all(&mut self, statement: Statement) -> BoxFuture<'_, Result<Vec<Self::Row>, sqlx::Error>>;

    /// Ends the transaction that [`Backend::begin`] began.
    fn commit(self) -> BoxFuture<'static, Result<(), sqlx::Error>>;

    /// Undoes the transaction that [`Backend::begin`] began.
    fn rollback(self) -> BoxFuture<'static, Result<(), sqlx::Error>>;

    /// Gives the connection back: no transaction is open, no statement under way.
    fn back(self);
}

/// A database of one kind.
pub(super) trait Backend: fmt::Debug + Send + Sync + 'static {
    type Session: Session;

    /// What it calls things.
    const DIALECT: &'static Dialect;

    fn migrate(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The numbers of the migrations that this version brings.
    fn migrations(&self) -> Vec<i64>;

    /// A connection for single statements that read.
    fn read(&self) -> BoxFuture<'_, Result<Self::Session, StoreError>>;

    /// A connection for single statements that write.
    fn write(&self) -> BoxFuture<'_, Result<Self::Session, StoreError>>;

    /// A connection with a transaction that is going to write; the server may hear of it with the first statement.
    fn begin(&self) -> BoxFuture<'_, Result<Self::Session, StoreError>>;

    /// What [`Store::sweeper_turn`](super::Store::sweeper_turn) says.
    fn sweeper_turn(&self) -> BoxFuture<'_, Result<Option<Turn>, StoreError>> {
        Box::pin(async { Ok(Some(Turn::free())) })
    }

    /// What [`Store::forgetful_settings`](super::Store::forgetful_settings) says.
    fn forgetful_settings(&self) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn close(&self) -> BoxFuture<'_, ()>;
}
