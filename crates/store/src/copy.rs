//! Moving everything from one database to another, whatever kind each is of.
//!
//! What is read from one database becomes rows in neither one's words ([`value`], [`entities`]), which the other one writes; no SQL of one is in the other. Rows go in the order of their keys,
//! page by page, and each page is one transaction of the target that also notes how far the copy has come: a copy that was broken off goes on behind its last page. At the end both databases are
//! read from the beginning and hashed in the same form; only when every table's hash is the same on both sides is the note taken away, and with it what keeps others from opening the target.
//!
//! Meanwhile nobody writes to the source. Nothing of the source is ever changed.

mod base;
mod entities;
mod postgres;
mod sqlite;
mod value;

use crate::{
    error::StoreError,
    open::{COPY_NOTE, ServeLock, database_path, is_on_server, lock_exclusive, without_secrets},
    seal::{Place, SealKey, hex},
};
use base::Base;
use entities::ENTITIES;
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::mpsc;
use value::{Entity, PAGE_ROWS, Page, Row, Tally, Value};

/// Pages that are read ahead.
const AHEAD: usize = 2;

/// What a copy needs.
pub struct CopyOptions {
    /// The URL of the database that is copied, as [`crate::OpenOptions`] has it.
    pub from: String,
    /// The URL of the database that is filled. It has to be empty, or an unfinished copy of the same source.
    pub to: String,
    /// The folder that paths of SQLite files are relative to.
    pub data_dir: PathBuf,
    /// The key for sensitive letters, the same for both.
    pub key: SealKey,
    /// Rows of a page, if it is not to be the usual number: for tests.
    pub page_rows: Option<usize>,
}

/// What a copy is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyStage {
    /// Rows are written.
    Copying,
    /// Both databases are read and compared.
    Verifying,
}

/// How far a copy has come.
#[derive(Debug, Clone, Copy)]
pub struct CopyStep {
    /// What it is at.
    pub stage: CopyStage,
    /// The table.
    pub table: &'static str,
    /// Rows done in this stage; of both databases while they are compared.
    pub done: u64,
    /// Rows there are to do in this stage.
    pub total: u64,
}

/// A table that was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CopiedTable {
    /// Its name; what one database keeps in several tables stands under one.
    pub name: &'static str,
    /// Its rows.
    pub rows: u64,
    /// SHA-256 of its rows in order, in the form that is the same for both databases; hexadecimal.
    pub sha256: String,
}

/// A copy that is whole: read back, and found the same.
#[derive(Debug, Clone, Serialize)]
pub struct Copied {
    /// It went on where an earlier one was broken off.
    pub resumed: bool,
    /// All of its rows.
    pub rows: u64,
    /// Letters and secrets that are sealed and can be opened.
    pub sealed: u64,
    /// Those that the key does not open, in the source as little as in the copy: they are damaged.
    pub unreadable: u64,
    /// Every table.
    pub tables: Vec<CopiedTable>,
}

/// Why a database was not copied. The source is as it was; the target is not used by anybody until a copy comes to its end.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// One of the two cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is nothing to copy.
    #[error("there is no outbox in {0}")]
    NoSource(PathBuf),
    /// Both are one.
    #[error("{0} cannot be copied to itself")]
    Same(PathBuf),
    /// The target holds something.
    #[error("{path} is not empty (its table {table} has rows): a copy goes to a new database")]
    NotEmpty {
        /// The target.
        path: PathBuf,
        /// Where something is.
        table: &'static str,
    },
    /// The target is the unfinished copy of something else.
    #[error("{0} is the unfinished copy of another database: a copy goes to a new one")]
    OtherCopy(PathBuf),
    /// What was written is not what is in the source.
    #[error(
        "{path} is not the same as what it is a copy of: {table} has {copied} rows of {rows}, or other ones. The source was used since the copy began, or one of the two is damaged; \
         begin anew with a new database"
    )]
    Differs {
        /// The target.
        path: PathBuf,
        /// The first table that differs.
        table: &'static str,
        /// Its rows in the source.
        rows: u64,
        /// Its rows in the target.
        copied: u64,
    },
}

/// Hears how far a copy has come.
pub type CopyWatcher = Arc<dyn Fn(CopyStep) + Send + Sync>;

