//! The repository suite against each repository on each store, and repositories side by side.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/backends.rs"]
mod backends;

use std::sync::Arc;

use backends::{Backend, leased, locks, locks_on, migrated, sim_locks, sim_nodes};
use redlock::Redlock;
use stock::operation::{MAX_INTEGER, Operation, StockKey};
use stock::repository::{Redlocked, RowLock, StockRepository, suite};
use stock::request::{Change, Request, RequestId};
use testkit::RedisServer;

async fn check(backend: &Backend, repository: Arc<dyn StockRepository>) {
    suite::check(repository, backend.store.clone()).await;
}

/// As many different records as a request can have: all or nothing, once, whatever order they come in.
async fn a_request_over_a_thousand_records(backend: &Backend, repository: &dyn StockRepository) {
    let first = rand::random_range(0..MAX_INTEGER / 2);
    let many = format!(
        "INSERT INTO product_stocks (product_id, variant_id, stock, available_stock) \
         WITH RECURSIVE n(v) AS (SELECT 0 UNION ALL SELECT v + 1 FROM n WHERE v < 999) \
         SELECT 1, {first} + v, 2, 2 FROM n"
    );
    backend.by_hand(&many).await;
    let keys: Vec<_> = (0..1_000).map(|number| StockKey::new(first + number * 7 % 1_000, 0).unwrap()).collect();
    let changes: Vec<_> = keys.iter().map(|key| Change::new(*key, Operation::Lock, suite::quantity(1))).collect();
    let request = Request::batch(changes.clone()).id(RequestId::make());
    let answer = repository.apply(request.clone()).await.unwrap();
    assert!(answer.records.iter().map(|record| record.key).eq(keys.iter().copied()));
    assert!(repository.apply(request).await.unwrap().replayed);
    let mut too_many = changes;
    too_many[500].quantity = suite::quantity(2);
    let refused = repository.apply(Request::batch(too_many)).await.unwrap_err();
    assert_eq!(refused.code(), "insufficient_stock", "{refused:?}");
    let range = format!("variant_id BETWEEN {first} AND {}", first + 999);
    let right = format!("SELECT COUNT(*) FROM product_stocks WHERE {range} AND locked_stock = 1 AND version = 1");
    let logged = format!("SELECT COUNT(DISTINCT variant_id) FROM product_stock_logs WHERE {range}");
    assert_eq!((backend.by_hand(&right).await, backend.by_hand(&logged).await), (vec![Some(1_000)], vec![Some(1_000)]));
    for key in keys.iter().step_by(50) {
        assert_eq!(suite::explained(backend.store.as_ref(), *key).await.log.entries, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_records_at_once() {
    for backend in [Backend::sqlite().await, Backend::shared().await] {
        for repository in [backend.row_lock(), backend.redlocked(&sim_locks())] {
            a_request_over_a_thousand_records(&backend, repository.as_ref()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_lock_on_sqlite() {
    let backend = Backend::sqlite().await;
    check(&backend, backend.row_lock()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_lock_on_mariadb() {
    let backend = Backend::shared().await;
    check(&backend, backend.row_lock()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redlock_on_sqlite() {
    let backend = Backend::sqlite().await;
    check(&backend, backend.redlocked(&sim_locks())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redlock_on_five_redis_servers_and_mariadb() {
    let (nodes, backend) = tokio::join!(RedisServer::fleet(5), Backend::shared());
    let nodes = nodes.unwrap();
    check(&backend, backend.redlocked(&locks(&nodes))).await;
}

/// A roll-out from one repository to the other has both on one database for a while, in several
/// processes: each has its own connections, and the two lock clients share nothing but the nodes.
#[tokio::test(flavor = "multi_thread")]
async fn row_lock_and_redlock_side_by_side_on_mariadb_lose_nothing() {
    let (nodes, backend) = tokio::join!(RedisServer::fleet(5), Backend::shared());
    let nodes = nodes.unwrap();
    let side_by_side = side_by_side(&backend, [locks(&nodes), locks(&nodes)]).await;
    suite::together(&side_by_side, backend.store.clone()).await;
}

/// Two instances of each kind, each with connections and a lock client of its own.
async fn side_by_side(backend: &Backend, redlocks: [Redlock; 2]) -> [Arc<dyn StockRepository>; 4] {
    let [first, second] = redlocks;
    let other = Redlocked::new(leased(&backend.url).await, second);
    let row_lock = RowLock::new(migrated(&backend.url).await);
    [backend.redlocked(&first), backend.row_lock(), Arc::new(other), Arc::new(row_lock)]
}

#[tokio::test(flavor = "multi_thread")]
async fn row_lock_and_redlock_side_by_side_on_sqlite_lose_nothing() {
    let backend = Backend::sqlite().await;
    let second: Arc<_> = RowLock::new(migrated(&backend.url).await).into();
    let side_by_side = [backend.redlocked(&sim_locks()), backend.row_lock(), second];
    suite::together(&side_by_side, backend.store.clone()).await;
}

/// MySQL's dialect differs from MariaDB's in places.
#[tokio::test(flavor = "multi_thread")]
async fn container_row_lock_and_redlock_on_mysql9() {
    let backend = Backend::on(testkit::SqlServer::container_mysql9().await.unwrap()).await;
    check(&backend, backend.row_lock()).await;
    check(&backend, backend.redlocked(&sim_locks())).await;
    let nodes = sim_nodes();
    let side_by_side = side_by_side(&backend, [locks_on(&nodes), locks_on(&nodes)]).await;
    suite::together(&side_by_side, backend.store.clone()).await;
}
