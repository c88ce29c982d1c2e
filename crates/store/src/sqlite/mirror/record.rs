//! Record: differences, sightings, bookmark and events as one.

use crate::{
    error::StoreError,
    mirror::{Difference, MirrorLink, Record, Target, names::Bearer, terms::Terms},
    sqlite::{
        accept::{self, Ready},
        fault::Fault,
        mirror::{links, names, rows, scribe::Scribe},
        work::Work,
    },
    store::Accepted,
};

/// About what a difference or a link costs to write, in bytes of a group.
const ROW_BYTES: usize = 500;
const LINK_BYTES: usize = 60;

/// About how much a record writes, its events apart.
pub(super) fn bytes(record: &Record) -> usize {
    let one = |difference: &Difference| {
        let links = difference.added.len() + difference.removed.len() + difference.altered.len() + difference.orphaned.len();
        ROW_BYTES + links * LINK_BYTES + difference.document.as_ref().map_or(0, Vec::len)
    };
    record.differences.iter().map(one).sum::<usize>() + record.seen.len() * LINK_BYTES
}

/// The verb.
pub(super) fn record(work: &mut Work<'_>, record: &Record, events: &[Ready]) -> Result<Vec<Accepted>, Fault> {
    let mut scribe = Scribe::of(work, &record.directory, record.generation)?;
    for difference in &record.differences {
        write(&mut scribe, difference, record.generation.is_some())?;
    }
    if record.generation.is_some() {
        // In the order of the index.
        let mut seen: Vec<&str> = record.seen.iter().map(String::as_str).collect();
        seen.sort_unstable();
        for key in seen {
            scribe.see_key(key)?;
        }
    }
    scribe.finish(work, record.bookmark.as_deref())?;
    accept::accept(work, events)
}

fn write(scribe: &mut Scribe<'_>, difference: &Difference, in_refresh: bool) -> Result<(), Fault> {
    let id = match (&difference.before, &difference.after) {
        (None, None) => return Ok(()),
        (Some(before), None) => {
            scribe.expect(before)?;
            return scribe.remove(before.id.0);
        }
        (None, Some(head)) => {
            if rows::id_of(scribe.db, scribe.directory, &head.key)?.is_some() {
                return Err(StoreError::Moved(head.key.clone()).into());
            }
            scribe.add(head)?
        }
        (Some(before), Some(head)) => {
            let id = before.id.0;
            if difference.is_empty() {
                return if in_refresh { scribe.see_key(&head.key) } else { Ok(()) };
            }
            scribe.expect(before)?;
            if before.head != *head {
                scribe.change(id, &before.head, head)?;
            }
            scribe.raise(id)?;
            scribe.see(id)?;
            id
        }
    };
    if let Some(document) = &difference.document {
        scribe.keep_document(id, document)?;
    }
    for link in &difference.removed {
        if let Some(target) = lost(scribe, link)? {
            scribe.unlink(id, link.role, target)?;
        }
    }
    for link in difference.added.iter().chain(&difference.altered) {
        let target = gained(scribe, link)?;
        scribe.link(id, link.role, target, Terms::of_mirrored(link))?;
    }
    Ok(())
}

/// The row that a removed link went to.
fn lost(scribe: &Scribe<'_>, link: &MirrorLink) -> Result<Option<i64>, Fault> {
    Ok(match &link.other {
        Target::Known(object) => Some(object.id.0),
        Target::Unknown(name) => names::bearer(scribe.db, scribe.directory, name)?.map(|bearer| bearer.id),
    })
}

/// The row that a link is to go to. An object that has gone in this very record leaves its name.
fn gained(scribe: &mut Scribe<'_>, link: &MirrorLink) -> Result<Bearer, Fault> {
    let name = match &link.other {
        Target::Known(object) => {
            if let Some(group) = links::group(scribe.db, object.id.0)? {
                return Ok(Bearer { id: object.id.0, known: true, group });
            }
            object.head.referred_to_as()
        }
        Target::Unknown(name) => name,
    };
    names::bearer_or_placeholder(scribe.db, scribe.directory, name, &mut scribe.numbers)
}
