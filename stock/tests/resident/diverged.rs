//! A record that does not follow from the database is set apart: everything else goes on, nothing of it is lost
//! before somebody has decided, and whoever decides is told what it costs.

use std::sync::Arc;
use std::time::Duration;

use stock::operation::{Operation, StockKey};
use stock::repository::resident::{Diverged, KeptChange};
use stock::repository::{Resident, StockRepository, suite};
use stock::request::{Change, Request, RequestId};
use testkit::{RedisServer, Reply, Restart, eventually};

use crate::backends::{Backend, locks_on, sim_nodes};
use crate::{SOON, flushers_kept_out, lock, open};

/// Two records with changes that wait to be written back, of which the database is changed by hand meanwhile.
struct Scene {
    backend: Backend,
    _redis: RedisServer,
    resident: Arc<Resident>,
    /// Changed by hand.
    bad: StockKey,
    good: StockKey,
    /// Locks three of `bad`, then one of each.
    requests: [Request; 2],
}

impl Scene {
    async fn new(sql: &str) -> Self {
        let (backend, redis, nodes) = (Backend::shared().await, RedisServer::start().await.unwrap(), sim_nodes());
        let resident = open(&backend, &redis, &locks_on(&nodes)).await;
        let (bad, good) = (suite::make(resident.as_ref(), 10).await, suite::make(resident.as_ref(), 10).await);
        for key in [bad, good] {
            resident.change(lock(key, 1)).await.unwrap();
        }
        resident.settle(SOON).await.unwrap();
        let other = flushers_kept_out(&redis).await;
        let both = Request::batch(vec![lock(bad, 1), lock(good, 1)]);
        let requests = [Request::one(lock(bad, 3)), both].map(|request| request.id(RequestId::make()));
        for request in &requests {
            resident.apply(request.clone()).await.unwrap();
        }
        resident.change(lock(good, 2)).await.unwrap();
        let scene = Self { backend, _redis: redis, resident, bad, good, requests };
        scene.by_hand(sql).await;
        drop(other);
        scene.resident.settle(SOON).await.unwrap();
        scene
    }

    async fn by_hand(&self, sql: &str) {
        let sql = format!("UPDATE product_stocks SET {sql} WHERE variant_id = {}", self.bad.variant_id);
        self.backend.by_hand(&sql).await;
    }

