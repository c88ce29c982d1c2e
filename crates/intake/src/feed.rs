//! The directories' side of the door: takes what a source found, tells it from the mirror, and records mirror, bookmark, events and letters as one.

use crate::{
    Intake, IntakeError,
    facts::Origin,
    flow::{Flow, MANY, MOMENT, Waiting},
    news::{self, Scene},
};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tidings_core::{
    Event, Id, Kind, Timestamp,
    directory::{Became, Change, Entry, LinkRole},
    time::later,
};
use tidings_store::{Acceptance, Accepted, Difference, DirectoryStanding, Mirror, MirrorLink, Record, StoreError, Target};

/// Takes changes of directories. One task at a time feeds a directory.
pub struct Feed {
    pub(crate) intake: Arc<Intake>,
    pub(crate) mirror: Arc<dyn Mirror>,
    /// By directory.
    flows: Mutex<HashMap<String, Flow>>,
}

/// Whether changes become events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// They do not: a first load, or a resync that is to be silent.
    Silent,
    /// They do.
    Told,
    /// They do, and each says that it was found late, by comparison after a gap.
    FoundLate,
}

/// Changes of a directory, to be taken as one.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The directory's name.
    pub directory: String,
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// Keys that a refresh found unchanged.
    pub seen: Vec<String>,
    /// The refresh this belongs to ([`Mirror::begin_refresh`]).
    pub generation: Option<i64>,
    /// Where the source goes on after this batch.
    pub bookmark: Option<Vec<u8>>,
    /// Whether the changes become events.
    pub telling: Telling,
}

/// A source that can be asked about entries by their names.
#[async_trait]
pub trait Registry: Send + Sync {
    /// What the mirror should know of those who bear these names: somebody who bore another one, or is new. Names that nobody bears are left out.
    ///
    /// # Errors
    /// [`IntakeError::Registry`] if the source cannot be asked now.
    async fn bearers(&self, names: Vec<String>) -> Result<Vec<Change>, IntakeError>;
}

/// What a batch came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// Objects that were different.
    pub changed: u64,
    /// Events recorded.
    pub events: u64,
    /// Letters recorded.
    pub letters: u64,
}

/// What a sweep at the end of a refresh came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swept {
    /// What was not seen is gone from the mirror.
    Done(Taken),
    /// More would have vanished than is allowed: nothing was swept, and the refresh is not ended.
    TooMany {
        /// Objects that were not seen.
        unseen: u64,
        /// Objects there are.
        objects: u64,
    },
}

/// Changes that are compared and recorded together.
const RUN: u32 = 256;
/// So often a run is compared anew if something moved in between.
const TRIES: usize = 3;
/// Keepers of one object that its events show.
const KEEPERS: u32 = 100;

impl Feed {
    /// The feed of a house.
    pub fn new(intake: Arc<Intake>, mirror: Arc<dyn Mirror>) -> Self {
        Self { intake, mirror, flows: Mutex::default() }
    }

    /// The mirror, for reading.
    pub fn mirror(&self) -> &Arc<dyn Mirror> {
        &self.mirror
    }

    /// A name for an object that is new, above all that were ever given: what was recorded with one is never named again.
    pub fn mint(&self) -> Id {
        self.intake.mint()
    }

    /// Takes a batch. Its runs are recorded one after the other; the bookmark, and what was seen, with the last.
    ///
    /// # Errors
    /// [`IntakeError::Store`] if it cannot be recorded now: what was recorded before stays, and the batch can be taken again without telling anything twice.
    pub async fn take(&self, batch: Batch) -> Result<Taken, IntakeError> {
        self.take_with(batch, None, None).await
    }

    /// As [`Feed::take`], from a source that is asked whose a name is before a link to it is told: a group that names somebody by a new name is no news, although the change of the name
    /// may come later, or (where it is the name of the branch above that changes) never.
    ///
    /// # Errors
    /// As [`Feed::take`]; [`IntakeError::Registry`].
    pub async fn take_asking(&self, batch: Batch, registry: &dyn Registry) -> Result<Taken, IntakeError> {
        self.take_with(batch, None, Some(registry)).await
    }

