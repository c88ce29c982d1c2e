//! Settle and expire: how items come to stand after an attempt, or when their life time is over.
//!
//! The token is the fence, and stands in the condition of the statement that writes: whoever lost the lease finds no row.

use crate::{
    error::StoreError,
    postgres::{
        Base, Unsure,
        fault::{Fault, repeat},
        work::{Closed, Line, MAYBE_DUPLICATE, Work, small, text},
    },
    store::Settled,
};
use std::{
    borrow::Cow,
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tidings_core::outbox::{Settlement, State};
use tokio_postgres::types::ToSql;

/// Settlements of one caller, with the numbers of relays that took over.
pub(crate) struct Ready(Vec<(Settlement, Option<i32>)>);

/// Makes settlements ready to be written.
pub(crate) async fn ready(base: &Base, settlements: Vec<Settlement>) -> Result<Ready, StoreError> {
    if let Some(odd) = settlements.iter().find(|one| one.state == State::Claimed) {
        return Err(StoreError::Corrupt(format!("a settlement of {} that leaves it claimed", odd.id)));
    }
    let over = |one: &Settlement| one.relay.clone().filter(|_| one.state.is_final());
    let names: Vec<_> = settlements.iter().filter_map(over).collect();
    let relays = base.words.relays(&base.pool, names.iter().map(AsRef::as_ref)).await.map_err(Fault::into_store)?;
    let ready = settlements.into_iter().map(|one| {
        let relay = over(&one).map(|name| relays.of(&name));
        (one, relay)
    });
    Ok(Ready(ready.collect()))
}

/// About how much they write.
pub(crate) fn bytes(ready: &Ready) -> usize {
    ready.0.iter().map(|(one, _)| one.reply.len() + 300).sum()
}

/// Writes the settlements of several callers in one transaction.
pub(crate) async fn group(base: Arc<Base>, group: Vec<Ready>) -> Vec<Result<Vec<Settled>, StoreError>> {
    let all: Vec<&(Settlement, Option<i32>)> = group.iter().flat_map(|ready| &ready.0).collect();
    let again = AtomicBool::new(false);
    let done = base.again(Unsure::Again, || together(&base, &all, again.swap(true, Ordering::Relaxed))).await;
    match done {
        Ok(settled) => {
            let mut settled = settled.into_iter();
            group.iter().map(|ready| Ok(settled.by_ref().take(ready.0.len()).collect())).collect()
        }
        Err(error) => {
            tracing::warn!(store.verbs = group.len(), %error, "a group of outcomes could not be written");
            group.iter().map(|_| Err(repeat(&error))).collect()
        }
    }
}

async fn together(base: &Base, all: &[&(Settlement, Option<i32>)], again: bool) -> Result<Vec<Settled>, Fault> {
    let mut work = base.begin().await?;
    let mut settled = vec![Settled::Stale; all.len()];
    let mut left: Vec<usize> = (0..all.len()).collect();
    while !left.is_empty() {
        // One statement changes a row once: of two settlements of one item the second is a statement of its own.
        let mut seen = HashSet::new();
        let (now, later): (Vec<usize>, Vec<usize>) = left.into_iter().partition(|place| seen.insert(all[*place].0.id));
        left = later;
        let (ended, moved): (Vec<usize>, Vec<usize>) = now.iter().partition(|place| all[**place].0.state.is_final());
        let (moved, ended) = tokio::try_join!(write_moved(&work, all, &moved), write_ended(&work, all, &ended))?;
        work.erase(&ended).await?;
        for place in now.iter().filter(|place| all[**place].0.state == State::Waiting) {
            work.is_due(all[*place].0.due_at.as_millisecond());
        }
        let done: HashSet<i64> = moved.into_iter().chain(ended.iter().map(|one| one.id)).collect();
        for place in now.into_iter().filter(|place| done.contains(&all[*place].0.id.number())) {
            settled[place] = Settled::Done;
        }
    }
    if again && settled.contains(&Settled::Stale) {
        recognise(&work, all, &mut settled).await?;
    }
    base.finish(work).await?;
    Ok(settled)
}

/// Settlements as columns.
#[derive(Default)]
struct Rows<'a> {
    id: Vec<i64>,
    token: Vec<i64>,
    state: Vec<i16>,
    due_at: Vec<i64>,
    attempts: Vec<i32>,
    duplicate: Vec<i16>,
    at: Vec<i64>,
    what: Vec<&'a str>,
    reply: Vec<Option<Cow<'a, str>>>,
    relay: Vec<Option<i32>>,
}

