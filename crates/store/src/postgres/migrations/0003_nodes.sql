-- Small texts that are written over only by who has read them, up to once a second each: a page has room for many versions, so that no writing touches the index.
CREATE TABLE slate (name text COLLATE "C" PRIMARY KEY, version bigint NOT NULL, text text NOT NULL)
    WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);

-- Who serves: a row for each number that was ever borne. A number is given again only once nobody bears it, and the one that was left longest ago first.
CREATE TABLE node (
    number smallint PRIMARY KEY,
    name text COLLATE "C",        -- in leases; NULL if nobody bears the number
    shown text NOT NULL,          -- to people
    version text NOT NULL,
    offers text NOT NULL,         -- a JSON array: the duties it can do
    since bigint NOT NULL,
    seen bigint NOT NULL,
    until bigint NOT NULL         -- the end of its membership unless it is prolonged; if nobody bears the number: when it was left
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);

-- What only one node does at a time. The holder has a duty for as long as it is a member.
CREATE TABLE duty (
    name text COLLATE "C" PRIMARY KEY,
    holder text COLLATE "C",      -- node.name; NULL: nobody does it
    since bigint NOT NULL         -- when it was taken, or left
) WITH (fillfactor = 50);
