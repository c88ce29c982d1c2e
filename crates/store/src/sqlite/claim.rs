//! Claim, extend, recover: leases.

use crate::{
    error::StoreError,
    seal::Place,
    sqlite::{
        accept::role_of,
        fault::Fault,
        work::{Line, MAYBE_DUPLICATE, SENSITIVE, Work, pattern_text},
    },
    store::{Claim, Lease},
};
use rusqlite::{OptionalExtension, Row, params};
use std::{sync::Arc, time::Duration};
use tidings_core::{Address, Id, Lane, lane::LaneSet, outbox::State, time::from_millis, time::later};

/// In the order of the index: nothing is sorted, and reading stops where the claim is full.
const DUE: &str = "SELECT i.id, i.event, i.letter, i.state, i.token, i.role, i.accepted_at, i.attempts, i.flags, i.recipient, k.text,
        l.message_id, l.sender, l.sensitive, l.bytes, l.pattern
    FROM item i INDEXED BY item_due CROSS JOIN letter l ON l.id = i.letter CROSS JOIN word k ON k.number = i.kind
    WHERE i.relay = ?1 AND i.lane = ?2 AND i.state IN (1, 2) AND i.due_at <= ?3 AND i.expires_at > ?3 AND i.flags & ?5 = 0
    ORDER BY i.due_at, i.id LIMIT ?4";

/// Since when the first due item of a lane has been due.
const FIRST_DUE: &str = "SELECT due_at FROM item INDEXED BY item_due
    WHERE relay = ?1 AND lane = ?2 AND state IN (1, 2) AND due_at <= ?3 AND expires_at > ?3 AND flags & ?4 = 0 ORDER BY due_at, id LIMIT 1";

/// A due item as it was found.
struct Found {
    lease: Lease,
    flags: i64,
    lapsed: bool,
}

/// A due item whose letter cannot be delivered by any number of attempts.
struct Spoilt {
    id: i64,
    why: String,
}

/// The verb.
pub(crate) fn claim(work: &mut Work<'_>, claim: &Claim) -> Result<Vec<Lease>, Fault> {
    let relay: Option<(i64, Option<i64>)> = work
        .db
        .prepare_cached("SELECT number, paused_at FROM relay WHERE name = ?1")?
        .query_row([&claim.relay], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((relay, None)) = relay else { return Ok(Vec::new()) };
    let (found, spoilt) = gather(work, claim, relay)?;
    for Spoilt { id, why } in spoilt {
        work.withhold(id, &why)?;
    }
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let node = work.word(&claim.node)?;
    let until = later(work.now, claim.lease).as_millisecond();
    let taken = claim.taken_over_by.as_ref().map(|by| format!("{by} takes over: {} is held", claim.relay));
    let mut leases = Vec::with_capacity(found.len());
    for Found { lease, flags, lapsed } in found {
        let id = lease.id.number();
        work.db
            .prepare_cached("UPDATE item SET state = 2, token = ?2, node = ?3, due_at = ?4, flags = ?5 WHERE id = ?1")?
            .execute(params![id, lease.token, node, until, flags])?;
        if lapsed {
            let detail = Some("the lease ended without an outcome");
            work.note(&Line { item: id, at: work.now_ms(), what: "lapsed", who: None, detail })?;
        }
        if taken.is_some() {
            work.note(&Line { item: id, at: work.now_ms(), what: "taken", who: None, detail: taken.as_deref() })?;
        }
        leases.push(lease);
    }
    Ok(leases)
}

/// What a claim has found so far.
struct Gathering<'a> {
    claim: &'a Claim,
    relay: i64,
    /// Flags that an item must not have.
    without: i64,
    found: Vec<Found>,
    spoilt: Vec<Spoilt>,
    /// Bytes of letters that may still be given.
    room: usize,
    /// The next letter would have been too much.
    full: bool,
}

fn gather(work: &Work<'_>, claim: &Claim, relay: i64) -> Result<(Vec<Found>, Vec<Spoilt>), Fault> {
    let without = if claim.taken_over_by.is_some() { SENSITIVE } else { 0 };
    let (found, spoilt) = (Vec::new(), Vec::new());
    let mut gathering = Gathering { claim, relay, without, found, spoilt, room: claim.max_bytes, full: false };
    let (limit, share) = (usize::from(claim.limit), usize::from(claim.share.min(claim.limit)));
    for lane in claim.lanes.iter() {
        if gathering.found.len() >= limit || gathering.full {
            break;
        }
        gathering.take(work, lane, limit)?;
    }
    if gathering.found.len() > limit - share {
        gathering.give_share(work, limit - share)?;
    }
    Ok((gathering.found, gathering.spoilt))
}

