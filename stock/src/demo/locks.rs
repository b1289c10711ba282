//! The lock nodes of a sale: those that are named, or in-process ones that fail and return while it
//! lasts.

use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::seq::IndexedRandom;
use redlock::{Cause, Preflight, Redlock, SimNode};

use super::progress;
use crate::config::{Config, ConfigError, REDLOCK_RESTART_GUARD, RestartGuard};

/// How many in-process nodes there are where no others are named.
const SIM_NODES: usize = 5;

/// The lease on in-process nodes. Restarted ones stay out for about two seconds then, and with the
/// usual ten seconds only two of them could fail in a whole sale.
const SIM_TTL: Duration = Duration::from_secs(1);

/// How often nodes are looked after.
const TICK: Duration = Duration::from_millis(50);

/// How long a failed node is down, in milliseconds.
const DOWN_MS: std::ops::Range<u64> = 100..500;

/// One in so many restarted nodes has lost its data.
const LOSES_DATA: u32 = 3;

/// The lock manager, and the nodes that are ours to hurt.
pub(super) struct Locks {
    pub(super) redlock: Redlock,
    /// Empty where nodes are named.
    nodes: Vec<SimNode>,
    /// How often one of ours has failed.
    failures: AtomicU64,
    named: usize,
}

impl Locks {
    /// Connects to nothing yet.
    pub(super) fn new(config: &Config) -> Result<Self, ConfigError> {
        let mut nodes = Vec::new();
        let builder = if config.nodes.is_empty() {
            nodes.extend((1..=SIM_NODES).map(|number| SimNode::new(format!("node-{number}"))));
            nodes.iter().cloned().fold(Redlock::builder().ttl(SIM_TTL), |builder, node| builder.node(node))
        } else {
            Redlock::builder().nodes(&config.nodes)
        };
        let builder = builder.restart_guard(config.restart_guard.unwrap_or_default().into());
        let redlock = builder.build().map_err(|error| ConfigError::of_nodes(&config.nodes, error))?;
        Ok(Self { redlock, nodes, failures: AtomicU64::new(0), named: config.nodes.len() })
    }

    /// Waits until a quorum of nodes votes, and says why; then says what should be mended.
    ///
    /// # Errors
    ///
    /// If waiting would not help, with what is wrong with each node.
    pub(super) async fn ready(&self) -> anyhow::Result<()> {
        loop {
            let preflight = self.redlock.preflight().await;
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

    /// Lets in-process nodes fail and return, for ever; named ones are left alone.
    pub(super) async fn fail_and_return(&self) -> Infallible {
        let mut tick = tokio::time::interval(TICK);
        let mut down: Vec<(&SimNode, Instant)> = Vec::new();
        loop {
            tick.tick().await;
            down.retain(|(node, until)| {
                let stays = Instant::now() < *until;
                if !stays {
                    node.start(!rand::random_ratio(1, LOSES_DATA));
                }
                stays
            });
            if let Some(node) = self.dispensable().await {
                node.stop();
                self.failures.fetch_add(1, Ordering::Relaxed);
                down.push((node, Instant::now() + Duration::from_millis(rand::random_range(DOWN_MS))));
            }
        }
    }

    /// One of our nodes without which a quorum still votes: at most a minority is down, or kept out
    /// for having been, at any time.
    async fn dispensable(&self) -> Option<&SimNode> {
        if self.nodes.is_empty() {
            return None;
        }
        let preflight = self.redlock.preflight().await;
        let votes = preflight.nodes.iter().map(|node| node.info.is_ok() && node.barred.is_none());
        let voting: Vec<_> = self.nodes.iter().zip(votes).filter_map(|(node, votes)| votes.then_some(node)).collect();
        let spare = voting.len() > self.nodes.len() / 2 + 1;
        voting.choose(&mut rand::rng()).copied().filter(|_| spare)
    }

    /// How often a node has failed; `None` where none of them is ours.
    pub(super) fn failures(&self) -> Option<u64> {
        (!self.nodes.is_empty()).then(|| self.failures.load(Ordering::Relaxed))
    }
}

impl fmt::Display for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.named {
            0 => write!(f, "Redlock on {SIM_NODES} in-process nodes that fail and return"),
            named => write!(f, "Redlock on {named} nodes"),
        }
    }
}

impl From<RestartGuard> for redlock::RestartGuard {
    fn from(guard: RestartGuard) -> Self {
        match guard {
            RestartGuard::MaxTtl => Self::MaxTtl,
            RestartGuard::For(quarantine) => Self::For(quarantine),
            RestartGuard::Off => Self::Off,
        }
    }
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
