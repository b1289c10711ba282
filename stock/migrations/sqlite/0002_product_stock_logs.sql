-- One row for each change of a record, written in the transaction that made the change and never altered. From
-- these rows alone the levels can be proved, or rebuilt.
--
-- The rows of a request, in the order of their position, are at the same time what it asked for and what it was
-- answered: a request that comes again is compared with them and gets its first answer.
CREATE TABLE product_stock_logs (
    id               INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    stock_id         INTEGER NOT NULL,
    -- Repeated from the record, so that the log can be read and kept without it.
    variant_id       INTEGER NOT NULL,
    warehouse_id     INTEGER NOT NULL,

    -- Which request asked for it; made by the service where the caller gave none.
    request_id       TEXT    NOT NULL,
    -- Which of the request's changes it was: 0, 1, 2, …
    position         INTEGER NOT NULL,
    -- The order it was done for, if one was named.
    order_id         TEXT    NULL,
    -- The seconds after which the order's hold was to end, where that was asked for.
    expires_in       INTEGER NULL,

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
    -- A request is carried out once, whoever gets it however often.
    CONSTRAINT product_stock_logs_request UNIQUE (request_id, position),
    CONSTRAINT product_stock_logs_quantity CHECK (quantity >= 0),
    CONSTRAINT product_stock_logs_before CHECK (before_stock = before_available + before_locked + before_reserved),
    CONSTRAINT product_stock_logs_after CHECK (after_stock = after_available + after_locked + after_reserved)
) STRICT;
