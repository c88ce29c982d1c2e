-- What was kept of a relay's limits for one node is now written on its slate, for all of them.
INSERT INTO slate (name, version, text) SELECT 'relay:' || substr(name, 9), 1, convert_from(value, 'UTF8') FROM meta WHERE substr(name, 1, 8) = 'account:';
DELETE FROM meta WHERE substr(name, 1, 8) = 'account:';
