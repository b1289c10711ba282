//! Stores and locks to test on: a SQLite file, a real MariaDB, real Redis servers.

#![allow(dead_code, reason = "each suite uses a part of it")]

use std::sync::Arc;

use redlock::{Redlock, RestartGuard, SimNode};
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection, Row};
use stock::config::LEASE;
use stock::repository::{Redlocked, RowLock, StockRepository};
use stock::store::{self, DatabaseUrl, Store};
use tempfile::TempDir;
use testkit::{RedisServer, SqlServer};

/// A database with its tables, for as long as this value lives.
pub(crate) struct Backend {
    /// As row-lock instances use it.
    pub(crate) store: Arc<dyn Store>,
    /// As redlock instances use it; the same for a file, of which a process has one writer.
    pub(crate) leased: Arc<dyn Store>,
    pub(crate) url: String,
    _folder: Option<TempDir>,
    server: Option<SqlServer>,
}

impl Backend {
    /// A SQLite file in a folder of its own.
    pub(crate) async fn sqlite() -> Self {
        let folder = TempDir::new().unwrap();
        let url = format!("sqlite:{}", folder.path().join("stock.db").display());
        let store = migrated(&url).await;
        Self { leased: store.clone(), store, url, _folder: Some(folder), server: None }
    }

    /// A MariaDB or MySQL that nobody hurts: the one the environment named, or its own.
    pub(crate) async fn shared() -> Self {
        Self::on(testkit::shared_sql().await.unwrap()).await
    }

    /// A MariaDB or MySQL of its own.
    pub(crate) async fn mariadb() -> Self {
        Self::on(SqlServer::start().await.unwrap()).await
    }

    /// A database of its own on this server, which may be one that the environment named.
    pub(crate) async fn on(server: SqlServer) -> Self {
        let name = format!("stock_{:x}", rand::random::<u64>());
        server.create_database(&name).await.unwrap();
        let url = server.url(&name);
        let store = migrated(&url).await;
        Self { leased: leased(&url).await, store, url, _folder: None, server: Some(server) }
    }

    /// The server, where there is one.
    pub(crate) fn server(&self) -> &SqlServer {
        self.server.as_ref().unwrap()
    }

    /// Runs a statement by hand; the first column of its rows.
    pub(crate) async fn by_hand(&self, sql: &str) -> Vec<Option<i64>> {
        let Some(server) = &self.server else {
            let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
            let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
            return rows.iter().map(|row| row.get(0)).collect();
        };
        let database = self.url.rsplit('/').next().unwrap();
        let rows = server.query(database, sql).await.unwrap();
        rows.iter().map(|row| row[0].as_ref().map(|number| number.parse().unwrap())).collect()
    }

    pub(crate) fn row_lock(&self) -> Arc<dyn StockRepository> {
        Arc::new(RowLock::new(self.store.clone()))
    }

    pub(crate) fn redlocked(&self, redlock: &Redlock) -> Arc<dyn StockRepository> {
        Arc::new(Redlocked::new(self.leased.clone(), redlock.clone()))
    }
}

/// A second way into the same database, as another process would have it.
pub(crate) async fn migrated(url: &str) -> Arc<dyn Store> {
    let url: DatabaseUrl = url.parse().unwrap();
    let store = store::open(&url).await.unwrap();
    store.migrate().await.unwrap();
    store
}

/// The same for those who hold leases.
pub(crate) async fn leased(url: &str) -> Arc<dyn Store> {
    store::open_for_leases(&url.parse().unwrap(), LEASE).await.unwrap()
}

/// Five in-process nodes.
pub(crate) fn sim_nodes() -> Vec<SimNode> {
    (1..=5).map(|number| SimNode::new(format!("node-{number}"))).collect()
}

/// A lock client of its own on these in-process nodes.
pub(crate) fn locks_on(nodes: &[SimNode]) -> Redlock {
    let builder = nodes.iter().cloned().fold(Redlock::builder(), |builder, node| builder.node(node));
    builder.restart_guard(RestartGuard::Off).build().unwrap()
}

/// Locks on five in-process nodes of their own.
pub(crate) fn sim_locks() -> Redlock {
    locks_on(&sim_nodes())
}

/// Locks on these servers, which tests have only just started.
pub(crate) fn locks(nodes: &[RedisServer]) -> Redlock {
    let builder = Redlock::builder().nodes(nodes.iter().map(RedisServer::url));
    builder.restart_guard(RestartGuard::Off).build().unwrap()
}
