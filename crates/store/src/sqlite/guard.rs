//! The flood guard's books: how many people each rule has mailed, and the batches it holds. Judged by the one writer, so that two floods at once are one.

use crate::{
    flood::{BatchItem, BatchRow, BatchState, GuardTerms},
    pack::Patterns,
    sqlite::{
        fault::Fault,
        work::{Work, count, pattern_text, whole},
    },
    store::Acceptance,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeMap;
use tidings_core::{Id, flood::Flood, kind::Kind, time::from_millis};

const MINUTE_MS: i64 = 60_000;
const MINUTES: i64 = 60;

/// The guard's word on an item: it is held in this batch.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    batch: i64,
    pub(crate) reason: String,
}

/// The guard's word on a chunk.
pub(crate) struct Verdict {
    /// Where its items are held; `None` if the batch was let go.
    pub(crate) kept: Option<Kept>,
    pub(crate) cancelled: bool,
}

/// Judges an event's items, and counts them: for each whether it is held. Empty if nothing is.
pub(crate) fn judge(work: &mut Work<'_>, acceptance: &Acceptance) -> Result<Vec<Option<Kept>>, Fault> {
    let Some(terms) = acceptance.guard.as_ref().filter(|_| !acceptance.items.is_empty()) else { return Ok(Vec::new()) };
    let mut rules: Vec<Option<&str>> = Vec::with_capacity(acceptance.items.len());
    let mut counts: BTreeMap<&str, (u64, Id)> = BTreeMap::new();
    for item in &acceptance.items {
        let letter = acceptance.letters.iter().find(|letter| letter.id == item.letter);
        // What nobody may switch off is not held back either: alerts, codes.
        let letter = letter.filter(|letter| item.held.is_none() && !Kind::find(letter.kind).is_some_and(|kind| kind.mandatory));
        rules.push(letter.map(|letter| letter.rule.as_str()));
        if let Some(letter) = letter {
            // Names are made before they are written, by many at once: the one that comes first need not be the lowest.
            let (people, lowest) = counts.entry(&letter.rule).or_insert((0, item.id));
            (*people, *lowest) = (*people + 1, item.id.min(*lowest));
        }
    }
    let of_event: u64 = counts.values().map(|(people, _)| people).sum();
    let mut batches: BTreeMap<&str, i64> = BTreeMap::new();
    let mut opened = None;
    for (rule, (people, first)) in counts {
        let number = work.word(rule)?;
        if let Some(batch) =
            weigh(work, terms, &Weighed { event: acceptance.id.number(), rule: number, of_event, people, first }, &mut opened)?
        {
            batches.insert(rule, batch);
        }
    }
    if batches.is_empty() {
        return Ok(Vec::new());
    }
    let mut kept = Vec::with_capacity(rules.len());
    for rule in rules {
        let batch = rule.and_then(|rule| batches.get(rule));
        kept.push(batch.map(|batch| Ok::<_, Fault>(Kept { batch: *batch, reason: reason(work.db, *batch)? })).transpose()?);
    }
    Ok(kept)
}

/// Judges a crowd before its first chunk: the batch it goes into, if it is held. What its event has told others already, and has not left the house, is held with it.
pub(crate) fn judge_crowd(
    work: &mut Work<'_>,
    terms: &GuardTerms,
    event: i64,
    rule: i64,
    people: u64,
    first: Option<Id>,
) -> Result<Option<i64>, Fault> {
    let others: u64 = work.db.prepare_cached("SELECT count(*) FROM item WHERE event = ?1")?.query_row([event], |row| count(row, 0))?;
    let first = first.unwrap_or(terms.batch);
    let mut opened = None;
    let batch = weigh(work, terms, &Weighed { event, rule, of_event: others + people, people, first }, &mut opened)?;
    if let (Some(batch), Some(_)) = (batch, opened) {
        let waiting: Vec<(i64, i64)> = work
            .db
            .prepare_cached("SELECT id, folded_hash FROM item WHERE event = ?1 AND state = 1")?
            .query_map([event], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        hold(work, batch, &waiting)?;
    }
    Ok(batch)
}

/// So many people of one rule and event.
struct Weighed {
    event: i64,
    rule: i64,
    of_event: u64,
    people: u64,
    first: Id,
}

/// The batch that a rule's people go into, if they are too many. `opened` is the one that was opened for the same event.
fn weigh(work: &mut Work<'_>, terms: &GuardTerms, weighed: &Weighed, opened: &mut Option<i64>) -> Result<Option<i64>, Fault> {
    let Weighed { event, rule, of_event, people, first } = *weighed;
    let open = open_batch(work.db, rule, work.now_ms())?;
    let flood = terms.limits.judge(of_event, people, in_hour(work.db, rule, work.now_ms())?);
    add_up(work, rule, people, first)?;
    let batch = match (open, flood) {
        // One event that was too large is no reason to hold small ones; a rule that tells too much is.
        (Some((batch, kind)), flood) if kind == Flood::RuleHour.as_str() || flood.is_some() => batch,
        // All rules of one event that is too much go into one batch.
        (_, Some(_)) if opened.is_some() => opened.expect("looked at"),
        (_, Some(flood)) => {
            let most = if flood == Flood::Event { terms.limits.per_event } else { terms.limits.per_rule_hour };
            let id = terms.batch.number();
            work.db
                .prepare_cached(
                    "INSERT INTO guard_batch (id, flood, rule, event, most, people, opened_at, joins_until, state, alerted)
                     VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, 'held', 0)",
                )?
                .execute(params![id, flood.as_str(), rule, event, whole(most), work.now_ms(), work.now_ms() + MINUTES * MINUTE_MS])?;
            *opened = Some(id);
            if flood == Flood::RuleHour {
                hold_back(work, id, rule)?;
            }
            id
        }
        _ => return Ok(None),
    };
    Ok(Some(batch))
}

