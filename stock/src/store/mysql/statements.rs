//! What MySQL and MariaDB both understand.
//!
//! A set is a derived table, sorted and joined in that order (`STRAIGHT_JOIN`) by the index that is
//! named. Left to themselves, the servers read small tables from end to end instead, and lock every
//! row they read. The `LIMIT` keeps the order; without it they are free to drop the sorting.

use crate::store::dialect::{Dialect, entry_columns, row_columns};

/// Keys from JSON, in their order.
macro_rules! keys {
    () => {
        "(SELECT v, w FROM JSON_TABLE(?, '$[*]' COLUMNS (v BIGINT PATH '$[0]', w BIGINT PATH '$[1]')) AS listed \
         ORDER BY v, w LIMIT 1000000) AS k"
    };
}

/// Rows by keys from JSON.
macro_rules! rows_by_key {
    ($suffix:literal) => {
        concat!(
            "SELECT ",
            row_columns!(),
            " FROM ",
            keys!(),
            " STRAIGHT_JOIN product_stocks AS s FORCE INDEX (product_stocks_key) \
              ON s.variant_id = k.v AND s.warehouse_id = k.w",
            $suffix
        )
    };
}

/// The columns of a hold.
macro_rules! hold_columns {
    () => {
        "h.id, h.order_id, h.stock_id, h.variant_id, h.warehouse_id, h.locked, h.reserved, h.state, h.lapsed, \
         TIMESTAMPDIFF(MICROSECOND, '1970-01-01', h.expires_at) AS expires_at"
    };
}

/// The fields of a hold from JSON.
macro_rules! hold_fields {
    () => {
        "JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$[0]', \
         order_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin PATH '$[1]', \
         stock_id BIGINT PATH '$[2]', variant_id BIGINT PATH '$[3]', warehouse_id BIGINT PATH '$[4]', \
         locked BIGINT PATH '$[5]', reserved BIGINT PATH '$[6]', state VARCHAR(16) PATH '$[7]', \
         keeps BIGINT PATH '$[8]', expires_in BIGINT PATH '$[9]', lapsed BIGINT PATH '$[10]')) AS n"
    };
}

