-- What letters are written after: the dictionaries that most letters' bytes are compressed against.
CREATE TABLE pattern (number INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, text BLOB NOT NULL) STRICT;

-- NULL: the bytes are the letter itself (or sealed).
ALTER TABLE letter ADD COLUMN pattern INTEGER;
