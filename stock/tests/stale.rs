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
use stock::config::LEASE;
use stock::log::Discrepancy;
use stock::operation::{Operation, StockKey};
use stock::repository::{StockRepository, suite};
use stock::request::{Change, Request};
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

/// All is written, the row is locked, and there is no lease.
const ROW_LOCK_WRITTEN: &str = "row-lock-written";

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
async fn watch(repository: Arc<dyn StockRepository>, key: StockKey, over: Arc<AtomicBool>) -> Duration {
    let mut slowest = Duration::ZERO;
    while !over.load(Ordering::SeqCst) {
        let began = Instant::now();
        repository.change(Change::new(key, Operation::Lock, suite::quantity(1))).await.unwrap();
        slowest = slowest.max(began.elapsed());
    }
    slowest
}

async fn a_stopped_holder_harms_nothing(backend: &Backend, moment: &str) {
    stopped_with(backend, moment, 1).await;
}

/// It is stopped with a request over so many records.
async fn stopped_with(backend: &Backend, moment: &str, records: usize) {
    let nodes = RedisServer::fleet(3).await.unwrap();
    let nodes = urls(&nodes);
    let other = worker::repository(&backend.url, &nodes).await;
    let holder = Worker::start(&backend.url, &nodes, None).await;
    others_take_over(backend, holder, Arc::new(other.clone()), (moment, records), TTL).await;
    other.close().await;
}

async fn others_take_over(
    backend: &Backend,
    mut holder: Worker,
    other: Arc<dyn StockRepository>,
    (moment, records): (&str, usize),
    lease: Duration,
) {
    let (mut keys, elsewhere) = (Vec::new(), suite::make(other.as_ref(), 1_000_000).await);
    for _ in 0..records {
        keys.push(suite::make(other.as_ref(), 1_000).await);
    }
    holder.lock(&keys, moment, 500).await;
    holder.stopped().await;

    let stopped = Instant::now();
    let over = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn(watch(other.clone(), elsewhere, over.clone()));
    let changes = keys.iter().map(|key| Change::new(*key, Operation::Lock, suite::quantity(100))).collect();
    other.apply(Request::batch(changes)).await.unwrap();
    let took = stopped.elapsed();
    assert!(took < lease + GRACE, "it took {took:?} to take over");
    over.store(true, Ordering::SeqCst);
    let slowest = watching.await.unwrap();
    assert!(slowest < NO_STALL, "another record stalled for {slowest:?}");

    holder.resume();
    let locked = holder.locked().await;
    for key in keys {
        let audit = suite::explained(backend.store.as_ref(), key).await;
        assert_eq!(audit.record.levels.locked(), locked + 100, "nothing is lost, nothing is doubled");
        assert_eq!(audit.log.entries, locked + 1);
    }
}

/// The older holder comes between the newer one's reading and its writing.
async fn the_older_comes_between(backend: &Backend, planted: Option<&str>) -> Result<(), Discrepancy> {
    let nodes = RedisServer::fleet(3).await.unwrap();
    let nodes = urls(&nodes);
    let key = suite::make(backend.row_lock().as_ref(), 1_000).await;
    let mut older = Worker::start(&backend.url, &nodes, planted).await;
    let mut newer = Worker::start(&backend.url, &nodes, planted).await;
    older.lock(&[key], NEXT_BATCH, 500).await;
    older.stopped().await;
    newer.lock(&[key], CLAIMED, 500).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn alone_stopped_with_a_request_over_several_records_on_mariadb() {
    let backend = Backend::mariadb().await;
    for moment in [BEFORE_CLAIM, WRITTEN] {
        stopped_with(&backend, moment, 3).await;
    }
}

/// Without a lease there is none to wait for: the server ends the session as soon as that of a lease.
#[tokio::test(flavor = "multi_thread")]
async fn alone_stopped_with_row_locks_as_in_production_on_mariadb() {
    let backend = Backend::mariadb().await;
    let holder = Worker::with_row_locks(&backend.url).await;
    others_take_over(&backend, holder, backend.row_lock(), (ROW_LOCK_WRITTEN, 2), LEASE).await;
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
async fn alone_comparing_the_fence_at_write_time_only_is_caught() {
    let backend = Backend::mariadb().await;
    // On a slow machine the server may end the session of whoever stands still before the other is done.
    for _ in 0..3 {
        if the_older_comes_between(&backend, Some(FENCE_AT_WRITE_ONLY)).await.is_err() {
            return;
        }
    }
    panic!("nobody has noticed");
}
