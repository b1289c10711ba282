//! The lock manager of an instance, and the nodes that are in this process.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use redlock::{Redlock, SimLink, SimNetwork, SimNode};
use url::Url;

use super::Purpose;
use crate::config::{Config, ConfigError, LEASE};
use crate::store::LockNodes;

/// How many in-process nodes there are where no others are named.
const LOCAL_NODES: usize = 5;

/// The lease on nodes that are there to be hurt. Restarted ones stay out for about two seconds then; with
/// the usual ten seconds only two of them could fail in a whole sale.
const DEMO_LEASE: Duration = Duration::from_secs(1);

/// The lock manager, and what it stands on.
#[derive(Debug)]
pub struct Locks {
    /// The lock manager.
    pub redlock: Redlock,
    /// The nodes of this process; empty where nodes are named.
    pub local: Vec<LocalNode>,
    urls: Vec<String>,
}

impl Locks {
    /// Connects to nothing yet.
    pub(super) fn new(config: &Config, purpose: Purpose) -> Result<Self, ConfigError> {
        let local: Vec<_> = match config.nodes.len() {
            0 => (1..=LOCAL_NODES).map(|number| LocalNode::new(number, purpose)).collect(),
            _ => Vec::new(),
        };
        let lease = if purpose == Purpose::Demo && !local.is_empty() { DEMO_LEASE } else { LEASE };
        let builder = Redlock::builder().ttl(lease).nodes(&config.nodes);
        let builder = local.iter().fold(builder, |builder, node| builder.node(node.handle()));
        let builder = builder.restart_guard(config.restart_guard.unwrap_or_default().into());
        let redlock = builder.build().map_err(|error| ConfigError::of_nodes(&config.nodes, error))?;
        Ok(Self { redlock, local, urls: config.nodes.clone() })
    }

    /// Waits until no lease is held and every release has reached its node, at most so long.
    pub(super) async fn release_all(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        // Those who hold one are letting go of it.
        while !self.redlock.leases(1).is_empty() {
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.redlock.close(until.saturating_duration_since(Instant::now())).await
    }

    /// For each node a lock manager that has only this one, to look at it alone: what it waits for is
    /// nobody else's time.
    pub(crate) fn probes(&self, patience: Duration) -> Vec<Redlock> {
        let builder = || Redlock::builder().node_timeout(patience).restart_guard(redlock::RestartGuard::Off);
        let named = self.urls.iter().map(|url| builder().nodes([url]));
        let local = self.local.iter().map(|node| builder().node(node.handle()));
        // The same nodes could be used before.
        named.chain(local).filter_map(|builder| builder.build().ok()).collect()
    }
}

/// The nodes that instances with this configuration lock on, as they agree on them: without passwords,
/// which may differ.
#[must_use]
pub fn lock_nodes(config: &Config) -> LockNodes {
    if config.nodes.is_empty() {
        return LockNodes::new(["in-process"], LEASE);
    }
    LockNodes::new(config.nodes.iter().map(|url| identity(url)), LEASE)
}

fn identity(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else { return url.to_owned() };
    // Refused only where a URL has no host, and then it has neither.
    let _ = (parsed.set_password(None), parsed.set_username(""));
    parsed.into()
}

/// A lock node in this process.
#[derive(Debug)]
pub struct LocalNode {
    node: SimNode,
    /// The ways to it, where it can be hurt.
    ways: Option<Mutex<Vec<SimLink>>>,
}

impl LocalNode {
    fn new(number: usize, purpose: Purpose) -> Self {
        let ways = (purpose == Purpose::Demo).then(Mutex::default);
        Self { node: SimNode::new(format!("node-{number}")), ways }
    }

    /// Another way to it.
    fn handle(&self) -> SimNode {
        let Some(ways) = &self.ways else { return self.node.clone() };
        let mut ways = ways.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = self.node.over(SimNetwork::new(), ways.len() as u64);
        ways.push(handle.link());
        handle
    }

    /// Lets it hang: nothing that is sent to it, or by it, arrives. Does nothing in a service.
    pub fn hang(&self) {
        self.set_network(&SimNetwork::new().loss(1.0));
    }

    /// Lets it answer again.
    pub fn resume(&self) {
        self.set_network(&SimNetwork::new());
    }

    /// Ends it.
    pub fn kill(&self) {
        self.node.stop();
    }

    /// Starts it (again), with what it knew or with nothing.
    pub fn restart(&self, keep_data: bool) {
        self.node.stop();
        self.node.start(keep_data);
        self.resume();
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.node.is_up()
    }

    fn set_network(&self, network: &SimNetwork) {
        let Some(ways) = &self.ways else { return };
        let ways = ways.lock().unwrap_or_else(PoisonError::into_inner);
        ways.iter().for_each(|way| way.set(network.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_the_same_whatever_the_password() {
        assert_eq!(identity("redis://me:one@a:1/2"), identity("redis://:two@a:1/2"));
        assert_ne!(identity("redis://a:1/2"), identity("redis://a:1/3"));
        assert_ne!(identity("redis://a:1"), identity("redis://b:1"));
    }
}
