//! Changes on their way from a server to the feed: gathered into batches of bounded size, and recorded.

use super::{error::LdapError, source::LdapSource};
use async_trait::async_trait;
use tidings_core::directory::{Became, Change, Entry, Head};
use tidings_core::subject::ObjectType;
use tidings_intake::{Batch, IntakeError, Registry, Taken, Telling};

/// Changes that are recorded together at most.
const MOST: usize = 500;
/// Entries of a first load that are written together at most: nobody waits for it, and a page of the mirror that many of them lie on is written once.
const MOST_LOADED: usize = 10_000;
/// Memory that gathered changes take at most, about.
const MOST_OCTETS: usize = 4 << 20;
/// Keys of unchanged entries that are recorded together at most.
const MOST_SEEN: usize = 4_000;

/// Gathers changes and records them.
pub(crate) struct Gather<'a> {
    source: &'a LdapSource,
    /// Whether they become events.
    pub(crate) telling: Telling,
    kind: Kind,
    first: Heap,
    groups: Heap,
    seen: Vec<String>,
    /// What it came to so far.
    pub(crate) report: Report,
}

/// What is gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// News, in the order in which they happened.
    News,
    /// What was found changed, in any order.
    Found,
    /// Content, in any order; it belongs to a refresh.
    Refresh(i64),
    /// The content of a first load.
    Load(i64),
}

#[derive(Default)]
struct Heap {
    changes: Vec<Change>,
    octets: usize,
}

/// What a source has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Entries that were read.
    pub entries: u64,
    /// Entries that a refresh found unchanged without reading them.
    pub unchanged: u64,
    /// What was different, and what came of it.
    pub taken: Taken,
}

impl<'a> Gather<'a> {
    /// For news.
    pub(crate) fn news(source: &'a LdapSource, telling: Telling) -> Self {
        Self::new(source, telling, Kind::News)
    }

    /// For what a search found changed.
    pub(crate) fn found(source: &'a LdapSource, telling: Telling) -> Self {
        Self::new(source, telling, Kind::Found)
    }

    /// For content; `first`: it is the first load, which is written without being compared.
    pub(crate) fn refresh(source: &'a LdapSource, telling: Telling, generation: i64, first: bool) -> Self {
        Self::new(source, telling, if first { Kind::Load(generation) } else { Kind::Refresh(generation) })
    }

    fn new(source: &'a LdapSource, telling: Telling, kind: Kind) -> Self {
        Self { source, telling, kind, first: Heap::default(), groups: Heap::default(), seen: Vec::new(), report: Report::default() }
    }

    /// Takes a change of about this size. Where order is free, groups wait behind people: whom a group names is known before it is compared.
    pub(crate) async fn push(&mut self, change: Change, octets: usize) -> Result<(), LdapError> {
        self.report.entries += 1;
        let waits = self.kind != Kind::News
            && match &change.what {
                Became::Is(entry) => entry.head.object_type == ObjectType::Group,
                Became::Adjusted { .. } => true,
                Became::Gone { .. } => false,
            };
        let heap = if waits { &mut self.groups } else { &mut self.first };
        heap.changes.push(change);
        heap.octets += octets;
        let most = if matches!(self.kind, Kind::Load(_)) { MOST_LOADED } else { MOST };
        if self.groups.is_full(most) {
            self.record(None).await?;
        } else if self.first.is_full(most) {
            let first = std::mem::take(&mut self.first).changes;
            self.write(first, None).await?;
        }
        Ok(())
    }

    /// Takes note that a refresh found an entry unchanged.
    pub(crate) async fn see(&mut self, key: String) -> Result<(), LdapError> {
        self.report.unchanged += 1;
        self.seen.push(key);
        if self.seen.len() >= MOST_SEEN { self.write(Vec::new(), None).await } else { Ok(()) }
    }

    /// Whether nothing is gathered.
    pub(crate) fn is_empty(&self) -> bool {
        self.first.changes.is_empty() && self.groups.changes.is_empty() && self.seen.is_empty()
    }

