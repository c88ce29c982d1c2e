//! What is known of relays: an operator's pause, and what the delivering node last said.

use crate::{
    sqlite::{fault::Fault, work::Work},
    store::{RelayReport, RelayStanding},
};
use rusqlite::{Connection, params};
use tidings_core::{Timestamp, lane::LaneSet, time::from_millis};

/// Pauses a relay or lets it go on. A second pause leaves the first one's time and name.
pub(crate) fn pause(work: &mut Work<'_>, name: &str, paused: bool, by: &str) -> Result<(), Fault> {
    let number = work.relay(name)?;
    if paused {
        work.db
            .prepare_cached("UPDATE relay SET paused_at = ?2, paused_by = ?3 WHERE number = ?1 AND paused_at IS NULL")?
            .execute(params![number, work.now_ms(), by])?;
    } else {
        work.db.prepare_cached("UPDATE relay SET paused_at = NULL, paused_by = NULL WHERE number = ?1")?.execute([number])?;
        work.arrived = LaneSet::ALL;
    }
    Ok(())
}

/// Notes what a delivering node says.
pub(crate) fn report(work: &mut Work<'_>, name: &str, report: &RelayReport) -> Result<(), Fault> {
    let number = work.relay(name)?;
    work.db
        .prepare_cached("UPDATE relay SET condition = ?2, reason = ?3, next_probe_at = ?4, reported_at = ?5 WHERE number = ?1")?
        .execute(params![number, report.condition, report.reason, report.next_probe_at.map(Timestamp::as_millisecond), work.now_ms()])?;
    Ok(())
}

/// All relays ever heard of, by name.
pub(crate) fn all(db: &Connection) -> Result<Vec<RelayStanding>, Fault> {
    let relays = db
        .prepare_cached("SELECT name, paused_at, paused_by, condition, reason, next_probe_at, reported_at FROM relay ORDER BY name")?
        .query_map([], |row| {
            Ok(RelayStanding {
                name: row.get(0)?,
                paused_at: row.get::<_, Option<i64>>(1)?.map(from_millis),
                paused_by: row.get(2)?,
                condition: row.get(3)?,
                reason: row.get(4)?,
                next_probe_at: row.get::<_, Option<i64>>(5)?.map(from_millis),
                reported_at: row.get::<_, Option<i64>>(6)?.map(from_millis),
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(relays)
}
