-- One letter per person and event, also across the chunks of a fan-out: who has one is found by this.
DROP INDEX item_event;
CREATE INDEX item_event ON item (event, folded_hash);

-- Crowds that are told in chunks.
CREATE TABLE fan_out (
    id INTEGER PRIMARY KEY,
    event INTEGER NOT NULL,
    rule INTEGER NOT NULL,        -- word
    plan BLOB NOT NULL,           -- JSON of the intake
    data BLOB,                    -- the event's data as it was decided on, if that differs from the event's own
    cursor TEXT,                  -- where the next chunk begins, in the intake's words; NULL at the beginning
    steps INTEGER NOT NULL,       -- chunks done: the fence
    told INTEGER NOT NULL,
    passed INTEGER NOT NULL,      -- people looked at who get no letter
    batch INTEGER,                -- the guard's batch that its letters go into
    begun_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT;
CREATE INDEX fan_out_open ON fan_out (id) WHERE ended_at IS NULL;
CREATE INDEX fan_out_event ON fan_out (event);
-- People who were written down because the mirror is about to forget them; each part is a chunk, and gone once it is done.
CREATE TABLE fan_out_part (fan_out INTEGER NOT NULL, part INTEGER NOT NULL, people BLOB NOT NULL, PRIMARY KEY (fan_out, part)) STRICT, WITHOUT ROWID;

-- What the flood guard holds.
CREATE TABLE guard_batch (
    id INTEGER PRIMARY KEY,
    flood TEXT NOT NULL,          -- event, rule_hour
    rule INTEGER NOT NULL,        -- word
    event INTEGER NOT NULL,       -- that opened it
    most INTEGER NOT NULL,        -- the limit
    people INTEGER NOT NULL,      -- items it holds or held
    opened_at INTEGER NOT NULL,
    joins_until INTEGER NOT NULL,
    state TEXT NOT NULL,          -- held, released, digested, cancelled
    ended_at INTEGER,
    ended_by TEXT,
    alerted INTEGER NOT NULL
) STRICT;
CREATE INDEX guard_batch_open ON guard_batch (rule, joins_until) WHERE state = 'held';
CREATE INDEX guard_batch_alert ON guard_batch (id) WHERE alerted = 0;
-- By recipient, so that a digest reads each person's items together.
CREATE TABLE guard_item (batch INTEGER NOT NULL, folded_hash INTEGER NOT NULL, item INTEGER NOT NULL, PRIMARY KEY (batch, folded_hash, item)) STRICT, WITHOUT ROWID;
-- How many people a rule has mailed, minute by minute; older than an hour is of no use.
CREATE TABLE guard_minute (
    rule INTEGER NOT NULL,        -- word
    minute INTEGER NOT NULL,
    people INTEGER NOT NULL,
    first_item INTEGER NOT NULL,
    PRIMARY KEY (rule, minute)
) STRICT, WITHOUT ROWID;
