//! What is only read: listings, an item, its letter, an event, depths, names.

use crate::{
    error::StoreError,
    postgres::{
        Base,
        accept::role_of,
        fault::Fault,
        filter::{Order, fitting},
        work::{MAYBE_DUPLICATE, SENSITIVE, Work, count, query, whole},
    },
    store::{Depth, EventRecord, EventSpan, Filter, HistoryLine, ItemDetail, ItemRow, Page},
};
use deadpool_postgres::Object;
use std::collections::HashMap;
use tidings_core::{Id, Lane, outbox::State, time::from_millis};
use tokio_postgres::Row;

/// What changes stands in `open_item` while an item is open, and in `item` once it has ended.
const ROW: &str = "SELECT i.id, i.event, k.text, r.text, i.recipient, i.role, y.name, i.lane, coalesce(o.state, i.state), coalesce(o.due_at, i.due_at),
        coalesce(o.expires_at, i.expires_at), coalesce(o.accepted_at, i.accepted_at), coalesce(o.attempts, i.attempts), l.message_id, coalesce(o.flags, i.flags),
        (SELECT h.detail FROM history h WHERE h.item = i.id AND h.detail IS NOT NULL ORDER BY h.line DESC LIMIT 1)
    FROM item i LEFT JOIN open_item o ON o.id = i.id JOIN letter l ON l.id = i.letter JOIN word k ON k.number = i.kind JOIN word r ON r.number = l.rule
    JOIN relay y ON y.number = i.relay WHERE i.id = ANY($1)";

fn lane_of(number: i16) -> Result<Lane, StoreError> {
    Lane::from_number(number.into()).ok_or_else(|| StoreError::Corrupt(format!("item.lane: {number}")))
}

fn state_of(number: Option<i16>) -> Result<State, StoreError> {
    let state = number.and_then(|number| State::from_number(number.into()));
    state.ok_or_else(|| StoreError::Corrupt(format!("item.state: {number:?}")))
}

fn item_row(row: &Row) -> Result<ItemRow, StoreError> {
    Ok(ItemRow {
        id: Id::from_number(row.get(0)),
        event: Id::from_number(row.get(1)),
        kind: row.get(2),
        rule: row.get(3),
        to: row.get(4),
        role: role_of(row.get(5))?.as_str(),
        relay: row.get(6),
        lane: lane_of(row.get(7))?,
        state: state_of(row.get(8))?,
        due_at: from_millis(row.get(9)),
        expires_at: from_millis(row.get(10)),
        accepted_at: from_millis(row.get(11)),
        attempts: u32::try_from(row.get::<_, i32>(12)).unwrap_or_default(),
        message_id: row.get(13),
        maybe_duplicate: row.get::<_, i16>(14) & MAYBE_DUPLICATE != 0,
        last_reply: row.get(15),
    })
}

/// A page of a listing, newest first.
pub(crate) async fn items(base: &Base, filter: &Filter, before: Option<Id>, limit: u16) -> Result<Page<ItemRow>, Fault> {
    let work = base.sweep().await?;
    let last = before.map_or(i64::MAX, |before| before.number().saturating_sub(1));
    let limit = limit.max(1);
    // One more than asked for tells whether there is a next page.
    let mut ids = fitting(&work, filter, Order::Newest, (i64::MIN, last), u32::from(limit) + 1).await?;
    let more = ids.len() > usize::from(limit);
    ids.truncate(usize::from(limit));
    let next = ids.last().filter(|_| more).map(|id| Id::from_number(*id));
    let mut rows: HashMap<i64, Row> = work.query(ROW, &[&ids]).await?.into_iter().map(|row| (row.get(0), row)).collect();
    base.finish(work).await?;
    // An item whose letter or words are gone is not listed.
    let items = ids.iter().filter_map(|id| rows.remove(id)).map(|row| item_row(&row)).collect::<Result<_, _>>()?;
    Ok(Page { items, next })
}

/// One item with its history. That it was accepted needs no line of its own: the item knows when.
pub(crate) async fn item(base: &Base, id: Id) -> Result<Option<ItemDetail>, Fault> {
    let work = base.look().await?;
    let Some(row) = work.query_opt(ROW, &[&[id.number()].as_slice()]).await? else { return Ok(None) };
    let row = item_row(&row)?;
    let lines = work.query("SELECT at, what, who, detail, next_at FROM history WHERE item = $1 ORDER BY line", &[&id.number()]).await?;
    base.finish(work).await?;
    let mut history = vec![HistoryLine { at: row.accepted_at, what: "accepted".to_owned(), by: None, detail: None, next_at: None }];
    history.extend(lines.iter().map(|line| HistoryLine {
        at: from_millis(line.get(0)),
        what: line.get(1),
        by: line.get(2),
        detail: line.get(3),
        next_at: line.get::<_, Option<i64>>(4).map(from_millis),
    }));
    Ok(Some(ItemDetail { row, history }))
}