    /// What is kept of the bad record, and why.
    async fn diverged(&self) -> Diverged {
        let mut all = self.resident.diverged().await.unwrap();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    async fn version(&self, key: StockKey) -> u64 {
        self.backend.store.read(key).await.unwrap().unwrap().record.version
    }

    /// The good one is written back and sold on; the bad one is neither sold nor shown.
    async fn is_set_apart(&self) {
        let units = self.backend.store.read(self.good).await.unwrap().unwrap().record;
        assert_eq!((units.version, units.levels.locked()), (3, 4), "the others are written back");
        for _ in 0..2 {
            let error = self.resident.change(lock(self.bad, 1)).await.unwrap_err();
            assert_eq!(error.code(), "resident_diverged", "{error:?}");
        }
        let error = self.resident.get(self.bad).await.unwrap_err();
        assert_eq!(error.code(), "resident_diverged", "{error:?}");
        self.resident.change(lock(self.good, 1)).await.unwrap();
        self.resident.settle(SOON).await.unwrap();
        assert_eq!(suite::explained(self.backend.store.as_ref(), self.good).await.record.version, 4);
        let (first, both) = (self.kept(0, 3), self.kept(1, 1));
        let found = self.diverged().await;
        assert_eq!((found.key, &found.kept), (self.bad, &vec![first, both]), "{found:?}");
    }

    fn kept(&self, request: usize, units: u64) -> KeptChange {
        let request_id = self.requests[request].request_id.clone().unwrap();
        KeptChange { request_id, change: Change::new(self.bad, Operation::Lock, suite::quantity(units)) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_does_not_follow_stops_nobody_else_and_is_discarded_knowingly() {
    let scene = Scene::new("version = version + 1").await;
    scene.is_set_apart().await;
    for _ in 0..2 {
        let error = scene.resident.reload(scene.bad, false).await.unwrap_err();
        assert_eq!(error.code(), "resident_diverged", "{error:?}");
    }
    let error = scene.resident.release(scene.bad).await.unwrap_err();
    assert_eq!(error.code(), "resident_diverged", "{error:?}");
    assert_eq!(scene.diverged().await.kept.len(), 2, "nothing has changed");

    let reloaded = scene.resident.reload(scene.bad, true).await.unwrap();
    assert_eq!((reloaded.written, reloaded.lost), (0, vec![scene.kept(0, 3), scene.kept(1, 1)]));
    assert!(scene.resident.diverged().await.unwrap().is_empty());
    // It goes on from what the database has, and what was lost may be done anew.
    let answer = scene.resident.apply(scene.requests[0].clone()).await.unwrap();
    let record = answer.records[0];
    assert_eq!((answer.replayed, record.version, record.levels.locked()), (false, 3, 4));
    // Of this one the other half is in the log.
    let error = scene.resident.apply(scene.requests[1].clone()).await.unwrap_err();
    assert_eq!(error.code(), "request_conflict", "{error:?}");
    scene.resident.settle(SOON).await.unwrap();
    assert_eq!(scene.version(scene.bad).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_mended_gets_what_was_kept() {
    let scene = Scene::new("stock = stock + 1, available_stock = available_stock + 1").await;
    scene.is_set_apart().await;
    scene.by_hand("stock = stock - 1, available_stock = available_stock - 1").await;
    let reloaded = scene.resident.reload(scene.bad, false).await.unwrap();
    assert_eq!((reloaded.written, reloaded.lost.len()), (2, 0));
    let after = scene.resident.change(lock(scene.bad, 5)).await.unwrap();
    assert_eq!((after.version, after.levels.available()), (4, 0));
    scene.resident.settle(SOON).await.unwrap();
    assert_eq!(suite::explained(scene.backend.store.as_ref(), scene.bad).await.record, after);
    assert!(scene.resident.apply(scene.requests[0].clone()).await.unwrap().replayed);
}

/// The row says that it has been written back, and the log does not have it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_in_the_log_is_not_passed_by() {
    let scene = Scene::new("resident_sequence = 3").await;
    scene.is_set_apart().await;
    let reloaded = scene.resident.reload(scene.bad, true).await.unwrap();
    assert_eq!(reloaded.lost.len(), 2, "{reloaded:?}");
}

/// Somebody has thrown the journal away: levels are not loaded over what it said.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_gone_is_noticed() {
    let (backend, nodes) = (Backend::sqlite().await, sim_nodes());
    let redis = RedisServer::builder().persistent(true).start().await.unwrap();
    let resident = open(&backend, &redis, &locks_on(&nodes)).await;
    let key = suite::make(resident.as_ref(), 10).await;
    resident.change(lock(key, 1)).await.unwrap();
    resident.settle(SOON).await.unwrap();
    let other = flushers_kept_out(&redis).await;
    resident.change(lock(key, 4)).await.unwrap();
    redis.command(&["XTRIM", "product_stock:resident:journal", "MAXLEN", "0"]).await.unwrap();
    redis.restart(Restart::WithData).await.unwrap();
    drop(other);
    let error = resident.change(lock(key, 1)).await.unwrap_err();
    assert_eq!(error.code(), "resident_diverged", "{error:?}");
    resident.reload(key, true).await.unwrap();
    let after = resident.change(lock(key, 1)).await.unwrap();
    assert_eq!((after.version, after.levels.locked()), (2, 2), "the four are lost, and somebody has said so");
}

/// What nobody can read holds everything up, for a later version may be able to; removed by hand, it costs the record
/// that it was about, and nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_cannot_be_read_waits_until_it_is_removed() {
    const JOURNAL: &str = "product_stock:resident:journal";
    let (backend, redis, nodes) = (Backend::sqlite().await, RedisServer::start().await.unwrap(), sim_nodes());
    let resident = open(&backend, &redis, &locks_on(&nodes)).await;
    let (bad, good) = (suite::make(resident.as_ref(), 10).await, suite::make(resident.as_ref(), 10).await);
    let version = async |key| backend.store.read(key).await.unwrap().unwrap().record.version;
    for key in [bad, good] {
        resident.change(lock(key, 1)).await.unwrap();
    }
    resident.settle(SOON).await.unwrap();
    let other = flushers_kept_out(&redis).await;
    resident.change(lock(bad, 1)).await.unwrap();
    redis.command(&["XTRIM", JOURNAL, "MAXLEN", "0"]).await.unwrap();
    let Reply::Text(unread) = redis.command(&["XADD", JOURNAL, "*", "of", "a later version"]).await.unwrap() else {
        panic!("the stream takes it")
    };
    resident.change(lock(bad, 1)).await.unwrap();
    resident.change(lock(good, 1)).await.unwrap();
    drop(other);
    let error = resident.settle(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!((error.code(), version(good).await), ("overloaded", 1), "{error:?}");
    redis.command(&["XDEL", JOURNAL, std::str::from_utf8(&unread).unwrap()]).await.unwrap();
    resident.settle(SOON).await.unwrap();
    assert_eq!((version(good).await, version(bad).await), (2, 1));
    let diverged = resident.diverged().await.unwrap();
    assert_eq!(diverged.iter().map(|diverged| diverged.key).collect::<Vec<_>>(), [bad]);
}

/// With one record that does not follow, a flusher that comes anew passes it by, and so does the other instance.
#[tokio::test(flavor = "multi_thread")]
async fn another_instance_knows_it_too() {
    let scene = Scene::new("version = version + 1").await;
    let nodes = sim_nodes();
    let other = open(&scene.backend, &scene._redis, &locks_on(&nodes)).await;
    let error = other.change(lock(scene.bad, 1)).await.unwrap_err();
    assert_eq!(error.code(), "resident_diverged", "{error:?}");
    other.change(lock(scene.good, 1)).await.unwrap();
    eventually(SOON, async || scene.version(scene.good).await == 4).await;
    other.reload(scene.bad, true).await.unwrap();
    scene.resident.change(lock(scene.bad, 1)).await.unwrap();
}
