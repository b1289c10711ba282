//! The repository suite against each repository on each store, and repositories side by side.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/backends.rs"]
mod backends;

use backends::{Backend, locks, migrated, sim_locks};
use std::sync::Arc;
use stock::repository::{RowLock, suite};
use testkit::RedisServer;

#[tokio::test(flavor = "multi_thread")]
async fn row_lock_on_sqlite() {
    let backend = Backend::sqlite().await;
    suite::check(backend.row_lock(), backend.store.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_lock_on_mariadb() {
    let backend = Backend::shared().await;
    suite::check(backend.row_lock(), backend.store.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redlock_on_sqlite() {
    let backend = Backend::sqlite().await;
    suite::check(backend.redlocked(&sim_locks()), backend.store.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redlock_on_five_redis_servers_and_mariadb() {
    let (nodes, backend) = tokio::join!(RedisServer::fleet(5), Backend::shared());
    let nodes = nodes.unwrap();
    suite::check(backend.redlocked(&locks(&nodes)), backend.store.clone()).await;
}

/// A roll-out from one repository to the other has both on one database for a while, in several
/// processes: each has its own connections, and the two lock clients share nothing but the nodes.
#[tokio::test(flavor = "multi_thread")]
async fn row_lock_and_redlock_side_by_side_on_mariadb_lose_nothing() {
    let (nodes, backend) = tokio::join!(RedisServer::fleet(5), Backend::shared());
    let nodes = nodes.unwrap();
    let second: Arc<_> = RowLock::new(migrated(&backend.url).await).into();
    let side_by_side =
        [backend.redlocked(&locks(&nodes)), backend.row_lock(), backend.redlocked(&locks(&nodes)), second];
    suite::together(&side_by_side, backend.store.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_lock_and_redlock_side_by_side_on_sqlite_lose_nothing() {
    let backend = Backend::sqlite().await;
    let second: Arc<_> = RowLock::new(migrated(&backend.url).await).into();
    let side_by_side = [backend.redlocked(&sim_locks()), backend.row_lock(), second];
    suite::together(&side_by_side, backend.store.clone()).await;
}
