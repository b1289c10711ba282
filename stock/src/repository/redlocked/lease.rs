//! Taking leases.

use std::time::Instant;

use redlock::{Guard, LockError, Redlock};

use super::part::Owner;
use crate::error::RepositoryError;
use crate::operation::StockKey;

/// A lease to be taken.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) owner: Owner,
    /// Sorted.
    pub(super) keys: Vec<StockKey>,
    /// Its token has to be above this one.
    pub(super) floor: u64,
    pub(super) until: Instant,
    /// The lease that ends here, so that others get their turn.
    pub(super) before: Option<Guard>,
}

impl Wanted {
    pub(super) async fn take(&mut self, redlock: &Redlock) -> Result<Guard, LockError> {
        // With the answer to the release the lock manager learns who else waits, and lets them go first.
        if let Some(guard) = self.before.take()
            && let Err(error) = guard.release().await
        {
            tracing::debug!(%error, "release");
        }
        let resource: Vec<_> = self.keys.iter().copied().map(StockKey::lock_key).collect();
        let wait = self.until.saturating_duration_since(Instant::now());
        redlock.lock(resource).wait(wait).fence_floor(self.floor).await
    }
}

/// Contention and outage need different answers, also when it was the waiting time that ran out.
pub(super) fn not_locked(key: StockKey, error: &LockError) -> RepositoryError {
    match error {
        LockError::Contended { retry_after, .. } => RepositoryError::LockContended { key, retry_after: *retry_after },
        LockError::TimedOut { last, .. } => not_locked(key, last),
        error => RepositoryError::LocksUnavailable { source: error.clone().into() },
    }
}
