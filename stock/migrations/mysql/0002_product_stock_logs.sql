-- One row for each change of a record, written in the transaction that made the change and never altered. From
-- these rows alone the levels can be proved, or rebuilt.
--
-- The rows of a request, in the order of their position, are at the same time what it asked for and what it was
-- answered: a request that comes again is compared with them and gets its first answer.
CREATE TABLE product_stock_logs (
    id               BIGINT      NOT NULL AUTO_INCREMENT PRIMARY KEY,
    stock_id         BIGINT      NOT NULL,
    -- Repeated from the record, so that the log can be read and kept without it.
    variant_id       BIGINT      NOT NULL,
    warehouse_id     BIGINT      NOT NULL,

    -- Which request asked for it; made by the service where the caller gave none.
    -- Letters, digits and signs; compared byte by byte.
    request_id       VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    -- Which of the request's changes it was: 0, 1, 2, …
    position         BIGINT      NOT NULL,
    -- The order it was done for, if one was named.
    order_id         VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    -- The seconds after which the order's hold was to end, where that was asked for.
    expires_in       BIGINT      NULL,

    -- lock, unlock, reserve, release, deduct, add or reset.
    action           VARCHAR(16) NOT NULL,
    quantity         BIGINT      NOT NULL,

    before_stock     BIGINT      NOT NULL,
    before_available BIGINT      NOT NULL,
    before_locked    BIGINT      NOT NULL,
    before_reserved  BIGINT      NOT NULL,
    after_stock      BIGINT      NOT NULL,
    after_available  BIGINT      NOT NULL,
    after_locked     BIGINT      NOT NULL,
    after_reserved   BIGINT      NOT NULL,

    -- The fencing token of the lease it was made under; none where no lease was needed.
    fence            BIGINT      NULL,
    -- The record's version after it.
    version          BIGINT      NOT NULL,
    -- UTC.
    created_at       DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),

    -- A record has one entry for each version: a change logged twice, or two changes made from the same reading,
    -- cannot be committed.
    CONSTRAINT product_stock_logs_version UNIQUE (stock_id, version),
    -- A request is carried out once, whoever gets it however often.
    CONSTRAINT product_stock_logs_request UNIQUE (request_id, position),
    CONSTRAINT product_stock_logs_quantity CHECK (quantity >= 0),
    CONSTRAINT product_stock_logs_before CHECK (before_stock = before_available + before_locked + before_reserved),
    CONSTRAINT product_stock_logs_after CHECK (after_stock = after_available + after_locked + after_reserved)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4;
