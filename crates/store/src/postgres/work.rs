//! What a verb works with inside a transaction, and the small steps that several verbs share.

use crate::{error::StoreError, postgres::fault::Fault};
use deadpool_postgres::Object;
use std::sync::Arc;
use tidings_core::{Clock, Timestamp, lane::LaneSet, time::from_millis};
use tokio_postgres::{Row, SimpleQueryMessage, types::ToSql};

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
        Self::begin_by(client, time, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
    }

    async fn begin_by(client: Object, time: &Time, begin: &str) -> Result<Self, Fault> {
        // One round trip. The present moment is that of the database, as it is at the beginning of the transaction.
        let sql = format!("{begin}; SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint");
        let answer = client.simple_query(&sql).await;
        // From here on there may be a transaction to end.
        let mut work = Self { client: Some(client), now_ms: 0, arrived: LaneSet::NONE };
        let told = answer?.into_iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).and_then(|text| text.parse().ok()),
            _ => None,
        });
        work.now_ms = match time {
            Time::Database => told.ok_or_else(|| StoreError::Corrupt("the server does not tell the time".to_owned()))?,
            Time::Told(clock) => clock.now().as_millisecond(),
        };
        Ok(work)
    }

    /// The present moment as the database keeps it.
    pub(crate) fn now_ms(&self) -> i64 {
        self.now_ms
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

    /// Runs a statement and gives the number of rows it has changed.
    pub(crate) async fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, Fault> {
        let statement = self.client().prepare_cached(sql).await?;
        Ok(self.client().execute(&statement, values).await?)
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
                    if client.batch_execute("ROLLBACK").await.is_err() {
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
pub(crate) fn text(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// The hash of a folded recipient that the index holds: 32 bits of FNV-1a, small on purpose. The whole text is compared as well, so a collision costs a row read
/// and never gives a stranger's item.
pub(crate) fn recipient_hash(folded: &str) -> i32 {
    folded.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)).cast_signed()
}
