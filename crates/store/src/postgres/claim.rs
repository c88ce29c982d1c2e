//! Claim, extend, recover: leases.
//!
//! Two nodes that claim at once: each locks the rows it looks at and passes over those that the other has locked; a row that the other has claimed and committed in between is looked at
//! again as it is by then, and no longer fits.

use crate::{
    error::StoreError,
    postgres::{
        Base,
        accept::role_of,
        doubts,
        fault::Fault,
        work::{Line, MAYBE_DUPLICATE, SENSITIVE, Work, small},
    },
    seal::Place,
    store::{Claim, Lease},
};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tidings_core::{Address, Id, Lane, lane::LaneSet, outbox::State, time::from_millis, time::later};
use tokio_postgres::Row;

/// Lane by lane, each in the order of the index from its floor on ([`super::front`]); reading stops where the claim is full, and what has not been read is not locked.
const DUE: &str = "SELECT c.id, c.lane, c.due_at, c.state, c.token, c.attempts, c.flags, c.accepted_at, c.size
    FROM relay y CROSS JOIN unnest($2::smallint[], $7::bigint[]) AS l (lane, floor) CROSS JOIN LATERAL (
        SELECT o.* FROM open_item o
        WHERE o.relay = y.number AND o.lane = l.lane AND o.state IN (1, 2) AND o.due_at >= l.floor AND o.due_at <= $3 AND o.expires_at + 0 > $3 AND o.flags & $4 = 0
        ORDER BY o.due_at, o.id LIMIT $5 FOR UPDATE SKIP LOCKED) AS c
    WHERE y.name = $1 AND y.paused_at IS NULL LIMIT $6";

/// A due item as it was found; locked until the transaction ends.
#[derive(Debug, Clone, Copy)]
struct Found {
    id: i64,
    lane: Lane,
    due_at: i64,
    lapsed: bool,
    token: i64,
    attempts: i32,
    flags: i16,
    accepted_at: i64,
    size: usize,
}

/// The verb.
pub(crate) async fn claim(base: &Base, claim: &Claim) -> Result<Vec<Lease>, Fault> {
    let node = base.words.words(&base.pool, [claim.node.as_str()]).await?.of(&claim.node);
    let work = base.begin().await?;
    let seen = doubts::put_back(base, &work).await?;
    let found = gather(base, &work, claim).await?;
    if found.is_empty() {
        base.finish(work).await?;
        base.doubts.forget(&seen);
        return Ok(Vec::new());
    }
    let (leases, spoilt) = read(base, &work, &found).await?;
    for (id, why) in spoilt {
        work.execute("UPDATE open_item SET state = 0, node = NULL WHERE id = $1", &[&id]).await?;
        work.note_each(&[id], "withheld", None, Some(&why)).await?;
    }
    let ids: Vec<i64> = leases.iter().map(|lease| lease.id.number()).collect();
    let until = later(work.now(), claim.lease).as_millisecond();
    let sql = "UPDATE open_item SET state = 2, token = token + 1, node = $2, due_at = $3, flags = flags | (CASE state WHEN 2 THEN 1 ELSE 0 END)::smallint WHERE id = ANY($1)";
    work.execute(sql, &[&ids, &node, &until]).await?;
    let taken = claim.taken_over_by.as_ref().map(|by| format!("{by} takes over: {} is held", claim.relay));
    let mut lines = Vec::new();
    let found: HashMap<i64, Found> = found.into_iter().map(|due| (due.id, due)).collect();
    for id in ids {
        if found[&id].lapsed {
            lines.push(Line {
                item: id,
                at: work.now_ms(),
                what: "lapsed",
                who: None,
                detail: Some("the lease ended without an outcome".into()),
            });
        }
        if let Some(taken) = &taken {
            lines.push(Line { item: id, at: work.now_ms(), what: "taken", who: None, detail: Some(taken.as_str().into()) });
        }
    }
    work.note(&lines).await?;
    let claimed = leases.iter().map(|lease| (lease.id.number(), lease.token, found[&lease.id.number()].due_at));
    let committing = base.doubts.committing(node, claim.lease, claimed);
    base.finish(work).await?;
    committing.known();
    base.doubts.forget(&seen);
    Ok(leases)
}

