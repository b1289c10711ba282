//! Records in MySQL or MariaDB.

mod durability;
mod literals;
mod session;
mod statements;
mod version;

use sqlx::Connection;
use sqlx::migrate::Migrator;
use sqlx::mysql::MySqlPool;

use self::session::{Limits, MySqlSession};
use super::dialect::Dialect;
use super::session::Backend;
use super::url::MySqlUrl;
use super::{Access, BoxFuture, StoreError, Turn};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/mysql");

/// Named locks are the server's, not the database's, and end after 64 characters. (MySQL 9 has no
/// MD5 any more.)
const MIGRATION_LOCK: &str = "SELECT GET_LOCK(CONCAT('stock:', SHA2(DATABASE(), 224)), 60)";

/// Whose turn it is to sweep; nobody waits for it.
const SWEEPER_LOCK: &str = "SELECT GET_LOCK(CONCAT('sweep:', SHA2(DATABASE(), 224)), 0)";

/// A MySQL or MariaDB server.
#[derive(Debug)]
pub(super) struct MySqlBackend {
    pool: MySqlPool,
}

impl MySqlBackend {
    /// Connects once, so that a wrong address or password, or a server that is too old, is noticed
    /// here. Its writers may hold leases.
    pub(super) async fn open(url: &MySqlUrl, access: Access) -> Result<Self, StoreError> {
        let mut connection = session::connect(&url.options).await?;
        let found: String = sqlx::query_scalar("SELECT VERSION()").fetch_one(&mut connection).await?;
        version::check(&found)?;
        connection.close().await?;
        Ok(Self { pool: session::pool(&url.options, Limits::of(access), access.connections) })
    }

    async fn take_turn(&self) -> Result<Option<Turn>, StoreError> {
        // A connection of its own: whoever works in the turn needs those of the pool, and there may be only one.
        let mut connection = session::connect(&self.pool.connect_options()).await?;
        let granted: Option<i64> = sqlx::query_scalar(SWEEPER_LOCK).fetch_one(&mut connection).await?;
        let close = async move {
            if let Err(error) = connection.close().await {
                tracing::debug!(%error, "the end of a turn");
            }
        };
        if granted == Some(1) {
            // Dropped, the connection ends too.
            return Ok(Some(Turn(Box::pin(close))));
        }
        close.await;
        Ok(None)
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
}

impl Backend for MySqlBackend {
    type Session = MySqlSession;

    const DIALECT: &'static Dialect = &statements::DIALECT;

    fn migrate(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.migrate_alone())
    }

    fn migrations(&self) -> Vec<i64> {
        MIGRATIONS.iter().map(|migration| migration.version).collect()
    }

    fn read(&self) -> BoxFuture<'_, Result<MySqlSession, StoreError>> {
        Box::pin(MySqlSession::take(&self.pool))
    }

    fn write(&self) -> BoxFuture<'_, Result<MySqlSession, StoreError>> {
        Box::pin(MySqlSession::take(&self.pool))
    }

    fn begin(&self) -> BoxFuture<'_, Result<MySqlSession, StoreError>> {
        Box::pin(async {
            let mut session = MySqlSession::take(&self.pool).await?;
            session.begin();
            Ok(session)
        })
    }

    fn sweeper_turn(&self) -> BoxFuture<'_, Result<Option<Turn>, StoreError>> {
        Box::pin(self.take_turn())
    }

    fn forgetful_settings(&self) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        Box::pin(durability::forgetful_settings(&self.pool))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.pool.close())
    }
}
