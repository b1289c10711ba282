//! The lock nodes of a sale: waited for where they are named, and hurt where they are ours.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::seq::IndexedRandom;
use redlock::{Cause, Preflight};

use super::progress;
use crate::assembly::{LocalNode, Locks};
use crate::config::REDLOCK_RESTART_GUARD;

/// How often nodes are looked after.
const TICK: Duration = Duration::from_millis(50);

/// How long a failed node is down, in milliseconds.
const DOWN_MS: std::ops::Range<u64> = 100..500;

/// One in so many restarted nodes has lost its data.
const LOSES_DATA: u32 = 3;

/// What keeps the buyers apart, for people.
pub(super) fn described(locks: &Locks) -> String {
    match locks.local.len() {
        0 => format!("Redlock on {} nodes", locks.redlock.standing().len()),
        local => format!("Redlock on {local} in-process nodes that fail and return"),
    }
}

/// Waits until a quorum of nodes votes, and says why; then says what should be mended.
///
/// # Errors
///
/// If waiting would not help, with what is wrong with each node.
pub(super) async fn ready(locks: &Locks) -> anyhow::Result<()> {
    loop {
        let preflight = locks.redlock.preflight().await;
        match quorum_in(&preflight) {
            Some(Duration::ZERO) => {
                preflight.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
                return Ok(());
            }
            Some(wait) => progress::wait(&why_waiting(&preflight), wait).await,
            None => anyhow::bail!("no quorum of lock nodes: {}", preflight.warnings.join("; ")),
        }
    }
}

/// What befalls the nodes of this process while a sale lasts.
#[derive(Debug, Default)]
pub(super) struct Weather {
    /// How often one of them has failed.
    failures: AtomicU64,
}

impl Weather {
    /// Lets in-process nodes fail and return, for ever; named ones are left alone.
    pub(super) async fn strike(&self, locks: &Locks) -> Infallible {
        let mut tick = tokio::time::interval(TICK);
        let mut down: Vec<(&LocalNode, Instant)> = Vec::new();
        loop {
            tick.tick().await;
            down.retain(|(node, until)| {
                let stays = Instant::now() < *until;
                // Somebody may have started it from the control room.
                if !stays && !node.is_up() {
                    node.restart(!rand::random_ratio(1, LOSES_DATA));
                }
                stays
            });
            if let Some(node) = dispensable(locks).await {
                node.kill();
                self.failures.fetch_add(1, Ordering::Relaxed);
                down.push((node, Instant::now() + Duration::from_millis(rand::random_range(DOWN_MS))));
            }
        }
    }

    /// How often a node has failed; `None` where none of them is ours.
    pub(super) fn failures(&self, locks: &Locks) -> Option<u64> {
        (!locks.local.is_empty()).then(|| self.failures.load(Ordering::Relaxed))
    }
}

/// One of our nodes without which a quorum still votes: at most a minority is down, or kept out
/// for having been, at any time.
async fn dispensable(locks: &Locks) -> Option<&LocalNode> {
    if locks.local.is_empty() {
        return None;
    }
    let preflight = locks.redlock.preflight().await;
    let votes = preflight.nodes.iter().map(|node| node.info.is_ok() && node.barred.is_none());
    let voting: Vec<_> = locks.local.iter().zip(votes).filter_map(|(node, votes)| votes.then_some(node)).collect();
    let spare = voting.len() > locks.local.len() / 2 + 1;
    voting.choose(&mut rand::rng()).copied().filter(|_| spare)
}

/// When a quorum votes; `None` if too few nodes will, however long one waits.
fn quorum_in(preflight: &Preflight) -> Option<Duration> {
    let up = preflight.nodes.iter().filter(|node| node.info.is_ok());
    let mut waits: Vec<_> = up
        .filter_map(|node| match node.barred {
            None => Some(Duration::ZERO),
            Some(Cause::Quarantined { remaining }) => Some(remaining),
            Some(_) => None,
        })
        .collect();
    waits.sort_unstable();
    waits.get(preflight.nodes.len() / 2).copied()
}

fn why_waiting(preflight: &Preflight) -> String {
    let waiting = preflight.nodes.iter().filter(|node| matches!(node.barred, Some(Cause::Quarantined { .. }))).count();
    format!(
        "{waiting} of {} lock nodes were started lately and may have forgotten who holds what, so they do not vote yet \
         ({REDLOCK_RESTART_GUARD} says for how long)",
        preflight.nodes.len()
    )
}
