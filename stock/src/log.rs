//! What was done: one entry for every change, and the proof that the entries explain the levels.

use crate::hold::Held;
use crate::levels::StockLevels;
use crate::operation::{Id, Operation, Quantity, StockKey};
use crate::record::{StockRecord, StockRow};
use crate::request::{Change, ExpiresIn, OrderId, RequestId};
use crate::timestamp::Timestamp;

/// One change of one record. Written in the transaction that makes the change, never altered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// The number of the record that changed.
    pub stock_id: u64,
    /// Which variant, in which warehouse; kept so that the log can be read without the record.
    pub key: StockKey,
    /// The request it was a part of.
    pub request_id: RequestId,
    /// Which of the request's changes it was, counted from 0.
    pub position: u32,
    /// The order it was done for, if one was named.
    pub order_id: Option<OrderId>,
    /// After how long the order's hold was to end, where that was asked for.
    pub expires_in: Option<ExpiresIn>,
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

impl LogEntry {
    /// Whether it is what this change asks for.
    #[must_use]
    pub fn is_of(&self, change: &Change) -> bool {
        self.key == change.key
            && self.action == change.operation
            && self.quantity == change.quantity
            && self.order_id == change.order_id
            && self.expires_in == change.expires_in
    }

    /// The record as it was after it.
    #[must_use]
    pub fn record_after(&self, product_id: Id) -> StockRecord {
        StockRecord { id: self.stock_id, product_id, key: self.key, levels: self.after, version: self.version }
    }
}

/// An entry as it was read from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEntry {
    /// The number the database gave it.
    pub id: u64,
    /// When it was written.
    pub created_at: Timestamp,
    /// What it says.
    pub entry: LogEntry,
}

/// What the log of one record adds up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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

/// Adds up a log, entry by entry in the order of their versions.
#[derive(Debug, Default)]
pub struct LogWalk {
    summary: LogSummary,
    /// The entry before: its version and the levels it left.
    last: Option<(u64, StockLevels)>,
    /// The largest token so far.
    fence: u64,
}

impl LogWalk {
    /// Adds the next entry.
    pub fn add(&mut self, entry: &LogEntry) {
        let sum = &mut self.summary;
        let follows = |(version, after): (u64, StockLevels)| version + 1 == entry.version && after == entry.before;
        let is_stale = entry.fence.is_some_and(|fence| fence < self.fence);
        sum.breaks += u64::from(is_stale || !self.last.is_none_or(follows));
        sum.opening.get_or_insert(entry.before);
        sum.entries += 1;
        sum.available += difference(entry.before.available(), entry.after.available());
        sum.locked += difference(entry.before.locked(), entry.after.locked());
        sum.reserved += difference(entry.before.reserved(), entry.after.reserved());
        if entry.action == Operation::Deduct {
            sum.deducted += entry.quantity.get();
        }
        self.last = Some((entry.version, entry.after));
        self.fence = self.fence.max(entry.fence.unwrap_or_default());
    }

    /// Up to which version it has come.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.last.map_or(0, |(version, _)| version)
    }

    /// What it adds up to.
    #[must_use]
    pub fn summary(&self) -> LogSummary {
        self.summary
    }
}

/// Levels stay below 2^53, so their differences are exact.
fn difference(before: u64, after: u64) -> i64 {
    after.cast_signed() - before.cast_signed()
}

/// A record and what its log adds up to, read in one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audit {
    /// The record.
    pub record: StockRecord,
    /// Up to which version its log has been pruned.
    pub pruned_version: u64,
    /// What its row says that open holds cover.
    pub held: Held,
    /// What its holds add up to.
    pub holds: Held,
    /// Its log.
    pub log: LogSummary,
}

impl Audit {
    /// A row, with what its log and its holds add up to.
    #[must_use]
    pub fn new(row: &StockRow, log: LogSummary, holds: Held) -> Self {
        Self { record: row.record, pruned_version: row.pruned_version, held: row.held, holds, log }
    }

    /// Whether log and holds explain the record: the entries form one chain, there is one for each
    /// version that has not been pruned, what they did adds up to the levels, and the holds add up to
    /// what the row says of them.
    ///
    /// # Errors
    ///
    /// [`Discrepancy`] with both sides' figures.
    pub fn reconcile(&self) -> Result<(), Discrepancy> {
        let opening = self.log.opening.unwrap_or(self.record.levels);
        let levels = self.record.levels;
        let agrees = self.log.breaks == 0
            && self.pruned_version.checked_add(self.log.entries) == Some(self.record.version)
            && self.held == self.holds
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
    "the log does not explain the levels: version {} (pruned to {}) with {} entries and {} breaks between them; \
     levels {:?}, opened with {:?}, log sums {} available, {} locked, {} reserved; {:?} held, holds sum {:?}",
    audit.record.version, audit.pruned_version, audit.log.entries, audit.log.breaks, audit.record.levels, audit.log.opening,
    audit.log.available, audit.log.locked, audit.log.reserved, audit.held, audit.holds
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
            },
            pruned_version: 0,
            held: Held::default(),
            holds: Held::default(),
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
        let spoil: [fn(&mut Audit); 9] = [
            |audit| audit.pruned_version = 1,
            |audit| audit.held.locked = 1,
            |audit| audit.holds.reserved = 1,
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
    fn a_pruned_log_explains_what_came_after() {
        let mut audit = sold_three_of_ten();
        audit.pruned_version = 1;
        audit.log.entries = 2;
        assert_eq!(audit.reconcile(), Ok(()));
    }

    #[test]
    fn an_untouched_record_needs_no_log() {
        let mut audit = sold_three_of_ten();
        audit.record.version = 0;
        audit.log = LogSummary { entries: 0, opening: None, available: 0, deducted: 0, ..audit.log };
        assert_eq!(audit.reconcile(), Ok(()));
    }
}
