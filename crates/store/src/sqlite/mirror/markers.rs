//! Markers: noted with their event, moved on, ended.

use crate::{
    error::StoreError,
    marker::{Marker, MarkerLetters, MarkerState, MarkerStep, NewMarker},
    sqlite::{
        accept::{self, Ready},
        fault::Fault,
        mirror::standing,
        work::{Work, count},
    },
};
use rusqlite::{Connection, Row, params};
use tidings_core::{Id, Timestamp, time::from_millis};

/// The verb. The index decides whether it is news, before anything of the event is written.
pub(super) fn note(work: &mut Work<'_>, marker: &NewMarker, event: &[Ready]) -> Result<bool, Fault> {
    let Some(id) = event.first().map(Ready::id) else { return Ok(false) };
    let (directory, _) = standing::enter(work.db, &marker.directory)?;
    let noted = work
        .db
        .prepare_cached(
            "INSERT INTO marker (event, directory, key, value, written, reference, state, seen, noted_at, tries)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8, 0) ON CONFLICT (directory, key, value) DO NOTHING",
        )?
        .execute(params![id.number(), directory, marker.key, marker.value, marker.written, marker.reference, marker.seen, work.now_ms()])?;
    if noted > 0 {
        accept::accept(work, event)?;
    }
    Ok(noted > 0)
}

/// Open markers of a directory, or of one of its objects.
pub(super) fn list(db: &Connection, directory: &str, key: Option<&str>, after: i64, limit: u32) -> Result<Vec<Marker>, Fault> {
    let Some(number) = standing::number(db, directory)? else { return Ok(Vec::new()) };
    // Two statements: one that is to serve with and without a key goes through all of them.
    let of_key = if key.is_some() { "AND m.key = ?3" } else { "AND ?3 IS NULL" };
    let sql = format!(
        "SELECT m.event, m.key, m.value, m.written, m.reference, m.state, m.seen, m.noted_at, m.tries, m.due_at, m.failure,
            EXISTS (SELECT 1 FROM fan_out f WHERE f.event = m.event AND f.ended_at IS NULL)
         FROM marker m WHERE m.directory = ?1 AND m.event > ?2 {of_key} ORDER BY m.event LIMIT ?4"
    );
    let mut found = db.prepare_cached(&sql)?;
    let rows = found.query_map(params![number, after, key, limit], |row| Ok((row.get::<_, i64>(5)?, marker(row)?)))?;
    let mut markers = Vec::new();
    for row in rows {
        let (state, mut marker) = row?;
        marker.step.state = MarkerState::of_number(state).ok_or_else(|| StoreError::Corrupt(format!("marker.state: {state}")))?;
        letters(db, &mut marker)?;
        markers.push(marker);
    }
    Ok(markers)
}

fn marker(row: &Row<'_>) -> rusqlite::Result<Marker> {
    Ok(Marker {
        event: Id::from_number(row.get(0)?),
        key: row.get(1)?,
        value: row.get(2)?,
        written: row.get(3)?,
        noted_at: from_millis(row.get(7)?),
        step: MarkerStep {
            state: MarkerState::Noted,
            reference: row.get(4)?,
            seen: row.get(6)?,
            tries: row.get(8)?,
            due_at: row.get::<_, Option<i64>>(9)?.map(from_millis),
            failure: row.get(10)?,
        },
        letters: MarkerLetters { crowd: row.get(11)?, ..MarkerLetters::default() },
    })
}

/// Counts the letters that are addressed (0: to, not in copy) by where they stand: 0 to 2 are open, 3 is sent.
fn letters(db: &Connection, marker: &mut Marker) -> Result<(), Fault> {
    let (open, sent, lost) = db
        .prepare_cached(
            "SELECT coalesce(sum(state < 3), 0), coalesce(sum(state = 3), 0), coalesce(sum(state > 3), 0)
             FROM item INDEXED BY item_event WHERE event = ?1 AND role = 0",
        )?
        .query_row([marker.event.number()], |row| Ok((count(row, 0)?, count(row, 1)?, count(row, 2)?)))?;
    marker.letters = MarkerLetters { open, sent, lost, ..marker.letters };
    Ok(())
}

/// The verb.
pub(super) fn step(work: &mut Work<'_>, event: Id, step: &MarkerStep) -> Result<bool, Fault> {
    let moved = work
        .db
        .prepare_cached("UPDATE marker SET state = ?2, reference = ?3, seen = ?4, tries = ?5, due_at = ?6, failure = ?7 WHERE event = ?1")?
        .execute(params![
            event.number(),
            step.state.number(),
            step.reference,
            step.seen,
            step.tries,
            step.due_at.map(Timestamp::as_millisecond),
            step.failure
        ])?;
    Ok(moved > 0)
}

/// The verb.
pub(super) fn end(work: &mut Work<'_>, event: Id) -> Result<bool, Fault> {
    Ok(work.db.prepare_cached("DELETE FROM marker WHERE event = ?1")?.execute([event.number()])? > 0)
}
