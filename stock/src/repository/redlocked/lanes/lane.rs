//! The lane of one record.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use redlock::Guard;

use crate::error::RepositoryError;
use crate::record::StockRow;
use crate::repository::redlocked::job::Job;

/// How long a lease is kept while there is work, and while there is none: after that others get their
/// turn, if there are any.
const ALONE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(50));

/// How long, where others seem to be waiting.
const SHARED: (Duration, Duration) = (Duration::from_millis(30), Duration::from_millis(10));

/// Leases that took longer than this to be had were somebody else's before.
const AT_ONCE: Duration = Duration::from_millis(5);

/// Who waits for a record, and its lease.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) queue: VecDeque<Entry>,
    pub(super) lease: Lease,
    /// The token of the next lease has to be above this one.
    pub(super) floor: u64,
    /// Whether it stands in the list of those that may go into a transaction.
    pub(super) is_ready: bool,
}

/// Something to be done.
#[derive(Debug)]
pub(super) enum Entry {
    /// A request about this record alone.
    One(Job),
    /// The number of a request over several records.
    Many(u64),
}

/// How things stand with a record's lease.
#[derive(Debug, Default)]
pub(super) enum Lease {
    /// There is none.
    #[default]
    None,
    /// It is being taken.
    Asked,
    /// It is there, and nothing is under way under it.
    Held(Held),
    /// A transaction is under way under it.
    Busy(Held),
    /// The first request in the lane takes one over several records.
    InGroup,
}

impl Lease {
    /// The transaction is over and has left the row so, as far as that is known.
    pub(super) fn free(&mut self, row: Option<StockRow>) {
        *self = match std::mem::take(self) {
            Self::Busy(held) => Self::Held(Held { row, ..held }),
            other => other,
        };
    }
}

/// A lease.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) guard: Guard,
    /// The row as it was committed last under this lease; `None` until it is claimed.
    pub(super) row: Option<StockRow>,
    /// When others are to have their turn.
    until: Instant,
    /// Since when there is nothing to do.
    pub(super) idle_since: Option<Instant>,
    /// How long that may last.
    linger: Duration,
}

impl Held {
    /// A lease that was waited for so long.
    pub(super) fn new(guard: Guard, waited: Duration) -> Self {
        let (hold, linger) = if waited > AT_ONCE { SHARED } else { ALONE };
        Self { guard, row: None, until: Instant::now() + hold, idle_since: None, linger }
    }

    /// Whether another transaction may begin under it.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        now < self.until && self.guard.is_valid()
    }
}

impl Lane {
    /// The requests that come next and are about this record alone, at least one, and not many more
    /// changes than there is room for.
    pub(super) fn take_jobs(&mut self, room: usize) -> Vec<Job> {
        let (mut jobs, mut changes) = (Vec::new(), 0);
        while changes < room
            && let Some(Entry::One(job)) = self.queue.pop_front_if(|entry| matches!(entry, Entry::One(_)))
        {
            changes += job.request.changes().len();
            jobs.push(job);
        }
        jobs
    }

    /// Answers those who have waited long enough for a lease; the first one in any case.
    pub(super) fn give_up(&mut self, error: impl Fn() -> RepositoryError) {
        let (now, mut is_first) = (Instant::now(), true);
        while let Some(Entry::One(job)) = self.queue.pop_front_if(|entry| match entry {
            Entry::One(job) => is_first || job.until <= now,
            Entry::Many(_) => false,
        }) {
            is_first = false;
            job.answer(Err(error()));
        }
    }

    /// Whether there has been nothing to do for longer than a lease stays; for any time, when closing.
    pub(super) fn is_idle(&self, now: Instant, closing: bool) -> bool {
        let is_over = |held: &Held, since| closing || now.duration_since(since) >= held.linger;
        match &self.lease {
            Lease::Held(held) => held.idle_since.is_some_and(|since| is_over(held, since)),
            _ => false,
        }
    }
}
