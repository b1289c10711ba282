//! What SQLite understands. Whoever writes has the whole file, so that nothing has to be locked.

use crate::store::dialect::{Dialect, READ, entry_columns, row_columns};

/// Rows by keys from JSON.
const ROWS_BY_KEY: &str = concat!(
    "SELECT ",
    row_columns!(),
    " FROM (SELECT value ->> 0 AS v, value ->> 1 AS w FROM json_each(?)) AS k \
     CROSS JOIN product_stocks ON variant_id = v AND warehouse_id = w ORDER BY variant_id, warehouse_id"
);

/// Milliseconds are all that SQLite's own clock has.
macro_rules! micros {
    ($column:literal) => {
        concat!("CAST(ROUND((julianday(", $column, ") - 2440587.5) * 86400000) AS INTEGER) * 1000 AS ", $column)
    };
}

/// The columns of a hold.
macro_rules! hold_columns {
    () => {
        concat!(
            "id, order_id, stock_id, variant_id, warehouse_id, locked, reserved, state, lapsed, ",
            micros!("expires_at")
        )
    };
}

/// In so many seconds; nothing for nothing.
macro_rules! in_seconds {
    ($seconds:literal) => {
        concat!("strftime('%Y-%m-%d %H:%M:%f', 'now', ", $seconds, " || ' seconds')")
    };
}

/// Log entries.
pub(super) const APPEND: &str = concat!(
    "INSERT INTO product_stock_logs (",
    entry_columns!(),
    ") SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, \
            value ->> 7, value ->> 8, (value ->> 9) + (value ->> 10) + (value ->> 11), value ->> 9, value ->> 10, \
            value ->> 11, (value ->> 12) + (value ->> 13) + (value ->> 14), value ->> 12, value ->> 13, \
            value ->> 14, value ->> 15, value ->> 16 FROM json_each(?)"
);

pub(super) const DIALECT: Dialect = Dialect {
    claim_one: READ,
    claim: ROWS_BY_KEY,
    claim_free: ROWS_BY_KEY,
    read_many: ROWS_BY_KEY,
    find_holds: concat!(
        "SELECT ",
        hold_columns!(),
        " FROM (SELECT value ->> 0 AS o, value ->> 1 AS s FROM json_each(?)) AS k \
         CROSS JOIN stock_holds ON order_id = o AND stock_id = s"
    ),
    open_holds: concat!("SELECT ", hold_columns!(), " FROM stock_holds WHERE stock_id = ? AND state = 'open'"),
    find_requests: concat!(
        "SELECT ",
        entry_columns!(),
        " FROM (SELECT value ->> 0 AS i FROM json_each(?)) AS k \
         CROSS JOIN product_stock_logs ON request_id = i"
    ),
    write_one: "UPDATE product_stocks SET stock = ?, available_stock = ?, locked_stock = ?, reserved_stock = ?, \
            version = ?, fence = ?, held_locked = ?, held_reserved = ?, resident_epoch = ?, resident_sequence = ?, \
            updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') \
        WHERE id = ? AND version = ? AND fence = ?",
    write: "UPDATE product_stocks SET stock = n.available + n.locked + n.reserved, available_stock = n.available, \
            locked_stock = n.locked, reserved_stock = n.reserved, version = n.version, fence = n.fence, \
            held_locked = n.held_locked, held_reserved = n.held_reserved, \
            resident_epoch = n.epoch, resident_sequence = n.sequence, \
            updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') \
        FROM (SELECT value ->> 0 AS id, value ->> 1 AS was_version, \
            value ->> 2 AS was_fence, value ->> 3 AS available, \
            value ->> 4 AS locked, value ->> 5 AS reserved, \
            value ->> 6 AS version, value ->> 7 AS fence, \
            value ->> 8 AS held_locked, value ->> 9 AS held_reserved, \
            value ->> 10 AS epoch, value ->> 11 AS sequence FROM json_each(?)) AS n \
        WHERE product_stocks.id = n.id AND product_stocks.version = n.was_version \
            AND product_stocks.fence = n.was_fence",
    new_holds: concat!(
        "INSERT INTO stock_holds \
            (order_id, stock_id, variant_id, warehouse_id, locked, reserved, state, lapsed, expires_at) \
        SELECT value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, \
            value ->> 10, ",
        in_seconds!("(value ->> 9)"),
        " FROM json_each(?)"
    ),
    write_holds: concat!(
        "UPDATE stock_holds SET locked = n.locked, reserved = n.reserved, state = n.state, lapsed = n.lapsed, \
            updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), \
            expires_at = CASE n.keeps WHEN 1 THEN expires_at ELSE ",
        in_seconds!("n.expires_in"),
        " END \
        FROM (SELECT value ->> 0 AS id, value ->> 5 AS locked, value ->> 6 AS reserved, value ->> 7 AS state, \
            value ->> 8 AS keeps, value ->> 9 AS expires_in, value ->> 10 AS lapsed FROM json_each(?)) AS n \
        WHERE stock_holds.id = n.id"
    ),
    list_variants: concat!(
        "SELECT ",
        row_columns!(),
        " FROM (SELECT value ->> 0 AS v FROM json_each(?)) AS k CROSS JOIN product_stocks ON variant_id = v \
         WHERE warehouse_id = ? AND id > ? ORDER BY id LIMIT ?"
    ),
    logs: concat!(
        "SELECT ",
        entry_columns!(),
        ", id, ",
        micros!("created_at"),
        " FROM product_stock_logs WHERE stock_id = ? AND version < ? ORDER BY version DESC LIMIT ?"
    ),
    holds: concat!(
        "SELECT ",
        hold_columns!(),
        " FROM stock_holds WHERE order_id = ? AND id < ? ORDER BY id DESC LIMIT ?"
    ),
    expired_holds: concat!(
        "SELECT ",
        hold_columns!(),
        " FROM stock_holds WHERE stock_holds.expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') AND id > ? \
         ORDER BY id LIMIT ?"
    ),
    oldest_logs: concat!(
        "SELECT id, stock_id, variant_id, warehouse_id, version, ",
        micros!("created_at"),
        ", (SELECT MAX(o.id) FROM product_stock_logs AS o WHERE o.request_id = l.request_id) AS last_id \
         FROM product_stock_logs AS l ORDER BY id LIMIT ?"
    ),
    pruned: "UPDATE product_stocks SET pruned_version = MAX(pruned_version, n.version) \
        FROM (SELECT value ->> 0 AS id, value ->> 1 AS version FROM json_each(?)) AS n WHERE product_stocks.id = n.id",
    delete_logs: "DELETE FROM product_stock_logs WHERE id IN (SELECT value ->> 0 FROM json_each(?))",
    agree: "INSERT OR IGNORE INTO stock_lock_nodes (id, nodes, max_ttl_ms) VALUES (1, ?, ?)",
    adopt: "INSERT OR REPLACE INTO stock_lock_nodes (id, nodes, max_ttl_ms) VALUES (1, ?, ?)",
};
