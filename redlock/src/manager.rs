//! The public verbs: [`Redlock`], and the request that each of them makes.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::acquire::{Patience, Wanted, acquire};
use crate::config::Builder;
use crate::error::{Cause, LockError, LossReason, Released, RunError};
use crate::fencing::FencingToken;
use crate::guard::Guard;
use crate::inspect::{Inspection, inspect};
use crate::lease::Lease;
use crate::preflight::{Preflight, preflight};
use crate::resource::Resource;
use crate::shared::Shared;

/// A lock manager over N independent nodes: cheap to clone, shared by everybody in the process.
///
/// Not reentrant: a task that locks what it already holds waits for itself.
///
/// Its connections live in the runtime in which they were first used, so that one must keep
/// running; when it ends they move to the next one that asks for a lock.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use redlock::{Redlock, SimNode};
/// use std::time::Duration;
///
/// let redlock = Redlock::builder()
/// #   .node(SimNode::new("a")).node(SimNode::new("b")).node(SimNode::new("c"))
///     .ttl(Duration::from_secs(10))
///     .build()?;
///
/// let guard = redlock.lock("order:42").await?;
/// assert!(guard.is_valid());
/// guard.release().await?;
///
/// redlock.close(Duration::from_secs(1)).await;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Redlock {
    shared: Arc<Shared>,
}

impl Redlock {
    /// Starts a configuration.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Asks for a lock, and waits for it. Await the request, or change it first.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let redlock = redlock::Redlock::builder().node(redlock::SimNode::new("a")).build()?;
    /// use std::time::Duration;
    ///
    /// // All or nothing, whatever the order of the names.
    /// let guard = redlock
    ///     .lock(["sku:1", "sku:2"])
    ///     .ttl(Duration::from_secs(5))
    ///     .wait(Duration::from_secs(1))
    ///     .await?;
    /// # guard.release().await?;
    /// # Ok(()) }
    /// ```
    pub fn lock(&self, resource: impl Into<Resource>) -> LockRequest {
        self.request(resource.into(), Patience::Wait(self.shared.wait))
    }

    /// Asks for a lock in one round, without waiting for its holder.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let redlock = redlock::Redlock::builder().node(redlock::SimNode::new("a")).build()?;
    /// use redlock::LockError;
    ///
    /// let guard = redlock.try_lock("order:42").await?;
    /// match redlock.try_lock("order:42").await {
    ///     Err(LockError::Contended { retry_after, .. }) => println!("come back in {retry_after:?}"),
    ///     other => unreachable!("{other:?}"),
    /// }
    /// # guard.release().await?;
    /// # Ok(()) }
    /// ```
    pub fn try_lock(&self, resource: impl Into<Resource>) -> LockRequest {
        self.request(resource.into(), Patience::Once)
    }

    /// Asks every node who holds `resource`, without acquiring it. Waits for every node, at most
    /// the node timeout.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let redlock = redlock::Redlock::builder().node(redlock::SimNode::new("a")).build()?;
    /// let inspection = redlock.inspect("order:42").await;
    /// println!("{inspection}");
    /// # Ok(()) }
    /// ```
    ///
    /// What goes wrong on a node is that node's answer. Of a resource that cannot be locked every
    /// node says so, without being asked.
    pub async fn inspect(&self, resource: impl Into<Resource>) -> Inspection {
        inspect(&self.shared, resource.into()).await
    }

    /// Asks every node what it is: role, version, run_id, persistence, eviction, clock, and
    /// whether it votes. What is wrong with it is in the warnings. Waits for connections to come
    /// up, about two seconds at most.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let redlock = redlock::Redlock::builder().node(redlock::SimNode::new("a")).build()?;
    /// let preflight = redlock.preflight().await;
    /// assert!(preflight.has_quorum(), "{preflight}");
    /// # Ok(()) }
    /// ```
    pub async fn preflight(&self) -> Preflight {
        preflight(&self.shared).await
    }

    /// Each node's name, and why it would not vote on an acquisition now, if it would not; in the order of
    /// the configuration. Only what is known here: no node is asked.
    #[must_use]
    pub fn standing(&self) -> Vec<(String, Option<Cause>)> {
        self.shared.nodes.iter().map(|node| (node.name().to_owned(), node.barred())).collect()
    }

