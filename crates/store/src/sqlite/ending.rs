//! How a batch of the guard ends: let go, cancelled, or with digests in place of its letters.

use crate::{
    error::StoreError,
    flood::{BatchRow, BatchState},
    sqlite::{
        accept::{self, Ready},
        fault::Fault,
        guard::{BATCH, row},
        work::{Line, Work, count},
    },
    store::{Accepted, Acted},
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use tidings_core::{Id, lane::LaneSet, outbox::State};

/// Items that are let go or cancelled in one transaction: few enough that letters on the wire are settled in between.
const STEP: u32 = 500;

/// An item of a batch, as far as its end needs it.
struct Member {
    hash: i64,
    item: i64,
    state: i64,
    event: i64,
    letter: i64,
    flags: i64,
}

impl Member {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { hash: row.get(0)?, item: row.get(1)?, state: row.get(2)?, event: row.get(3)?, letter: row.get(4)?, flags: row.get(5)? })
    }

    fn is_held(&self) -> bool {
        self.state == State::Held.number()
    }

    fn leave(&self, work: &Work<'_>, batch: i64, target: State, what: &'static str, by: &str) -> Result<(), Fault> {
        work.stand(self.item, target)?;
        work.note(&Line { item: self.item, at: work.now_ms(), what, who: Some(by), detail: None })?;
        if target.is_final() {
            work.erase(self.event, self.letter, self.flags)?;
        }
        self.forget(work, batch)
    }

    fn forget(&self, work: &Work<'_>, batch: i64) -> Result<(), Fault> {
        work.db
            .prepare_cached("DELETE FROM guard_item WHERE batch = ?1 AND folded_hash = ?2 AND item = ?3")?
            .execute([batch, self.hash, self.item])?;
        Ok(())
    }
}

/// A digest with its letter made small, and the items it stands for.
pub(crate) type ReadyDigest = (Ready, Vec<Id>);

/// Writes digests, each with the end of what it stands for.
pub(crate) fn digest(work: &mut Work<'_>, batch: Id, digests: &[ReadyDigest], by: &str) -> Result<Vec<Option<Accepted>>, Fault> {
    let batch = batch.number();
    let held: bool = work
        .db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM guard_batch WHERE id = ?1 AND state = 'held')")?
        .query_row([batch], |row| row.get(0))?;
    let mut written = Vec::with_capacity(digests.len());
    for (ready, items) in digests {
        let members = if held { members(work, batch, items)? } else { Vec::new() };
        if members.is_empty() || members.len() < items.len() || !members.iter().all(Member::is_held) {
            written.push(None);
            continue;
        }
        written.push(Some(accept::one(work, ready)?));
        for member in members {
            member.leave(work, batch, State::Cancelled, "digest", by)?;
        }
    }
    Ok(written)
}

/// Those of these items that stand in a batch.
fn members(work: &Work<'_>, batch: i64, items: &[Id]) -> Result<Vec<Member>, Fault> {
    let mut find = work.db.prepare_cached(
        "SELECT g.folded_hash, i.id, i.state, i.event, i.letter, i.flags FROM item i JOIN guard_item g
         ON g.batch = ?1 AND g.folded_hash = i.folded_hash AND g.item = i.id WHERE i.id = ?2",
    )?;
    let mut members = Vec::with_capacity(items.len());
    for item in items {
        members.extend(find.query_row([batch, item.number()], Member::read).optional()?);
    }
    Ok(members)
}

/// What a step of ending a batch came to.
pub(crate) struct Ended {
    pub(crate) acted: Acted,
    pub(crate) more: bool,
}

/// A step of the verb: the batch's state first, so that whatever comes later goes by it, then its items.
pub(crate) fn end(work: &mut Work<'_>, id: Id, state: BatchState, by: &str) -> Result<Option<Ended>, Fault> {
    let number = id.number();
    let (target, what) = match state {
        BatchState::Held => return Err(StoreError::Corrupt(format!("batch {id} is to be ended, and held")).into()),
        BatchState::Released => (State::Waiting, "release"),
        BatchState::Cancelled => (State::Cancelled, "cancel"),
        // Nothing that is held is left when it comes to this.
        BatchState::Digested => (State::Cancelled, "digest"),
    };
    if state == BatchState::Digested {
        let left = in_the_way(work, number)?;
        if left > 0 {
            return Ok(still_held(work, number)?.then_some(Ended { acted: Acted { changed: 0, skipped: left }, more: false }));
        }
    }
    let ended = work
        .db
        .prepare_cached(
            "UPDATE guard_batch SET state = ?2, ended_at = coalesce(ended_at, ?3), ended_by = coalesce(ended_by, ?4) WHERE id = ?1 AND state IN ('held', ?2) RETURNING rule",
        )?
        .query_row(params![number, state.as_str(), work.now_ms(), by], |row| row.get::<_, i64>(0))
        .optional()?;
    let Some(rule) = ended else { return Ok(None) };
    // Somebody has looked at it: the rule's hour begins anew.
    work.db.prepare_cached("DELETE FROM guard_minute WHERE rule = ?1")?.execute([rule])?;
    let members: Vec<Member> = work
        .db
        .prepare_cached(
            "SELECT g.folded_hash, i.id, i.state, i.event, i.letter, i.flags FROM guard_item g JOIN item i ON i.id = g.item WHERE g.batch = ?1 ORDER BY g.folded_hash, g.item LIMIT ?2",
        )?
        .query_map(params![number, STEP], Member::read)?
        .collect::<Result<_, _>>()?;
    let mut acted = Acted { changed: 0, skipped: 0 };
    for member in &members {
        if member.is_held() {
            member.leave(work, number, target, what, by)?;
            acted.changed += 1;
        } else {
            member.forget(work, number)?;
            acted.skipped += 1;
        }
    }
    if target == State::Waiting && acted.changed > 0 {
        work.arrived = LaneSet::ALL;
    }
    Ok(Some(Ended { acted, more: members.len() == STEP as usize }))
}

/// How much keeps a batch from being digested: items it still holds, crowds that are told into it.
fn in_the_way(work: &Work<'_>, batch: i64) -> Result<u64, Fault> {
    Ok(work
        .db
        .prepare_cached(
            "SELECT (SELECT count(*) FROM guard_item g JOIN item i ON i.id = g.item WHERE g.batch = ?1 AND i.state = 0)
                  + (SELECT count(*) FROM fan_out WHERE batch = ?1 AND ended_at IS NULL)",
        )?
        .query_row([batch], |row| count(row, 0))?)
}

fn still_held(work: &Work<'_>, batch: i64) -> Result<bool, Fault> {
    let sql = "SELECT EXISTS (SELECT 1 FROM guard_batch WHERE id = ?1 AND state = 'held')";
    Ok(work.db.prepare_cached(sql)?.query_row([batch], |row| row.get(0))?)
}

/// Ended batches that have items left. Goes from batch to batch through the index: it costs as many steps as there are batches with items, not items.
pub(crate) fn broken_off(db: &Connection, limit: u16) -> Result<Vec<BatchRow>, Fault> {
    let sql = format!(
        "WITH RECURSIVE standing (batch) AS (
            SELECT min(batch) FROM guard_item
            UNION ALL SELECT (SELECT min(batch) FROM guard_item WHERE batch > standing.batch) FROM standing WHERE standing.batch IS NOT NULL
         ) {BATCH} JOIN standing s ON s.batch = b.id WHERE b.state <> 'held' ORDER BY b.id LIMIT ?1"
    );
    let rows: Result<Vec<_>, _> = db.prepare_cached(&sql)?.query_map([limit], row)?.collect();
    Ok(rows?)
}