impl<'a> Rows<'a> {
    fn of(all: &[&'a (Settlement, Option<i32>)], places: &[usize]) -> Self {
        let mut rows = Self::default();
        // In one order, so that two who settle the same items do not wait for each other crosswise.
        let mut places = places.to_vec();
        places.sort_by_key(|place| all[*place].0.id);
        for (one, relay) in places.into_iter().map(|place| all[place]) {
            rows.id.push(one.id.number());
            rows.token.push(one.token);
            rows.state.push(small(one.state.number()));
            rows.due_at.push(one.due_at.as_millisecond());
            rows.attempts.push(i32::try_from(one.attempts).unwrap_or(i32::MAX));
            rows.duplicate.push(if one.maybe_duplicate { MAYBE_DUPLICATE } else { 0 });
            rows.at.push(one.at.as_millisecond());
            rows.what.push(one.what);
            rows.reply.push((!one.reply.is_empty()).then(|| text(&one.reply)));
            rows.relay.push(*relay);
        }
        rows
    }

    fn replies(&self) -> Vec<Option<&str>> {
        self.reply.iter().map(Option::as_deref).collect()
    }
}

/// What goes on being open.
async fn write_moved(work: &Work, all: &[&(Settlement, Option<i32>)], places: &[usize]) -> Result<Vec<i64>, Fault> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let rows = Rows::of(all, places);
    let sql = "WITH moved AS (
            UPDATE open_item o SET state = s.state, due_at = s.due_at, attempts = s.attempts, flags = (o.flags & (-2)::smallint) | s.duplicate, node = NULL
            FROM unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::bigint[], $5::integer[], $6::smallint[], $7::bigint[], $8::text[], $9::text[])
                AS s (id, token, state, due_at, attempts, duplicate, at, what, reply)
            WHERE o.id = s.id AND o.state + 0 = 2 AND o.token = s.token
            RETURNING s.id, s.token, s.state, s.due_at, s.at, s.what, s.reply),
        told AS (
            INSERT INTO history (item, at, what, detail, next_at, token)
            SELECT id, at, what, reply, CASE state WHEN 1 THEN due_at END, token FROM moved)
        SELECT id FROM moved";
    let replies = rows.replies();
    let values: [&(dyn ToSql + Sync); 9] =
        [&rows.id, &rows.token, &rows.state, &rows.due_at, &rows.attempts, &rows.duplicate, &rows.at, &rows.what, &replies];
    Ok(work.query(sql, &values).await?.iter().map(|row| row.get(0)).collect())
}

