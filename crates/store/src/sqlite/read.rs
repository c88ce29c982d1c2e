//! What is only read: listings, an item, its letter, an event, depths, names.

use crate::{
    error::StoreError,
    pack::Patterns,
    sqlite::{
        accept::role_of,
        fault::Fault,
        filter::{Order, fitting},
        trace,
        work::{MAYBE_DUPLICATE, SENSITIVE, pattern_text},
    },
    store::{Depth, EventRecord, EventSpan, Filter, HistoryLine, ItemDetail, ItemRow, Page},
};
use rusqlite::{Connection, OptionalExtension, Row};
use tidings_core::{Id, Lane, outbox::State, time::from_millis};

const ROW: &str =
    "SELECT i.id, i.event, k.text, r.text, i.recipient, i.role, y.name, i.lane, i.state, i.due_at, i.expires_at, i.accepted_at, i.attempts,
        l.message_id, i.flags, (SELECT h.detail FROM history h WHERE h.item = i.id AND h.detail IS NOT NULL ORDER BY h.line DESC LIMIT 1)
    FROM item i CROSS JOIN letter l ON l.id = i.letter CROSS JOIN word k ON k.number = i.kind CROSS JOIN word r ON r.number = l.rule
    CROSS JOIN relay y ON y.number = i.relay";

fn lane_of(number: i64) -> Result<Lane, StoreError> {
    Lane::from_number(number).ok_or_else(|| StoreError::Corrupt(format!("item.lane: {number}")))
}

fn state_of(number: i64) -> Result<State, StoreError> {
    State::from_number(number).ok_or_else(|| StoreError::Corrupt(format!("item.state: {number}")))
}

fn item_row(row: &Row<'_>) -> Result<ItemRow, Fault> {
    Ok(ItemRow {
        id: Id::from_number(row.get(0)?),
        event: Id::from_number(row.get(1)?),
        kind: row.get(2)?,
        rule: row.get(3)?,
        to: row.get(4)?,
        role: role_of(row.get(5)?)?.as_str(),
        relay: row.get(6)?,
        lane: lane_of(row.get(7)?)?,
        state: state_of(row.get(8)?)?,
        due_at: from_millis(row.get(9)?),
        expires_at: from_millis(row.get(10)?),
        accepted_at: from_millis(row.get(11)?),
        attempts: row.get(12)?,
        message_id: row.get(13)?,
        maybe_duplicate: row.get::<_, i64>(14)? & MAYBE_DUPLICATE != 0,
        last_reply: row.get(15)?,
    })
}

/// A page of a listing, newest first.
pub(crate) fn items(db: &Connection, filter: &Filter, before: Option<Id>, limit: u16) -> Result<Page<ItemRow>, Fault> {
    let last = before.map_or(i64::MAX, |before| before.number().saturating_sub(1));
    let limit = limit.max(1);
    // One more than asked for tells whether there is a next page.
    let mut ids = fitting(db, filter, Order::Newest, (i64::MIN, last), u32::from(limit) + 1)?;
    let more = ids.len() > usize::from(limit);
    ids.truncate(usize::from(limit));
    let next = ids.last().filter(|_| more).map(|id| Id::from_number(*id));
    let mut found = db.prepare_cached(&format!("{ROW} WHERE i.id = ?1"))?;
    let mut items = Vec::with_capacity(ids.len());
    for id in ids {
        // An item whose letter or words are gone is not listed, as ever.
        let mut rows = found.query([id])?;
        if let Some(row) = rows.next()? {
            items.push(item_row(row)?);
        }
    }
    Ok(Page { items, next })
}

