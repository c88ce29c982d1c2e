//! Looks behind the marks of the [`front`](super::front) for what nobody has told of: a node that ended between its commit and its ring, a ring that was not heard, a claim that was rolled back.
//! It looks beside the claims, which go on meanwhile: as long as somebody holds an old snapshot, what it has to walk over is everything that has ended since.

use crate::postgres::{Base, fault::Fault, work::small};
use std::{
    sync::Weak,
    time::{Duration, Instant},
};
use tidings_core::Lane;
use tokio::time::timeout;

/// Between two looks …
const EVERY: Duration = Duration::from_secs(5);
/// … which go back so far before the mark and the last look: nearly all that becomes due is written within that time …
const NEAR_MS: i64 = 10_000;
/// … and once in so long to the very front.
const FAR_EVERY: Duration = Duration::from_secs(60);
/// Both come more rarely if they take long: this many times what they took passes between two, so that a twentieth of the time is spent at most.
const TIMES: u32 = 20;
/// A server that takes longer is asked again later.
const PATIENCE: Duration = Duration::from_mins(10);

/// Reads no more than the first of each lane. A relay that is paused has nothing due, and its marks stay where they are.
const FIRST: &str = "SELECT l.relay, l.lane, c.due_at
    FROM unnest($1::text[], $2::smallint[], $3::bigint[]) AS l (relay, lane, floor) JOIN relay y ON y.name = l.relay AND y.paused_at IS NULL LEFT JOIN LATERAL (
        SELECT o.due_at FROM open_item o
        WHERE o.relay = y.number AND o.lane = l.lane AND o.state IN (1, 2) AND o.due_at >= l.floor AND o.due_at <= $4 AND o.expires_at + 0 > $4
        ORDER BY o.due_at, o.id LIMIT 1) AS c ON true";

/// Goes its rounds as long as the database is open.
pub(crate) async fn serve(base: Weak<Base>) {
    let (mut wait, mut far_at, mut last) = (EVERY, Instant::now(), i64::MIN);
    loop {
        tokio::time::sleep(wait).await;
        let Some(base) = base.upgrade() else { return };
        let begun = Instant::now();
        let far = begun >= far_at;
        match timeout(PATIENCE, round(&base, if far { i64::MIN } else { last })).await {
            Ok(Ok(now)) => last = now,
            Ok(Err(fault)) => tracing::debug!(error = %fault.into_store(), "what is due could not be looked for"),
            Err(_) => tracing::debug!("looking for what is due took too long"),
        }
        let rest = begun.elapsed() * TIMES;
        if far {
            far_at = Instant::now() + FAR_EVERY.max(rest);
        } else {
            wait = EVERY.max(rest);
        }
    }
}

/// One look, that goes back to before the last one. Gives its moment.
async fn round(base: &Base, last: i64) -> Result<i64, Fault> {
    let look = base.front.look_at_all();
    let work = base.look().await?;
    if look.places.is_empty() {
        return Ok(work.now_ms());
    }
    let (mut relays, mut lanes, mut floors) = (Vec::new(), Vec::<i16>::new(), Vec::new());
    for (relay, lane, mark) in &look.places {
        relays.push(relay.as_str());
        lanes.push(small(lane.number()));
        floors.push(last.min(*mark).saturating_sub(NEAR_MS));
    }
    let rows = work.query(FIRST, &[&relays, &lanes, &floors, &work.now_ms()]).await?;
    for row in rows {
        let (relay, lane): (&str, i16) = (row.get(0), row.get(1));
        if let Some(lane) = Lane::from_number(lane.into()) {
            look.nothing_before(relay, lane, row.get::<_, Option<i64>>(2).unwrap_or(work.now_ms()));
        }
    }
    Ok(work.now_ms())
}
