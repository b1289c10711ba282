//! Fault-tolerant distributed locks over N independent Redis nodes.
//!
//! # The algorithm
//!
//! A *resource* is locked by setting its key on every *node* to a value nobody else has, for a
//! bounded time, the *ttl* (`SET key value NX PX ttl`). All nodes are asked at once: that is a
//! *round*. When a *quorum* (⌊N/2⌋ + 1) of them has granted, the lock is won, and the answers of
//! the others no longer matter: two quorums always share a node, so no two clients can win. What
//! was won is a *lease*. Its *validity* is the ttl, less the time since the moment before the
//! first byte was sent, less *drift*, what clocks may differ by. When a quorum can no longer be
//! had the round is lost, and the key is deleted again on every node, behind the acquire on the
//! same connection.
//!
//! The value that owns a lease is the [`Guard`]. While it lives the lease is *renewed*, after at most
//! a third of its ttl: each node that still holds the value lets the key live on, and a quorum of
//! those, counted over all N, makes a new validity. A lease that is not renewed in time is lost;
//! [`Guard::lost`] tells, and [`LockRequest::run`] drops the work.
//!
//! Every lease has a *fencing token* ([`Guard::fence`]), larger than that of any lease of the
//! resource before it, whatever clocks do: the nodes that grant count, and the winner makes sure
//! that a quorum has recorded the largest count before it takes it for its own. A process that
//! was paused for longer than its lease cannot know that; whatever the lock protects stores the
//! largest token it has seen and refuses smaller ones.
//!
//! A node that was restarted may have forgotten a lease that still stands. It does not vote until
//! the longest lease is over ([`RestartGuard`]), so that a freshly started set of nodes grants
//! nothing for the first `max_ttl` and a second or so; `lock` waits for it, `try_lock` says so.
//! A lease that is held meanwhile is given back to such nodes, and outlives a rolling restart of
//! all of them.
//!
//! # Assumptions
//!
//! Exclusion rests on clocks that run at nearly the same rate (within the drift factor over one
//! ttl) and on nodes that forget only by being restarted. Fencing rests on no clock. What is
//! promised, why it holds and what is not promised is in [`safety`].
//!
//! # Start here
//!
//! [`Redlock::builder`] configures, [`Redlock::lock`] and [`Redlock::try_lock`] acquire. Keys are
//! plain strings with compare-and-delete, so locks of other languages' Redlock libraries on the
//! same nodes and ours exclude each other; see [`Builder::key_prefix`].
//!
//! Tasks of one process that wait for the same resource stand in line, first come, first served, and
//! only the first asks the nodes; releases by other processes are announced, so nobody polls in a
//! hurry, and processes take turns.
//!
//! Crate features: `redis` (default) for real servers, `tls` for `rediss://` URLs, `sim` for
//! in-process nodes, `metrics` for counters and histograms through the `metrics` facade (their names
//! are in the module `metrics`), `cli` for the `redlock` command.

mod chance;
mod clock;
mod fencing;
mod meeting;
mod memory;
mod meters;
mod quorum;
mod resource;
mod terms;
mod validity;

mod error;
mod failpoint;
#[cfg(any(feature = "redis", feature = "sim"))]
mod history;
pub mod node;
mod restart;
#[cfg(any(feature = "redis", feature = "sim"))]
mod standing;

mod acquire;
mod chain;
mod deadline;
mod hearing;
mod inspect;
mod lease;
mod line;
mod preflight;
mod renewal;
mod round;
mod shared;
mod wait;

#[doc = include_str!("../docs/safety.md")]
pub mod safety {}

#[cfg(feature = "metrics")]
#[doc = include_str!("../docs/metrics.md")]
pub mod metrics {}

mod config;
mod guard;
mod manager;
#[doc(hidden)]
pub mod protocol;

pub use config::Builder;
pub use error::{
    Cause, ConfigError, ExtendError, LockError, LossReason, NodeError, NodeFailure, ReleaseError, Released, RunError,
    TtlProblem,
};
pub use fencing::{FencingToken, MAX_FENCE_FLOOR};
pub use guard::Guard;
pub use inspect::{Inspection, NodeInspection, NodeState};
pub use lease::Lease;
pub use manager::{HeldLease, LockRequest, Redlock};
#[cfg(feature = "redis")]
pub use node::redis::RedisNode;
#[cfg(feature = "sim")]
pub use node::sim::{SimCounts, SimLink, SimNetwork, SimNode};
pub use node::{Ear, KeyState, Listening, Node, NodeInfo, Reply, Request, Responder, Role};
pub use preflight::{NodePreflight, Preflight};
pub use resource::{Claim, Resource};
pub use restart::{Membership, RestartGuard};
