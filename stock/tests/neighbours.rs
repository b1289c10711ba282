//! Somebody without a lease has rows locked, as an instance with row locks that was stopped has: its own
//! records wait for it, and no others do.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/backends.rs"]
mod backends;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use backends::{Backend, sim_locks};
use stock::operation::{Operation, StockKey};
use stock::repository::{Redlocked, StockRepository, suite};
use stock::request::Change;
use testkit::{SqlServer, eventually};
use tokio::task::JoinSet;

/// How long a batch may stand still that meets the first locked row: the least that MySQL waits for a row, and it
/// looks at its clock once a second.
const FIRST: Duration = Duration::from_millis(2_500);

/// How long, once somebody is known to be there.
const LATER: Duration = Duration::from_millis(700);

const SOON: Duration = Duration::from_secs(20);

fn lock(key: StockKey) -> Change {
    Change::new(key, Operation::Lock, suite::quantity(1))
}

/// Changes records over and over, each by a client of its own, and keeps the time of the slowest change.
struct Rush {
    slowest: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

impl Rush {
    fn on(repository: &Redlocked, keys: &[StockKey]) -> Self {
        let (slowest, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut clients = JoinSet::new();
        for &key in keys {
            let (repository, slowest, over) = (repository.clone(), slowest.clone(), over.clone());
            clients.spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    let began = Instant::now();
                    repository.change(lock(key)).await.unwrap();
                    slowest.fetch_max(u64::try_from(began.elapsed().as_millis()).unwrap(), Ordering::SeqCst);
                }
            });
        }
        Self { slowest, over, clients }
    }

    /// The time of the slowest change since somebody asked.
    fn slowest(&self) -> Duration {
        Duration::from_millis(self.slowest.swap(0, Ordering::SeqCst))
    }

    async fn end(mut self) {
        self.over.store(true, Ordering::SeqCst);
        while let Some(client) = self.clients.join_next().await {
            client.unwrap();
        }
    }
}

async fn make(repository: &Redlocked, records: usize) -> Vec<StockKey> {
    let mut keys = Vec::new();
    for _ in 0..records {
        keys.push(suite::make(repository, 1_000_000).await);
    }
    keys
}

/// The rows are known, so that they are written without being looked at. One after the other gets stuck.
async fn known_rows_that_get_stuck_delay_themselves_only(backend: &Backend) {
    let repository = Redlocked::new(backend.leased.clone(), sim_locks());
    let (stuck, free) = (make(&repository, 3).await, make(&repository, 6).await);
    let (waiting, going) = (Rush::on(&repository, &stuck), Rush::on(&repository, &free));
    eventually(SOON, async || repository.counters().commits.count() > 20).await;
    going.slowest();
    let (mut holders, began) = (Vec::new(), Instant::now());
    for (number, key) in (1..).zip(&stuck) {
        let mut holder = backend.store.begin().await.unwrap();
        assert_eq!(holder.claim(&[*key]).await.unwrap().len(), 1);
        holders.push(holder);
        eventually(SOON, async || repository.counters().alone >= number).await;
        // What stood still with it is answered by now, or nearly.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let slowest = going.slowest();
        let bound = if number == 1 { FIRST } else { LATER };
        assert!(slowest < bound, "stuck row {number} of {} held up others for {slowest:?}", stuck.len());
    }
    // A stopped process has its rows for longer than a few waits for a row.
    while began.elapsed() < Duration::from_secs(7) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let slowest = going.slowest();
    assert!(slowest < LATER, "rows that stay stuck held up others for {slowest:?}");
    for holder in holders {
        holder.rollback().await;
    }
    waiting.end().await;
    going.end().await;
    for key in stuck.iter().chain(&free) {
        suite::explained(backend.store.as_ref(), *key).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_known_rows_that_get_stuck_on_mariadb() {
    known_rows_that_get_stuck_delay_themselves_only(&Backend::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_container_known_rows_that_get_stuck_on_mysql9() {
    let backend = Backend::on(SqlServer::container_mysql9().await.unwrap()).await;
    known_rows_that_get_stuck_delay_themselves_only(&backend).await;
}

/// More rows are stuck than there are places to wait; who does not have to wait needs none.
#[tokio::test(flavor = "multi_thread")]
async fn alone_many_stuck_rows_do_not_fill_every_place() {
    let backend = Backend::mariadb().await;
    let repository = Redlocked::new(backend.leased.clone(), sim_locks());
    let mut stuck = make(&repository, 40).await;
    stuck.sort_unstable();
    let mut holder = backend.store.begin().await.unwrap();
    assert_eq!(holder.claim(&stuck).await.unwrap().len(), stuck.len());
    let mut waiting = JoinSet::new();
    for key in stuck.clone() {
        let repository = repository.clone();
        waiting.spawn(async move { repository.change(lock(key)).await });
    }
    eventually(SOON, async || repository.counters().alone >= stuck.len() as u64).await;

    let began = Instant::now();
    let missing = repository.change(lock(suite::fresh_key())).await.unwrap_err();
    assert_eq!(missing.code(), "not_found", "{missing:?}");
    let took = began.elapsed();
    assert!(took < Duration::from_millis(1_500), "it took {took:?}");
    // A row that is let go of at once, and met while it was held: its turn comes after those who wait already, twelve
    // of them a second.
    let briefly = suite::make(&repository, 10).await;
    let mut other = backend.store.begin().await.unwrap();
    other.claim(&[briefly]).await.unwrap();
    let changed = tokio::spawn({
        let repository = repository.clone();
        async move { repository.change(lock(briefly)).await }
    });
    eventually(SOON, async || repository.counters().alone > stuck.len() as u64).await;
    other.rollback().await;
    changed.await.unwrap().unwrap();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "it took {took:?}");

    holder.rollback().await;
    while let Some(answer) = waiting.join_next().await {
        answer.unwrap().unwrap();
    }
    for key in stuck {
        assert_eq!(suite::explained(backend.store.as_ref(), key).await.log.entries, 1);
    }
}
