//! What one lease brings into a transaction, and what becomes of it.

use redlock::Lease;

use super::job::{Job, Outcome};
use crate::operation::StockKey;
use crate::record::StockRow;

/// Whose lease it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// That of a record.
    Lane(StockKey),
    /// That of a request over several records.
    Group(u64),
}

/// Requests that are carried out under one lease, in their order.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) owner: Owner,
    pub(super) lease: Lease,
    /// Sorted.
    pub(super) keys: Vec<StockKey>,
    /// The row as this lease committed it last; empty until it has claimed it.
    pub(super) rows: Vec<StockRow>,
    pub(super) jobs: Vec<Job>,
}

impl Part {
    pub(super) fn is_claimed(&self) -> bool {
        !self.rows.is_empty()
    }

    pub(super) fn fence(&self) -> u64 {
        self.lease.fence().get()
    }
}

/// What has become of a part.
#[derive(Debug)]
pub(super) enum Fate {
    /// It is settled: an outcome for each job, and the rows as they are now, as far as the lease has
    /// them.
    Done {
        /// Empty where the lease has to claim (again).
        rows: Vec<StockRow>,
        /// In the order of the jobs.
        outcomes: Vec<Outcome>,
    },
    /// Somebody was in the way: it has to be carried out alone, so that nobody else waits for it.
    Alone,
    /// The record has seen a larger token.
    Stale {
        /// Which record.
        key: StockKey,
        /// The larger token.
        stored: u64,
    },
    /// The lease ended before the commit.
    Lost,
}
