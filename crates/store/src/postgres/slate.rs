//! Slates. Of two nodes that write over the same version one changes the row, and the other, which waits for it, finds another version than the one it has read.

use crate::{
    postgres::{Base, fault::Fault, work::text},
    slate::{Slate, SlateWritten},
};
use tidings_core::time::from_millis;

/// What stands on a slate.
pub(crate) async fn read(base: &Base, name: &str) -> Result<Slate, Fault> {
    let sql = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint, s.version, s.text
        FROM (SELECT) AS one LEFT JOIN slate s ON s.name = $1";
    let rows = base.query(sql, &[&name]).await?;
    let row = rows.first().expect("what is joined to one row is one row at least");
    let now = base.moment(row.get(0));
    Ok(Slate {
        version: row.get::<_, Option<i64>>(1).unwrap_or(0),
        text: row.get::<_, Option<String>>(2).unwrap_or_default(),
        now: from_millis(now),
    })
}

/// Writes it if nobody has since.
pub(crate) async fn write(base: &Base, name: &str, expected: i64, said: &str) -> Result<SlateWritten, Fault> {
    let said = text(said);
    let sql = if expected == 0 {
        "INSERT INTO slate (name, version, text) VALUES ($1, $2::bigint + 1, $3) ON CONFLICT (name) DO NOTHING
         RETURNING floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    } else {
        "UPDATE slate SET version = version + 1, text = $3 WHERE name = $1 AND version = $2
         RETURNING floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    };
    let rows = base.query(sql, &[&name, &expected, &said.as_ref()]).await?;
    match rows.first() {
        Some(row) => {
            let now = from_millis(base.moment(row.get(0)));
            Ok(SlateWritten::Done(Slate { version: expected + 1, text: said.into_owned(), now }))
        }
        None => Ok(SlateWritten::Moved(read(base, name).await?)),
    }
}

/// Forgets a stretch of names, which the column's collation orders byte by byte.
pub(crate) async fn forget(base: &Base, from: &str, below: &str) -> Result<u64, Fault> {
    let sql = "WITH gone AS (DELETE FROM slate WHERE name >= $1 AND name < $2 RETURNING 1) SELECT count(*) FROM gone";
    let rows = base.query(sql, &[&from, &below]).await?;
    Ok(rows.first().map_or(0, |row| row.get::<_, i64>(0).unsigned_abs()))
}
