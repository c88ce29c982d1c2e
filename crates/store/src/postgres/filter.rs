//! A filter as a condition of SQL, and the items that fit it. Every value is bound; only numbers of states, which are ours, stand in the text.

use crate::{
    postgres::{
        fault::Fault,
        work::{Work, recipient_hash},
    },
    store::Filter,
};
use std::fmt::Write as _;
use tidings_core::outbox::State;
use tokio_postgres::types::ToSql;

/// Which of the items that fit come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Newest,
    Oldest,
}

/// A condition with its values.
struct Condition {
    from: &'static str,
    sql: String,
    values: Vec<Box<dyn ToSql + Sync + Send>>,
    /// The index of recipients is the way to these items, day by day.
    by_recipient: bool,
}

/// The ids of up to `limit` items that fit, in `order`; of those above `after`, not above `last`.
pub(crate) async fn fitting(work: &Work, filter: &Filter, order: Order, (after, last): (i64, i64), limit: u32) -> Result<Vec<i64>, Fault> {
    let Some(mut fits) = condition(work, filter).await? else { return Ok(Vec::new()) };
    fits.and("i.id >", after);
    fits.and("i.id <=", last);
    if !fits.by_recipient {
        return fits.ids(work, order, limit, None).await;
    }
    // A span is a day of ids, so the spans are gone through in the order asked for, and one that has given enough is the last.
    let mut found = Vec::new();
    let mut span = match order {
        Order::Newest => i32::MAX,
        Order::Oldest => i32::MIN,
    };
    let next = match order {
        Order::Newest => "SELECT max(span) FROM item WHERE span < $1",
        Order::Oldest => "SELECT min(span) FROM item WHERE span > $1",
    };
    while found.len() < limit as usize {
        let Some(further) = work.query_one(next, &[&span]).await?.get::<_, Option<i32>>(0) else { break };
        span = further;
        let left = limit - u32::try_from(found.len()).unwrap_or(limit);
        found.append(&mut fits.ids(work, order, left, Some(span)).await?);
    }
    Ok(found)
}

/// The condition of a filter; `None` if nothing can fit, because a kind or relay has never been heard of.
///
/// What is open is looked for among the open, and what ended badly among what ended badly: both are few beside all that was ever sent.
async fn condition(work: &Work, filter: &Filter) -> Result<Option<Condition>, Fault> {
    let by_recipient = filter.to.is_some() && filter.id.is_none() && filter.event.is_none();
    let near = by_recipient || filter.id.is_some() || filter.event.is_some();
    let (from, state) = match filter.state {
        None => ("item i", String::new()),
        Some(state @ (State::Held | State::Waiting | State::Claimed)) => {
            ("open_item o JOIN item i ON i.id = o.id", format!(" AND o.state = {}", state.number()))
        }
        Some(state) if near || state == State::Sent => ("item i", format!(" AND i.state = {}", state.number())),
        Some(state) => ("trouble t JOIN item i ON i.id = t.item", format!(" AND t.state = {}", state.number())),
    };
    let mut made = Condition { from, sql: format!("true{state}"), values: Vec::new(), by_recipient };
    if let Some(id) = filter.id {
        made.and("i.id =", id.number());
    }
    if let Some(event) = filter.event {
        made.and("i.event =", event.number());
    }
    if let Some(to) = &filter.to {
        let folded = to.to_lowercase();
        made.and("i.folded_hash =", recipient_hash(&folded));
        made.and("coalesce(i.folded, i.recipient) =", folded);
    }
    for (name, sql, column) in [
        (&filter.kind, "SELECT number FROM word WHERE text = $1", "i.kind ="),
        (&filter.relay, "SELECT number FROM relay WHERE name = $1", "i.relay ="),
    ] {
        if let Some(name) = name {
            let Some(row) = work.query_opt(sql, &[name]).await? else { return Ok(None) };
            made.and(column, row.get::<_, i32>(0));
        }
    }
    Ok(Some(made))
}

impl Condition {
    fn and(&mut self, what: &str, value: impl ToSql + Sync + Send + 'static) {
        self.values.push(Box::new(value));
        write!(self.sql, " AND {what} ${}", self.values.len()).expect("a text takes everything");
    }

    /// Those of one span, or of all.
    async fn ids(&self, work: &Work, order: Order, limit: u32, span: Option<i32>) -> Result<Vec<i64>, Fault> {
        let descending = if order == Order::Newest { " DESC" } else { "" };
        let (limit, mut values) = (i64::from(limit), Vec::with_capacity(self.values.len() + 2));
        values.extend(self.values.iter().map(|value| &**value as &(dyn ToSql + Sync)));
        values.push(&limit);
        let mut sql = format!("SELECT i.id FROM {} WHERE {}", self.from, self.sql);
        if let Some(span) = &span {
            write!(sql, " AND i.span = ${}", values.len() + 1).expect("a text takes everything");
            values.push(span);
        }
        write!(sql, " ORDER BY i.id{descending} LIMIT ${}", self.values.len() + 1).expect("a text takes everything");
        Ok(work.query(&sql, &values).await?.iter().map(|row| row.get(0)).collect())
    }
}
