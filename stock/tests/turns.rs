//! Several instances want one record all the time: each of them gets its turns.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/backends.rs"]
mod backends;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use backends::{Backend, leased, locks};
use stock::operation::{Operation, StockKey};
use stock::repository::{Redlocked, StockRepository, suite};
use stock::request::Change;
use testkit::RedisServer;
use tokio::task::JoinSet;

const RUSH: Duration = Duration::from_secs(4);
const INSTANCES: u64 = 4;
const CLIENTS: usize = 16;

/// How many changes each of the instances has made.
async fn rush(repositories: &[Redlocked], key: StockKey) -> Vec<u64> {
    let until = Instant::now() + RUSH;
    let mut clients = JoinSet::new();
    let mut counts = Vec::new();
    for repository in repositories {
        let count = Arc::new(AtomicU64::new(0));
        counts.push(count.clone());
        for _ in 0..CLIENTS {
            let (repository, count) = (repository.clone(), count.clone());
            clients.spawn(async move {
                while Instant::now() < until {
                    let change = Change::new(key, Operation::Lock, suite::quantity(1));
                    repository.change(change).await.unwrap();
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    }
    clients.join_all().await;
    counts.iter().map(|count| count.load(Ordering::Relaxed)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_no_instance_starves() {
    let backend = Backend::mariadb().await;
    let nodes = RedisServer::fleet(5).await.unwrap();
    let mut repositories = Vec::new();
    for _ in 0..INSTANCES {
        // Each has connections and a lock manager of its own, as processes have.
        repositories.push(Redlocked::new(leased(&backend.url).await, locks(&nodes)));
    }
    let key = suite::make(&repositories[0], 10_000_000).await;
    let counts = rush(&repositories, key).await;
    let all: u64 = counts.iter().sum();
    assert_eq!(suite::explained(backend.store.as_ref(), key).await.log.entries, all);
    let least = counts.iter().min().unwrap();
    assert!(least * INSTANCES * 2 >= all, "less than half of an even share: {counts:?}");
}
