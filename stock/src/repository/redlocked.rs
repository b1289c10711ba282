//! The repository whose writers queue for a Redlock lease instead of a database connection.
//!
//! The lease keeps order between processes, so that at most one of them at a time comes to the
//! database for a record. It is not what keeps the units right: the row is still locked, its
//! version still compared, so that two holders at once (a process that was paused, clocks that ran
//! apart) cost a wait and never a unit.
//!
//! The lease's fencing token goes into the row with the change. A holder that comes late finds a
//! larger one there, writes nothing, and takes a new lease. A token far ahead (a client's clock
//! once was, and the nodes have lost their counters since) is passed by in the same way: the new
//! lease is asked for above it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redlock::{Guard, LockError, Redlock};

use super::StockRepository;
use super::commit::Commit;
use crate::error::RepositoryError;
use crate::operation::StockKey;
use crate::request::{Identified, Request};
use crate::store::{BoxFuture, Store};
use crate::workbench::Answer;

/// How long a lease is waited for unless [`Redlocked::wait`] says otherwise.
const WAIT: Duration = Duration::from_secs(15);

/// How many leases are taken for one change whose tokens turn out to be stale.
const LEASES: u32 = 3;

/// Lease → transaction → apply → log → commit → release.
#[derive(Debug, Clone)]
pub struct Redlocked {
    store: Arc<dyn Store>,
    redlock: Redlock,
    wait: Duration,
}

impl Redlocked {
    /// A repository on this store, guarded by these locks.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, redlock: Redlock) -> Self {
        Self { store, redlock, wait: WAIT }
    }

    /// How long leases are waited for, for each change; 15 seconds unless set.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Carries the request out under a lease; again under another one where a record has seen a larger
    /// token.
    async fn carry_out(&self, request: &Identified) -> Result<Answer, RepositoryError> {
        let until = Instant::now() + self.wait;
        let mut floor = 0;
        for _ in 1..LEASES {
            match self.carry_out_above(floor, request, until).await {
                // Above it there is no floor to ask for.
                Err(RepositoryError::StaleFence { stored, fence, key }) if stored <= redlock::MAX_FENCE_FLOOR => {
                    tracing::info!(%key, fence, stored, "a lease was stale; taking another one");
                    floor = stored;
                }
                outcome => return outcome,
            }
        }
        self.carry_out_above(floor, request, until).await
    }

    /// Carries the request out under one lease over all its records, with a token above `floor`.
    async fn carry_out_above(
        &self,
        floor: u64,
        request: &Identified,
        until: Instant,
    ) -> Result<Answer, RepositoryError> {
        let keys = request.keys();
        // A request has at least one change.
        let key = request.changes()[0].key;
        let wait = until.saturating_duration_since(Instant::now());
        let resource: Vec<_> = keys.into_iter().map(StockKey::lock_key).collect();
        let lease = self.redlock.lock(resource).wait(wait).fence_floor(floor).await;
        let guard = lease.map_err(|error| not_locked(key, error))?;
        let fence = Some(guard.fence().get());
        let store = self.store.as_ref();
        let outcome = Commit { store, request, fence, permit: || still_held(&guard, key) }.run().await;
        // The answer does not hang on it: a release that fails ends with the lease.
        match guard.release().await {
            Ok(released) => tracing::trace!(?released, %key, "released"),
            Err(error) => tracing::debug!(%error, %key, "release"),
        }
        outcome
    }
}

impl StockRepository for Redlocked {
    fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn apply(&self, request: Request) -> BoxFuture<'_, Result<Answer, RepositoryError>> {
        Box::pin(async { self.carry_out(&request.identify()?).await })
    }
}

/// Asked right before the commit: a lease that has run out may be somebody else's by now.
fn still_held(guard: &Guard, key: StockKey) -> Result<(), RepositoryError> {
    if guard.is_valid() {
        return Ok(());
    }
    Err(RepositoryError::LeaseLost { key })
}

/// Contention and outage need different answers, also when it was the waiting time that ran out.
fn not_locked(key: StockKey, error: LockError) -> RepositoryError {
    match error {
        LockError::Contended { retry_after, .. } => RepositoryError::LockContended { key, retry_after },
        LockError::TimedOut { last, .. } => not_locked(key, *last),
        error => RepositoryError::LocksUnavailable { source: error.into() },
    }
}
