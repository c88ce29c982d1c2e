//! What is done to items that are not being delivered: by an operator, or because of what was learned since they were accepted. The states that an action may start from stand in the condition of the statement that writes: of two who act on an item at once the second finds it as the
//! first has left it.

use crate::{
    postgres::{
        Base,
        fault::Fault,
        filter::{Order, fitting},
        work::{Work, small, text},
    },
    store::{Acted, Action, Filter},
};
use std::collections::BTreeSet;
use tidings_core::{Id, Timestamp, lane::LaneSet, outbox::State};

/// An action on more items than this is written in steps, so that no transaction grows with the outbox.
pub(crate) const STEP: u32 = 2000;

/// What a step came to, and the id after which the next one begins.
pub(crate) struct Step {
    pub(crate) acted: Acted,
    pub(crate) next: Option<i64>,
}

/// One step of the verb: the items that fit, by id, after `after` and up to `last`.
pub(crate) async fn act(base: &Base, action: Action, filter: &Filter, by: &str, after: i64, last: i64) -> Result<Step, Fault> {
    let mut work = base.begin().await?;
    let ids = fitting(&work, filter, Order::Oldest, (after, last), STEP).await?;
    let changed: BTreeSet<i64> = match action {
        Action::Retry => {
            work.is_due(work.now_ms());
            retry(&work, &ids).await?
        }
        Action::Cancel => {
            let closed = work.close(&ids, &[State::Waiting, State::Held], State::Cancelled).await?;
            work.erase(&closed).await?;
            closed.iter().map(|one| one.id).collect()
        }
        Action::Hold => stand(&mut work, &ids, State::Waiting, State::Held).await?,
        Action::Release => stand(&mut work, &ids, State::Held, State::Waiting).await?,
    };
    let lines: Vec<i64> = changed.iter().copied().collect();
    work.note_each(&lines, action.as_str(), Some(by), None).await?;
    if !changed.is_empty() && matches!(action, Action::Retry | Action::Release) {
        work.arrived = LaneSet::ALL;
    }
    base.finish(work).await?;
    let full = ids.len() == STEP as usize;
    let acted = Acted { changed: changed.len() as u64, skipped: (ids.len() - changed.len()) as u64 };
    Ok(Step { acted, next: ids.last().copied().filter(|_| full) })
}

/// Lets waiting items that are due earlier wait on; how many.
pub(crate) async fn postpone(base: &Base, items: &[Id], due_at: Timestamp) -> Result<u64, Fault> {
    let items: Vec<i64> = items.iter().map(|item| item.number()).collect();
    let mut work = base.begin().await?;
    let sql = "UPDATE open_item SET due_at = $2 WHERE id = ANY($1) AND state + 0 = 1 AND due_at + 0 < $2";
    let moved = work.execute(sql, &[&items, &due_at.as_millisecond()]).await?;
    if moved > 0 {
        work.is_due(due_at.as_millisecond());
    }
    base.finish(work).await?;
    Ok(moved)
}

/// Holds waiting items; how many.
pub(crate) async fn withhold(base: &Base, items: &[Id], why: &str) -> Result<u64, Fault> {
    let items: Vec<i64> = items.iter().map(|item| item.number()).collect();
    let work = base.begin().await?;
    let sql = "UPDATE open_item SET state = 0, node = NULL WHERE id = ANY($1) AND state + 0 = 1 RETURNING id";
    let held: Vec<i64> = work.query(sql, &[&items]).await?.iter().map(|row| row.get(0)).collect();
    work.note_each(&held, "withheld", None, Some(&text(why))).await?;
    base.finish(work).await?;
    Ok(held.len() as u64)
}

/// Moves items from one open state to another.
async fn stand(work: &mut Work, ids: &[i64], from: State, to: State) -> Result<BTreeSet<i64>, Fault> {
    let sql = "UPDATE open_item SET state = $3, node = NULL WHERE id = ANY($1) AND state = $2 RETURNING id, due_at";
    let rows = work.query(sql, &[&ids, &small(from.number()), &small(to.number())]).await?;
    if to == State::Waiting {
        for row in &rows {
            work.is_due(row.get(1));
        }
    }
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Due at once: what is open loses its delay, what has failed or was cancelled is open again. Its letter must be there.
async fn retry(work: &Work, ids: &[i64]) -> Result<BTreeSet<i64>, Fault> {
    let sql = "UPDATE open_item o SET state = 1, due_at = $2, node = NULL FROM item i JOIN letter l ON l.id = i.letter
        WHERE o.id = ANY($1) AND i.id = o.id AND o.state IN (0, 1) AND l.bytes IS NOT NULL RETURNING o.id";
    let open = work.query(sql, &[&ids, &work.now_ms()]).await?;
    // The item's own row is the fence: who finds it ended opens it again. The token goes on from the last lease, so that none of the earlier ones fits.
    let sql = "WITH back AS (
            UPDATE item i SET state = NULL, due_at = $2 FROM letter l
            WHERE i.id = ANY($1) AND l.id = i.letter AND i.state IN (5, 7) AND l.bytes IS NOT NULL
            RETURNING i.id, i.expires_at, i.accepted_at, i.token, i.relay, i.attempts, i.size, i.lane, i.flags),
        calm AS (DELETE FROM trouble t USING back b WHERE t.item = b.id),
        opened AS (
            INSERT INTO open_item (id, due_at, expires_at, accepted_at, token, relay, attempts, size, lane, state, flags)
            SELECT id, $2, expires_at, accepted_at, token, relay, attempts, size, lane, 1, flags FROM back)
        SELECT id FROM back";
    let back = work.query(sql, &[&ids, &work.now_ms()]).await?;
    Ok(open.iter().chain(&back).map(|row| row.get(0)).collect())
}
