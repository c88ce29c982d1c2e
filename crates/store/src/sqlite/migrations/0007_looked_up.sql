-- Objects by the names that people and other systems have for them, for directories whose clients ask so (SCIM). Objects that are named by a reference have none here:
-- a directory of a million people that is read by LDAP pays nothing.
CREATE TABLE looked_up (
    directory INTEGER NOT NULL,
    hash INTEGER NOT NULL,        -- 32 bits of a hash of the attribute and its folded text; the object's own attribute is compared as well
    object INTEGER NOT NULL,
    PRIMARY KEY (directory, hash, object)
) STRICT, WITHOUT ROWID;

-- Pages of objects of one type, and how many there are.
CREATE INDEX object_type ON object (directory, type);
