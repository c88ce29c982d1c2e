-- Small texts that are written over only by who has read them.
CREATE TABLE slate (name TEXT PRIMARY KEY, version INTEGER NOT NULL, text TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- Who serves: a row for each number that was ever borne. On a file that is one process at a time.
CREATE TABLE node (
    number INTEGER PRIMARY KEY,
    name TEXT,                    -- in leases; NULL if nobody bears the number
    shown TEXT NOT NULL,          -- to people
    version TEXT NOT NULL,
    offers TEXT NOT NULL,         -- a JSON array: the duties it can do
    since INTEGER NOT NULL,
    seen INTEGER NOT NULL
) STRICT;

-- What only one node does at a time.
CREATE TABLE duty (name TEXT PRIMARY KEY, holder TEXT, since INTEGER NOT NULL) STRICT, WITHOUT ROWID;
