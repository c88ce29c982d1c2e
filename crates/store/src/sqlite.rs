//! The house's database on SQLite: one writer with group commit, readers beside it, a write-ahead log flushed at every commit.

mod accept;
mod act;
mod bounces;
mod claim;
pub(crate) mod clock;
pub(crate) mod connect;
mod ending;
mod fanout;
mod fault;
mod filter;
mod guard;
mod mirror;
mod nodes;
mod read;
mod reader;
mod relays;
mod settle;
mod slate;
mod space;
pub(crate) mod spans;
mod tokens;
pub(crate) mod trace;
mod words;
mod work;
mod writer;

pub use space::FreeSpace;
pub(crate) use work::recipient_hash;

use crate::{
    error::StoreError,
    flood::{BatchItem, BatchRow, BatchState, Digest, FanOutRow, FanOutStep},
    health::Health,
    nodes::{Membership, NewNode, NodeRow, Nodes, Pulse},
    open::{OpenOptions, database_path},
    pack::Patterns,
    seal::SealKey,
    slate::{Slate, SlateWritten},
    store::{
        Acceptance, Accepted, Acted, Action, Arrivals, Claim, Depth, EventRecord, EventSpan, Filter, ItemDetail, ItemRow, Lease, Page,
        RelayReport, RelayStanding, Settled, Store, TokenRecord,
    },
};
use async_trait::async_trait;
use reader::Readers;
use space::Space;
use std::{path::Path, sync::Arc, time::Duration};
use tidings_core::{Clock, Id, Timestamp, outbox::Settlement};
use tokio::sync::watch;
use writer::{Supplies, Way, Writer};

/// How many connections read.
const READERS: usize = 2;
/// How many connections compare directories with their mirror: a long comparison must not hold up who looks something up.
const COMPARERS: usize = 1;

/// About what an item costs to move, in bytes of a group.
const ITEM_BYTES: usize = 400;

/// What tests change: a disk that is full, slow or small. The default is the real disk.
#[derive(Clone, Default)]
pub struct Tuning {
    /// Asked for the free space in place of the file system.
    pub free_space: Option<FreeSpace>,
    /// Waited for before each commit, as a disk with slow flushes would have it.
    pub flush_delay: Duration,
    /// Items that share a span of the index of recipients, in place of some ten thousand.
    pub span_items: Option<u32>,
    /// The largest size of the database in pages; beyond it SQLite says that the disk is full.
    pub page_limit: Option<u32>,
}

/// The house's database in an SQLite file.
pub struct SqliteStore {
    // Readers first: the connection closed last, the writer's, folds the log back into the file.
    readers: Readers,
    comparer: Readers,
    writer: Writer,
    key: SealKey,
    patterns: Arc<Patterns>,
    space: Arc<Space>,
    clock: Arc<dyn Clock>,
    health: Health,
    arrivals: watch::Sender<Arrivals>,
}

impl SqliteStore {
    /// Opens the database, making it or bringing it up to date if need be.
    ///
    /// # Errors
    /// As [`crate::open()`].
    pub async fn open(options: OpenOptions, tuning: Tuning) -> Result<Arc<Self>, StoreError> {
        let opened = tokio::task::spawn_blocking(move || Self::open_now(options, tuning)).await;
        opened.map_err(|error| StoreError::Unavailable(format!("opening was broken off: {error}")))?.map(Arc::new)
    }

    fn open_now(options: OpenOptions, tuning: Tuning) -> Result<Self, StoreError> {
        let OpenOptions { url, data_dir, key, clock, min_free_bytes } = options;
        let path = database_path(&url, &data_dir)?;
        let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        let space = Arc::new(Space::watch(folder, min_free_bytes, tuning.free_space));
        let writing = connect::writer(&path, &key, tuning.page_limit)?;
        let reading = |count| (0..count).map(|_| connect::reader(&path)).collect::<Result<Vec<_>, _>>();
        let arrivals = watch::Sender::new(Arrivals::default());
        let patterns = Arc::new(Patterns::default());
        let supplies = Supplies {
            key: key.clone(),
            patterns: patterns.clone(),
            clock: clock.clone(),
            space: space.clone(),
            arrivals: arrivals.clone(),
            flush_delay: tuning.flush_delay,
            span_items: tuning.span_items,
        };
        let readers = Readers::start(reading(READERS)?, space.clone())?;
        let comparer = Readers::start(reading(COMPARERS)?, space.clone())?;
        let writer = Writer::start(writing, supplies)?;
        tracing::info!(store.path = %path.display(), "the database is open");
        let health = Health::default();
        Ok(Self { readers, comparer, writer, key, patterns, space, clock, health, arrivals })
    }

