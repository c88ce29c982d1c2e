//! The flood guard's books: how many people each rule has mailed, and the batches it holds.
//!
//! Two floods at once are one: whoever is about to hold something of a rule locks the rule's row first and then looks again, so that of two nodes one opens a batch and the other joins it. On
//! ordinary days nobody locks anything: each connection counts in rows of its own, and what is in transactions that have not ended is not counted yet. So a limit may be overrun by what is
//! written in the same few milliseconds; of that, what has not left the house is held by whoever notices next, at the latest by who tells of the batch.

use crate::{
    error::StoreError,
    flood::{BatchItem, BatchRow, BatchState, GuardTerms},
    postgres::{
        Base,
        accept::Ready,
        fault::Fault,
        words::Numbers,
        work::{Work, count, whole},
    },
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tidings_core::{Id, flood::Flood, kind::Kind, time::from_millis};
use tokio_postgres::Row;

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

/// People of each rule, and the lowest item of each.
type Weights<'a> = BTreeMap<&'a str, (u64, Id)>;

/// How many people each rule of an event tells, and the lowest item of each; without what is not held back whatever happens.
fn weights(ready: &Ready) -> Weights<'_> {
    let mut counts: Weights<'_> = BTreeMap::new();
    if ready.acceptance.guard.is_some() {
        for place in 0..ready.rest.items.len() {
            if let Some(rule) = weighed_rule(ready, place) {
                // Names are made before they are written, by many at once: the one that comes first need not be the lowest.
                let item = ready.rest.items[place].id;
                let (people, lowest) = counts.entry(rule).or_insert((0, item));
                (*people, *lowest) = (*people + 1, item.min(*lowest));
            }
        }
    }
    counts
}

/// The rule that an item counts for.
fn weighed_rule(ready: &Ready, place: usize) -> Option<&str> {
    let (item, letter) = (&ready.rest.items[place], ready.rest.letter_of(place));
    // What nobody may switch off is not held back either: alerts, codes.
    let free = item.held.is_some() || Kind::find(letter.kind).is_some_and(|kind| kind.mandatory);
    (!free).then_some(letter.rule.as_str())
}

