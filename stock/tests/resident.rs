//! The resident repository: the suite on each database, and everything that Redis and flushers can suffer.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/backends.rs"]
mod backends;
#[path = "resident/behind.rs"]
mod behind;
#[path = "resident/copies.rs"]
mod copies;
#[path = "resident/diverged.rs"]
mod diverged;
#[path = "resident/lease.rs"]
mod lease;
#[path = "resident/lives.rs"]
mod lives;
#[path = "resident/lost.rs"]
mod lost;
#[path = "resident/rules.rs"]
mod rules;
#[path = "support/settled.rs"]
mod settled;

use std::sync::Arc;
use std::time::Duration;

use backends::{Backend, locks_on, sim_locks, sim_nodes};
use redlock::Redlock;
use settled::Settled;
use stock::error::RepositoryError;
use stock::operation::{Operation, StockKey};
use stock::repository::resident::ResidentConfig;
use stock::repository::{Resident, StockRepository, suite};
use stock::request::{Change, Request, RequestId};
use stock::store::{PageSize, Store};
use testkit::{RedisServer, Reply, Restart, eventually};

const SOON: Duration = Duration::from_secs(20);

async fn open(backend: &Backend, redis: &RedisServer, locks: &Redlock) -> Arc<Resident> {
    let config = ResidentConfig::new(redis.url());
    Arc::new(Resident::open(backend.store.clone(), locks.clone(), config).await.unwrap())
}

fn as_repository(resident: &Arc<Resident>) -> Arc<dyn StockRepository> {
    resident.clone()
}

fn lock(key: StockKey, units: u64) -> Change {
    Change::new(key, Operation::Lock, suite::quantity(units))
}

fn hash(key: StockKey) -> String {
    format!("product_stock:resident:{}:{}", key.variant_id, key.warehouse_id)
}

