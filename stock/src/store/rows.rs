//! Rows to records and back, for both dialects: every column is a signed 64-bit integer or text.

use super::StoreError;
use super::session::Fields;
use crate::hold::{Expiry, Held, Hold, HoldState};
use crate::levels::StockLevels;
use crate::log::{LogEntry, LoggedEntry};
use crate::operation::{Id, Quantity, StockKey};
use crate::record::{Residence, StockRecord, StockRow};
use crate::request::{ExpiresIn, OrderId, RequestId};
use crate::timestamp::Timestamp;

/// A row of `product_stocks`.
pub(super) fn row(row: &impl Fields) -> Result<StockRow, StoreError> {
    let epoch = optional(row, "resident_epoch")?;
    Ok(StockRow {
        record: StockRecord {
            id: unsigned(row, "id")?,
            product_id: id(row, "product_id")?,
            key: key(row)?,
            levels: levels(row)?,
            version: unsigned(row, "version")?,
        },
        fence: unsigned(row, "fence")?,
        held: Held { locked: unsigned(row, "held_locked")?, reserved: unsigned(row, "held_reserved")? },
        pruned_version: unsigned(row, "pruned_version")?,
        residence: epoch
            .zip(optional(row, "resident_sequence")?)
            .map(|(epoch, sequence)| Residence { epoch, sequence }),
    })
}

/// Levels from the columns that hold them.
pub(super) fn levels(row: &impl Fields) -> Result<StockLevels, StoreError> {
    let (stock, available) = (unsigned(row, "stock")?, unsigned(row, "available_stock")?);
    let (locked, reserved) = (unsigned(row, "locked_stock")?, unsigned(row, "reserved_stock")?);
    Ok(StockLevels::from_figures(stock, available, locked, reserved)?)
}

/// A row of `product_stock_logs`.
pub(super) fn entry(row: &impl Fields) -> Result<LogEntry, StoreError> {
    let levels = |columns: [&str; 4]| {
        let [stock, available, locked, reserved] = columns.map(|column| unsigned(row, column));
        Ok::<_, StoreError>(StockLevels::from_figures(stock?, available?, locked?, reserved?)?)
    };
    let expires_in = optional(row, "expires_in")?.map(ExpiresIn::seconds).transpose();
    Ok(LogEntry {
        stock_id: unsigned(row, "stock_id")?,
        key: key(row)?,
        request_id: RequestId::stored(text(row, "request_id")?),
        position: u32::try_from(unsigned(row, "position")?).map_err(|error| damaged("position", &error))?,
        order_id: row.text("order_id")?.map(OrderId::stored),
        expires_in: expires_in.map_err(|error| damaged("expires_in", &error))?,
        action: text(row, "action")?.parse().map_err(|error| damaged("action", &error))?,
        quantity: Quantity::new(unsigned(row, "quantity")?).map_err(|error| damaged("quantity", &error))?,
        before: levels(["before_stock", "before_available", "before_locked", "before_reserved"])?,
        after: levels(["after_stock", "after_available", "after_locked", "after_reserved"])?,
        fence: optional(row, "fence")?,
        version: unsigned(row, "version")?,
    })
}

/// A row of `product_stock_logs`, with its number and its time.
pub(super) fn logged(row: &impl Fields) -> Result<LoggedEntry, StoreError> {
    let created_at = timestamp(row, "created_at")?.ok_or(sqlx::Error::RowNotFound)?;
    Ok(LoggedEntry { id: unsigned(row, "id")?, created_at, entry: entry(row)? })
}

/// A row of `stock_holds`.
pub(super) fn hold(row: &impl Fields) -> Result<Hold, StoreError> {
    let name = text(row, "state")?;
    let state = HoldState::ALL.into_iter().find(|state| state.name() == name);
    Ok(Hold {
        id: Some(unsigned(row, "id")?),
        order_id: OrderId::stored(text(row, "order_id")?),
        stock_id: unsigned(row, "stock_id")?,
        key: key(row)?,
        held: Held { locked: unsigned(row, "locked")?, reserved: unsigned(row, "reserved")? },
        state: state.ok_or_else(|| damaged("state", &name))?,
        expiry: timestamp(row, "expires_at")?.map_or(Expiry::Never, Expiry::At),
        lapsed: unsigned(row, "lapsed")? != 0,
    })
}

/// What the holds of a record add up to.
pub(super) fn held(row: &impl Fields) -> Result<Held, StoreError> {
    Ok(Held { locked: unsigned(row, "locked")?, reserved: unsigned(row, "reserved")? })
}

/// The record a row belongs to.
pub(super) fn key(row: &impl Fields) -> Result<StockKey, StoreError> {
    Ok(StockKey { variant_id: id(row, "variant_id")?, warehouse_id: id(row, "warehouse_id")? })
}

pub(super) fn timestamp(row: &impl Fields, column: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.number(column)?.map(Timestamp::from_micros))
}

pub(super) fn unsigned(row: &impl Fields, column: &str) -> Result<u64, StoreError> {
    optional(row, column)?.ok_or_else(|| damaged(column, &"nothing"))
}

pub(super) fn text(row: &impl Fields, column: &str) -> Result<String, StoreError> {
    row.text(column)?.ok_or_else(|| damaged(column, &"nothing"))
}

fn optional(row: &impl Fields, column: &str) -> Result<Option<u64>, StoreError> {
    let number = row.number(column)?;
    number.map(|number| u64::try_from(number).map_err(|_| damaged(column, &number))).transpose()
}

fn id(row: &impl Fields, column: &str) -> Result<Id, StoreError> {
    Id::new(unsigned(row, column)?).map_err(|error| damaged(column, &error))
}

fn damaged(column: &str, found: &dyn std::fmt::Display) -> StoreError {
    StoreError::Damaged { reason: format!("{column}: {found}") }
}
