//! Names that links go by: whose they are, placeholders for those that nobody bears, and what happens when a name changes hands.

use crate::{
    mirror::names::{Bearer, folded, hash},
    sqlite::{
        fault::Fault,
        mirror::{rows, standing::Numbers},
    },
};
use rusqlite::{Connection, OptionalExtension};
use tidings_core::directory::Head;

/// Who bears a name.
pub(super) fn bearer(db: &Connection, directory: i64, name: &str) -> Result<Option<Bearer>, Fault> {
    bearer_of(db, directory, hash(name), name)
}

fn bearer_of(db: &Connection, directory: i64, hash: i64, name: &str) -> Result<Option<Bearer>, Fault> {
    let mut of_key = None;
    let mut objects = db.prepare_cached("SELECT id, type, reference, key FROM object WHERE directory = ?1 AND hash = ?2")?;
    let mut found = objects.query((directory, hash))?;
    while let Some(row) = found.next()? {
        let bearer = Bearer { id: row.get(0)?, known: true, group: rows::is_group(row.get_ref(1)?) };
        match row.get_ref(2)?.as_str_or_null().map_err(rusqlite::Error::from)? {
            Some(reference) if folded(reference) == folded(name) => return Ok(Some(bearer)),
            None if row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)? == name => of_key = Some(bearer),
            _ => {}
        }
    }
    if of_key.is_some() {
        return Ok(of_key);
    }
    let placeholder = db
        .prepare_cached("SELECT id FROM placeholder WHERE directory = ?1 AND hash = ?2 AND name = ?3")?
        .query_row((directory, hash, name), |row| row.get(0))
        .optional()?;
    Ok(placeholder.map(|id| Bearer { id, known: false, group: false }))
}

/// Who bears each of many names: looked up in the order of the index, each different one once, and given in the order asked.
pub(super) fn bearers(db: &Connection, directory: i64, asked: &[&str]) -> Result<Vec<Option<Bearer>>, Fault> {
    let mut order: Vec<(i64, usize)> = asked.iter().enumerate().map(|(place, name)| (hash(name), place)).collect();
    order.sort_unstable_by(|a, b| (a.0, asked[a.1]).cmp(&(b.0, asked[b.1])));
    let mut answers = vec![None; asked.len()];
    let mut last: Option<(&str, Option<Bearer>)> = None;
    for (hash, place) in order {
        let name = asked[place];
        let answer = match last {
            Some((known, answer)) if known == name => answer,
            _ => bearer_of(db, directory, hash, name)?,
        };
        last = Some((name, answer));
        answers[place] = answer;
    }
    Ok(answers)
}

/// The row that a name leads to; one that nobody bears gets a placeholder.
pub(super) fn bearer_or_placeholder(db: &Connection, directory: i64, name: &str, numbers: &mut Numbers) -> Result<Bearer, Fault> {
    if let Some(bearer) = bearer(db, directory, name)? {
        return Ok(bearer);
    }
    let id = numbers.next();
    db.prepare_cached("INSERT INTO placeholder (id, directory, hash, name) VALUES (?1, ?2, ?3, ?4)")?.execute((
        id,
        directory,
        hash(name),
        name,
    ))?;
    Ok(Bearer { id, known: false, group: false })
}

/// The name of a placeholder.
pub(super) fn placeholder(db: &Connection, id: i64) -> Result<Option<String>, Fault> {
    Ok(db.prepare_cached("SELECT name FROM placeholder WHERE id = ?1")?.query_row([id], |row| row.get(0)).optional()?)
}

/// Placeholders for the name that links to this object go by. More than one only if its links were written in different cases.
pub(super) fn waiting_for(db: &Connection, directory: i64, head: &Head) -> Result<Vec<i64>, Fault> {
    let name = head.referred_to_as();
    let fits = |written: &str| if head.reference.is_some() { folded(written) == folded(name) } else { written == name };
    let mut ids = Vec::new();
    let mut placeholders = db.prepare_cached("SELECT id, name FROM placeholder WHERE directory = ?1 AND hash = ?2 ORDER BY id")?;
    let mut found = placeholders.query((directory, hash(name)))?;
    while let Some(row) = found.next()? {
        if fits(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?) {
            ids.push(row.get(0)?);
        }
    }
    Ok(ids)
}

/// Takes a reference away from any other object that bears it: two cannot bear one name, and the one that was heard of last has it. The other one's own change
/// (it was renamed, too, or is gone) is still to come. Its version stays: what links say of it is the same.
pub(super) fn take_away(db: &Connection, directory: i64, head: &Head, id: i64) -> Result<(), Fault> {
    let Some(reference) = &head.reference else { return Ok(()) };
    let mut others: Vec<(i64, String)> = Vec::new();
    {
        let mut objects = db.prepare_cached("SELECT id, reference, key FROM object WHERE directory = ?1 AND hash = ?2 AND id <> ?3")?;
        let mut found = objects.query((directory, hash(reference), id))?;
        while let Some(row) = found.next()? {
            let theirs = row.get_ref(1)?.as_str_or_null().map_err(rusqlite::Error::from)?;
            if theirs.is_some_and(|theirs| folded(theirs) == folded(reference)) {
                others.push((row.get(0)?, row.get(2)?));
            }
        }
    }
    for (other, key) in others {
        db.prepare_cached("UPDATE object SET reference = NULL, hash = ?2 WHERE id = ?1")?.execute((other, hash(&key)))?;
    }
    Ok(())
}
