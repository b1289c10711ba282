//! What the repository's callers and the task beside them have in common.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, counter};

use super::flights::Flights;
use super::local::Local;
use super::pending::{Errand, Pending};
use super::remote::Remote;
use super::{Hits, Level, Settings};

/// Both levels, and what is under way between them.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) local: Local,
    /// None where no Redis is configured.
    pub(super) remote: Option<Remote>,
    pub(super) pending: Pending,
    pub(super) flights: Flights,
    reads: [Reads; 3],
}

/// Reads that a level has answered.
struct Reads {
    count: AtomicU64,
    counter: Counter,
}

impl Shared {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            local: Local::new(settings),
            remote: settings.redis.is_some().then(|| Remote::new(settings)),
            pending: Pending::default(),
            flights: Flights::default(),
            reads: Level::ALL.map(|level| Reads {
                count: AtomicU64::new(0),
                counter: counter!("stock_cache_reads_total", "level" => level.name()),
            }),
        }
    }

    /// Counts a read.
    pub(super) fn answered(&self, level: Level) {
        let reads = &self.reads[level as usize];
        reads.count.fetch_add(1, Ordering::Relaxed);
        reads.counter.increment(1);
    }

    pub(super) fn hits(&self) -> Hits {
        let [local, redis, database] = self.reads.each_ref().map(|reads| reads.count.load(Ordering::Relaxed));
        Hits { local, redis, database }
    }

    /// Has something done in Redis, soon.
    pub(super) fn send(&self, errand: Errand) {
        if self.remote.is_some() && !self.pending.add(errand) {
            counter!("stock_cache_writes_total", "outcome" => "dropped").increment(1);
        }
    }

    /// The generation has risen: nothing that was known before counts.
    pub(super) fn start_over(&self) {
        tracing::info!("the cache was cleared");
        self.local.start_over();
        self.pending.clear();
    }
}

impl std::fmt::Debug for Reads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.count.fmt(f)
    }
}
