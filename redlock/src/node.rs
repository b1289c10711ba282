//! The seam to lock nodes: requests go in, answers come back through a [`Responder`].
//!
//! The trait is callback-based and not `async`, because a request must outlive the caller who
//! lost interest in it: dropping a future may neither take back a request nor its release.

#[cfg(feature = "redis")]
pub(crate) mod redis;
#[cfg(feature = "sim")]
pub(crate) mod sim;
#[cfg(feature = "sim")]
pub mod suite;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Cause, NodeError};
use crate::fencing::FencingToken;
use crate::resource::Claim;
use crate::restart::Membership;

/// One independent lock server.
///
/// The contract, checked by [`suite::conformance`]:
///
/// - `send` returns at once and never blocks; the answer comes through the responder, once.
/// - Requests take effect in the order they were sent, or not at all; extensions, which bring nothing back, may
///   be late for others.
/// - A request that was sent is never cancelled, whoever stops waiting for it.
/// - A request to a node that is known to be down is answered with an error at once.
/// - The backlog is bounded: past it, anything but a release is refused with [`Cause::Backlog`].
pub trait Node: fmt::Debug + Send + Sync + 'static {
    /// How errors, inspections and logs call this node; no two nodes of a lock share a name.
    fn name(&self) -> &str;

    /// Queues `request`; its answer goes to `responder`.
    fn send(&self, request: Request, responder: Responder);

    /// Tells the node whom it serves with, before its first request. What follows from it is the
    /// node's business: no vote from a server that was restarted within
    /// [`Membership::quarantine`] ([`Cause::Quarantined`]), none from one that is also another node
    /// ([`Cause::SameServer`]) or that is a replica ([`Cause::Replica`]).
    fn join(&self, membership: &Membership) {
        let _ = membership;
    }

    /// Tells `ear` of every release of one of `keys` that the node hears of, until what this gives
    /// back is dropped. A hint: nobody relies on it, and a node may leave it out.
    fn listen(&self, keys: &[String], ear: Ear) -> Listening {
        let _ = (keys, ear);
        Listening::deaf()
    }

    /// Whether [`listen`](Self::listen) tells of anything, as far as can be known before: where nobody is
    /// heard, processes that wait take turns by pausing.
    fn hears(&self) -> bool {
        false
    }

    /// How many releases the node still has to be told, because it could not be reached.
    fn owed(&self) -> usize {
        0
    }

    /// Why the node would not vote on an acquisition now, as far as its handle knows.
    fn barred(&self) -> Option<Cause> {
        None
    }

    /// True for nodes that live in tokio's (pausable) time. Leases over them are measured with
    /// the same clock.
    fn simulated(&self) -> bool {
        false
    }
}

/// What a node can be asked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Request {
    /// Set every key of the claim to its value for `ttl`, if none of them is there; all or none.
    /// Move every key's counter to one number, at least `span` above all of them and at least
    /// `proposal`: the top of a range of tokens that nobody else gets.
    Acquire {
        /// Keys and value.
        claim: Arc<Claim>,
        /// Lease time; whole milliseconds count, rounded up.
        ttl: Duration,
        /// The smallest top that will do.
        proposal: FencingToken,
        /// How many tokens are wanted, at least one.
        span: u32,
    },
    /// Where every key holds the claim's value, let no counter stand below `token`.
    Raise {
        /// Keys and value.
        claim: Arc<Claim>,
        /// The token to record.
        token: FencingToken,
    },
    /// Where every key holds the claim's value, let each live at least `ttl` from now, and keep
    /// its counter.
    Extend {
        /// Keys and value.
        claim: Arc<Claim>,
        /// Lease time; whole milliseconds count, rounded up.
        ttl: Duration,
        /// The lease's token, for a counter that is gone.
        token: FencingToken,
    },
    /// Where every key is free or holds the claim's value, set those that are free for `ttl`, and
    /// let no counter stand below `token`; all or none.
    Heal {
        /// Keys and value.
        claim: Arc<Claim>,
        /// Lease time; whole milliseconds count, rounded up.
        ttl: Duration,
        /// The lease's token.
        token: FencingToken,
    },
    /// Delete every key that holds the claim's value.
    Release {
        /// Keys and value.
        claim: Arc<Claim>,
        /// What those who wait for the keys are told: the lock manager that releases. `None` where
        /// there is nothing to tell, because the lock was never won.
        by: Option<Arc<str>>,
        /// How long the keys can live without it: a node that cannot be reached now is told
        /// within this time, later it need not be told.
        ttl: Duration,
    },
    /// Tell who holds the keys.
    Inspect {
        /// The lock keys, prefix included.
        keys: Arc<[String]>,
    },
    /// Tell what server this is.
    Info,
}

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// To acquire: every key is now held by the claim.
    Granted {
        /// Where the counters stand now: the top of the range.
        token: FencingToken,
    },
    /// To acquire: somebody else holds a key.
    Held {
        /// How long that key has to live; `None` if it never expires.
        remaining: Option<Duration>,
    },
    /// To raise, extend and heal: done.
    Done,
    /// To raise, extend, heal and release: not every key held the claim's value.
    NotHeld,
    /// To release: every key held the claim's value and is gone.
    Released {
        /// How many others listen for releases of a key on this node, as far as it knows; at most
        /// the number for any key.
        listeners: usize,
    },
    /// To inspect: one state a key, in the order asked.
    Keys(Vec<KeyState>),
    /// To info; `None` where the user may not ask.
    Info(Option<Box<NodeInfo>>),
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeInfo {
    /// Made anew at every start of the server.
    pub run_id: String,
    /// The server's version.
    pub version: String,
    /// Whether it takes writes of its own.
    pub role: Role,
    /// Whether it is a part of a Redis Cluster.
    pub cluster: bool,
    /// Time since its start in whole seconds, by its wall clock; negative if that was pushed back.
    pub uptime_seconds: i64,
    /// Whether it logs every write (AOF); a server that does not may forget locks when it stops.
    pub append_only: bool,
    /// What it does when memory is short; anything but `noeviction` can drop locks.
    pub eviction: String,
    /// By how many milliseconds its wall clock is ahead of ours; negative if it is behind.
    pub clock_ahead_ms: i64,
}

