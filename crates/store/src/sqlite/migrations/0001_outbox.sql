-- The outbox: hot rows narrow, bodies apart and never updated (but for erasing sensitive ones), history apart.
-- Moments are milliseconds since 1970-01-01 UTC. Ids are the house's own (tidings_core::Id).

CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- Texts that repeat in many rows: kinds, rules, sources, nodes.
CREATE TABLE word (number INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;

CREATE TABLE relay (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    paused_at INTEGER,
    paused_by TEXT,
    condition TEXT,
    reason TEXT,
    next_probe_at INTEGER,
    reported_at INTEGER
) STRICT;

CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    source INTEGER NOT NULL,      -- word
    event_id TEXT NOT NULL,
    kind INTEGER NOT NULL,        -- word
    time INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,
    data BLOB NOT NULL,
    trace BLOB NOT NULL
) STRICT;
-- Deduplication is this index.
CREATE UNIQUE INDEX event_name ON event (event_id, source);

-- The secret fields of an event, sealed; gone once all its items are final.
CREATE TABLE event_secret (event INTEGER PRIMARY KEY, sealed BLOB NOT NULL) STRICT;

CREATE TABLE letter (
    id INTEGER PRIMARY KEY,
    rule INTEGER NOT NULL,        -- word
    message_id TEXT NOT NULL,
    sender TEXT,                  -- NULL is the null sender
    sensitive INTEGER NOT NULL,
    bytes BLOB                    -- sealed if sensitive, NULL once erased; the last column, so that the others are read without it
) STRICT;

CREATE TABLE item (
    id INTEGER PRIMARY KEY,
    event INTEGER NOT NULL,
    letter INTEGER NOT NULL,
    kind INTEGER NOT NULL,        -- word
    relay INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    role INTEGER NOT NULL,        -- 0 to, 1 cc
    state INTEGER NOT NULL,       -- 0 held 1 waiting 2 claimed 3 sent 4 bounced 5 failed 6 expired 7 cancelled
    due_at INTEGER NOT NULL,      -- of a claimed item: the end of its lease
    expires_at INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,
    open_until INTEGER,           -- expires_at while the item is open (held, waiting, claimed), else NULL
    attempts INTEGER NOT NULL,
    token INTEGER NOT NULL,
    node INTEGER,                 -- word; who holds the lease
    flags INTEGER NOT NULL,       -- 1 may be a duplicate, 2 its letter is sensitive, 4 its event has secrets
    folded_hash INTEGER NOT NULL,
    recipient TEXT NOT NULL,
    folded TEXT                   -- the recipient in lower case, if that differs
) STRICT;
-- Due work. Ids stand in it so that items due at the same moment go in the order of their acceptance, the state so that counting needs no other page.
CREATE INDEX item_due ON item (relay, lane, due_at, id, state) WHERE state IN (1, 2);
-- A claim does not touch this one: open_until stays as it is.
CREATE INDEX item_expiry ON item (open_until) WHERE open_until IS NOT NULL;
-- States an operator looks for, all of them rare. Written with OR: SQLite does not see that `state = 5` implies `state IN (…, 5, …)`.
CREATE INDEX item_trouble ON item (state) WHERE state = 0 OR state = 4 OR state = 5 OR state = 6 OR state = 7;
CREATE INDEX item_recipient ON item (folded_hash);
CREATE INDEX item_event ON item (event);

CREATE TABLE history (
    item INTEGER NOT NULL,
    line INTEGER NOT NULL,        -- 1 is the oldest
    at INTEGER NOT NULL,
    what TEXT NOT NULL,
    who TEXT,
    detail TEXT,
    PRIMARY KEY (item, line)
) STRICT, WITHOUT ROWID;

CREATE TABLE token (
    digest BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,         -- a JSON array
    created_at INTEGER NOT NULL,
    expires_at INTEGER
) STRICT, WITHOUT ROWID;
