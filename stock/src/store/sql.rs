//! The statements both dialects share. Each is one fixed text, so that it is prepared once per connection.

/// A record by its key.
pub(super) const READ: &str = "\
SELECT id, product_id, variant_id, warehouse_id, stock, available_stock, locked_stock, reserved_stock, version, fence
FROM product_stocks WHERE variant_id = ? AND warehouse_id = ?";

/// A new record.
pub(super) const CREATE: &str = "\
INSERT INTO product_stocks (product_id, variant_id, warehouse_id, stock, available_stock) VALUES (?, ?, ?, ?, ?)";

/// A log entry.
pub(super) const APPEND: &str = "\
INSERT INTO product_stock_logs (stock_id, variant_id, warehouse_id, action, quantity,
    before_stock, before_available, before_locked, before_reserved,
    after_stock, after_available, after_locked, after_reserved, fence, version)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Levels written over whatever is there.
pub(super) const OVERWRITE: &str = "\
UPDATE product_stocks SET stock = ?, available_stock = ?, locked_stock = ?, reserved_stock = ?, version = version + 1
WHERE id = ?";

/// The levels before the first log entry of a record.
pub(super) const OPENING: &str = "\
SELECT before_stock AS stock, before_available AS available_stock, before_locked AS locked_stock,
    before_reserved AS reserved_stock
FROM product_stock_logs WHERE stock_id = ? ORDER BY version LIMIT 1";

/// What the log of a record adds up to. A break is an entry that does not begin where the one before it ended.
///
/// The casts are for MySQL, where a sum of integers is a decimal.
pub(super) const SUMMARY: &str = "\
SELECT COUNT(*) AS entries,
    CAST(COALESCE(SUM(broken), 0) AS SIGNED) AS breaks,
    CAST(COALESCE(SUM(after_available - before_available), 0) AS SIGNED) AS available,
    CAST(COALESCE(SUM(after_locked - before_locked), 0) AS SIGNED) AS locked,
    CAST(COALESCE(SUM(after_reserved - before_reserved), 0) AS SIGNED) AS reserved,
    CAST(COALESCE(SUM(CASE WHEN action = 'deduct' THEN quantity ELSE 0 END), 0) AS SIGNED) AS deducted
FROM (
    SELECT entry.*, CASE
        WHEN LAG(version) OVER chain IS NULL THEN 0
        WHEN LAG(version) OVER chain + 1 = version
            AND LAG(after_available) OVER chain = before_available
            AND LAG(after_locked) OVER chain = before_locked
            AND LAG(after_reserved) OVER chain = before_reserved THEN 0
        ELSE 1 END AS broken
    FROM product_stock_logs AS entry WHERE stock_id = ? WINDOW chain AS (ORDER BY version)
) AS checked";
