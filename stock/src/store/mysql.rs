//! Records in MySQL or MariaDB.

mod session;

use sqlx::Connection;
use sqlx::migrate::Migrator;
use sqlx::mysql::MySqlPool;

use self::session::Session;
use super::sql::Bind;
use super::url::MySqlUrl;
use super::{BoxFuture, CommitError, Creation, Store, StoreError, Transaction, rows, sql};
use crate::levels::StockLevels;
use crate::log::{LogEntry, LogSummary};
use crate::operation::{Id, Quantity, StockKey};
use crate::record::StockRecord;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/mysql");

/// A record by its key, locked until the transaction ends.
const CLAIM: &str = "\
SELECT id, product_id, variant_id, warehouse_id, stock, available_stock, locked_stock, reserved_stock, version, fence
FROM product_stocks WHERE variant_id = ? AND warehouse_id = ? FOR UPDATE";

/// A record over the version it was made from.
const UPDATE: &str = "\
UPDATE product_stocks SET stock = ?, available_stock = ?, locked_stock = ?, reserved_stock = ?, fence = ?,
    version = ?, updated_at = UTC_TIMESTAMP(6)
WHERE id = ? AND version = ? AND fence <= ?";

/// Named locks are the server's, not the database's, and end after 64 characters. (MySQL 9 has no
/// MD5 any more.)
const MIGRATION_LOCK: &str = "SELECT GET_LOCK(CONCAT('stock:', SHA2(DATABASE(), 224)), 60)";

/// Records in MySQL or MariaDB.
#[derive(Debug)]
pub struct MySqlStore {
    pool: MySqlPool,
}

impl MySqlStore {
    /// Connects once, so that a wrong address or password is noticed here with its cause.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; [`StoreError::Unavailable`] if the server does not answer within five
    /// seconds.
    pub async fn open(url: &MySqlUrl) -> Result<Self, StoreError> {
        session::connect(&url.options).await?.close().await?;
        Ok(Self { pool: session::pool(&url.options) })
    }

    async fn migrate_alone(&self) -> Result<(), StoreError> {
        // A connection of its own: closing it lets go of the lock, whatever happened.
        let mut connection = session::connect(&self.pool.connect_options()).await?;
        let granted: Option<i64> = sqlx::query_scalar(MIGRATION_LOCK).fetch_one(&mut connection).await?;
        let outcome = match granted {
            // `run` itself cannot be called from a boxed future (its connection trait is too
            // general for the compiler).
            Some(1) => MIGRATIONS.run_direct(None, &mut connection, false).await.map_err(StoreError::from),
            _ => Err(StoreError::Conflict(None)),
        };
        connection.close().await?;
        outcome
    }

    async fn read_record(&self, key: StockKey) -> Result<Option<StockRecord>, StoreError> {
        let mut session = Session::take(&self.pool).await?;
        let row = session.fetch(Bind::key(sql::READ, key)).await?;
        session.back();
        row.as_ref().map(rows::record).transpose()
    }

    async fn create_record(&self, product_id: Id, key: StockKey, stock: Quantity) -> Result<Creation, StoreError> {
        if let Some(record) = self.read_record(key).await? {
            return Ok(Creation::Existing(record));
        }
        let mut session = Session::take(&self.pool).await?;
        let wrap = match session.execute(Bind::create(product_id, key, stock)).await {
            Ok(_) => Creation::Created,
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Creation::Existing,
            Err(error) => return Err(error.into()),
        };
        session.back();
        // Removed again in between is the one way for it not to be there.
        let record = self.read_record(key).await?;
        record.map(wrap).ok_or(StoreError::Conflict(None))
    }
}

impl Store for MySqlStore {
    fn migrate(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.migrate_alone())
    }

    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Transaction>, StoreError>> {
        Box::pin(async {
            let mut session = Session::take(&self.pool).await?;
            session.begin().await?;
            Ok(Box::new(MySqlTransaction { session }) as Box<dyn Transaction>)
        })
    }

    fn read(&self, key: StockKey) -> BoxFuture<'_, Result<Option<StockRecord>, StoreError>> {
        Box::pin(self.read_record(key))
    }

    fn create(&self, product_id: Id, key: StockKey, stock: Quantity) -> BoxFuture<'_, Result<Creation, StoreError>> {
        Box::pin(self.create_record(product_id, key, stock))
    }

    fn overwrite(&self, id: u64, levels: StockLevels) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let mut session = Session::take(&self.pool).await?;
            session.execute(Bind::overwrite(id, levels)).await?;
            session.back();
            Ok(())
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.pool.close())
    }
}

struct MySqlTransaction {
    session: Session,
}

impl Transaction for MySqlTransaction {
    fn claim(&mut self, key: StockKey) -> BoxFuture<'_, Result<Option<StockRecord>, StoreError>> {
        Box::pin(async move {
            let row = self.session.fetch(Bind::key(CLAIM, key)).await?;
            row.as_ref().map(rows::record).transpose()
        })
    }

    fn update<'a>(&'a mut self, after: &'a StockRecord) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            match self.session.execute(Bind::update(UPDATE, after)).await? {
                1 => Ok(()),
                _ => Err(StoreError::Conflict(None)),
            }
        })
    }

    fn append<'a>(&'a mut self, entry: &'a LogEntry) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.session.execute(Bind::append(entry)).await?;
            Ok(())
        })
    }

    fn log_summary(&mut self, stock_id: u64) -> BoxFuture<'_, Result<LogSummary, StoreError>> {
        Box::pin(async move {
            let opening = self.session.fetch(Bind::opening(stock_id)).await?;
            let opening = opening.as_ref().map(rows::levels).transpose()?;
            let summary = self.session.fetch(Bind::summary(stock_id)).await?;
            rows::summary(&summary.ok_or(sqlx::Error::RowNotFound)?, opening)
        })
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>> {
        Box::pin(async { Ok(self.session.commit().await?) })
    }

    fn rollback(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async {
            // On a connection that is closed instead the server rolls back by itself.
            if let Err(error) = self.session.rollback().await {
                tracing::debug!(%error, "rollback");
            }
        })
    }
}