impl Gathering<'_> {
    /// Takes due items of a lane until so many are found in all.
    fn take(&mut self, work: &Work<'_>, lane: Lane, limit: usize) -> Result<(), Fault> {
        let left = i64::try_from(limit.saturating_sub(self.found.len())).unwrap_or(i64::MAX);
        let mut due = work.db.prepare_cached(DUE)?;
        let mut rows = due.query(params![self.relay, lane.number(), work.now_ms(), left, self.without])?;
        while let Some(row) = rows.next()? {
            match read(work, row, lane)? {
                Err(broken) => self.spoilt.push(broken),
                Ok(one) if one.lease.bytes.len() > self.room && !self.found.is_empty() => {
                    self.full = true;
                    break;
                }
                Ok(one) => {
                    self.room = self.room.saturating_sub(one.lease.bytes.len());
                    self.found.push(one);
                }
            }
        }
        Ok(())
    }

    /// What was found from `sure` on gives way to lower lanes, the one whose first item has been due longest before the others.
    fn give_share(&mut self, work: &Work<'_>, sure: usize) -> Result<(), Fault> {
        let limit = usize::from(self.claim.limit);
        let own = self.found[sure].lease.lane;
        let mut lower: Vec<(i64, Lane)> = Vec::new();
        for lane in self.claim.lanes.and(LaneSet::from(own)).iter().filter(|lane| *lane != own) {
            let mut first = work.db.prepare_cached(FIRST_DUE)?;
            let due = first.query_row(params![self.relay, lane.number(), work.now_ms(), self.without], |row| row.get(0)).optional()?;
            lower.extend(due.map(|due| (due, lane)));
        }
        if lower.is_empty() {
            return Ok(());
        }
        lower.sort_unstable();
        let mut spare = self.found.split_off(sure);
        self.room += spare.iter().map(|one| one.lease.bytes.len()).sum::<usize>();
        self.full = false;
        spare.retain(|one| lower.iter().all(|(_, lane)| *lane != one.lease.lane));
        for (_, lane) in lower {
            if !self.full && self.found.len() < limit {
                self.take(work, lane, limit)?;
            }
        }
        spare.truncate(limit - self.found.len());
        for one in spare {
            if one.lease.bytes.len() > self.room {
                break;
            }
            self.room -= one.lease.bytes.len();
            self.found.push(one);
        }
        Ok(())
    }
}

fn read(work: &Work<'_>, row: &Row<'_>, lane: Lane) -> Result<Result<Found, Spoilt>, Fault> {
    let id: i64 = row.get(0)?;
    let spoilt = |why: String| Ok(Err(Spoilt { id, why }));
    let Some(stored) = row.get_ref(14)?.as_blob_or_null().map_err(|_| StoreError::Corrupt(format!("letter.bytes of item {id}")))? else {
        return spoilt("its letter has been erased".to_owned());
    };
    let bytes: Arc<[u8]> = if row.get(13)? {
        match work.key.open(Place::Letter(row.get(2)?), stored) {
            Some(text) => Arc::from(text.as_slice()),
            None => return spoilt("its letter cannot be decrypted".to_owned()),
        }
    } else if let Some(pattern) = row.get::<_, Option<i64>>(15)? {
        match work.patterns.unpack(stored, pattern, || pattern_text(work.db, pattern)) {
            Ok(text) => Arc::from(text),
            Err(Fault::Said(error)) => return spoilt(error.to_string()),
            Err(fault) => return Err(fault),
        }
    } else {
        Arc::from(stored)
    };
    let Ok(to) = Address::parse(row.get_ref(9)?.as_str().unwrap_or_default()) else {
        return spoilt("its recipient is not a mail address".to_owned());
    };
    let Ok(sender) = row.get::<_, Option<String>>(12)?.map(|text| Address::parse(&text)).transpose() else {
        return spoilt("its envelope sender is not a mail address".to_owned());
    };
    let lapsed = row.get::<_, i64>(3)? == State::Claimed.number();
    let flags = row.get::<_, i64>(8)? | if lapsed { MAYBE_DUPLICATE } else { 0 };
    let lease = Lease {
        id: Id::from_number(id),
        token: row.get::<_, i64>(4)? + 1,
        event: Id::from_number(row.get(1)?),
        kind: row.get(10)?,
        to,
        role: role_of(row.get(5)?)?,
        lane,
        accepted_at: from_millis(row.get(6)?),
        attempts: row.get(7)?,
        maybe_duplicate: flags & MAYBE_DUPLICATE != 0,
        message_id: row.get(11)?,
        sender,
        bytes,
    };
    Ok(Ok(Found { lease, flags, lapsed }))
}

/// Prolongs leases. Gives the items whose lease is lost.
pub(crate) fn extend(work: &mut Work<'_>, node: &str, leases: &[(Id, i64)], lease: Duration) -> Result<Vec<Id>, Fault> {
    let node = work.word(node)?;
    let until = later(work.now, lease).as_millisecond();
    let mut lost = Vec::new();
    for (id, token) in leases {
        let held = work
            .db
            .prepare_cached("UPDATE item SET due_at = ?4 WHERE id = ?1 AND state = 2 AND token = ?2 AND node = ?3")?
            .execute(params![id.number(), token, node, until])?;
        if held == 0 {
            lost.push(*id);
        }
    }
    Ok(lost)
}

/// Takes back every lease of a node.
pub(crate) fn recover(work: &mut Work<'_>, node: &str) -> Result<u64, Fault> {
    let number = work.word(node)?;
    let items: Vec<i64> = work
        .db
        .prepare_cached("SELECT id FROM item INDEXED BY item_due WHERE state IN (1, 2) AND state = 2 AND node = ?1")?
        .query_map([number], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for id in &items {
        work.db.prepare_cached("UPDATE item SET state = 1, due_at = ?2, node = NULL, flags = flags | ?3 WHERE id = ?1")?.execute([
            *id,
            work.now_ms(),
            MAYBE_DUPLICATE,
        ])?;
        let detail = Some("the node started anew without an outcome");
        work.note(&Line { item: *id, at: work.now_ms(), what: "lapsed", who: None, detail })?;
    }
    if !items.is_empty() {
        work.arrived = LaneSet::ALL;
    }
    Ok(items.len() as u64)
}
