//! What the others are there to prevent: read, decide, write. Only the demo uses it, to show what
//! that sells.

use std::sync::Arc;

use super::StockRepository;
use crate::error::RepositoryError;
use crate::operation::{Id, Operation, Quantity, StockKey};
use crate::record::StockRecord;
use crate::store::{BoxFuture, Creation, Store};

/// Reads the levels, decides, and writes the result over whatever is there by then: no lock, no
/// transaction, no version, no log. Each step is right by itself; two at once lose one of them.
#[derive(Debug, Clone)]
pub struct Unguarded {
    store: Arc<dyn Store>,
}

impl Unguarded {
    /// A repository on this store that loses updates.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    async fn found(&self, key: StockKey) -> Result<StockRecord, RepositoryError> {
        let record = self.store.read(key).await?;
        record.ok_or(RepositoryError::NotFound { key })
    }
}

impl StockRepository for Unguarded {
    fn create(
        &self,
        product_id: Id,
        key: StockKey,
        stock: Quantity,
    ) -> BoxFuture<'_, Result<Creation, RepositoryError>> {
        Box::pin(async move { Ok(self.store.create(product_id, key, stock).await?) })
    }

    fn get(&self, key: StockKey) -> BoxFuture<'_, Result<StockRecord, RepositoryError>> {
        Box::pin(self.found(key))
    }

    fn apply(
        &self,
        key: StockKey,
        operation: Operation,
        quantity: Quantity,
    ) -> BoxFuture<'_, Result<StockRecord, RepositoryError>> {
        Box::pin(async move {
            let before = self.found(key).await?;
            let (after, _) = before.change(operation, quantity, None)?;
            self.store.overwrite(after.id, after.levels).await?;
            Ok(after)
        })
    }
}
