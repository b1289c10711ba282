//! A repository that tells what is asked of it.

use std::sync::Arc;
use std::time::Instant;

use super::activity::Activity;
use crate::cache::Read;
use crate::error::RepositoryError;
use crate::hold::Hold;
use crate::log::LoggedEntry;
use crate::operation::{Id, Quantity, StockKey};
use crate::record::StockRecord;
use crate::repository::StockRepository;
use crate::request::{OrderId, Request};
use crate::store::{BoxFuture, Creation, Filter, Page, PageSize, Store};
use crate::workbench::Answer;

/// Does what the one behind it does, and notes how long it took and what came of it.
#[derive(Debug)]
pub(super) struct Observed {
    inner: Arc<dyn StockRepository>,
    activity: Arc<Activity>,
}

impl Observed {
    pub(super) fn new(inner: Arc<dyn StockRepository>, activity: Arc<Activity>) -> Self {
        Self { inner, activity }
    }
}

impl StockRepository for Observed {
    fn store(&self) -> &Arc<dyn Store> {
        self.inner.store()
    }

    fn apply(&self, request: Request) -> BoxFuture<'_, Result<Answer, RepositoryError>> {
        Box::pin(async {
            let asked = Instant::now();
            let answer = self.inner.apply(request).await;
            self.activity.answered(&answer, asked.elapsed());
            answer
        })
    }

    fn create(
        &self,
        product_id: Id,
        key: StockKey,
        stock: Quantity,
    ) -> BoxFuture<'_, Result<Creation, RepositoryError>> {
        self.inner.create(product_id, key, stock)
    }

    fn get(&self, key: StockKey) -> BoxFuture<'_, Result<StockRecord, RepositoryError>> {
        Box::pin(async move { Ok(self.read(key).await?.record) })
    }

    fn read(&self, key: StockKey) -> BoxFuture<'_, Result<Read, RepositoryError>> {
        Box::pin(async move {
            let read = self.inner.read(key).await;
            if let Ok(read) = &read {
                self.activity.read(&read.record);
            }
            read
        })
    }

    fn list<'a>(
        &'a self,
        filter: &'a Filter,
        after: Option<u64>,
        size: PageSize,
    ) -> BoxFuture<'a, Result<Page<StockRecord>, RepositoryError>> {
        self.inner.list(filter, after, size)
    }

    fn logs(
        &self,
        key: StockKey,
        before: Option<u64>,
        size: PageSize,
    ) -> BoxFuture<'_, Result<Page<LoggedEntry>, RepositoryError>> {
        self.inner.logs(key, before, size)
    }

    fn holds<'a>(
        &'a self,
        order_id: &'a OrderId,
        before: Option<u64>,
        size: PageSize,
    ) -> BoxFuture<'a, Result<Page<Hold>, RepositoryError>> {
        self.inner.holds(order_id, before, size)
    }
}
