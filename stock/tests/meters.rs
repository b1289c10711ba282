//! What contention looks like from outside: every meter of a repository, read as Prometheus reads it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/backends.rs"]
mod backends;

use std::collections::HashMap;
use std::time::Duration;

use backends::{Backend, locks_on, sim_nodes};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use stock::operation::{Operation, StockKey};
use stock::repository::{Redlocked, StockRepository, suite};
use stock::request::Change;
use testkit::eventually;
use tokio::task::JoinSet;

const SOON: Duration = Duration::from_secs(20);

/// How long somebody else holds a row.
const HELD: Duration = Duration::from_millis(900);

fn lock(key: StockKey, units: u64) -> Change {
    Change::new(key, Operation::Lock, suite::quantity(units))
}

/// The figures of one kind of repository.
struct Figures {
    handle: PrometheusHandle,
    repository: &'static str,
    before: HashMap<String, f64>,
}

impl Figures {
    fn of(handle: &PrometheusHandle, repository: &'static str) -> Self {
        let figures = Self { handle: handle.clone(), repository, before: HashMap::new() };
        Self { before: figures.all(), ..figures }
    }

    fn all(&self) -> HashMap<String, f64> {
        let label = format!("repository=\"{}\"", self.repository);
        let text = self.handle.render();
        let lines = text.lines().filter(|line| line.contains(&label) && !line.contains("quantile="));
        let figure = |line: &str| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.replace(&label, "").replace("{,", "{").replace(",}", "}").replace("{}", ""), value.parse().unwrap())
        };
        lines.map(figure).collect()
    }

    /// By how much it has grown.
    fn grown(&self, name: &str) -> f64 {
        let all = self.all();
        let now = all.get(name).unwrap_or_else(|| panic!("there is no {name} in {all:?}"));
        now - self.before.get(name).copied().unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_row_locks_tell_waits_commits_and_conflicts() {
    let handle = PrometheusBuilder::new().install_recorder().unwrap();
    let backend = Backend::mariadb().await;
    let repository = backend.row_lock();
    let key = suite::make(repository.as_ref(), 100).await;
    let figures = Figures::of(&handle, "row-lock");
    let mut holder = backend.store.begin().await.unwrap();
    holder.claim(&[key]).await.unwrap();
    let waiting = tokio::spawn({
        let repository = repository.clone();
        async move { repository.change(lock(key, 1)).await }
    });
    tokio::time::sleep(HELD).await;
    holder.rollback().await;
    waiting.await.unwrap().unwrap();
    assert!(figures.grown("stock_wait_seconds_sum") > HELD.as_secs_f64() / 2.0);
    assert_eq!(figures.grown("stock_wait_seconds_count"), 1.0);
    assert_eq!(figures.grown("stock_commit_seconds_count"), 1.0);
    assert!(figures.grown("stock_commit_seconds_sum") < HELD.as_secs_f64() / 2.0, "a wait is no commit");
    repository.change(lock(key, 1_000)).await.unwrap_err();
    assert_eq!(figures.grown("stock_commit_seconds_count"), 1.0, "what is refused is not committed");
    assert_eq!(figures.grown("stock_conflicts_total"), 0.0);

    let mut holder = backend.store.begin().await.unwrap();
    holder.claim(&[key]).await.unwrap();
    let waiting = tokio::spawn(async move { repository.change(lock(key, 1)).await });
    eventually(SOON, async || figures.grown("stock_conflicts_total") >= 1.0).await;
    holder.rollback().await;
    waiting.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_redlock_tells_waits_batches_commits_and_what_becomes_of_leases() {
    let handle = PrometheusBuilder::new().install_recorder().unwrap();
    let backend = Backend::mariadb().await;
    let repository = Redlocked::new(backend.leased.clone(), locks_on(&sim_nodes()));
    let key = suite::make(&repository, 1_000_000).await;
    let figures = Figures::of(&handle, "redlock");
    rush(&repository, key).await;
    let requests = figures.grown("stock_batch_requests_sum");
    assert_eq!(requests, 1_600.0);
    assert_eq!(figures.grown("stock_wait_seconds_count"), requests, "each of them has waited once");
    let commits = figures.grown("stock_commit_seconds_count");
    assert_eq!(figures.grown("stock_batch_requests_count"), commits);
    assert!(commits * 4.0 < requests, "{commits} transactions for {requests} requests");
    let hand_overs = figures.grown("stock_handovers_total");
    assert!(hand_overs > 0.0 && hand_overs < commits, "{hand_overs} of {commits}: a new lease has handed nothing over");
    let counted = repository.counters();
    assert_eq!(figures.grown("stock_leases_total{end=\"yielded\"}"), counted.hand_overs as f64);
    assert_eq!(counted.commits.count() as f64, commits);

    repository.change(lock(key, 1 << 50)).await.unwrap_err();
    assert_eq!(figures.grown("stock_commit_seconds_count"), commits, "what is refused is not committed");
    assert_eq!(figures.grown("stock_batch_requests_sum"), requests);
    held_row(&backend, &repository, key, &figures).await;
    stale_lease(&backend, &repository, key, &figures).await;
    assert_eq!(figures.grown("stock_leases_total{end=\"lost\"}"), 0.0);
    assert_eq!(figures.grown("stock_settled_total"), 0.0);
    assert_eq!(figures.grown("stock_overloaded_total"), 0.0);
}

/// 32 clients ask for 50 units each.
async fn rush(repository: &Redlocked, key: StockKey) {
    let mut clients = JoinSet::new();
    for _ in 0..32 {
        let repository = repository.clone();
        clients.spawn(async move {
            for _ in 0..50 {
                repository.change(lock(key, 1)).await.unwrap();
            }
        });
    }
    clients.join_all().await;
}

/// Waiting for somebody's row is a wait, and no part of the commit.
async fn held_row(backend: &Backend, repository: &Redlocked, key: StockKey, figures: &Figures) {
    let figures = Figures::of(&figures.handle, figures.repository);
    let mut holder = backend.store.begin().await.unwrap();
    holder.claim(&[key]).await.unwrap();
    let waiting = tokio::spawn({
        let repository = repository.clone();
        async move { repository.change(lock(key, 1)).await }
    });
    eventually(SOON, async || figures.grown("stock_alone_total") >= 1.0).await;
    tokio::time::sleep(HELD).await;
    holder.rollback().await;
    waiting.await.unwrap().unwrap();
    assert!(figures.grown("stock_conflicts_total") >= 1.0);
    assert_eq!(figures.grown("stock_commit_seconds_count"), 1.0);
    assert!(figures.grown("stock_commit_seconds_sum") < HELD.as_secs_f64() / 2.0, "a wait is no commit");
    assert_eq!(figures.grown("stock_wait_seconds_count"), 1.0);
}

/// The row has seen a larger token.
async fn stale_lease(backend: &Backend, repository: &Redlocked, key: StockKey, figures: &Figures) {
    // The lease lingers, and its row is known: it has to end first.
    eventually(SOON, async || {
        let ahead =
            format!("UPDATE product_stocks SET fence = fence + 100000000 WHERE variant_id = {}", key.variant_id);
        backend.by_hand(&ahead).await;
        repository.change(lock(key, 1)).await.unwrap();
        figures.grown("stock_leases_total{end=\"stale\"}") >= 1.0
    })
    .await;
}
