//! A store that is looked at only once everything that was answered has been written back.

use std::sync::Arc;
use std::time::Duration;

use stock::hold::Hold;
use stock::levels::StockLevels;
use stock::log::{LogEntry, LoggedEntry};
use stock::operation::{Id, Quantity, StockKey};
use stock::record::{StockRecord, StockRow};
use stock::repository::Resident;
use stock::request::{OrderId, RequestId};
use stock::store::{BoxFuture, Creation, Filter, LockNodes, Page, PageSize, Store, StoreError, Transaction};
use stock::timestamp::Timestamp;

#[derive(Debug)]
pub(crate) struct Settled {
    inner: Arc<dyn Store>,
    resident: Arc<Resident>,
}

impl Settled {
    pub(crate) fn new(inner: Arc<dyn Store>, resident: Arc<Resident>) -> Self {
        Self { inner, resident }
    }

    async fn settle(&self) -> &dyn Store {
        self.resident.settle(Duration::from_secs(30)).await.unwrap();
        self.inner.as_ref()
    }
}

/// Everything but `begin` and the lists goes straight through.
impl Store for Settled {
    fn migrate(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.migrate()
    }

    fn check_schema(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.check_schema()
    }

    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Transaction>, StoreError>> {
        Box::pin(async { self.settle().await.begin().await })
    }

    fn read(&self, key: StockKey) -> BoxFuture<'_, Result<Option<StockRow>, StoreError>> {
        Box::pin(async move { self.settle().await.read(key).await })
    }

    fn read_many<'a>(&'a self, keys: &'a [StockKey]) -> BoxFuture<'a, Result<Vec<StockRow>, StoreError>> {
        Box::pin(async move { self.settle().await.read_many(keys).await })
    }

    fn create(&self, product_id: Id, key: StockKey, stock: Quantity) -> BoxFuture<'_, Result<Creation, StoreError>> {
        self.inner.create(product_id, key, stock)
    }

    fn list<'a>(
        &'a self,
        filter: &'a Filter,
        after: Option<u64>,
        size: PageSize,
    ) -> BoxFuture<'a, Result<Page<StockRecord>, StoreError>> {
        Box::pin(async move { self.settle().await.list(filter, after, size).await })
    }

    fn logs(
        &self,
        key: StockKey,
        before: Option<u64>,
        size: PageSize,
    ) -> BoxFuture<'_, Result<Page<LoggedEntry>, StoreError>> {
        Box::pin(async move { self.settle().await.logs(key, before, size).await })
    }

    fn holds<'a>(
        &'a self,
        order_id: &'a OrderId,
        before: Option<u64>,
        size: PageSize,
    ) -> BoxFuture<'a, Result<Page<Hold>, StoreError>> {
        Box::pin(async move { self.settle().await.holds(order_id, before, size).await })
    }

    fn expired_holds(&self, after: Option<u64>, size: PageSize) -> BoxFuture<'_, Result<Page<Hold>, StoreError>> {
        Box::pin(async move { self.settle().await.expired_holds(after, size).await })
    }

    fn find_requests<'a>(&'a self, ids: &'a [RequestId]) -> BoxFuture<'a, Result<Vec<LogEntry>, StoreError>> {
        self.inner.find_requests(ids)
    }

    fn residents(&self, after: Option<u64>, size: PageSize) -> BoxFuture<'_, Result<Page<StockRow>, StoreError>> {
        self.inner.residents(after, size)
    }

    fn prune_logs(&self, before: Timestamp, size: PageSize) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.prune_logs(before, size)
    }

    fn agree_on_lock_nodes<'a>(&'a self, mine: &'a LockNodes) -> BoxFuture<'a, Result<LockNodes, StoreError>> {
        self.inner.agree_on_lock_nodes(mine)
    }

    fn adopt_lock_nodes<'a>(&'a self, mine: &'a LockNodes) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner.adopt_lock_nodes(mine)
    }

    fn overwrite(&self, id: u64, levels: StockLevels) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.overwrite(id, levels)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}
