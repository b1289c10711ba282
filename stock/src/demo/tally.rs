//! What the buyers were told: the only side of a sale that cannot be looked up afterwards.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::error::RepositoryError;
use crate::operation::Operation;

/// How an operation ended for the buyer who asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was done.
    Done,
    /// The levels did not allow it.
    Refused,
    /// It was not done, for another reason.
    Failed(&'static str),
    /// It may have been done.
    Unknown(&'static str),
}

impl From<&RepositoryError> for Outcome {
    fn from(error: &RepositoryError) -> Self {
        match error {
            RepositoryError::Refused(_) => Self::Refused,
            RepositoryError::OutcomeUnknown { .. } => Self::Unknown(error.code()),
            _ => Self::Failed(error.code()),
        }
    }
}

/// Everything the buyers were told, shared by all of them.
#[derive(Debug)]
pub(super) struct Tally(Mutex<Told>);

/// Sums over all buyers.
#[derive(Debug, Clone)]
pub(super) struct Told {
    /// Operations that were done.
    pub(super) operations: u64,
    /// Operations the levels did not allow.
    pub(super) refused: u64,
    /// Operations that failed for another reason, by error code.
    pub(super) failed: BTreeMap<&'static str, u64>,
    /// How long each answer took, in microseconds.
    pub(super) latency: Histogram<u64>,
    done: Units,
    /// Asked for, and never answered with yes or no.
    unsettled: Units,
}

/// Units by operation.
type Units = BTreeMap<Operation, u64>;

impl Tally {
    pub(super) fn new() -> Self {
        let told = Told {
            operations: 0,
            refused: 0,
            failed: BTreeMap::new(),
            // Three digits are more than the machine repeats.
            latency: Histogram::new(3).expect("3 significant digits are allowed"),
            done: Units::new(),
            unsettled: Units::new(),
        };
        Self(Mutex::new(told))
    }

    /// An operation is asked for. Until it is settled its units may be on either side.
    pub(super) fn asked(&self, operation: Operation, units: u64) {
        *self.told().unsettled.entry(operation).or_default() += units;
    }

    /// An operation has ended.
    pub(super) fn answered(&self, operation: Operation, units: u64, outcome: Outcome, took: Duration) {
        let mut told = self.told();
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // It grows with its values, so every one of them fits.
        let _ = told.latency.record(micros);
        if !matches!(outcome, Outcome::Unknown(_)) {
            *told.unsettled.entry(operation).or_default() -= units;
        }
        match outcome {
            Outcome::Done => {
                told.operations += 1;
                *told.done.entry(operation).or_default() += units;
            }
            Outcome::Refused => told.refused += 1,
            Outcome::Failed(code) | Outcome::Unknown(code) => {
                *told.failed.entry(code).or_default() += 1;
            }
        }
    }

    /// The sums as they are now.
    pub(super) fn snapshot(&self) -> Told {
        self.told().clone()
    }

    /// Done operations, refused ones and sold units, without copying everything.
    pub(super) fn counts(&self) -> (u64, u64, u64) {
        let told = self.told();
        (told.operations, told.refused, told.sold())
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    /// Units that were handed to buyers.
    pub(super) fn sold(&self) -> u64 {
        self.units(Operation::Deduct)
    }

    /// Units that may have been handed out beyond that: nobody was told whether they were.
    pub(super) fn maybe_sold(&self) -> u64 {
        self.unsettled.get(&Operation::Deduct).copied().unwrap_or(0)
    }

    /// Units that buyers were promised and did not give back, sold or not.
    pub(super) fn promised(&self) -> u64 {
        let given_back = self.units(Operation::Unlock) + self.unsettled.get(&Operation::Unlock).copied().unwrap_or(0);
        self.units(Operation::Lock).saturating_sub(given_back)
    }

    /// Operations that failed, whatever the reason.
    pub(super) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    fn units(&self, operation: Operation) -> u64 {
        self.done.get(&operation).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(1);

    #[test]
    fn promises_are_what_was_locked_and_not_given_back() {
        let tally = Tally::new();
        for (operation, units, outcome) in [
            (Operation::Lock, 3, Outcome::Done),
            (Operation::Lock, 2, Outcome::Done),
            (Operation::Lock, 9, Outcome::Refused),
            (Operation::Unlock, 2, Outcome::Done),
            (Operation::Reserve, 3, Outcome::Done),
            (Operation::Deduct, 3, Outcome::Done),
        ] {
            tally.asked(operation, units);
            tally.answered(operation, units, outcome, TOOK);
        }
        let told = tally.snapshot();
        assert_eq!((told.sold(), told.maybe_sold(), told.promised()), (3, 0, 3));
        assert_eq!((told.operations, told.refused, told.failures()), (5, 1, 0));
    }

    #[test]
    fn what_nobody_answered_counts_for_neither_side() {
        let tally = Tally::new();
        tally.asked(Operation::Lock, 3);
        tally.answered(Operation::Lock, 3, Outcome::Done, TOOK);
        tally.asked(Operation::Unlock, 1);
        tally.answered(Operation::Unlock, 1, Outcome::Unknown("outcome_unknown"), TOOK);
        tally.asked(Operation::Deduct, 2);
        let told = tally.snapshot();
        assert_eq!((told.sold(), told.maybe_sold(), told.promised()), (0, 2, 2));
        assert_eq!(told.failures(), 1);
    }
}