    /// As [`Feed::take`], done by somebody who need not be of the directory, as an event shows a party: the holder of a token, for one. A change that names its own actor keeps it.
    ///
    /// # Errors
    /// As [`Feed::take`].
    pub async fn take_by(&self, batch: Batch, actor: Option<&Value>) -> Result<Taken, IntakeError> {
        self.take_with(batch, actor, None).await
    }

    async fn take_with(&self, batch: Batch, actor: Option<&Value>, registry: Option<&dyn Registry>) -> Result<Taken, IntakeError> {
        let Batch { directory, changes, mut seen, generation, mut bookmark, telling } = batch;
        let many = changes.len() as u64 > MANY;
        let mut taken = Taken::default();
        let mut runs = runs(changes);
        if runs.is_empty() {
            // The bookmark and what was seen are recorded all the same.
            runs.push(Vec::new());
        }
        let mut runs = runs.into_iter().peekable();
        while let Some(run) = runs.next() {
            let closing = if runs.peek().is_none() {
                Closing { seen: std::mem::take(&mut seen), generation, bookmark: bookmark.take(), many }
            } else {
                Closing { seen: Vec::new(), generation, bookmark: None, many }
            };
            let one = Box::pin(self.write(&directory, &run, (telling, actor), registry, closing)).await?;
            taken.changed += one.changed;
            taken.events += one.events;
            taken.letters += one.letters;
        }
        Ok(taken)
    }

    /// Writes entries as they are, silently and without comparing: the quick way of a first load. Gives how many are new.
    ///
    /// # Errors
    /// [`IntakeError::Store`].
    pub async fn load(&self, directory: &str, entries: Vec<Entry>, generation: i64, bookmark: Option<Vec<u8>>) -> Result<u64, IntakeError> {
        Ok(self.mirror.load(directory, entries, generation, bookmark).await?)
    }

    /// Ends a refresh: whatever was not seen in it is gone, unless that is more than `most_percent` of all objects.
    ///
    /// # Errors
    /// [`IntakeError::Store`]; it can be called again.
    pub async fn sweep(
        &self,
        directory: &str,
        generation: i64,
        bookmark: Option<Vec<u8>>,
        telling: Telling,
        most_percent: Option<u8>,
    ) -> Result<Swept, IntakeError> {
        let (unseen, objects) = self.mirror.unseen(directory, generation).await?;
        if most_percent.is_some_and(|most| unseen * 100 > objects * u64::from(most)) {
            return Ok(Swept::TooMany { unseen, objects });
        }
        let mut taken = Taken::default();
        let mut after = None;
        loop {
            let keys = self.mirror.unseen_keys(directory, generation, after, RUN).await?;
            let Some((last, _)) = keys.last() else { break };
            after = Some(*last);
            let changes: Vec<Change> = keys.into_iter().map(|(_, key)| Change::of(Became::Gone { key })).collect();
            let one = self
                .write(
                    directory,
                    &changes,
                    (telling, None),
                    None,
                    Closing { seen: Vec::new(), generation: Some(generation), bookmark: None, many: unseen > MANY },
                )
                .await?;
            taken.changed += one.changed;
            taken.events += one.events;
            taken.letters += one.letters;
        }
        self.mirror.end_refresh(directory, bookmark).await?;
        Ok(Swept::Done(taken))
    }

    /// Says once that a directory's source fails.
    ///
    /// # Errors
    /// [`IntakeError::Store`].
    pub async fn source_failed(&self, directory: &str, why: &str) -> Result<(), IntakeError> {
        let standing = self.mirror.directory(directory).await?;
        if standing.failed_at.is_some() {
            return Ok(());
        }
        let details = json!({"error": why, "last_success_at": standing.heard_at.map(|at| at.to_string())});
        let news = self.connector_news(&standing, "connector.failed", &details).await?;
        self.mirror.report_source(directory, Some(why.to_owned()), Some(news)).await?;
        Ok(())
    }

