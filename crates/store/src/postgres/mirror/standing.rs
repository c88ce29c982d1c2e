//! Directories as a whole: their standing, the numbers of objects, refreshes and their sweep, and what their sources last said.
//!
//! Every verb that writes a directory takes its row first and keeps it to the end of the transaction ([`enter`]). So of two nodes that feed one directory the later one
//! waits, and then sees all that the earlier one wrote: READ COMMITTED takes a new look at the tables for each statement.

use crate::{
    mirror::{DirectoryStanding, ObjectId},
    postgres::{
        fault::Fault,
        mirror::rows::{self, ASKED},
        work::query,
    },
};
use deadpool_postgres::Object;
use std::collections::VecDeque;
use tidings_core::time::from_millis;
use tokio_postgres::Row;

/// The number that no directory has.
pub(super) const NO_DIRECTORY: i32 = 0;

const COLUMNS: &str = "name, bookmark, loaded_at, generation, failed_at, failure, heard_at, objects";

fn standing(row: &Row) -> Result<DirectoryStanding, Fault> {
    let moment = |column: usize| row.try_get::<_, Option<i64>>(column).map(|ms| ms.map(from_millis));
    Ok(DirectoryStanding {
        name: row.try_get(0)?,
        bookmark: row.try_get(1)?,
        loaded_at: moment(2)?,
        generation: row.try_get(3)?,
        failed_at: moment(4)?,
        failure: row.try_get(5)?,
        heard_at: moment(6)?,
        objects: row.try_get::<_, i64>(7)?.unsigned_abs(),
    })
}

/// A directory's standing.
pub(super) async fn of(db: &Object, name: &str) -> Result<Option<DirectoryStanding>, Fault> {
    let sql = format!("SELECT {COLUMNS} FROM directory WHERE name = $1");
    query(db, &sql, &[&name]).await?.first().map(standing).transpose()
}

/// All of them, by name.
pub(super) async fn all(db: &Object) -> Result<Vec<DirectoryStanding>, Fault> {
    let sql = format!("SELECT {COLUMNS} FROM directory ORDER BY name");
    query(db, &sql, &[]).await?.iter().map(standing).collect()
}

/// A directory's number.
pub(super) async fn number(db: &Object, name: &str) -> Result<Option<i32>, Fault> {
    let found = query(db, "SELECT number FROM directory WHERE name = $1", &[&name]).await?;
    Ok(found.first().map(|row| row.try_get(0)).transpose()?)
}

/// The verb: makes a directory known.
pub(super) async fn make(db: &Object, name: &str) -> Result<DirectoryStanding, Fault> {
    enter(db, name).await?;
    Ok(of(db, name).await?.expect("it was made a line ago"))
}

