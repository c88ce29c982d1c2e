-- Items by recipient. An index on the recipient alone is hit at another leaf by every item, so that accepting costs more the more items there are. Items that
-- were accepted together share a span, a number that grows with time: all that is written now goes to the few leaves of the newest span, which stay in memory.
-- What was there before is span 0.
ALTER TABLE item ADD COLUMN span INTEGER NOT NULL DEFAULT 0;
DROP INDEX item_recipient;
CREATE INDEX item_recipient ON item (span, folded_hash);
