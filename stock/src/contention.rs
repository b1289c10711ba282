//! Contention made visible: what callers wait for, counted and timed through the `metrics` facade.
//!
//! Nothing here decides anything. A program that wants the figures installs a recorder before it makes
//! repositories, caches and sweepers; without one, all of it costs next to nothing.
//!
//! | name | kind | labels | what it says |
//! |---|---|---|---|
//! | `stock_wait_seconds` | histogram | `repository` | time until nobody was in the way: for the row, or for the lease |
//! | `stock_batch_requests` | histogram | `repository` | requests carried out in one transaction |
//! | `stock_commit_seconds` | histogram | `repository` | time from COMMIT to its answer |
//! | `stock_conflicts_total` | counter | `repository` | transactions given up because of other writers, and tried again |
//! | `stock_handovers_total` | counter | `repository` | times a lease went on to the next batch without a round |
//! | `stock_cache_reads_total` | counter | `level`: `local`, `redis`, `database` | reads by the level that answered |
//! | `stock_cache_writes_total` | counter | `outcome`: `written`, `older`, `dropped` | records brought to Redis, refused there because it knew a newer one, or given up |
//! | `stock_cache_invalidations_total` | counter | | hints of other instances that were heard |
//! | `stock_cache_connected` | gauge | | 1 while Redis answers and its hints are heard, else 0 |
//! | `stock_sweeps_total` | counter | `outcome`: `done`, `elsewhere`, `lost`, `failed` | passes over expired holds; `elsewhere` is another instance's turn |
//! | `stock_swept_holds_total` | counter | `outcome`: `expired`, `changed`, `failed` | expired holds, by what became of them |

use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};

/// What a repository reports, under its own label. Cheap to clone.
#[derive(Clone)]
pub struct Meters {
    waits: Histogram,
    batches: Histogram,
    commits: Histogram,
    conflicts: Counter,
    handovers: Counter,
}

impl Meters {
    /// Meters labelled with the kind of repository, bound to the recorder that is installed by now.
    #[must_use]
    pub fn new(repository: &'static str) -> Self {
        Self {
            waits: histogram!("stock_wait_seconds", "repository" => repository),
            batches: histogram!("stock_batch_requests", "repository" => repository),
            commits: histogram!("stock_commit_seconds", "repository" => repository),
            conflicts: counter!("stock_conflicts_total", "repository" => repository),
            handovers: counter!("stock_handovers_total", "repository" => repository),
        }
    }

    /// Meters that nobody reads.
    #[must_use]
    pub fn none() -> Self {
        Self {
            waits: Histogram::noop(),
            batches: Histogram::noop(),
            commits: Histogram::noop(),
            conflicts: Counter::noop(),
            handovers: Counter::noop(),
        }
    }

    /// Somebody had to wait so long for others.
    pub fn waited(&self, time: Duration) {
        self.waits.record(time.as_secs_f64());
    }

    /// So many requests are carried out in one transaction.
    pub fn batch(&self, requests: usize) {
        // Exact far beyond any batch there can be.
        self.batches.record(u32::try_from(requests).unwrap_or(u32::MAX));
    }

    /// A commit was answered after so long.
    pub fn committed(&self, time: Duration) {
        self.commits.record(time.as_secs_f64());
    }

    /// A transaction was given up because of other writers.
    pub fn conflicted(&self) {
        self.conflicts.increment(1);
    }

    /// A lease was used again for the next batch.
    pub fn handed_over(&self) {
        self.handovers.increment(1);
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}
