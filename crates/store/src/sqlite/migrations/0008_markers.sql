-- Requests for a letter that stand as a value in an attribute of an entry: one row while the marker is open, none once it is cleared.
CREATE TABLE marker (
    event INTEGER PRIMARY KEY,
    directory INTEGER NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,          -- as values are compared
    written TEXT NOT NULL,        -- as the source wrote it
    reference TEXT NOT NULL,      -- the entry's name as the source wrote it
    state INTEGER NOT NULL,       -- 0 noted 1 claimed 2 clearing
    seen TEXT,
    noted_at INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    due_at INTEGER,
    failure TEXT
) STRICT;
-- One setting, one event: deduplication is this index.
CREATE UNIQUE INDEX marker_open ON marker (directory, key, value);
