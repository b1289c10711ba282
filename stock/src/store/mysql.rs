//! Records in MySQL or MariaDB.

use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::mysql::{MySql, MySqlConnection, MySqlPool, MySqlPoolOptions};
use sqlx::query::Query;
use sqlx::{Connection, Executor};

use super::rows::signed;
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

/// READ COMMITTED: a locking read returns the newest row and locks no gaps.
const ISOLATION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// `wait_timeout`: a process that is stopped in the middle of a transaction loses its row locks after that many
/// seconds of silence. `sql_mode`: a value that does not fit is an error and is not cut off.
const SESSION: &str = "\
SET SESSION wait_timeout = 20, SESSION innodb_lock_wait_timeout = 5,
    SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')";

/// Half of `wait_timeout`: connections are given up before the server closes them.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a first answer, or a free connection, is waited for.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

const MAX_CONNECTIONS: u32 = 32;

/// Named locks are the server's, not the database's, and end after 64 characters.
const MIGRATION_LOCK: &str = "SELECT GET_LOCK(CONCAT('stock:migrate:', MD5(DATABASE())), 60)";

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
    /// [`StoreError`]; [`StoreError::Unavailable`] if the server does not answer within five seconds.
    pub async fn open(url: &MySqlUrl) -> Result<Self, StoreError> {
        let first =
            tokio::time::timeout(CONNECT_TIMEOUT, MySqlConnection::connect_with(&*url.options));
        let mut first = first.await.map_err(|_| sqlx::Error::PoolTimedOut)??;
        prepare_session(&mut first).await?;
        first.close().await?;
        let pool = MySqlPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(CONNECT_TIMEOUT)
            .idle_timeout(IDLE_TIMEOUT)
            .after_connect(|connection, _| Box::pin(prepare_session(connection)))
            .connect_lazy_with(url.options.as_ref().clone());
        Ok(Self { pool })
    }

    async fn migrate_alone(&self) -> Result<(), StoreError> {
        // A connection of its own: closing it lets go of the lock, whatever happened.
        let mut connection = MySqlConnection::connect_with(&self.pool.connect_options()).await?;
        let granted: Option<i64> =
            sqlx::query_scalar(MIGRATION_LOCK).fetch_one(&mut connection).await?;
        let outcome = match granted {
            // `run` itself cannot be called from a boxed future (its connection trait is too general for the compiler).
            Some(1) => {
                MIGRATIONS.run_direct(None, &mut connection, false).await.map_err(StoreError::from)
            }
            _ => Err(StoreError::Conflict(None)),
        };
        connection.close().await?;
        outcome
    }

    async fn read_record(&self, key: StockKey) -> Result<Option<StockRecord>, StoreError> {
        let row = by_key(sql::READ, key).fetch_optional(&self.pool).await?;
        row.as_ref().map(rows::record).transpose()
    }

    async fn create_record(
        &self,
        product_id: Id,
        key: StockKey,
        stock: Quantity,
    ) -> Result<Creation, StoreError> {
        if let Some(record) = self.read_record(key).await? {
            return Ok(Creation::Existing(record));
        }
        let inserted = sqlx::query(sql::CREATE)
            .bind(signed(product_id.get()))
            .bind(signed(key.variant_id.get()))
            .bind(signed(key.warehouse_id.get()))
            .bind(signed(stock.get()))
            .bind(signed(stock.get()))
            .execute(&self.pool)
            .await;
        let wrap = match inserted {
            Ok(_) => Creation::Created,
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Creation::Existing,
            Err(error) => return Err(error.into()),
        };
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
            let inner = self.pool.begin().await?;
            Ok(Box::new(MySqlTransaction { inner }) as Box<dyn Transaction>)
        })
    }

    fn read(&self, key: StockKey) -> BoxFuture<'_, Result<Option<StockRecord>, StoreError>> {
        Box::pin(self.read_record(key))
    }

    fn create(
        &self,
        product_id: Id,
        key: StockKey,
        stock: Quantity,
    ) -> BoxFuture<'_, Result<Creation, StoreError>> {
        Box::pin(self.create_record(product_id, key, stock))
    }

    fn overwrite(&self, id: u64, levels: StockLevels) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            with_levels(sqlx::query(sql::OVERWRITE), levels)
                .bind(signed(id))
                .execute(&self.pool)
                .await?;
            Ok(())
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.pool.close())
    }
}

struct MySqlTransaction {
    inner: sqlx::Transaction<'static, MySql>,
}

impl Transaction for MySqlTransaction {
    fn claim(&mut self, key: StockKey) -> BoxFuture<'_, Result<Option<StockRecord>, StoreError>> {
        Box::pin(async move {
            let row = by_key(CLAIM, key).fetch_optional(&mut *self.inner).await?;
            row.as_ref().map(rows::record).transpose()
        })
    }

    fn update<'a>(&'a mut self, after: &'a StockRecord) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let written = with_levels(sqlx::query(UPDATE), after.levels)
                .bind(signed(after.fence))
                .bind(signed(after.version))
                .bind(signed(after.id))
                .bind(signed(after.version.saturating_sub(1)))
                .bind(signed(after.fence))
                .execute(&mut *self.inner)
                .await?;
            match written.rows_affected() {
                1 => Ok(()),
                _ => Err(StoreError::Conflict(None)),
            }
        })
    }

    fn append<'a>(&'a mut self, entry: &'a LogEntry) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let statement = sqlx::query(sql::APPEND)
                .bind(signed(entry.stock_id))
                .bind(signed(entry.key.variant_id.get()))
                .bind(signed(entry.key.warehouse_id.get()))
                .bind(entry.action.name())
                .bind(signed(entry.quantity.get()));
            with_levels(with_levels(statement, entry.before), entry.after)
                .bind(entry.fence.map(signed))
                .bind(signed(entry.version))
                .execute(&mut *self.inner)
                .await?;
            Ok(())
        })
    }

    fn log_summary(&mut self, stock_id: u64) -> BoxFuture<'_, Result<LogSummary, StoreError>> {
        Box::pin(async move {
            let opening = sqlx::query(sql::OPENING)
                .bind(signed(stock_id))
                .fetch_optional(&mut *self.inner)
                .await?;
            let opening = opening.as_ref().map(rows::levels).transpose()?;
            let summary = sqlx::query(sql::SUMMARY)
                .bind(signed(stock_id))
                .fetch_one(&mut *self.inner)
                .await?;
            rows::summary(&summary, opening)
        })
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>> {
        Box::pin(async { Ok(self.inner.commit().await?) })
    }

    fn rollback(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async {
            // On a broken connection the server rolls back by itself.
            if let Err(error) = self.inner.rollback().await {
                tracing::debug!(%error, "rollback");
            }
        })
    }
}

async fn prepare_session(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    connection.execute(ISOLATION).await?;
    connection.execute(SESSION).await?;
    Ok(())
}

type MySqlQuery<'q> = Query<'q, MySql, <MySql as sqlx::Database>::Arguments>;

fn by_key(statement: &'static str, key: StockKey) -> MySqlQuery<'static> {
    sqlx::query(statement).bind(signed(key.variant_id.get())).bind(signed(key.warehouse_id.get()))
}

/// Stock, available, locked and reserved units, in the order every statement has them.
fn with_levels(statement: MySqlQuery<'_>, levels: StockLevels) -> MySqlQuery<'_> {
    statement
        .bind(signed(levels.stock()))
        .bind(signed(levels.available()))
        .bind(signed(levels.locked()))
        .bind(signed(levels.reserved()))
}