/// Locks due items of these lanes: at most `each` of each, and `most` in all.
async fn due(base: &Base, work: &Work, claim: &Claim, lanes: &[Lane], each: usize, most: usize) -> Result<Vec<Found>, Fault> {
    // Who takes over passes over what is secret, and knows nothing of what lies before.
    let over = claim.taken_over_by.is_some();
    let without = if over { SENSITIVE } else { 0 };
    let look = (!over).then(|| base.front.look(&claim.relay, lanes));
    let floors: Vec<i64> =
        lanes.iter().map(|lane| look.as_ref().and_then(|look| look.mark(&claim.relay, *lane)).unwrap_or(i64::MIN)).collect();
    let numbers: Vec<i16> = lanes.iter().map(|lane| small(lane.number())).collect();
    let [each, most] = [each, most].map(|number| i64::try_from(number).unwrap_or(i64::MAX));
    let rows = work.query(DUE, &[&claim.relay, &numbers, &work.now_ms(), &without, &each, &most, &floors]).await?;
    let mut found = rows.iter().map(read_due).collect::<Result<Vec<_>, _>>()?;
    found.sort_by_key(|due| (due.lane, due.due_at, due.id));
    if let Some(look) = look {
        for lane in lanes {
            if let Some(first) = found.iter().find(|due| due.lane == *lane) {
                look.nothing_before(&claim.relay, *lane, first.due_at);
            }
        }
    }
    Ok(found)
}

fn read_due(row: &Row) -> Result<Found, StoreError> {
    let lane: i16 = row.get(1);
    Ok(Found {
        id: row.get(0),
        lane: Lane::from_number(lane.into()).ok_or_else(|| StoreError::Corrupt(format!("open_item.lane: {lane}")))?,
        due_at: row.get(2),
        lapsed: i64::from(row.get::<_, i16>(3)) == State::Claimed.number(),
        token: row.get(4),
        attempts: row.get(5),
        flags: row.get(6),
        accepted_at: row.get(7),
        size: usize::try_from(row.get::<_, i32>(8)).unwrap_or_default(),
    })
}

/// What a claim has found so far.
struct Gathering {
    limit: usize,
    given: Vec<Found>,
    /// Bytes of letters that may still be given.
    room: usize,
    /// The next letter would have been too much.
    full: bool,
}

impl Gathering {
    fn take(&mut self, due: impl IntoIterator<Item = Found>) {
        for one in due {
            if self.full || self.given.len() >= self.limit {
                return;
            }
            if one.size > self.room && !self.given.is_empty() {
                self.full = true;
                return;
            }
            self.room = self.room.saturating_sub(one.size);
            self.given.push(one);
        }
    }
}

async fn gather(base: &Base, work: &Work, claim: &Claim) -> Result<Vec<Found>, Fault> {
    let (limit, share) = (usize::from(claim.limit), usize::from(claim.share.min(claim.limit)));
    let lanes: Vec<Lane> = claim.lanes.iter().collect();
    let mut gathering = Gathering { limit, given: Vec::new(), room: claim.max_bytes, full: false };
    gathering.take(due(base, work, claim, &lanes, limit, limit).await?);
    let sure = limit - share;
    if gathering.given.len() > sure {
        give_share(base, work, claim, &mut gathering, sure).await?;
    }
    Ok(gathering.given)
}

/// What was found from `sure` on gives way to lower lanes, the one whose first item has been due longest before the others.
async fn give_share(base: &Base, work: &Work, claim: &Claim, gathering: &mut Gathering, sure: usize) -> Result<(), Fault> {
    let own = gathering.given[sure].lane;
    let below: Vec<Lane> = claim.lanes.and(LaneSet::from(own)).iter().filter(|lane| *lane != own).collect();
    if below.is_empty() {
        return Ok(());
    }
    let each = gathering.limit - sure;
    let mut lower: VecDeque<Vec<Found>> = VecDeque::new();
    for one in due(base, work, claim, &below, each, each * below.len()).await? {
        match lower.back_mut().filter(|lane| lane[0].lane == one.lane) {
            Some(lane) => lane.push(one),
            None => lower.push_back(vec![one]),
        }
    }
    if lower.is_empty() {
        return Ok(());
    }
    lower.make_contiguous().sort_by_key(|lane| (lane[0].due_at, lane[0].lane));
    let mut spare = gathering.given.split_off(sure);
    gathering.room += spare.iter().map(|one| one.size).sum::<usize>();
    gathering.full = false;
    spare.retain(|one| lower.iter().all(|lane| lane[0].lane != one.lane));
    for lane in lower {
        gathering.take(lane);
    }
    gathering.full = false;
    spare.truncate(gathering.limit - gathering.given.len());
    for one in spare {
        if one.size > gathering.room {
            break;
        }
        gathering.room -= one.size;
        gathering.given.push(one);
    }
    Ok(())
}