/// What part a server plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Takes writes.
    Master,
    /// Copies another server.
    Replica,
}

/// One key on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Nobody holds it.
    Free,
    /// Somebody holds it.
    Held {
        /// The holder's value: ours start with the owner label, foreign ones are any bytes.
        value: Vec<u8>,
        /// How long the key has to live; `None` if it never expires.
        remaining: Option<Duration>,
    },
}

/// Whole milliseconds, rounded up: a lease is never shorter than asked.
#[cfg(any(feature = "redis", feature = "sim"))]
pub(crate) fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Takes the answers of a fan-out.
pub(crate) trait Collect: Send + Sync {
    /// Node number `node` answered.
    fn collect(&self, node: usize, answer: Result<Reply, NodeError>);
}

/// Carries one answer back. Dropped unused, it answers that the node failed, so that no round
/// waits for a node that forgot it.
pub struct Responder {
    collector: Option<Arc<dyn Collect>>,
    node: usize,
}

impl Responder {
    pub(crate) fn new(collector: Arc<dyn Collect>, node: usize) -> Self {
        Self { collector: Some(collector), node }
    }

    /// A second one for the same answer: only the first to arrive counts.
    #[cfg(feature = "sim")]
    pub(crate) fn again(&self) -> Self {
        Self { collector: self.collector.clone(), node: self.node }
    }

    /// Hands over the answer.
    pub fn send(mut self, answer: Result<Reply, NodeError>) {
        if let Some(collector) = self.collector.take() {
            collector.collect(self.node, answer);
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if let Some(collector) = self.collector.take() {
            let error = NodeError::new(Cause::Refused, "the node stopped before it answered");
            collector.collect(self.node, Err(error));
        }
    }
}

/// Takes what nodes tell of releases.
pub(crate) trait Hear: Send + Sync {
    /// Node number `node` has heard that `by` released; `None` where it listens from now on, and
    /// may have missed a release.
    fn hear(&self, node: usize, by: Option<&[u8]>);
}

/// Whom a node tells of releases.
#[derive(Clone)]
pub struct Ear {
    hear: Arc<dyn Hear>,
    node: usize,
}

impl Ear {
    pub(crate) fn new(hear: Arc<dyn Hear>, node: usize) -> Self {
        Self { hear, node }
    }

    /// The lock manager `by` has released a key.
    pub fn released(&self, by: &[u8]) {
        self.hear.hear(self.node, Some(by));
    }

    /// Releases are heard from now on; one before this may have been missed.
    pub fn listening(&self) {
        self.hear.hear(self.node, None);
    }
}

impl fmt::Debug for Ear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ear").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Keeps a node listening; see [`Node::listen`].
#[must_use = "dropped, it ends the listening"]
pub struct Listening {
    _until_dropped: Option<Box<dyn Send + Sync>>,
}

impl Listening {
    /// The node listens until `guard` is dropped.
    pub fn until_dropped(guard: impl Send + Sync + 'static) -> Self {
        Self { _until_dropped: Some(Box::new(guard)) }
    }

    /// The node does not listen.
    pub fn deaf() -> Self {
        Self { _until_dropped: None }
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").finish_non_exhaustive()
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder").field("node", &self.node).finish_non_exhaustive()
    }
}
