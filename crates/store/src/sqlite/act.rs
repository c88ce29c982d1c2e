//! What is done to items that are not being delivered: by an operator, or because of what was learned since they were accepted.

use crate::{
    error::StoreError,
    sqlite::{
        fault::Fault,
        filter::{Order, fitting},
        work::{Line, Work},
    },
    store::{Acted, Action, Filter},
};
use tidings_core::{Id, Timestamp, lane::LaneSet, outbox::State};

/// An action on more items than this is written in steps, so that a million items do not hold up the writer.
pub(crate) const STEP: u32 = 2000;

/// What a step came to, and the id after which the next one begins.
pub(crate) struct Step {
    pub(crate) acted: Acted,
    pub(crate) next: Option<i64>,
}

struct Target {
    id: i64,
    event: i64,
    letter: i64,
    flags: i64,
    state: State,
    letter_there: bool,
}

/// One step of the verb: the items that fit, by id, after `after` and up to `last`.
pub(crate) fn act(work: &mut Work<'_>, action: Action, filter: &Filter, by: &str, after: i64, last: i64) -> Result<Step, Fault> {
    let mut acted = Acted { changed: 0, skipped: 0 };
    let ids = fitting(work.db, filter, Order::Oldest, (after, last), STEP)?;
    for id in &ids {
        let target = target(work, *id)?;
        if one(work, action, &target, by)? {
            acted.changed += 1;
        } else {
            acted.skipped += 1;
        }
    }
    if acted.changed > 0 && matches!(action, Action::Retry | Action::Release) {
        work.arrived = LaneSet::ALL;
    }
    let full = ids.len() == STEP as usize;
    Ok(Step { acted, next: ids.last().copied().filter(|_| full) })
}

/// Lets waiting items that are due earlier wait on; how many.
pub(crate) fn postpone(work: &Work<'_>, items: &[Id], due_at: Timestamp) -> Result<u64, Fault> {
    let mut moved = 0;
    let mut update = work.db.prepare_cached("UPDATE item SET due_at = ?2 WHERE id = ?1 AND state = 1 AND due_at < ?2")?;
    for item in items {
        moved += update.execute([item.number(), due_at.as_millisecond()])? as u64;
    }
    Ok(moved)
}

/// Holds waiting items; how many.
pub(crate) fn withhold(work: &Work<'_>, items: &[Id], why: &str) -> Result<u64, Fault> {
    let mut held = 0;
    let mut waits = work.db.prepare_cached("SELECT 1 FROM item WHERE id = ?1 AND state = 1")?;
    for item in items.iter().map(|item| item.number()) {
        if waits.exists([item])? {
            work.withhold(item, why)?;
            held += 1;
        }
    }
    Ok(held)
}

fn target(work: &Work<'_>, id: i64) -> Result<Target, Fault> {
    let found = work
        .db
        .prepare_cached(
            "SELECT i.event, i.letter, i.flags, i.state, (SELECT l.bytes IS NOT NULL FROM letter l WHERE l.id = i.letter) FROM item i WHERE i.id = ?1",
        )?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, i64>(3)?, row.get(4)?)))?;
    let (event, letter, flags, number, letter_there) = found;
    let state = State::from_number(number).ok_or_else(|| StoreError::Corrupt(format!("item.state: {number}")))?;
    Ok(Target { id, event, letter, flags, state, letter_there })
}

fn one(work: &mut Work<'_>, action: Action, target: &Target, by: &str) -> Result<bool, Fault> {
    let state = match (action, target.state) {
        (Action::Retry, State::Waiting | State::Held | State::Failed | State::Cancelled) if target.letter_there => State::Waiting,
        (Action::Cancel, State::Waiting | State::Held) => State::Cancelled,
        (Action::Hold, State::Waiting) => State::Held,
        (Action::Release, State::Held) => State::Waiting,
        _ => return Ok(false),
    };
    if action == Action::Retry {
        work.db.prepare_cached("UPDATE item SET due_at = ?2 WHERE id = ?1")?.execute([target.id, work.now_ms()])?;
    }
    work.stand(target.id, state)?;
    work.note(&Line { item: target.id, at: work.now_ms(), what: action.as_str(), who: Some(by), detail: None })?;
    if state.is_final() {
        work.erase(target.event, target.letter, target.flags)?;
    }
    Ok(true)
}
