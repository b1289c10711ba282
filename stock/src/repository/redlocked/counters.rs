//! What happens at the desk, counted, for whoever wants to show it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many classes a distribution has: class `n` takes what is below 2^n and not in one before it, and
/// the last one takes everything else.
pub const CLASSES: usize = 32;

/// Counts that only grow.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// From being asked until the transaction begins, in microseconds.
    pub(super) waits: Classes,
    /// Requests in a transaction.
    pub(super) requests: Classes,
    /// Records in a transaction.
    pub(super) records: Classes,
    /// From BEGIN until the answer to COMMIT, in microseconds.
    pub(super) commits: Classes,
    /// How long leases were waited for, in microseconds.
    pub(super) acquisitions: Classes,
    pub(super) hand_overs: AtomicU64,
    pub(super) stale: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) conflicts: AtomicU64,
    pub(super) alone: AtomicU64,
    pub(super) settled: AtomicU64,
    pub(super) overloaded: AtomicU64,
}

impl Counters {
    pub(super) fn snapshot(&self) -> Snapshot {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Snapshot {
            waits: self.waits.snapshot(),
            requests: self.requests.snapshot(),
            records: self.records.snapshot(),
            commits: self.commits.snapshot(),
            acquisitions: self.acquisitions.snapshot(),
            hand_overs: of(&self.hand_overs),
            stale: of(&self.stale),
            lost: of(&self.lost),
            conflicts: of(&self.conflicts),
            alone: of(&self.alone),
            settled: of(&self.settled),
            overloaded: of(&self.overloaded),
        }
    }
}

/// One more of these.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Values by their order of magnitude.
#[derive(Debug, Default)]
pub(super) struct Classes {
    sum: AtomicU64,
    counts: [AtomicU64; CLASSES],
}

impl Classes {
    pub(super) fn add(&self, value: usize) {
        self.add_u64(u64::try_from(value).unwrap_or(u64::MAX));
    }

    pub(super) fn add_time(&self, time: Duration) {
        self.add_u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    fn add_u64(&self, value: u64) {
        let bits = usize::try_from(u64::BITS - value.leading_zeros()).unwrap_or(CLASSES);
        count(&self.counts[bits.min(CLASSES - 1)]);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    fn snapshot(&self) -> Distribution {
        let counts = std::array::from_fn(|class| self.counts[class].load(Ordering::Relaxed));
        Distribution { sum: self.sum.load(Ordering::Relaxed), counts }
    }
}

/// The counts at one moment, as near as counting without a lock comes to that.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// How long requests waited for their transaction to begin, in microseconds.
    pub waits: Distribution,
    /// How many requests went into each transaction.
    pub requests: Distribution,
    /// How many records went into each transaction.
    pub records: Distribution,
    /// How long transactions took, from BEGIN to the answer to COMMIT, in microseconds.
    pub commits: Distribution,
    /// How long leases were waited for until they were had, in microseconds.
    pub acquisitions: Distribution,
    /// Leases that were released so that others get their turn, although there was more to do.
    pub hand_overs: u64,
    /// Leases whose record had seen a larger token.
    pub stale: u64,
    /// Leases that ended before a commit.
    pub lost: u64,
    /// Transactions that were rolled back because somebody else was in the way.
    pub conflicts: u64,
    /// Parts of transactions that were taken out and carried out alone.
    pub alone: u64,
    /// Commits whose answer was lost and found.
    pub settled: u64,
    /// Requests that were refused because too many waited already.
    pub overloaded: u64,
}

/// Values by their order of magnitude.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// All values together.
    pub sum: u64,
    /// How many values there were below 1, 2, 4, … 2^30, each counted once; the last one counts all
    /// others.
    pub counts: [u64; CLASSES],
}

impl Distribution {
    /// How many values there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The arithmetic mean; zero where there is none.
    #[must_use]
    pub fn mean(&self) -> u64 {
        self.sum.checked_div(self.count()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_in_their_class() {
        let classes = Classes::default();
        for value in [0, 1, 2, 3, 4, 1_000_000_000_000] {
            classes.add(value);
        }
        let seen = classes.snapshot();
        assert_eq!((&seen.counts[..4], seen.counts[CLASSES - 1]), (&[1, 1, 2, 1][..], 1));
        assert_eq!((seen.count(), seen.sum), (6, 1_000_000_000_010));
        assert_eq!(Counters::default().snapshot().waits.mean(), 0);
    }
}
