//! Many requests in one transaction: nobody waits for somebody else's trouble, and whoever goes away
//! takes nothing along.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/backends.rs"]
mod backends;

use std::sync::Arc;
use std::time::{Duration, Instant};

use backends::{Backend, leased, locks_on, migrated, sim_locks, sim_nodes};
use stock::error::RepositoryError;
use stock::operation::{Operation, StockKey};
use stock::repository::{Redlocked, RowLock, StockRepository, suite};
use stock::request::{Change, Request};

const CLIENTS: usize = 32;

fn lock(key: StockKey, units: u64) -> Change {
    Change::new(key, Operation::Lock, suite::quantity(units))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_together_is_committed_together() {
    let backend = Backend::mariadb().await;
    let repository = Redlocked::new(backend.leased.clone(), sim_locks());
    let key = suite::make(&repository, 1_000_000).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let repository = repository.clone();
        clients.spawn(async move {
            for _ in 0..20 {
                repository.change(lock(key, 1)).await.unwrap();
            }
        });
    }
    clients.join_all().await;
    let counted = repository.counters();
    let (requests, transactions) = (counted.requests.sum, counted.requests.count());
    assert_eq!(requests, 20 * CLIENTS as u64);
    assert!(transactions * 4 < requests, "{transactions} transactions for {requests} requests");
    assert_eq!(suite::explained(backend.store.as_ref(), key).await.log.entries, requests);
}