    /// How many transactions have been committed to disk since opening.
    pub fn commits(&self) -> u64 {
        self.writer.commits()
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn accept(&self, batch: Vec<Acceptance>) -> Result<Vec<Accepted>, StoreError> {
        self.space.check()?;
        let batch = accept::ready(batch, &self.key, &self.patterns)?;
        let bytes = accept::bytes(&batch);
        self.writer.ask(Way::In, bytes, move |work| accept::accept(work, &batch)).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Lease>, StoreError> {
        let bytes = usize::from(claim.limit) * ITEM_BYTES;
        self.writer.ask(Way::On, bytes, move |work| claim::claim(work, &claim)).await
    }

    async fn extend(&self, node: &str, leases: &[(Id, i64)], lease: Duration) -> Result<Vec<Id>, StoreError> {
        let (node, leases) = (node.to_owned(), leases.to_vec());
        self.writer.ask(Way::On, leases.len() * ITEM_BYTES, move |work| claim::extend(work, &node, &leases, lease)).await
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, StoreError> {
        self.writer.ask(Way::On, settlements.len() * ITEM_BYTES, move |work| settle::settle(work, &settlements)).await
    }

    async fn recover(&self, node: &str) -> Result<u64, StoreError> {
        let node = node.to_owned();
        self.writer.ask(Way::On, ITEM_BYTES, move |work| claim::recover(work, &node)).await
    }

    async fn expire(&self, limit: u32) -> Result<u64, StoreError> {
        self.writer.ask(Way::On, ITEM_BYTES, move |work| settle::expire(work, limit)).await
    }

    async fn items(&self, filter: Filter, before: Option<Id>, limit: u16) -> Result<Page<ItemRow>, StoreError> {
        self.readers.ask(move |db| read::items(db, &filter, before, limit)).await
    }

    async fn item(&self, id: Id) -> Result<Option<ItemDetail>, StoreError> {
        self.readers.ask(move |db| read::item(db, id)).await
    }

    async fn letter(&self, item: Id) -> Result<Option<Vec<u8>>, StoreError> {
        let patterns = self.patterns.clone();
        self.readers.ask(move |db| read::letter(db, &patterns, item)).await
    }

    /// In steps of a few thousand items, each a transaction; items that come later than the call are left alone. Should a step fail, those before it stay done,
    /// and doing it again does the rest.
    async fn act(&self, action: Action, filter: Filter, by: &str) -> Result<Acted, StoreError> {
        let last = match filter.id {
            Some(id) => id.number(),
            None => self.readers.ask(read::names).await?.0.map_or(0, Id::number),
        };
        let mut acted = Acted { changed: 0, skipped: 0 };
        let mut after = i64::MIN;
        loop {
            let (filter, by) = (filter.clone(), by.to_owned());
            let step = self.writer.ask(Way::On, ITEM_BYTES, move |work| act::act(work, action, &filter, &by, after, last)).await?;
            acted.changed += step.acted.changed;
            acted.skipped += step.acted.skipped;
            match step.next {
                Some(next) => after = next,
                None => return Ok(acted),
            }
        }
    }

    async fn event(&self, id: Id) -> Result<Option<EventRecord>, StoreError> {
        let patterns = self.patterns.clone();
        self.readers.ask(move |db| read::event(db, &patterns, id)).await
    }

    async fn postpone(&self, items: Vec<Id>, due_at: Timestamp) -> Result<u64, StoreError> {
        let mut moved = 0;
        for step in items.chunks(act::STEP as usize).map(<[Id]>::to_vec) {
            moved += self.writer.ask(Way::On, step.len() * ITEM_BYTES, move |work| act::postpone(work, &step, due_at)).await?;
        }
        Ok(moved)
    }

    async fn withhold(&self, items: Vec<Id>, why: &str) -> Result<u64, StoreError> {
        let mut held = 0;
        for step in items.chunks(act::STEP as usize).map(<[Id]>::to_vec) {
            let why = why.to_owned();
            held += self.writer.ask(Way::On, step.len() * ITEM_BYTES, move |work| act::withhold(work, &step, &why)).await?;
        }
        Ok(held)
    }

    async fn events(&self, span: EventSpan, after: Option<Id>, limit: u16) -> Result<Vec<EventRecord>, StoreError> {
        let patterns = Arc::clone(&self.patterns);
        self.readers.ask(move |db| read::events(db, &patterns, &span, after, limit)).await
    }

    async fn depths(&self) -> Result<Vec<Depth>, StoreError> {
        self.readers.ask(read::depths).await
    }

    async fn relays(&self) -> Result<Vec<RelayStanding>, StoreError> {
        self.readers.ask(relays::all).await
    }

    async fn pause_relay(&self, name: &str, paused: bool, by: &str) -> Result<(), StoreError> {
        let (name, by) = (name.to_owned(), by.to_owned());
        self.writer.ask(Way::On, ITEM_BYTES, move |work| relays::pause(work, &name, paused, &by)).await
    }

    async fn report_relay(&self, name: &str, report: RelayReport) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.writer.ask(Way::On, ITEM_BYTES, move |work| relays::report(work, &name, &report)).await
    }

    async fn slate(&self, name: &str) -> Result<Slate, StoreError> {
        let (name, now) = (name.to_owned(), self.clock.now());
        self.readers.ask(move |db| slate::read(db, &name, now)).await
    }

    async fn write_slate(&self, name: &str, expected: i64, text: &str) -> Result<SlateWritten, StoreError> {
        let (name, text) = (name.to_owned(), text.to_owned());
        self.writer.ask(Way::On, ITEM_BYTES, move |work| slate::write(work, &name, expected, &text)).await
    }

    async fn forget_slates(&self, from: &str, below: &str) -> Result<u64, StoreError> {
        let (from, below) = (from.to_owned(), below.to_owned());
        self.writer.ask(Way::On, ITEM_BYTES, move |work| slate::forget(work, &from, &below)).await
    }

    async fn event_named(&self, source: &str, event_id: &str) -> Result<Option<Id>, StoreError> {
        let (source, event_id) = (source.to_owned(), event_id.to_owned());
        self.readers.ask(move |db| read::event_named(db, &source, &event_id)).await
    }

    async fn rule_hour(&self, rule: &str, now: Timestamp) -> Result<(u64, Option<Id>), StoreError> {
        let rule = rule.to_owned();
        self.readers.ask(move |db| guard::rule_hour(db, &rule, now.as_millisecond())).await
    }

    async fn fan_outs(&self, event: Option<Id>, limit: u16) -> Result<Vec<FanOutRow>, StoreError> {
        self.readers.ask(move |db| fanout::list(db, event, limit)).await
    }

    async fn fan_on(&self, mut step: FanOutStep) -> Result<Option<u64>, StoreError> {
        self.space.check()?;
        let moulds = accept::ready_letters(&mut step.letters, &self.key, &self.patterns)?;
        let bytes = step.letters.iter().map(|letter| letter.bytes.len() + ITEM_BYTES).sum();
        let step = fanout::ReadyStep(step, moulds);
        self.writer.ask(Way::In, bytes, move |work| fanout::step(work, &step)).await
    }

    async fn keep_people(&self, fan_out: Id, steps: u64, plan: Vec<u8>, parts: Vec<Vec<u8>>) -> Result<bool, StoreError> {
        let bytes = parts.iter().map(Vec::len).sum();
        self.writer.ask(Way::On, bytes, move |work| fanout::keep_people(work, fan_out, steps, &plan, &parts)).await
    }

    async fn batches(&self, state: Option<BatchState>, unalerted: bool, limit: u16) -> Result<Vec<BatchRow>, StoreError> {
        self.readers.ask(move |db| guard::batches(db, state, unalerted, limit)).await
    }

    async fn batch(&self, id: Id) -> Result<Option<BatchRow>, StoreError> {
        self.readers.ask(move |db| guard::batch(db, id)).await
    }

    async fn batch_alerted(&self, id: Id) -> Result<(), StoreError> {
        self.writer.ask(Way::On, ITEM_BYTES, move |work| guard::alerted(work, id)).await
    }

    async fn batch_items(&self, id: Id, after: Option<(i64, i64)>, limit: u16) -> Result<Vec<BatchItem>, StoreError> {
        let patterns = self.patterns.clone();
        self.readers.ask(move |db| guard::items(db, &patterns, id, after, limit)).await
    }

    /// In steps, as [`Store::act`].
    async fn end_batch(&self, id: Id, end: BatchState, by: &str) -> Result<Option<Acted>, StoreError> {
        let mut acted = Acted { changed: 0, skipped: 0 };
        loop {
            let by = by.to_owned();
            let Some(step) = self.writer.ask(Way::On, ITEM_BYTES, move |work| ending::end(work, id, end, &by)).await? else {
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
        self.space.check()?;
        let (acceptances, items): (Vec<_>, Vec<_>) = digests.into_iter().map(|digest| (digest.acceptance, digest.items)).unzip();
        let ready = accept::ready(acceptances, &self.key, &self.patterns)?;
        let bytes = accept::bytes(&ready) + items.iter().map(Vec::len).sum::<usize>() * ITEM_BYTES;
        let digests: Vec<_> = ready.into_iter().zip(items).collect();
        let by = by.to_owned();
        self.writer.ask(Way::In, bytes, move |work| ending::digest(work, batch, &digests, &by)).await
    }

    async fn broken_off(&self, limit: u16) -> Result<Vec<BatchRow>, StoreError> {
        self.readers.ask(move |db| ending::broken_off(db, limit)).await
    }

    async fn add_token(&self, token: TokenRecord) -> Result<(), StoreError> {
        self.writer.ask(Way::On, ITEM_BYTES, move |work| tokens::add(work, &token)).await
    }

    async fn find_token(&self, digest: [u8; 32]) -> Result<Option<TokenRecord>, StoreError> {
        self.readers.ask(move |db| tokens::find(db, digest)).await
    }

    async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        self.readers.ask(tokens::all).await
    }

    async fn names(&self) -> Result<(Option<Id>, String), StoreError> {
        self.readers.ask(read::names).await
    }

    fn arrivals(&self) -> watch::Receiver<Arrivals> {
        self.arrivals.subscribe()
    }

    /// Writes a mark and waits until it is on disk: the same way that every verb goes.
    async fn ready(&self) -> Result<(), StoreError> {
        let mark = |work: &mut work::Work<'_>| {
            let sql = "INSERT OR REPLACE INTO meta (name, value) VALUES ('ready_at', CAST(?1 AS BLOB))";
            work.db.prepare_cached(sql)?.execute([work.now_ms()])?;
            Ok(())
        };
        self.writer.ask(Way::On, ITEM_BYTES, mark).await
    }
}

#[async_trait]
impl Nodes for SqliteStore {
    async fn join(&self, node: NewNode) -> Result<Membership, StoreError> {
        self.writer.ask(Way::On, ITEM_BYTES, move |work| nodes::join(work, &node)).await
    }

    async fn beat(&self, membership: &Membership, offers: &[String]) -> Result<Option<Pulse>, StoreError> {
        let (membership, offers) = (membership.clone(), offers.to_vec());
        self.writer.ask(Way::On, ITEM_BYTES, move |work| nodes::beat(work, &membership, &offers)).await
    }

    /// Nobody else could take them: whoever does not want a duty any more does not offer it.
    async fn give_up(&self, _membership: &Membership, _duties: &[String]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn leave(&self, membership: &Membership) -> Result<u64, StoreError> {
        let membership = membership.clone();
        self.writer.ask(Way::On, ITEM_BYTES, move |work| nodes::leave(work, &membership)).await
    }

    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        let now = self.clock.now().as_millisecond();
        self.readers.ask(move |db| nodes::nodes(db, now)).await
    }
}
