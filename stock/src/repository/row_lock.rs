//! The repository that leaves everything to the database: writers of one record queue for its row.
//!
//! Rows of several records are locked in the order of their keys, by everybody, so that no two of them
//! wait for each other.
//!
//! It takes no lease, so it has no token: the row keeps the largest it has seen, and beside a
//! redlock repository holders of old leases are turned away as before.

use std::sync::Arc;

use super::StockRepository;
use super::commit::Commit;
use crate::contention::Meters;
use crate::error::RepositoryError;
use crate::request::Request;
use crate::store::{BoxFuture, Store};
use crate::workbench::Answer;

/// `SELECT … FOR UPDATE`, apply, log, commit. On SQLite the file's write lock takes the place of
/// the row's.
#[derive(Debug, Clone)]
pub struct RowLock {
    store: Arc<dyn Store>,
    meters: Meters,
}

impl RowLock {
    /// A repository on this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, meters: Meters::new("row-lock") }
    }
}

impl StockRepository for RowLock {
    fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn apply(&self, request: Request) -> BoxFuture<'_, Result<Answer, RepositoryError>> {
        Box::pin(async {
            let request = request.identify()?;
            let store = self.store.as_ref();
            Commit { store, request: &request, meters: &self.meters }.run().await
        })
    }
}
