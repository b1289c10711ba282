//! Stores and locks to test on: a SQLite file, a real MariaDB, real Redis servers.

#![allow(dead_code, reason = "each suite uses a part of it")]

use std::sync::Arc;

use redlock::{Redlock, SimNode};
use stock::repository::{Redlocked, RowLock, StockRepository};
use stock::store::{self, DatabaseUrl, Store};
use tempfile::TempDir;
use testkit::{RedisServer, SqlServer};

/// A database with its tables, for as long as this value lives.
pub struct Backend {
    pub store: Arc<dyn Store>,
    pub url: String,
    _folder: Option<TempDir>,
    server: Option<SqlServer>,
}

impl Backend {
    /// A SQLite file in a folder of its own.
    pub async fn sqlite() -> Self {
        let folder = TempDir::new().unwrap();
        let url = format!("sqlite:{}", folder.path().join("stock.db").display());
        Self { store: migrated(&url).await, url, _folder: Some(folder), server: None }
    }

    /// A MariaDB or MySQL of its own.
    pub async fn mariadb() -> Self {
        Self::on(SqlServer::start().await.unwrap()).await
    }

    /// A database of its own on this server, which may be one that the environment named.
    pub async fn on(server: SqlServer) -> Self {
        let name = format!("stock_{:x}", rand::random::<u64>());
        server.create_database(&name).await.unwrap();
        let url = server.url(&name);
        Self { store: migrated(&url).await, url, _folder: None, server: Some(server) }
    }

    /// The server, where there is one.
    pub fn server(&self) -> &SqlServer {
        self.server.as_ref().unwrap()
    }

    pub fn row_lock(&self) -> Arc<dyn StockRepository> {
        Arc::new(RowLock::new(self.store.clone()))
    }

    pub fn redlocked(&self, redlock: &Redlock) -> Arc<dyn StockRepository> {
        Arc::new(Redlocked::new(self.store.clone(), redlock.clone()))
    }
}

/// A second way into the same database, as another process would have it.
pub async fn migrated(url: &str) -> Arc<dyn Store> {
    let url: DatabaseUrl = url.parse().unwrap();
    let store = store::open(&url).await.unwrap();
    store.migrate().await.unwrap();
    store
}

/// Locks on five in-process nodes.
pub fn sim_locks() -> Redlock {
    let builder = (1..=5).fold(Redlock::builder(), |builder, number| {
        builder.node(SimNode::new(format!("node-{number}")))
    });
    builder.build().unwrap()
}

/// Locks on these servers.
pub fn locks(nodes: &[RedisServer]) -> Redlock {
    Redlock::builder().nodes(nodes.iter().map(RedisServer::url)).build().unwrap()
}