/// Whether none of these events is too much, and none of their rules has an open batch: the way of ordinary days. Then their people are counted.
pub(crate) async fn is_calm(work: &Work, new: &[&Ready]) -> Result<bool, Fault> {
    let weighed: Vec<(&Ready, Weights<'_>)> =
        new.iter().map(|ready| (*ready, weights(ready))).filter(|(_, counts)| !counts.is_empty()).collect();
    if weighed.is_empty() {
        return Ok(true);
    }
    let rules: BTreeSet<i32> = weighed.iter().flat_map(|(ready, counts)| counts.keys().map(|rule| ready.rest.words.of(rule))).collect();
    let rules: Vec<i32> = rules.into_iter().collect();
    let mut added: BTreeMap<i32, (u64, Id)> = BTreeMap::new();
    let hours = hours(work, &rules).await?;
    for (ready, counts) in weighed {
        let terms = ready.acceptance.guard.as_ref().expect("only those that have one are weighed");
        let of_event: u64 = counts.values().map(|(people, _)| people).sum();
        for (rule, (people, first)) in counts {
            let number = ready.rest.words.of(rule);
            let hour = &hours[&number];
            let sum = added.entry(number).or_insert((0, first));
            if hour.open.is_some() || terms.limits.judge(of_event, people, hour.people + sum.0).is_some() {
                return Ok(false);
            }
            *sum = (sum.0 + people, sum.1.min(first));
        }
    }
    add_up(work, &added).await?;
    Ok(true)
}

/// What the books say of a rule.
struct Hour {
    people: u64,
    /// The batch that its people go into for now, and what opened it.
    open: Option<(i64, String)>,
}

/// What the books say of some rules.
async fn hours(work: &Work, rules: &[i32]) -> Result<HashMap<i32, Hour>, Fault> {
    let sql = "SELECT r.rule, (SELECT coalesce(sum(m.people), 0)::bigint FROM guard_minute m WHERE m.rule = r.rule AND m.minute > $2), b.id, b.flood
        FROM unnest($1::integer[]) AS r (rule)
        LEFT JOIN guard_batch b ON b.id = (SELECT max(o.id) FROM guard_batch o WHERE o.rule = r.rule AND o.state = 'held' AND o.joins_until > $3)";
    let since = work.now_ms() / MINUTE_MS - MINUTES;
    let rows = work.query(sql, &[&rules, &since, &work.now_ms()]).await?;
    let hour = |row: &Row| Hour { people: count(row, 1), open: row.get::<_, Option<i64>>(2).map(|batch| (batch, row.get(3))) };
    Ok(rows.iter().map(|row| (row.get(0), hour(row))).collect())
}

/// Counts people. Each connection has rows of its own: nobody waits.
async fn add_up(work: &Work, added: &BTreeMap<i32, (u64, Id)>) -> Result<(), Fault> {
    let rules: Vec<i32> = added.keys().copied().collect();
    let people: Vec<i64> = added.values().map(|(people, _)| whole(*people)).collect();
    let firsts: Vec<i64> = added.values().map(|(_, first)| first.number()).collect();
    let sql = "INSERT INTO guard_minute (rule, minute, writer, people, first_item)
        SELECT a.rule, $4, pg_backend_pid(), a.people, a.first FROM unnest($1::integer[], $2::bigint[], $3::bigint[]) AS a (rule, people, first)
        ON CONFLICT (rule, minute, writer) DO UPDATE SET people = guard_minute.people + excluded.people, first_item = least(guard_minute.first_item, excluded.first_item)";
    work.execute(sql, &[&rules, &people, &firsts, &(work.now_ms() / MINUTE_MS)]).await?;
    Ok(())
}

/// Forgets what is older than an hour.
pub(crate) async fn forget(work: &Work) -> Result<(), Fault> {
    work.execute("DELETE FROM guard_minute WHERE minute <= $1", &[&(work.now_ms() / MINUTE_MS - MINUTES)]).await?;
    Ok(())
}

/// Makes this transaction the only one that holds something of these rules, until it ends.
async fn lock(work: &Work, rules: &BTreeSet<i32>) -> Result<(), Fault> {
    let rules: Vec<i32> = rules.iter().copied().collect();
    work.execute("INSERT INTO guard_rule (rule) SELECT unnest($1::integer[]) ON CONFLICT (rule) DO NOTHING", &[&rules]).await?;
    work.query("SELECT rule FROM guard_rule WHERE rule = ANY($1) ORDER BY rule FOR UPDATE", &[&rules]).await?;
    Ok(())
}

/// Judges an event's items, and counts them: for each whether it is held. Empty if nothing is.
pub(crate) async fn judge(work: &mut Work, ready: &Ready) -> Result<Vec<Option<Kept>>, Fault> {
    let counts = weights(ready);
    let Some(terms) = ready.acceptance.guard.as_ref().filter(|_| !counts.is_empty()) else { return Ok(Vec::new()) };
    let words: &Numbers = &ready.rest.words;
    lock(work, &counts.keys().map(|rule| words.of(rule)).collect()).await?;
    let of_event: u64 = counts.values().map(|(people, _)| people).sum();
    let mut batches: BTreeMap<&str, Kept> = BTreeMap::new();
    let mut opened = None;
    for (rule, (people, first)) in counts {
        let weighed = Weighed { event: ready.acceptance.id.number(), rule: words.of(rule), of_event, people, first };
        if let Some(batch) = weigh(work, terms, &weighed, &mut opened).await? {
            batches.insert(rule, Kept { batch, reason: reason(work, batch).await? });
        }
    }
    if batches.is_empty() {
        return Ok(Vec::new());
    }
    Ok((0..ready.rest.items.len()).map(|place| weighed_rule(ready, place).and_then(|rule| batches.get(rule)).cloned()).collect())
}

/// Judges a crowd before its first chunk: the batch it goes into, if it is held. What its event has told others already, and has not left the house, is held with it.
pub(crate) async fn judge_crowd(
    work: &mut Work,
    terms: &GuardTerms,
    event: i64,
    rule: i32,
    people: u64,
    first: Option<Id>,
) -> Result<Option<i64>, Fault> {
    lock(work, &BTreeSet::from([rule])).await?;
    let others = work.query_one("SELECT count(*) FROM item WHERE event = $1", &[&event]).await?;
    let first = first.unwrap_or(terms.batch);
    let mut opened = None;
    let batch = weigh(work, terms, &Weighed { event, rule, of_event: count(&others, 0) + people, people, first }, &mut opened).await?;
    if let (Some(batch), Some(_)) = (batch, opened) {
        let sql = "SELECT o.id FROM item i JOIN open_item o ON o.id = i.id WHERE i.event = $1 AND o.state + 0 = 1";
        let waiting = work.query(sql, &[&event]).await?;
        hold(work, batch, &ids(&waiting)).await?;
    }
    Ok(batch)
}

fn ids(rows: &[Row]) -> Vec<i64> {
    rows.iter().map(|row| row.get(0)).collect()
}

/// So many people of one rule and event.
struct Weighed {
    event: i64,
    rule: i32,
    of_event: u64,
    people: u64,
    first: Id,
}

/// The batch that a rule's people go into, if they are too many. `opened` is the one that was opened for the same event.
async fn weigh(work: &Work, terms: &GuardTerms, weighed: &Weighed, opened: &mut Option<i64>) -> Result<Option<i64>, Fault> {
    let Weighed { event, rule, of_event, people, first } = *weighed;
    let hour = hours(work, &[rule]).await?.remove(&rule).expect("one rule was asked for");
    let flood = terms.limits.judge(of_event, people, hour.people);
    add_up(work, &BTreeMap::from([(rule, (people, first))])).await?;
    let batch = match (hour.open, flood) {
        // One event that was too large is no reason to hold small ones; a rule that tells too much is.
        (Some((batch, kind)), flood) if kind == Flood::RuleHour.as_str() || flood.is_some() => batch,
        // All rules of one event that is too much go into one batch.
        (_, Some(_)) if opened.is_some() => opened.expect("looked at"),
        (_, Some(flood)) => {
            let most = if flood == Flood::Event { terms.limits.per_event } else { terms.limits.per_rule_hour };
            let id = terms.batch.number();
            let sql = "INSERT INTO guard_batch (id, flood, rule, event, most, people, opened_at, joins_until, state, alerted)
                VALUES ($1, $2, $3, $4, $5, 0, $6, $7, 'held', false)";
            let (now, joins_until) = (work.now_ms(), work.now_ms() + MINUTES * MINUTE_MS);
            work.execute(sql, &[&id, &flood.as_str(), &rule, &event, &whole(most), &now, &joins_until]).await?;
            *opened = Some(id);
            if flood == Flood::RuleHour {
                hold_back(work, id, rule).await?;
            }
            id
        }
        _ => return Ok(None),
    };
    Ok(Some(batch))
}

/// Holds what a rule has told within the hour and has not left the house.
async fn hold_back(work: &Work, batch: i64, rule: i32) -> Result<(), Fault> {
    let sql = "SELECT o.id FROM open_item o JOIN item i ON i.id = o.id JOIN letter l ON l.id = i.letter
        WHERE o.id >= (SELECT min(first_item) FROM guard_minute WHERE rule = $1) AND o.state + 0 = 1 AND l.rule = $1";
    let waiting = work.query(sql, &[&rule]).await?;
    hold(work, batch, &ids(&waiting)).await
}

/// Holds what still waits; what has been claimed meanwhile is on its way.
async fn hold(work: &Work, batch: i64, items: &[i64]) -> Result<(), Fault> {
    let kept = Kept { batch, reason: reason(work, batch).await? };
    let sql = "UPDATE open_item o SET state = 0, node = NULL FROM item i WHERE o.id = ANY($1) AND i.id = o.id AND o.state + 0 = 1 RETURNING o.id, i.folded_hash";
    let held = work.query(sql, &[&items]).await?;
    let mut rows: Vec<(Kept, i32, i64)> = held.iter().map(|row| (kept.clone(), row.get(1), row.get(0))).collect();
    rows.sort_by_key(|(_, _, item)| *item);
    let held: Vec<i64> = rows.iter().map(|(_, _, item)| *item).collect();
    work.note_each(&held, "withheld", None, Some(&kept.reason)).await?;
    keep(work, &rows).await
}

/// Writes items into their batches: batch, hash of the recipient, item.
pub(crate) async fn keep(work: &Work, kept: &[(Kept, i32, i64)]) -> Result<(), Fault> {
    if kept.is_empty() {
        return Ok(());
    }
    let batches: Vec<i64> = kept.iter().map(|(kept, _, _)| kept.batch).collect();
    let hashes: Vec<i32> = kept.iter().map(|(_, hash, _)| *hash).collect();
    let items: Vec<i64> = kept.iter().map(|(_, _, item)| *item).collect();
    let sql = "INSERT INTO guard_item (batch, folded_hash, item) SELECT * FROM unnest($1::bigint[], $2::integer[], $3::bigint[]) ON CONFLICT DO NOTHING";
    work.execute(sql, &[&batches, &hashes, &items]).await?;
    let sql = "UPDATE guard_batch b SET people = b.people + k.people FROM (SELECT batch, count(*) AS people FROM unnest($1::bigint[]) AS u (batch) GROUP BY batch) k WHERE b.id = k.batch";
    work.execute(sql, &[&batches]).await?;
    Ok(())
}

async fn reason(work: &Work, batch: i64) -> Result<String, Fault> {
    let sql = "SELECT b.flood, b.most, w.text FROM guard_batch b JOIN word w ON w.number = b.rule WHERE b.id = $1";
    let row = work.query_one(sql, &[&batch]).await?;
    let (flood, most, rule): (&str, i64, &str) = (row.get(0), row.get(1), row.get(2));
    let id = Id::from_number(batch);
    let flood = if flood == Flood::Event.as_str() { Flood::Event } else { Flood::RuleHour };
    Ok(format!("held by the guard: batch {id}: {}", flood.why(rule, most.unsigned_abs())))
}

/// The guard's word on further items of a batch, whose state may have changed since it was opened. The batch stays as it is until the transaction ends.
pub(crate) async fn verdict(work: &Work, batch: i64) -> Result<Option<Verdict>, Fault> {
    let row = work.query_opt("SELECT state FROM guard_batch WHERE id = $1 FOR UPDATE", &[&batch]).await?;
    Ok(match row.as_ref().map(|row| row.get::<_, &str>(0)) {
        Some("held") => Some(Verdict { kept: Some(Kept { batch, reason: reason(work, batch).await? }), cancelled: false }),
        Some("cancelled") => Some(Verdict { kept: None, cancelled: true }),
        _ => None,
    })
}

/// What the guard knows of a rule: how many people within the hour, and the batch that everything it tells goes into. The caller's clock counts only where there is no other.
pub(crate) async fn rule_hour(base: &Base, rule: &str) -> Result<(u64, Option<Id>), Fault> {
    let work = base.look().await?;
    let Some(number) = work.query_opt("SELECT number FROM word WHERE text = $1", &[&rule]).await? else { return Ok((0, None)) };
    let number: i32 = number.get(0);
    let hour = hours(&work, &[number]).await?.remove(&number).expect("one rule was asked for");
    base.finish(work).await?;
    let batch = hour.open.filter(|(_, flood)| flood == Flood::RuleHour.as_str());
    Ok((hour.people, batch.map(|(id, _)| Id::from_number(id))))
}

/// A batch, as [`row`] reads it.
pub(super) const BATCH: &str =
    "SELECT b.id, b.flood, w.text, b.event, b.most, b.people, b.opened_at, b.state, b.ended_at, b.ended_by, b.alerted
    FROM guard_batch b JOIN word w ON w.number = b.rule";

/// Batches, newest first.
pub(crate) async fn batches(base: &Base, state: Option<BatchState>, unalerted: bool, limit: u16) -> Result<Vec<BatchRow>, Fault> {
    let limit = i64::from(limit);
    let rows = if unalerted {
        base.query(&format!("{BATCH} WHERE NOT b.alerted ORDER BY b.id LIMIT $1"), &[&limit]).await?
    } else {
        let state = state.map(BatchState::as_str);
        base.query(&format!("{BATCH} WHERE $2::text IS NULL OR b.state = $2 ORDER BY b.id DESC LIMIT $1"), &[&limit, &state]).await?
    };
    Ok(rows.iter().map(row).collect())
}

/// One batch.
pub(crate) async fn batch(base: &Base, id: Id) -> Result<Option<BatchRow>, Fault> {
    Ok(base.query(&format!("{BATCH} WHERE b.id = $1"), &[&id.number()]).await?.first().map(row))
}

pub(super) fn row(row: &Row) -> BatchRow {
    let state: &str = row.get(7);
    BatchRow {
        id: Id::from_number(row.get(0)),
        flood: row.get(1),
        rule: row.get(2),
        event: Id::from_number(row.get(3)),
        most: count(row, 4),
        people: count(row, 5),
        opened_at: from_millis(row.get(6)),
        state: BatchState::ALL.into_iter().find(|one| one.as_str() == state).unwrap_or(BatchState::Cancelled),
        ended_at: row.get::<_, Option<i64>>(8).map(from_millis),
        ended_by: row.get(9),
        alerted: row.get(10),
    }
}

/// Notes that the alert is in the outbox. What was being written while the batch was opened, and was not seen by who opened it, is held in it now.
pub(crate) async fn alerted(base: &Base, id: Id) -> Result<(), Fault> {
    let work = base.begin().await?;
    let id = id.number();
    if let Some(row) = work.query_opt("SELECT rule FROM guard_batch WHERE id = $1", &[&id]).await? {
        let rule: i32 = row.get(0);
        lock(&work, &BTreeSet::from([rule])).await?;
        let sql = "UPDATE guard_batch SET alerted = true WHERE id = $1 RETURNING state = 'held' AND flood = $2 AND joins_until > $3";
        if work.query_one(sql, &[&id, &Flood::RuleHour.as_str(), &work.now_ms()]).await?.get(0) {
            hold_back(&work, id, rule).await?;
        }
    }
    base.finish(work).await
}

/// Held items of a batch, by recipient.
pub(crate) async fn items(base: &Base, id: Id, after: Option<(i64, i64)>, limit: u16) -> Result<Vec<BatchItem>, Fault> {
    let after = after.unwrap_or((i64::from(i32::MIN), -1));
    let hash = i32::try_from(after.0).map_err(|_| StoreError::Corrupt(format!("a place in batch {id} that is none: {}", after.0)))?;
    let sql = "SELECT g.folded_hash, g.item, i.recipient, i.event, o.accepted_at, l.sensitive, l.bytes, l.pattern
        FROM guard_item g JOIN item i ON i.id = g.item JOIN open_item o ON o.id = g.item JOIN letter l ON l.id = i.letter
        WHERE g.batch = $1 AND (g.folded_hash, g.item) > ($2, $3) AND o.state = 0 ORDER BY g.folded_hash, g.item LIMIT $4";
    let client = base.client().await?;
    let rows = crate::postgres::work::query(&client, sql, &[&id.number(), &hash, &after.1, &i64::from(limit)]).await?;
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        let stored: Option<&[u8]> = if row.get(5) { None } else { row.get(6) };
        let bytes = match (stored, row.get::<_, Option<i32>>(7)) {
            (Some(stored), Some(pattern)) => Some(base.unpack(&client, stored, pattern).await?),
            (stored, _) => stored.map(<[u8]>::to_vec),
        };
        let (hash, item): (i32, i64) = (row.get(0), row.get(1));
        items.push(BatchItem {
            id: Id::from_number(item),
            place: (i64::from(hash), item),
            to: row.get(2),
            event: Id::from_number(row.get(3)),
            accepted_at: from_millis(row.get(4)),
            bytes,
        });
    }
    Ok(items)
}
