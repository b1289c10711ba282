//! Where records, their log and the holds of orders are kept: a small trait, so that the repositories
//! do not care which database it is.
//!
//! A store only reads and writes what it is told, in transactions; what may be written is decided
//! elsewhere. One implementation for MySQL and MariaDB, one for SQLite. What a transaction takes comes
//! in sets: one statement for any number of rows.

pub mod error;
pub mod lock_nodes;
pub mod page;
pub mod url;

mod dialect;
mod json;
mod mysql;
mod rows;
mod session;
mod sql;
mod sqlite;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::hold::{Held, Hold};
use crate::levels::StockLevels;
use crate::log::{Audit, LogEntry, LogSummary, LoggedEntry};
use crate::operation::{Id, Quantity, StockKey};
use crate::record::{RowWrite, StockRecord, StockRow};
use crate::request::{OrderId, RequestId};
use crate::timestamp::Timestamp;
use crate::workbench::Writes;

use self::mysql::MySqlBackend;
use self::sql::SqlStore;
use self::sqlite::SqliteBackend;

pub use self::error::{CommitError, StoreError};
pub use self::lock_nodes::LockNodes;
pub use self::page::{Filter, MAX_PAGE, Page, PageSize};
pub use self::url::{DatabaseUrl, InvalidDatabaseUrl};

/// A future on the heap: what lets a trait with async methods be chosen at run time.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A database that holds stock records, their log and the holds of orders. One that stops answering is
/// an error after some seconds ([`StoreError::Unavailable`]), and no wait without an end.
pub trait Store: fmt::Debug + Send + Sync {
    /// Brings the tables up to date. Safe to call from several processes at once.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; [`StoreError::NewerSchema`] if a newer version has been there.
    fn migrate(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Whether the tables are those of this version, for those who may not [`migrate`](Self::migrate).
    ///
    /// # Errors
    ///
    /// [`StoreError::MissingTable`] without tables, [`StoreError::OlderSchema`],
    /// [`StoreError::NewerSchema`].
    fn check_schema(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Opens a transaction that is going to write. Dropped without a commit, it is rolled back.
    ///
    /// # Errors
    ///
    /// [`StoreError`], mostly [`StoreError::Unavailable`].
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Transaction>, StoreError>>;

    /// The row, or `None` if there is none. Takes no lock.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn read(&self, key: StockKey) -> BoxFuture<'_, Result<Option<StockRow>, StoreError>>;

    /// The rows of those of these keys that there are, sorted. Takes no lock.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn read_many<'a>(&'a self, keys: &'a [StockKey]) -> BoxFuture<'a, Result<Vec<StockRow>, StoreError>>;

    /// Makes a record with everything on hand available. One that exists is left as it is and given
    /// back.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn create(&self, product_id: Id, key: StockKey, stock: Quantity) -> BoxFuture<'_, Result<Creation, StoreError>>;

    /// A page of records by number; the cursor is the number of the last record.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn list<'a>(
        &'a self,
        filter: &'a Filter,
        after: Option<u64>,
        size: PageSize,
    ) -> BoxFuture<'a, Result<Page<StockRecord>, StoreError>>;

    /// A page of a record's log, newest first; the cursor is the version of the last entry. Empty
    /// where there is no such record.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn logs(
        &self,
        key: StockKey,
        before: Option<u64>,
        size: PageSize,
    ) -> BoxFuture<'_, Result<Page<LoggedEntry>, StoreError>>;

