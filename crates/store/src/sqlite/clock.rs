//! A clock that is set back. What was accepted while it was ahead is due, and ends, later than meant by as much as it was ahead; here that is noticed and mended.
//!
//! Only items accepted later than the present moment are touched. An item accepted before the clock went ahead, and put off while it was, stays put off: nothing
//! tells its due time from one that was meant.

use crate::{
    error::StoreError,
    sqlite::{
        fault::Fault,
        work::{Line, Work},
    },
};
use rusqlite::{Connection, OptionalExtension, params};
use tidings_core::{Id, Timestamp, lane::LaneSet, outbox::State, time::from_millis};

/// So far, in milliseconds, the clock may stand behind the newest acceptance: small corrections are a clock's daily life, and a letter late by that is not late.
const TOLERATED_MS: i64 = 1_000;
/// An item has its id before it is accepted, by no more than this many milliseconds.
const UNDER_WAY_MS: i64 = 60_000;
/// Rows looked at in one transaction.
const STEP: usize = 2_000;
/// Where in `meta` it stands how far mending has come, so that it goes on after a crash.
const MARK: &str = "clock_mend";

/// What is still to be looked at: items above one id and not above another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mend {
    after: i64,
    last: i64,
    /// The mark is on disk.
    marked: bool,
}

/// What a step came to.
pub(crate) struct Mended {
    items: u64,
    left: Option<Mend>,
}

/// Keeps the newest acceptance in mind and compares the clock with it.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// In milliseconds; absent until the first look.
    newest: Option<i64>,
    mend: Option<Mend>,
    mended: u64,
}

impl Watch {
    /// Something was accepted.
    pub(crate) fn accepted(&mut self, now: Timestamp) {
        self.newest = self.newest.map(|newest| newest.max(now.as_millisecond()));
    }

    /// Looks at the clock. Costs a comparison, and at the first look two rows.
    pub(crate) fn look(&mut self, db: &Connection, now: Timestamp) -> Result<(), Fault> {
        let now = now.as_millisecond();
        let newest = match self.newest {
            Some(newest) => newest,
            None => self.first_look(db, now)?,
        };
        let ahead = newest.saturating_sub(now);
        if ahead <= TOLERATED_MS {
            return Ok(());
        }
        tracing::debug!(clock.ahead_ms = ahead, "the clock stands behind the newest acceptance");
        let last: Option<i64> = db.prepare_cached("SELECT max(id) FROM item")?.query_row([], |row| row.get(0))?;
        let after = Id::first_of(from_millis(now - UNDER_WAY_MS)).number() - 1;
        // What an earlier mending has left lies above: the clock is further back now.
        self.mend = last.map(|last| Mend { after, last, marked: self.mend.is_some_and(|mend| mend.marked) });
        self.newest = Some(now);
        Ok(())
    }

    fn first_look(&mut self, db: &Connection, now: i64) -> Result<i64, Fault> {
        let newest =
            db.prepare_cached("SELECT accepted_at FROM item ORDER BY id DESC LIMIT 1")?.query_row([], |row| row.get(0)).optional()?;
        let newest = newest.unwrap_or(now);
        self.mend = left(db)?;
        self.newest = Some(newest);
        Ok(newest)
    }

    /// What is to be mended next.
    pub(crate) const fn due(&self) -> Option<Mend> {
        self.mend
    }

    /// A step is on disk.
    pub(crate) fn done(&mut self, step: &Mended) {
        self.mend = step.left;
        self.mended += step.items;
        if step.left.is_none() && self.mended > 0 {
            tracing::warn!(
                outbox.items = self.mended,
                "the clock was set back: what was accepted while it was ahead is due by the clock as it is now"
            );
            self.mended = 0;
        }
    }
}

/// What a mending that was broken off had still to do.
fn left(db: &Connection) -> Result<Option<Mend>, Fault> {
    let mark: Option<Vec<u8>> =
        db.prepare_cached("SELECT value FROM meta WHERE name = ?1")?.query_row([MARK], |row| row.get(0)).optional()?;
    let Some(mark) = mark else { return Ok(None) };
    let text = String::from_utf8_lossy(&mark);
    let numbers = text.split_once(' ').and_then(|(after, last)| Some((after.parse().ok()?, last.parse().ok()?)));
    let (after, last) = numbers.ok_or_else(|| StoreError::Corrupt(format!("meta.value: {MARK}")))?;
    Ok(Some(Mend { after, last, marked: true }))
}