    /// Records everything gathered, and with the last of it where to go on.
    pub(crate) async fn record(&mut self, bookmark: Option<Vec<u8>>) -> Result<(), LdapError> {
        let mut changes = std::mem::take(&mut self.first).changes;
        changes.append(&mut std::mem::take(&mut self.groups).changes);
        if changes.is_empty() && self.seen.is_empty() && bookmark.is_none() {
            return Ok(());
        }
        self.write(changes, bookmark).await
    }

    async fn write(&mut self, changes: Vec<Change>, bookmark: Option<Vec<u8>>) -> Result<(), LdapError> {
        if let Kind::Load(generation) = self.kind {
            let entries = changes.into_iter().filter_map(|change| if let Became::Is(entry) = change.what { Some(entry) } else { None });
            self.report.taken.changed += self.source.feed().load(self.source.directory(), entries.collect(), generation, bookmark).await?;
        } else {
            let generation = if let Kind::Refresh(generation) = self.kind { Some(generation) } else { None };
            let directory = self.source.directory().to_owned();
            let batch = Batch { directory, changes, seen: std::mem::take(&mut self.seen), generation, bookmark, telling: self.telling };
            let taken = take(self.source, batch, &Asking { source: self.source, is_news: self.kind == Kind::News }).await?;
            self.report.taken.changed += taken.changed;
            self.report.taken.events += taken.events;
            self.report.taken.letters += taken.letters;
        }
        self.source.tell_progress(&self.report);
        self.source.hints().ring();
        Ok(())
    }
}

impl Heap {
    fn is_full(&self, most: usize) -> bool {
        self.changes.len() >= most || self.octets >= MOST_OCTETS
    }
}

/// Hands a batch to the feed. If an event of it cannot be read, the changes are taken one by one, and the one at fault without an event: a directory must not stand still
/// for one entry.
async fn take(source: &LdapSource, batch: Batch, asking: &Asking<'_>) -> Result<Taken, LdapError> {
    match source.feed().take_asking(batch.clone(), asking).await {
        Err(IntakeError::Faulty(_)) => {}
        taken => return Ok(taken?),
    }
    let mut all = Taken::default();
    let last = Batch { changes: Vec::new(), ..batch.clone() };
    for change in &batch.changes {
        let one = Batch { changes: vec![change.clone()], seen: Vec::new(), bookmark: None, ..batch.clone() };
        let taken = match source.feed().take_asking(one.clone(), asking).await {
            Err(IntakeError::Faulty(faults)) => {
                let fault = faults.first().map(|fault| format!("{}: {}", fault.pointer, fault.detail)).unwrap_or_default();
                tracing::error!(
                    directory.name = source.directory(),
                    object.key = change.key(),
                    fault,
                    "no event can be made of this change; nobody is told of it"
                );
                source.feed().take(Batch { telling: Telling::Silent, ..one }).await?
            }
            taken => taken?,
        };
        all.changed += taken.changed;
        all.events += taken.events;
        all.letters += taken.letters;
    }
    source.feed().take(last).await?;
    Ok(all)
}

/// Asks the server whose a name is.
struct Asking<'a> {
    source: &'a LdapSource,
    /// Changes come in the order in which they happened.
    is_news: bool,
}

#[async_trait]
impl Registry for Asking<'_> {
    /// Of somebody who is mirrored only the name is taken: the rest of the entry is told in its own time. Somebody who is not is taken whole, unless the news of it is still to come.
    async fn bearers(&self, names: Vec<String>) -> Result<Vec<Change>, IntakeError> {
        let source = self.source;
        let entries = source.named(&names).await.map_err(|error| IntakeError::Registry(Box::new(error)))?;
        let mut changes = Vec::new();
        for raw in entries {
            let Some(key) = source.key(&raw) else { continue };
            let change = source.change(&raw, key);
            let Became::Is(Entry { head, .. }) = &change.what else { continue };
            match source.feed().mirror().object(source.directory(), &head.key).await? {
                Some(known) => {
                    let renamed = Head { reference: head.reference.clone(), ..known.head };
                    let (added, removed, document) = (Vec::new(), Vec::new(), None);
                    changes.push(Change::of(Became::Adjusted { key: head.key.clone(), head: Some(renamed), added, removed, document }));
                }
                None if self.is_news => {}
                None => changes.push(change),
            }
        }
        Ok(changes)
    }
}
