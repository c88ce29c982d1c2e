//! What a verb works with inside a transaction, and the small steps that several verbs share.

use crate::postgres::{connect::SWEEPING, fault::Fault};
use deadpool_postgres::Object;
use std::{borrow::Cow, collections::BTreeSet, sync::Arc, time::Duration};
use tidings_core::{Clock, Timestamp, lane::LaneSet, outbox::State, time::from_millis};
use tokio::time::timeout;
use tokio_postgres::{Row, types::ToSql};

/// How long a transaction that is given up may take to end.
const ROLLBACK: Duration = Duration::from_secs(5);
/// How a transaction begins that reads.
const LOOK: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// The reader may get it twice.
pub(crate) const MAYBE_DUPLICATE: i16 = 1;
/// The item's letter is sensitive.
pub(crate) const SENSITIVE: i16 = 2;
/// The item's event has secrets.
pub(crate) const HAS_SECRET: i16 = 4;

/// Whose clock counts.
#[derive(Clone)]
pub(crate) enum Time {
    /// The server's: it is the same for all nodes.
    Database,
    /// A clock of tests.
    Told(Arc<dyn Clock>),
}

/// One transaction. Dropped without a commit it is rolled back.
pub(crate) struct Work {
    client: Option<Object>,
    now_ms: i64,
    /// The lanes in which something may be due after this verb.
    pub(crate) arrived: LaneSet,
    /// Something is accepted by this verb: see [`super::clock`].
    pub(crate) accepts: bool,
    /// The earliest moment at which something is due by this verb: see [`super::front`].
    pub(crate) due: Option<i64>,
}

/// A line of history to be written.
pub(crate) struct Line<'a> {
    pub(crate) item: i64,
    pub(crate) at: i64,
    pub(crate) what: &'a str,
    pub(crate) who: Option<&'a str>,
    pub(crate) detail: Option<Cow<'a, str>>,
}

/// A bound value.
pub(crate) type Value<'a> = &'a (dyn ToSql + Sync);

impl Work {
    /// Begins. READ COMMITTED: a statement that has waited for a row sees it as it is then, so what a verb changes stands in the condition of the statement
    /// that changes it.
    pub(crate) async fn begin(client: Object, time: &Time) -> Result<Self, Fault> {
        Self::begin_by(client, time, "BEGIN ISOLATION LEVEL READ COMMITTED").await
    }

    /// Begins to read: all statements see the same moment of the database.
    pub(crate) async fn look(client: Object, time: &Time) -> Result<Self, Fault> {
        Self::begin_by(client, time, LOOK).await
    }

    /// The same for what reads whole stretches of tables.
    pub(crate) async fn sweep(client: Object, time: &Time) -> Result<Self, Fault> {
        Self::begin_by(client, time, &format!("{LOOK}; {SWEEPING}")).await
    }

    async fn begin_by(client: Object, time: &Time, begin: &str) -> Result<Self, Fault> {
        // Before the transaction: should the statement have to be prepared first, that is not part of it.
        let clock = client.prepare_cached("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint").await?;
        // First this, because from here on there may be a transaction to end, also if the caller goes away while it begins.
        let mut work = Self { client: Some(client), now_ms: 0, arrived: LaneSet::NONE, accepts: false, due: None };
        // One round trip, in this order. The present moment is that of the database, as it is at the beginning of the transaction.
        let ((), told) = tokio::try_join!(work.client().batch_execute(begin), work.client().query_one(&clock, &[]))?;
        work.now_ms = match time {
            Time::Database => told.get(0),
            Time::Told(clock) => clock.now().as_millisecond(),
        };
        Ok(work)
    }

    /// The present moment as the database keeps it.
    pub(crate) fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Something is due at this moment by this verb.
    pub(crate) fn is_due(&mut self, due_at: i64) {
        self.due = Some(self.due.map_or(due_at, |due| due.min(due_at)));
    }

