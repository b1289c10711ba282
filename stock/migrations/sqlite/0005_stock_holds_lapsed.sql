-- Whether what an order had locked was unlocked because it was not paid in time, and nothing has been locked since. A
-- hold of which something had been paid by then stays open; this says why the rest of it is gone.
ALTER TABLE stock_holds ADD COLUMN lapsed INTEGER NOT NULL DEFAULT 0;
