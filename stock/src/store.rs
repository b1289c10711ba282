//! Where records and their log are kept: a small trait, so that the repositories do not care which
//! database it is.
//!
//! A store only reads and writes what it is told, in transactions; what may be written is decided
//! elsewhere. One implementation for MySQL and MariaDB, one for SQLite.

pub mod error;
pub mod mysql;
pub mod sqlite;
pub mod url;

mod rows;
mod sql;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::levels::StockLevels;
use crate::log::{Audit, LogEntry, LogSummary};
use crate::operation::{Id, Quantity, StockKey};
use crate::record::StockRecord;

pub use self::error::{CommitError, StoreError};
pub use self::mysql::MySqlStore;
pub use self::sqlite::SqliteStore;
pub use self::url::{DatabaseUrl, InvalidDatabaseUrl};

/// A future on the heap: what lets a trait with async methods be chosen at run time.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A database that holds stock records and their log. One that stops answering is an error after
/// some seconds ([`StoreError::Unavailable`]), and no wait without an end.
pub trait Store: fmt::Debug + Send + Sync {
    /// Brings the tables up to date. Safe to call from several processes at once.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; [`StoreError::NewerSchema`] if a newer version has been there.
    fn migrate(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Opens a transaction that is going to write. Dropped without a commit, it is rolled back.
    ///
    /// # Errors
    ///
    /// [`StoreError`], mostly [`StoreError::Unavailable`].
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Transaction>, StoreError>>;

    /// The record, or `None` if there is none. Takes no lock.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn read(&self, key: StockKey) -> BoxFuture<'_, Result<Option<StockRecord>, StoreError>>;

    /// Makes a record with everything on hand available. One that exists is left as it is and given
    /// back.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn create(&self, product_id: Id, key: StockKey, stock: Quantity) -> BoxFuture<'_, Result<Creation, StoreError>>;

    /// Writes levels over whatever is there: no lock, no version check, no log.
    ///
    /// Only good for showing what goes wrong without them.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn overwrite(&self, id: u64, levels: StockLevels) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Closes all connections. Transactions still open are waited for.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A transaction that writes.
pub trait Transaction: Send {
    /// The record, locked against every other writer until this transaction ends; `None` if there
    /// is none.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; [`StoreError::Conflict`] if another writer did not let go in time.
    fn claim(&mut self, key: StockKey) -> BoxFuture<'_, Result<Option<StockRecord>, StoreError>>;

    /// Writes a record over the one it was made from: the version before it, and no larger fence.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if that is no longer what the database holds.
    fn update<'a>(&'a mut self, after: &'a StockRecord) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Adds an entry to the log.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn append<'a>(&'a mut self, entry: &'a LogEntry) -> BoxFuture<'a, Result<(), StoreError>>;

    /// What the log of a record adds up to.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn log_summary(&mut self, stock_id: u64) -> BoxFuture<'_, Result<LogSummary, StoreError>>;

    /// Makes everything written durable.
    ///
    /// # Errors
    ///
    /// [`CommitError`], which says whether it is known that nothing was written.
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>>;

    /// Undoes everything written and waits until that is done, so that no lock outlives the call. A
    /// database that does not answer is not waited for: it undoes it by itself, when it goes on.
    fn rollback(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// What creating a record led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// The record is new.
    Created(StockRecord),
    /// There was one, and it is unchanged.
    Existing(StockRecord),
}

impl Creation {
    /// The record, new or not.
    #[must_use]
    pub fn record(self) -> StockRecord {
        match self {
            Self::Created(record) | Self::Existing(record) => record,
        }
    }
}

/// Opens the database a URL names. A SQLite file that is missing is made; tables are not (see
/// [`Store::migrate`]).
///
/// # Errors
///
/// [`StoreError::Unavailable`] if it does not answer, with the cause.
pub async fn open(url: &DatabaseUrl) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match url {
        DatabaseUrl::MySql(url) => Arc::new(MySqlStore::open(url).await?),
        DatabaseUrl::Sqlite(url) => Arc::new(SqliteStore::open(url).await?),
    })
}

/// A record and what its log adds up to, as of one moment; `None` if there is no such record.
///
/// # Errors
///
/// [`StoreError`].
pub async fn audit(store: &dyn Store, key: StockKey) -> Result<Option<Audit>, StoreError> {
    let mut transaction = store.begin().await?;
    let Some(record) = transaction.claim(key).await? else {
        transaction.rollback().await;
        return Ok(None);
    };
    let log = transaction.log_summary(record.id).await?;
    transaction.rollback().await;
    Ok(Some(Audit { record, log }))
}
