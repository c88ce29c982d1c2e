//! The one node of a file: whoever joins takes the place of the one before, which has ended, because a lock beside the file lets only one process serve it. So it has all duties that it offers, and
//! nobody else can take them.

use crate::{
    nodes::{Membership, NewNode, NodeRow, Pulse},
    sqlite::{claim, fault::Fault, work::Work},
};
use rusqlite::{Connection, params};
use tidings_core::time::from_millis;

/// The number and the name in leases of whoever serves a file.
const NUMBER: u16 = 0;
const NAME: &str = "serve";

/// See [`crate::Nodes::join`].
pub(crate) fn join(work: &mut Work<'_>, node: &NewNode) -> Result<Membership, Fault> {
    let mut recovered = claim::recover(work, NAME)?;
    // Where the file is a copy of a database of many nodes: those have ended, too.
    let sql = "DELETE FROM node WHERE number <> ?1 RETURNING name";
    let others: Vec<Option<String>> = work.db.prepare_cached(sql)?.query_map([NUMBER], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for other in others.into_iter().flatten() {
        recovered += claim::recover(work, &other)?;
    }
    work.db
        .prepare_cached(
            "INSERT OR REPLACE INTO node (number, name, shown, version, offers, since, seen) VALUES (?1, ?2, ?3, ?4, '', ?5, ?5)",
        )?
        .execute(params![NUMBER, NAME, node.shown, node.version, work.now_ms()])?;
    let membership = Membership { number: NUMBER, name: NAME.to_owned(), lease: None, recovered };
    beat(work, &membership, &[])?;
    Ok(membership)
}

/// See [`crate::Nodes::beat`]. Writes only if other duties are offered than before.
pub(crate) fn beat(work: &mut Work<'_>, membership: &Membership, offers: &[String]) -> Result<Option<Pulse>, Fault> {
    let written = serde_json::to_string(offers).expect("a list of texts is JSON");
    let there = "SELECT offers = ?3 FROM node WHERE number = ?1 AND name = ?2";
    let known =
        work.db.prepare_cached(there)?.query_map(params![membership.number, membership.name, written], |row| row.get::<_, bool>(0))?.next();
    let Some(known) = known.transpose()? else { return Ok(None) };
    if !known {
        work.db.prepare_cached("UPDATE node SET offers = ?2, seen = ?3 WHERE number = ?1")?.execute(params![
            membership.number,
            written,
            work.now_ms()
        ])?;
        work.db.prepare_cached("DELETE FROM duty")?.execute([])?;
        for offer in offers {
            work.db.prepare_cached("INSERT OR REPLACE INTO duty (name, holder, since) VALUES (?1, ?2, ?3)")?.execute(params![
                offer,
                membership.name,
                work.now_ms()
            ])?;
        }
    }
    let mut duties = offers.to_vec();
    duties.sort_unstable();
    Ok(Some(Pulse { duties, ..Pulse::default() }))
}

/// See [`crate::Nodes::leave`].
pub(crate) fn leave(work: &mut Work<'_>, membership: &Membership) -> Result<u64, Fault> {
    let sql = "UPDATE node SET name = NULL, seen = ?3 WHERE number = ?1 AND name = ?2";
    if work.db.prepare_cached(sql)?.execute(params![membership.number, membership.name, work.now_ms()])? == 0 {
        return Ok(0);
    }
    work.db.prepare_cached("DELETE FROM duty")?.execute([])?;
    claim::recover(work, &membership.name)
}

/// See [`crate::Nodes::nodes`]. Of one that was killed this still tells, until the next one joins; whether somebody serves at all is known by the lock.
pub(crate) fn nodes(db: &Connection, now_ms: i64) -> Result<Vec<NodeRow>, Fault> {
    let duties =
        db.prepare_cached("SELECT name FROM duty ORDER BY name")?.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    let sql = "SELECT number, name, shown, version, since FROM node WHERE name IS NOT NULL";
    let row = |row: &rusqlite::Row<'_>| {
        let (since, seen) = (from_millis(row.get(4)?), from_millis(now_ms));
        Ok(NodeRow { node: row.get(2)?, number: row.get(0)?, name: row.get(1)?, version: row.get(3)?, since, seen, duties: duties.clone() })
    };
    let rows = db.prepare_cached(sql)?.query_map([], row)?.collect::<Result<Vec<_>, _>>()?;
    Ok(rows)
}