    /// A page of an order's holds, newest first, also of those of which nothing is left; the cursor is
    /// the number of the last hold.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn holds<'a>(
        &'a self,
        order_id: &'a OrderId,
        before: Option<u64>,
        size: PageSize,
    ) -> BoxFuture<'a, Result<Page<Hold>, StoreError>>;

    /// A page of the holds whose time is over by the database's clock, by number; the cursor is the
    /// number of the last one.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn expired_holds(&self, after: Option<u64>, size: PageSize) -> BoxFuture<'_, Result<Page<Hold>, StoreError>>;

    /// The log entries of these requests, those of one request together and in order. Takes no lock: a
    /// request that is being carried out may be found a moment later.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn find_requests<'a>(&'a self, ids: &'a [RequestId]) -> BoxFuture<'a, Result<Vec<LogEntry>, StoreError>>;

    /// A page of the rows whose levels live in Redis, by number; the cursor is the number of the last one.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn residents(&self, after: Option<u64>, size: PageSize) -> BoxFuture<'_, Result<Page<StockRow>, StoreError>>;

    /// Removes the oldest log entries up to the first one that was not written before this moment, about
    /// a page of them, and says how many there were. With them goes the memory of their requests, of each
    /// all or nothing: what is left of a request would be taken for another one.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn prune_logs(&self, before: Timestamp, size: PageSize) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// The lock nodes the instances on this database have agreed on: `mine`, if nobody has been here
    /// before.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn agree_on_lock_nodes<'a>(&'a self, mine: &'a LockNodes) -> BoxFuture<'a, Result<LockNodes, StoreError>>;

    /// Makes `mine` what the instances on this database have agreed on, whatever that was before.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn adopt_lock_nodes<'a>(&'a self, mine: &'a LockNodes) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The sweeper's turn among all instances on this database, for those who share no lock nodes; `None` while
    /// somebody else has it. It ends with its connection, so whoever is stopped or killed does not keep it for long.
    ///
    /// Always granted where all instances are on one machine.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn sweeper_turn(&self) -> BoxFuture<'_, Result<Option<Turn>, StoreError>> {
        Box::pin(async { Ok(Some(Turn::free())) })
    }

    /// Settings of the server under which it may forget what it has committed, when it or its machine fails: each with
    /// its value and what is durable. Empty where commits are durable.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn forgetful_settings(&self) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

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

/// A transaction that writes. Everything it is given is sorted by record, so that two of them never
/// wait for each other in a circle; sets are of one kind each and may be empty.
pub trait Transaction: Send {
    /// The rows of those of these keys that there are, locked against every other writer until this
    /// transaction ends. Rows that others have locked are waited for.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; [`StoreError::Conflict`] if another writer did not let go in time.
    fn claim<'a>(&'a mut self, keys: &'a [StockKey]) -> BoxFuture<'a, Result<Vec<StockRow>, StoreError>>;

    /// Like [`claim`](Self::claim), but waits for nobody: rows that others have locked are left out,
    /// like those that are not there.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn claim_free<'a>(&'a mut self, keys: &'a [StockKey]) -> BoxFuture<'a, Result<Vec<StockRow>, StoreError>>;

    /// The rows of those of these keys that there are, as they were committed last. Takes no lock and waits for nobody.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn peek<'a>(&'a mut self, keys: &'a [StockKey]) -> BoxFuture<'a, Result<Vec<StockRow>, StoreError>>;

    /// The holds of these orders of these records, open or not.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn find_holds<'a>(&'a mut self, places: &'a [(u64, OrderId)]) -> BoxFuture<'a, Result<Vec<Hold>, StoreError>>;

    /// The open holds of a record, which this transaction has locked.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn open_holds(&mut self, stock_id: u64) -> BoxFuture<'_, Result<Vec<Hold>, StoreError>>;

    /// The log entries of these requests, those of one request together and in order. To be asked
    /// after the rows are locked: nobody can carry one of them out in between then.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn find_requests<'a>(&'a mut self, ids: &'a [RequestId]) -> BoxFuture<'a, Result<Vec<LogEntry>, StoreError>>;

