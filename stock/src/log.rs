//! What was done: one entry for every change, and the proof that the entries explain the levels.

use crate::levels::StockLevels;
use crate::operation::{Operation, Quantity, StockKey};
use crate::record::StockRecord;

/// One change of one record. Written in the transaction that makes the change, never altered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEntry {
    /// The number of the record that changed.
    pub stock_id: u64,
    /// Which variant, in which warehouse; kept so that the log can be read without the record.
    pub key: StockKey,
    /// What was done.
    pub action: Operation,
    /// With how many units.
    pub quantity: Quantity,
    /// The levels it found.
    pub before: StockLevels,
    /// The levels it left.
    pub after: StockLevels,
    /// The fencing token of the lease it was made under, if there was one.
    pub fence: Option<u64>,
    /// The version of the record after it. A record has one entry for each version.
    pub version: u64,
}

/// What the log of one record adds up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSummary {
    /// How many entries there are.
    pub entries: u64,
    /// The levels before the first entry; `None` without entries.
    pub opening: Option<StockLevels>,
    /// Entries that do not begin where the one before them ended, leave a version out, or were made
    /// under an older lease than one before them.
    pub breaks: u64,
    /// The sum of what the entries did to the available units.
    pub available: i64,
    /// The sum of what the entries did to the locked units.
    pub locked: i64,
    /// The sum of what the entries did to the reserved units.
    pub reserved: i64,
    /// The sum of all deducted units.
    pub deducted: u64,
}

/// A record and what its log adds up to, read in one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audit {
    /// The record.
    pub record: StockRecord,
    /// Its log.
    pub log: LogSummary,
}

impl Audit {
    /// Whether the log explains the record: the entries form one chain, there is one for each
    /// version, and what they did adds up to the levels.
    ///
    /// # Errors
    ///
    /// [`Discrepancy`] with both sides' figures.
    pub fn reconcile(&self) -> Result<(), Discrepancy> {
        let opening = self.log.opening.unwrap_or(self.record.levels);
        let levels = self.record.levels;
        let agrees = self.log.breaks == 0
            && self.log.entries == self.record.version
            && moved(opening.available(), levels.available()) == i128::from(self.log.available)
            && moved(opening.locked(), levels.locked()) == i128::from(self.log.locked)
            && moved(opening.reserved(), levels.reserved()) == i128::from(self.log.reserved);
        if agrees {
            return Ok(());
        }
        Err(Discrepancy { audit: Box::new(*self) })
    }
}

/// The log of a record does not explain its levels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the log does not explain the levels: version {} with {} entries and {} breaks between them; levels {:?}, \
     opened with {:?}, log sums {} available, {} locked, {} reserved",
    audit.record.version, audit.log.entries, audit.log.breaks, audit.record.levels, audit.log.opening,
    audit.log.available, audit.log.locked, audit.log.reserved
)]
pub struct Discrepancy {
    /// Both sides.
    pub audit: Box<Audit>,
}

fn moved(from: u64, to: u64) -> i128 {
    i128::from(to) - i128::from(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sold_three_of_ten() -> Audit {
        let levels = StockLevels::new(7, 0, 0).unwrap();
        Audit {
            record: StockRecord {
                id: 1,
                product_id: crate::operation::Id::new(1).unwrap(),
                key: StockKey::new(1, 0).unwrap(),
                levels,
                version: 3,
                fence: 0,
            },
            log: LogSummary {
                entries: 3,
                opening: Some(StockLevels::new(10, 0, 0).unwrap()),
                breaks: 0,
                available: -3,
                locked: 0,
                reserved: 0,
                deducted: 3,
            },
        }
    }

    #[test]
    fn a_full_log_explains_the_levels() {
        assert_eq!(sold_three_of_ten().reconcile(), Ok(()));
    }

    #[test]
    fn whatever_is_missing_or_doubled_is_noticed() {
        let spoil: [fn(&mut Audit); 6] = [
            |audit| audit.log.entries = 2,
            |audit| audit.record.version = 4,
            |audit| audit.log.breaks = 1,
            |audit| audit.log.available = -2,
            |audit| audit.log.locked = 1,
            |audit| audit.log.reserved = -1,
        ];
        for spoil in spoil {
            let mut audit = sold_three_of_ten();
            spoil(&mut audit);
            assert!(audit.reconcile().is_err(), "{audit:?}");
        }
    }

    #[test]
    fn an_untouched_record_needs_no_log() {
        let mut audit = sold_three_of_ten();
        audit.record.version = 0;
        audit.log = LogSummary { entries: 0, opening: None, available: 0, deducted: 0, ..audit.log };
        assert_eq!(audit.reconcile(), Ok(()));
    }
}