    /// The present moment.
    pub(crate) fn now(&self) -> Timestamp {
        from_millis(self.now_ms)
    }

    /// The connection.
    pub(crate) fn client(&self) -> &Object {
        self.client.as_ref().expect("it is given back only at the end")
    }

    /// Runs a statement and gives its rows. It is prepared once a connection, so its text must be one of few.
    pub(crate) async fn query(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Fault> {
        query(self.client(), sql, values).await
    }

    /// At most one row.
    pub(crate) async fn query_opt(&self, sql: &str, values: &[Value<'_>]) -> Result<Option<Row>, Fault> {
        Ok(self.query(sql, values).await?.into_iter().next())
    }

    /// Exactly one row.
    pub(crate) async fn query_one(&self, sql: &str, values: &[Value<'_>]) -> Result<Row, Fault> {
        let statement = self.client().prepare_cached(sql).await?;
        Ok(self.client().query_one(&statement, values).await?)
    }

    /// Runs a statement and gives the number of rows it has changed.
    pub(crate) async fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, Fault> {
        let statement = self.client().prepare_cached(sql).await?;
        Ok(self.client().execute(&statement, values).await?)
    }

    /// Adds lines to the histories of items, in their order.
    pub(crate) async fn note(&self, lines: &[Line<'_>]) -> Result<(), Fault> {
        if lines.is_empty() {
            return Ok(());
        }
        let items: Vec<i64> = lines.iter().map(|line| line.item).collect();
        let ats: Vec<i64> = lines.iter().map(|line| line.at).collect();
        let whats: Vec<&str> = lines.iter().map(|line| line.what).collect();
        let whos: Vec<Option<&str>> = lines.iter().map(|line| line.who).collect();
        let details: Vec<Option<&str>> = lines.iter().map(|line| line.detail.as_deref()).collect();
        let sql = "INSERT INTO history (item, at, what, who, detail) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[])";
        self.execute(sql, &[&items, &ats, &whats, &whos, &details]).await?;
        Ok(())
    }

    /// Adds the same line to the histories of several items.
    pub(crate) async fn note_each(&self, items: &[i64], what: &str, who: Option<&str>, detail: Option<&str>) -> Result<(), Fault> {
        let line = |item: &i64| Line { item: *item, at: self.now_ms, what, who, detail: detail.map(Cow::Borrowed) };
        self.note(&items.iter().map(line).collect::<Vec<_>>()).await
    }

    /// Ends open items that stand in one of these states. Of two who end an item one deletes its row from `open_item`, and the other finds none.
    pub(crate) async fn close(&self, items: &[i64], from: &[State], to: State) -> Result<Vec<Closed>, Fault> {
        let from: Vec<i16> = from.iter().map(|state| small(state.number())).collect();
        // A claimed item that is ended without an outcome may have reached its reader.
        let sql = "WITH gone AS (
                DELETE FROM open_item WHERE id = ANY($1) AND state = ANY($2)
                RETURNING id, due_at, expires_at, accepted_at, token, attempts, state AS was, flags | (CASE state WHEN 2 THEN 1 ELSE 0 END)::smallint AS flags),
            ended AS (
                UPDATE item i SET state = $3::smallint, due_at = g.due_at, expires_at = g.expires_at, accepted_at = g.accepted_at, token = g.token, attempts = g.attempts, flags = g.flags
                FROM gone g WHERE i.id = g.id RETURNING i.id, i.event, i.letter, i.flags, g.was),
            troubled AS (
                INSERT INTO trouble (item, state) SELECT id, $3::smallint FROM gone WHERE $3::smallint > 3 ON CONFLICT (item) DO UPDATE SET state = excluded.state)
            SELECT id, event, letter, flags, was = 2 FROM ended";
        let rows = self.query(sql, &[&items, &from, &small(to.number())]).await?;
        let closed =
            |row: &Row| Closed { id: row.get(0), event: row.get(1), letter: row.get(2), flags: row.get(3), was_claimed: row.get(4) };
        Ok(rows.iter().map(closed).collect())
    }

    /// Erases what was only kept for items that are all final now: the bytes of sensitive letters, the secret fields of events.
    ///
    /// Two nodes that end the last two items of a letter at once do not see each other's end; so its row is locked first, and the second one looks when the first one's end is there.
    pub(crate) async fn erase(&self, closed: &[Closed]) -> Result<(), Fault> {
        let of = |flag: i16, pick: fn(&Closed) -> i64| {
            closed.iter().filter(|one| one.flags & flag != 0).map(pick).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        };
        let letters = of(SENSITIVE, |one| one.letter);
        if !letters.is_empty() {
            self.query("SELECT id FROM letter WHERE id = ANY($1) ORDER BY id FOR UPDATE", &[&letters]).await?;
            let sql = "UPDATE letter l SET bytes = NULL WHERE l.id = ANY($1) AND NOT EXISTS (
                SELECT 1 FROM item i JOIN open_item o ON o.id = i.id WHERE i.letter = l.id AND i.event = ANY($2))";
            self.execute(sql, &[&letters, &of(SENSITIVE, |one| one.event)]).await?;
        }
        let events = of(HAS_SECRET, |one| one.event);
        if !events.is_empty() {
            self.query("SELECT event FROM event_secret WHERE event = ANY($1) ORDER BY event FOR UPDATE", &[&events]).await?;
            let sql = "DELETE FROM event_secret s WHERE s.event = ANY($1) AND NOT EXISTS (
                SELECT 1 FROM item i JOIN open_item o ON o.id = i.id WHERE i.event = s.event)";
            self.execute(sql, &[&events]).await?;
        }
        Ok(())
    }

    /// Ends the transaction. After this it is on disk.
    pub(crate) async fn commit(mut self) -> Result<LaneSet, Fault> {
        let Some(client) = self.client.take() else { return Ok(LaneSet::NONE) };
        match client.batch_execute("COMMIT").await {
            Ok(()) => Ok(self.arrived),
            // The server has said no, and why: nothing is written.
            Err(error) if error.code().is_some_and(|code| !code.code().starts_with("57P")) => {
                self.client = Some(client);
                Err(Fault::Sql(error))
            }
            Err(error) => Err(Fault::Unsure(error)),
        }
    }
}

/// An item that has been ended.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) id: i64,
    pub(crate) event: i64,
    pub(crate) letter: i64,
    pub(crate) flags: i16,
    pub(crate) was_claimed: bool,
}