    /// The leases that this manager holds now, at most `most` of them, in no order that means anything. No
    /// node is asked.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let redlock = redlock::Redlock::builder().node(redlock::SimNode::new("a")).build()?;
    /// let guard = redlock.lock("order:42").await?;
    /// let held = redlock.leases(10);
    /// assert_eq!((held[0].keys[0].as_str(), held[0].fence), ("order:42", guard.fence()));
    /// guard.release().await?;
    /// assert!(redlock.leases(10).is_empty());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn leases(&self, most: usize) -> Vec<HeldLease> {
        let now = self.shared.clock.now();
        let held = self.shared.renewals.leases(most).into_iter().filter_map(|lease| {
            let remaining = lease.remaining(now)?;
            Some(HeldLease { keys: lease.keys().to_vec(), fence: lease.token(), remaining })
        });
        held.collect()
    }

    /// Waits until every release has reached every node, at most `timeout`; true if none is left.
    /// A node that cannot be reached is waited for too. Call it where `main` ends: a runtime that stops takes
    /// unsent releases with it, and their keys then live until their ttl.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: it only waits.
    pub async fn close(&self, timeout: Duration) -> bool {
        tokio::time::timeout(timeout, self.shared.all_released()).await.is_ok()
    }

    fn request(&self, resource: Resource, patience: Patience) -> LockRequest {
        let ttl = self.shared.terms.ttl;
        let wanted = Wanted { resource, ttl, renew: true, max_hold: None, floor: None, patience };
        LockRequest { shared: Arc::clone(&self.shared), wanted }
    }
}

impl fmt::Debug for Redlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.shared.nodes.iter().map(|node| node.name()).collect();
        f.debug_struct("Redlock")
            .field("nodes", &names)
            .field("terms", &self.shared.terms)
            .field("owner", &self.shared.owner)
            .finish_non_exhaustive()
    }
}

/// A lease that a manager holds, as [`Redlock::leases`] lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldLease {
    /// The locked keys: prefix and name.
    pub keys: Vec<String>,
    /// Its token.
    pub fence: FencingToken,
    /// What is left of it.
    pub remaining: Duration,
}

/// A lock asked for: change it, then await it for the guard, or [`run`](Self::run) work under it.
///
/// It owns its handle, so its future and the guard can be spawned.
///
/// # Cancel safety
///
/// Dropped half-way, the future leaves no lock behind once its release has reached the nodes; if
/// a connection broke with the request in flight, at most until the ttl.
#[must_use = "nothing is locked until the request is awaited"]
pub struct LockRequest {
    shared: Arc<Shared>,
    wanted: Wanted,
}

impl LockRequest {
    /// The lease time. Default: the builder's.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.wanted.ttl = ttl;
        self
    }

    /// How long to wait for the lock; `None` for ever. A round that is under way then is finished,
    /// which takes the node timeout at most. Default: the builder's; a
    /// [`try_lock`](Redlock::try_lock) that is given a time waits too.
    pub fn wait(mut self, wait: impl Into<Option<Duration>>) -> Self {
        self.wanted.patience = Patience::Wait(wait.into());
        self
    }

    /// Whether the lease is renewed for as long as the guard lives. Default: true.
    pub fn renew(mut self, renew: bool) -> Self {
        self.wanted.renew = renew;
        self
    }

    /// The longest time the lock may be held, renewals included; then the lease is lost, with
    /// [`LossReason::MaxHold`]. Default: as long as the guard lives.
    pub fn max_hold(mut self, max_hold: Duration) -> Self {
        self.wanted.max_hold = Some(max_hold);
        self
    }

    /// Asks for a token above `stored`, at most [`MAX_FENCE_FLOOR`](crate::MAX_FENCE_FLOOR), the largest that the thing being protected has seen. For
    /// the case that it refused one: a client's clock once ran ahead, and the nodes have lost
    /// their counters since.
    pub fn fence_floor(mut self, stored: impl Into<u64>) -> Self {
        self.wanted.floor = Some(stored.into());
        self
    }

    /// Acquires, runs `work` with the lease, releases. On loss the work's future is dropped at
    /// its next await.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let redlock = redlock::Redlock::builder().node(redlock::SimNode::new("a")).build()?;
    /// let total = redlock
    ///     .lock("report")
    ///     .run(async |lease| {
    ///         assert!(lease.is_valid());
    ///         6 * 7
    ///     })
    ///     .await?;
    /// assert_eq!(total, 42);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`RunError::Lock`] when the lock was not acquired; [`RunError::Lost`] when the lease was
    /// lost, also in the very moment in which the work ended.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it drops the work and releases.
    pub async fn run<T>(self, work: impl AsyncFnOnce(&Lease) -> T) -> Result<T, RunError> {
        let guard = self.await?;
        let lease = guard.lease().clone();
        let value = tokio::select! {
            biased;
            reason = guard.lost() => return Err(RunError::Lost(reason)),
            value = work(&lease) => value,
        };
        if let Some(reason) = lease.core().loss() {
            return Err(RunError::Lost(reason));
        }
        drop(lease);
        match guard.release().await {
            // The nodes knew of the loss before we did. Where the lease goes on in this process they are
            // not asked, and it is our own clock that says it stood.
            Ok(Released::AlreadyExpired) => Err(RunError::Lost(LossReason::Quorum)),
            Ok(_) => Ok(value),
            Err(never) => match never {},
        }
    }
}

impl IntoFuture for LockRequest {
    type Output = Result<Guard, LockError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(acquire(self.shared, self.wanted))
    }
}

impl fmt::Debug for LockRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockRequest")
            .field("resource", &self.wanted.resource)
            .field("ttl", &self.wanted.ttl)
            .field("patience", &self.wanted.patience)
            .finish_non_exhaustive()
    }
}