/// One item with its history. That it was accepted needs no line of its own: the item knows when.
pub(crate) fn item(db: &Connection, id: Id) -> Result<Option<ItemDetail>, Fault> {
    let mut found = db.prepare_cached(&format!("{ROW} WHERE i.id = ?1"))?;
    let mut rows = found.query([id.number()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let row = item_row(row)?;
    let mut history = vec![HistoryLine { at: row.accepted_at, what: "accepted".to_owned(), by: None, detail: None, next_at: None }];
    let mut lines = db.prepare_cached("SELECT at, what, who, detail, next_at FROM history WHERE item = ?1 ORDER BY line")?;
    let mut lines = lines.query([id.number()])?;
    while let Some(line) = lines.next()? {
        history.push(HistoryLine {
            at: from_millis(line.get(0)?),
            what: line.get(1)?,
            by: line.get(2)?,
            detail: line.get(3)?,
            next_at: line.get::<_, Option<i64>>(4)?.map(from_millis),
        });
    }
    Ok(Some(ItemDetail { row, history }))
}

/// The bytes of an item's letter, unless it is sensitive or erased.
pub(crate) fn letter(db: &Connection, patterns: &Patterns, item: Id) -> Result<Option<Vec<u8>>, Fault> {
    let found = db
        .prepare_cached(
            "SELECT l.bytes, l.pattern FROM item i JOIN letter l ON l.id = i.letter WHERE i.id = ?1 AND i.flags & ?2 = 0 AND l.sensitive = 0",
        )?
        .query_row([item.number(), SENSITIVE], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(match found {
        Some((Some(packed), Some(pattern))) => {
            let packed: Vec<u8> = packed;
            Some(patterns.unpack(&packed, pattern, || pattern_text(db, pattern))?)
        }
        Some((bytes, _)) => bytes,
        None => None,
    })
}

const EVENT: &str = "SELECT e.id, s.text, e.event_id, k.text, e.time, e.accepted_at, e.data, e.trace
    FROM event e CROSS JOIN word s ON s.number = e.source CROSS JOIN word k ON k.number = e.kind";

fn event_record(row: &Row<'_>) -> rusqlite::Result<EventRecord> {
    Ok(EventRecord {
        id: Id::from_number(row.get(0)?),
        source: row.get(1)?,
        event_id: row.get(2)?,
        kind: row.get(3)?,
        time: from_millis(row.get(4)?),
        accepted_at: from_millis(row.get(5)?),
        data: row.get(6)?,
        trace: row.get(7)?,
    })
}

/// An event as it was accepted.
pub(crate) fn event(db: &Connection, patterns: &Patterns, id: Id) -> Result<Option<EventRecord>, Fault> {
    let sql = format!("{EVENT} WHERE e.id = ?1");
    let Some(mut found) = db.prepare_cached(&sql)?.query_row([id.number()], event_record).optional()? else { return Ok(None) };
    found.trace = trace::read(db, patterns, found.trace)?;
    Ok(Some(found))
}

/// About so many bytes of data and traces of a page of events.
const EVENTS_BYTES: usize = 8 << 20;

/// Events of a span, by id.
pub(crate) fn events(
    db: &Connection,
    patterns: &Patterns,
    span: &EventSpan,
    after: Option<Id>,
    limit: u16,
) -> Result<Vec<EventRecord>, Fault> {
    let first = after.map_or(i64::MIN, |after| after.number().saturating_add(1)).max(Id::first_of(span.since).number());
    let mut kinds = Vec::with_capacity(span.kinds.len());
    for kind in &span.kinds {
        let number =
            db.prepare_cached("SELECT number FROM word WHERE text = ?1")?.query_row([kind], |row| row.get::<_, i64>(0)).optional()?;
        kinds.extend(number);
    }
    if kinds.is_empty() && !span.kinds.is_empty() {
        return Ok(Vec::new());
    }
    // Numbers of our own making; there are at most as many as there are kinds.
    let of = if kinds.is_empty() {
        String::new()
    } else {
        format!(" AND e.kind IN ({})", kinds.iter().map(i64::to_string).collect::<Vec<_>>().join(", "))
    };
    // The key is walked, and an event's data is read only when its turn comes. CROSS JOIN keeps it so.
    let mut rows = db.prepare(&format!("{EVENT} WHERE e.id >= ?1 AND e.accepted_at >= ?2 AND e.accepted_at < ?3{of} ORDER BY e.id"))?;
    let mut rows = rows.query([first, span.since.as_millisecond(), span.until.as_millisecond()])?;
    let (mut events, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let mut event = event_record(row)?;
        event.trace = trace::read(db, patterns, event.trace)?;
        bytes += event.data.len() + event.trace.len();
        if !events.is_empty() && bytes > EVENTS_BYTES {
            break;
        }
        events.push(event);
        if events.len() >= usize::from(limit.max(1)) {
            break;
        }
    }
    Ok(events)
}

/// How much stands in the outbox. Counted from the indexes alone, in their order, so that it needs neither the rows nor memory; ids grow with time, so the
/// lowest one is the oldest item.
pub(crate) fn depths(db: &Connection) -> Result<Vec<Depth>, Fault> {
    let mut depths = Vec::new();
    let mut due = db.prepare_cached(
        "SELECT y.name, c.* FROM (SELECT relay, lane, sum(state = 1), min(CASE state WHEN 1 THEN id END), sum(state = 2), min(CASE state WHEN 2 THEN id END)
             FROM item INDEXED BY item_due WHERE state IN (1, 2) GROUP BY relay, lane) c JOIN relay y ON y.number = c.relay ORDER BY y.name, c.lane",
    )?;
    let mut rows = due.query([])?;
    while let Some(row) = rows.next()? {
        for (state, column) in [(State::Waiting, 3), (State::Claimed, 5)] {
            add_depth(db, &mut depths, row, state, column)?;
        }
    }
    let mut held = db.prepare_cached(
        "SELECT y.name, c.* FROM (SELECT relay, lane, count(*), min(id) FROM item INDEXED BY item_trouble WHERE state = 0 GROUP BY relay, lane) c
         JOIN relay y ON y.number = c.relay ORDER BY y.name, c.lane",
    )?;
    let mut rows = held.query([])?;
    while let Some(row) = rows.next()? {
        add_depth(db, &mut depths, row, State::Held, 3)?;
    }
    Ok(depths)
}

fn add_depth(db: &Connection, depths: &mut Vec<Depth>, row: &Row<'_>, state: State, column: usize) -> Result<(), Fault> {
    let Some(oldest) = row.get::<_, Option<i64>>(column + 1)? else { return Ok(()) };
    let oldest = db.prepare_cached("SELECT accepted_at FROM item WHERE id = ?1")?.query_row([oldest], |row| row.get(0))?;
    let (relay, lane) = (row.get(0)?, lane_of(row.get(2)?)?);
    let items = row.get::<_, i64>(column)?.unsigned_abs();
    depths.push(Depth { relay, lane, state, items, oldest: from_millis(oldest) });
    Ok(())
}

/// The highest id in use and the installation's number.
pub(crate) fn names(db: &Connection) -> Result<(Option<Id>, String), Fault> {
    let highest: Option<i64> = db
        .prepare_cached(
            "SELECT max(id) FROM (SELECT max(id) AS id FROM event UNION ALL SELECT max(id) FROM letter UNION ALL SELECT max(id) FROM item)",
        )?
        .query_row([], |row| row.get(0))?;
    let installation: Vec<u8> = db.prepare_cached("SELECT value FROM meta WHERE name = 'installation'")?.query_row([], |row| row.get(0))?;
    let installation = String::from_utf8(installation).map_err(|_| StoreError::Corrupt("meta.value: installation".to_owned()))?;
    Ok((highest.map(Id::from_number), installation))
}

/// The event of a source and id.
pub(crate) fn event_named(db: &Connection, source: &str, event_id: &str) -> Result<Option<Id>, Fault> {
    let sql = "SELECT e.id FROM event e WHERE e.event_id = ?1 AND e.source = (SELECT number FROM word WHERE text = ?2)";
    Ok(db.prepare_cached(sql)?.query_row([event_id, source], |row| row.get(0)).optional()?.map(Id::from_number))
}
