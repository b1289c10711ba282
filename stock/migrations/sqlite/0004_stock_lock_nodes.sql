-- Which lock nodes the instances that share this database have agreed on: one row. Instances that lock on different
-- nodes, or for longer than others wait for a restarted node, would not keep each other out.
CREATE TABLE stock_lock_nodes (
    id         INTEGER NOT NULL PRIMARY KEY,
    -- A hash of the sorted list of nodes; their addresses may hold passwords.
    nodes      TEXT    NOT NULL,
    -- The longest lease any instance takes, in milliseconds.
    max_ttl_ms INTEGER NOT NULL,
    updated_at TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),

    CONSTRAINT stock_lock_nodes_one CHECK (id = 1)
) STRICT;
