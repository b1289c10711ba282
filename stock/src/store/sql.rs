//! The store on any database that takes the statements.

mod lists;
mod transaction;

use self::transaction::SqlTransaction;
use super::dialect;
use super::page::below;
use super::session::{Backend, Fields as _, Session, Statement};
use super::{BoxFuture, Creation, Filter, LockNodes, Page, PageSize, Store, StoreError, Transaction, Turn, json, rows};
use crate::hold::Hold;
use crate::levels::StockLevels;
use crate::log::{LogEntry, LoggedEntry};
use crate::operation::{Id, Quantity, StockKey};
use crate::record::{StockRecord, StockRow};
use crate::request::{OrderId, RequestId};
use crate::timestamp::Timestamp;

/// Records in a database of some kind.
#[derive(Debug)]
pub(super) struct SqlStore<B>(pub(super) B);

impl<B: Backend> SqlStore<B> {
    async fn read_row(&self, key: StockKey) -> Result<Option<StockRow>, StoreError> {
        let mut session = self.0.read().await?;
        let found = session.all(of_key(dialect::READ, key)).await?;
        session.back();
        found.first().map(rows::row).transpose()
    }

    async fn create_record(&self, product_id: Id, key: StockKey, stock: Quantity) -> Result<Creation, StoreError> {
        if let Some(row) = self.read_row(key).await? {
            return Ok(Creation::Existing(row.record));
        }
        let create = Statement::new(dialect::CREATE)
            .number(product_id.get())
            .number(key.variant_id.get())
            .number(key.warehouse_id.get())
            .number(stock.get())
            .number(stock.get());
        let mut session = self.0.write().await?;
        let wrap = match session.execute(create).await {
            Ok(_) => Creation::Created,
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Creation::Existing,
            Err(error) => return Err(error.into()),
        };
        session.back();
        // Removed again in between is the one way for it not to be there.
        let row = self.read_row(key).await?;
        row.map(|row| wrap(row.record)).ok_or(StoreError::Conflict(None))
    }

    /// All that a reading statement finds.
    async fn find<T>(
        &self,
        statement: Statement,
        read: impl Fn(&<B::Session as Session>::Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut session = self.0.read().await?;
        let found = session.all(statement).await?;
        session.back();
        found.iter().map(read).collect()
    }

    async fn execute(&self, statement: Statement) -> Result<(), StoreError> {
        let mut session = self.0.write().await?;
        session.execute(statement).await?;
        session.back();
        Ok(())
    }

    async fn found_schema(&self) -> Result<(), StoreError> {
        let number = |row: &<B::Session as Session>::Row| Ok(row.number("version")?.unwrap_or_default());
        let found = self.find(Statement::new(dialect::MIGRATIONS), number).await?;
        let known = self.0.migrations();
        if found.iter().any(|version| !known.contains(version)) {
            return Err(StoreError::NewerSchema(None));
        }
        match known.iter().find(|version| !found.contains(version)) {
            Some(missing) => Err(StoreError::OlderSchema { missing: *missing }),
            None => Ok(()),
        }
    }

    async fn agreed(&self, mine: &LockNodes) -> Result<LockNodes, StoreError> {
        self.execute(of_nodes(B::DIALECT.agree, mine)).await?;
        let read = |row: &<B::Session as Session>::Row| {
            Ok(LockNodes { nodes: rows::text(row, "nodes")?, max_ttl_ms: rows::unsigned(row, "max_ttl_ms")? })
        };
        self.find(Statement::new(dialect::LOCK_NODES), read).await?.pop().ok_or(StoreError::Conflict(None))
    }
}

impl<B: Backend> Store for SqlStore<B> {
    fn migrate(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.0.migrate()
    }

    fn check_schema(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.found_schema())
    }

    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Transaction>, StoreError>> {
        Box::pin(async {
            let session = self.0.begin().await?;
            Ok(Box::new(SqlTransaction::<B> { session }) as Box<dyn Transaction>)
        })
    }

    fn read(&self, key: StockKey) -> BoxFuture<'_, Result<Option<StockRow>, StoreError>> {
        Box::pin(self.read_row(key))
    }

    fn read_many<'a>(&'a self, keys: &'a [StockKey]) -> BoxFuture<'a, Result<Vec<StockRow>, StoreError>> {
        Box::pin(self.find(Statement::new(B::DIALECT.read_many).text(json::keys(keys)), rows::row))
    }

    fn create(&self, product_id: Id, key: StockKey, stock: Quantity) -> BoxFuture<'_, Result<Creation, StoreError>> {
        Box::pin(self.create_record(product_id, key, stock))
    }

    fn list<'a>(
        &'a self,
        filter: &'a Filter,
        after: Option<u64>,
        size: PageSize,
    ) -> BoxFuture<'a, Result<Page<StockRecord>, StoreError>> {
        Box::pin(self.list_records(filter, after, size))
    }

    fn logs(
        &self,
        key: StockKey,
        before: Option<u64>,
        size: PageSize,
    ) -> BoxFuture<'_, Result<Page<LoggedEntry>, StoreError>> {
        Box::pin(self.list_logs(key, below(before), size))
    }

    fn holds<'a>(
        &'a self,
        order_id: &'a OrderId,
        before: Option<u64>,
        size: PageSize,
    ) -> BoxFuture<'a, Result<Page<Hold>, StoreError>> {
        Box::pin(self.list_holds(order_id, below(before), size))
    }

    fn expired_holds(&self, after: Option<u64>, size: PageSize) -> BoxFuture<'_, Result<Page<Hold>, StoreError>> {
        Box::pin(self.list_expired(after, size))
    }

    fn find_requests<'a>(&'a self, ids: &'a [RequestId]) -> BoxFuture<'a, Result<Vec<LogEntry>, StoreError>> {
        Box::pin(async {
            let found = self.find(transaction::of_requests::<B>(ids), rows::entry).await?;
            Ok(transaction::by_request(found))
        })
    }

    fn residents(&self, after: Option<u64>, size: PageSize) -> BoxFuture<'_, Result<Page<StockRow>, StoreError>> {
        Box::pin(self.list_residents(after, size))
    }

    fn prune_logs(&self, before: Timestamp, size: PageSize) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.prune(before, size))
    }

    fn agree_on_lock_nodes<'a>(&'a self, mine: &'a LockNodes) -> BoxFuture<'a, Result<LockNodes, StoreError>> {
        Box::pin(self.agreed(mine))
    }

    fn adopt_lock_nodes<'a>(&'a self, mine: &'a LockNodes) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.execute(of_nodes(B::DIALECT.adopt, mine)))
    }

    fn sweeper_turn(&self) -> BoxFuture<'_, Result<Option<Turn>, StoreError>> {
        self.0.sweeper_turn()
    }

    fn forgetful_settings(&self) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        self.0.forgetful_settings()
    }

    fn overwrite(&self, id: u64, levels: StockLevels) -> BoxFuture<'_, Result<(), StoreError>> {
        let statement = Statement::new(dialect::OVERWRITE).levels(levels).number(id);
        Box::pin(self.execute(statement))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.0.close()
    }
}

/// A statement that finds a record by its key.
fn of_key(statement: &'static str, key: StockKey) -> Statement {
    Statement::new(statement).number(key.variant_id.get()).number(key.warehouse_id.get())
}

fn of_nodes(statement: &'static str, nodes: &LockNodes) -> Statement {
    Statement::new(statement).text(&nodes.nodes).number(nodes.max_ttl_ms)
}

/// One more than fits, to see whether there is another page.
fn one_more(size: PageSize) -> u64 {
    u64::from(size.get()) + 1
}
