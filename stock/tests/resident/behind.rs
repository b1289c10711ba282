//! Where the database may be behind: what waits, and for how long at most.

use std::sync::Arc;
use std::time::Duration;

use redlock::{Redlock, SimNode};
use stock::operation::StockKey;
use stock::repository::resident::ResidentConfig;
use stock::repository::{Resident, StockRepository, suite};
use stock::store::PageSize;
use testkit::{RedisServer, eventually};

use crate::backends::{Backend, locks_on, sim_nodes};
use crate::{SOON, lock};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3_600);

/// A database and a Redis, for instances that may be ahead of the database.
struct Place {
    backend: Backend,
    redis: RedisServer,
    nodes: Vec<SimNode>,
}

impl Place {
    async fn new() -> Self {
        Self { backend: Backend::sqlite().await, redis: RedisServer::start().await.unwrap(), nodes: sim_nodes() }
    }

    async fn open(&self, lag: Duration, backlog: u64) -> Arc<Resident> {
        let config = ResidentConfig::new(self.redis.url()).lag(lag).backlog(backlog);
        let locks: Redlock = locks_on(&self.nodes);
        Arc::new(Resident::open(self.backend.store.clone(), locks, config).await.unwrap())
    }

    /// How many changes the database has.
    async fn written(&self, key: StockKey) -> u64 {
        self.backend.store.read(key).await.unwrap().unwrap().record.version
    }
}

/// Sells so many units, one after another.
async fn sell(resident: &Resident, key: StockKey, units: u64) {
    for _ in 0..units {
        resident.change(lock(key, 1)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_asks_for_waits() {
    let place = Place::new().await;
    let resident = place.open(LONG, 1_000).await;
    let key = suite::make(resident.as_ref(), 1_000).await;
    // Many times as long as it takes to write one back.
    sell(&resident, key, 50).await;
    // To look whether it is there asks for nothing.
    resident.ping().await.unwrap();
    sell(&resident, key, 50).await;
    assert_eq!(place.written(key).await, 0);
    assert_eq!(resident.get(key).await.unwrap().version, 100);
    let logs = resident.logs(key, None, PageSize::default()).await.unwrap();
    assert_eq!(logs.items[0].entry.version, 100);
    sell(&resident, key, 1).await;
    assert_eq!(place.written(key).await, 100);
    resident.finish(SOON).await.unwrap();
    assert_eq!(place.written(key).await, 101);
    assert!(resident.reconcile(key).await.unwrap().unwrap().agrees());
}

/// Nobody keeps the flushers' lease while nothing is to be done.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_asked_writes_it_back() {
    let place = Place::new().await;
    let (first, second) = (place.open(LONG, 1_000).await, place.open(LONG, 1_000).await);
    let key = suite::make(first.as_ref(), 10).await;
    sell(&first, key, 1).await;
    first.settle(SOON).await.unwrap();
    for units in 2..5 {
        sell(&second, key, 1).await;
        second.settle(SOON).await.unwrap();
        assert_eq!(place.written(key).await, units);
    }
    assert!(second.release(key).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_what_may_wait_is_too_much() {
    let place = Place::new().await;
    let resident = place.open(LONG, 20).await;
    let key = suite::make(resident.as_ref(), 100).await;
    sell(&resident, key, 9).await;
    assert_eq!(place.written(key).await, 0);
    sell(&resident, key, 1).await;
    eventually(SOON, async || place.written(key).await == 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_waits_longer_than_it_may() {
    let place = Place::new().await;
    let resident = place.open(Duration::from_millis(300), 1_000).await;
    let key = suite::make(resident.as_ref(), 100).await;
    sell(&resident, key, 1).await;
    eventually(SOON, async || place.written(key).await == 1).await;
}
