//! The repository that leaves everything to the database: writers of one record queue for its row.
//!
//! It takes no lease, so it has no token: the row keeps the largest it has seen, and beside a
//! redlock repository holders of old leases are turned away as before.

use std::sync::Arc;

use super::StockRepository;
use super::change::Change;
use crate::error::RepositoryError;
use crate::operation::{Id, Operation, Quantity, StockKey};
use crate::record::StockRecord;
use crate::store::{BoxFuture, Creation, Store};

/// `SELECT … FOR UPDATE`, apply, log, commit. On SQLite the file's write lock takes the place of
/// the row's.
#[derive(Debug, Clone)]
pub struct RowLock {
    store: Arc<dyn Store>,
}

impl RowLock {
    /// A repository on this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }
}

impl StockRepository for RowLock {
    fn create(
        &self,
        product_id: Id,
        key: StockKey,
        stock: Quantity,
    ) -> BoxFuture<'_, Result<Creation, RepositoryError>> {
        Box::pin(async move { Ok(self.store.create(product_id, key, stock).await?) })
    }

    fn get(&self, key: StockKey) -> BoxFuture<'_, Result<StockRecord, RepositoryError>> {
        Box::pin(async move {
            let record = self.store.read(key).await?;
            record.ok_or(RepositoryError::NotFound { key })
        })
    }

    fn apply(
        &self,
        key: StockKey,
        operation: Operation,
        quantity: Quantity,
    ) -> BoxFuture<'_, Result<StockRecord, RepositoryError>> {
        let change = Change { key, operation, quantity, fence: None };
        Box::pin(async move { change.commit(self.store.as_ref(), || Ok(())).await })
    }
}
