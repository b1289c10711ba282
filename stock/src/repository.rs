//! Stock records as the rest of the program sees them: made, read, and changed by requests.
//!
//! The kinds differ in how they keep concurrent changes of one record apart. All of them may run
//! side by side on one database, because all of them make a change the same way: what was read is
//! changed in memory ([`Workbench`](crate::workbench::Workbench)) and written over exactly the version
//! that was read, with its log entries, in one transaction.

mod commit;
pub mod redlocked;
pub mod resident;
pub mod row_lock;
#[doc(hidden)]
pub mod suite;
#[doc(hidden)]
pub mod unguarded;

use std::fmt;
use std::sync::Arc;

use crate::cache::{Level, Read};
use crate::error::RepositoryError;
use crate::hold::Hold;
use crate::log::LoggedEntry;
use crate::operation::{Id, Quantity, StockKey};
use crate::record::StockRecord;
use crate::request::{Change, OrderId, Request};
use crate::store::{BoxFuture, Creation, Filter, Page, PageSize, Store};
use crate::workbench::Answer;

pub use self::redlocked::Redlocked;
pub use self::resident::Resident;
pub use self::row_lock::RowLock;

/// Stock records, and the seven operations on them.
pub trait StockRepository: fmt::Debug + Send + Sync {
    /// Where everything is kept.
    fn store(&self) -> &Arc<dyn Store>;

    /// Carries a request out, all of it or nothing, and answers once that is durable. The same request
    /// again, by its id, changes nothing and gets the same answer.
    ///
    /// # Errors
    ///
    /// [`RepositoryError`]; [`RepositoryError::Refused`] if levels or holds do not allow it,
    /// [`RepositoryError::RequestConflict`] if another request had its id.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves no lock behind. Whether the changes were made is unknown if the commit
    /// was under way; asking again under the same id tells.
    fn apply(&self, request: Request) -> BoxFuture<'_, Result<Answer, RepositoryError>>;

    /// One change under an id of its own; the record after it.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    ///
    /// # Cancel safety
    ///
    /// As [`apply`](Self::apply).
    fn change(&self, change: Change) -> BoxFuture<'_, Result<StockRecord, RepositoryError>> {
        Box::pin(async move {
            let key = change.key;
            let answer = self.apply(Request::one(change)).await?;
            answer.records.first().copied().ok_or(RepositoryError::NotFound { key })
        })
    }

    /// Makes a record with `stock` units on hand, all of them available. One that exists is left as
    /// it is and given back.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::Store`].
    fn create(
        &self,
        product_id: Id,
        key: StockKey,
        stock: Quantity,
    ) -> BoxFuture<'_, Result<Creation, RepositoryError>> {
        Box::pin(async move { Ok(self.store().create(product_id, key, stock).await?) })
    }

    /// The record as it was last committed.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::NotFound`], [`RepositoryError::Store`].
    fn get(&self, key: StockKey) -> BoxFuture<'_, Result<StockRecord, RepositoryError>> {
        Box::pin(async move {
            let row = self.store().read(key).await?;
            Ok(row.ok_or(RepositoryError::NotFound { key })?.record)
        })
    }

    /// The record as it was last committed, and which level of a cache had it. Without a cache it is the
    /// database.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    fn read(&self, key: StockKey) -> BoxFuture<'_, Result<Read, RepositoryError>> {
        Box::pin(async move { Ok(Read { record: self.get(key).await?, level: Level::Database }) })
    }

    /// A page of records; see [`Store::list`].
    ///
    /// # Errors
    ///
    /// [`RepositoryError::Store`].
    fn list<'a>(
        &'a self,
        filter: &'a Filter,
        after: Option<u64>,
        size: PageSize,
    ) -> BoxFuture<'a, Result<Page<StockRecord>, RepositoryError>> {
        Box::pin(async move { Ok(self.store().list(filter, after, size).await?) })
    }

    /// A page of a record's log, newest first; see [`Store::logs`].
    ///
    /// # Errors
    ///
    /// [`RepositoryError::Store`].
    fn logs(
        &self,
        key: StockKey,
        before: Option<u64>,
        size: PageSize,
    ) -> BoxFuture<'_, Result<Page<LoggedEntry>, RepositoryError>> {
        Box::pin(async move { Ok(self.store().logs(key, before, size).await?) })
    }

    /// A page of an order's holds, newest first; see [`Store::holds`].
    ///
    /// # Errors
    ///
    /// [`RepositoryError::Store`].
    fn holds<'a>(
        &'a self,
        order_id: &'a OrderId,
        before: Option<u64>,
        size: PageSize,
    ) -> BoxFuture<'a, Result<Page<Hold>, RepositoryError>> {
        Box::pin(async move { Ok(self.store().holds(order_id, before, size).await?) })
    }
}
