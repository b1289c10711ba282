//! One change of one record in one transaction: what every guarded repository does, whatever kept
//! others away.

use std::time::Duration;

use crate::error::RepositoryError;
use crate::operation::{Operation, Quantity, StockKey};
use crate::record::StockRecord;
use crate::store::{Store, Transaction};

/// How often a change is tried that others get in the way of.
const ATTEMPTS: u32 = 5;

/// The longest pause before the second attempt; it grows with each.
const PAUSE_MS: u64 = 10;

/// A change to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) key: StockKey,
    pub(super) operation: Operation,
    pub(super) quantity: Quantity,
    /// The token of the lease it is made under, if there is one.
    pub(super) fence: Option<u64>,
}

impl Change {
    /// Makes the change, again where another writer was in the way. `permit` has the last word
    /// before each commit.
    pub(super) async fn commit<P>(self, store: &dyn Store, permit: P) -> Result<StockRecord, RepositoryError>
    where
        P: Fn() -> Result<(), RepositoryError> + Send + Sync,
    {
        let mut attempt = 1;
        loop {
            match self.try_commit(store, &permit).await {
                Err(RepositoryError::Store(error)) if error.is_conflict() && attempt < ATTEMPTS => {
                    tracing::debug!(%error, attempt, key = %self.key, "trying again");
                }
                outcome => return outcome,
            }
            let pause = rand::random_range(0..=PAUSE_MS * u64::from(attempt));
            tokio::time::sleep(Duration::from_millis(pause)).await;
            attempt += 1;
        }
    }

    async fn try_commit<P>(self, store: &dyn Store, permit: &P) -> Result<StockRecord, RepositoryError>
    where
        P: Fn() -> Result<(), RepositoryError> + Send + Sync,
    {
        let mut transaction = store.begin().await?;
        let written = self.write(transaction.as_mut()).await;
        match written.and_then(|after| permit().map(|()| after)) {
            Ok(after) => {
                transaction.commit().await?;
                Ok(after)
            }
            Err(error) => {
                transaction.rollback().await;
                Err(error)
            }
        }
    }

    async fn write(self, transaction: &mut dyn Transaction) -> Result<StockRecord, RepositoryError> {
        let Some(before) = transaction.claim(self.key).await? else {
            return Err(RepositoryError::NotFound { key: self.key });
        };
        // The row is locked: whoever has brought a larger token has committed, and this lease is old.
        if let Some(fence) = self.fence.filter(|fence| *fence < before.fence) {
            return Err(RepositoryError::StaleFence { key: self.key, fence, stored: before.fence });
        }
        let (after, entry) = before.change(self.operation, self.quantity, self.fence)?;
        transaction.update(&after).await?;
        transaction.append(&entry).await?;
        Ok(after)
    }
}
