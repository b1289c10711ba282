//! Rows to records and back, for both dialects: every column is a signed 64-bit integer.

use sqlx::{ColumnIndex, Decode, Row, Type};

use super::StoreError;
use crate::levels::StockLevels;
use crate::log::LogSummary;
use crate::operation::{Id, StockKey};
use crate::record::StockRecord;

/// A record from a row of `product_stocks`.
pub(super) fn record<R>(row: &R) -> Result<StockRecord, StoreError>
where
    R: Row,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'n> &'n str: ColumnIndex<R>,
{
    Ok(StockRecord {
        id: unsigned(row, "id")?,
        product_id: id(row, "product_id")?,
        key: StockKey { variant_id: id(row, "variant_id")?, warehouse_id: id(row, "warehouse_id")? },
        levels: levels(row)?,
        version: unsigned(row, "version")?,
        fence: unsigned(row, "fence")?,
    })
}

/// Levels from the columns that hold them.
pub(super) fn levels<R>(row: &R) -> Result<StockLevels, StoreError>
where
    R: Row,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'n> &'n str: ColumnIndex<R>,
{
    let levels = StockLevels::from_figures(
        unsigned(row, "stock")?,
        unsigned(row, "available_stock")?,
        unsigned(row, "locked_stock")?,
        unsigned(row, "reserved_stock")?,
    )?;
    Ok(levels)
}

/// What a log adds up to.
pub(super) fn summary<R>(row: &R, opening: Option<StockLevels>) -> Result<LogSummary, StoreError>
where
    R: Row,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'n> &'n str: ColumnIndex<R>,
{
    Ok(LogSummary {
        entries: unsigned(row, "entries")?,
        opening,
        breaks: unsigned(row, "breaks")?,
        available: row.try_get("available")?,
        locked: row.try_get("locked")?,
        reserved: row.try_get("reserved")?,
        deducted: unsigned(row, "deducted")?,
    })
}

/// A number as the database takes it.
///
/// Levels, quantities and ids end at 2^53 − 1, and versions and row numbers come from the database
/// itself, so nothing is ever cut off here.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned<R>(row: &R, column: &str) -> Result<u64, StoreError>
where
    R: Row,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'n> &'n str: ColumnIndex<R>,
{
    let number: i64 = row.try_get(column)?;
    u64::try_from(number).map_err(|_| StoreError::Damaged { reason: format!("{column} is {number}") })
}

fn id<R>(row: &R, column: &str) -> Result<Id, StoreError>
where
    R: Row,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'n> &'n str: ColumnIndex<R>,
{
    Id::new(unsigned(row, column)?).map_err(|error| StoreError::Damaged { reason: format!("{column}: {error}") })
}
