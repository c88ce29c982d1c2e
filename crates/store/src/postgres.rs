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

pub(crate) mod accept;
mod act;
mod bell;
mod bounces;
mod caretaker;
mod claim;
mod clock;
pub(crate) mod connect;
mod desk;
mod doubts;
mod ending;
mod fanout;
pub(crate) mod fault;
mod filter;
mod front;
mod guard;
mod mirror;
mod nodes;
mod read;
mod relays;
mod scout;
mod settle;
mod slate;
mod tls;
mod tokens;
mod words;
mod work;

use crate::{
    error::StoreError,
    flood::{BatchItem, BatchRow, BatchState, Digest, FanOutRow, FanOutStep},
    health::Health,
    mirror::directory_duty,
    nodes::{Membership, NewNode, NodeRow, Nodes, Pulse},
    open::OpenOptions,
    pack::Patterns,
    postgres::{
        bell::Bell,
        clock::Watch,
        connect::Address,
        desk::Desk,
        doubts::Doubts,
        fault::{Again, Fault},
        front::Front,
        words::Words,
        work::{Time, Value, Work},
    },
    seal::{SealKey, fill, hex},
    slate::{Slate, SlateWritten},
    store::{
        Acceptance, Accepted, Acted, Action, Arrivals, Claim, Depth, EventRecord, EventSpan, Filter, ItemDetail, ItemRow, Lease, Page,
        RelayReport, RelayStanding, Settled, Store, TokenRecord,
    },
};
use async_trait::async_trait;
use deadpool_postgres::{Object, Pool};
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, Weak},
    time::Duration,
};
use tidings_core::{Id, Timestamp, outbox::Settlement};
use tokio::{sync::watch, task::AbortHandle, time::timeout};
use tokio_postgres::Row;

/// Groups of acceptances, and of outcomes, that are written at the same time.
const GROUPS: usize = 2;
/// How often a verb that lost against another one is tried.
const TRIES_AT_ONCE: u32 = 12;
/// How long a verb may take …
const PATIENCE: Duration = Duration::from_secs(30);
/// … and as much longer for each item that it writes: a large acceptance on a busy server is slow, not silent …
const EACH: Duration = Duration::from_millis(20);
/// … and one that writes much at once.
const LONG: Duration = Duration::from_mins(5);
/// Waited for before a verb is tried again that found no connection; then it is refused, and its caller decides.
const WAITS: [Duration; 3] = [Duration::from_millis(20), Duration::from_millis(150), Duration::from_millis(800)];

/// What tests change. The default is the database's own clock.
#[derive(Clone, Copy, Default)]
pub struct PostgresTuning {
    /// Time is told by the clock of the options and not by the server: for tests that move it.
    pub told_time: bool,
    /// How long a verb may take, in place of half a minute.
    pub patience: Option<Duration>,
}

/// What every verb stands on.
pub(crate) struct Base {
    pool: Pool,
    patience: Duration,
    time: Time,
    pub(crate) key: SealKey,
    pub(crate) patterns: Patterns,
    pub(crate) words: Words,
    watch: Watch,
    front: Arc<Front>,
    doubts: Doubts,
    rhythm: nodes::Rhythm,
    health: Health,
    /// Under which name this process feeds a directory.
    fences: RwLock<HashMap<String, String>>,
    bell: Arc<Bell>,
    arrivals: watch::Sender<Arrivals>,
    me: Weak<Self>,
}

impl Base {
    /// A connection of the pool. Whoever holds one does not ask for another: all might wait for each other.
    pub(crate) async fn client(&self) -> Result<Object, Fault> {
        Ok(self.pool.get().await?)
    }

    /// Begins a transaction that writes, by a clock that has not been set back unseen.
    pub(crate) async fn begin(&self) -> Result<Work, Fault> {
        loop {
            if let Some(work) = clock::look(self, self.begin_at_once().await?).await? {
                return Ok(work);
            }
        }
    }

    async fn begin_at_once(&self) -> Result<Work, Fault> {
        Work::begin(self.client().await?, &self.time).await
    }

    /// Begins a transaction that reads: all its statements see one moment.
    pub(crate) async fn look(&self) -> Result<Work, Fault> {
        Work::look(self.client().await?, &self.time).await
    }

    /// Begins a transaction that reads whole stretches of tables.
    pub(crate) async fn sweep(&self) -> Result<Work, Fault> {
        Work::sweep(self.client().await?, &self.time).await
    }

    /// The moment that a clock of tests tells; `None` if the server's counts.
    pub(crate) fn told_now(&self) -> Option<i64> {
        match &self.time {
            Time::Database => None,
            Time::Told(clock) => Some(clock.now().as_millisecond()),
        }
    }

