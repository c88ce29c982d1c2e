-- The mirror: the last known state of every directory. Made for a million users, a hundred thousand groups and five million memberships: rows are narrow, and what a
-- refresh touches of every object stands apart from what it leaves alone.
-- Objects and placeholders have their numbers from one counter, and a number is never used again.

CREATE TABLE directory (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    bookmark BLOB,
    generation INTEGER NOT NULL DEFAULT 0,
    objects INTEGER NOT NULL DEFAULT 0,    -- counted along, so that nobody has to count
    loaded_at INTEGER,
    heard_at INTEGER,
    failed_at INTEGER,
    failure TEXT
) STRICT;

CREATE TABLE object_number (next INTEGER NOT NULL) STRICT;
INSERT INTO object_number (next) VALUES (1);

CREATE TABLE object (
    id INTEGER PRIMARY KEY,
    directory INTEGER NOT NULL,
    key TEXT NOT NULL,
    reference TEXT,               -- NULL also if another object has taken it over
    hash INTEGER NOT NULL,        -- of the name that links go by: the reference, else the key, without regard to case
    type ANY NOT NULL,            -- 0 user 1 group 2 contact 3 account, another one by its name
    name TEXT,
    group_hash INTEGER,           -- of a group's name, without regard to case
    mail TEXT,
    locale TEXT,
    timezone TEXT,
    flags INTEGER NOT NULL,       -- 1 enabled, 2 public, 4 wishes letters
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    attributes TEXT               -- a JSON object; NULL if there are none
) STRICT;
CREATE UNIQUE INDEX object_key ON object (directory, key);
-- 32 bits of a hash in place of a distinguished name: a collision costs a row read, the whole name is compared as well.
CREATE INDEX object_named ON object (directory, hash);
CREATE INDEX object_group ON object (group_hash) WHERE group_hash IS NOT NULL;

-- The source's own form, never read together with the rest.
CREATE TABLE object_document (object INTEGER PRIMARY KEY, document BLOB NOT NULL) STRICT;

-- Which objects a directory has, and in which refresh each was last seen.
CREATE TABLE sighting (
    directory INTEGER NOT NULL,
    object INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    PRIMARY KEY (directory, object)
) STRICT, WITHOUT ROWID;

-- Names that links go to and that no object bears (yet). The object that comes to bear it takes over the number, and with it the links.
CREATE TABLE placeholder (
    id INTEGER PRIMARY KEY,
    directory INTEGER NOT NULL,
    hash INTEGER NOT NULL,
    name TEXT NOT NULL
) STRICT;
CREATE INDEX placeholder_named ON placeholder (directory, hash);

CREATE TABLE link (
    object INTEGER NOT NULL,
    role INTEGER NOT NULL,        -- 0 member 1 owner 2 additional owner 3 manager
    target INTEGER NOT NULL,      -- object or placeholder
    starts_at INTEGER,
    ends_at INTEGER,
    flags INTEGER NOT NULL,       -- 1 muted, 2 a member that is a group itself
    PRIMARY KEY (object, role, target)
) STRICT, WITHOUT ROWID;
CREATE INDEX link_target ON link (target, role, object);
-- Groups in groups, so that walking down does not go through all members.
CREATE INDEX link_nested ON link (object) WHERE flags >= 2;
