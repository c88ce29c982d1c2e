//! Looking up what a client asks for by name: objects by key, by account, by another system's name; links by their other end; pages of one type.

use crate::{
    mirror::{MirrorLink, MirrorObject, ObjectId, Target, looked_up},
    sqlite::{
        fault::Fault,
        mirror::{links, names, rows, rows::COLUMNS, standing},
    },
};
use rusqlite::{Connection, params};
use std::collections::BTreeSet;
use tidings_core::{
    directory::{Head, LinkRole},
    subject::ObjectType,
};

/// Enters a new object.
pub(super) fn enter(db: &Connection, directory: i64, object: i64, head: &Head) -> Result<(), Fault> {
    for hash in looked_up::hashes(head) {
        put(db, directory, hash, object)?;
    }
    Ok(())
}

/// Enters an object under what it is found by now.
pub(super) fn change(db: &Connection, directory: i64, object: i64, before: &Head, head: &Head) -> Result<(), Fault> {
    let (old, new) = (looked_up::hashes(before), looked_up::hashes(head));
    old.difference(&new).try_for_each(|hash| take(db, directory, *hash, object))?;
    new.difference(&old).try_for_each(|hash| put(db, directory, *hash, object))
}

/// Takes an object out, as long as its row is there.
pub(super) fn leave(db: &Connection, directory: i64, object: i64) -> Result<(), Fault> {
    if let Some(object) = rows::by_id(db, object)? {
        looked_up::hashes(&object.head).into_iter().try_for_each(|hash| take(db, directory, hash, object.id.0))?;
    }
    Ok(())
}

fn put(db: &Connection, directory: i64, hash: i64, object: i64) -> Result<(), Fault> {
    db.prepare_cached("INSERT OR IGNORE INTO looked_up (directory, hash, object) VALUES (?1, ?2, ?3)")?
        .execute([directory, hash, object])?;
    Ok(())
}

fn take(db: &Connection, directory: i64, hash: i64, object: i64) -> Result<(), Fault> {
    db.prepare_cached("DELETE FROM looked_up WHERE directory = ?1 AND hash = ?2 AND object = ?3")?.execute([directory, hash, object])?;
    Ok(())
}

/// Objects by an attribute's text.
pub(super) fn find(db: &Connection, directory: &str, attribute: &str, value: &str) -> Result<Vec<MirrorObject>, Fault> {
    let Some(number) = standing::number(db, directory)? else { return Ok(Vec::new()) };
    let sql = format!(
        "SELECT {COLUMNS} FROM looked_up n CROSS JOIN object o ON o.id = n.object CROSS JOIN directory d ON d.number = o.directory
         WHERE n.directory = ?1 AND n.hash = ?2 ORDER BY n.object"
    );
    let mut found = db.prepare_cached(&sql)?;
    let mut rows = found.query([number, looked_up::hash(attribute, value)])?;
    let mut objects = Vec::new();
    while let Some(row) = rows.next()? {
        let object = rows::object(row, 0)?;
        if looked_up::says(&object.head, attribute, value) {
            objects.push(object);
        }
    }
    Ok(objects)
}

/// Objects by their keys.
pub(super) fn keyed(db: &Connection, directory: &str, keys: &[String]) -> Result<Vec<MirrorObject>, Fault> {
    let Some(number) = standing::number(db, directory)? else { return Ok(Vec::new()) };
    let keys: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
    keys.into_iter().filter_map(|key| rows::by_key(db, number, key).transpose()).collect()
}

/// A page of the objects of one type, and how many there are.
pub(super) fn listing(
    db: &Connection,
    directory: &str,
    object_type: &ObjectType,
    offset: u64,
    limit: u32,
) -> Result<(u64, Vec<MirrorObject>), Fault> {
    let Some(number) = standing::number(db, directory)? else { return Ok((0, Vec::new())) };
    let of = rows::type_column(object_type);
    let total: i64 = db
        .prepare_cached("SELECT COUNT(*) FROM object INDEXED BY object_type WHERE directory = ?1 AND type = ?2")?
        .query_row(params![number, of], |row| row.get(0))?;
    // What is left out is gone through in the index alone.
    let sql = format!(
        "SELECT {COLUMNS} FROM (SELECT id FROM object INDEXED BY object_type WHERE directory = ?1 AND type = ?2 ORDER BY id LIMIT ?3 OFFSET ?4) page
         CROSS JOIN object o ON o.id = page.id CROSS JOIN directory d ON d.number = o.directory ORDER BY page.id"
    );
    let mut found = db.prepare_cached(&sql)?;
    let mut rows = found.query(params![number, of, limit, i64::try_from(offset).unwrap_or(i64::MAX)])?;
    let mut objects = Vec::new();
    while let Some(row) = rows.next()? {
        objects.push(rows::object(row, 0)?);
    }
    Ok((u64::try_from(total).unwrap_or(0), objects))
}

/// Links of an object to certain others.
pub(super) fn linked(db: &Connection, object: ObjectId, role: LinkRole, asked: &[String]) -> Result<Vec<MirrorLink>, Fault> {
    let Some(bearer) = rows::by_id(db, object.0)? else { return Ok(Vec::new()) };
    let Some(number) = standing::number(db, &bearer.directory)? else { return Ok(Vec::new()) };
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect::<BTreeSet<_>>().into_iter().collect();
    let mut linked = Vec::new();
    for found in names::bearers(db, number, &asked)?.into_iter().flatten() {
        if let Some(terms) = links::terms(db, object.0, role, found.id)? {
            let other: Target = links::target(db, found.id)?;
            linked.push(terms.link(role, other));
        }
    }
    Ok(linked)
}