/// Items whose letter cannot be delivered by any number of attempts, and why.
type Spoilt = Vec<(i64, String)>;

/// Reads what delivery needs, in the order of the claim.
async fn read(base: &Base, work: &Work, found: &[Found]) -> Result<(Vec<Lease>, Spoilt), Fault> {
    let ids: Vec<i64> = found.iter().map(|due| due.id).collect();
    let sql = "SELECT i.id, i.event, i.letter, i.role, i.recipient, k.text, l.message_id, l.sender, l.sensitive, l.bytes, l.pattern
        FROM item i JOIN letter l ON l.id = i.letter JOIN word k ON k.number = i.kind WHERE i.id = ANY($1)";
    let rows = work.query(sql, &[&ids]).await?;
    let mut rows: HashMap<i64, Row> = rows.into_iter().map(|row| (row.get(0), row)).collect();
    let (mut leases, mut spoilt) = (Vec::with_capacity(found.len()), Vec::new());
    for due in found {
        let row = rows
            .remove(&due.id)
            .ok_or_else(|| StoreError::Corrupt(format!("item {} or its letter is not there", Id::from_number(due.id))))?;
        match lease(base, work, due, &row).await? {
            Ok(lease) => leases.push(lease),
            Err(why) => spoilt.push((due.id, why)),
        }
    }
    Ok((leases, spoilt))
}

async fn lease(base: &Base, work: &Work, due: &Found, row: &Row) -> Result<Result<Lease, String>, Fault> {
    let spoilt = |why: &str| Ok(Err(why.to_owned()));
    let Some(stored) = row.get::<_, Option<&[u8]>>(9) else { return spoilt("its letter has been erased") };
    let bytes: Arc<[u8]> = if row.get(8) {
        match base.key.open(Place::Letter(row.get(2)), stored) {
            Some(text) => Arc::from(text.as_slice()),
            None => return spoilt("its letter cannot be decrypted"),
        }
    } else if let Some(pattern) = row.get::<_, Option<i32>>(10) {
        match base.unpack(work.client(), stored, pattern).await {
            Ok(text) => Arc::from(text),
            Err(Fault::Said(error)) => return spoilt(&error.to_string()),
            Err(fault) => return Err(fault),
        }
    } else {
        Arc::from(stored)
    };
    let Ok(to) = Address::parse(row.get(4)) else { return spoilt("its recipient is not a mail address") };
    let Ok(sender) = row.get::<_, Option<&str>>(7).map(Address::parse).transpose() else {
        return spoilt("its envelope sender is not a mail address");
    };
    Ok(Ok(Lease {
        id: Id::from_number(due.id),
        token: due.token + 1,
        event: Id::from_number(row.get(1)),
        kind: row.get(5),
        to,
        role: role_of(row.get(3))?,
        lane: due.lane,
        accepted_at: from_millis(due.accepted_at),
        attempts: u32::try_from(due.attempts).unwrap_or_default(),
        maybe_duplicate: due.lapsed || due.flags & MAYBE_DUPLICATE != 0,
        message_id: row.get(6),
        sender,
        bytes,
    }))
}

/// Prolongs leases. Gives the items whose lease is lost.
pub(crate) async fn extend(base: &Base, node: &str, leases: &[(Id, i64)], lease: Duration) -> Result<Vec<Id>, Fault> {
    let node = base.words.words(&base.pool, [node]).await?.of(node);
    let work = base.begin().await?;
    let until = later(work.now(), lease).as_millisecond();
    let (ids, tokens): (Vec<i64>, Vec<i64>) = leases.iter().map(|(id, token)| (id.number(), *token)).unzip();
    let sql = "UPDATE open_item o SET due_at = $4 FROM unnest($1::bigint[], $2::bigint[]) AS l (id, token)
        WHERE o.id = l.id AND o.state + 0 = 2 AND o.token = l.token AND o.node = $3 RETURNING o.id, o.token";
    let held = work.query(sql, &[&ids, &tokens, &node, &until]).await?;
    base.finish(work).await?;
    let held: Vec<(i64, i64)> = held.iter().map(|row| (row.get(0), row.get(1))).collect();
    Ok(leases.iter().filter(|(id, token)| !held.contains(&(id.number(), *token))).map(|(id, _)| *id).collect())
}

/// Takes back every lease of a node.
pub(crate) async fn recover(base: &Base, node: &str) -> Result<u64, Fault> {
    let mut work = base.begin().await?;
    let items = super::nodes::take_back(&mut work, node, "the node started anew without an outcome").await?;
    base.finish(work).await?;
    Ok(items)
}
