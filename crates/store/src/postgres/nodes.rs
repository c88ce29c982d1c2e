//! Members and their duties.
//!
//! Two nodes that join at once: a number is inserted or changed by one of them, under the condition that nobody bears it, and the other looks for another. A member that comes back late while its
//! place is being closed: both change its row under the condition that it still bears its name, so either the place is not closed, or the late one learns that it is. Two that take a duty: the
//! condition that it is free stands in the statement.

use crate::{
    duties::{Duty, Member, shares},
    error::StoreError,
    nodes::{Membership, NODE_NUMBERS, NewNode, NodeRow, Pulse},
    postgres::{
        Base,
        fault::Fault,
        work::{Work, small},
    },
    seal::{fill, hex},
};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tidings_core::{
    lane::LaneSet,
    time::{from_millis, later},
};

/// How often a number is looked for while others take theirs.
const TRIES: u32 = 50;
/// So far, in milliseconds, a beat may lie in the future before the clock is taken to have been set back.
const TOLERATED_MS: i64 = 1_000;

/// Since when this process's members have beaten without a pause.
#[derive(Debug, Default)]
pub(crate) struct Rhythm(Mutex<HashMap<String, (i64, i64)>>);

impl Rhythm {
    /// A beat at this moment; gives since when there was no pause of half a lease.
    fn beat(&self, name: &str, now: i64, lease_ms: i64) -> i64 {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, last) = known.entry(name.to_owned()).or_insert((now, now));
        if now - *last > lease_ms / 2 || now < *last {
            *since = now;
        }
        *last = now;
        *since
    }

    fn forget(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

fn millis(lease: Duration) -> i64 {
    i64::try_from(lease.as_millis()).unwrap_or(i64::MAX / 4)
}

/// The offers as they are kept: a JSON array.
fn written(offers: &[String]) -> String {
    serde_json::to_string(offers).expect("a list of texts is JSON")
}

/// See [`crate::Nodes::join`].
pub(crate) async fn join(base: &Base, node: &NewNode) -> Result<Membership, Fault> {
    let mut random = [0; 4];
    fill(&mut random)?;
    let suffix = String::from_utf8_lossy(&hex(&random)).into_owned();
    for _ in 0..TRIES {
        let mut work = base.begin().await?;
        let mut recovered = 0;
        if let Some(predecessor) = &node.predecessor {
            close(&work, predecessor).await?;
            recovered = take_back(&mut work, predecessor, "the node started anew without an outcome").await?;
        }
        // A number that was never borne has been left for longest.
        let fresh = work.query_one("SELECT coalesce(max(number), 0::smallint) + 1 FROM node", &[]).await?.get::<_, i32>(0);
        let number = if fresh < i32::from(NODE_NUMBERS) { Some(small(fresh.into())) } else { left_longest_ago(&work).await? };
        let Some(number) = number else {
            return Err(StoreError::Unavailable(format!("{NODE_NUMBERS} nodes serve this database already")).into());
        };
        let name = format!("node-{number}-{suffix}");
        let until = later(work.now(), node.lease).as_millisecond();
        let sql = "INSERT INTO node AS n (number, name, shown, version, offers, since, seen, until) VALUES ($1, $2, $3, $4, $5, $6, $6, $7)
            ON CONFLICT (number) DO UPDATE SET name = excluded.name, shown = excluded.shown, version = excluded.version, offers = excluded.offers,
                since = excluded.since, seen = excluded.seen, until = excluded.until WHERE n.name IS NULL";
        let values: [super::Value<'_>; 7] = [&number, &name, &node.shown, &node.version, &written(&node.offers), &work.now_ms(), &until];
        if work.execute(sql, &values).await? == 1 {
            base.rhythm.beat(&name, work.now_ms(), millis(node.lease));
            base.finish(work).await?;
            return Ok(Membership { number: number.cast_unsigned(), name, lease: Some(node.lease), recovered });
        }
    }
    Err(StoreError::Unavailable("other nodes took every number that was looked at".to_owned()).into())
}

async fn left_longest_ago(work: &Work) -> Result<Option<i16>, Fault> {
    let sql = "SELECT number FROM node WHERE name IS NULL ORDER BY until, number LIMIT 1 FOR UPDATE SKIP LOCKED";
    Ok(work.query_opt(sql, &[]).await?.map(|row| row.get(0)))
}

/// See [`crate::Nodes::beat`].
pub(crate) async fn beat(base: &Base, membership: &Membership, offers: &[String]) -> Result<Option<Pulse>, Fault> {
    let (name, lease) = (membership.name.as_str(), membership.lease.unwrap_or_default());
    let mut work = base.begin().await?;
    let (now, until) = (work.now_ms(), later(work.now(), lease).as_millisecond());
    let sql = "UPDATE node SET seen = $3, until = $4, offers = $5 WHERE number = $1 AND name = $2";
    if work.execute(sql, &[&membership.number.cast_signed(), &name, &now, &until, &written(offers)]).await? == 0 {
        base.rhythm.forget(name);
        return Ok(None);
    }
    let steady = now - base.rhythm.beat(name, now, millis(lease)) >= millis(lease);
    let rows = work.query("SELECT name, offers, seen, until FROM node WHERE name IS NOT NULL ORDER BY number", &[]).await?;
    let (mut members, mut pulse) = (Vec::with_capacity(rows.len()), Pulse::default());
    for row in rows {
        let (other, offers, seen, until): (String, &str, i64, i64) = (row.get(0), row.get(1), row.get(2), row.get(3));
        if seen > now + TOLERATED_MS {
            // The clock was set back: its lease is as long as it was.
            let sql = "UPDATE node SET seen = $2, until = $2 + until - seen WHERE name = $1 AND seen = $3";
            work.execute(sql, &[&other, &now, &seen]).await?;
        } else if until <= now && steady {
            if close_lapsed(&work, &other).await? {
                let items = take_back(&mut work, &other, "the node was not heard of any more, and left no outcome").await?;
                pulse.lapsed.push((other, items));
            }
            continue;
        }
        let offers = serde_json::from_str(offers).map_err(|error| StoreError::Corrupt(format!("node.offers: {error}")))?;
        members.push(Member { name: other, offers });
    }
    share(&work, name, &members, offers, lease, &mut pulse).await?;
    base.finish(work).await?;
    Ok(Some(pulse))
}

/// Takes what falls to this node, and sees what is others'.
async fn share(work: &Work, me: &str, members: &[Member], offers: &[String], lease: Duration, pulse: &mut Pulse) -> Result<(), Fault> {
    let now = work.now_ms();
    let mut duties = duties(work).await?;
    let missing: Vec<&str> = offers.iter().map(String::as_str).filter(|offer| duties.iter().all(|duty| duty.name != *offer)).collect();
    if !missing.is_empty() {
        let sql = "INSERT INTO duty (name, since) SELECT unnest($1::text[]), $2 ON CONFLICT (name) DO NOTHING";
        work.execute(sql, &[&missing, &now]).await?;
        duties = self::duties(work).await?;
    }
    let shares = shares(me, members, &duties, now, millis(lease) / 2);
    pulse.duties = duties.iter().filter(|duty| duty.holder.as_deref() == Some(me)).map(|duty| duty.name.clone()).collect();
    pulse.surplus = shares.surplus;
    if !shares.take.is_empty() {
        let sql = "UPDATE duty SET holder = $1, since = $3 WHERE name = ANY($2) AND holder IS NULL RETURNING name";
        pulse.duties.extend(work.query(sql, &[&me, &shares.take, &now]).await?.iter().map(|row| row.get::<_, String>(0)));
        pulse.duties.sort_unstable();
    }
    Ok(())
}

async fn duties(work: &Work) -> Result<Vec<Duty>, Fault> {
    let rows = work.query("SELECT name, holder, since FROM duty ORDER BY name", &[]).await?;
    Ok(rows.iter().map(|row| Duty { name: row.get(0), holder: row.get(1), since: row.get(2) }).collect())
}

/// See [`crate::Nodes::give_up`].
pub(crate) async fn give_up(base: &Base, membership: &Membership, duties: &[String]) -> Result<(), Fault> {
    let work = base.begin().await?;
    let sql = "UPDATE duty SET holder = NULL, since = $3 WHERE holder = $1 AND name = ANY($2)";
    work.execute(sql, &[&membership.name, &duties, &work.now_ms()]).await?;
    base.finish(work).await
}

/// See [`crate::Nodes::leave`].
pub(crate) async fn leave(base: &Base, membership: &Membership) -> Result<u64, Fault> {
    let mut work = base.begin().await?;
    close(&work, &membership.name).await?;
    let items = take_back(&mut work, &membership.name, "the node ended without an outcome").await?;
    base.finish(work).await?;
    base.rhythm.forget(&membership.name);
    Ok(items)
}

/// Closes a place that has lapsed; not one that its member is just prolonging, or that somebody else is closing.
async fn close_lapsed(work: &Work, name: &str) -> Result<bool, Fault> {
    let sql = "SELECT 1 FROM node WHERE name = $1 AND until <= $2 FOR UPDATE SKIP LOCKED";
    if work.query(sql, &[&name, &work.now_ms()]).await?.is_empty() {
        return Ok(false);
    }
    close(work, name).await?;
    Ok(true)
}

/// Closes a place: its number and its duties are free.
async fn close(work: &Work, name: &str) -> Result<(), Fault> {
    work.execute("UPDATE node SET name = NULL, until = $2 WHERE name = $1", &[&name, &work.now_ms()]).await?;
    work.execute("UPDATE duty SET holder = NULL, since = $2 WHERE holder = $1", &[&name, &work.now_ms()]).await?;
    Ok(())
}

/// Takes back every item that is leased under a name.
pub(crate) async fn take_back(work: &mut Work, name: &str, why: &str) -> Result<u64, Fault> {
    let sql = "UPDATE open_item SET state = 1, due_at = $2, node = NULL, flags = flags | 1::smallint
        WHERE state = 2 AND node = (SELECT number FROM word WHERE text = $1) RETURNING id";
    let mut items: Vec<i64> = work.query(sql, &[&name, &work.now_ms()]).await?.iter().map(|row| row.get(0)).collect();
    items.sort_unstable();
    work.note_each(&items, "lapsed", None, Some(why)).await?;
    if !items.is_empty() {
        work.arrived = LaneSet::ALL;
        work.is_due(work.now_ms());
    }
    Ok(items.len() as u64)
}

/// See [`crate::Nodes::nodes`].
pub(crate) async fn nodes(base: &Base) -> Result<Vec<NodeRow>, Fault> {
    let work = base.look().await?;
    let sql = "SELECT number, name, shown, version, since, seen FROM node WHERE name IS NOT NULL AND until > $1 ORDER BY number";
    let rows = work.query(sql, &[&work.now_ms()]).await?;
    let duties = duties(&work).await?;
    let row = |row: &tokio_postgres::Row| {
        let name: String = row.get(1);
        let duties = duties.iter().filter(|duty| duty.holder.as_ref() == Some(&name)).map(|duty| duty.name.clone()).collect();
        let (since, seen) = (from_millis(row.get(4)), from_millis(row.get(5)));
        NodeRow { node: row.get(2), number: row.get::<_, i16>(0).cast_unsigned(), name, version: row.get(3), since, seen, duties }
    };
    Ok(rows.iter().map(row).collect())
}