/// How many people a rule has mailed within the hour.
fn in_hour(db: &Connection, rule: i64, now_ms: i64) -> Result<u64, Fault> {
    let since = now_ms / MINUTE_MS - MINUTES;
    let sql = "SELECT coalesce(sum(people), 0) FROM guard_minute WHERE rule = ?1 AND minute > ?2";
    Ok(db.prepare_cached(sql)?.query_row([rule, since], |row| count(row, 0))?)
}

/// The batch that a rule's people go into for now, and what opened it.
fn open_batch(db: &Connection, rule: i64, now_ms: i64) -> Result<Option<(i64, String)>, Fault> {
    let sql = "SELECT id, flood FROM guard_batch WHERE rule = ?1 AND state = 'held' AND joins_until > ?2 ORDER BY id DESC LIMIT 1";
    Ok(db.prepare_cached(sql)?.query_row([rule, now_ms], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// What the guard knows of a rule: how many people within the hour, and the batch that everything it tells goes into.
pub(crate) fn rule_hour(db: &Connection, rule: &str, now_ms: i64) -> Result<(u64, Option<Id>), Fault> {
    let number = db.prepare_cached("SELECT number FROM word WHERE text = ?1")?.query_row([rule], |row| row.get::<_, i64>(0)).optional()?;
    let Some(number) = number else { return Ok((0, None)) };
    let batch = open_batch(db, number, now_ms)?.filter(|(_, flood)| flood == Flood::RuleHour.as_str());
    Ok((in_hour(db, number, now_ms)?, batch.map(|(id, _)| Id::from_number(id))))
}

fn add_up(work: &Work<'_>, rule: i64, people: u64, first: Id) -> Result<(), Fault> {
    let minute = work.now_ms() / MINUTE_MS;
    let fresh = work
        .db
        .prepare_cached(
            "INSERT INTO guard_minute (rule, minute, people, first_item) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (rule, minute) DO UPDATE SET people = people + excluded.people, first_item = min(first_item, excluded.first_item)
             RETURNING people = ?3",
        )?
        .query_row(params![rule, minute, whole(people), first.number()], |row| row.get::<_, bool>(0))?;
    if fresh {
        work.db.prepare_cached("DELETE FROM guard_minute WHERE rule = ?1 AND minute <= ?2")?.execute([rule, minute - MINUTES])?;
    }
    Ok(())
}

/// Holds what a rule has told within the hour and has not left the house.
fn hold_back(work: &mut Work<'_>, batch: i64, rule: i64) -> Result<(), Fault> {
    let first: Option<i64> =
        work.db.prepare_cached("SELECT min(first_item) FROM guard_minute WHERE rule = ?1")?.query_row([rule], |row| row.get(0))?;
    let Some(first) = first else { return Ok(()) };
    let waiting: Vec<(i64, i64)> = work
        .db
        .prepare_cached(
            "SELECT i.id, i.folded_hash FROM item i JOIN letter l ON l.id = i.letter WHERE i.id >= ?1 AND i.state = 1 AND l.rule = ?2",
        )?
        .query_map([first, rule], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    hold(work, batch, &waiting)
}

fn hold(work: &mut Work<'_>, batch: i64, items: &[(i64, i64)]) -> Result<(), Fault> {
    let kept = Kept { batch, reason: reason(work.db, batch)? };
    for (item, hash) in items {
        work.withhold(*item, &kept.reason)?;
        keep(work, &kept, *hash, *item)?;
    }
    Ok(())
}

/// Writes an item into its batch.
pub(crate) fn keep(work: &Work<'_>, kept: &Kept, hash: i64, item: i64) -> Result<(), Fault> {
    work.db
        .prepare_cached("INSERT OR IGNORE INTO guard_item (batch, folded_hash, item) VALUES (?1, ?2, ?3)")?
        .execute([kept.batch, hash, item])?;
    work.db.prepare_cached("UPDATE guard_batch SET people = people + 1 WHERE id = ?1")?.execute([kept.batch])?;
    Ok(())
}

fn reason(db: &Connection, batch: i64) -> Result<String, Fault> {
    let sql = "SELECT b.flood, b.most, w.text FROM guard_batch b JOIN word w ON w.number = b.rule WHERE b.id = ?1";
    let (flood, most, rule): (String, i64, String) =
        db.prepare_cached(sql)?.query_row([batch], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let id = Id::from_number(batch);
    let flood = if flood == Flood::Event.as_str() { Flood::Event } else { Flood::RuleHour };
    Ok(format!("held by the guard: batch {id}: {}", flood.why(&rule, most.unsigned_abs())))
}

/// The guard's word on further items of a batch, whose state may have changed since it was opened.
pub(crate) fn verdict(work: &Work<'_>, batch: i64) -> Result<Option<Verdict>, Fault> {
    let state: Option<String> =
        work.db.prepare_cached("SELECT state FROM guard_batch WHERE id = ?1")?.query_row([batch], |row| row.get(0)).optional()?;
    Ok(match state.as_deref() {
        Some("held") => Some(Verdict { kept: Some(Kept { batch, reason: reason(work.db, batch)? }), cancelled: false }),
        Some("cancelled") => Some(Verdict { kept: None, cancelled: true }),
        _ => None,
    })
}

/// A batch, as [`row`] reads it.
pub(super) const BATCH: &str =
    "SELECT b.id, b.flood, w.text, b.event, b.most, b.people, b.opened_at, b.state, b.ended_at, b.ended_by, b.alerted
    FROM guard_batch b JOIN word w ON w.number = b.rule";

/// Batches, newest first.
pub(crate) fn batches(db: &Connection, state: Option<BatchState>, unalerted: bool, limit: u16) -> Result<Vec<BatchRow>, Fault> {
    let rows: Result<Vec<_>, _> = if unalerted {
        db.prepare_cached(&format!("{BATCH} WHERE b.alerted = 0 ORDER BY b.id LIMIT ?1"))?.query_map([limit], row)?.collect()
    } else {
        db.prepare_cached(&format!("{BATCH} WHERE ?2 IS NULL OR b.state = ?2 ORDER BY b.id DESC LIMIT ?1"))?
            .query_map(params![limit, state.map(BatchState::as_str)], row)?
            .collect()
    };
    Ok(rows?)
}

/// One batch.
pub(crate) fn batch(db: &Connection, id: Id) -> Result<Option<BatchRow>, Fault> {
    Ok(db.prepare_cached(&format!("{BATCH} WHERE b.id = ?1"))?.query_row([id.number()], row).optional()?)
}

pub(super) fn row(row: &Row<'_>) -> rusqlite::Result<BatchRow> {
    let state: String = row.get(7)?;
    Ok(BatchRow {
        id: Id::from_number(row.get(0)?),
        flood: row.get(1)?,
        rule: row.get(2)?,
        event: Id::from_number(row.get(3)?),
        most: count(row, 4)?,
        people: count(row, 5)?,
        opened_at: from_millis(row.get(6)?),
        state: BatchState::ALL.into_iter().find(|one| one.as_str() == state).unwrap_or(BatchState::Cancelled),
        ended_at: row.get::<_, Option<i64>>(8)?.map(from_millis),
        ended_by: row.get(9)?,
        alerted: row.get(10)?,
    })
}

/// Notes that the alert is in the outbox.
pub(crate) fn alerted(work: &Work<'_>, id: Id) -> Result<(), Fault> {
    work.db.prepare_cached("UPDATE guard_batch SET alerted = 1 WHERE id = ?1")?.execute([id.number()])?;
    Ok(())
}

/// Held items of a batch, by recipient.
pub(crate) fn items(db: &Connection, patterns: &Patterns, id: Id, after: Option<(i64, i64)>, limit: u16) -> Result<Vec<BatchItem>, Fault> {
    let after = after.unwrap_or((i64::MIN, i64::MIN));
    let mut found = db.prepare_cached(
        "SELECT g.folded_hash, g.item, i.recipient, i.event, i.accepted_at, l.sensitive, l.bytes, l.pattern
         FROM guard_item g JOIN item i ON i.id = g.item JOIN letter l ON l.id = i.letter
         WHERE g.batch = ?1 AND (g.folded_hash, g.item) > (?2, ?3) AND i.state = 0 ORDER BY g.folded_hash, g.item LIMIT ?4",
    )?;
    let mut rows = found.query(params![id.number(), after.0, after.1, limit])?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        let stored: Option<Vec<u8>> = if row.get(5)? { None } else { row.get(6)? };
        let bytes = match (stored, row.get::<_, Option<i64>>(7)?) {
            (Some(stored), Some(pattern)) => Some(patterns.unpack(&stored, pattern, || pattern_text(db, pattern))?),
            (stored, _) => stored,
        };
        let (place, item): (i64, i64) = (row.get(0)?, row.get(1)?);
        items.push(BatchItem {
            id: Id::from_number(item),
            place: (place, item),
            to: row.get(2)?,
            event: Id::from_number(row.get(3)?),
            accepted_at: from_millis(row.get(4)?),
            bytes,
        });
    }
    Ok(items)
}
