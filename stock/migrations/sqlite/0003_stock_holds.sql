-- What an order holds of a record: units it has locked or paid for. Later operations of that order cannot move more
-- than this, and operations without an order cannot touch it.
CREATE TABLE stock_holds (
    id           INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    order_id     TEXT    NOT NULL,
    stock_id     INTEGER NOT NULL,
    -- Repeated from the record, so that the holds of an order can be read without it.
    variant_id   INTEGER NOT NULL,
    warehouse_id INTEGER NOT NULL,

    -- Ordered, not paid yet.
    locked       INTEGER NOT NULL,
    -- Paid, not shipped yet.
    reserved     INTEGER NOT NULL,
    -- open; closed: nothing is left of it; expired: what was left was unlocked, because it was not paid in time.
    state        TEXT    NOT NULL,
    -- UTC. When what is locked may be unlocked; none where the order may take its time, or has paid. Until somebody has
    -- done that, the order can still be paid.
    expires_at   TEXT    NULL,

    created_at   TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    updated_at   TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),

    CONSTRAINT stock_holds_order UNIQUE (order_id, stock_id),
    CONSTRAINT stock_holds_units CHECK (locked >= 0 AND reserved >= 0),
    CONSTRAINT stock_holds_state CHECK ((state = 'open') = (locked + reserved > 0)),
    CONSTRAINT stock_holds_unpaid CHECK (expires_at IS NULL OR locked > 0)
) STRICT;

CREATE INDEX stock_holds_stock ON stock_holds (stock_id);
CREATE INDEX stock_holds_expiry ON stock_holds (expires_at, id);
