//! A lock client as a process: tasks that take locks, change what the locks protect, and tell what they see. It is
//! careless on purpose: it writes whether or not its lease still stands, because the token is to stop it then.

mod foreign;
mod orders;
mod section;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use redlock::{NodeState, Redlock, RestartGuard};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::{Instant, sleep};

pub(crate) use self::foreign::Foreign;
pub use self::foreign::{RSLOCK_ROLE, serve as serve_rslock};
pub(crate) use self::orders::{Event, Habits, Orders};
use self::section::Section;
use crate::child::READY;
use crate::clock::now;
use crate::ledger::Ledger;

/// The argument that makes this program a client.
pub const ROLE: &str = "client";

/// How long the nodes may stay in quarantine before it begins.
const QUARANTINE: Duration = Duration::from_secs(30);

/// How long the releases under way at the end may take.
const CLOSING: Duration = Duration::from_secs(5);

/// What all tasks share.
struct Work {
    orders: Orders,
    redlock: Redlock,
    ledger: Ledger,
    sections: AtomicU64,
    over: AtomicBool,
    /// Set for a moment when every future that waits for a lock is to be dropped.
    dropping: tokio::sync::Notify,
}

/// Reads its orders from standard input, works until that ends, and tells events on standard output.
///
/// # Errors
///
/// Orders that cannot be read, or nodes and a ledger that cannot be reached.
pub async fn serve() -> anyhow::Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let orders: Orders = serde_json::from_str(&lines.next_line().await?.context("no orders")?)?;
    plant(orders.bug.as_deref())?;
    let redlock = locks(&orders)?;
    vote(&redlock).await?;
    let ledger = Ledger::connect(&orders.ledger).await?;
    let (sections, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let dropping = tokio::sync::Notify::new();
    let work = Arc::new(Work { orders, redlock, ledger, sections, over, dropping });
    println!("{READY}");
    let tasks: Vec<_> = (0..work.orders.tasks).map(|number| tokio::spawn(work.clone().task(number))).collect();
    while let Some(line) = lines.next_line().await? {
        if line == "drop" {
            work.dropping.notify_waiters();
        }
    }
    work.over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await?;
    }
    work.redlock.close(CLOSING).await;
    Ok(())
}

/// Plants bugs in this process, named with commas between them.
pub(crate) fn plant(bugs: Option<&str>) -> anyhow::Result<()> {
    let mut planted = bugs.unwrap_or_default().split(',').filter(|bug| !bug.is_empty());
    planted
        .try_for_each(|bug| fail::cfg(bug, "return"))
        .map_err(|error| anyhow::anyhow!("a bug cannot be planted: {error}"))
}

fn locks(orders: &Orders) -> anyhow::Result<Redlock> {
    let guard = if orders.quarantine { RestartGuard::MaxTtl } else { RestartGuard::Off };
    let builder = Redlock::builder().nodes(&orders.nodes).ttl(orders.ttl()).restart_guard(guard);
    let builder = builder.node_timeout(Duration::from_millis(orders.node_timeout_ms)).owner(&orders.name);
    Ok(builder.key_prefix(&orders.prefix).build()?)
}

/// Waits until the nodes vote: they have been started a moment ago.
async fn vote(redlock: &Redlock) -> anyhow::Result<()> {
    let until = Instant::now() + QUARANTINE;
    loop {
        match redlock.try_lock("chaos:warm-up").await {
            Ok(guard) => {
                guard.release().await?;
                return Ok(());
            }
            Err(redlock::LockError::Contended { .. }) => {}
            Err(error) if Instant::now() > until => return Err(error.into()),
            Err(_) => {}
        }
        let inspection = redlock.inspect("chaos:warm-up").await;
        let there = inspection.nodes.iter().filter(|node| matches!(node.state, NodeState::Free)).count();
        sleep(Duration::from_millis(if there == inspection.nodes.len() { 20 } else { 50 })).await;
    }
}

impl Work {
    async fn task(self: Arc<Self>, number: u64) {
        let mut rng = StdRng::seed_from_u64(self.orders.seed.wrapping_mul(1_000).wrapping_add(number));
        while !self.over.load(Ordering::Relaxed) {
            let section = self.sections.fetch_add(1, Ordering::Relaxed);
            Section::new(&self, section, &mut rng).run().await;
            sleep(Duration::from_millis(rng.random_range(1..=self.orders.pause_ms))).await;
        }
    }

    /// Tells the recorder. One line a call, so that a process that is killed leaves no half of one.
    fn tell(&self, event: &Event) {
        if let Ok(line) = serde_json::to_string(event) {
            println!("{line}");
        }
    }
}

/// When a lease that still stands ends at the earliest.
fn standing_until(validity: impl Fn() -> Duration) -> (u64, u64) {
    let at = now();
    (at, at + crate::clock::nanos(validity()))
}