/// Runs a statement and gives its rows.
pub(crate) async fn query(client: &Object, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Fault> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.query(&statement, values).await?)
}

impl Drop for Work {
    /// A transaction that is left open must not go back to the pool: it is rolled back first, or its connection is closed.
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move {
                    // A server that does not even answer to this has been stopped, or is gone.
                    if !matches!(timeout(ROLLBACK, client.batch_execute("ROLLBACK")).await, Ok(Ok(()))) {
                        drop(Object::take(client));
                    }
                });
            }
            Err(_) => drop(Object::take(client)),
        }
    }
}

/// A number as the database keeps it.
pub(crate) fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that is never below zero.
pub(crate) fn count(row: &Row, column: usize) -> u64 {
    row.get::<_, i64>(column).max(0).cast_unsigned()
}

/// A small number of the house's own: lanes, states.
pub(crate) fn small(number: i64) -> i16 {
    i16::try_from(number).expect("there are fewer than ten lanes and states")
}

/// A text without the one character that the database does not take (PostgreSQL documentation, "Character Types": the code zero).
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// The hash of a folded recipient that the index holds: 32 bits of FNV-1a, small on purpose. The whole text is compared as well, so a collision costs a row read
/// and never gives a stranger's item.
pub(crate) fn recipient_hash(folded: &str) -> i32 {
    folded.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)).cast_signed()
}
