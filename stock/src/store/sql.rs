//! The statements both dialects share, and how values are bound to them. Each is one fixed text, so
//! that it is prepared once per connection.

use std::marker::PhantomData;

use sqlx::query::Query;
use sqlx::{Database, Encode, Type};

use super::rows::signed;
use crate::levels::StockLevels;
use crate::log::LogEntry;
use crate::operation::{Id, Quantity, StockKey};
use crate::record::StockRecord;

/// A record by its key.
pub(super) const READ: &str = "\
SELECT id, product_id, variant_id, warehouse_id, stock, available_stock, locked_stock, reserved_stock, version, fence
FROM product_stocks WHERE variant_id = ? AND warehouse_id = ?";

/// A new record.
const CREATE: &str = "\
INSERT INTO product_stocks (product_id, variant_id, warehouse_id, stock, available_stock) VALUES (?, ?, ?, ?, ?)";

/// A log entry.
const APPEND: &str = "\
INSERT INTO product_stock_logs (stock_id, variant_id, warehouse_id, action, quantity,
    before_stock, before_available, before_locked, before_reserved,
    after_stock, after_available, after_locked, after_reserved, fence, version)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Levels written over whatever is there.
const OVERWRITE: &str = "\
UPDATE product_stocks SET stock = ?, available_stock = ?, locked_stock = ?, reserved_stock = ?, version = version + 1
WHERE id = ?";

/// The levels before the first log entry of a record.
const OPENING: &str = "\
SELECT before_stock AS stock, before_available AS available_stock, before_locked AS locked_stock,
    before_reserved AS reserved_stock
FROM product_stock_logs WHERE stock_id = ? ORDER BY version LIMIT 1";

/// What the log of a record adds up to. A break is an entry that does not begin where the one
/// before it ended, or was made under an older lease than one before it.
///
/// The casts are for MySQL, where a sum of integers is a decimal.
const SUMMARY: &str = "\
SELECT COUNT(*) AS entries,
    CAST(COALESCE(SUM(broken), 0) AS SIGNED) AS breaks,
    CAST(COALESCE(SUM(after_available - before_available), 0) AS SIGNED) AS available,
    CAST(COALESCE(SUM(after_locked - before_locked), 0) AS SIGNED) AS locked,
    CAST(COALESCE(SUM(after_reserved - before_reserved), 0) AS SIGNED) AS reserved,
    CAST(COALESCE(SUM(CASE WHEN action = 'deduct' THEN quantity ELSE 0 END), 0) AS SIGNED) AS deducted
FROM (
    SELECT entry.*, CASE
        WHEN LAG(version) OVER chain IS NULL THEN 0
        WHEN fence < MAX(fence) OVER chain THEN 1
        WHEN LAG(version) OVER chain + 1 = version
            AND LAG(after_available) OVER chain = before_available
            AND LAG(after_locked) OVER chain = before_locked
            AND LAG(after_reserved) OVER chain = before_reserved THEN 0
        ELSE 1 END AS broken
    FROM product_stock_logs AS entry WHERE stock_id = ? WINDOW chain AS (ORDER BY version)
) AS checked";

/// A statement with everything bound to it.
pub(super) type Statement<DB> = Query<'static, DB, <DB as Database>::Arguments>;

/// Binds what a database needs to know; every number is a signed 64-bit integer.
pub(super) struct Bind<DB>(PhantomData<DB>);

impl<DB: Database> Bind<DB>
where
    i64: Encode<'static, DB> + Type<DB>,
    Option<i64>: Encode<'static, DB> + Type<DB>,
    &'static str: Encode<'static, DB> + Type<DB>,
{
    /// A statement that finds a record by its key.
    pub(super) fn key(statement: &'static str, key: StockKey) -> Statement<DB> {
        sqlx::query(statement).bind(signed(key.variant_id.get())).bind(signed(key.warehouse_id.get()))
    }

    /// A new record, everything available.
    pub(super) fn create(product_id: Id, key: StockKey, stock: Quantity) -> Statement<DB> {
        sqlx::query(CREATE)
            .bind(signed(product_id.get()))
            .bind(signed(key.variant_id.get()))
            .bind(signed(key.warehouse_id.get()))
            .bind(signed(stock.get()))
            .bind(signed(stock.get()))
    }

    /// A record over the version before it; `statement` is the dialect's own.
    pub(super) fn update(statement: &'static str, after: &StockRecord) -> Statement<DB> {
        Self::levels(sqlx::query(statement), after.levels)
            .bind(signed(after.fence))
            .bind(signed(after.version))
            .bind(signed(after.id))
            .bind(signed(after.version.saturating_sub(1)))
            .bind(signed(after.fence))
    }

    /// A log entry.
    pub(super) fn append(entry: &LogEntry) -> Statement<DB> {
        let statement = sqlx::query(APPEND)
            .bind(signed(entry.stock_id))
            .bind(signed(entry.key.variant_id.get()))
            .bind(signed(entry.key.warehouse_id.get()))
            .bind(entry.action.name())
            .bind(signed(entry.quantity.get()));
        Self::levels(Self::levels(statement, entry.before), entry.after)
            .bind(entry.fence.map(signed))
            .bind(signed(entry.version))
    }

    /// Levels over whatever is there.
    pub(super) fn overwrite(id: u64, levels: StockLevels) -> Statement<DB> {
        Self::levels(sqlx::query(OVERWRITE), levels).bind(signed(id))
    }

    /// The levels before the first log entry.
    pub(super) fn opening(stock_id: u64) -> Statement<DB> {
        sqlx::query(OPENING).bind(signed(stock_id))
    }

    /// What the log adds up to.
    pub(super) fn summary(stock_id: u64) -> Statement<DB> {
        sqlx::query(SUMMARY).bind(signed(stock_id))
    }

    /// Stock, available, locked and reserved units, in the order every statement has them.
    fn levels(statement: Statement<DB>, levels: StockLevels) -> Statement<DB> {
        statement
            .bind(signed(levels.stock()))
            .bind(signed(levels.available()))
            .bind(signed(levels.locked()))
            .bind(signed(levels.reserved()))
    }
}
