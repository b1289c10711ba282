//! A stock record as it stands, and what the next one is.

use crate::levels::{LevelsError, StockLevels};
use crate::log::LogEntry;
use crate::operation::{Id, Operation, Quantity, StockKey};

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
    /// The largest fencing token any writer has brought along; 0 until one has.
    pub fence: u64,
}

impl StockRecord {
    /// What an operation would do to this record, ready to be written: under the lease with the
    /// token `fence`, or without one, which leaves the record's as it is.
    ///
    /// # Errors
    ///
    /// [`LevelsError`] if the levels do not allow it.
    pub fn change(
        &self,
        operation: Operation,
        quantity: Quantity,
        fence: Option<u64>,
    ) -> Result<(Self, LogEntry), LevelsError> {
        let after = Self {
            levels: self.levels.apply(operation, quantity)?,
            version: self.version + 1,
            fence: fence.unwrap_or(self.fence),
            ..*self
        };
        let entry = LogEntry {
            stock_id: self.id,
            key: self.key,
            action: operation,
            quantity,
            before: self.levels,
            after: after.levels,
            fence,
            version: after.version,
        };
        Ok((after, entry))
    }
}
