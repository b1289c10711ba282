//! Servers and what lies before them.

use std::sync::Arc;

use testkit::{Proxy, RedisBuilder, RedisServer};

use crate::faults::clock::NodeClock;
use crate::faults::link::Link;
use crate::faults::node::Node;

/// What kind of servers lock nodes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Servers {
    /// Processes that forget when they die.
    Forgetful,
    /// Processes that write everything to disk before they answer.
    Durable,
    /// Processes whose clocks can be pushed.
    Clocked,
    /// Containers.
    Containers,
}

/// The lock nodes of a scenario, with their clocks where those can be pushed.
pub(crate) struct Nodes {
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) clocks: Vec<Arc<NodeClock>>,
}

impl Nodes {
    /// Starts so many.
    pub(crate) async fn start(count: usize, servers: Servers) -> anyhow::Result<Self> {
        let (mut nodes, mut clocks) = (Vec::new(), Vec::new());
        for number in 1..=count {
            let builder = RedisServer::builder();
            let server = match servers {
                Servers::Forgetful => builder.start().await?,
                Servers::Durable => builder.persistent(true).start().await?,
                Servers::Clocked => clocked(builder, number, &mut clocks)?.start().await?,
                Servers::Containers => builder.persistent(true).start_container().await?,
            };
            nodes.push(Arc::new(Node { name: format!("node {number}"), server }));
        }
        Ok(Self { nodes, clocks })
    }

    /// A Redis where resident levels live.
    pub(crate) async fn levels(servers: Servers) -> anyhow::Result<Arc<Node>> {
        let server = RedisServer::builder().persistent(servers == Servers::Durable).start().await?;
        Ok(Arc::new(Node { name: "levels' Redis".to_owned(), server }))
    }

    /// Their clocks, each with the node that goes by it.
    pub(crate) fn clocked(&self) -> Vec<(Arc<NodeClock>, Arc<Node>)> {
        self.clocks.iter().cloned().zip(self.nodes.iter().cloned()).collect()
    }

    /// Where they are.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.server.url()).collect()
    }

    /// A way of its own to each node, for one client.
    pub(crate) async fn links(&self, client: &str) -> Vec<Arc<Link>> {
        let mut links = Vec::new();
        for node in &self.nodes {
            let name = format!("{client} to {}", node.name);
            links.push(Arc::new(Link { name, proxy: Proxy::start(node.server.addr()).await }));
        }
        links
    }
}

fn clocked(builder: RedisBuilder, number: usize, clocks: &mut Vec<Arc<NodeClock>>) -> anyhow::Result<RedisBuilder> {
    let clock = Arc::new(NodeClock::new(number)?);
    let builder = clock.wind(builder)?;
    clocks.push(clock);
    Ok(builder)
}

/// Where servers behind links are.
pub(crate) fn urls_of(links: &[Arc<Link>]) -> Vec<String> {
    links.iter().map(|link| format!("redis://{}", link.proxy.addr())).collect()
}
