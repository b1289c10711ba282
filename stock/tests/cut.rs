//! Connections to the database are cut at any moment, the one between COMMIT and its answer included.
//! Whoever gets an answer can rely on it, and nothing is carried out twice.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/backends.rs"]
mod backends;

use std::sync::Arc;
use std::time::{Duration, Instant};

use backends::{Backend, sim_locks};
use stock::operation::{Operation, StockKey};
use stock::repository::{Redlocked, RowLock, StockRepository, suite};
use stock::request::{Change, Request, RequestId};
use stock::store::{self, Access, Store, Writers};
use testkit::Proxy;

const CLIENTS: usize = 8;

/// How long connections are cut.
const LASTS: Duration = Duration::from_secs(4);

/// What one client was told: how many units it has locked, and the requests nobody knows about.
async fn lock_for_a_while(repository: Arc<dyn StockRepository>, key: StockKey, with_id: bool) -> (u64, Vec<RequestId>) {
    let (mut locked, mut unknown) = (0, Vec::new());
    let until = Instant::now() + LASTS;
    while Instant::now() < until {
        let mut request = Request::one(Change::new(key, Operation::Lock, suite::quantity(1)));
        request.request_id = with_id.then(RequestId::make);
        match repository.apply(request).await {
            Ok(answer) => {
                assert!(!answer.replayed, "it was asked for once");
                locked += 1;
            }
            Err(stock::error::RepositoryError::OutcomeUnknown { request_id, .. }) => unknown.push(request_id),
            // Known not to have happened.
            Err(error) => assert!(["store_unavailable", "store_conflict"].contains(&error.code()), "{error:?}"),
        }
    }
    (locked, unknown)
}

async fn answers_hold(writers: Writers, over: impl Fn(Arc<dyn Store>) -> Arc<dyn StockRepository>, with_id: bool) {
    let backend = Backend::mariadb().await;
    let proxy = Proxy::start(backend.server().addr()).await;
    let direct = backend.server().port().to_string();
    let url = backend.url.replace(&direct, &proxy.addr().port().to_string());
    let access = Access { writers, ..Access::default() };
    let repository = over(store::open_with(&url.parse().unwrap(), access).await.unwrap());
    let key = suite::make(repository.as_ref(), 1_000_000).await;
    let clients = (0..CLIENTS).map(|_| tokio::spawn(lock_for_a_while(repository.clone(), key, with_id)));
    let clients: Vec<_> = clients.collect();
    let until = Instant::now() + LASTS;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(rand::random_range(10..150))).await;
        proxy.reset_connections();
    }
    let (mut locked, mut unknown) = (0, Vec::new());
    for client in clients {
        let told = client.await.unwrap();
        locked += told.0;
        unknown.extend(told.1);
    }
    assert!(locked > 0, "nothing was ever answered");
    // Asked again under the same id, also these have one outcome.
    for request_id in unknown {
        let lock = Change::new(key, Operation::Lock, suite::quantity(1));
        backend.row_lock().apply(Request::one(lock).id(request_id)).await.unwrap();
        locked += 1;
    }
    let audit = suite::explained(backend.store.as_ref(), key).await;
    assert_eq!(audit.record.levels.locked(), locked, "what was answered is what happened");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_lock_answers_hold_without_ids() {
    answers_hold(Writers::Queue, |store| Arc::new(RowLock::new(store)), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_lock_answers_hold_with_ids() {
    answers_hold(Writers::Queue, |store| Arc::new(RowLock::new(store)), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redlock_answers_hold_without_ids() {
    answers_hold(Writers::HoldLeases, |store| Arc::new(Redlocked::new(store, sim_locks())), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redlock_answers_hold_with_ids() {
    answers_hold(Writers::HoldLeases, |store| Arc::new(Redlocked::new(store, sim_locks())), true).await;
}