    /// Writes rows over those they were made from: the version and the fence that were read. A row may
    /// keep its version where only its fence or its residence changes.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if one of them is no longer what the database holds. Some of the others
    /// have been written then, and the transaction has to be rolled back.
    fn write<'a>(&'a mut self, rows: &'a [RowWrite]) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Adds entries to the log.
    ///
    /// # Errors
    ///
    /// [`StoreError::DuplicateRequest`] if one of the requests was carried out by somebody else.
    fn append<'a>(&'a mut self, entries: &'a [LogEntry]) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Writes holds: new ones, and over those that were read.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn write_holds<'a>(&'a mut self, holds: &'a [Hold]) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Writes rows, entries and holds: as [`write`](Self::write), [`append`](Self::append) and
    /// [`write_holds`](Self::write_holds) one after another, in fewer round trips where the server knows how.
    ///
    /// # Errors
    ///
    /// As these.
    fn put<'a>(&'a mut self, writes: &'a Writes) -> BoxFuture<'a, Result<(), StoreError>>;

    /// What the log of a record adds up to.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn log_summary(&mut self, stock_id: u64) -> BoxFuture<'_, Result<LogSummary, StoreError>>;

    /// What the holds of a record add up to.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn holds_sum(&mut self, stock_id: u64) -> BoxFuture<'_, Result<Held, StoreError>>;

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

/// What only one at a time has: see [`Store::sweeper_turn`]. Ends when it is dropped, too.
pub struct Turn(BoxFuture<'static, ()>);

impl Turn {
    fn free() -> Self {
        Self(Box::pin(async {}))
    }

    /// Gives it to the next one.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: it ends either way.
    pub async fn end(self) {
        self.0.await;
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").finish_non_exhaustive()
    }
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
/// [`StoreError::Unavailable`] if it does not answer, with the cause; [`StoreError::TooOld`] if it
/// lacks what is needed.
pub async fn open(url: &DatabaseUrl) -> Result<Arc<dyn Store>, StoreError> {
    open_with(url, Access::default()).await
}

/// Like [`open`], for writers who hold leases of at most `lease`.
///
/// # Errors
///
/// As [`open`].
pub async fn open_for_leases(url: &DatabaseUrl, lease: Duration) -> Result<Arc<dyn Store>, StoreError> {
    open_with(url, Access { lease, writers: Writers::HoldLeases, ..Access::default() }).await
}

/// How a database is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// The longest lease that any instance takes, with this repository or another; 10 seconds unless set. Rows that a
    /// process has locked are free again a second after that at the latest if it is stopped: the server ends its
    /// transaction.
    pub lease: Duration,
    /// What keeps those who write apart; row locks unless set.
    pub writers: Writers,
    /// Most connections to a server; 32 unless set.
    pub connections: u32,
}

/// What keeps those apart who write, and so how long they wait for a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// Row locks alone: many may queue for one.
    Queue,
    /// Leases: a row that is locked all the same is somebody's who has none, or has lost it, so it is not waited for
    /// long by those who have other rows to write.
    HoldLeases,
}

impl Default for Access {
    fn default() -> Self {
        Self { lease: Duration::from_secs(10), writers: Writers::Queue, connections: 32 }
    }
}

/// Opens the database a URL names, to be used like this.
///
/// # Errors
///
/// As [`open`].
pub async fn open_with(url: &DatabaseUrl, access: Access) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match url {
        DatabaseUrl::MySql(url) => Arc::new(SqlStore(MySqlBackend::open(url, access).await?)),
        DatabaseUrl::Sqlite(url) => Arc::new(SqlStore(SqliteBackend::open(url).await?)),
    })
}

/// A record and what its log and its holds add up to, as of one moment; `None` if there is no such
/// record.
///
/// # Errors
///
/// [`StoreError`].
pub async fn audit(store: &dyn Store, key: StockKey) -> Result<Option<Audit>, StoreError> {
    let mut transaction = store.begin().await?;
    let Some(row) = transaction.claim(&[key]).await?.pop() else {
        transaction.rollback().await;
        return Ok(None);
    };
    let log = transaction.log_summary(row.record.id).await?;
    let holds = transaction.holds_sum(row.record.id).await?;
    transaction.rollback().await;
    Ok(Some(Audit::new(&row, log, holds)))
}