    /// Says once that a directory's source works again, if it had failed; notes that it was heard of.
    ///
    /// # Errors
    /// [`IntakeError::Store`].
    pub async fn source_works(&self, directory: &str) -> Result<(), IntakeError> {
        let standing = self.mirror.directory(directory).await?;
        let news = match standing.failed_at {
            Some(since) => {
                let now = self.intake.now();
                let details = json!({"failed_at": since.to_string(), "recovered_at": now.to_string()});
                Some(self.connector_news(&standing, "connector.recovered", &details).await?)
            }
            None => None,
        };
        self.mirror.report_source(directory, None, news).await?;
        Ok(())
    }

    /// Asks the source whose those names are to which differences link anew and that nobody is known to bear, and records what it says. Gives whether there was anything.
    async fn settle_names(
        &self,
        directory: &str,
        differences: &[Difference],
        (telling, generation): (Telling, Option<i64>),
        registry: &dyn Registry,
    ) -> Result<bool, IntakeError> {
        let unknown = |link: &MirrorLink| if let Target::Unknown(name) = &link.other { Some(name.clone()) } else { None };
        let names: BTreeSet<String> = differences.iter().flat_map(|one| &one.added).filter_map(unknown).collect();
        if names.is_empty() {
            return Ok(false);
        }
        let bearers = registry.bearers(names.into_iter().collect()).await?;
        let any = !bearers.is_empty();
        for run in runs(bearers) {
            let closing = Closing { seen: Vec::new(), generation, bookmark: None, many: false };
            Box::pin(self.write(directory, &run, (telling, None), None, closing)).await?;
        }
        Ok(any)
    }

    async fn connector_news(&self, standing: &DirectoryStanding, kind: &str, details: &Value) -> Result<Acceptance, IntakeError> {
        let now = self.intake.now();
        let event = json!({
            "specversion": "1.0",
            "id": format!("{kind}/{}", now.as_millisecond()),
            "source": format!("directory/{}", standing.name),
            "type": format!("{}{kind}", tidings_core::kind::TYPE_PREFIX),
            "data": {"object": {"type": "connector", "id": standing.name, "name": standing.name}, "details": details},
        });
        let event = Event::read(event, "", now).map_err(IntakeError::Faulty)?;
        Ok(self.intake.prepare(&event, now, None, Origin::Posted).await?.0)
    }

    async fn write(
        &self,
        directory: &str,
        changes: &[Change],
        (telling, by): (Telling, Option<&Value>),
        registry: Option<&dyn Registry>,
        closing: Closing,
    ) -> Result<Taken, IntakeError> {
        if telling != Telling::Silent {
            self.put_off(directory).await?;
        }
        let mut wait = None;
        let mut tries = 0;
        loop {
            tries += 1;
            let mut differences = self.mirror.compare(directory, changes.to_vec()).await?;
            if let Some(registry) = registry.filter(|_| telling != Telling::Silent)
                && self.settle_names(directory, &differences, (telling, closing.generation), registry).await?
            {
                differences = self.mirror.compare(directory, changes.to_vec()).await?;
            }
            let mut taken = Taken { changed: differences.iter().filter(|one| !one.is_empty()).count() as u64, ..Taken::default() };
            let mut acceptances = Vec::new();
            if telling != Telling::Silent {
                for (difference, change) in differences.iter().zip(changes).filter(|(difference, _)| !difference.is_empty()) {
                    self.tell(directory, difference, change, (telling, by), &mut acceptances).await?;
                }
            }
            // Counted once, however often it is compared.
            let wait = *wait.get_or_insert_with(|| match telling {
                Telling::Silent => Duration::ZERO,
                Telling::Told | Telling::FoundLate => self.wait(directory, taken.changed, closing.many),
            });
            let waiting = self.let_wait(&mut acceptances, wait);
            self.intake.remember(&differences).await?;
            let letters: usize = acceptances.iter().map(|one: &Acceptance| one.items.len()).sum();
            let record = Record {
                directory: directory.to_owned(),
                differences,
                seen: closing.seen.clone(),
                generation: closing.generation,
                bookmark: closing.bookmark.clone(),
                acceptances,
            };
            match self.mirror.record(record).await {
                Err(StoreError::Moved(_)) if tries < TRIES => {}
                Err(error) => return Err(error.into()),
                Ok(accepted) => {
                    self.intake.bell.notify_one();
                    self.remember(directory, waiting);
                    taken.events = accepted.iter().filter(|one| matches!(one, Accepted::New(_))).count() as u64;
                    taken.letters = letters as u64;
                    return Ok(taken);
                }
            }
        }
    }

