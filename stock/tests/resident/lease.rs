//! The flushers' lease is free as soon as whoever had it cannot use it.

use std::sync::Arc;
use std::time::Duration;

use redlock::Redlock;
use stock::repository::StockRepository;
use stock::repository::suite;
use testkit::{RedisServer, eventually};

use crate::backends::{Backend, locks_on, sim_nodes};
use crate::{SOON, lock, open};

const LEASE: &str = "lock:product_stock:resident:flush";

async fn is_free(locks: &Redlock) -> bool {
    locks.try_lock(LEASE).await.is_ok()
}

/// A lease lives for ten seconds and is renewed; nobody may have to wait for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_flusher_that_fails_lets_go_of_its_lease() {
    let (backend, redis, nodes) = (Backend::sqlite().await, RedisServer::start().await.unwrap(), sim_nodes());
    let resident = open(&backend, &redis, &locks_on(&nodes)).await;
    let key = suite::make(resident.as_ref(), 10).await;
    resident.change(lock(key, 1)).await.unwrap();
    resident.settle(SOON).await.unwrap();
    assert!(!is_free(&locks_on(&nodes)).await, "it keeps the lease while all is well");
    fail::cfg("resident-before-commit", "return").unwrap();
    resident.change(lock(key, 1)).await.unwrap();
    let others = locks_on(&nodes);
    eventually(Duration::from_secs(3), async || is_free(&others).await).await;
    fail::remove("resident-before-commit");
    resident.settle(SOON).await.unwrap();
    assert_eq!(suite::explained(backend.store.as_ref(), key).await.record.version, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flusher_that_is_stopped_has_let_go_of_its_lease() {
    let (backend, redis, nodes) = (Backend::sqlite().await, RedisServer::start().await.unwrap(), sim_nodes());
    let resident = open(&backend, &redis, &locks_on(&nodes)).await;
    let key = suite::make(resident.as_ref(), 10).await;
    resident.change(lock(key, 1)).await.unwrap();
    resident.finish(SOON).await.unwrap();
    assert!(is_free(&locks_on(&nodes)).await);
    Arc::into_inner(resident).unwrap().close(SOON).await.unwrap();
}