/// Somebody without a lease has the row locked. Others go on meanwhile, and it is done when it is free.
#[tokio::test(flavor = "multi_thread")]
async fn alone_a_locked_row_delays_nobody_else() {
    let backend = Backend::mariadb().await;
    let repository = Redlocked::new(backend.leased.clone(), sim_locks());
    let (blocked, free) = (suite::make(&repository, 10).await, suite::make(&repository, 1_000).await);
    let mut holder = backend.store.begin().await.unwrap();
    holder.claim(&[blocked]).await.unwrap();
    let mut waiting: Vec<_> = (0..3)
        .map(|_| {
            let repository = repository.clone();
            tokio::spawn(async move { repository.change(lock(blocked, 1)).await })
        })
        .collect();
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        let began = Instant::now();
        repository.change(lock(free, 1)).await.unwrap();
        assert!(began.elapsed() < Duration::from_millis(800), "it took {:?}", began.elapsed());
    }
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()), "the row is locked");
    holder.rollback().await;
    for waiting in waiting.drain(..) {
        waiting.await.unwrap().unwrap();
    }
    assert_eq!(suite::explained(backend.store.as_ref(), blocked).await.record.levels.locked(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_goes_on_when_its_caller_is_gone() {
    let backend = Backend::sqlite().await;
    let redlock = sim_locks();
    let repository = Redlocked::new(backend.leased.clone(), redlock.clone());
    let key = suite::make(&repository, 10).await;
    let others = redlock.lock(key.lock_key()).await.unwrap();
    let caller = repository.clone();
    let gone = tokio::time::timeout(Duration::from_millis(100), caller.change(lock(key, 1))).await;
    assert!(gone.is_err(), "somebody else had the lock");
    others.release().await.unwrap();
    let is_done = async || backend.store.read(key).await.unwrap().unwrap().record.version == 1;
    testkit::eventually(Duration::from_secs(5), is_done).await;
}

/// A batch takes one lease over all its records, also over those whose leases linger.
#[tokio::test(flavor = "multi_thread")]
async fn alone_a_batch_and_its_records_do_not_wait_for_each_other() {
    let backend = Backend::sqlite().await;
    let repository = Redlocked::new(backend.leased.clone(), sim_locks());
    let keys = [suite::make(&repository, 1_000).await, suite::make(&repository, 1_000).await];
    let began = Instant::now();
    for _ in 0..10 {
        repository.change(lock(keys[0], 1)).await.unwrap();
        repository.change(lock(keys[1], 1)).await.unwrap();
        repository.apply(Request::batch(keys.map(|key| lock(key, 1)).to_vec())).await.unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    for key in keys {
        assert_eq!(suite::explained(backend.store.as_ref(), key).await.record.levels.locked(), 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_finishes_and_releases() {
    let backend = Backend::sqlite().await;
    let nodes = sim_nodes();
    let repository = Redlocked::new(backend.leased.clone(), locks_on(&nodes));
    let key = suite::make(&repository, 1_000).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let repository = repository.clone();
        clients.spawn(async move { repository.change(lock(key, 1)).await });
    }
    testkit::eventually(Duration::from_secs(5), async || repository.counters().waits.count() > 0).await;
    repository.close().await;
    assert!(nodes.iter().filter(|node| node.is_empty()).count() > 2, "a majority holds nothing any more");
    let answers = clients.join_all().await;
    let done = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    assert!(answers.iter().flat_map(|answer| answer.as_ref().err()).all(|error| error.code() == "overloaded"));
    assert_eq!(suite::explained(backend.store.as_ref(), key).await.record.version, done);
    assert_eq!(repository.change(lock(key, 1)).await.unwrap_err().code(), "overloaded");
}

/// Instances of both kinds come and go while others work on the same records, of which there are a few units only: two
/// at once would sell the same one.
async fn instances_of_both_kinds_come_and_go(backend: &Backend) {
    let nodes = sim_nodes();
    let keys =
        [suite::make(backend.row_lock().as_ref(), FEW).await, suite::make(backend.row_lock().as_ref(), FEW).await];
    let mut places = tokio::task::JoinSet::new();
    for place in 0..3_usize {
        let (url, nodes) = (backend.url.clone(), nodes.clone());
        places.spawn(async move {
            let mut told = Told::default();
            for life in 0..4 {
                let is_row_lock = (place + life) % 3 == 0;
                let store = if is_row_lock { migrated(&url).await } else { leased(&url).await };
                let redlocked = Redlocked::new(store.clone(), locks_on(&nodes));
                let repository: Arc<dyn StockRepository> =
                    if is_row_lock { Arc::new(RowLock::new(store.clone())) } else { Arc::new(redlocked.clone()) };
                told.add(&work_for_a_while(&repository, keys).await);
                redlocked.close().await;
                store.close().await;
            }
            told
        });
    }
    let mut told = Told::default();
    while let Some(place) = places.join_next().await {
        told.add(&place.unwrap());
    }
    assert!(told.sold > FEW && told.refused > FEW, "there was enough for everybody: {told:?}");
    let (mut left, mut deducted) = (0, 0);
    for key in keys {
        let audit = suite::explained(backend.store.as_ref(), key).await;
        assert_eq!((audit.record.levels.locked(), audit.record.levels.reserved()), (0, 0), "all of it was settled");
        left += audit.record.levels.available();
        deducted += audit.log.deducted;
    }
    assert_eq!(deducted, told.sold, "what was answered is what happened");
    assert_eq!(left, 2 * FEW + told.received - told.sold, "nothing was sold twice, nothing was lost");
}

/// How many units there are of a record.
const FEW: u64 = 6;

/// What clients were told.
#[derive(Debug, Default)]
struct Told {
    sold: u64,
    received: u64,
    refused: u64,
}

impl Told {
    fn add(&mut self, other: &Self) {
        self.sold += other.sold;
        self.received += other.received;
        self.refused += other.refused;
    }
}

/// Eight clients buy one unit of one record, the other, or both.
async fn work_for_a_while(repository: &Arc<dyn StockRepository>, keys: [StockKey; 2]) -> Told {
    let until = Instant::now() + Duration::from_millis(500);
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..8_usize {
        let (repository, mut turn) = (repository.clone(), client);
        let keys = if client == 0 { keys.to_vec() } else { vec![keys[client % 2]] };
        clients.spawn(async move {
            let mut told = Told::default();
            while Instant::now() < until {
                turn += 1;
                told.add(&buy(repository.as_ref(), &keys, turn % 3 == 0).await);
            }
            told
        });
    }
    let mut told = Told::default();
    while let Some(client) = clients.join_next().await {
        told.add(&client.unwrap());
    }
    told
}

/// What was bought is put back, or sold on; then as much is received.
async fn buy(repository: &dyn StockRepository, keys: &[StockKey], puts_back: bool) -> Told {
    let all = async |operation| {
        let changes = keys.iter().map(|key| Change::new(*key, operation, suite::quantity(1)));
        repository.apply(Request::batch(changes.collect())).await
    };
    match all(Operation::Lock).await {
        Ok(_) => {}
        Err(RepositoryError::Refused(_)) => return Told { refused: 1, ..Told::default() },
        Err(error) => panic!("{error:?}"),
    }
    if puts_back {
        all(Operation::Unlock).await.unwrap();
        return Told::default();
    }
    for operation in [Operation::Reserve, Operation::Deduct, Operation::Add] {
        all(operation).await.unwrap();
    }
    let units = keys.len() as u64;
    Told { sold: units, received: units, refused: 0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_of_both_kinds_come_and_go_on_mariadb() {
    instances_of_both_kinds_come_and_go(&Backend::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn container_instances_of_both_kinds_come_and_go_on_mysql9() {
    let backend = Backend::on(testkit::SqlServer::container_mysql9().await.unwrap()).await;
    instances_of_both_kinds_come_and_go(&backend).await;
}
