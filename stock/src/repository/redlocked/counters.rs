//! What happens at the desk, counted, for whoever wants to show it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::contention::Meters;

/// How many classes a distribution has: class `n` takes what is below 2^n and not in one before it, and
/// the last one takes everything else.
pub const CLASSES: usize = 32;

/// Counts that only grow.
#[derive(Debug)]
pub(super) struct Counters {
    /// The same for whoever installed a recorder.
    meters: Meters,
    pub(super) repeats: Repeats,
    pub(super) neighbours: Neighbours,
    waits: Classes,
    requests: Classes,
    records: Classes,
    commits: Classes,
    acquisitions: Classes,
    hand_overs: AtomicU64,
    stale: AtomicU64,
    lost: AtomicU64,
    conflicts: AtomicU64,
    alone: AtomicU64,
    settled: AtomicU64,
    overloaded: AtomicU64,
}

impl Counters {
    pub(super) fn new(meters: Meters) -> Self {
        Self {
            meters,
            repeats: Repeats::default(),
            neighbours: Neighbours::new(),
            waits: Classes::default(),
            requests: Classes::default(),
            records: Classes::default(),
            commits: Classes::default(),
            acquisitions: Classes::default(),
            hand_overs: AtomicU64::default(),
            stale: AtomicU64::default(),
            lost: AtomicU64::default(),
            conflicts: AtomicU64::default(),
            alone: AtomicU64::default(),
            settled: AtomicU64::default(),
            overloaded: AtomicU64::default(),
        }
    }

    /// A request waited so long for the transaction to begin that carried it out.
    pub(super) fn waited(&self, time: Duration) {
        self.waits.add_time(time);
        self.meters.waited(time);
    }

    /// COMMIT was answered after so long.
    pub(super) fn committed(&self, time: Duration) {
        self.commits.add_time(time);
        self.meters.committed(time);
    }

    /// So many requests about so many records were carried out in one transaction.
    pub(super) fn together(&self, records: usize, requests: usize) {
        self.records.add(records);
        self.requests.add(requests);
        self.meters.batch(requests);
    }

    /// A lease was there for a transaction before.
    pub(super) fn handed_over(&self) {
        self.meters.handed_over();
    }

    /// A lease was had after so long.
    pub(super) fn acquired(&self, time: Duration) {
        self.acquisitions.add_time(time);
    }

    /// A transaction was rolled back because of somebody else.
    pub(super) fn conflicted(&self) {
        count(&self.conflicts);
        self.meters.conflicted();
    }

    /// A lease was let go of, so that others get their turn.
    pub(super) fn yielded(&self) {
        count(&self.hand_overs);
        self.meters.yielded();
    }

    /// A lease's record had seen a larger token.
    pub(super) fn stale(&self) {
        count(&self.stale);
        self.meters.stale();
    }

    /// A lease ended before a commit.
    pub(super) fn lost(&self) {
        count(&self.lost);
        self.meters.lost();
    }

    /// A part was taken out of a transaction, to be carried out alone.
    pub(super) fn alone(&self) {
        count(&self.alone);
        self.meters.alone();
    }

    /// A commit whose answer was lost was found, or found not to have been.
    pub(super) fn settled(&self) {
        count(&self.settled);
        self.meters.settled();
    }

    /// A request was refused because too many waited already.
    pub(super) fn overloaded(&self) {
        count(&self.overloaded);
        self.meters.overloaded();
    }

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

/// Whether requests come again lately. Almost all are new, and the log refuses those that are not: so
/// they are tried first, and looked for first only while some have turned out to be no news.
#[derive(Debug, Default)]
pub(super) struct Repeats(AtomicU64);

impl Repeats {
    /// For how many transactions one that came again is remembered.
    const REMEMBERED: u64 = 200;

    /// One has come again.
    pub(super) fn seen(&self) {
        self.0.store(Self::REMEMBERED, Ordering::Relaxed);
    }

    /// Whether the next transaction should look first.
    pub(super) fn are_expected(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

/// Whether somebody without a lease writes the same rows lately, or holds them: an instance with row locks, perhaps one
/// that was stopped. Then known rows are locked like new ones, without waiting, so that its rows hold up no others; as
/// a rule nobody is there, and that statement is saved.
#[derive(Debug)]
pub(super) struct Neighbours {
    began: Instant,
    /// Until when one is expected, in milliseconds since the beginning.
    until: AtomicU64,
}

impl Neighbours {
    /// How long one is remembered: a stopped one holds its rows about as long.
    const REMEMBERED: Duration = Duration::from_secs(12);

    fn new() -> Self {
        Self { began: Instant::now(), until: AtomicU64::new(0) }
    }

    /// One was in the way.
    pub(super) fn seen(&self) {
        self.until.fetch_max(self.now() + millis(Self::REMEMBERED), Ordering::Relaxed);
    }

    /// Whether the next transaction should expect one.
    pub(super) fn are_expected(&self) -> bool {
        self.now() < self.until.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        millis(self.began.elapsed())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// One more of these.
fn count(counter: &AtomicU64) {
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
    /// How long requests waited for the transaction to begin that carried them out, in microseconds.
    pub waits: Distribution,
    /// How many requests each transaction carried out.
    pub requests: Distribution,
    /// How many records each of them was about.
    pub records: Distribution,
    /// How long commits took, from COMMIT to its answer, in microseconds.
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
    fn repeats_are_expected_for_a_while_after_one() {
        let repeats = Repeats::default();
        assert!(!repeats.are_expected());
        repeats.seen();
        let expected = (0..1_000).filter(|_| repeats.are_expected()).count();
        assert_eq!(expected, 200);
    }

    #[test]
    fn neighbours_are_expected_once_one_was_seen() {
        let neighbours = Neighbours::new();
        assert!(!neighbours.are_expected());
        neighbours.seen();
        assert!(neighbours.are_expected());
    }

    #[test]
    fn values_are_counted_in_their_class() {
        let classes = Classes::default();
        for value in [0, 1, 2, 3, 4, 1_000_000_000_000] {
            classes.add(value);
        }
        let seen = classes.snapshot();
        assert_eq!((&seen.counts[..4], seen.counts[CLASSES - 1]), (&[1, 1, 2, 1][..], 1));
        assert_eq!((seen.count(), seen.sum), (6, 1_000_000_000_010));
        assert_eq!(Counters::new(Meters::none()).snapshot().waits.mean(), 0);
    }
}
