//! A filter as a condition of SQL. Every value is bound; only numbers of states, which are ours, stand in the text.

use crate::{
    sqlite::{fault::Fault, work::recipient_hash},
    store::Filter,
};
use rusqlite::{Connection, OptionalExtension, types::Value};
use std::fmt::Write;
use tidings_core::outbox::State;

/// A condition on `item i` with its values.
pub(crate) struct Condition {
    pub(crate) sql: String,
    pub(crate) values: Vec<Value>,
}

/// The condition of a filter; `None` if nothing can fit, because a kind or relay has never been heard of.
///
/// A unary plus keeps SQLite from choosing an index for that column: the listing goes by id, and only indexes that keep the order of ids may be taken.
pub(crate) fn condition(db: &Connection, filter: &Filter) -> Result<Option<Condition>, Fault> {
    let mut made = Condition { sql: "1".to_owned(), values: Vec::new() };
    if let Some(id) = filter.id {
        made.and("i.id =", Value::Integer(id.number()));
    }
    if let Some(event) = filter.event {
        made.and("i.event =", Value::Integer(event.number()));
    }
    if let Some(to) = &filter.to {
        let folded = to.to_lowercase();
        made.and("i.folded_hash =", Value::Integer(recipient_hash(&folded)));
        made.and("coalesce(i.folded, i.recipient) =", Value::Text(folded));
    }
    if let Some(state) = filter.state {
        let indexed = matches!(state, State::Held | State::Bounced | State::Failed | State::Expired | State::Cancelled)
            && filter.to.is_none()
            && filter.event.is_none();
        write!(made.sql, " AND {}i.state = {}", if indexed { "" } else { "+" }, state.number()).expect("a text takes everything");
    }
    if let Some(kind) = &filter.kind {
        let number = db.prepare_cached("SELECT number FROM word WHERE text = ?1")?.query_row([kind], |row| row.get(0)).optional()?;
        let Some(number) = number else { return Ok(None) };
        made.and("+i.kind =", Value::Integer(number));
    }
    if let Some(relay) = &filter.relay {
        let number = db.prepare_cached("SELECT number FROM relay WHERE name = ?1")?.query_row([relay], |row| row.get(0)).optional()?;
        let Some(number) = number else { return Ok(None) };
        made.and("+i.relay =", Value::Integer(number));
    }
    Ok(Some(made))
}

impl Condition {
    fn and(&mut self, what: &str, value: Value) {
        self.values.push(value);
        write!(self.sql, " AND {what} ?{}", self.values.len()).expect("a text takes everything");
    }

    /// Adds a further condition with one value.
    pub(crate) fn narrow(&mut self, what: &str, value: i64) {
        self.and(what, Value::Integer(value));
    }
}
