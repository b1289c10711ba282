//! A stock record as callers see it, and the row that is kept of it.

use crate::hold::{Held, Hold, Refusal, Units};
use crate::levels::StockLevels;
use crate::log::LogEntry;
use crate::operation::{Id, StockKey};
use crate::request::{Change, RequestId};

/// What is known of a variant in a warehouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StockRecord {
    /// The number the database gave it.
    pub id: u64,
    /// The product the variant belongs to.
    pub product_id: Id,
    /// Which variant, in which warehouse.
    pub key: StockKey,
    /// How many units there are.
    pub levels: StockLevels,
    /// How many changes there have been; every writer raises it.
    pub version: u64,
}

/// A record with everything that writers need to know beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StockRow {
    /// The record.
    pub record: StockRecord,
    /// The largest fencing token any writer has brought along; 0 until one has.
    pub fence: u64,
    /// What open holds cover of its locked and reserved units.
    pub held: Held,
    /// Up to which version the log has been pruned.
    pub pruned_version: u64,
    /// Where its levels live, if that is not here.
    pub residence: Option<Residence>,
}

/// Levels that live in Redis: up to where they have been written back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Residence {
    /// Which life in Redis it is: drawn whenever levels are loaded, and no other life has the same.
    pub epoch: u64,
    /// The last change of that epoch that has been written back.
    pub sequence: u64,
}

impl StockRow {
    /// What a change does to this row and to the order's hold, ready to be written: under the lease
    /// with the token `fence`, or without one, which leaves the row's as it is.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if levels or holds do not allow it.
    pub fn change(
        &self,
        change: &Change,
        hold: Option<&Hold>,
        fence: Option<u64>,
        name: (&RequestId, u32),
    ) -> Result<Changed, Refusal> {
        let before = self.record.levels;
        let units = Units { levels: before, held: self.held };
        let (after, hold) = units.apply(self.record.id, hold, change)?;
        let record = StockRecord { levels: after.levels, version: self.record.version + 1, ..self.record };
        let entry = LogEntry {
            stock_id: record.id,
            key: record.key,
            request_id: name.0.clone(),
            position: name.1,
            order_id: change.order_id.clone(),
            expires_in: change.expires_in,
            action: change.operation,
            quantity: change.quantity,
            before,
            after: after.levels,
            fence,
            version: record.version,
        };
        let row = Self { record, fence: fence.unwrap_or(self.fence), held: after.held, ..*self };
        Ok(Changed { row, hold, entry })
    }
}

/// What a change comes to.
#[derive(Debug, Clone)]
pub struct Changed {
    /// The row after it.
    pub row: StockRow,
    /// The order's hold after it, where it names an order.
    pub hold: Option<Hold>,
    /// What the log says of it.
    pub entry: LogEntry,
}

/// A row to be written over the one it was made from, and over no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowWrite {
    /// The version that was read.
    pub version: u64,
    /// The fence that was read.
    pub fence: u64,
    /// What is written.
    pub row: StockRow,
}

impl RowWrite {
    /// `after` in the place of `before`, which is what was read.
    #[must_use]
    pub fn new(before: &StockRow, after: StockRow) -> Self {
        Self { version: before.record.version, fence: before.fence, row: after }
    }
}
