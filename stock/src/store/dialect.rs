//! The statements, each one fixed text. Those that differ from database to database are in the
//! [`Dialect`] of each; sets of rows are bound as JSON, and unpacked in the order they come in. Only how the log is
//! written is up to the sessions.

/// What the databases say differently.
pub(super) struct Dialect {
    /// One row by its key, locked.
    pub(super) claim_one: &'static str,
    /// Rows by their keys, locked in the order of the keys.
    pub(super) claim: &'static str,
    /// The same, without those that others have locked.
    pub(super) claim_free: &'static str,
    /// Rows by their keys.
    pub(super) read_many: &'static str,
    /// Holds by order and record.
    pub(super) find_holds: &'static str,
    /// The open holds of a record.
    pub(super) open_holds: &'static str,
    /// Log entries by request.
    pub(super) find_requests: &'static str,
    /// One row over what was read, with a value for each column: for a single row, a good deal faster
    /// than a set of one.
    pub(super) write_one: &'static str,
    /// Rows over what was read.
    pub(super) write: &'static str,
    /// Holds that are new.
    pub(super) new_holds: &'static str,
    /// Holds that there were.
    pub(super) write_holds: &'static str,
    /// Records of some variants in a warehouse.
    pub(super) list_variants: &'static str,
    /// A page of a record's log.
    pub(super) logs: &'static str,
    /// A page of an order's holds.
    pub(super) holds: &'static str,
    /// A page of the holds whose time is over.
    pub(super) expired_holds: &'static str,
    /// The oldest entries of the log, each with the last one of its request.
    pub(super) oldest_logs: &'static str,
    /// Up to which version the logs of records have been pruned.
    pub(super) pruned: &'static str,
    /// Removes log entries by number.
    pub(super) delete_logs: &'static str,
    /// Lock nodes where there were none.
    pub(super) agree: &'static str,
    /// Lock nodes in the place of others.
    pub(super) adopt: &'static str,
}

/// The columns of a record's row.
macro_rules! row_columns {
    () => {
        "id, product_id, variant_id, warehouse_id, stock, available_stock, locked_stock, reserved_stock, version, \
         fence, held_locked, held_reserved, pruned_version, resident_epoch, resident_sequence"
    };
}

/// The columns of a log entry, but its number and its time.
macro_rules! entry_columns {
    () => {
        "stock_id, variant_id, warehouse_id, request_id, position, order_id, expires_in, action, quantity, \
         before_stock, before_available, before_locked, before_reserved, \
         after_stock, after_available, after_locked, after_reserved, fence, version"
    };
}

pub(super) use {entry_columns, row_columns};

/// A record's row by its key.
pub(super) const READ: &str =
    concat!("SELECT ", row_columns!(), " FROM product_stocks WHERE variant_id = ? AND warehouse_id = ?");

/// A new record.
pub(super) const CREATE: &str = "\
INSERT INTO product_stocks (product_id, variant_id, warehouse_id, stock, available_stock) VALUES (?, ?, ?, ?, ?)";

/// Levels written over whatever is there.
pub(super) const OVERWRITE: &str = "\
UPDATE product_stocks SET stock = ?, available_stock = ?, locked_stock = ?, reserved_stock = ?, version = version + 1
WHERE id = ?";

/// Records of a variant, from a number on.
pub(super) const LIST_VARIANT: &str =
    concat!("SELECT ", row_columns!(), " FROM product_stocks WHERE variant_id = ? AND id > ? ORDER BY id LIMIT ?");

/// Records of a product, from a number on.
pub(super) const LIST_PRODUCT: &str =
    concat!("SELECT ", row_columns!(), " FROM product_stocks WHERE product_id = ? AND id > ? ORDER BY id LIMIT ?");

/// Records whose levels live in Redis, from a number on.
pub(super) const RESIDENTS: &str = concat!(
    "SELECT ",
    row_columns!(),
    " FROM product_stocks WHERE resident_epoch IS NOT NULL AND id > ? ORDER BY id LIMIT ?"
);

/// A log entry, with a value for each column.
pub(super) const APPEND_ONE: &str = concat!(
    "INSERT INTO product_stock_logs (",
    entry_columns!(),
    ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
);

/// Log entries of one request.
pub(super) const FIND_REQUEST: &str =
    concat!("SELECT ", entry_columns!(), " FROM product_stock_logs WHERE request_id = ? ORDER BY position");

/// What the holds of a record add up to. The casts are for MySQL, where a sum of integers is a
/// decimal.
pub(super) const HOLDS_SUM: &str = "\
SELECT CAST(COALESCE(SUM(locked), 0) AS SIGNED) AS locked, CAST(COALESCE(SUM(reserved), 0) AS SIGNED) AS reserved
FROM stock_holds WHERE stock_id = ?";

/// The migrations that were made.
pub(super) const MIGRATIONS: &str = "SELECT version FROM _sqlx_migrations";

/// The lock nodes that were agreed on.
pub(super) const LOCK_NODES: &str = "SELECT nodes, max_ttl_ms FROM stock_lock_nodes WHERE id = 1";

/// The entries of a record's log from a version on.
pub(super) const ENTRIES: &str = concat!(
    "SELECT ",
    entry_columns!(),
    " FROM product_stock_logs WHERE stock_id = ? AND version > ? ORDER BY version LIMIT ?"
);