/// What has ended: its row in `open_item` goes, and how it ended is written to its row in `item`.
async fn write_ended(work: &Work, all: &[&(Settlement, Option<i32>)], places: &[usize]) -> Result<Vec<Closed>, Fault> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let rows = Rows::of(all, places);
    let sql = "WITH gone AS (
            DELETE FROM open_item o
            USING unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::bigint[], $5::integer[], $6::smallint[], $7::bigint[], $8::text[], $9::text[], $10::integer[])
                AS s (id, token, state, due_at, attempts, duplicate, at, what, reply, relay)
            WHERE o.id = s.id AND o.state + 0 = 2 AND o.token = s.token
            RETURNING s.id, s.token, s.state, s.due_at, s.attempts, (o.flags & (-2)::smallint) | s.duplicate AS flags, o.expires_at, o.accepted_at, s.relay, s.at, s.what, s.reply),
        ended AS (
            UPDATE item i SET state = g.state, due_at = g.due_at, attempts = g.attempts, flags = g.flags, expires_at = g.expires_at, accepted_at = g.accepted_at, token = g.token,
                relay = coalesce(g.relay, i.relay)
            FROM gone g WHERE i.id = g.id RETURNING i.id, i.event, i.letter, i.flags),
        troubled AS (
            INSERT INTO trouble (item, state) SELECT id, state FROM gone WHERE state > 3 ON CONFLICT (item) DO UPDATE SET state = excluded.state),
        told AS (
            INSERT INTO history (item, at, what, detail, token) SELECT id, at, what, reply, token FROM gone)
        SELECT id, event, letter, flags FROM ended";
    let replies = rows.replies();
    let values: [&(dyn ToSql + Sync); 10] =
        [&rows.id, &rows.token, &rows.state, &rows.due_at, &rows.attempts, &rows.duplicate, &rows.at, &rows.what, &replies, &rows.relay];
    let closed = work.query(sql, &values).await?;
    Ok(closed
        .iter()
        .map(|row| Closed { id: row.get(0), event: row.get(1), letter: row.get(2), flags: row.get(3), was_claimed: true })
        .collect())
}

/// After a commit whose answer was lost: what an earlier try has written is done and not stale. Its line of history bears the lease's token.
async fn recognise(work: &Work, all: &[&(Settlement, Option<i32>)], settled: &mut [Settled]) -> Result<(), Fault> {
    let ids: Vec<i64> = all.iter().map(|(one, _)| one.id.number()).collect();
    let tokens: Vec<i64> = all.iter().map(|(one, _)| one.token).collect();
    let ats: Vec<i64> = all.iter().map(|(one, _)| one.at.as_millisecond()).collect();
    let sql =
        "SELECT DISTINCT h.item, h.token, h.at FROM history h JOIN unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS s (id, token, at)
        ON h.item = s.id AND h.token = s.token AND h.at = s.at";
    let written = work.query(sql, &[&ids, &tokens, &ats]).await?;
    let written: HashSet<(i64, i64, i64)> = written.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    for (place, settled) in settled.iter_mut().enumerate().filter(|(_, settled)| **settled == Settled::Stale) {
        if written.contains(&(ids[place], tokens[place], ats[place])) {
            *settled = Settled::Done;
        }
    }
    Ok(())
}

/// Ends what is still open after its life time. A claimed item is somebody's until its lease lapses; a lapsed one is ended like a waiting one. What another node has locked is passed over: it
/// is at it.
pub(crate) async fn expire(base: &Base, limit: u32) -> Result<u64, Fault> {
    let work = base.begin().await?;
    let sql = "SELECT id FROM open_item WHERE expires_at <= $1 AND (state <> 2 OR due_at <= $1) ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED";
    let over: Vec<i64> = work.query(sql, &[&work.now_ms(), &i64::from(limit)]).await?.iter().map(|row| row.get(0)).collect();
    if over.is_empty() {
        base.finish(work).await?;
        return Ok(0);
    }
    let mut closed = work.close(&over, &[State::Held, State::Waiting, State::Claimed], State::Expired).await?;
    closed.sort_by_key(|one| one.id);
    let mut lines = Vec::with_capacity(closed.len());
    for one in &closed {
        let line = |what, detail| Line { item: one.id, at: work.now_ms(), what, who: None, detail };
        if one.was_claimed {
            lines.push(line("lapsed", Some("the lease ended without an outcome".into())));
        }
        lines.push(line("expired", None));
    }
    work.note(&lines).await?;
    work.erase(&closed).await?;
    base.finish(work).await?;
    Ok(closed.len() as u64)
}
