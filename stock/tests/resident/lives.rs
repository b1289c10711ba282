//! A record's lives in Redis are told apart: whatever belongs to one that is over is not taken for the present one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use stock::repository::resident::ResidentConfig;
use stock::repository::{Resident, StockRepository, suite};
use stock::request::{Request, RequestId};
use testkit::{RedisServer, Reply, Restart, eventually};

use crate::backends::{Backend, locks_on, sim_nodes};
use crate::{SOON, flushers_kept_out, hash, lock, open};

/// Levels that were put into Redis by a load which was rolled back arrive late: nothing is sold from them.
#[tokio::test(flavor = "multi_thread")]
async fn levels_of_a_load_that_was_rolled_back_are_not_served() {
    let (backend, redis, nodes) = (Backend::shared().await, RedisServer::start().await.unwrap(), sim_nodes());
    let config = ResidentConfig::new(redis.url()).patience(Duration::from_millis(100));
    let hasty = Resident::open(backend.store.clone(), locks_on(&nodes), config).await.unwrap();
    let key = suite::make(&hasty, 10).await;
    fail::cfg("resident-loaded", "return").unwrap();
    hasty.change(lock(key, 1)).await.unwrap_err();
    fail::remove("resident-loaded");
    let late = fields(&redis, &hash(key)).await;

    let resident = open(&backend, &redis, &locks_on(&nodes)).await;
    resident.change(lock(key, 4)).await.unwrap();
    resident.settle(SOON).await.unwrap();
    let mut put = vec!["HSET".to_owned(), hash(key)];
    put.extend(late);
    redis.command(&["DEL", &hash(key)]).await.unwrap();
    redis.command(&put.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap();

    let after = resident.change(lock(key, 6)).await.unwrap();
    assert_eq!((after.version, after.levels.available()), (2, 0), "it goes on from what was sold");
    resident.settle(SOON).await.unwrap();
    assert_eq!(suite::explained(backend.store.as_ref(), key).await.record, after);
}

/// The server comes back with files of before: what it does not know of has been written back since. Sales go on
/// from there, what its journal has was done already, and requests are known wherever they are.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_restored_from_old_files_goes_on_from_the_database() {
    let (backend, nodes) = (Backend::shared().await, sim_nodes());
    let redis = RedisServer::builder().persistent(true).start().await.unwrap();
    let resident = open(&backend, &redis, &locks_on(&nodes)).await;
    let key = suite::make(resident.as_ref(), 10).await;
    resident.change(lock(key, 1)).await.unwrap();
    resident.settle(SOON).await.unwrap();
    let other = flushers_kept_out(&redis).await;
    let pending = Request::one(lock(key, 2)).id(RequestId::make());
    let first = resident.apply(pending.clone()).await.unwrap();
    let folder = folder(&redis).await;
    let copy = tempfile::tempdir().unwrap();
    copy_all(&folder.join("appendonlydir"), copy.path());
    drop(other);
    let written = Request::one(lock(key, 3)).id(RequestId::make());
    let second = resident.apply(written.clone()).await.unwrap();
    resident.settle(SOON).await.unwrap();

    redis.kill().await.unwrap();
    std::fs::remove_dir_all(folder.join("appendonlydir")).unwrap();
    copy_all(copy.path(), &folder.join("appendonlydir"));
    redis.restart(Restart::WithData).await.unwrap();
    let Reply::Text(version) = redis.command(&["HGET", &hash(key), "version"]).await.unwrap() else { panic!() };
    assert_eq!(version, b"2", "it is behind");

    assert_eq!(resident.apply(written).await.unwrap().records, second.records);
    assert_eq!(resident.apply(pending).await.unwrap().records, first.records);
    let error = resident.change(lock(key, 5)).await.unwrap_err();
    assert_eq!(error.code(), "insufficient_stock", "four are left: {error:?}");
    let after = resident.change(lock(key, 4)).await.unwrap();
    resident.settle(SOON).await.unwrap();
    let audit = suite::explained(backend.store.as_ref(), key).await;
    assert_eq!((audit.record, audit.log.entries), (after, 4));
    assert!(resident.diverged().await.unwrap().is_empty());
    assert!(resident.reconcile(key).await.unwrap().unwrap().agrees());
}

/// Many changes of one record wait to be written back; one that is new here need not wait for them.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_has_nothing_pending_waits_for_nobody() {
    let (backend, redis, nodes) = (Backend::sqlite().await, RedisServer::start().await.unwrap(), sim_nodes());
    let resident = open(&backend, &redis, &locks_on(&nodes)).await;
    let (busy, cold) = (suite::make(resident.as_ref(), 10).await, suite::make(resident.as_ref(), 10).await);
    resident.change(lock(busy, 1)).await.unwrap();
    resident.settle(SOON).await.unwrap();
    let other = flushers_kept_out(&redis).await;
    resident.change(lock(busy, 1)).await.unwrap();
    let soon = Duration::from_secs(3);
    tokio::time::timeout(soon, resident.change(lock(cold, 1))).await.unwrap().unwrap();
    let logs = resident.logs(suite::fresh_key(), None, stock::store::PageSize::default());
    assert!(tokio::time::timeout(soon, logs).await.unwrap().unwrap().items.is_empty());
    drop(other);
    resident.settle(SOON).await.unwrap();
}

/// An instance that has never had to do with a record, and does not write back itself, waits for what another has
/// sold of it.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_sees_what_another_instance_has_sold() {
    let (backend, redis, nodes) = (Backend::shared().await, RedisServer::start().await.unwrap(), sim_nodes());
    let seller = open(&backend, &redis, &locks_on(&nodes)).await;
    let asker = open(&backend, &redis, &sim_stopped()).await;
    let (key, order) = (suite::make(seller.as_ref(), 100).await, suite::fresh_order());
    for number in 1..=20 {
        seller.change(lock(key, 1).order(order.clone())).await.unwrap();
        let newest = asker.logs(key, None, stock::store::PageSize::clamped(1)).await.unwrap().items.remove(0);
        assert_eq!(newest.entry.version, number);
        let hold = asker.holds(&order, None, stock::store::PageSize::default()).await.unwrap().items.remove(0);
        assert_eq!(hold.held.locked, number);
    }
    asker.settle(SOON).await.unwrap();
    eventually(SOON, async || asker.reconcile(key).await.unwrap().unwrap().pending == 0).await;
}

/// Locks that nobody gets.
fn sim_stopped() -> redlock::Redlock {
    let nodes = sim_nodes();
    nodes.iter().for_each(redlock::SimNode::stop);
    locks_on(&nodes)
}

async fn fields(redis: &RedisServer, key: &str) -> Vec<String> {
    match redis.command(&["HGETALL", key]).await.unwrap() {
        Reply::List(items) => items.iter().filter_map(|item| item.text().map(str::to_owned)).collect(),
        other => panic!("{other:?}"),
    }
}

async fn folder(redis: &RedisServer) -> PathBuf {
    match redis.command(&["CONFIG", "GET", "dir"]).await.unwrap() {
        Reply::List(items) => items[1].text().unwrap().into(),
        other => panic!("{other:?}"),
    }
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}
