//! Bugs that suites must notice.
//!
//! Without the feature `failpoints` everything here is compiled away.

use std::time::Duration;

use tokio::sync::oneshot;

use super::job::Outcome;
use crate::error::RepositoryError;
pub(super) use crate::failpoint::{offend, planted, reached, sulk};
use crate::log::LogEntry;
use crate::record::RowWrite;
use crate::request::RequestId;
use crate::store::{StoreError, Transaction};
use crate::workbench::Answer;

/// Whether this process only compares the fence, and only when it writes: no claim, no version, no look
/// at the lease.
#[cfg(feature = "failpoints")]
pub(super) fn compares_at_write_time_only() -> bool {
    planted("redlocked-fence-at-write-only") || planted("redlocked-fence-ignored")
}

/// Never, without the feature.
#[cfg(not(feature = "failpoints"))]
pub(super) const fn compares_at_write_time_only() -> bool {
    false
}

/// Leaves the last of several entries out of the log.
pub(super) fn shorten(entries: &mut Vec<LogEntry>) {
    if entries.len() > 1 && planted("redlocked-log-shortened") {
        entries.pop();
    }
}

/// An answer before the commit, for callers who have waited for a moment.
pub(super) async fn answer_early(answer: &mut oneshot::Receiver<Outcome>) -> Option<Outcome> {
    if !planted("redlocked-answered-early") {
        return None;
    }
    let waited = tokio::time::timeout(Duration::from_millis(2), answer).await;
    let early = Answer { request_id: RequestId::make(), records: Vec::new(), replayed: false };
    Some(waited.map_or(Ok(early), |answer| answer.unwrap_or(Err(RepositoryError::Overloaded))))
}

/// Makes writes go over whatever version there is, as long as its token is not larger: what `UPDATE …
/// WHERE fence <= ?` would do.
#[cfg(feature = "failpoints")]
pub(super) async fn forget_versions(
    transaction: &mut dyn Transaction,
    writes: &mut [RowWrite],
    entries: &mut [LogEntry],
) -> Result<(), StoreError> {
    let keys: Vec<_> = writes.iter().map(|write| write.row.record.key).collect();
    for (stored, write) in transaction.claim(&keys).await?.into_iter().zip(writes) {
        if stored.fence > write.row.fence && !planted("redlocked-fence-ignored") {
            return Err(StoreError::Conflict(None));
        }
        let missed = stored.record.version - write.version;
        (write.version, write.fence) = (stored.record.version, stored.fence);
        write.row.record.version += missed;
        let of_row = entries.iter_mut().filter(|entry| entry.stock_id == stored.record.id);
        of_row.for_each(|entry| entry.version += missed);
    }
    Ok(())
}

/// Never, without the feature.
#[cfg(not(feature = "failpoints"))]
#[expect(clippy::unused_async, reason = "it is, with the feature")]
pub(super) async fn forget_versions(
    _transaction: &mut dyn Transaction,
    _writes: &mut [RowWrite],
    _entries: &mut [LogEntry],
) -> Result<(), StoreError> {
    Ok(())
}
