//! Markers: noted with their event, moved on, ended.

use crate::{
    error::StoreError,
    marker::{Marker, MarkerLetters, MarkerState, MarkerStep, NewMarker},
    postgres::{
        fault::Fault,
        mirror::{rows::small, standing},
        work::{count, query, text},
    },
};
use deadpool_postgres::Object;
use tidings_core::{Id, Timestamp, time::from_millis};
use tokio_postgres::Row;

/// Notes a marker; gives whether it is news. Of two nodes that find one at once the second waits at the index until the first has committed, and then finds it there.
pub(super) async fn note(db: &Object, marker: &NewMarker, event: Id, now: i64) -> Result<bool, Fault> {
    let directory = match standing::number(db, &marker.directory).await? {
        Some(number) => number,
        None => standing::enter(db, &marker.directory).await?.0,
    };
    let sql = "INSERT INTO marker (event, directory, key, value, written, reference, state, seen, noted_at, tries) VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8, 0)
         ON CONFLICT (directory, key, value) DO NOTHING RETURNING event";
    let seen = marker.seen.as_deref().map(text);
    let [key, value, written, reference] = [&marker.key, &marker.value, &marker.written, &marker.reference].map(|one| text(one));
    let noted = query(db, sql, &[&event.number(), &directory, &key, &value, &written, &reference, &seen, &now]).await?;
    Ok(!noted.is_empty())
}

/// Open markers of a directory, or of one of its objects, with how many letters are addressed (0: to, not in copy) and where they stand: those without a state are open, 3 is sent.
pub(super) async fn list(db: &Object, directory: &str, key: Option<&str>, after: i64, limit: u32) -> Result<Vec<Marker>, Fault> {
    // Two statements: one that is to serve with and without a key goes through all of them.
    let of_key = if key.is_some() { "AND m.key = $4" } else { "" };
    let sql = format!(
        "SELECT m.event, m.key, m.value, m.written, m.reference, m.state, m.seen, m.noted_at, m.tries, m.due_at, m.failure,
            EXISTS (SELECT 1 FROM fan_out f WHERE f.event = m.event AND f.ended_at IS NULL),
            (SELECT count(*) FROM item i WHERE i.event = m.event AND i.role = 0 AND i.state IS NULL),
            (SELECT count(*) FROM item i WHERE i.event = m.event AND i.role = 0 AND i.state = 3),
            (SELECT count(*) FROM item i WHERE i.event = m.event AND i.role = 0 AND i.state > 3)
         FROM marker m WHERE m.directory = (SELECT number FROM directory WHERE name = $1) AND m.event > $2 {of_key} ORDER BY m.event LIMIT $3"
    );
    let limit = i64::from(limit);
    let rows = match key.map(text) {
        Some(key) => query(db, &sql, &[&directory, &after, &limit, &key]).await?,
        None => query(db, &sql, &[&directory, &after, &limit]).await?,
    };
    rows.iter().map(marker).collect()
}

fn marker(row: &Row) -> Result<Marker, Fault> {
    let state = i64::from(row.try_get::<_, i16>(5)?);
    Ok(Marker {
        event: Id::from_number(row.try_get(0)?),
        key: row.try_get(1)?,
        value: row.try_get(2)?,
        written: row.try_get(3)?,
        noted_at: from_millis(row.try_get(7)?),
        step: MarkerStep {
            state: MarkerState::of_number(state).ok_or_else(|| StoreError::Corrupt(format!("marker.state: {state}")))?,
            reference: row.try_get(4)?,
            seen: row.try_get(6)?,
            tries: row.try_get::<_, i32>(8)?.unsigned_abs(),
            due_at: row.try_get::<_, Option<i64>>(9)?.map(from_millis),
            failure: row.try_get(10)?,
        },
        letters: MarkerLetters { crowd: row.try_get(11)?, open: count(row, 12), sent: count(row, 13), lost: count(row, 14) },
    })
}

/// Writes how far a marker is.
pub(super) async fn step(db: &Object, event: Id, step: &MarkerStep) -> Result<bool, Fault> {
    let sql =
        "UPDATE marker SET state = $2, reference = $3, seen = $4, tries = $5, due_at = $6, failure = $7 WHERE event = $1 RETURNING event";
    let (state, tries) = (small(step.state.number()), i32::try_from(step.tries).unwrap_or(i32::MAX));
    let (reference, seen, failure) = (text(&step.reference), step.seen.as_deref().map(text), step.failure.as_deref().map(text));
    let due_at = step.due_at.map(Timestamp::as_millisecond);
    Ok(!query(db, sql, &[&event.number(), &state, &reference, &seen, &tries, &due_at, &failure]).await?.is_empty())
}

/// Forgets a marker.
pub(super) async fn end(db: &Object, event: Id) -> Result<bool, Fault> {
    Ok(!query(db, "DELETE FROM marker WHERE event = $1 RETURNING event", &[&event.number()]).await?.is_empty())
}
