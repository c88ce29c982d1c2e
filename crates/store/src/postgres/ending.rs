//! How a batch of the guard ends: let go, cancelled, or with digests in place of its letters.
//!
//! Whoever ends a batch, or writes digests of it, changes or locks its row first: of two who end it differently one does, and a digest is written before the end or not at all.

use crate::{
    error::StoreError,
    flood::{BatchRow, BatchState},
    postgres::{
        Base,
        accept::{self, Ready},
        fault::Fault,
        guard::{BATCH, row},
        work::{Work, count},
    },
    store::{Accepted, Acted},
};
use tidings_core::{Id, lane::LaneSet, outbox::State};

/// Items that are let go or cancelled in one transaction: few enough that letters on the wire are settled in between.
const STEP: i64 = 500;

/// A digest with its letter made small, and the items it stands for.
pub(crate) type ReadyDigest = (Ready, Vec<Id>);

/// Writes digests, each with the end of what it stands for.
pub(crate) async fn digest(base: &Base, batch: Id, digests: &[ReadyDigest], by: &str) -> Result<Vec<Option<Accepted>>, Fault> {
    let mut work = base.begin().await?;
    let batch = batch.number();
    let held = is_held(&work, batch).await?;
    let mut written = Vec::with_capacity(digests.len());
    for (ready, items) in digests {
        let items: Vec<i64> = items.iter().map(|item| item.number()).collect();
        // Locked as well as looked at: nobody takes one of them out of the batch before it is cancelled.
        let sql = "SELECT o.id FROM open_item o JOIN item i ON i.id = o.id JOIN guard_item g ON g.batch = $1 AND g.folded_hash = i.folded_hash AND g.item = i.id
            WHERE o.id = ANY($2) AND o.state = 0 ORDER BY o.id FOR UPDATE OF o";
        let there = if held { work.query(sql, &[&batch, &items]).await?.len() } else { 0 };
        if items.is_empty() || there < items.len() {
            written.push(None);
            continue;
        }
        written.push(accept::write(&mut work, &[ready]).await?.pop());
        leave(&mut work, batch, &items, State::Cancelled, "digest", by).await?;
    }
    base.finish(work).await?;
    Ok(written)
}

/// Whether a batch is held; if it is, it stays so until the transaction ends.
async fn is_held(work: &Work, batch: i64) -> Result<bool, Fault> {
    Ok(work.query_opt("SELECT id FROM guard_batch WHERE id = $1 AND state = 'held' FOR UPDATE", &[&batch]).await?.is_some())
}

/// Has those of these items that are held leave their batch; gives their number. All of them are forgotten by the batch.
async fn leave(work: &mut Work, batch: i64, items: &[i64], target: State, what: &str, by: &str) -> Result<u64, Fault> {
    let left: Vec<i64> = if target.is_final() {
        let closed = work.close(items, &[State::Held], target).await?;
        work.erase(&closed).await?;
        closed.iter().map(|one| one.id).collect()
    } else {
        let sql = "UPDATE open_item SET state = 1, node = NULL WHERE id = ANY($1) AND state = 0 RETURNING id, due_at";
        let rows = work.query(sql, &[&items]).await?;
        for row in &rows {
            work.is_due(row.get(1));
        }
        let released: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        if !released.is_empty() {
            work.arrived = LaneSet::ALL;
        }
        released
    };
    work.note_each(&left, what, Some(by), None).await?;
    work.execute("DELETE FROM guard_item WHERE batch = $1 AND item = ANY($2)", &[&batch, &items]).await?;
    Ok(left.len() as u64)
}

/// What a step of ending a batch came to.
pub(crate) struct Ended {
    pub(crate) acted: Acted,
    pub(crate) more: bool,
}

/// A step of the verb: the batch's state first, so that whatever comes later goes by it, then its items.
pub(crate) async fn end(base: &Base, id: Id, state: BatchState, by: &str) -> Result<Option<Ended>, Fault> {
    let number = id.number();
    let (target, what) = match state {
        BatchState::Held => return Err(StoreError::Corrupt(format!("batch {id} is to be ended, and held")).into()),
        BatchState::Released => (State::Waiting, "release"),
        BatchState::Cancelled => (State::Cancelled, "cancel"),
        // Nothing that is held is left when it comes to this.
        BatchState::Digested => (State::Cancelled, "digest"),
    };
    let mut work = base.begin().await?;
    if state == BatchState::Digested {
        // The lock first: what is told into the batch meanwhile is waited for, and seen.
        let held = is_held(&work, number).await?;
        let left = in_the_way(&work, number).await?;
        if left > 0 {
            return Ok(held.then_some(Ended { acted: Acted { changed: 0, skipped: left }, more: false }));
        }
    }
    let sql = "UPDATE guard_batch SET state = $2, ended_at = coalesce(ended_at, $3), ended_by = coalesce(ended_by, $4)
        WHERE id = $1 AND (state = 'held' OR state = $2) RETURNING rule";
    let ended = work.query_opt(sql, &[&number, &state.as_str(), &work.now_ms(), &by]).await?;
    let Some(ended) = ended else { return Ok(None) };
    // Somebody has looked at it: the rule's hour begins anew.
    work.execute("DELETE FROM guard_minute WHERE rule = $1", &[&ended.get::<_, i32>(0)]).await?;
    let sql = "SELECT item FROM guard_item WHERE batch = $1 ORDER BY folded_hash, item LIMIT $2";
    let items: Vec<i64> = work.query(sql, &[&number, &STEP]).await?.iter().map(|row| row.get(0)).collect();
    let changed = leave(&mut work, number, &items, target, what, by).await?;
    base.finish(work).await?;
    let acted = Acted { changed, skipped: items.len() as u64 - changed };
    Ok(Some(Ended { acted, more: items.len() as u64 == STEP.unsigned_abs() }))
}

/// How much keeps a batch from being digested: items it still holds, crowds that are told into it.
async fn in_the_way(work: &Work, batch: i64) -> Result<u64, Fault> {
    let sql = "SELECT (SELECT count(*) FROM guard_item g JOIN open_item o ON o.id = g.item WHERE g.batch = $1 AND o.state = 0)
        + (SELECT count(*) FROM fan_out WHERE batch = $1 AND ended_at IS NULL)";
    Ok(count(&work.query_one(sql, &[&batch]).await?, 0))
}

/// Ended batches that have items left. Goes from batch to batch through the index: it costs as many steps as there are batches with items, not items.
pub(crate) async fn broken_off(base: &Base, limit: u16) -> Result<Vec<BatchRow>, Fault> {
    let sql = format!(
        "WITH RECURSIVE standing (batch) AS (
            SELECT min(batch) FROM guard_item
            UNION ALL SELECT (SELECT min(batch) FROM guard_item WHERE batch > standing.batch) FROM standing WHERE standing.batch IS NOT NULL
         ) {BATCH} JOIN standing s ON s.batch = b.id WHERE b.state <> 'held' ORDER BY b.id LIMIT $1"
    );
    Ok(base.query(&sql, &[&i64::from(limit)]).await?.iter().map(row).collect())
}
