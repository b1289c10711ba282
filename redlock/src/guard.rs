//! The value that owns a lease: releases on drop, and says so when asked.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use crate::error::{ExtendError, LossReason, ReleaseError, Released};
use crate::fencing::FencingToken;
use crate::lease::Lease;

/// A held lock. While it lives its lease is renewed; dropped, it is released.
///
/// Dropping sends the release to every node without waiting and works outside of a runtime too;
/// [`release`](Self::release) waits for a quorum and tells how it went. Where tasks of this process
/// wait for the same keys with the same ttl, the lease may go on to the first of them instead, with
/// the next token and without asking the nodes. The guard does not make
/// work safe that goes on after [`is_valid`](Self::is_valid) has turned false: watch
/// [`lost`](Self::lost), or use [`run`](crate::LockRequest::run), which does.
#[must_use = "a guard that is dropped at once releases its lock at once"]
pub struct Guard {
    lease: Lease,
    released: bool,
}

impl Guard {
    pub(crate) fn new(lease: Lease) -> Self {
        Self { lease, released: false }
    }

    /// The lease, to be watched by others; it ends with this guard.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The token of this lease, for the thing that the lock protects to check. See
    /// [`Lease::fence`].
    #[must_use]
    pub fn fence(&self) -> FencingToken {
        self.lease.fence()
    }

    /// What is left of the lease; zero once lost. See [`Lease::validity`].
    #[must_use]
    pub fn validity(&self) -> Duration {
        self.lease.validity()
    }

    /// Whether the lease still stands. See [`Lease::is_valid`].
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.lease.is_valid()
    }

    /// Resolves when the lease is over, with the reason; [`LossReason::Released`] after a
    /// release. See [`Lease::lost`].
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: it only watches.
    pub fn lost(&self) -> impl Future<Output = LossReason> + Send + use<> {
        self.lease.lost()
    }

    /// Lets the lease live `ttl` from now, and makes that the ttl of renewals. Never shortens.
    /// See [`Lease::extend`].
    ///
    /// # Errors
    ///
    /// As [`Lease::extend`].
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: dropped half-way, the lease stands as it was.
    pub async fn extend(&self, ttl: Duration) -> Result<(), ExtendError> {
        self.lease.extend(ttl).await
    }

    /// Releases the lock and waits until a quorum of nodes has confirmed, at most the node
    /// timeout.
    ///
    /// # Errors
    ///
    /// None today; see [`ReleaseError`].
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: once polled, the release is on its way to every node, whether or not anybody
    /// waits for it; dropped before, the guard itself is dropped and releases.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let redlock = redlock::Redlock::builder().node(redlock::SimNode::new("a")).build()?;
    /// use redlock::Released;
    ///
    /// let guard = redlock.lock("order:42").await?;
    /// assert_eq!(guard.release().await?, Released::Released);
    /// # Ok(()) }
    /// ```
    pub async fn release(mut self) -> Result<Released, ReleaseError> {
        self.released = true;
        Ok(self.lease.core().released().await)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.released {
            self.lease.core().release();
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("lease", &self.lease).finish()
    }
}
