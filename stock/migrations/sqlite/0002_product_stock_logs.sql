-- One row for each change of a record, written in the transaction that made the change and never altered. From
-- these rows alone the levels can be proved, or rebuilt.
CREATE TABLE product_stock_logs (
    id               INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    stock_id         INTEGER NOT NULL,
    -- Repeated from the record, so that the log can be read and kept without it.
    variant_id       INTEGER NOT NULL,
    warehouse_id     INTEGER NOT NULL,

    -- lock, unlock, reserve, release, deduct, add or reset.
    action           TEXT    NOT NULL,
    quantity         INTEGER NOT NULL,

    before_stock     INTEGER NOT NULL,
    before_available INTEGER NOT NULL,
    before_locked    INTEGER NOT NULL,
    before_reserved  INTEGER NOT NULL,
    after_stock      INTEGER NOT NULL,
    after_available  INTEGER NOT NULL,
    after_locked     INTEGER NOT NULL,
    after_reserved   INTEGER NOT NULL,

    -- The fencing token of the lease it was made under; none where no lease was needed.
    fence            INTEGER NULL,
    -- The record's version after it.
    version          INTEGER NOT NULL,
    -- UTC.
    created_at       TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),

    -- A record has one entry for each version: a change logged twice, or two changes made from the same reading,
    -- cannot be committed.
    CONSTRAINT product_stock_logs_version UNIQUE (stock_id, version),
    CONSTRAINT product_stock_logs_quantity CHECK (quantity >= 0),
    CONSTRAINT product_stock_logs_before CHECK (before_stock = before_available + before_locked + before_reserved),
    CONSTRAINT product_stock_logs_after CHECK (after_stock = after_available + after_locked + after_reserved)
) STRICT;
