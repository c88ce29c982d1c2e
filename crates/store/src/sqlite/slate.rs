//! Slates: a writing checks the version.

use crate::{
    slate::{Slate, SlateWritten},
    sqlite::{fault::Fault, work::Work},
};
use rusqlite::{Connection, OptionalExtension, params};
use tidings_core::Timestamp;

/// What stands on a slate.
pub(crate) fn read(db: &Connection, name: &str, now: Timestamp) -> Result<Slate, Fault> {
    let found = db
        .prepare_cached("SELECT version, text FROM slate WHERE name = ?1")?
        .query_row([name], |row| Ok(Slate { version: row.get(0)?, text: row.get(1)?, now }))
        .optional()?;
    Ok(found.unwrap_or(Slate { version: 0, text: String::new(), now }))
}

/// Writes it if nobody has since.
pub(crate) fn write(work: &mut Work<'_>, name: &str, expected: i64, text: &str) -> Result<SlateWritten, Fault> {
    let changed = if expected == 0 {
        work.db
            .prepare_cached("INSERT INTO slate (name, version, text) VALUES (?1, 1, ?2) ON CONFLICT (name) DO NOTHING")?
            .execute(params![name, text])?
    } else {
        work.db
            .prepare_cached("UPDATE slate SET version = version + 1, text = ?2 WHERE name = ?1 AND version = ?3")?
            .execute(params![name, text, expected])?
    };
    if changed == 0 {
        return Ok(SlateWritten::Moved(read(work.db, name, work.now)?));
    }
    Ok(SlateWritten::Done(Slate { version: expected + 1, text: text.to_owned(), now: work.now }))
}

/// Forgets a stretch of names.
pub(crate) fn forget(work: &mut Work<'_>, from: &str, below: &str) -> Result<u64, Fault> {
    let forgotten = work.db.prepare_cached("DELETE FROM slate WHERE name >= ?1 AND name < ?2")?.execute(params![from, below])?;
    Ok(forgotten as u64)
}
