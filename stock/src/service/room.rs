//! What the control room shows: how the instance and its lock nodes are, once a second.
//!
//! One task looks, whoever watches: a hundred screens cost the nodes no more than one. It keeps what it saw last,
//! and nothing else.

pub(super) mod nodes;
mod routes;
mod snapshot;

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::gauge;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::nodes::Watch;
pub(super) use self::routes::router;
use self::snapshot::{Batches, Cache, Lease, Operations, Snapshot};
use super::answer::Record;
use super::recorder;
use crate::assembly::Instance;
use crate::cache::{Hits, Level};
use crate::repository::redlocked::counters::Snapshot as Counted;

/// How often it looks.
const TICK: Duration = Duration::from_secs(1);

/// How many leases and records are shown.
const SHOWN: usize = 50;

/// Most leases that are counted.
const COUNTED: usize = 100_000;

/// What was seen last.
#[derive(Debug, Clone)]
pub(super) struct Room {
    seen: watch::Receiver<Arc<Snapshot>>,
    /// Whether its visitors may hurt lock nodes.
    is_open: bool,
}

impl Room {
    /// Starts looking, until `closing`.
    pub(super) fn open(instance: Arc<Instance>, is_open: bool, closing: CancellationToken) -> Self {
        let mut observer = Observer::new(instance, is_open);
        let (teller, seen) = watch::channel(Arc::new(observer.look()));
        tokio::spawn(async move {
            let watching = async {
                let mut ticks = tokio::time::interval(TICK);
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                loop {
                    ticks.tick().await;
                    observer.nodes.look().await;
                    teller.send_replace(Arc::new(observer.look()));
                    recorder::upkeep();
                }
            };
            tokio::select! {
                () = closing.cancelled() => {}
                () = watching => {}
            }
        });
        Self { seen, is_open }
    }

    fn now(&self) -> Arc<Snapshot> {
        self.seen.borrow().clone()
    }
}

/// Whoever looks, and what the last look has counted.
struct Observer {
    instance: Arc<Instance>,
    is_open: bool,
    started: Instant,
    looked: Instant,
    nodes: Watch,
    hits: Hits,
    counted: Option<Counted>,
}

impl Observer {
    fn new(instance: Arc<Instance>, is_open: bool) -> Self {
        let nodes = Watch::new(instance.locks());
        let now = Instant::now();
        Self { instance, is_open, started: now, looked: now, nodes, hits: Hits::default(), counted: None }
    }

    fn look(&mut self) -> Snapshot {
        let seconds = self.looked.elapsed().as_secs_f64();
        self.looked = Instant::now();
        let (leases, held) = self.leases();
        gauge!("redlock_leases").set(f64::from(u32::try_from(held).unwrap_or(u32::MAX)));
        let busiest = self.instance.activity().busiest(SHOWN);
        Snapshot {
            at: humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string(),
            uptime_seconds: self.started.elapsed().as_secs(),
            process_id: std::process::id(),
            repository: self.instance.kind().to_string(),
            database: self.instance.database().to_string(),
            nodes_can_be_hurt: self.is_open,
            nodes: self.nodes.seen(),
            leases,
            leases_held: held,
            operations: Operations::from(self.instance.activity().rates()),
            cache: self.cache(seconds),
            batches: self.batches(seconds),
            records: busiest.iter().map(|busy| Record::from(busy.record)).collect(),
        }
    }

    /// Those that end first, and how many there are.
    fn leases(&self) -> (Vec<Lease>, usize) {
        let mut held = self.instance.locks().redlock.leases(COUNTED);
        held.sort_unstable_by_key(|lease| lease.remaining);
        let count = held.len();
        let shown = held.into_iter().take(SHOWN).map(|lease| Lease {
            resource: lease.keys.join(" "),
            fence: lease.fence.get(),
            remaining_ms: millis(lease.remaining),
        });
        (shown.collect(), count)
    }

    fn cache(&mut self, seconds: f64) -> Option<Vec<Cache>> {
        let hits = self.instance.cache()?.hits();
        let before = std::mem::replace(&mut self.hits, hits);
        let reads = |hits: &Hits, level| match level {
            Level::Local => hits.local,
            Level::Redis => hits.redis,
            Level::Database => hits.database,
        };
        let lately = Hits {
            local: hits.local - before.local,
            redis: hits.redis - before.redis,
            database: hits.database - before.database,
        };
        let level = |level: Level| Cache {
            level: level.name(),
            reads: reads(&hits, level),
            per_second: per_second(reads(&lately, level), seconds),
            rate: hits.rate(level),
        };
        Some(Level::ALL.map(level).into())
    }

    fn batches(&mut self, seconds: f64) -> Option<Batches> {
        let now = self.instance.redlocked()?.counters();
        let before = self.counted.replace(now.clone());
        let then = |of: fn(&Counted) -> u64| before.as_ref().map_or(0, of);
        let transactions = now.requests.count() - then(|counted| counted.requests.count());
        let requests = now.requests.sum - then(|counted| counted.requests.sum);
        Some(Batches {
            transactions_per_second: per_second(transactions, seconds),
            requests_per_transaction: if transactions == 0 { 0.0 } else { ratio(requests, transactions) },
            requests_by_power_of_two: now.requests.counts[..16].to_vec(),
        })
    }
}

#[allow(clippy::cast_precision_loss, reason = "a rate for people")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[allow(clippy::cast_precision_loss, reason = "a rate for people")]
fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// Whole milliseconds.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
