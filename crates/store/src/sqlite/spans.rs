//! Spans: runs of items accepted one after the other. The index of recipients begins with the span, so that writing it stays in one place however many items
//! there are; whoever looks for a recipient goes from span to span.

use crate::sqlite::fault::Fault;
use rusqlite::{Connection, OptionalExtension};

/// Items of a span. An entry of the index takes some 22 bytes, and leaves that are filled in no order are about two thirds full: a span is about 1 MiB of leaves,
/// an eighth of what the writer's connection keeps in memory, and ten million items are 305 spans to look through.
pub(crate) const ITEMS: u32 = 32_768;

/// The span that the writer is filling. Other processes may put items into it, too: then it is a little longer.
#[derive(Debug)]
pub(crate) struct Spans {
    items: u32,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    span: i64,
    room: u32,
}

impl Spans {
    /// Spans of so many items; `None` is the usual number.
    pub(crate) fn of(items: Option<u32>) -> Self {
        Self { items: items.unwrap_or(ITEMS).max(1), current: None }
    }

    /// The span of the next item. The first one goes on where the database stands. After a rollback a span may stay short or a number unused, which harms nobody.
    pub(crate) fn next(&mut self, db: &Connection) -> Result<i64, Fault> {
        let current = match &mut self.current {
            Some(current) => current,
            None => self.current.insert(found(db, self.items)?),
        };
        if current.room == 0 {
            *current = Current { span: current.span + 1, room: self.items };
        }
        current.room -= 1;
        Ok(current.span)
    }
}

/// The newest span and how many items still go into it. Counts no further than a full span: what was there before there were spans is all in the first.
fn found(db: &Connection, items: u32) -> Result<Current, Fault> {
    let Some(span) = below(db, i64::MAX)? else { return Ok(Current { span: 0, room: items }) };
    let taken: u32 = db
        .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM item INDEXED BY item_recipient WHERE span = ?1 LIMIT ?2)")?
        .query_row((span, items), |row| row.get(0))?;
    Ok(Current { span, room: items.saturating_sub(taken) })
}

/// The next older span in use: one step down the index, however many items a span has.
pub(crate) fn below(db: &Connection, span: i64) -> Result<Option<i64>, Fault> {
    let found = db
        .prepare_cached("SELECT span FROM item INDEXED BY item_recipient WHERE span < ?1 ORDER BY span DESC LIMIT 1")?
        .query_row([span], |row| row.get(0))
        .optional()?;
    Ok(found)
}