/// An item as it was found.
struct Found {
    id: i64,
    state: i64,
    token: i64,
    open: bool,
    due_at: i64,
    expires_at: i64,
    accepted_at: i64,
}

/// One step, as a verb of its own: open items accepted later than now are taken as accepted now, with all their times moved by as much. Nothing else about them
/// changes, neither state nor token nor attempts, and a second time finds nothing to do.
pub(crate) fn step(work: &mut Work<'_>, mend: Mend) -> Result<Mended, Fault> {
    let found: Vec<Found> = work
        .db
        .prepare_cached(
            "SELECT id, state, token, open_until IS NOT NULL, due_at, expires_at, accepted_at FROM item WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3",
        )?
        .query_map(params![mend.after, mend.last, i64::try_from(STEP).unwrap_or(i64::MAX)], |row| {
            Ok(Found {
                id: row.get(0)?,
                state: row.get(1)?,
                token: row.get(2)?,
                open: row.get(3)?,
                due_at: row.get(4)?,
                expires_at: row.get(5)?,
                accepted_at: row.get(6)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    let mut items = 0;
    for item in found.iter().filter(|item| item.open && item.accepted_at > work.now_ms()) {
        bring_back(work, item)?;
        items += 1;
    }
    if items > 0 {
        work.arrived = LaneSet::ALL;
    }
    let left = found.last().filter(|_| found.len() == STEP).map(|item| Mend { after: item.id, last: mend.last, marked: true });
    match left {
        // Before anything is accepted by the clock as it is now: from then on the newest item tells nothing of the others. Later ones only if they spare work.
        Some(Mend { after, last, .. }) if items > 0 || !mend.marked => {
            work.db
                .prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, CAST(?2 AS BLOB))")?
                .execute(params![MARK, format!("{after} {last}")])?;
        }
        None if mend.marked => {
            work.db.prepare_cached("DELETE FROM meta WHERE name = ?1")?.execute([MARK])?;
        }
        _ => {}
    }
    Ok(Mended { items, left })
}

fn bring_back(work: &Work<'_>, item: &Found) -> Result<(), Fault> {
    let ahead = item.accepted_at - work.now_ms();
    // A lease stays as it is: its holder is at work. A time before the acceptance was set by the clock as it is now, when a lease ended.
    let settled_since = item.token > 0 && item.due_at < item.accepted_at;
    let due_at = if item.state == State::Claimed.number() || settled_since { item.due_at } else { item.due_at - ahead };
    work.db.prepare_cached("UPDATE item SET accepted_at = ?2, due_at = ?3, expires_at = ?4, open_until = ?4 WHERE id = ?1")?.execute([
        item.id,
        work.now_ms(),
        due_at,
        item.expires_at - ahead,
    ])?;
    let detail = format!("accepted while the clock was {} ahead", in_words(ahead));
    work.note(&Line { item: item.id, at: work.now_ms(), what: "clock", who: None, detail: Some(&detail) })
}

/// A span of time, in milliseconds, for an operator's eye.
pub(crate) fn in_words(ms: i64) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400_000, "days"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];
    let (unit, name) = UNITS.into_iter().find(|(unit, _)| ms >= 2 * unit - unit / 60).unwrap_or((1_000, "s"));
    format!("{} {name}", ((ms + unit / 2) / unit).max(1))
}

#[cfg(test)]
mod tests {
    use super::in_words;

    #[test]
    fn a_span_of_time_is_told_in_a_unit_of_its_size() {
        let told = [300, 1_200, 90_000, 3_600_000, 86_399_000, 172_700_000, 864_000_000].map(in_words);
        assert_eq!(told, ["1 s", "1 s", "90 s", "60 min", "24 h", "2 days", "10 days"]);
    }
}
