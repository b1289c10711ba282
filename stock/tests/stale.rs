//! A process that holds a lease is stopped beyond its end, at the worst moments, and goes on when
//! somebody else has taken over: it writes nothing over what has been written since, and what it was
//! asked for is done once all the same.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/backends.rs"]
mod backends;
#[path = "support/worker.rs"]
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use backends::Backend;
use stock::log::Discrepancy;
use stock::operation::{Operation, StockKey};
use stock::repository::{Redlocked, StockRepository, suite};
use stock::request::Change;
use stock::store;
use testkit::{RedisServer, SqlServer};
use worker::{TTL, Worker, urls};

/// The lease is taken, the row has not been seen.
const BEFORE_CLAIM: &str = "redlocked-before-claim";

/// The row is claimed, and another batch is to go out under the same lease.
const NEXT_BATCH: &str = "redlocked-next-batch";

/// All is written, the row is locked, the lease has not been looked at.
const WRITTEN: &str = "redlocked-written";

/// All is written, the row is locked, and the lease was found to be good.
const BEFORE_COMMIT: &str = "redlocked-before-commit";

/// Rows have been read for a new lease.
const CLAIMED: &str = "redlocked-claimed";

/// The bug: tokens are compared when a row is written, and nothing else is.
const FENCE_AT_WRITE_ONLY: &str = "redlocked-fence-at-write-only";

/// How much longer than its lease a stopped process may keep others from its record.
const GRACE: Duration = Duration::from_secs(3);

/// The longest that anybody may wait for another record meanwhile, on a busy machine.
const NO_STALL: Duration = Duration::from_secs(1);

/// The process of the tests below; nothing in itself.
#[tokio::test(flavor = "multi_thread")]
async fn worker() {
    worker::work().await;
}

/// Changes another record over and over, and tells how long the slowest change took.
async fn watch(repository: Redlocked, key: StockKey, over: Arc<AtomicBool>) -> Duration {
    let mut slowest = Duration::ZERO;
    while !over.load(Ordering::SeqCst) {
        let began = Instant::now();
        repository.change(Change::new(key, Operation::Lock, suite::quantity(1))).await.unwrap();
        slowest = slowest.max(began.elapsed());
    }
    slowest
}

async fn a_stopped_holder_harms_nothing(backend: &Backend, moment: &str) {
    let nodes = RedisServer::fleet(3).await.unwrap();
    let nodes = urls(&nodes);
    let other = worker::repository(&backend.url, &nodes).await;
    let (key, elsewhere) = (suite::make(&other, 1_000).await, suite::make(&other, 1_000_000).await);
    let mut holder = Worker::start(&backend.url, &nodes, None).await;
    holder.lock(key, moment, 500).await;
    holder.stopped().await;

    let stopped = Instant::now();
    let over = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn(watch(other.clone(), elsewhere, over.clone()));
    other.change(Change::new(key, Operation::Lock, suite::quantity(100))).await.unwrap();
    let took = stopped.elapsed();
    assert!(took < TTL + GRACE, "it took {took:?} to take over");
    over.store(true, Ordering::SeqCst);
    let slowest = watching.await.unwrap();
    assert!(slowest < NO_STALL, "another record stalled for {slowest:?}");

    holder.resume();
    let locked = holder.locked().await;
    let audit = suite::explained(backend.store.as_ref(), key).await;
    assert_eq!(audit.record.levels.locked(), locked + 100, "nothing is lost, nothing is doubled");
    assert_eq!(audit.log.entries, locked + 1);
    other.close().await;
}

/// The older holder comes between the newer one's reading and its writing.
async fn the_older_comes_between(backend: &Backend, planted: Option<&str>) -> Result<(), Discrepancy> {
    let nodes = RedisServer::fleet(3).await.unwrap();
    let nodes = urls(&nodes);
    let key = suite::make(backend.row_lock().as_ref(), 1_000).await;
    let mut older = Worker::start(&backend.url, &nodes, planted).await;
    let mut newer = Worker::start(&backend.url, &nodes, planted).await;
    older.lock(key, NEXT_BATCH, 500).await;
    older.stopped().await;
    newer.lock(key, CLAIMED, 500).await;
    newer.stopped().await;

    older.resume();
    // Without the bug it waits for the newer one's row, and longer than this.
    let patience = Duration::from_secs(if planted.is_some() { 30 } else { 1 });
    let early = tokio::time::timeout(patience, older.locked()).await;
    assert_eq!(early.is_ok(), planted.is_some(), "{early:?}");
    newer.resume();
    let second = newer.locked().await;
    let first = match early {
        Ok(first) => first,
        Err(_) => older.locked().await,
    };
    let audit = store::audit(backend.store.as_ref(), key).await.unwrap().unwrap();
    audit.reconcile()?;
    assert_eq!(audit.record.levels.locked(), first + second);
    Ok(())
}

async fn mysql9() -> Backend {
    Backend::on(SqlServer::container_mysql9().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_stopped_before_the_claim_on_mariadb() {
    a_stopped_holder_harms_nothing(&Backend::mariadb().await, BEFORE_CLAIM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_stopped_before_the_next_batch_on_mariadb() {
    a_stopped_holder_harms_nothing(&Backend::mariadb().await, NEXT_BATCH).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_stopped_inside_the_transaction_on_mariadb() {
    let backend = Backend::mariadb().await;
    a_stopped_holder_harms_nothing(&backend, WRITTEN).await;
    a_stopped_holder_harms_nothing(&backend, BEFORE_COMMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_container_stopped_anywhere_on_mysql9() {
    let backend = mysql9().await;
    for moment in [BEFORE_CLAIM, NEXT_BATCH, WRITTEN, BEFORE_COMMIT] {
        a_stopped_holder_harms_nothing(&backend, moment).await;
    }
}

/// A file has one writer at a time, so nobody may be stopped in a transaction; before it they may.
#[tokio::test(flavor = "multi_thread")]
async fn alone_stopped_outside_of_transactions_on_sqlite() {
    let backend = Backend::sqlite().await;
    for moment in [BEFORE_CLAIM, NEXT_BATCH] {
        a_stopped_holder_harms_nothing(&backend, moment).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_holder_between_reading_and_writing_is_turned_away() {
    the_older_comes_between(&Backend::mariadb().await, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn comparing_the_fence_at_write_time_only_is_caught() {
    let caught = the_older_comes_between(&Backend::mariadb().await, Some(FENCE_AT_WRITE_ONLY)).await;
    assert!(caught.is_err(), "nobody has noticed");
}
