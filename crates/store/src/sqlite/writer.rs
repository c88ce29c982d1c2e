//! The one writer: a thread that takes whatever verbs have queued up into one transaction, commits once, and answers all.
//!
//! One that fails does not spoil its neighbours: then the group is rolled back and run again with a savepoint around each verb. Not from the start, because
//! SQLite copies every page that a savepoint touches first, and verbs hardly ever fail. If the commit itself fails (or SQLite has rolled the whole transaction
//! back, as it may when the disk is full), nothing of the group is on disk: intake is told so, everything else is tried once more alone, because a settlement
//! is small and may still find room.

use crate::{
    error::StoreError,
    pack::Patterns,
    seal::SealKey,
    sqlite::{
        clock::{self, Watch},
        fault::{Fault, repeat},
        space::Space,
        spans::Spans,
        words::Words,
        work::Work,
    },
    store::Arrivals,
};
use rusqlite::Connection;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use tidings_core::{Clock, lane::LaneSet};
use tokio::sync::{
    mpsc::{self, error::TryRecvError},
    oneshot, watch,
};

/// Verbs that may stand in the queue; beyond it callers wait.
const QUEUE: usize = 1024;
/// A group is closed at this many verbs …
const GROUP_VERBS: usize = 1024;
/// … or at about this much to write, in bytes (a row without a body counts for a few hundred).
const GROUP_BYTES: usize = 8 << 20;

/// After a group of so many verbs the next ones will not be long in coming …
const MANY: usize = 4;
/// … and so often they are looked for, for so long, until there are enough: a commit costs as much as a dozen verbs, and a caller that shares one waits for
/// its end anyhow. On a disk that is slow they have gathered meanwhile, and nothing is waited for.
const GATHERING: (u32, Duration) = (4, Duration::from_micros(250));
const ENOUGH: usize = 24;

/// Whether a verb brings new work in, or moves on what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Refused first when the disk is full.
    In,
    /// Tried once more, alone, when its group could not be committed.
    On,
}

/// A verb in the queue.
trait Verb: Send {
    fn run(&mut self, work: &mut Work<'_>) -> Result<(), Fault>;
    fn fail(&mut self, error: StoreError);
    fn answer(self: Box<Self>);
    fn way(&self) -> Way;
    fn bytes(&self) -> usize;
}

struct Asked<T, F> {
    verb: F,
    way: Way,
    bytes: usize,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, F: FnMut(&mut Work<'_>) -> Result<T, Fault> + Send> Verb for Asked<T, F> {
    fn run(&mut self, work: &mut Work<'_>) -> Result<(), Fault> {
        self.outcome = Some(Ok((self.verb)(work)?));
        Ok(())
    }

    fn fail(&mut self, error: StoreError) {
        self.outcome = Some(Err(error));
    }

    fn answer(self: Box<Self>) {
        let outcome = self.outcome.unwrap_or_else(|| Err(StoreError::Unavailable("the verb was not run".to_owned())));
        // A caller that has gone away does not wait for its answer; the work stays done.
        let _ = self.reply.send(outcome);
    }

    fn way(&self) -> Way {
        self.way
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What the writer needs beside its connection.
pub(crate) struct Supplies {
    pub(crate) key: SealKey,
    pub(crate) patterns: Arc<Patterns>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) space: Arc<Space>,
    pub(crate) arrivals: watch::Sender<Arrivals>,
    /// Stands for a slow disk in tests: waited for before each commit.
    pub(crate) flush_delay: Duration,
    /// See [`Spans::of`].
    pub(crate) span_items: Option<u32>,
}

/// The handle of the writer's thread.
pub(crate) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Verb>>>,
    thread: Option<JoinHandle<()>>,
    commits: Arc<AtomicU64>,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(db: Connection, supplies: Supplies) -> Result<Self, StoreError> {
        let (queue, verbs) = mpsc::channel(QUEUE);
        let commits = Arc::new(AtomicU64::new(0));
        let spans = Spans::of(supplies.span_items);
        let desk = Desk { db, supplies, words: Words::default(), spans, watch: Watch::default(), commits: commits.clone() };
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || desk.serve(verbs))
            .map_err(|error| StoreError::Unavailable(format!("no thread for the writer: {error}")))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), commits })
    }

    /// How many transactions have been committed to disk.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Has a verb run and waits until its group is on disk. `verb` may be run a second time after a rollback.
    pub(crate) async fn ask<T, F>(&self, way: Way, bytes: usize, verb: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Work<'_>) -> Result<T, Fault> + Send + 'static,
    {
        let gone = || StoreError::Unavailable("the writer has stopped".to_owned());
        let (reply, answer) = oneshot::channel();
        let asked: Box<dyn Verb> = Box::new(Asked { verb, way, bytes, outcome: None, reply });
        self.queue.as_ref().ok_or_else(gone)?.send(asked).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Drop for Writer {
    /// What is queued is still written; then the connection is closed.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the writer of the outbox ended by a panic");
        }
    }
}

