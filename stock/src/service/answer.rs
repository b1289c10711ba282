//! What clients get, as JSON: names and numbers as they are documented, whatever they are called inside.

use serde::Serialize;
use utoipa::ToSchema;

use crate::hold::Hold;
use crate::levels::StockLevels;
use crate::log::LoggedEntry;
use crate::record::StockRecord;
use crate::store::Page;
use crate::timestamp::Timestamp;

/// A variant in a warehouse.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(super) struct Record {
    /// The number of the record.
    pub(super) id: u64,
    /// The product that the variant belongs to.
    pub(super) product_id: u64,
    /// The variant.
    pub(super) variant_id: u64,
    /// The warehouse; 0 is the default one.
    pub(super) warehouse_id: u64,
    /// Units on hand: available, locked and reserved ones.
    pub(super) stock: u64,
    /// Units that anyone may order.
    pub(super) available_stock: u64,
    /// Units of orders that are not paid yet.
    pub(super) locked_stock: u64,
    /// Units of paid orders that are not shipped yet.
    pub(super) reserved_stock: u64,
    /// How many changes there have been.
    pub(super) version: u64,
}

impl From<StockRecord> for Record {
    fn from(record: StockRecord) -> Self {
        Self {
            id: record.id,
            product_id: record.product_id.get(),
            variant_id: record.key.variant_id.get(),
            warehouse_id: record.key.warehouse_id.get(),
            stock: record.levels.stock(),
            available_stock: record.levels.available(),
            locked_stock: record.levels.locked(),
            reserved_stock: record.levels.reserved(),
            version: record.version,
        }
    }
}

/// The records after a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Records {
    /// For each operation the record after it, in the order they were asked for.
    pub(super) records: Vec<Record>,
}

/// Units of a record.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Levels {
    stock: u64,
    available_stock: u64,
    locked_stock: u64,
    reserved_stock: u64,
}

impl From<StockLevels> for Levels {
    fn from(levels: StockLevels) -> Self {
        Self {
            stock: levels.stock(),
            available_stock: levels.available(),
            locked_stock: levels.locked(),
            reserved_stock: levels.reserved(),
        }
    }
}

/// A change that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LogItem {
    id: u64,
    /// The request that it was a part of.
    request_id: String,
    /// The order it was made for.
    order_id: Option<String>,
    /// lock, unlock, reserve, release, deduct, add or reset.
    action: &'static str,
    quantity: u64,
    before: Levels,
    after: Levels,
    /// The fencing token of the lease it was made under.
    fence: Option<u64>,
    /// The version of the record after it.
    version: u64,
    /// When it was written, by the database's clock.
    #[schema(format = DateTime)]
    created_at: String,
}

impl From<LoggedEntry> for LogItem {
    fn from(logged: LoggedEntry) -> Self {
        let entry = logged.entry;
        Self {
            id: logged.id,
            request_id: entry.request_id.to_string(),
            order_id: entry.order_id.as_ref().map(ToString::to_string),
            action: entry.action.name(),
            quantity: entry.quantity.get(),
            before: entry.before.into(),
            after: entry.after.into(),
            fence: entry.fence,
            version: entry.version,
            created_at: moment(logged.created_at),
        }
    }
}

/// What an order holds of a record.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HoldItem {
    id: u64,
    order_id: String,
    variant_id: u64,
    warehouse_id: u64,
    /// Units that are ordered and not paid yet.
    locked: u64,
    /// Units that are paid and not shipped yet.
    reserved: u64,
    /// open; closed: nothing is left of it; expired: nothing is left, because it was not paid in time.
    state: &'static str,
    /// When what is locked may be unlocked, by the database's clock; null for never.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
}

impl From<Hold> for HoldItem {
    fn from(hold: Hold) -> Self {
        Self {
            // Listed ones are written down.
            id: hold.id.unwrap_or_default(),
            variant_id: hold.key.variant_id.get(),
            warehouse_id: hold.key.warehouse_id.get(),
            locked: hold.held.locked,
            reserved: hold.held.reserved,
            state: hold.state.name(),
            expires_at: hold.ends_at().map(moment),
            order_id: hold.order_id.to_string(),
        }
    }
}

/// Some of many.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct List<T> {
    /// At most `limit` of them.
    pub(super) items: Vec<T>,
    /// What to ask for the next page with; null where this is the last one.
    pub(super) next_cursor: Option<u64>,
}

impl<T, U: From<T>> From<Page<T>> for List<U> {
    fn from(page: Page<T>) -> Self {
        Self { items: page.items.into_iter().map(U::from).collect(), next_cursor: page.next }
    }
}

/// By RFC 3339, in UTC, with microseconds.
pub(super) fn moment(moment: Timestamp) -> String {
    let micros = u64::try_from(moment.micros()).unwrap_or_default();
    let moment = std::time::UNIX_EPOCH + std::time::Duration::from_micros(micros);
    humantime::format_rfc3339_micros(moment).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_by_everybody() {
        assert_eq!(moment(Timestamp::from_micros(1_000_001)), "1970-01-01T00:00:01.000001Z");
    }
}
