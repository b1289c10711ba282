-- One row for each variant in each warehouse: how many units there are and what they are bound to.
--
-- Signed BIGINT although nothing is ever negative: a wrong subtraction then trips a check below by name, and the
-- same statements and the same integers work on SQLite, which has no unsigned ones.
CREATE TABLE product_stocks (
    id              BIGINT      NOT NULL AUTO_INCREMENT PRIMARY KEY,
    product_id      BIGINT      NOT NULL,
    variant_id      BIGINT      NOT NULL,
    -- 0 is the default warehouse.
    warehouse_id    BIGINT      NOT NULL DEFAULT 0,

    -- On hand; always the sum of the three below.
    stock           BIGINT      NOT NULL,
    -- Anyone may still order these.
    available_stock BIGINT      NOT NULL,
    -- Ordered, not paid yet.
    locked_stock    BIGINT      NOT NULL DEFAULT 0,
    -- Paid, not shipped yet.
    reserved_stock  BIGINT      NOT NULL DEFAULT 0,

    -- Raised by every change, whoever makes it: nobody can overwrite what was not read.
    version         BIGINT      NOT NULL DEFAULT 0,
    -- The largest fencing token a writer has brought along: holders of older leases are turned away.
    fence           BIGINT      NOT NULL DEFAULT 0,

    -- How much of locked_stock and reserved_stock open holds cover: the sums over stock_holds, kept here so that
    -- whoever has the row need not add them up. Operations without an order leave these units alone.
    held_locked     BIGINT      NOT NULL DEFAULT 0,
    held_reserved   BIGINT      NOT NULL DEFAULT 0,

    -- Entries up to this version have been pruned from the log.
    pruned_version  BIGINT      NOT NULL DEFAULT 0,

    -- Set while the levels live in Redis: the epoch in which they were loaded, and the last change of that epoch that
    -- has been written back. Writers that do not go through Redis refuse such a row. Becoming resident
    -- raises fence, so that nobody who read the row before can write over it.
    resident_epoch    BIGINT    NULL,
    resident_sequence BIGINT    NULL,

    -- UTC. DATETIME, because TIMESTAMP ends in 2038.
    created_at      DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    updated_at      DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),

    CONSTRAINT product_stocks_key UNIQUE (variant_id, warehouse_id),
    INDEX product_stocks_product (product_id, id),

    -- The service checks all of this before it writes; the table does not take its word for it.
    CONSTRAINT product_stocks_sum CHECK (stock = available_stock + locked_stock + reserved_stock),
    CONSTRAINT product_stocks_available CHECK (available_stock >= 0),
    CONSTRAINT product_stocks_locked CHECK (locked_stock >= 0),
    CONSTRAINT product_stocks_reserved CHECK (reserved_stock >= 0),
    -- 2^53 - 1: the last integer that every JSON reader keeps exact.
    CONSTRAINT product_stocks_limit CHECK (stock <= 9007199254740991),
    CONSTRAINT product_stocks_counters CHECK (version >= 0 AND fence >= 0),
    CONSTRAINT product_stocks_held CHECK (held_locked BETWEEN 0 AND locked_stock
        AND held_reserved BETWEEN 0 AND reserved_stock),
    CONSTRAINT product_stocks_pruned CHECK (pruned_version BETWEEN 0 AND version),
    CONSTRAINT product_stocks_resident CHECK ((resident_epoch IS NULL) = (resident_sequence IS NULL))
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4;