/// The thread's own state.
struct Desk {
    db: Connection,
    supplies: Supplies,
    words: Words,
    spans: Spans,
    watch: Watch,
    commits: Arc<AtomicU64>,
}

impl Desk {
    fn serve(mut self, mut verbs: mpsc::Receiver<Box<dyn Verb>>) {
        let mut group: Vec<Box<dyn Verb>> = Vec::new();
        let mut busy = false;
        while let Some(first) = self.next(&mut verbs) {
            if busy && first.way() == Way::In {
                gather(&verbs);
            }
            let mut bytes = first.bytes();
            group.push(first);
            while group.len() < GROUP_VERBS && bytes < GROUP_BYTES {
                let Ok(next) = verbs.try_recv() else { break };
                bytes += next.bytes();
                group.push(next);
            }
            busy = group.len() >= MANY;
            self.look_at_clock();
            self.write(&mut group);
            for verb in group.drain(..) {
                verb.answer();
            }
        }
    }

    /// The next verb. Nobody waits for the mending of a step of the clock: it goes on while nobody asks for anything, and by a step before each group.
    fn next(&mut self, verbs: &mut mpsc::Receiver<Box<dyn Verb>>) -> Option<Box<dyn Verb>> {
        while let Some(mend) = self.watch.due() {
            match verbs.try_recv() {
                Ok(verb) => return Some(verb),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) if self.mend(mend) => {}
                // It could not be written: again with the next group.
                Err(TryRecvError::Empty) => break,
            }
        }
        verbs.blocking_recv()
    }

    /// Before a group is written, so that what it claims is due by the clock as it is now.
    fn look_at_clock(&mut self) {
        if let Err(fault) = self.watch.look(&self.db, self.supplies.clock.now()) {
            let error = fault.into_store(&self.supplies.space);
            tracing::warn!(%error, "it could not be found out whether the clock was set back");
        }
        if let Some(mend) = self.watch.due() {
            self.mend(mend);
        }
    }

    /// A step of mending, in a transaction of its own. Tells whether it is on disk.
    fn mend(&mut self, mend: clock::Mend) -> bool {
        let (reply, mut answer) = oneshot::channel();
        let step = move |work: &mut Work<'_>| clock::step(work, mend);
        let mut group: [Box<dyn Verb>; 1] = [Box::new(Asked { verb: step, way: Way::On, bytes: 0, outcome: None, reply })];
        self.write(&mut group);
        for step in group {
            step.answer();
        }
        match answer.try_recv() {
            Ok(Ok(step)) => {
                self.watch.done(&step);
                true
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "items accepted while the clock was ahead still wait");
                false
            }
            Err(_) => false,
        }
    }

    fn write(&mut self, group: &mut [Box<dyn Verb>]) {
        let mut done = self.commit(group, Care::Shared);
        if let Err(Trouble::Verb(fault)) = done {
            if let [alone] = group {
                return alone.fail(fault.into_store(&self.supplies.space));
            }
            done = self.commit(group, Care::Apart);
        }
        let Err(trouble) = done else { return };
        let error = trouble.fault().into_store(&self.supplies.space);
        let full = matches!(error, StoreError::Full { .. });
        tracing::warn!(store.verbs = group.len(), %error, "a group of verbs could not be written");
        let alone = group.len() == 1;
        for verb in group.iter_mut() {
            if !full || alone || verb.way() == Way::In {
                verb.fail(repeat(&error));
            } else if let Err(trouble) = self.commit(std::slice::from_mut(verb), Care::Shared) {
                verb.fail(trouble.fault().into_store(&self.supplies.space));
            }
        }
    }

    /// One transaction for the whole group. An error means that nothing of it is on disk.
    fn commit(&mut self, group: &mut [Box<dyn Verb>], care: Care) -> Result<(), Trouble> {
        self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let before = self.db.total_changes();
        let done = self.run(group, care).and_then(|arrived| {
            let changed = self.db.total_changes() != before;
            if changed && !self.supplies.flush_delay.is_zero() {
                std::thread::sleep(self.supplies.flush_delay);
            }
            self.db.prepare_cached("COMMIT")?.execute([])?;
            Ok((arrived, changed))
        });
        match done {
            Ok((arrived, changed)) => {
                self.commits.fetch_add(u64::from(changed), Ordering::Relaxed);
                if !arrived.is_empty() {
                    self.supplies.arrivals.send_modify(|arrivals| arrivals.count(arrived));
                }
                Ok(())
            }
            Err(trouble) => {
                self.words.forget();
                if !self.db.is_autocommit()
                    && let Err(error) = self.db.execute_batch("ROLLBACK")
                {
                    tracing::error!(%error, "a failed transaction could not be rolled back");
                }
                Err(trouble)
            }
        }
    }

    /// Runs the verbs. Gives the lanes in which something may be due now.
    fn run(&mut self, group: &mut [Box<dyn Verb>], care: Care) -> Result<LaneSet, Trouble> {
        let mut arrived = LaneSet::NONE;
        for verb in group.iter_mut() {
            if care == Care::Apart {
                self.db.prepare_cached("SAVEPOINT verb")?.execute([])?;
            }
            let now = self.supplies.clock.now();
            let Supplies { key, patterns, .. } = &self.supplies;
            let mut work =
                Work { db: &self.db, words: &mut self.words, spans: &mut self.spans, patterns, key, now, arrived: LaneSet::NONE };
            match verb.run(&mut work) {
                Ok(()) => {
                    arrived = arrived.or(work.arrived);
                    if verb.way() == Way::In {
                        self.watch.accepted(now);
                    }
                }
                Err(fault) if self.db.is_autocommit() => return Err(Trouble::Group(fault)),
                Err(fault) if care == Care::Shared => return Err(Trouble::Verb(fault)),
                Err(fault) => {
                    self.words.forget();
                    self.db.prepare_cached("ROLLBACK TO verb")?.execute([])?;
                    verb.fail(fault.into_store(&self.supplies.space));
                }
            }
            if care == Care::Apart {
                self.db.prepare_cached("RELEASE verb")?.execute([])?;
            }
        }
        Ok(arrived)
    }
}

/// Waits a little for more verbs.
fn gather(verbs: &mpsc::Receiver<Box<dyn Verb>>) {
    for _ in 0..GATHERING.0 {
        if verbs.len() >= ENOUGH {
            return;
        }
        std::thread::sleep(GATHERING.1);
    }
}

/// Whether a verb's failure is to be its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Care {
    /// One failure rolls the group back.
    Shared,
    /// Each verb in a savepoint.
    Apart,
}

/// Why a group was not committed.
enum Trouble {
    /// One verb failed, the transaction as such did not.
    Verb(Fault),
    /// The transaction failed.
    Group(Fault),
}

impl Trouble {
    fn fault(self) -> Fault {
        match self {
            Self::Verb(fault) | Self::Group(fault) => fault,
        }
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Group(error.into())
    }
}
