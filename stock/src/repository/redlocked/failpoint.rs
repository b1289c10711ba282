//! Moments at which tests stop the process, and a bug that they must notice.
//!
//! Without the feature `failpoints` everything here is compiled away.

use crate::log::LogEntry;
use crate::record::RowWrite;
use crate::store::{StoreError, Transaction};

/// A moment has come.
#[cfg(feature = "failpoints")]
pub(super) fn reached(name: &str) {
    let _ = fail::eval(name, |_| ());
}

/// Nothing happens, without the feature.
#[cfg(not(feature = "failpoints"))]
pub(super) const fn reached(_name: &str) {}

/// Whether this process only compares the fence, and only when it writes: no claim, no version, no look
/// at the lease.
#[cfg(feature = "failpoints")]
pub(super) fn compares_at_write_time_only() -> bool {
    fail::eval("redlocked-fence-at-write-only", |_| ()).is_some()
}

/// Never, without the feature.
#[cfg(not(feature = "failpoints"))]
pub(super) const fn compares_at_write_time_only() -> bool {
    false
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
        if stored.fence > write.row.fence {
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
