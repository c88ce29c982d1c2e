//! A filter as a condition of SQL, and the items that fit it. Every value is bound; only numbers of states, which are ours, stand in the text.

use crate::{
    sqlite::{fault::Fault, spans, work::recipient_hash},
    store::Filter,
};
use rusqlite::{Connection, OptionalExtension, params_from_iter, types::Value};
use std::fmt::Write;
use tidings_core::outbox::State;

/// Which of the items that fit come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Newest,
    Oldest,
}

impl Order {
    /// What an id must be compared to another to come before it.
    const fn sooner_than(self) -> &'static str {
        match self {
            Self::Newest => "i.id >",
            Self::Oldest => "i.id <",
        }
    }
}

/// A condition on `item i` with its values.
struct Condition {
    sql: String,
    values: Vec<Value>,
    /// The index of recipients is the way to these items, span by span.
    by_recipient: bool,
}

/// The ids of up to `limit` items that fit, in `order`; of those above `after`, not above `last`.
pub(crate) fn fitting(db: &Connection, filter: &Filter, order: Order, (after, last): (i64, i64), limit: u32) -> Result<Vec<i64>, Fault> {
    let Some(mut fits) = condition(db, filter)? else { return Ok(Vec::new()) };
    fits.and("i.id >", Value::Integer(after));
    fits.and("i.id <=", Value::Integer(last));
    if !fits.by_recipient {
        return fits.ids(db, order, limit);
    }
    // Spans grow with ids, but not strictly: several processes accept, and a letter has its id before it has its place. So all are asked, and each for what
    // would still come before the last of those found. Most know at the first look into the index that they have none.
    let mut found = Vec::new();
    let mut span = i64::MAX;
    while let Some(older) = spans::below(db, span)? {
        span = older;
        found.append(&mut fits.within(span, order, found.get(limit as usize - 1)).ids(db, order, limit)?);
        found.sort_unstable();
        if order == Order::Newest {
            found.reverse();
        }
        found.truncate(limit as usize);
    }
    Ok(found)
}

/// The condition of a filter; `None` if nothing can fit, because a kind or relay has never been heard of.
///
/// A unary plus keeps SQLite from choosing an index for that column: the listing goes by id, and only indexes that keep the order of ids may be taken.
fn condition(db: &Connection, filter: &Filter) -> Result<Option<Condition>, Fault> {
    let by_recipient = filter.to.is_some() && filter.id.is_none() && filter.event.is_none();
    let mut made = Condition { sql: "1".to_owned(), values: Vec::new(), by_recipient };
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

    /// The same in one span, and only what comes before `bar`.
    fn within(&self, span: i64, order: Order, bar: Option<&i64>) -> Self {
        let mut narrower = Self { sql: self.sql.clone(), values: self.values.clone(), by_recipient: true };
        narrower.and("i.span =", Value::Integer(span));
        if let Some(bar) = bar {
            narrower.and(order.sooner_than(), Value::Integer(*bar));
        }
        narrower
    }

    fn select(&self, order: Order, limit: u32) -> String {
        let index = if self.by_recipient { " INDEXED BY item_recipient" } else { "" };
        let descending = if order == Order::Newest { " DESC" } else { "" };
        format!("SELECT i.id FROM item i{index} WHERE {} ORDER BY i.id{descending} LIMIT {limit}", self.sql)
    }

    fn ids(&self, db: &Connection, order: Order, limit: u32) -> Result<Vec<i64>, Fault> {
        let mut found = db.prepare_cached(&self.select(order, limit))?;
        let ids = found.query_map(params_from_iter(&self.values), |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{seal::SealKey, sqlite::connect};

    fn plan(db: &Connection, sql: &str, values: &[Value]) -> String {
        let mut explained = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let lines = explained.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
        lines.collect::<Result<Vec<_>, _>>().unwrap().join("; ")
    }

    #[test]
    fn a_recipient_is_looked_for_by_the_index_and_nothing_is_sorted() {
        let folder = tempfile::tempdir().unwrap();
        let db = connect::writer(&folder.path().join("tidings.db"), &SealKey::from_bytes([7; 32]), None).unwrap();
        let to = Filter { to: Some("ada@example.org".to_owned()), ..Filter::default() };
        for filter in [to.clone(), Filter { state: Some(State::Failed), ..to.clone() }] {
            let mut fits = condition(&db, &filter).unwrap().unwrap();
            fits.and("i.id >", Value::Integer(i64::MIN));
            fits.and("i.id <=", Value::Integer(i64::MAX));
            for order in [Order::Newest, Order::Oldest] {
                let one = fits.within(3, order, Some(&17));
                let way = plan(&db, &one.select(order, 50), &one.values);
                assert!(
                    way.contains("SEARCH i USING INDEX item_recipient (span=? AND folded_hash=?") && !way.contains("TEMP B-TREE"),
                    "{way}"
                );
            }
        }
        // Where there is a nearer way it is taken.
        let event = Filter { event: Some(tidings_core::Id::from_number(1)), ..to };
        let fits = condition(&db, &event).unwrap().unwrap();
        let way = plan(&db, &fits.select(Order::Newest, 50), &fits.values);
        assert!(way.contains("USING INDEX item_event") && !way.contains("TEMP B-TREE"), "{way}");
        let step =
            plan(&db, "SELECT span FROM item INDEXED BY item_recipient WHERE span < ?1 ORDER BY span DESC LIMIT 1", &[Value::Integer(9)]);
        assert!(step.contains("SEARCH item USING COVERING INDEX item_recipient (span<?)") && !step.contains("TEMP B-TREE"), "{step}");
    }
}
