//! Records in a SQLite file: the embedded default, with the same guarantees for one machine.

mod session;
mod statements;

use std::time::{Duration, Instant};

use sqlx::Connection as _;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use self::session::SqliteSession;
use super::dialect::Dialect;
use super::session::Backend;
use super::url::SqliteUrl;
use super::{BoxFuture, StoreError};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// How long another *process* that writes is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a free connection is waited for.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

const READERS: u32 = 4;

/// A SQLite file.
///
/// Writers of this process queue for one connection, first come, first served: SQLite itself lets
/// waiting writers poll, and some of them starve.
#[derive(Debug)]
pub(super) struct SqliteBackend {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteBackend {
    /// Opens the file, or makes it.
    pub(super) async fn open(url: &SqliteUrl) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(&url.path)
            .create_if_missing(true)
            .busy_timeout(BUSY_TIMEOUT)
            .journal_mode(SqliteJournalMode::Wal)
            // Without it, commits since the last checkpoint are lost with the power.
            .synchronous(SqliteSynchronous::Full);
        let options = match url.max_pages {
            Some(pages) => options.pragma("max_page_count", pages.to_string()),
            None => options,
        };
        // The writer comes first: it is the one that makes the file and turns WAL on.
        let writer = writer(&options).await?;
        let readers = SqlitePoolOptions::new()
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .max_connections(READERS)
            .connect_lazy_with(options);
        Ok(Self { writer, readers })
    }

    async fn migrate_alone(&self) -> Result<(), StoreError> {
        let mut connection = self.writer.acquire().await?;
        let migrated = migrate(&mut connection).await;
        if migrated.is_err() {
            // Whether a transaction is open in it is not certain.
            connection.close_on_drop();
        }
        migrated
    }
}

/// Makes all migrations in one transaction: another process waits and then finds nothing to do.
async fn migrate(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let mut transaction = connection.begin_with(session::BEGIN).await?;
    // `run` itself cannot be called from a boxed future (its connection trait is too general for the
    // compiler).
    MIGRATIONS.run_direct(None, &mut *transaction, false).await?;
    transaction.commit().await?;
    Ok(())
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

impl Backend for SqliteBackend {
    type Session = SqliteSession;

    const DIALECT: &'static Dialect = &statements::DIALECT;

    fn migrate(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.migrate_alone())
    }

    fn migrations(&self) -> Vec<i64> {
        MIGRATIONS.iter().map(|migration| migration.version).collect()
    }

    fn read(&self) -> BoxFuture<'_, Result<SqliteSession, StoreError>> {
        Box::pin(SqliteSession::take(&self.readers))
    }

    fn write(&self) -> BoxFuture<'_, Result<SqliteSession, StoreError>> {
        Box::pin(SqliteSession::take(&self.writer))
    }

    fn begin(&self) -> BoxFuture<'_, Result<SqliteSession, StoreError>> {
        Box::pin(async {
            let mut session = SqliteSession::take(&self.writer).await?;
            session.begin().await?;
            Ok(session)
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.readers.close().await;
            self.writer.close().await;
        })
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Row as _;

    use super::*;

    /// What durability rests on, for every connection that writes, also one that was opened later.
    #[tokio::test]
    async fn commits_are_on_the_disk_when_they_are_answered() {
        let folder = tempfile::TempDir::new().unwrap();
        let backend = SqliteBackend::open(&SqliteUrl::new(folder.path().join("stock.db"))).await.unwrap();
        for _ in 0..2 {
            let mut connection = backend.writer.acquire().await.unwrap();
            let mut ask = async |pragma: &'static str| sqlx::query(pragma).fetch_one(&mut *connection).await.unwrap();
            assert_eq!(ask("PRAGMA journal_mode").await.get::<String, _>(0), "wal");
            assert_eq!(ask("PRAGMA synchronous").await.get::<i64, _>(0), 2, "2 is FULL");
            assert_eq!(ask("PRAGMA busy_timeout").await.get::<i64, _>(0), 5_000);
            connection.close_on_drop();
        }
    }
}
