//! A lock node in this process: for simulation, and for demos with nothing installed.
//!
//! It keeps the rules of the Lua scripts in tokio's time, so that paused tests decide when keys
//! expire. The conformance suite keeps it honest, and so does a real server beside it.

mod link;
mod network;
mod server;
mod travel;

use std::sync::{Arc, Mutex};

use self::link::{Link, lock};
use self::server::Server;
use crate::error::Cause;
use crate::node::{Ear, Listening, Node, Request, Responder};
use crate::restart::Membership;

pub use self::network::SimNetwork;
pub use self::server::SimCounts;

/// A lock node in this process. Clones are handles of the same node.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use redlock::{Redlock, SimNode};
///
/// let redlock = Redlock::builder().node(SimNode::new("only")).build()?;
/// redlock.lock("order:42").await?.release().await?;
/// # Ok(()) }
/// ```
///
/// Requests are answered as they are sent, unless the handle was made by [`over`](Self::over) a
/// [`SimNetwork`].
#[derive(Debug)]
pub struct SimNode {
    name: Arc<str>,
    server: Arc<Mutex<Server>>,
    link: Arc<Link>,
}

/// The network of one handle, to be changed after the handle was given away.
#[derive(Clone, Debug)]
pub struct SimLink {
    link: Arc<Link>,
}

impl SimNode {
    /// An empty node that has been up for ever.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        let name = name.into();
        let server = Arc::new(Mutex::new(Server::new(&name)));
        let link = Link::straight(&name, &server);
        Self { name, server, link }
    }

    /// Another handle of this node, whose requests and answers travel over `network`. All that is
    /// random about it follows from `seed`.
    #[must_use]
    pub fn over(&self, network: SimNetwork, seed: u64) -> Self {
        let link = Link::over(&self.name, &self.server, network, seed);
        Self { name: Arc::clone(&self.name), server: Arc::clone(&self.server), link }
    }

    /// The network of this handle.
    #[must_use]
    pub fn link(&self) -> SimLink {
        SimLink { link: Arc::clone(&self.link) }
    }

    /// How many keys are held now.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.server).held()
    }

    /// Whether no key is held now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What befell the node and its traffic so far.
    #[must_use]
    pub fn counts(&self) -> SimCounts {
        lock(&self.server).counts
    }

    /// Lets the node's clock, by which keys end, run faster (above one) or slower than tokio's.
    pub fn set_clock_rate(&self, rate: f64) {
        lock(&self.server).set_clock_rate(rate);
    }

    /// Stops the node: requests fail until it is started again, and connections end.
    pub fn stop(&self) {
        let mut server = lock(&self.server);
        server.counts.crashes += u64::from(server.up);
        server.up = false;
        server.links.retain(|link| link.strong_count() > 0);
        let links = server.links.clone();
        drop(server);
        links.iter().filter_map(std::sync::Weak::upgrade).for_each(|link| link.node_stopped());
    }

    /// Starts the node (again), with what it knew or with nothing.
    pub fn start(&self, keep_data: bool) {
        lock(&self.server).start(keep_data);
    }

    /// Whether the node runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        lock(&self.server).up
    }
}

impl SimLink {
    /// From now on traffic travels over `network`; what is under way keeps its time. Does nothing
    /// to a handle that was not made by [`SimNode::over`].
    pub fn set(&self, network: SimNetwork) {
        self.link.set_network(network);
    }

    /// Whether the connection is up or was never needed, and nothing is under way or owed to the
    /// node.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.link.is_idle()
    }
}

impl Clone for SimNode {
    /// A handle that answers requests as they are sent.
    fn clone(&self) -> Self {
        let link = Link::straight(&self.name, &self.server);
        Self { name: Arc::clone(&self.name), server: Arc::clone(&self.server), link }
    }
}

impl Node for SimNode {
    fn name(&self) -> &str {
        &self.name
    }

    fn join(&self, membership: &Membership) {
        self.link.join(membership);
    }

    fn barred(&self) -> Option<Cause> {
        self.link.barred()
    }

    fn hears(&self) -> bool {
        true
    }

    fn owed(&self) -> usize {
        self.link.owed()
    }

    fn listen(&self, keys: &[String], ear: Ear) -> Listening {
        self.link.listen(keys, &ear)
    }

    fn send(&self, request: Request, responder: Responder) {
        self.link.send(request, responder);
    }

    fn simulated(&self) -> bool {
        true
    }
}

impl Drop for SimNode {
    fn drop(&mut self) {
        self.link.close();
    }
}
