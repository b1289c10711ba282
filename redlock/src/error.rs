//! What can go wrong, one enum an operation; outage, contention, loss and bad input never mixed.

use std::fmt;
use std::time::Duration;

/// Why a node did not vote.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// No answer within the node timeout.
    Timeout,
    /// No connection: refused, reset, closed or unreachable.
    Refused,
    /// Wrong user or password, or a user who may not run the commands the lock needs.
    Auth,
    /// The key holds something that is no lock (Redisson keeps a hash there).
    WrongType,
    /// The server was started so recently that it may have forgotten a lease that still stands.
    Quarantined {
        /// How long it stays out.
        remaining: Duration,
    },
    /// The server is already there as another node: it would vote twice.
    #[non_exhaustive]
    SameServer {
        /// The other node's name.
        other: String,
    },
    /// The node is a replica and takes no writes.
    Replica,
    /// Too many requests wait for this node already; it was left out of the round.
    Backlog,
    /// The resource cannot be a lock key, so the node was not asked.
    InvalidResource,
    /// The node answered something that is no answer to the request.
    Protocol,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "timeout",
            Self::Refused => "no connection",
            Self::Auth => "not authorized",
            Self::WrongType => "wrong type",
            Self::Quarantined { remaining } => {
                return write!(f, "restarted lately, out for another {remaining:.1?}");
            }
            Self::SameServer { other } => return write!(f, "the same server as {other}"),
            Self::Replica => "replica",
            Self::Backlog => "backlog full",
            Self::InvalidResource => "invalid resource",
            Self::Protocol => "unexpected answer",
        })
    }
}

/// One node that failed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeFailure {
    /// The node's name: its URL without user and password.
    pub node: String,
    /// The kind of failure, to act on.
    pub cause: Cause,
    /// The node's or the system's own words, to read; may be empty.
    pub detail: String,
}

impl NodeFailure {
    pub(crate) fn new(node: &str, error: &NodeError) -> Self {
        Self { node: node.to_owned(), cause: error.cause.clone(), detail: error.detail.clone() }
    }
}

impl fmt::Display for NodeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.node, self.cause)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}

/// A [`Node`](crate::Node)'s answer when it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeError {
    cause: Cause,
    detail: String,
    sent: bool,
}

impl NodeError {
    /// A request that may have reached the node and has no usable answer.
    #[must_use]
    pub fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into(), sent: true }
    }

    /// A request that certainly never left this process, so there is nothing to clean up.
    #[must_use]
    pub fn unsent(cause: Cause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into(), sent: false }
    }

    /// The kind of failure.
    #[must_use]
    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// Whether the request may have taken effect.
    #[must_use]
    pub fn sent(&self) -> bool {
        self.sent
    }
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

impl std::error::Error for NodeError {}

/// What is wrong with a ttl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TtlProblem {
    /// Clock drift alone uses it up.
    NotAboveDrift {
        /// The drift at this ttl.
        drift: Duration,
    },
    /// Longer than any client of these nodes may hold a lease.
    AboveMax {
        /// The longest lease, see [`Builder::max_ttl`](crate::Builder::max_ttl).
        max_ttl: Duration,
    },
    /// The nodes' answers took so long that nothing was left of the lease.
    UsedUp {
        /// How long the round took.
        round: Duration,
    },
}

impl fmt::Display for TtlProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAboveDrift { drift } => write!(f, "it must be above the drift of {drift:?}"),
            Self::AboveMax { max_ttl } => write!(f, "at most {max_ttl:?} is allowed"),
            Self::UsedUp { round } => {
                write!(f, "nothing was left of it when the round ended after {round:?}")
            }
        }
    }
}

/// Why a lock was not acquired.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else holds the resource.
    #[error("`{resource}` is held by somebody else; try again in {retry_after:?}")]
    #[non_exhaustive]
    Contended {
        /// The resource asked for.
        resource: String,
        /// The shortest remaining time seen on any node; the longest lease where a key never
        /// expires. Trying earlier helps only if the holder releases.
        retry_after: Duration,
    },
    /// No quorum of nodes granted it, for other reasons than a holder: they did not answer, or may
    /// not vote.
    #[error("no quorum of lock nodes granted `{resource}`: {}", list(nodes))]
    #[non_exhaustive]
    Unavailable {
        /// The resource asked for.
        resource: String,
        /// Each node that failed, with its own cause.
        nodes: Vec<NodeFailure>,
    },
    /// The time to wait ran out.
    #[error("`{resource}` was not acquired within {waited:?}: {last}")]
    #[non_exhaustive]
    TimedOut {
        /// The resource asked for.
        resource: String,
        /// How long was waited.
        waited: Duration,
        /// Why the last round failed.
        last: Box<LockError>,
    },
    /// The ttl cannot make a lease. No I/O was done unless the problem is
    /// [`UsedUp`](TtlProblem::UsedUp).
    #[error("ttl of {ttl:?} is not possible: {problem}")]
    #[non_exhaustive]
    InvalidTtl {
        /// The ttl asked for.
        ttl: Duration,
        /// What is wrong with it.
        problem: TtlProblem,
    },
    /// A lock that may not be held at all. No I/O was done.
    #[error("max_hold of zero is not possible: it must be above zero")]
    InvalidMaxHold,
    /// Too few tokens are left above the floor asked for. No I/O was done.
    #[error("fence_floor of {floor} is not possible: at most {} is allowed", crate::fencing::MAX_FENCE_FLOOR)]
    #[non_exhaustive]
    InvalidFenceFloor {
        /// The floor asked for.
        floor: u64,
    },
    /// The resource cannot be locked. No I/O was done.
    #[error("resource `{resource}` is not possible: {reason}")]
    #[non_exhaustive]
    InvalidResource {
        /// The resource, shortened.
        resource: String,
        /// What is wrong with it, and what is allowed.
        reason: String,
    },
}