/// Copies everything, or goes on with a copy that was broken off, and compares.
///
/// No `tidings serve` works on either database meanwhile, and none can be started.
///
/// # Errors
/// See [`CopyError`]. The target of a copy that was broken off is an unfinished copy: [`StoreError::Unfinished`] is what everybody else hears of it.
pub async fn copy(options: CopyOptions, watcher: CopyWatcher) -> Result<Copied, CopyError> {
    let from = Location::of(&options.from, &options.data_dir)?;
    let to = Location::of(&options.to, &options.data_dir)?;
    if from.shown == to.shown || options.from == options.to {
        return Err(CopyError::Same(from.shown));
    }
    if !is_on_server(&from.url) && !from.path.exists() {
        return Err(CopyError::NoSource(from.shown));
    }
    let locks = (from.lock()?, to.lock()?);
    let mut source = Base::open_source(&from, &options.key).await?;
    let mut target = Base::open_target(&to, &options.key).await?;
    let origin = source.origin(&from).await?;
    let begun = begun(&mut target, &to, &origin).await?;
    let resumed = begun.is_some();
    let work = Work::of(&mut source, options.page_rows.unwrap_or(PAGE_ROWS)).await?;
    if !resumed {
        target.make_ready(source.weeks().await?).await?;
    }
    let note = begun.unwrap_or_else(|| Note::at(&origin, ENTITIES.first()));
    if note.entity.is_some() {
        fill(&mut source, &mut target, note, &work, &watcher).await?;
    }
    target.go_on(work.lines()).await?;
    let told = verify(source, target, &options.key, &work, &watcher).await?;
    if let Some((table, rows, copied)) = told.differs {
        return Err(CopyError::Differs { path: to.shown, table, rows, copied });
    }
    let Verified { mut target, tables, sealed, unreadable, .. } = told;
    target.set_meta(COPY_NOTE, None).await?;
    drop(locks);
    let rows = tables.iter().map(|table| table.rows).sum();
    Ok(Copied { resumed, rows, sealed, unreadable, tables })
}

/// Where one of the databases is.
struct Location {
    url: String,
    /// Of a database in a file.
    path: PathBuf,
    /// For people.
    shown: PathBuf,
}

impl Location {
    fn of(url: &str, data_dir: &Path) -> Result<Self, StoreError> {
        let path = database_path(url, data_dir)?;
        let shown = if is_on_server(url) { PathBuf::from(without_secrets(url)) } else { path.clone() };
        Ok(Self { url: url.to_owned(), path, shown })
    }

    /// Keeps every `tidings serve` away from a file while it is held. Of a database on a server the session that copies has the lock.
    fn lock(&self) -> Result<Option<ServeLock>, StoreError> {
        if is_on_server(&self.url) { Ok(None) } else { lock_exclusive(&self.path).map(Some) }
    }
}

/// How far a copy has come, as the target keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Note {
    /// What is copied.
    origin: String,
    /// What is being copied; absent once everything is there.
    entity: Option<String>,
    /// Behind which row it goes on.
    after: Option<Vec<Value>>,
    /// Rows of it that are there.
    rows: u64,
}

impl Note {
    fn at(origin: &str, entity: Option<&Entity>) -> Self {
        Self { origin: origin.to_owned(), entity: entity.map(|entity| entity.name.to_owned()), after: None, rows: 0 }
    }

    fn written(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers are JSON")
    }

    /// The place of what is being copied.
    fn place(&self) -> Result<usize, StoreError> {
        let Some(name) = &self.entity else { return Ok(ENTITIES.len()) };
        let place = ENTITIES.iter().position(|entity| entity.name == name);
        place.ok_or_else(|| StoreError::Corrupt(format!("meta.value: the copy has come to {name}, which this version does not know")))
    }
}

/// The note of a copy of this origin that was broken off; `None` if the target is empty, and then it has one from now on.
async fn begun(target: &mut Base, to: &Location, origin: &str) -> Result<Option<Note>, CopyError> {
    let Some(note) = target.meta(COPY_NOTE).await? else {
        if let Some(table) = target.filled().await? {
            return Err(CopyError::NotEmpty { path: to.shown.clone(), table });
        }
        target.set_meta(COPY_NOTE, Some(Note::at(origin, ENTITIES.first()).written())).await?;
        return Ok(None);
    };
    let note: Note = serde_json::from_slice(&note).map_err(|_| StoreError::Corrupt(format!("meta.value: {COPY_NOTE}")))?;
    if note.origin != origin {
        return Err(CopyError::OtherCopy(to.shown.clone()));
    }
    Ok(Some(note))
}

/// What there is to copy.
struct Work {
    page_rows: usize,
    counts: Vec<u64>,
    total: u64,
}

impl Work {
    async fn of(source: &mut Base, page_rows: usize) -> Result<Self, StoreError> {
        let mut counts = Vec::with_capacity(ENTITIES.len());
        for entity in ENTITIES {
            counts.push(source.count(entity).await?);
        }
        let total = counts.iter().sum();
        Ok(Self { page_rows, counts, total })
    }

    /// Lines of history.
    fn lines(&self) -> u64 {
        ENTITIES.iter().zip(&self.counts).find(|(entity, _)| entity.name == "history").map_or(0, |(_, lines)| *lines)
    }
}

/// Copies what the note says is left. One page is read while the one before it is written.
async fn fill(source: &mut Base, target: &mut Base, mut note: Note, work: &Work, watcher: &CopyWatcher) -> Result<(), StoreError> {
    let first = note.place()?;
    let mut done = work.counts[..first].iter().sum::<u64>() + note.rows;
    let (give, mut take) = mpsc::channel::<Page>(AHEAD);
    let after = note.after.take();
    let reading = source.read(first, after, work.page_rows, give);
    let writing = async move {
        while let Some(page) = take.recv().await {
            let (before, count) = (note.rows, page.rows.len() as u64);
            note.rows += count;
            note.after = page.cursor().or_else(|| note.after.take());
            if page.ended {
                let next = ENTITIES.iter().position(|entity| entity.name == page.entity.name).and_then(|place| ENTITIES.get(place + 1));
                note = Note::at(&note.origin, next);
            }
            let table = page.entity.name;
            target.write(page, before, note.written()).await?;
            done += count;
            watcher(CopyStep { stage: CopyStage::Copying, table, done, total: work.total });
        }
        Ok::<_, StoreError>(())
    };
    let (read, written) = tokio::join!(reading, writing);
    // What is read has nowhere to go once writing has failed; that is the cause then.
    written.and(read)
}