pub(super) const DIALECT: Dialect = Dialect {
    claim_one: concat!(
        "SELECT ",
        row_columns!(),
        " FROM product_stocks WHERE variant_id = ? AND warehouse_id = ? FOR UPDATE"
    ),
    claim: rows_by_key!(" FOR UPDATE"),
    claim_free: rows_by_key!(" FOR UPDATE SKIP LOCKED"),
    read_many: rows_by_key!(""),
    find_holds: concat!(
        "SELECT ",
        hold_columns!(),
        " FROM (SELECT o, s FROM JSON_TABLE(?, '$[*]' COLUMNS (\
            o VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin PATH '$[0]', s BIGINT PATH '$[1]')) AS listed \
            ORDER BY o, s LIMIT 1000000) AS k \
         STRAIGHT_JOIN stock_holds AS h FORCE INDEX (stock_holds_order) ON h.order_id = k.o AND h.stock_id = k.s"
    ),
    open_holds: concat!("SELECT ", hold_columns!(), " FROM stock_holds AS h WHERE stock_id = ? AND state = 'open'"),
    find_requests: concat!(
        "SELECT ",
        entry_columns!(),
        // Unsorted: nothing is locked, and each sorting costs MariaDB a temporary file.
        " FROM JSON_TABLE(?, '$[*]' COLUMNS (\
            i VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin PATH '$[0]')) AS k \
         STRAIGHT_JOIN product_stock_logs FORCE INDEX (product_stock_logs_request) ON request_id = k.i"
    ),
    write_one: "UPDATE product_stocks SET stock = ?, available_stock = ?, locked_stock = ?, reserved_stock = ?, \
            version = ?, fence = ?, held_locked = ?, held_reserved = ?, resident_epoch = ?, resident_sequence = ?, \
            updated_at = UTC_TIMESTAMP(6) \
        WHERE id = ? AND version = ? AND fence = ?",
    write: "UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$[0]', \
            was_version BIGINT PATH '$[1]', was_fence BIGINT PATH '$[2]', \
            available BIGINT PATH '$[3]', locked BIGINT PATH '$[4]', reserved BIGINT PATH '$[5]', \
            version BIGINT PATH '$[6]', fence BIGINT PATH '$[7]', \
            held_locked BIGINT PATH '$[8]', held_reserved BIGINT PATH '$[9]', \
            epoch BIGINT PATH '$[10]', sequence BIGINT PATH '$[11]')) AS n \
        STRAIGHT_JOIN product_stocks AS s FORCE INDEX (PRIMARY) ON s.id = n.id \
        SET s.stock = n.available + n.locked + n.reserved, s.available_stock = n.available, \
            s.locked_stock = n.locked, s.reserved_stock = n.reserved, s.version = n.version, s.fence = n.fence, \
            s.held_locked = n.held_locked, s.held_reserved = n.held_reserved, \
            s.resident_epoch = n.epoch, s.resident_sequence = n.sequence, s.updated_at = UTC_TIMESTAMP(6) \
        WHERE s.version = n.was_version AND s.fence = n.was_fence",
    new_holds: concat!(
        "INSERT INTO stock_holds \
            (order_id, stock_id, variant_id, warehouse_id, locked, reserved, state, lapsed, expires_at) \
        SELECT order_id, stock_id, variant_id, warehouse_id, locked, reserved, state, lapsed, \
            UTC_TIMESTAMP(6) + INTERVAL expires_in SECOND \
        FROM ",
        hold_fields!()
    ),
    write_holds: concat!(
        "UPDATE ",
        hold_fields!(),
        " STRAIGHT_JOIN stock_holds AS h FORCE INDEX (PRIMARY) ON h.id = n.id \
        SET h.locked = n.locked, h.reserved = n.reserved, h.state = n.state, h.lapsed = n.lapsed, \
            h.updated_at = UTC_TIMESTAMP(6), \
            h.expires_at = IF(n.keeps = 1, h.expires_at, UTC_TIMESTAMP(6) + INTERVAL n.expires_in SECOND)"
    ),
    list_variants: concat!(
        "SELECT ",
        row_columns!(),
        " FROM (SELECT v FROM JSON_TABLE(?, '$[*]' COLUMNS (v BIGINT PATH '$[0]')) AS listed \
            ORDER BY v LIMIT 1000000) AS k \
         STRAIGHT_JOIN product_stocks AS s FORCE INDEX (product_stocks_key) ON s.variant_id = k.v \
         WHERE warehouse_id = ? AND id > ? ORDER BY id LIMIT ?"
    ),
    logs: concat!(
        "SELECT ",
        entry_columns!(),
        ", id, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', created_at) AS created_at FROM product_stock_logs \
         WHERE stock_id = ? AND version < ? ORDER BY version DESC LIMIT ?"
    ),
    holds: concat!(
        "SELECT ",
        hold_columns!(),
        " FROM stock_holds AS h WHERE order_id = ? AND id < ? ORDER BY id DESC LIMIT ?"
    ),
    expired_holds: concat!(
        "SELECT ",
        hold_columns!(),
        " FROM stock_holds AS h WHERE expires_at <= UTC_TIMESTAMP(6) AND id > ? ORDER BY id LIMIT ?"
    ),
    oldest_logs: "SELECT id, stock_id, variant_id, warehouse_id, version, \
            TIMESTAMPDIFF(MICROSECOND, '1970-01-01', created_at) AS created_at, \
            (SELECT MAX(o.id) FROM product_stock_logs AS o WHERE o.request_id = l.request_id) AS last_id \
        FROM product_stock_logs AS l ORDER BY id LIMIT ?",
    pruned: "UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$[0]', version BIGINT PATH '$[1]')) AS n \
        STRAIGHT_JOIN product_stocks AS s FORCE INDEX (PRIMARY) ON s.id = n.id \
        SET s.pruned_version = GREATEST(s.pruned_version, n.version)",
    delete_logs: "DELETE product_stock_logs FROM \
            (SELECT i FROM JSON_TABLE(?, '$[*]' COLUMNS (i BIGINT PATH '$[0]')) AS listed \
            ORDER BY i LIMIT 1000000) AS k \
        STRAIGHT_JOIN product_stock_logs FORCE INDEX (PRIMARY) ON product_stock_logs.id = k.i",
    agree: "INSERT IGNORE INTO stock_lock_nodes (id, nodes, max_ttl_ms) VALUES (1, ?, ?)",
    adopt: "REPLACE INTO stock_lock_nodes (id, nodes, max_ttl_ms) VALUES (1, ?, ?)",
};