    /// Asks one question in a transaction of its own.
    pub(crate) async fn query(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Fault> {
        work::query(&self.client().await?, sql, values).await
    }

    /// The moment that a verb goes by, if it is this one by the server's clock.
    pub(crate) fn moment(&self, told: i64) -> i64 {
        match &self.time {
            Time::Database => told,
            Time::Told(clock) => clock.now().as_millisecond(),
        }
    }

    /// Refuses to write a directory that another node feeds by now. The duty stays with its holder until the transaction ends.
    pub(crate) async fn check_fence(&self, work: &Work, directory: &str) -> Result<(), Fault> {
        let holder = self.fences.read().unwrap_or_else(PoisonError::into_inner).get(directory).cloned();
        let Some(holder) = holder else { return Ok(()) };
        let sql = "SELECT 1 FROM duty WHERE name = $1 AND holder = $2 FOR SHARE";
        if work.query(sql, &[&directory_duty(directory), &holder]).await?.is_empty() {
            return Err(StoreError::Fenced(directory.to_owned()).into());
        }
        Ok(())
    }

    /// Commits. After this it is on disk, and whoever waits for work hears of it.
    pub(crate) async fn finish(&self, work: Work) -> Result<(), Fault> {
        let (now, accepts, due) = (work.now_ms(), work.accepts, work.due);
        let arrived = work.commit().await?;
        if accepts {
            self.watch.accepted(now);
        }
        // A verb that has something arrive and does not say when it is due: anything may be.
        let due = due.or((!arrived.is_empty()).then_some(i64::MIN));
        let Some(due) = due else { return Ok(()) };
        self.front.due(due);
        if !arrived.is_empty() {
            self.arrivals.send_modify(|arrivals| arrivals.count(arrived));
            self.bell.pull(arrived, due);
        }
        Ok(())
    }

    /// The letter that was packed after a pattern.
    pub(crate) async fn unpack(&self, client: &Object, packed: &[u8], pattern: i32) -> Result<Vec<u8>, Fault> {
        /// Why it is not unpacked yet.
        enum Not {
            Known,
            Whole(StoreError),
        }
        impl From<StoreError> for Not {
            fn from(error: StoreError) -> Self {
                Self::Whole(error)
            }
        }
        match self.patterns.unpack(packed, pattern.into(), || Err(Not::Known)) {
            Ok(letter) => return Ok(letter),
            Err(Not::Whole(error)) => return Err(error.into()),
            Err(Not::Known) => {}
        }
        let found = work::query(client, "SELECT text FROM pattern WHERE number = $1", &[&pattern]).await?;
        let text: Vec<u8> = found.first().ok_or_else(|| StoreError::Corrupt(format!("pattern {pattern} is not there")))?.get(0);
        Ok(self.patterns.unpack(packed, pattern.into(), || Ok::<_, StoreError>(text))?)
    }

    /// Runs a verb, and runs it again if it lost against another one or found no connection. `unsure` says whether it may be run again when nobody knows whether it was
    /// written: only if a second time changes nothing and answers the same.
    pub(crate) async fn again<T, F>(&self, unsure: Unsure, verb: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        self.again_within(self.patience, unsure, verb).await
    }

    /// How long a verb may take that writes so many items.
    pub(crate) fn patience_for(&self, items: usize) -> Duration {
        self.patience + EACH * u32::try_from(items).unwrap_or(u32::MAX).min(20_000)
    }

    /// The same for a verb that may take so long each time. One that takes longer is given up: the server may have been stopped, or a network swallow what is sent; whether
    /// it was written nobody knows then, as with every answer that does not come.
    pub(crate) async fn again_within<T, F>(&self, patience: Duration, unsure: Unsure, mut verb: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let (mut at_once, mut waits) = (0, WAITS.into_iter());
        loop {
            let fault = match timeout(patience, verb()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(fault)) => fault,
                Err(_) => {
                    // Whoever is silent here is silent on the other connections, too; new ones go to a host that answers.
                    self.pool.retain(|_, _| false);
                    return Err(StoreError::Unavailable(format!("it has not answered within {} s", patience.as_secs())));
                }
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
    accepting: Desk<Vec<accept::Ready>, Vec<Accepted>>,
    settling: Desk<settle::Ready, Vec<Settled>>,
    /// What goes on beside the verbs, and ends with the store.
    beside: Vec<AbortHandle>,
}

impl PostgresStore {
    /// Opens the database, bringing it up to date if need be. The database itself has to be there.
    ///
    /// # Errors
    /// As [`crate::open()`].
    pub async fn open(options: OpenOptions, tuning: PostgresTuning) -> Result<Arc<Self>, StoreError> {
        let OpenOptions { url, key, clock, .. } = options;
        let address = Arc::new(Address::parse(&url)?);
        let shown = address.shown.clone();
        let failed = |fault: Fault| StoreError::Open { path: shown.clone(), source: fault.into_store().to_string().into() };
        let pool = address.pool()?;
        let client = pool.get().await.map_err(|error| failed(error.into()))?;
        connect::migrate(&client, &shown).await?;
        connect::check_key(&client, &shown, &key).await?;
        connect::check_whole(&client, &shown).await?;
        let time = if tuning.told_time { Time::Told(clock) } else { Time::Database };
        let looking = Work::look(client, &time).await.map_err(failed)?;
        let watch = Watch::begin(&looking).await.map_err(failed)?;
        drop(looking);
        let arrivals = watch::Sender::new(Arrivals::default());
        let mut name = [0; 8];
        fill(&mut name)?;
        let front = Arc::new(Front::default());
        let bell = Bell::of(String::from_utf8_lossy(&hex(&name)).into_owned());
        let base = Arc::new_cyclic(|me| Base {
            pool: pool.clone(),
            patience: tuning.patience.unwrap_or(PATIENCE),
            time,
            key,
            patterns: Patterns::default(),
            words: Words::default(),
            watch,
            front: Arc::clone(&front),
            doubts: Doubts::default(),
            rhythm: nodes::Rhythm::default(),
            health: Health::default(),
            fences: RwLock::default(),
            bell: Arc::clone(&bell),
            arrivals: arrivals.clone(),
            me: me.clone(),
        });
        caretaker::round(&base).await;
        let accepting = Arc::clone(&base);
        let accepting = Desk::open(
            GROUPS,
            |batch: &Vec<accept::Ready>| accept::bytes(batch),
            move |group| Box::pin(accept::group(Arc::clone(&accepting), group)),
        );
        let settling = Arc::clone(&base);
        let settling = Desk::open(GROUPS, settle::bytes, move |group| Box::pin(settle::group(Arc::clone(&settling), group)));
        let beside = vec![
            tokio::spawn(Arc::clone(&bell).ring(pool)).abort_handle(),
            tokio::spawn(bell.listen(address, front, arrivals)).abort_handle(),
            tokio::spawn(scout::serve(Arc::downgrade(&base))).abort_handle(),
            tokio::spawn(caretaker::serve(Arc::downgrade(&base))).abort_handle(),
        ];
        tracing::info!(store.url = %shown.display(), "the database is open");
        Ok(Arc::new(Self { base, accepting, settling, beside }))
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        for task in &self.beside {
            task.abort();
        }
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn accept(&self, batch: Vec<Acceptance>) -> Result<Vec<Accepted>, StoreError> {
        let batch = accept::ready(&self.base, batch).await?;
        self.accepting.ask(batch).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Lease>, StoreError> {
        // What the commit that was not answered has claimed is put back by the next try.
        self.base.again(Unsure::Again, || claim::claim(&self.base, &claim)).await
    }

    async fn extend(&self, node: &str, leases: &[(Id, i64)], lease: Duration) -> Result<Vec<Id>, StoreError> {
        self.base.again(Unsure::Again, || claim::extend(&self.base, node, leases, lease)).await
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, StoreError> {
        let ready = settle::ready(&self.base, settlements).await?;
        self.settling.ask(ready).await
    }

    async fn recover(&self, node: &str) -> Result<u64, StoreError> {
        self.base.again(Unsure::Refuse, || claim::recover(&self.base, node)).await
    }

    async fn expire(&self, limit: u32) -> Result<u64, StoreError> {
        self.base.again(Unsure::Refuse, || settle::expire(&self.base, limit)).await
    }

    async fn items(&self, filter: Filter, before: Option<Id>, limit: u16) -> Result<Page<ItemRow>, StoreError> {
        self.base.again(Unsure::Again, || read::items(&self.base, &filter, before, limit)).await
    }

    async fn item(&self, id: Id) -> Result<Option<ItemDetail>, StoreError> {
        self.base.again(Unsure::Again, || read::item(&self.base, id)).await
    }

    async fn letter(&self, item: Id) -> Result<Option<Vec<u8>>, StoreError> {
        self.base.again(Unsure::Again, || read::letter(&self.base, item)).await
    }

    /// In steps of a few thousand items, each a transaction; items that come later than the call are left alone. Should a step fail, those before it stay done,
    /// and doing it again does the rest.
    async fn act(&self, action: Action, filter: Filter, by: &str) -> Result<Acted, StoreError> {
        let last = match filter.id {
            Some(id) => id.number(),
            None => self.names().await?.0.map_or(0, Id::number),
        };
        let mut acted = Acted { changed: 0, skipped: 0 };
        let (mut after, patience) = (i64::MIN, self.base.patience_for(act::STEP as usize));
        loop {
            let step = self.base.again_within(patience, Unsure::Refuse, || act::act(&self.base, action, &filter, by, after, last)).await?;
            acted.changed += step.acted.changed;
            acted.skipped += step.acted.skipped;
            match step.next {
                Some(next) => after = next,
                None => return Ok(acted),
            }
        }
    }

    async fn postpone(&self, items: Vec<Id>, due_at: Timestamp) -> Result<u64, StoreError> {
        let patience = self.base.patience_for(act::STEP as usize);
        let mut moved = 0;
        for step in items.chunks(act::STEP as usize) {
            moved += self.base.again_within(patience, Unsure::Again, || act::postpone(&self.base, step, due_at)).await?;
        }
        Ok(moved)
    }

    async fn withhold(&self, items: Vec<Id>, why: &str) -> Result<u64, StoreError> {
        let patience = self.base.patience_for(act::STEP as usize);
        let mut held = 0;
        for step in items.chunks(act::STEP as usize) {
            held += self.base.again_within(patience, Unsure::Refuse, || act::withhold(&self.base, step, why)).await?;
        }
        Ok(held)
    }

    async fn event(&self, id: Id) -> Result<Option<EventRecord>, StoreError> {
        self.base.again(Unsure::Again, || read::event(&self.base, id)).await
    }

    async fn events(&self, span: EventSpan, after: Option<Id>, limit: u16) -> Result<Vec<EventRecord>, StoreError> {
        self.base.again(Unsure::Again, || read::events(&self.base, &span, after, limit)).await
    }

    async fn depths(&self) -> Result<Vec<Depth>, StoreError> {
        self.base.again(Unsure::Again, || read::depths(&self.base)).await
    }

    async fn relays(&self) -> Result<Vec<RelayStanding>, StoreError> {
        self.base.again(Unsure::Again, || relays::all(&self.base)).await
    }

    async fn pause_relay(&self, name: &str, paused: bool, by: &str) -> Result<(), StoreError> {
        self.base.again(Unsure::Again, || relays::pause(&self.base, name, paused, by)).await
    }

    async fn report_relay(&self, name: &str, report: RelayReport) -> Result<(), StoreError> {
        self.base.again(Unsure::Again, || relays::report(&self.base, name, &report)).await
    }

    async fn slate(&self, name: &str) -> Result<Slate, StoreError> {
        self.base.again(Unsure::Again, || slate::read(&self.base, name)).await
    }

    async fn write_slate(&self, name: &str, expected: i64, text: &str) -> Result<SlateWritten, StoreError> {
        self.base.again(Unsure::Again, || slate::write(&self.base, name, expected, text)).await
    }

    async fn forget_slates(&self, from: &str, below: &str) -> Result<u64, StoreError> {
        self.base.again(Unsure::Again, || slate::forget(&self.base, from, below)).await
    }

    async fn event_named(&self, source: &str, event_id: &str) -> Result<Option<Id>, StoreError> {
        self.base.again(Unsure::Again, || read::event_named(&self.base, source, event_id)).await
    }

    /// The moment is the database's, as everywhere here; the caller's own clock is not asked.
    async fn rule_hour(&self, rule: &str, _now: Timestamp) -> Result<(u64, Option<Id>), StoreError> {
        self.base.again(Unsure::Again, || guard::rule_hour(&self.base, rule)).await
    }

    async fn fan_outs(&self, event: Option<Id>, limit: u16) -> Result<Vec<FanOutRow>, StoreError> {
        self.base.again(Unsure::Again, || fanout::list(&self.base, event, limit)).await
    }

    async fn fan_on(&self, step: FanOutStep) -> Result<Option<u64>, StoreError> {
        let step = fanout::ready(&self.base, step).await?;
        // A chunk is written for a thousand people.
        self.base.again_within(self.base.patience_for(1000), Unsure::Refuse, || fanout::step(&self.base, &step)).await
    }

    async fn keep_people(&self, fan_out: Id, steps: u64, plan: Vec<u8>, parts: Vec<Vec<u8>>) -> Result<bool, StoreError> {
        self.base.again(Unsure::Refuse, || fanout::keep_people(&self.base, fan_out, steps, &plan, &parts)).await
    }

    async fn batches(&self, state: Option<BatchState>, unalerted: bool, limit: u16) -> Result<Vec<BatchRow>, StoreError> {
        self.base.again(Unsure::Again, || guard::batches(&self.base, state, unalerted, limit)).await
    }

    async fn batch(&self, id: Id) -> Result<Option<BatchRow>, StoreError> {
        self.base.again(Unsure::Again, || guard::batch(&self.base, id)).await
    }

    async fn batch_alerted(&self, id: Id) -> Result<(), StoreError> {
        self.base.again(Unsure::Again, || guard::alerted(&self.base, id)).await
    }

    async fn batch_items(&self, id: Id, after: Option<(i64, i64)>, limit: u16) -> Result<Vec<BatchItem>, StoreError> {
        self.base.again(Unsure::Again, || guard::items(&self.base, id, after, limit)).await
    }

    /// In steps, as [`Store::act`].
    async fn end_batch(&self, id: Id, end: BatchState, by: &str) -> Result<Option<Acted>, StoreError> {
        let mut acted = Acted { changed: 0, skipped: 0 };
        let patience = self.base.patience_for(act::STEP as usize);
        loop {
            let Some(step) = self.base.again_within(patience, Unsure::Refuse, || ending::end(&self.base, id, end, by)).await? else {
                return Ok(None);
            };
            acted.changed += step.acted.changed;
            acted.skipped += step.acted.skipped;
            if !step.more {
                return Ok(Some(acted));
            }
        }
    }

    async fn digest(&self, batch: Id, digests: Vec<Digest>, by: &str) -> Result<Vec<Option<Accepted>>, StoreError> {
        let (acceptances, items): (Vec<_>, Vec<_>) = digests.into_iter().map(|digest| (digest.acceptance, digest.items)).unzip();
        let digests: Vec<_> = accept::ready(&self.base, acceptances).await?.into_iter().zip(items).collect();
        let patience = self.base.patience_for(digests.iter().map(|(_, items)| items.len()).sum());
        self.base.again_within(patience, Unsure::Refuse, || ending::digest(&self.base, batch, &digests, by)).await
    }

    async fn broken_off(&self, limit: u16) -> Result<Vec<BatchRow>, StoreError> {
        self.base.again(Unsure::Again, || ending::broken_off(&self.base, limit)).await
    }

    async fn add_token(&self, token: TokenRecord) -> Result<(), StoreError> {
        self.base.again(Unsure::Again, || tokens::add(&self.base, &token)).await
    }

    async fn find_token(&self, digest: [u8; 32]) -> Result<Option<TokenRecord>, StoreError> {
        self.base.again(Unsure::Again, || tokens::find(&self.base, digest)).await
    }

    async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        self.base.again(Unsure::Again, || tokens::all(&self.base)).await
    }

    async fn names(&self) -> Result<(Option<Id>, String), StoreError> {
        self.base.again(Unsure::Again, || read::names(&self.base)).await
    }

    fn arrivals(&self) -> watch::Receiver<Arrivals> {
        self.base.arrivals.subscribe()
    }

    /// Writes a mark and waits until it is on disk: the same way that every verb goes.
    async fn ready(&self) -> Result<(), StoreError> {
        let mark = || async {
            let work = self.base.begin().await?;
            let sql = "INSERT INTO meta (name, value) VALUES ('ready_at', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
            work.execute(sql, &[&work.now_ms().to_string().as_bytes()]).await?;
            self.base.finish(work).await
        };
        self.base.again(Unsure::Refuse, mark).await
    }
}

#[async_trait]
impl Nodes for PostgresStore {
    async fn join(&self, node: NewNode) -> Result<Membership, StoreError> {
        self.base.again(Unsure::Refuse, || nodes::join(&self.base, &node)).await
    }

    async fn beat(&self, membership: &Membership, offers: &[String]) -> Result<Option<Pulse>, StoreError> {
        // In time for a second try before the lease ends.
        let patience = membership.lease.map_or(PATIENCE, |lease| lease / 2).min(self.base.patience);
        self.base.again_within(patience, Unsure::Again, || nodes::beat(&self.base, membership, offers)).await
    }

    async fn give_up(&self, membership: &Membership, duties: &[String]) -> Result<(), StoreError> {
        self.base.again(Unsure::Again, || nodes::give_up(&self.base, membership, duties)).await
    }

    async fn leave(&self, membership: &Membership) -> Result<u64, StoreError> {
        self.base.again(Unsure::Again, || nodes::leave(&self.base, membership)).await
    }

    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        self.base.again(Unsure::Again, || nodes::nodes(&self.base)).await
    }
}