    /// How long the letters of changes that come now wait, so that the flood guard sees all of a bulk change before the first one leaves.
    pub(crate) fn wait(&self, directory: &str, changes: u64, many: bool) -> Duration {
        if !self.intake.desk().parts.flood.any() {
            return Duration::ZERO;
        }
        let now = self.intake.now();
        self.with_flow(directory, |flow| flow.wait(now, changes)).max(if many { MOMENT } else { Duration::ZERO })
    }

    /// Lets letters wait, but those that nobody may switch off.
    pub(crate) fn let_wait(&self, acceptances: &mut [Acceptance], wait: Duration) -> Option<Waiting> {
        if wait.is_zero() {
            return None;
        }
        let mut waiting = Waiting { due_at: later(self.intake.now(), wait), items: Vec::new() };
        let guarded = |one: &&mut Acceptance| !Kind::find(one.kind).is_some_and(|kind| kind.mandatory);
        for item in acceptances.iter_mut().filter(guarded).flat_map(|one| &mut one.items) {
            item.due_at = waiting.due_at;
            waiting.items.push(item.id);
        }
        Some(waiting)
    }

    /// Keeps in mind letters that have been recorded to wait.
    pub(crate) fn remember(&self, directory: &str, waiting: Option<Waiting>) {
        let Some(waiting) = waiting else { return };
        let (now, most) = (self.intake.now(), self.intake.desk().parts.flood.per_rule_hour);
        self.with_flow(directory, |flow| flow.remember(now, waiting, most));
    }

    /// More changes come: letters of those before that are due soon wait on.
    pub(crate) async fn put_off(&self, directory: &str) -> Result<(), StoreError> {
        let now = self.intake.now();
        for Waiting { items, due_at } in self.with_flow(directory, |flow| flow.put_off(now)) {
            self.intake.store.postpone(items, due_at).await?;
        }
        Ok(())
    }

    fn with_flow<T>(&self, directory: &str, act: impl FnOnce(&mut Flow) -> T) -> T {
        let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        act(flows.entry(directory.to_owned()).or_default())
    }

    /// Decides on the events of one difference.
    async fn tell(
        &self,
        directory: &str,
        difference: &Difference,
        change: &Change,
        (telling, by): (Telling, Option<&Value>),
        acceptances: &mut Vec<Acceptance>,
    ) -> Result<(), IntakeError> {
        let keepers = self.keepers(difference).await?;
        let actor = match &change.actor {
            None => by.cloned(),
            Some(name) => Some(match self.mirror.object(directory, name).await? {
                Some(object) => Value::Object(news::party(directory, &object.head)),
                None => Value::String(format!("{directory}/{name}")),
            }),
        };
        let found_late = telling == Telling::FoundLate;
        let scene = Scene { directory, actor, at: change.at, found_late, keepers: &keepers };
        let now: Timestamp = self.intake.now();
        // What is gone is still mirrored while it is decided on.
        let origin = if difference.after.is_some() { Origin::Difference(difference) } else { Origin::End };
        for event in news::events(&scene, difference) {
            let event = Event::read(event, "", now).map_err(IntakeError::Faulty)?;
            acceptances.push(self.intake.prepare(&event, now, None, origin).await?.0);
        }
        Ok(())
    }