/// Why a lease was not extended.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtendError {
    /// The lease is over; it cannot come back.
    #[error("the lease is lost: {0}")]
    Lost(LossReason),
    /// No quorum of nodes answered in time. The lease stands as it was; another try may succeed.
    #[error("no quorum of lock nodes answered: {}", list(nodes))]
    #[non_exhaustive]
    Unavailable {
        /// Each node that failed, with its own cause.
        nodes: Vec<NodeFailure>,
    },
    /// The new ttl is not possible. The lease stands as it was.
    #[error("ttl of {ttl:?} is not possible: {problem}")]
    #[non_exhaustive]
    InvalidTtl {
        /// The ttl asked for.
        ttl: Duration,
        /// What is wrong with it.
        problem: TtlProblem,
    },
}

/// Why [`LockRequest::run`](crate::LockRequest::run) has no value.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The lock was not acquired; the work never started.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The lease was lost; the work was dropped, or ended when it no longer counted.
    #[error("the lease was lost during the work: {0}")]
    Lost(LossReason),
}

/// Why a lease could not be released. There is no such case today: a release of which nothing is
/// known is [`Released::Unconfirmed`].
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {}

/// How a release ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// A quorum of nodes deleted the key, or the lease went on to a task of this process that waited
    /// for it.
    Released,
    /// The lease was over before; whatever was left of it has been deleted.
    AlreadyExpired,
    /// No quorum confirmed in time. The release stays under way to every node; at the latest the
    /// key ends with its ttl.
    Unconfirmed,
}

/// Why a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LossReason {
    /// Its validity ran out before a renewal succeeded.
    Deadline,
    /// So many nodes no longer hold it that no quorum can.
    Quorum,
    /// It was held for as long as its `max_hold` allows.
    MaxHold,
    /// Its guard released it.
    Released,
}

impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deadline => "its validity ran out",
            Self::Quorum => "a quorum of nodes no longer holds it",
            Self::MaxHold => "it was held for as long as allowed",
            Self::Released => "it was released",
        })
    }
}

/// What is wrong with a configuration. Each variant carries the value; none a password.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No node was given.
    #[error("no lock nodes: at least one is needed")]
    NoNodes,
    /// Two nodes are one server: it would vote twice.
    #[error("lock nodes `{first}` and `{second}` are the same server")]
    DuplicateNode {
        /// The node as it was given first.
        first: String,
        /// The node that repeats it.
        second: String,
    },
    /// A URL that cannot be read.
    #[error("lock node `{url}` is not readable: {reason}")]
    InvalidUrl {
        /// The URL, without its password.
        url: String,
        /// What is wrong with it, and what is allowed.
        reason: String,
    },
    /// A default ttl that cannot make a lease.
    #[error("ttl of {ttl:?} is not possible: {problem}")]
    InvalidTtl {
        /// The ttl given.
        ttl: Duration,
        /// What is wrong with it.
        problem: TtlProblem,
    },
    /// The longest lease is shorter than the default one.
    #[error("max_ttl of {max_ttl:?} is below the ttl of {ttl:?}")]
    MaxTtlBelowTtl {
        /// The longest lease given.
        max_ttl: Duration,
        /// The default lease time.
        ttl: Duration,
    },
    /// A longest lease beyond what is supported.
    #[error("max_ttl of {max_ttl:?} is too long: at most {allowed:?} is allowed")]
    MaxTtlTooLong {
        /// The longest lease given.
        max_ttl: Duration,
        /// The longest possible.
        allowed: Duration,
    },
    /// A drift factor outside of its range.
    #[error("drift_factor of {factor} is not possible: allowed is 0 to 0.5")]
    InvalidDriftFactor {
        /// The factor given.
        factor: f64,
    },
    /// A node timeout of zero.
    #[error("node_timeout of {timeout:?} is not possible: it must be above zero")]
    InvalidNodeTimeout {
        /// The timeout given.
        timeout: Duration,
    },
    /// An owner label that would make values hard to read.
    #[error("owner `{owner}` is not possible: at most 128 printable ASCII characters are allowed")]
    InvalidOwner {
        /// The label given, shortened.
        owner: String,
    },
    /// A key prefix that is too long or reserved.
    #[error("key_prefix `{prefix}` is not possible: {reason}")]
    InvalidKeyPrefix {
        /// The prefix given, shortened.
        prefix: String,
        /// What is wrong with it, and what is allowed.
        reason: String,
    },
}

fn list(nodes: &[NodeFailure]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
