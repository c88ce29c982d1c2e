-- Reports about letters that came back, each kept once; and what they say of each recipient.
CREATE TABLE report (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest BLOB NOT NULL UNIQUE,
    taken_at INTEGER NOT NULL,
    way TEXT NOT NULL,
    form TEXT NOT NULL,
    reporter TEXT
) STRICT;
CREATE INDEX report_age ON report (taken_at);

CREATE TABLE finding (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    report INTEGER NOT NULL,
    class TEXT NOT NULL,          -- hard, soft, delayed, delivered, relayed, complaint
    status TEXT,
    recipient TEXT,               -- as the report names it
    diagnostic TEXT NOT NULL,
    item INTEGER,                 -- NULL: about none that is known
    matched_by TEXT,
    candidates TEXT               -- a JSON array of ids; NULL if there are none
) STRICT;
CREATE INDEX finding_report ON finding (report);
CREATE INDEX finding_item ON finding (item) WHERE item IS NOT NULL;
CREATE INDEX finding_unmatched ON finding (id) WHERE item IS NULL;

-- Letters that came back and count against their address. One a letter, however many reports there are about it.
CREATE TABLE setback (
    folded TEXT NOT NULL,         -- the address in lower case
    item INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (folded, item)
) STRICT, WITHOUT ROWID;

-- Addresses that are, or were, unhealthy.
CREATE TABLE address_health (
    folded TEXT PRIMARY KEY,
    address TEXT NOT NULL,
    unhealthy_since INTEGER NOT NULL,
    until INTEGER,                -- tried again by itself then
    reason TEXT NOT NULL,
    item INTEGER NOT NULL,
    told INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX address_health_untold ON address_health (unhealthy_since) WHERE told = 0;
