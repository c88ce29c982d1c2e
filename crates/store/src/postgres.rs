//! The house's database on PostgreSQL: the same contract for many nodes at once.
//!
//! Several connections write, and the server flushes commits of many of them at once. A verb that many callers ask for at the same time (accept, settle) is gathered in a
//! [`desk`] and written for all of them by one statement a table. Every moment is the server's, so that all nodes have one clock.
//!
//! # What two nodes cannot both do
//! Transactions are READ COMMITTED, and each verb says why two cannot both win: the condition of what it changes stands in the statement that changes it, which sees a row
//! that another one has changed meanwhile as it is then (PostgreSQL documentation, "Read Committed Isolation Level").
//!
//! # Plain SQL
//! No triggers, procedures, foreign keys or session state. What engines that speak PostgreSQL's protocol may not have: `FOR UPDATE SKIP LOCKED` inside `LATERAL` (claim), `DELETE … RETURNING` in a
//! `WITH` (settle, act, expire), partitions of `history`, an advisory lock while the schema is brought up to date, and `LISTEN`/`NOTIFY`, without which nodes look by themselves.

mod connect;
mod fault;
mod tls;
mod words;
mod work;

use crate::{
    error::StoreError,
    open::OpenOptions,
    pack::Patterns,
    postgres::{
        connect::Address,
        fault::{Again, Fault},
        words::Words,
        work::{Time, Value, Work},
    },
    seal::SealKey,
    store::Arrivals,
};
use deadpool_postgres::{Object, Pool};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_postgres::Row;

/// How often a verb that lost against another one is tried.
const TRIES_AT_ONCE: u32 = 12;
/// Waited for before a verb is tried again that found no connection; then it is refused, and its caller decides.
const WAITS: [Duration; 3] = [Duration::from_millis(20), Duration::from_millis(150), Duration::from_millis(800)];

/// What tests change. The default is the database's own clock.
#[derive(Clone, Copy, Default)]
pub struct PostgresTuning {
    /// Time is told by the clock of the options and not by the server: for tests that move it.
    pub told_time: bool,
}

/// What every verb stands on.
pub(crate) struct Base {
    pool: Pool,
    time: Time,
    pub(crate) key: SealKey,
    pub(crate) patterns: Patterns,
    pub(crate) words: Words,
    arrivals: watch::Sender<Arrivals>,
    /// For people: the URL without what is secret in it.
    pub(crate) shown: PathBuf,
}

impl Base {
    /// A connection of the pool. Whoever holds one does not ask for another: all might wait for each other.
    pub(crate) async fn client(&self) -> Result<Object, Fault> {
        Ok(self.pool.get().await?)
    }

    /// Begins a transaction that writes.
    pub(crate) async fn begin(&self) -> Result<Work, Fault> {
        Work::begin(self.client().await?, &self.time).await
    }

    /// Begins a transaction that reads: all its statements see one moment.
    pub(crate) async fn look(&self) -> Result<Work, Fault> {
        Work::look(self.client().await?, &self.time).await
    }

    /// Asks one question in a transaction of its own.
    pub(crate) async fn query(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Fault> {
        work::query(&self.client().await?, sql, values).await
    }

    /// Commits. After this it is on disk, and whoever waits for work hears of it.
    pub(crate) async fn finish(&self, work: Work) -> Result<(), Fault> {
        let arrived = work.commit().await?;
        if !arrived.is_empty() {
            self.arrivals.send_modify(|arrivals| arrivals.count(arrived));
        }
        Ok(())
    }

    /// Runs a verb, and runs it again if it lost against another one or found no connection. `unsure` says whether it may be run again when nobody knows whether it was
    /// written: only if a second time changes nothing and answers the same.
    pub(crate) async fn again<T, F>(&self, unsure: Unsure, mut verb: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let (mut at_once, mut waits) = (0, WAITS.into_iter());
        loop {
            let fault = match verb().await {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            let wait = match fault.again() {
                Again::AtOnce if at_once < TRIES_AT_ONCE => {
                    at_once += 1;
                    Some(Duration::from_millis(u64::from(at_once)))
                }
                Again::Later => waits.next(),
                Again::Unsure if unsure == Unsure::Again => waits.next(),
                _ => None,
            };
            let Some(wait) = wait else { return Err(fault.into_store()) };
            tracing::debug!(store.fault = ?fault, wait_ms = wait.as_millis(), "a verb is tried again");
            tokio::time::sleep(wait).await;
        }
    }
}

/// What to do when the answer to a commit was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsure {
    /// The verb finds out by itself what it has done already.
    Again,
    /// The caller is told.
    Refuse,
}

/// The house's database on a PostgreSQL server.
pub struct PostgresStore {
    pub(crate) base: Arc<Base>,
}

impl PostgresStore {
    /// Opens the database, bringing it up to date if need be. The database itself has to be there.
    ///
    /// # Errors
    /// As [`crate::open()`].
    pub async fn open(options: OpenOptions, tuning: PostgresTuning) -> Result<Arc<Self>, StoreError> {
        let OpenOptions { url, key, clock, .. } = options;
        let address = Address::parse(&url)?;
        let shown = address.shown.clone();
        let failed = |fault: Fault| StoreError::Open { path: shown.clone(), source: fault.into_store().to_string().into() };
        let pool = address.pool()?;
        let client = pool.get().await.map_err(|error| failed(error.into()))?;
        connect::migrate(&client, &shown).await?;
        connect::check_key(&client, &shown, &key).await?;
        drop(client);
        let time = if tuning.told_time { Time::Told(clock) } else { Time::Database };
        let arrivals = watch::Sender::new(Arrivals::default());
        let base = Base { pool, time, key, patterns: Patterns::default(), words: Words::default(), arrivals, shown: shown.clone() };
        tracing::info!(store.url = %shown.display(), "the database is open");
        Ok(Arc::new(Self { base: Arc::new(base) }))
    }
}
