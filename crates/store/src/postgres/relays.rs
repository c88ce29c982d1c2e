//! What is known of relays: an operator's pause, and what the delivering node last said.

use crate::{
    postgres::{Base, fault::Fault, work::text},
    store::{RelayReport, RelayStanding},
};
use tidings_core::{Timestamp, lane::LaneSet, time::from_millis};

/// Pauses a relay or lets it go on. A second pause leaves the first one's time and name.
pub(crate) async fn pause(base: &Base, name: &str, paused: bool, by: &str) -> Result<(), Fault> {
    let number = base.words.relays(&base.pool, [name]).await?.of(name);
    let mut work = base.begin().await?;
    if paused {
        let sql = "UPDATE relay SET paused_at = $2, paused_by = $3 WHERE number = $1 AND paused_at IS NULL";
        work.execute(sql, &[&number, &work.now_ms(), &by]).await?;
    } else {
        work.execute("UPDATE relay SET paused_at = NULL, paused_by = NULL WHERE number = $1", &[&number]).await?;
        work.arrived = LaneSet::ALL;
    }
    base.finish(work).await
}

/// Notes what a delivering node says.
pub(crate) async fn report(base: &Base, name: &str, report: &RelayReport) -> Result<(), Fault> {
    let number = base.words.relays(&base.pool, [name]).await?.of(name);
    let work = base.begin().await?;
    let sql = "UPDATE relay SET condition = $2, reason = $3, next_probe_at = $4, reported_at = $5 WHERE number = $1";
    let (reason, next_probe_at) = (report.reason.as_deref().map(text), report.next_probe_at.map(Timestamp::as_millisecond));
    work.execute(sql, &[&number, &report.condition, &reason.as_deref(), &next_probe_at, &work.now_ms()]).await?;
    base.finish(work).await
}

/// All relays ever heard of, by name.
pub(crate) async fn all(base: &Base) -> Result<Vec<RelayStanding>, Fault> {
    let sql = "SELECT name, paused_at, paused_by, condition, reason, next_probe_at, reported_at FROM relay ORDER BY name";
    let rows = base.query(sql, &[]).await?;
    let moment = |row: &tokio_postgres::Row, column: usize| row.get::<_, Option<i64>>(column).map(from_millis);
    let standing = |row: &tokio_postgres::Row| RelayStanding {
        name: row.get(0),
        paused_at: moment(row, 1),
        paused_by: row.get(2),
        condition: row.get(3),
        reason: row.get(4),
        next_probe_at: moment(row, 5),
        reported_at: moment(row, 6),
    };
    Ok(rows.iter().map(standing).collect())
}