/// The bytes of an item's letter, unless it is sensitive or erased.
pub(crate) async fn letter(base: &Base, item: Id) -> Result<Option<Vec<u8>>, Fault> {
    let client = base.client().await?;
    let sql =
        "SELECT l.bytes, l.pattern FROM item i JOIN letter l ON l.id = i.letter WHERE i.id = $1 AND i.flags & $2 = 0 AND NOT l.sensitive";
    let rows = query(&client, sql, &[&item.number(), &SENSITIVE]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let stored: Option<&[u8]> = row.get(0);
    Ok(match (stored, row.get(1)) {
        (Some(packed), Some(pattern)) => Some(base.unpack(&client, packed, pattern).await?),
        (stored, _) => stored.map(<[u8]>::to_vec),
    })
}

const EVENT: &str = "SELECT e.id, s.text, e.event_id, k.text, e.time, e.accepted_at, e.data, e.trace, e.trace_pattern
    FROM event e JOIN word s ON s.number = e.source JOIN word k ON k.number = e.kind";

/// What was made small is made whole again.
async fn event_record(base: &Base, client: &Object, row: &Row) -> Result<EventRecord, Fault> {
    let trace = match row.get(8) {
        Some(pattern) => base.unpack(client, row.get(7), pattern).await?,
        None => row.get(7),
    };
    Ok(EventRecord {
        id: Id::from_number(row.get(0)),
        source: row.get(1),
        event_id: row.get(2),
        kind: row.get(3),
        time: from_millis(row.get(4)),
        accepted_at: from_millis(row.get(5)),
        data: row.get(6),
        trace,
    })
}

/// An event as it was accepted.
pub(crate) async fn event(base: &Base, id: Id) -> Result<Option<EventRecord>, Fault> {
    let client = base.client().await?;
    let rows = query(&client, &format!("{EVENT} WHERE e.id = $1"), &[&id.number()]).await?;
    match rows.first() {
        Some(row) => Ok(Some(event_record(base, &client, row).await?)),
        None => Ok(None),
    }
}

/// About so many bytes of data and traces of a page of events.
const EVENTS_BYTES: i64 = 8 << 20;

/// Events of a span, by id. Which of them can make up a page is found out by their stored sizes, so that a page of large ones is not read to be cut; what their traces come to is seen then.
pub(crate) async fn events(base: &Base, span: &EventSpan, after: Option<Id>, limit: u16) -> Result<Vec<EventRecord>, Fault> {
    let first = after.map_or(i64::MIN, |after| after.number().saturating_add(1)).max(Id::first_of(span.since).number());
    let work = base.sweep().await?;
    let kinds: Vec<i32> =
        work.query("SELECT number FROM word WHERE text = ANY($1)", &[&span.kinds]).await?.iter().map(|row| row.get(0)).collect();
    if kinds.is_empty() && !span.kinds.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "SELECT id, octet_length(data) + octet_length(trace)::bigint FROM event
        WHERE id >= $1 AND accepted_at >= $2 AND accepted_at < $3 AND (cardinality($4::integer[]) = 0 OR kind = ANY($4)) ORDER BY id LIMIT $5";
    let (since, until, limit) = (span.since.as_millisecond(), span.until.as_millisecond(), i64::from(limit.max(1)));
    let (mut ids, mut bytes) = (Vec::new(), 0);
    for row in work.query(sql, &[&first, &since, &until, &kinds, &limit]).await? {
        bytes += row.get::<_, i64>(1);
        if bytes > EVENTS_BYTES && !ids.is_empty() {
            break;
        }
        ids.push(row.get::<_, i64>(0));
    }
    let rows = work.query(&format!("{EVENT} WHERE e.id = ANY($1) ORDER BY e.id"), &[&ids]).await?;
    let (mut events, mut bytes) = (Vec::with_capacity(rows.len()), 0);
    for row in &rows {
        let event = event_record(base, work.client(), row).await?;
        bytes += whole((event.data.len() + event.trace.len()) as u64);
        if bytes > EVENTS_BYTES && !events.is_empty() {
            break;
        }
        events.push(event);
    }
    base.finish(work).await?;
    Ok(events)
}

/// How much stands in the outbox: counted among what is open.
pub(crate) async fn depths(base: &Base) -> Result<Vec<Depth>, Fault> {
    let sql = "SELECT y.name, c.lane, c.state, c.items, c.oldest
        FROM (SELECT relay, lane, state, count(*) AS items, min(accepted_at) AS oldest FROM open_item GROUP BY relay, lane, state) c
        JOIN relay y ON y.number = c.relay ORDER BY (c.state = 0), y.name, c.lane, c.state";
    let work = base.sweep().await?;
    let rows = work.query(sql, &[]).await?;
    base.finish(work).await?;
    let depth = |row: &Row| {
        let (lane, state) = (lane_of(row.get(1))?, state_of(Some(row.get(2)))?);
        Ok(Depth { relay: row.get(0), lane, state, items: count(row, 3), oldest: from_millis(row.get(4)) })
    };
    rows.iter().map(depth).collect()
}

/// The highest id in use and the installation's number.
pub(crate) async fn names(base: &Base) -> Result<(Option<Id>, String), Fault> {
    let work = base.look().await?;
    let found = highest(&work).await?;
    let installation = work.query_one("SELECT value FROM meta WHERE name = 'installation'", &[]).await?;
    base.finish(work).await?;
    let installation = String::from_utf8(installation.get(0)).map_err(|_| StoreError::Corrupt("meta.value: installation".to_owned()))?;
    Ok((found.map(Id::from_number), installation))
}

async fn highest(work: &Work) -> Result<Option<i64>, Fault> {
    let sql = "SELECT greatest((SELECT max(id) FROM event), (SELECT max(id) FROM letter), (SELECT max(id) FROM item))";
    Ok(work.query_one(sql, &[]).await?.get(0))
}

/// The event of a source and id.
pub(crate) async fn event_named(base: &Base, source: &str, event_id: &str) -> Result<Option<Id>, Fault> {
    let sql = "SELECT e.id FROM event e JOIN word w ON w.number = e.source WHERE e.event_id = $1 AND w.text = $2";
    Ok(base.query(sql, &[&event_id, &source]).await?.first().map(|row| Id::from_number(row.get(0))))
}