    /// Owners and managers of the object as they will be, the primary owner first; as they were of one that is gone.
    async fn keepers(&self, difference: &Difference) -> Result<Vec<MirrorLink>, IntakeError> {
        let mut keepers = Vec::new();
        for role in [LinkRole::Owner, LinkRole::AdditionalOwner, LinkRole::Manager] {
            if let Some(before) = &difference.before {
                keepers.extend(self.mirror.links(before.id, role, None, KEEPERS).await?);
            }
        }
        if difference.after.is_some() {
            let other = |link: &MirrorLink, old: &MirrorLink| link.role == old.role && same(&link.other, &old.other);
            keepers.retain(|old| !difference.removed.iter().chain(&difference.altered).any(|link| other(link, old)));
            let fresh = difference.added.iter().chain(&difference.altered);
            keepers.extend(fresh.filter(|link| link.role != LinkRole::Member).cloned());
            keepers.sort_by_key(|link| link.role);
        }
        Ok(keepers)
    }
}

/// What is written with the last run of a batch.
struct Closing {
    seen: Vec<String>,
    generation: Option<i64>,
    bookmark: Option<Vec<u8>>,
    /// Whether it is part of so much that the flood guard may have a word on it.
    many: bool,
}

fn same(one: &Target, other: &Target) -> bool {
    match (one, other) {
        (Target::Known(one), Target::Known(other)) => one.id == other.id,
        (Target::Unknown(one), Target::Unknown(other)) => one == other,
        _ => false,
    }
}

/// Cuts changes into runs in which each can be compared with the mirror as it is before the run: no two of one object, none that names what another one makes.
fn runs(changes: Vec<Change>) -> Vec<Vec<Change>> {
    let mut runs: Vec<Vec<Change>> = Vec::new();
    let mut made: HashSet<String> = HashSet::new();
    for change in changes {
        let leans = made.contains(change.key())
            || match &change.what {
                Became::Is(entry) => entry.links.iter().any(|link| made.contains(&link.to)),
                Became::Adjusted { added, removed, .. } => {
                    added.iter().any(|link| made.contains(&link.to)) || removed.iter().any(|(_, to)| made.contains(to))
                }
                Became::Gone { .. } => false,
            };
        if leans || runs.last().is_none_or(|run| run.len() >= RUN as usize) {
            runs.push(Vec::new());
            made.clear();
        }
        made.insert(change.key().to_owned());
        if let Became::Is(Entry { head, .. }) | Became::Adjusted { head: Some(head), .. } = &change.what
            && let Some(reference) = &head.reference
        {
            made.insert(reference.clone());
        }
        runs.last_mut().expect("a run was begun").push(change);
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_core::{
        directory::{Head, Link},
        subject::ObjectType,
    };

    fn entry(key: &str, links: &[&str]) -> Change {
        let links = links.iter().map(|to| Link::new(LinkRole::Member, *to)).collect();
        let mut head = Head::new(ObjectType::Group, key);
        head.reference = Some(format!("cn={key}"));
        Change::of(Became::Is(Entry { head, links, document: None }))
    }

    #[test]
    fn what_leans_on_a_change_before_it_waits_for_the_next_run() {
        let lengths = |changes| runs(changes).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(vec![entry("a", &[]), entry("b", &["cn=z"]), entry("c", &["cn=a"])]), [2, 1]);
        assert_eq!(lengths(vec![entry("a", &[]), Change::of(Became::Gone { key: "a".to_owned() })]), [1, 1]);
        assert_eq!(lengths((0..600).map(|n| entry(&n.to_string(), &[])).collect()), [256, 256, 88]);
        assert!(lengths(Vec::new()).is_empty());
    }
}