/// A directory's number and its latest refresh; an unknown one is made. Whoever else writes this directory waits until the transaction is over.
pub(super) async fn enter(db: &Object, name: &str) -> Result<(i32, i64), Fault> {
    let take = "SELECT number, generation FROM directory WHERE name = $1 FOR UPDATE";
    let mut taken = query(db, take, &[&name]).await?;
    if taken.is_empty() {
        // Of two who make it at once the second waits here for the first, and finds its row below.
        query(db, "INSERT INTO directory (name) VALUES ($1) ON CONFLICT (name) DO NOTHING", &[&name]).await?;
        taken = query(db, take, &[&name]).await?;
    }
    let row = taken.first().expect("it was made a line ago, and directories are never taken away");
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// Numbers for objects and placeholders, taken from the sequence many at a time.
#[derive(Debug)]
pub(super) struct Numbers {
    taken: VecDeque<i64>,
    /// So many are taken next.
    some: usize,
}

impl Numbers {
    /// `some` will do in most cases.
    pub(super) fn of(some: usize) -> Self {
        Self { taken: VecDeque::new(), some: some.clamp(8, ASKED) }
    }

    pub(super) async fn next(&mut self, db: &Object) -> Result<i64, Fault> {
        if self.taken.is_empty() {
            let sql = "SELECT nextval('object_number') FROM generate_series(1, $1::integer)";
            let some = i32::try_from(self.some).expect("some numbers are not many");
            for row in query(db, sql, &[&some]).await? {
                self.taken.push_back(row.try_get(0)?);
            }
        }
        Ok(self.taken.pop_front().expect("the sequence gives as many as are asked for"))
    }
}

/// Notes what came of a record or a load.
pub(super) async fn note(db: &Object, directory: i32, more: i64, bookmark: Option<&[u8]>, now: i64) -> Result<(), Fault> {
    let sql = "UPDATE directory SET objects = objects + $2, bookmark = coalesce($3, bookmark), heard_at = $4 WHERE number = $1";
    query(db, sql, &[&directory, &more, &bookmark, &now]).await?;
    Ok(())
}

/// The verb.
pub(super) async fn begin_refresh(db: &Object, name: &str) -> Result<i64, Fault> {
    let (directory, _) = enter(db, name).await?;
    let sql = "UPDATE directory SET generation = generation + 1 WHERE number = $1 RETURNING generation";
    Ok(query(db, sql, &[&directory]).await?.first().expect("the row is taken").try_get(0)?)
}

/// The verb.
pub(super) async fn end_refresh(db: &Object, name: &str, bookmark: Option<&[u8]>, now: i64) -> Result<(), Fault> {
    let (directory, _) = enter(db, name).await?;
    note(db, directory, 0, bookmark, now).await?;
    let sql = "UPDATE directory SET loaded_at = coalesce(loaded_at, $2) WHERE number = $1";
    query(db, sql, &[&directory, &now]).await?;
    Ok(())
}

/// How many objects were not seen in a refresh, of how many. Goes through the sightings, which are narrow.
pub(super) async fn unseen(db: &Object, name: &str, generation: i64) -> Result<(u64, u64), Fault> {
    let sql = "SELECT (SELECT count(*) FROM sighting s WHERE s.directory = d.number AND s.generation < $2), d.objects FROM directory d WHERE d.name = $1";
    let found = query(db, sql, &[&name, &generation]).await?;
    let Some(row) = found.first() else { return Ok((0, 0)) };
    Ok((row.try_get::<_, i64>(0)?.unsigned_abs(), row.try_get::<_, i64>(1)?.unsigned_abs()))
}

/// Their keys.
pub(super) async fn unseen_keys(
    db: &Object,
    name: &str,
    generation: i64,
    after: i64,
    limit: u32,
) -> Result<Vec<(ObjectId, String)>, Fault> {
    let sql =
        "SELECT object FROM sighting WHERE directory = (SELECT number FROM directory WHERE name = $1) AND object > $2 AND generation < $3
         ORDER BY object LIMIT $4";
    let page = query(db, sql, &[&name, &after, &generation, &i64::from(limit)]).await?;
    let ids: Vec<i64> = page.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let mut keys = rows::column_of(db, "SELECT id, key FROM object WHERE id = ANY($1)", &ids).await?;
    Ok(ids.into_iter().filter_map(|id| Some((ObjectId(id), keys.remove(&id)?))).collect())
}

/// Notes that a source fails or works. Gives whether that is news.
pub(super) async fn report(db: &Object, name: &str, failure: Option<&str>, now: i64) -> Result<bool, Fault> {
    let (directory, _) = enter(db, name).await?;
    let failing = "SELECT failed_at IS NOT NULL FROM directory WHERE number = $1";
    let failing: bool = query(db, failing, &[&directory]).await?.first().expect("the row is taken").try_get(0)?;
    if let Some(failure) = failure {
        // What is wrong may change while it fails; since when it fails does not.
        let sql = "UPDATE directory SET failure = $2, failed_at = coalesce(failed_at, $3) WHERE number = $1";
        query(db, sql, &[&directory, &failure, &now]).await?;
    } else {
        let sql = "UPDATE directory SET heard_at = $2, failed_at = NULL, failure = NULL WHERE number = $1";
        query(db, sql, &[&directory, &now]).await?;
    }
    Ok(failing != failure.is_some())
}