/// The whole suite, by one instance and by three, against a store that is looked at only once everything
/// has been written back.
async fn the_suite_holds(backend: &Backend) {
    let redis = RedisServer::start().await.unwrap();
    let nodes = sim_nodes();
    let resident = open(backend, &redis, &locks_on(&nodes)).await;
    let store: Arc<dyn Store> = Arc::new(Settled::new(backend.store.clone(), resident.clone()));
    suite::check(as_repository(&resident), store.clone()).await;
    let (second, third) =
        (open(backend, &redis, &locks_on(&nodes)).await, open(backend, &redis, &locks_on(&nodes)).await);
    let all = [&resident, &second, &third].map(as_repository);
    suite::together(&all, store).await;
    for row in backend.store.residents(None, PageSize::default()).await.unwrap().items {
        assert!(resident.reconcile(row.record.key).await.unwrap().unwrap().agrees());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_on_sqlite() {
    the_suite_holds(&Backend::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_on_mariadb() {
    the_suite_holds(&Backend::shared().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn container_the_suite_on_mysql() {
    let server = testkit::SqlServer::container_mysql9().await.unwrap();
    the_suite_holds(&Backend::on(server).await).await;
}

/// Other repositories refuse a resident record and say what helps; released, it is everybody's.
#[tokio::test(flavor = "multi_thread")]
async fn others_refuse_a_resident_record_until_it_is_released() {
    for backend in [Backend::sqlite().await, Backend::shared().await] {
        let redis = RedisServer::start().await.unwrap();
        let resident = open(&backend, &redis, &sim_locks()).await;
        let key = suite::make(resident.as_ref(), 10).await;
        let before = Request::one(lock(key, 1)).id(RequestId::make());
        backend.row_lock().apply(before.clone()).await.unwrap();
        resident.change(lock(key, 3)).await.unwrap();
        for other in [backend.row_lock(), backend.redlocked(&sim_locks())] {
            // What was done before gets its answer again.
            assert!(other.apply(before.clone()).await.unwrap().replayed);
            let error = other.change(lock(key, 1)).await.unwrap_err();
            assert_eq!(error.code(), "resident", "{error:?}");
            assert!(error.to_string().contains("release"), "{error}");
        }
        assert!(resident.release(key).await.unwrap());
        assert!(!resident.release(key).await.unwrap());
        assert!(redis.keys(&hash(key)).await.is_empty());
        for other in [backend.row_lock(), backend.redlocked(&sim_locks())] {
            other.change(lock(key, 1)).await.unwrap();
        }
        // And it may come back, in a later epoch.
        let after = resident.change(lock(key, 1)).await.unwrap();
        assert_eq!((after.version, after.levels.locked()), (5, 7));
        assert_eq!(resident.release_all().await.unwrap(), 1);
        let audit = suite::explained(backend.store.as_ref(), key).await;
        assert_eq!(audit.record, after);
    }
}

/// Released again and again while two instances sell it: nothing is lost, nothing done twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_may_move_while_it_is_sold() {
    let (backend, redis) = (Backend::shared().await, RedisServer::start().await.unwrap());
    let nodes = sim_nodes();
    let both = [open(&backend, &redis, &locks_on(&nodes)).await, open(&backend, &redis, &locks_on(&nodes)).await];
    let key = suite::make(both[0].as_ref(), 1_000).await;
    let mut buyers = tokio::task::JoinSet::new();
    for number in 0..8 {
        let resident = both[number % 2].clone();
        buyers.spawn(async move {
            for _ in 0..40 {
                let request = Request::one(lock(key, 1)).id(RequestId::make());
                resident.apply(request.clone()).await.unwrap();
                assert!(resident.apply(request).await.unwrap().replayed);
            }
        });
    }
    for round in 0..10 {
        // A release that is overtaken by a buyer who takes the record back is one of the moves.
        if let Err(error) = both[round % 2].release(key).await {
            assert!(matches!(error, RepositoryError::Store(_) | RepositoryError::Overloaded), "{error:?}");
        }
    }
    buyers.join_all().await;
    both[0].settle(SOON).await.unwrap();
    let audit = suite::explained(backend.store.as_ref(), key).await;
    assert_eq!((audit.record.version, audit.record.levels.locked()), (320, 320));
}

/// Redis dies and comes back empty. What was written back stays; what was not is sold again; and nothing
/// is sold that the database does not have.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_redis_costs_what_was_not_written_back() {
    let (backend, redis) = (Backend::shared().await, RedisServer::start().await.unwrap());
    let nodes = sim_nodes();
    let resident = open(&backend, &redis, &locks_on(&nodes)).await;
    let key = suite::make(resident.as_ref(), 10).await;
    resident.change(lock(key, 4)).await.unwrap();
    resident.settle(SOON).await.unwrap();
    // Nobody writes back while somebody else has the lease.
    let other = flushers_kept_out(&redis).await;
    let unwritten = Request::one(lock(key, 3)).id(RequestId::make());
    resident.apply(unwritten.clone()).await.unwrap();
    redis.restart(Restart::Empty).await.unwrap();
    drop(other);
    let after = resident.change(lock(key, 6)).await.unwrap();
    assert_eq!((after.levels.available(), after.version), (0, 2), "the three are lost, the four are not");
    let error = resident.apply(unwritten).await.unwrap_err();
    assert_eq!(error.code(), "insufficient_stock", "it was lost, so it is decided anew: {error:?}");
    resident.settle(SOON).await.unwrap();
    assert_eq!(suite::explained(backend.store.as_ref(), key).await.record, after);
}

/// Redis dies and comes back with all its data: nothing is lost, although the record is loaded anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_with_its_data_costs_nothing() {
    let backend = Backend::shared().await;
    let redis = RedisServer::builder().persistent(true).start().await.unwrap();
    let nodes = sim_nodes();
    let resident = open(&backend, &redis, &locks_on(&nodes)).await;
    let key = suite::make(resident.as_ref(), 10).await;
    resident.change(lock(key, 4)).await.unwrap();
    resident.settle(SOON).await.unwrap();
    let epoch = backend.store.read(key).await.unwrap().unwrap().residence.unwrap().epoch;
    let other = flushers_kept_out(&redis).await;
    let unwritten = Request::one(lock(key, 3)).id(RequestId::make());
    let first = resident.apply(unwritten.clone()).await.unwrap();
    redis.restart(Restart::WithData).await.unwrap();
    drop(other);
    let again = resident.apply(unwritten).await.unwrap();
    assert_eq!(again.records, first.records);
    let after = resident.change(lock(key, 3)).await.unwrap();
    assert_eq!((after.levels.available(), after.version), (0, 3));
    let row = backend.store.read(key).await.unwrap().unwrap();
    assert_ne!(row.residence.unwrap().epoch, epoch, "{row:?}");
    resident.settle(SOON).await.unwrap();
    assert_eq!(suite::explained(backend.store.as_ref(), key).await.record, after);
}

/// A Redis that is restarted with data of long ago knows requests that have been written back since: they
/// are done once all the same, and the record goes on from what the database has.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_with_old_data_sells_nothing_twice() {
    let (backend, redis) = (Backend::shared().await, RedisServer::start().await.unwrap());
    let resident = open(&backend, &redis, &sim_locks()).await;
    let key = suite::make(resident.as_ref(), 10).await;
    resident.change(lock(key, 1)).await.unwrap();
    resident.settle(SOON).await.unwrap();
    let epoch = redis.command(&["HGET", &hash(key), "epoch"]).await.unwrap();
    let old: Vec<String> = match redis.command(&["HGETALL", &hash(key)]).await.unwrap() {
        Reply::List(items) => items.iter().filter_map(|item| item.text().map(str::to_owned)).collect(),
        other => panic!("{other:?}"),
    };
    let written = Request::one(lock(key, 5)).id(RequestId::make());
    let first = resident.apply(written.clone()).await.unwrap();
    resident.settle(SOON).await.unwrap();
    redis.restart(Restart::Empty).await.unwrap();
    let mut command = vec!["HSET".to_owned(), hash(key)];
    command.extend(old);
    redis.command(&command.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(redis.command(&["HGET", &hash(key), "epoch"]).await.unwrap(), epoch, "as it was");

    assert_eq!(resident.apply(written).await.unwrap().records, first.records);
    let error = resident.change(lock(key, 5)).await.unwrap_err();
    assert_eq!(error.code(), "insufficient_stock", "four are left: {error:?}");
    let after = resident.change(lock(key, 4)).await.unwrap();
    assert_eq!(after.version, 3);
    resident.settle(SOON).await.unwrap();
    assert_eq!(suite::explained(backend.store.as_ref(), key).await.record, after);
}

/// A flusher is gone after its commit and before it could say so in Redis: the next one does nothing twice.
/// Another is gone before its commit: the next one does it.
#[tokio::test(flavor = "multi_thread")]
async fn a_flusher_that_is_cut_short_writes_exactly_once() {
    for moment in ["resident-before-trim", "resident-before-commit"] {
        for backend in [Backend::sqlite().await, Backend::shared().await] {
            let redis = RedisServer::start().await.unwrap();
            let nodes = sim_nodes();
            let first = open(&backend, &redis, &locks_on(&nodes)).await;
            let key = suite::make(first.as_ref(), 100).await;
            fail::cfg(moment, "return").unwrap();
            for _ in 0..20 {
                first.change(lock(key, 1).order(suite::fresh_order())).await.unwrap();
            }
            if moment == "resident-before-trim" {
                let flushed = async || backend.store.read(key).await.unwrap().unwrap().record.version > 0;
                eventually(SOON, flushed).await;
            }
            assert!(!redis.keys("product_stock:resident:journal").await.is_empty());
            drop(first);
            fail::remove(moment);
            let second = open(&backend, &redis, &locks_on(&nodes)).await;
            let after = second.change(lock(key, 1)).await.unwrap();
            assert_eq!(after.version, 21);
            second.settle(SOON).await.unwrap();
            let audit = suite::explained(backend.store.as_ref(), key).await;
            assert_eq!((audit.record, audit.holds.locked), (after, 20));
            assert!(second.reconcile(key).await.unwrap().unwrap().agrees());
        }
    }
}

/// The same request before it is written back, after it, and after Redis has forgotten its id, by another
/// instance; and another request under the same id.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_known_wherever_it_is() {
    let (backend, redis) = (Backend::shared().await, RedisServer::start().await.unwrap());
    let nodes = sim_nodes();
    let (first, second) =
        (open(&backend, &redis, &locks_on(&nodes)).await, open(&backend, &redis, &locks_on(&nodes)).await);
    let key = suite::make(first.as_ref(), 10).await;
    first.change(lock(key, 1)).await.unwrap();
    first.settle(SOON).await.unwrap();
    let other = flushers_kept_out(&redis).await;
    let request = Request::one(lock(key, 5).order(suite::fresh_order())).id(RequestId::make());
    let answer = first.apply(request.clone()).await.unwrap();
    let check = async || {
        for resident in [&first, &second] {
            let again = resident.apply(request.clone()).await.unwrap();
            assert!(again.replayed);
            assert_eq!(again.records, answer.records);
            let different = Request::one(lock(key, 1)).id(request.request_id.clone().unwrap());
            assert_eq!(resident.apply(different).await.unwrap_err().code(), "request_conflict");
        }
    };
    check().await;
    drop(other);
    first.settle(SOON).await.unwrap();
    check().await;
    for forgotten in redis.keys("product_stock:resident:requests:*").await {
        redis.command(&["DEL", &forgotten]).await.unwrap();
    }
    check().await;
    assert_eq!(backend.store.read(key).await.unwrap().unwrap().record.version, 2);
}

/// Ids are forgotten between the look in the database and the call: the script wants another look.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_from_before_ids_were_forgotten_does_not_count() {
    let (backend, redis) = (Backend::sqlite().await, RedisServer::start().await.unwrap());
    let resident = open(&backend, &redis, &sim_locks()).await;
    let key = suite::make(resident.as_ref(), 10).await;
    let request = Request::one(lock(key, 1)).id(RequestId::make());
    resident.apply(request.clone()).await.unwrap();
    resident.settle(SOON).await.unwrap();
    // Two generations on, as if 400,000 others had come.
    redis.command(&["HSET", "product_stock:resident:state", "generation", "2"]).await.unwrap();
    assert!(resident.apply(request).await.unwrap().replayed);
    assert_eq!(resident.change(lock(key, 1)).await.unwrap().version, 2);
}

/// Units that were changed by hand, on either side, are found.
#[tokio::test(flavor = "multi_thread")]
async fn reconcile_finds_what_was_planted() {
    let (backend, redis) = (Backend::shared().await, RedisServer::start().await.unwrap());
    let nodes = sim_nodes();
    let resident = open(&backend, &redis, &locks_on(&nodes)).await;
    let (key, order) = (suite::make(resident.as_ref(), 10).await, suite::fresh_order());
    assert_eq!(resident.reconcile(key).await.unwrap(), None, "not resident yet");
    resident.change(lock(key, 2).order(order.clone())).await.unwrap();
    resident.settle(SOON).await.unwrap();
    let other = flushers_kept_out(&redis).await;
    resident.change(lock(key, 1).order(order.clone())).await.unwrap();
    let both = resident.reconcile(key).await.unwrap().unwrap();
    assert!(both.agrees(), "{both:?}");
    assert_eq!((both.pending, both.expected), (1, [7, 3, 0, 3, 0, 2]));

    let holds = hash(key) + ":holds";
    let plants: [(&str, &str, &str); 3] =
        [(&hash(key), "available_stock", "8"), (&hash(key), "version", "3"), (&holds, order.as_str(), "4 0 o -1 2")];
    for (place, field, value) in plants {
        let Reply::Text(before) = redis.command(&["HGET", place, field]).await.unwrap() else {
            panic!("nothing there")
        };
        redis.command(&["HSET", place, field, value]).await.unwrap();
        let both = resident.reconcile(key).await.unwrap().unwrap();
        assert!(!both.agrees(), "{field}: {both:?}");
        redis.command(&["HSET", place, field, std::str::from_utf8(&before).unwrap()]).await.unwrap();
    }
    assert!(resident.reconcile(key).await.unwrap().unwrap().agrees());
    drop(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_evicts_is_refused() {
    let backend = Backend::sqlite().await;
    let evicting = RedisServer::builder().arg("--maxmemory").arg("100mb");
    let redis = evicting.arg("--maxmemory-policy").arg("allkeys-lru").start().await.unwrap();
    let config = ResidentConfig::new(redis.url());
    let error = Resident::open(backend.store.clone(), sim_locks(), config).await.unwrap_err();
    assert_eq!(error.code(), "resident_unavailable");
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(why.contains("allkeys-lru") && why.contains("noeviction"), "{why}");
}

/// What waits to be written back is bounded, and closing writes it back.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_journal_is_overloaded_and_closing_empties_it() {
    let (backend, redis) = (Backend::sqlite().await, RedisServer::start().await.unwrap());
    let nodes = sim_nodes();
    let config = ResidentConfig::new(redis.url()).backlog(10);
    let resident = Resident::open(backend.store.clone(), locks_on(&nodes), config).await.unwrap();
    let key = suite::make(&resident, 100).await;
    let other = flushers_kept_out(&redis).await;
    for _ in 0..10 {
        resident.change(lock(key, 1)).await.unwrap();
    }
    let error = resident.change(lock(key, 1)).await.unwrap_err();
    assert_eq!(error.code(), "overloaded", "{error:?}");
    drop(other);
    resident.close(SOON).await.unwrap();
    assert_eq!(suite::explained(backend.store.as_ref(), key).await.record.version, 10);
}

/// Nobody writes back for as long as this lives.
struct KeptOut;

impl Drop for KeptOut {
    fn drop(&mut self) {
        fail::remove("resident-kept-out");
    }
}

/// Keeps the flushers of this process out, once they have nothing to do.
async fn flushers_kept_out(redis: &RedisServer) -> KeptOut {
    eventually(SOON, async || redis_is_idle(redis).await).await;
    fail::cfg("resident-kept-out", "return").unwrap();
    KeptOut
}

async fn redis_is_idle(redis: &RedisServer) -> bool {
    matches!(redis.command(&["XLEN", "product_stock:resident:journal"]).await, Ok(Reply::Int(0)))
}
