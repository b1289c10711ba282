-- What an order holds of a record: units it has locked or paid for. Later operations of that order cannot move more
-- than this, and operations without an order cannot touch it.
--
-- Whoever writes here has the record's row in product_stocks locked; that lock guards the record's holds too.
CREATE TABLE stock_holds (
    id           BIGINT      NOT NULL AUTO_INCREMENT PRIMARY KEY,
    order_id     VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    stock_id     BIGINT      NOT NULL,
    -- Repeated from the record, so that the holds of an order can be read without it.
    variant_id   BIGINT      NOT NULL,
    warehouse_id BIGINT      NOT NULL,

    -- Ordered, not paid yet.
    locked       BIGINT      NOT NULL,
    -- Paid, not shipped yet.
    reserved     BIGINT      NOT NULL,
    -- open; closed: nothing is left of it; expired: what was left was unlocked, because it was not paid in time.
    state        VARCHAR(16) CHARACTER SET ascii NOT NULL,
    -- UTC. When what is locked may be unlocked; none where the order may take its time, or has paid. Until somebody has
    -- done that, the order can still be paid.
    expires_at   DATETIME(6) NULL,

    created_at   DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    updated_at   DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),

    CONSTRAINT stock_holds_order UNIQUE (order_id, stock_id),
    INDEX stock_holds_stock (stock_id),
    INDEX stock_holds_expiry (expires_at, id),
    CONSTRAINT stock_holds_units CHECK (locked >= 0 AND reserved >= 0),
    CONSTRAINT stock_holds_state CHECK ((state = 'open') = (locked + reserved > 0)),
    CONSTRAINT stock_holds_unpaid CHECK (expires_at IS NULL OR locked > 0)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4;
