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
//! | `stock_leases_total` | counter | `repository`, `end` | leases that did not end for want of work: `yielded` so that other instances get their turn, `stale` (the row had seen a larger token), `lost` before a commit |
//! | `stock_alone_total` | counter | `repository` | times the requests of a record were taken out of a transaction, so that nobody else waits for its row |
//! | `stock_settled_total` | counter | `repository` | commits whose answer was lost, and whose outcome was found out |
//! | `stock_diverged_total` | counter | `repository` | records that were set apart because what was done to them in Redis does not follow from the database |
//! | `stock_overloaded_total` | counter | `repository` | requests refused because too many waited already |
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
    yielded: Counter,
    stale: Counter,
    lost: Counter,
    alone: Counter,
    settled: Counter,
    diverged: Counter,
    overloaded: Counter,
}

impl Meters {
    /// Meters labelled with the kind of repository, bound to the recorder that is installed by now.
    #[must_use]
    pub fn new(repository: &'static str) -> Self {
        let ended = |end: &'static str| counter!("stock_leases_total", "repository" => repository, "end" => end);
        Self {
            waits: histogram!("stock_wait_seconds", "repository" => repository),
            batches: histogram!("stock_batch_requests", "repository" => repository),
            commits: histogram!("stock_commit_seconds", "repository" => repository),
            conflicts: counter!("stock_conflicts_total", "repository" => repository),
            handovers: counter!("stock_handovers_total", "repository" => repository),
            yielded: ended("yielded"),
            stale: ended("stale"),
            lost: ended("lost"),
            alone: counter!("stock_alone_total", "repository" => repository),
            settled: counter!("stock_settled_total", "repository" => repository),
            diverged: counter!("stock_diverged_total", "repository" => repository),
            overloaded: counter!("stock_overloaded_total", "repository" => repository),
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
            yielded: Counter::noop(),
            stale: Counter::noop(),
            lost: Counter::noop(),
            alone: Counter::noop(),
            settled: Counter::noop(),
            diverged: Counter::noop(),
            overloaded: Counter::noop(),
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

    /// A lease was let go of although there was more to do, so that others get their turn.
    pub fn yielded(&self) {
        self.yielded.increment(1);
    }

    /// A lease's record had seen a larger token.
    pub fn stale(&self) {
        self.stale.increment(1);
    }

    /// A lease ended before a commit.
    pub fn lost(&self) {
        self.lost.increment(1);
    }

    /// Requests were taken out of a transaction, to be carried out alone.
    pub fn alone(&self) {
        self.alone.increment(1);
    }

    /// What has become of a commit was found out, although its answer was lost.
    pub fn settled(&self) {
        self.settled.increment(1);
    }

    /// A record was set apart, because it does not follow from the database.
    pub fn diverged(&self) {
        self.diverged.increment(1);
    }

    /// A request was refused because too many waited already.
    pub fn overloaded(&self) {
        self.overloaded.increment(1);
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}