/// What a comparison found.
struct Verified {
    target: Base,
    tables: Vec<CopiedTable>,
    sealed: u64,
    unreadable: u64,
    differs: Option<(&'static str, u64, u64)>,
}

/// Reads both from the beginning, and compares.
async fn verify(source: Base, target: Base, key: &SealKey, work: &Work, watcher: &CopyWatcher) -> Result<Verified, StoreError> {
    let done = Arc::new(AtomicU64::new(0));
    let tell = |key: Option<SealKey>| Reading { key, done: Arc::clone(&done), total: work.total * 2, watcher: Arc::clone(watcher) };
    let ours = tokio::spawn(summed(source, tell(None)));
    let theirs = tokio::spawn(summed(target, tell(Some(key.clone()))));
    let ended = |error: tokio::task::JoinError| StoreError::Unavailable(format!("the comparison was broken off: {error}"));
    let (ours, theirs) = (ours.await.map_err(ended)??, theirs.await.map_err(ended)??);
    let differs = ours.sums.iter().zip(&theirs.sums).zip(ENTITIES).find(|((ours, theirs), _)| ours != theirs);
    let differs = differs.map(|((ours, theirs), entity)| (entity.name, ours.0, theirs.0));
    let table = |((rows, hash), entity): (&(u64, [u8; 32]), &'static Entity)| CopiedTable {
        name: entity.name,
        rows: *rows,
        sha256: String::from_utf8_lossy(&hex(hash)).into_owned(),
    };
    let tables = theirs.sums.iter().zip(ENTITIES).map(table).collect();
    Ok(Verified { target: theirs.base, tables, sealed: theirs.sealed, unreadable: theirs.unreadable, differs })
}

/// How a database is read to be compared.
struct Reading {
    /// Tries whether what is sealed opens.
    key: Option<SealKey>,
    done: Arc<AtomicU64>,
    total: u64,
    watcher: CopyWatcher,
}

/// A database that was read, with the number and the hash of the rows of each entity.
struct Summed {
    base: Base,
    sums: Vec<(u64, [u8; 32])>,
    sealed: u64,
    unreadable: u64,
}

async fn summed(mut base: Base, how: Reading) -> Result<Summed, StoreError> {
    let (give, mut take) = mpsc::channel::<Page>(AHEAD);
    let reading = base.read(0, None, PAGE_ROWS, give);
    let summing = async move {
        let (mut sums, mut tally, mut sealed, mut unreadable) = (Vec::with_capacity(ENTITIES.len()), Tally::default(), 0, 0);
        while let Some(mut page) = take.recv().await {
            if let Some(key) = &how.key {
                for opens in page.rows.iter().filter_map(|row| opens(key, page.entity, row)) {
                    *(if opens { &mut sealed } else { &mut unreadable }) += 1;
                }
            }
            tally.add(page.entity, &mut page.rows);
            let count = page.rows.len() as u64;
            let done = how.done.fetch_add(count, Ordering::Relaxed) + count;
            (how.watcher)(CopyStep { stage: CopyStage::Verifying, table: page.entity.name, done, total: how.total });
            if page.ended {
                sums.push(std::mem::take(&mut tally).end());
            }
        }
        (sums, sealed, unreadable)
    };
    let (read, (sums, sealed, unreadable)) = tokio::join!(reading, summing);
    read?;
    Ok(Summed { base, sums, sealed, unreadable })
}

/// Whether what a row has sealed can be opened; `None` if it has nothing sealed.
fn opens(key: &SealKey, entity: &Entity, row: &Row) -> Option<bool> {
    let place = match entity.name {
        "letter" if row[entity.place("sensitive")] == Value::Whole(1) => Place::Letter(row[0].whole()?),
        "event_secret" => Place::EventSecret(row[0].whole()?),
        _ => return None,
    };
    let sealed = row[entity.place(if entity.name == "letter" { "bytes" } else { "sealed" })].bytes()?;
    Some(key.open(place, sealed).is_some())
}

/// Tables of this version that no copy takes along, and columns that it makes from others, each with the reason; a table or `table.column` a line.
#[doc(hidden)]
pub fn not_copied() -> Vec<(&'static str, &'static str)> {
    entities::LEFT_OUT.iter().chain(entities::FOLLOWS).copied().collect()
}

/// Columns that a copy fills, as `table.column`, on SQLite or on PostgreSQL.
#[doc(hidden)]
pub fn filled_columns(on_server: bool) -> Vec<String> {
    if on_server { postgres::covered() } else { sqlite::covered() }
}
