//! Settle and expire: how items come to stand after an attempt, or when their life time is over.

use crate::{
    error::StoreError,
    sqlite::{
        fault::Fault,
        work::{Line, MAYBE_DUPLICATE, Work},
    },
    store::Settled,
};
use rusqlite::{OptionalExtension, params};
use tidings_core::outbox::{Settlement, State};

/// The verb. The token is the fence: whoever lost the lease writes nothing.
pub(crate) fn settle(work: &mut Work<'_>, settlements: &[Settlement]) -> Result<Vec<Settled>, Fault> {
    settlements.iter().map(|settlement| one(work, settlement)).collect()
}

fn one(work: &mut Work<'_>, settlement: &Settlement) -> Result<Settled, Fault> {
    let (id, state) = (settlement.id.number(), settlement.state);
    if state == State::Claimed {
        return Err(StoreError::Corrupt(format!("a settlement of {} that leaves it claimed", settlement.id)).into());
    }
    let duplicate = if settlement.maybe_duplicate { MAYBE_DUPLICATE } else { 0 };
    let ends: Option<(i64, i64, i64)> = work
        .db
        .prepare_cached(
            "UPDATE item SET state = ?3, due_at = ?4, attempts = ?5, flags = (flags & ~1) | ?6, node = NULL, open_until = CASE WHEN ?7 THEN NULL ELSE expires_at END
             WHERE id = ?1 AND state = 2 AND token = ?2 RETURNING event, letter, flags",
        )?
        .query_row(
            params![id, settlement.token, state.number(), settlement.due_at.as_millisecond(), settlement.attempts, duplicate, state.is_final()],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .optional()?;
    let Some((event, letter, flags)) = ends else { return Ok(Settled::Stale) };
    if let Some(relay) = settlement.relay.as_deref().filter(|_| state.is_final()) {
        let relay = work.relay(relay)?;
        work.db.prepare_cached("UPDATE item SET relay = ?2 WHERE id = ?1")?.execute([id, relay])?;
    }
    let detail = (!settlement.reply.is_empty()).then_some(settlement.reply.as_str());
    let next_at = (state == State::Waiting).then(|| settlement.due_at.as_millisecond());
    work.note_attempt(&Line { item: id, at: settlement.at.as_millisecond(), what: settlement.what, who: None, detail }, next_at)?;
    if state.is_final() {
        work.erase(event, letter, flags)?;
    }
    Ok(Settled::Done)
}

/// Ends what is still open after its life time. A claimed item is somebody's until its lease lapses; a lapsed one is ended like a waiting one.
pub(crate) fn expire(work: &mut Work<'_>, limit: u32) -> Result<u64, Fault> {
    let over: Vec<(i64, i64, i64, i64, bool)> = work
        .db
        .prepare_cached(
            "SELECT id, event, letter, flags, state = 2 FROM item INDEXED BY item_expiry
             WHERE open_until <= ?1 AND (state <> 2 OR due_at <= ?1) ORDER BY open_until LIMIT ?2",
        )?
        .query_map(params![work.now_ms(), limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?
        .collect::<Result<_, _>>()?;
    for (id, event, letter, flags, lapsed) in &over {
        if *lapsed {
            work.db.prepare_cached("UPDATE item SET flags = flags | ?2 WHERE id = ?1")?.execute([*id, MAYBE_DUPLICATE])?;
            let detail = Some("the lease ended without an outcome");
            work.note(&Line { item: *id, at: work.now_ms(), what: "lapsed", who: None, detail })?;
        }
        work.stand(*id, State::Expired)?;
        work.note(&Line { item: *id, at: work.now_ms(), what: "expired", who: None, detail: None })?;
        work.erase(*event, *letter, *flags)?;
    }
    Ok(over.len() as u64)
}
