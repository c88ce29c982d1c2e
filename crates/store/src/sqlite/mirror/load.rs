//! Load: entries as they are, many at once, without comparing what they say with what others say.
//!
//! The order of writing is what makes it quick. A batch's objects go in first, so that most names lead somewhere; then its links in the order of their targets,
//! because the index by target is the one whose pages lie wide apart, while the batch's own part of the other one is small and stays in memory.

use crate::{
    mirror::{
        MirrorObject,
        names::Bearer,
        steps::last_of_each_key,
        terms::{self, Terms},
    },
    sqlite::{
        fault::Fault,
        mirror::{links, names, rows, scribe::Scribe},
        work::Work,
    },
};
use std::collections::HashMap;
use tidings_core::directory::{Entry, Head};

/// An entry with the row it was given.
struct Placed<'a> {
    entry: &'a Entry,
    id: i64,
    /// It was there before.
    known: bool,
    changed: bool,
}

/// A link to be written; sorted by what comes first.
struct Row {
    target: i64,
    role: i64,
    object: i64,
    terms: Terms,
    flags: i64,
}

/// The verb: one transaction. Gives how many objects are new.
pub(super) fn load(
    work: &mut Work<'_>,
    directory: &str,
    entries: &[Entry],
    generation: i64,
    bookmark: Option<&[u8]>,
) -> Result<u64, Fault> {
    let mut scribe = Scribe::of(work, directory, Some(generation))?;
    let mut placed = Vec::with_capacity(entries.len());
    for entry in last_of_each_key(entries) {
        placed.push(place(&mut scribe, entry)?);
    }
    let new = placed.iter().filter(|one| !one.known).count();
    let asked: Vec<&str> = placed.iter().flat_map(|one| one.entry.links.iter().map(|link| link.to.as_str())).collect();
    let targets = targets(&mut scribe, &asked)?;
    let mut rows: Vec<Row> = Vec::with_capacity(targets.len());
    let mut rest = targets.as_slice();
    for one in &mut placed {
        let (its, others) = rest.split_at(one.entry.links.len());
        rest = others;
        if one.known {
            one.changed |= replace_links(&mut scribe, one, its, &mut rows)?;
        } else {
            rows.extend(one.entry.links.iter().zip(its).map(|(link, target)| {
                let terms = Terms::of(link);
                Row { target: target.id, role: link.role.number(), object: one.id, terms, flags: terms.flags(link.role, target.group) }
            }));
        }
    }
    // Stable: of two alike the later one stays.
    rows.sort_by_key(|row| (row.target, row.role, row.object));
    for row in &rows {
        scribe.write_link(row.object, row.role, row.target, row.terms, row.flags)?;
    }
    for one in placed.iter().filter(|one| one.known && one.changed) {
        scribe.raise(one.id)?;
    }
    scribe.finish(work, bookmark)?;
    Ok(new as u64)
}

/// Writes an entry's object.
fn place<'a>(scribe: &mut Scribe<'_>, entry: &'a Entry) -> Result<Placed<'a>, Fault> {
    let Some(before) = rows::by_key(scribe.db, scribe.directory, &entry.head.key)? else {
        let id = scribe.add(&entry.head)?;
        if let Some(document) = &entry.document {
            scribe.keep_document(id, document)?;
        }
        return Ok(Placed { entry, id, known: false, changed: false });
    };
    let id = before.id.0;
    let mut changed = differs(scribe, &before, &entry.head)?;
    if changed {
        scribe.change(id, &before.head, &entry.head)?;
    }
    if let Some(document) = &entry.document
        && rows::document(scribe.db, id)?.as_ref() != Some(document)
    {
        scribe.keep_document(id, document)?;
        changed = true;
    }
    scribe.see(id)?;
    Ok(Placed { entry, id, known: true, changed })
}

fn differs(scribe: &Scribe<'_>, before: &MirrorObject, head: &Head) -> Result<bool, Fault> {
    if before.head == *head {
        return Ok(false);
    }
    Ok(before.head != rows::settled(scribe.db, before, head.clone())?)
}

/// The rows that names lead to, in the order asked; placeholders are made.
fn targets(scribe: &mut Scribe<'_>, asked: &[&str]) -> Result<Vec<Bearer>, Fault> {
    let found = names::bearers(scribe.db, scribe.directory, asked)?;
    let mut made: HashMap<&str, Bearer> = HashMap::new();
    let mut targets = Vec::with_capacity(asked.len());
    for (name, bearer) in asked.iter().zip(found) {
        let bearer = match (bearer, made.get(name)) {
            (Some(bearer), _) => bearer,
            (None, Some(made)) => *made,
            (None, None) => {
                let bearer = names::bearer_or_placeholder(scribe.db, scribe.directory, name, &mut scribe.numbers)?;
                made.insert(name, bearer);
                bearer
            }
        };
        targets.push(bearer);
    }
    Ok(targets)
}

/// Brings the links of an object that was there to what its entry says: takes away what is too many, and adds what is missing or different to `rows`.
/// Gives whether anything is different.
fn replace_links(scribe: &mut Scribe<'_>, one: &Placed<'_>, targets: &[Bearer], rows: &mut Vec<Row>) -> Result<bool, Fault> {
    let mut wanted: HashMap<(i64, i64), (Terms, i64)> = HashMap::with_capacity(targets.len());
    for (link, target) in one.entry.links.iter().zip(targets) {
        let terms = Terms::of(link);
        wanted.insert((link.role.number(), target.id), (terms, terms.flags(link.role, target.group)));
    }
    let mut superfluous = Vec::new();
    {
        let mut links = scribe.db.prepare_cached("SELECT role, target, starts_at, ends_at, flags FROM link WHERE object = ?1")?;
        let mut found = links.query([one.id])?;
        while let Some(row) = found.next()? {
            let (role, target, terms, flags) = (row.get(0)?, row.get(1)?, links::read(row, 2)?, row.get(4)?);
            match wanted.get(&(role, target)) {
                Some(like) if *like == (terms, flags) => _ = wanted.remove(&(role, target)),
                Some(_) => {}
                None => superfluous.push((terms::role_of(role)?, target)),
            }
        }
    }
    let changed = !superfluous.is_empty() || !wanted.is_empty();
    for (role, target) in superfluous {
        scribe.unlink(one.id, role, target)?;
    }
    rows.extend(wanted.into_iter().map(|((role, target), (terms, flags))| Row { target, role, object: one.id, terms, flags }));
    Ok(changed)
}
