-- Which lock nodes the instances that share this database have agreed on: one row. Instances that lock on different
-- nodes, or for longer than others wait for a restarted node, would not keep each other out.
CREATE TABLE stock_lock_nodes (
    id         TINYINT     NOT NULL PRIMARY KEY,
    -- A hash of the sorted list of nodes; their addresses may hold passwords.
    nodes      VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    -- The longest lease any instance takes, in milliseconds.
    max_ttl_ms BIGINT      NOT NULL,
    updated_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),

    CONSTRAINT stock_lock_nodes_one CHECK (id = 1)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4;
