//! Records in a SQLite file: the embedded default, with the same guarantees for one machine.

use std::time::{Duration, Instant};

use sqlx::migrate::Migrator;
use sqlx::sqlite::{Sqlite, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use super::sql::Bind;
use super::url::SqliteUrl;
use super::{BoxFuture, CommitError, Creation, Store, StoreError, Transaction, rows, sql};
use crate::levels::StockLevels;
use crate::log::{LogEntry, LogSummary};
use crate::operation::{Id, Quantity, StockKey};
use crate::record::StockRecord;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// A record over the version it was made from.
const UPDATE: &str = "\
UPDATE product_stocks SET stock = ?, available_stock = ?, locked_stock = ?, reserved_stock = ?, fence = ?,
    version = ?, updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now')
WHERE id = ? AND version = ? AND fence <= ?";

/// Takes the write lock at once. A transaction that begins with a read and writes later fails if
/// another one wrote in between.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// How long another *process* that writes is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a free connection is waited for.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

const READERS: u32 = 4;

/// Records in a SQLite file.
///
/// Writers of this process queue for one connection, first come, first served: SQLite itself lets
/// waiting writers poll, and some of them starve.
#[derive(Debug)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; [`StoreError::Unavailable`] if the file cannot be opened.
    pub async fn open(url: &SqliteUrl) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(&url.path)
            .create_if_missing(true)
            .busy_timeout(BUSY_TIMEOUT)
            .journal_mode(SqliteJournalMode::Wal)
            // Without it, commits since the last checkpoint are lost with the power.
            .synchronous(SqliteSynchronous::Full);
        // The writer comes first: it is the one that makes the file and turns WAL on.
        let writer = writer(&options).await?;
        let readers = SqlitePoolOptions::new()
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .max_connections(READERS)
            .connect_lazy_with(options);
        Ok(Self { writer, readers })
    }

    async fn migrate_alone(&self) -> Result<(), StoreError> {
        // All migrations in one transaction: another process waits and then finds nothing to do.
        let mut transaction = self.writer.begin_with(BEGIN).await?;
        // `run` itself cannot be called from a boxed future (its connection trait is too general
        // for the compiler).
        MIGRATIONS.run_direct(None, &mut *transaction, false).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn read_record(&self, key: StockKey) -> Result<Option<StockRecord>, StoreError> {
        let row = Bind::key(sql::READ, key).fetch_optional(&self.readers).await?;
        row.as_ref().map(rows::record).transpose()
    }

    async fn create_record(&self, product_id: Id, key: StockKey, stock: Quantity) -> Result<Creation, StoreError> {
        if let Some(record) = self.read_record(key).await? {
            return Ok(Creation::Existing(record));
        }
        let inserted = Bind::create(product_id, key, stock).execute(&self.writer).await;
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

/// The connection that writes. Turning WAL on waits for nobody, whatever the busy timeout says, so
/// of several processes that open a new file at once all but one have to try again.
async fn writer(options: &SqliteConnectOptions) -> Result<SqlitePool, StoreError> {
    let until = Instant::now() + BUSY_TIMEOUT;
    loop {
        let pool = SqlitePoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT).max_connections(1);
        match pool.connect_with(options.clone()).await.map_err(StoreError::from) {
            Err(StoreError::Conflict(_)) if Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            outcome => return outcome,
        }
    }
}

impl Store for SqliteStore {
    fn migrate(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.migrate_alone())
    }

    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Transaction>, StoreError>> {
        Box::pin(async {
            let inner = self.writer.begin_with(BEGIN).await?;
            Ok(Box::new(SqliteTransaction { inner }) as Box<dyn Transaction>)
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
            Bind::overwrite(id, levels).execute(&self.writer).await?;
            Ok(())
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.readers.close().await;
            self.writer.close().await;
        })
    }
}

struct SqliteTransaction {
    inner: sqlx::Transaction<'static, Sqlite>,
}

impl Transaction for SqliteTransaction {
    fn claim(&mut self, key: StockKey) -> BoxFuture<'_, Result<Option<StockRecord>, StoreError>> {
        Box::pin(async move {
            // The transaction holds the file's write lock: a plain read is one that nobody can
            // overtake.
            let row = Bind::key(sql::READ, key).fetch_optional(&mut *self.inner).await?;
            row.as_ref().map(rows::record).transpose()
        })
    }

    fn update<'a>(&'a mut self, after: &'a StockRecord) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let written = Bind::update(UPDATE, after).execute(&mut *self.inner).await?;
            match written.rows_affected() {
                1 => Ok(()),
                _ => Err(StoreError::Conflict(None)),
            }
        })
    }

    fn append<'a>(&'a mut self, entry: &'a LogEntry) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            Bind::append(entry).execute(&mut *self.inner).await?;
            Ok(())
        })
    }

    fn log_summary(&mut self, stock_id: u64) -> BoxFuture<'_, Result<LogSummary, StoreError>> {
        Box::pin(async move {
            let opening = Bind::opening(stock_id).fetch_optional(&mut *self.inner).await?;
            let opening = opening.as_ref().map(rows::levels).transpose()?;
            let summary = Bind::summary(stock_id).fetch_one(&mut *self.inner).await?;
            rows::summary(&summary, opening)
        })
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>> {
        Box::pin(async { Ok(self.inner.commit().await?) })
    }

    fn rollback(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async {
            // A connection that cannot even roll back is thrown away, and the file's journal does
            // it.
            if let Err(error) = self.inner.rollback().await {
                tracing::debug!(%error, "rollback");
            }
        })
    }
}
