//! Directories as a whole: their standing, the counter of object numbers, refreshes and their sweep, and what their sources last said.

use crate::{
    mirror::{DirectoryStanding, ObjectId},
    sqlite::{
        accept::{self, Ready},
        fault::Fault,
        work::Work,
    },
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use tidings_core::time::from_millis;

/// The number that no directory has.
pub(super) const NO_DIRECTORY: i64 = 0;

const COLUMNS: &str = "name, bookmark, loaded_at, generation, failed_at, failure, heard_at, objects";

fn standing(row: &Row<'_>) -> rusqlite::Result<DirectoryStanding> {
    let moment = |column: usize| row.get::<_, Option<i64>>(column).map(|ms| ms.map(from_millis));
    Ok(DirectoryStanding {
        name: row.get(0)?,
        bookmark: row.get(1)?,
        loaded_at: moment(2)?,
        generation: row.get(3)?,
        failed_at: moment(4)?,
        failure: row.get(5)?,
        heard_at: moment(6)?,
        objects: row.get::<_, i64>(7)?.unsigned_abs(),
    })
}

/// A directory's standing.
pub(super) fn of(db: &Connection, name: &str) -> Result<Option<DirectoryStanding>, Fault> {
    Ok(db.prepare_cached(&format!("SELECT {COLUMNS} FROM directory WHERE name = ?1"))?.query_row([name], standing).optional()?)
}

/// All of them, by name.
pub(super) fn all(db: &Connection) -> Result<Vec<DirectoryStanding>, Fault> {
    let mut found = db.prepare_cached(&format!("SELECT {COLUMNS} FROM directory ORDER BY name"))?;
    let standings = found.query_map([], standing)?.collect::<Result<_, _>>()?;
    Ok(standings)
}

/// A directory's number.
pub(super) fn number(db: &Connection, name: &str) -> Result<Option<i64>, Fault> {
    Ok(db.prepare_cached("SELECT number FROM directory WHERE name = ?1")?.query_row([name], |row| row.get(0)).optional()?)
}

/// The verb: makes a directory known.
pub(super) fn make(work: &mut Work<'_>, name: &str) -> Result<DirectoryStanding, Fault> {
    enter(work.db, name)?;
    Ok(of(work.db, name)?.expect("it was made a line ago"))
}

/// A directory's number and its latest refresh; an unknown one is made.
pub(super) fn enter(db: &Connection, name: &str) -> Result<(i64, i64), Fault> {
    let known = db
        .prepare_cached("SELECT number, generation FROM directory WHERE name = ?1")?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(match known {
        Some(known) => known,
        None => db
            .prepare_cached("INSERT INTO directory (name) VALUES (?1) RETURNING number, generation")?
            .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))?,
    })
}

/// Numbers for objects and placeholders, taken from the counter once a verb and put back at its end.
pub(super) struct Numbers {
    first: i64,
    next: i64,
}

impl Numbers {
    pub(super) fn read(db: &Connection) -> Result<Self, Fault> {
        let next = db.prepare_cached("SELECT next FROM object_number")?.query_row([], |row| row.get(0))?;
        Ok(Self { first: next, next })
    }

    pub(super) fn next(&mut self) -> i64 {
        let number = self.next;
        self.next += 1;
        number
    }

    pub(super) fn keep(&self, db: &Connection) -> Result<(), Fault> {
        if self.next > self.first {
            db.prepare_cached("UPDATE object_number SET next = ?1")?.execute([self.next])?;
        }
        Ok(())
    }
}

/// Notes what came of a record or a load.
pub(super) fn note(work: &Work<'_>, directory: i64, more: i64, bookmark: Option<&[u8]>) -> Result<(), Fault> {
    work.db
        .prepare_cached("UPDATE directory SET objects = objects + ?2, bookmark = coalesce(?3, bookmark), heard_at = ?4 WHERE number = ?1")?
        .execute(params![directory, more, bookmark, work.now_ms()])?;
    Ok(())
}

/// The verb.
pub(super) fn begin_refresh(work: &mut Work<'_>, name: &str) -> Result<i64, Fault> {
    let (directory, _) = enter(work.db, name)?;
    let generation = work
        .db
        .prepare_cached("UPDATE directory SET generation = generation + 1 WHERE number = ?1 RETURNING generation")?
        .query_row([directory], |row| row.get(0))?;
    Ok(generation)
}

/// The verb.
pub(super) fn end_refresh(work: &mut Work<'_>, name: &str, bookmark: Option<&[u8]>) -> Result<(), Fault> {
    let (directory, _) = enter(work.db, name)?;
    note(work, directory, 0, bookmark)?;
    work.db
        .prepare_cached("UPDATE directory SET loaded_at = coalesce(loaded_at, ?2) WHERE number = ?1")?
        .execute([directory, work.now_ms()])?;
    Ok(())
}

/// How many objects were not seen in a refresh, of how many. Goes through the sightings, which are narrow: some ten milliseconds for a million.
pub(super) fn unseen(db: &Connection, name: &str, generation: i64) -> Result<(u64, u64), Fault> {
    let Some(directory) = of(db, name)? else { return Ok((0, 0)) };
    let unseen: i64 = db
        .prepare_cached(
            "SELECT count(*) FROM sighting s WHERE directory = (SELECT number FROM directory WHERE name = ?1) AND generation < ?2",
        )?
        .query_row((name, generation), |row| row.get(0))?;
    Ok((unseen.unsigned_abs(), directory.objects))
}

/// Their keys.
pub(super) fn unseen_keys(db: &Connection, name: &str, generation: i64, after: i64, limit: u32) -> Result<Vec<(ObjectId, String)>, Fault> {
    let directory = number(db, name)?.unwrap_or(NO_DIRECTORY);
    let mut found = db.prepare_cached(
        "SELECT s.object, o.key FROM sighting s CROSS JOIN object o ON o.id = s.object
         WHERE s.directory = ?1 AND s.object > ?2 AND s.generation < ?3 ORDER BY s.object LIMIT ?4",
    )?;
    let keys = found.query_map((directory, after, generation, limit), |row| Ok((ObjectId(row.get(0)?), row.get(1)?)))?;
    Ok(keys.collect::<Result<_, _>>()?)
}

/// The verb. The event is accepted only if what it says is news.
pub(super) fn report(work: &mut Work<'_>, name: &str, failure: Option<&str>, news: &[Ready]) -> Result<bool, Fault> {
    let (directory, _) = enter(work.db, name)?;
    let now = work.now_ms();
    let changed = if let Some(failure) = failure {
        // What is wrong may change while it fails; since when it fails does not.
        work.db.prepare_cached("UPDATE directory SET failure = ?2 WHERE number = ?1")?.execute((directory, failure))?;
        work.db.prepare_cached("UPDATE directory SET failed_at = ?2 WHERE number = ?1 AND failed_at IS NULL")?.execute([directory, now])?
    } else {
        work.db.prepare_cached("UPDATE directory SET heard_at = ?2 WHERE number = ?1")?.execute([directory, now])?;
        work.db
            .prepare_cached("UPDATE directory SET failed_at = NULL, failure = NULL WHERE number = ?1 AND failed_at IS NOT NULL")?
            .execute([directory])?
    };
    if changed > 0 {
        accept::accept(work, news)?;
    }
    Ok(changed > 0)
}
