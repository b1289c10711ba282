//! Two instances of the resident repository, each a process, on one Redis and one database: one of them is killed or
//! stopped while it writes back, and the other goes on. Nothing is lost, nothing is written twice.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/backends.rs"]
mod backends;
#[path = "support/seller.rs"]
mod seller;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use backends::Backend;
use seller::{Fate, Place, Seller, TTL};
use stock::operation::StockKey;
use stock::repository::{StockRepository, suite};
use stock::request::RequestId;
use testkit::{RedisServer, eventually};

/// Everything is written, and the rows are locked.
const WRITTEN: &str = "resident-before-commit";

/// It is in the database, and the journal in Redis still has it.
const COMMITTED: &str = "resident-before-trim";

const SOON: Duration = Duration::from_secs(30);

/// How much longer than the lease it may take until somebody else writes back.
const GRACE: Duration = Duration::from_secs(4);

/// The process of the tests below; nothing in itself.
#[tokio::test(flavor = "multi_thread")]
async fn seller_process() {
    seller::work().await;
}

/// A database, a Redis that is the lock node too, a record, and two sellers, of whom the first writes back.
struct Scene {
    backend: Backend,
    _redis: RedisServer,
    place: Place,
    key: StockKey,
    first: Seller,
    second: Seller,
}

impl Scene {
    async fn new() -> Self {
        let (backend, redis) = (Backend::mariadb().await, RedisServer::start().await.unwrap());
        let place = Place { database: backend.url.clone(), redis: redis.url() };
        let key = suite::make(backend.row_lock().as_ref(), 1_000_000).await;
        let mut first = Seller::start(&place).await;
        first.sell(key).await;
        let written = async || backend.store.read(key).await.unwrap().unwrap().record.version > 0;
        eventually(SOON, written).await;
        let mut second = Seller::start(&place).await;
        second.sell(key).await;
        Self { backend, _redis: redis, place, key, first, second }
    }

    async fn written(&self) -> u64 {
        self.backend.store.read(self.key).await.unwrap().unwrap().record.version
    }

    /// Somebody has written back more than there is now, soon after the lease of the one before is over.
    async fn is_taken_over(&self) {
        let (since, before) = (Instant::now(), self.written().await);
        eventually(SOON, async || self.written().await > before).await;
        assert!(since.elapsed() < TTL + GRACE, "it took {:?}", since.elapsed());
    }

    /// All is written back, and it is what was answered; those who were killed may have had so many more under way.
    async fn adds_up(mut self, in_flight: usize) {
        let mut answered = self.first.end().await;
        answered.extend(self.second.end().await);
        assert!(answered.len() > 100, "{} answers are not a sale", answered.len());
        let resident = self.place.open().await;
        resident.settle(SOON).await.unwrap();
        let audit = suite::explained(self.backend.store.as_ref(), self.key).await;
        let entries = usize::try_from(audit.log.entries).unwrap();
        assert_eq!(audit.record.levels.locked(), audit.log.entries, "one unit each");
        let found = self.logged(&answered).await;
        assert_eq!(found.len(), answered.len(), "each answer is in the log once");
        assert_eq!(found.into_iter().collect::<HashSet<_>>().len(), answered.len());
        let more = entries.checked_sub(answered.len()).expect("no answer is lost");
        assert!(more <= in_flight, "{more} changes that nobody was told of");
        assert_eq!(resident.get(self.key).await.unwrap(), audit.record);
        assert!(resident.reconcile(self.key).await.unwrap().unwrap().agrees());
        assert!(resident.diverged().await.unwrap().is_empty());
        resident.close(SOON).await.unwrap();
    }

    async fn logged(&self, ids: &[RequestId]) -> Vec<RequestId> {
        let mut found = Vec::new();
        for some in ids.chunks(500) {
            let entries = self.backend.store.find_requests(some).await.unwrap();
            found.extend(entries.into_iter().map(|entry| entry.request_id));
        }
        found
    }
}

async fn killed_at(moment: &str) {
    let mut scene = Scene::new().await;
    scene.first.meet(moment, Fate::Killed).await;
    scene.first.has_met().await;
    scene.is_taken_over().await;
    scene.adds_up(seller::CLIENTS).await;
}

async fn stopped_at(moment: &str) {
    let mut scene = Scene::new().await;
    scene.first.meet(moment, Fate::Stopped).await;
    scene.first.has_met().await;
    scene.is_taken_over().await;
    scene.first.resume();
    // It notices that the lease is no longer its own, and sells on.
    let before = scene.written().await;
    eventually(SOON, async || scene.written().await > before + 100).await;
    scene.adds_up(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_a_flusher_is_killed_inside_its_transaction() {
    killed_at(WRITTEN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_a_flusher_is_killed_between_its_commit_and_the_journal() {
    killed_at(COMMITTED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_a_flusher_is_stopped_inside_its_transaction_beyond_its_lease() {
    stopped_at(WRITTEN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_a_flusher_is_stopped_between_its_commit_and_the_journal_beyond_its_lease() {
    stopped_at(COMMITTED).await;
}
