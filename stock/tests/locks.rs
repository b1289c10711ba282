//! What the lock does to an operation: contention, outage and a lease that ran out are told apart,
//! and none of them changes anything.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/backends.rs"]
mod backends;

use std::time::Duration;

use backends::{Backend, locks, sim_locks};
use redlock::{Redlock, RestartGuard};
use stock::operation::Operation;
use stock::repository::{Redlocked, StockRepository, suite};
use stock::request::Change;
use testkit::RedisServer;

const SOON: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_held_by_somebody_else_is_contention() {
    let backend = Backend::sqlite().await;
    let redlock = sim_locks();
    let repository = Redlocked::new(backend.leased.clone(), redlock.clone()).wait(SOON);
    let key = suite::make(&repository, 10).await;
    let held = redlock.lock(key.lock_key()).await.unwrap();
    let error = repository.change(Change::new(key, Operation::Lock, suite::quantity(1))).await.unwrap_err();
    assert_eq!(error.code(), "lock_contended", "{error:?}");
    held.release().await.unwrap();
    let after = repository.change(Change::new(key, Operation::Lock, suite::quantity(1))).await.unwrap();
    assert_eq!(after.version, 1, "the refused one left nothing behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn lock_nodes_that_are_down_are_no_contention() {
    let (nodes, backend) = tokio::join!(RedisServer::fleet(3), Backend::sqlite());
    let nodes = nodes.unwrap();
    let repository = Redlocked::new(backend.leased.clone(), locks(&nodes)).wait(SOON);
    let key = suite::make(&repository, 1_000_000).await;
    repository.change(Change::new(key, Operation::Lock, suite::quantity(1))).await.unwrap();

    nodes[0].kill().await.unwrap();
    let after = repository.change(Change::new(key, Operation::Lock, suite::quantity(1))).await.unwrap();
    assert_eq!(after.version, 2, "a minority may be down");

    nodes[1].kill().await.unwrap();
    // What is left of a lease may still be used; it does not linger for long.
    let (started, mut version) = (std::time::Instant::now(), 2);
    let error = loop {
        match repository.change(Change::new(key, Operation::Lock, suite::quantity(1))).await {
            Ok(after) => version = after.version,
            Err(error) => break error,
        }
        assert!(started.elapsed() < Duration::from_secs(10), "nobody minds that the nodes are down");
    };
    assert_eq!(error.code(), "locks_unavailable", "{error:?}");
    assert_eq!(repository.get(key).await.unwrap().version, version);
}

/// The row is held by a transaction that outlives the lease, and the nodes are gone, so it cannot
/// be renewed. By the time the row is free the lease is somebody else's to take, and another one is
/// not to be had.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_ran_out_before_the_commit_writes_nothing() {
    let (nodes, backend) = tokio::join!(RedisServer::fleet(3), Backend::mariadb());
    let nodes = nodes.unwrap();
    let short = Redlock::builder()
        .nodes(nodes.iter().map(RedisServer::url))
        .ttl(Duration::from_millis(800))
        .restart_guard(RestartGuard::Off)
        .build()
        .unwrap();
    let repository = Redlocked::new(backend.leased.clone(), short).wait(Duration::from_secs(2));
    let key = suite::make(&repository, 10).await;
    let mut holder = backend.store.begin().await.unwrap();
    assert_eq!(holder.claim(&[key]).await.unwrap().len(), 1);

    let waiting = tokio::spawn({
        let repository = repository.clone();
        async move { repository.change(Change::new(key, Operation::Lock, suite::quantity(1))).await }
    });
    for node in &nodes {
        testkit::eventually(Duration::from_secs(10), || async { !node.keys("lock:*").await.is_empty() }).await;
    }
    for node in &nodes {
        node.kill().await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    holder.rollback().await;

    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "locks_unavailable", "{error:?}");
    assert!(repository.counters().lost > 0, "the lease was never lost");
    assert_eq!(repository.get(key).await.unwrap().version, 0, "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_lock_outlives_its_operation() {
    let (nodes, backend) = tokio::join!(RedisServer::fleet(3), Backend::sqlite());
    let nodes = nodes.unwrap();
    let repository = backend.redlocked(&locks(&nodes));
    let key = suite::make(repository.as_ref(), 10).await;
    for units in [1, 100] {
        let _ = repository.change(Change::new(key, Operation::Lock, suite::quantity(units))).await;
    }
    // A majority has confirmed the release; the last node may be a moment behind.
    testkit::eventually(Duration::from_secs(5), async || {
        let mut left = 0;
        for node in &nodes {
            left += node.keys("lock:*").await.len();
        }
        left == 0
    })
    .await;
}
