//! What the others are there to prevent: read, decide, write. Only the demo uses it, to show what
//! that sells.

use std::sync::Arc;

use super::StockRepository;
use crate::error::RepositoryError;
use crate::hold::Refusal;
use crate::record::StockRecord;
use crate::request::{Change, Request};
use crate::store::{BoxFuture, Store};
use crate::workbench::Answer;

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

    async fn overwrite(&self, change: &Change) -> Result<StockRecord, RepositoryError> {
        let before = self.get(change.key).await?;
        let levels = before.levels.apply(change.operation, change.quantity).map_err(Refusal::from)?;
        self.store.overwrite(before.id, levels).await?;
        Ok(StockRecord { levels, version: before.version + 1, ..before })
    }
}

impl StockRepository for Unguarded {
    fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn apply(&self, request: Request) -> BoxFuture<'_, Result<Answer, RepositoryError>> {
        Box::pin(async move {
            let request = request.identify()?;
            let mut records = Vec::new();
            for change in request.changes() {
                records.push(self.overwrite(change).await?);
            }
            Ok(Answer { request_id: request.id().clone(), records, replayed: false })
        })
    }
}
