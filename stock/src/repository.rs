//! Stock records as the rest of the program sees them: made, read, and changed by operations.
//!
//! The kinds differ in how they keep concurrent changes of one record apart. All of them may run
//! side by side on one database, because all of them make a change the same way: lock the row, read
//! it, apply the operation, write it over exactly the version that was read, log it, commit.

mod change;
pub mod redlocked;
pub mod row_lock;
#[doc(hidden)]
pub mod suite;
#[doc(hidden)]
pub mod unguarded;

use std::fmt;

use crate::error::RepositoryError;
use crate::operation::{Id, Operation, Quantity, StockKey};
use crate::record::StockRecord;
use crate::store::{BoxFuture, Creation};

pub use self::redlocked::Redlocked;
pub use self::row_lock::RowLock;

/// Stock records, and the seven operations on them.
pub trait StockRepository: fmt::Debug + Send + Sync {
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
    ) -> BoxFuture<'_, Result<Creation, RepositoryError>>;

    /// The record as it was last committed.
    ///
    /// # Errors
    ///
    /// [`RepositoryError::NotFound`], [`RepositoryError::Store`].
    fn get(&self, key: StockKey) -> BoxFuture<'_, Result<StockRecord, RepositoryError>>;

    /// Applies an operation and gives the record after it, once that is durable.
    ///
    /// # Errors
    ///
    /// [`RepositoryError`]; [`RepositoryError::Refused`] if the levels do not allow it.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves no lock behind. Whether the change was made is unknown if the commit
    /// was under way.
    fn apply(
        &self,
        key: StockKey,
        operation: Operation,
        quantity: Quantity,
    ) -> BoxFuture<'_, Result<StockRecord, RepositoryError>>;
}
