//! The flood guard's other half: tells administrators once of each batch that is held, and ends batches as they decide.

use crate::{Intake, IntakeError, facts::Origin};
use serde_json::{Value, json};
use std::time::Duration;
use tidings_core::{Event, Id, kind::TYPE_PREFIX, time::later};
use tidings_render::glance;
use tidings_store::{BatchItem, BatchRow, BatchState, Digest, StoreError};

/// Batches that are told of at once.
const AT_ONCE: u16 = 100;
/// Items of a batch that are read at once.
const PAGE: u16 = 500;
/// Letters that one digest names; how many more there are it says in the last line.
const LINES: usize = 200;
/// Letters that one digest stands for: whoever would get more gets several.
const MOST: usize = 2000;
/// So often a batch that fills while its digests are written is looked through again.
const ROUNDS: usize = 100;

/// What ending a batch came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Ended {
    /// Letters let go or cancelled.
    pub letters: u64,
    /// Digests written in place of them.
    pub digests: u64,
}

/// Why a batch is not ended.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// There is no such batch.
    #[error("there is no batch {0}")]
    Unknown(Id),
    /// It was ended in another way.
    #[error("batch {} was {} already", .0, .1.as_str())]
    Ended(Id, BatchState),
    /// Some of its letters cannot be told in a digest; they are still held.
    #[error(
        "{1} letters of batch {0} stand in no digest, because no rule writes one to them: they are still held (is the rule `built-in:digest` off?)"
    )]
    Undigested(Id, u64),
    /// Letters join it faster than digests are written.
    #[error("letters join batch {0} faster than digests are written: what is left of it is still held; try again")]
    Filling(Id),
    /// It cannot be done now.
    #[error("the batch could not be ended")]
    Intake(#[from] IntakeError),
}

impl From<StoreError> for GuardError {
    fn from(error: StoreError) -> Self {
        Self::Intake(error.into())
    }
}

impl Intake {
    /// Writes the alert of each batch that has none yet. A batch whose alert was written just before a crash gets no second one: its event is known then.
    pub(crate) async fn alert(&self) -> Result<(), IntakeError> {
        for batch in self.store.batches(None, true, AT_ONCE).await? {
            tracing::warn!(guard.batch = %batch.id, rule = batch.rule, people = batch.people, flood = batch.flood, "the flood guard holds letters");
            self.accept(vec![alert(&batch)], false).await?;
            self.store.batch_alerted(batch.id).await?;
        }
        Ok(())
    }

    /// Lets a batch's letters go, cancels them, or writes everybody one letter in place of them. Done again it finishes what was broken off.
    ///
    /// # Errors
    /// [`GuardError`].
    pub async fn end_batch(&self, id: Id, end: BatchState, by: &str) -> Result<Ended, GuardError> {
        let batch = self.store.batch(id).await?.ok_or(GuardError::Unknown(id))?;
        if batch.state != BatchState::Held && batch.state != end {
            return Err(GuardError::Ended(id, batch.state));
        }
        let (mut ended, mut left) = (Ended { letters: 0, digests: 0 }, None);
        for _ in 0..ROUNDS {
            let before = ended;
            if end == BatchState::Digested && batch.state == BatchState::Held {
                self.tell_into(id).await?;
                self.digest(id, by, &mut ended).await?;
            }
            let acted = self.store.end_batch(id, end, by).await?;
            let state = self.store.batch(id).await?.map_or(end, |batch| batch.state);
            let Some(acted) = acted else { return Err(GuardError::Ended(id, state)) };
            if state == end {
                ended.letters += acted.changed;
                return Ok(ended);
            }
            // What joined meanwhile is digested in another round; what cannot be digested stays.
            if ended == before && left.replace(acted.skipped) == Some(acted.skipped) {
                return Err(GuardError::Undigested(id, acted.skipped));
            }
        }
        Err(GuardError::Filling(id))
    }

    /// Tells the crowds whose letters go into a batch to their end, so that nobody of them is left out of its digests.
    async fn tell_into(&self, id: Id) -> Result<(), IntakeError> {
        loop {
            let mut into = self.store.fan_outs(None, u16::MAX).await?;
            into.retain(|row| row.batch == Some(id));
            if into.is_empty() {
                return Ok(());
            }
            for row in &into {
                self.tell_chunk(row).await?;
            }
        }
    }

    /// Writes one letter for each person of a batch, as it stands now. Each takes the place of the items it names in one transaction, so that a second run finds only what is left.
    async fn digest(&self, id: Id, by: &str, ended: &mut Ended) -> Result<(), IntakeError> {
        let mut after = None;
        let mut person: Option<Person> = None;
        loop {
            let items = self.store.batch_items(id, after, PAGE).await?;
            let last = items.len() < usize::from(PAGE);
            after = items.last().map(|item| item.place).or(after);
            let mut ready = Vec::new();
            for item in items {
                // Items stand by recipient; a hash that two share only makes the order jump, and a digest more.
                if person.as_ref().is_some_and(|person| !person.takes(&item)) {
                    ready.extend(person.take());
                }
                person.get_or_insert_with(|| Person::of(&item)).add(&item);
            }
            if last {
                ready.extend(person.take());
            }
            self.write_digests(id, ready, by, ended).await?;
            if last {
                return Ok(());
            }
        }
    }

    async fn write_digests(&self, id: Id, people: Vec<Person>, by: &str, ended: &mut Ended) -> Result<(), IntakeError> {
        let now = self.now();
        let mut digests = Vec::with_capacity(people.len());
        for person in people {
            let event = Event::read(person.digest(id), "", now).map_err(IntakeError::Faulty)?;
            let acceptance = self.prepare(&event, now, None, Origin::Posted).await?.0;
            // A letter that nobody gets takes no other's place: those it would stand for stay.
            if !acceptance.items.is_empty() {
                digests.push(Digest { acceptance, items: person.items });
            }
        }
        if digests.is_empty() {
            return Ok(());
        }
        let standing_for: Vec<usize> = digests.iter().map(|digest| digest.items.len()).collect();
        let written = self.store.digest(id, digests, by).await?;
        for (_, letters) in written.into_iter().zip(standing_for).filter(|(written, _)| written.is_some()) {
            ended.digests += 1;
            ended.letters += letters as u64;
            metrics::counter!("tidings_letters_accepted_total", "kind" => "digest").increment(1);
        }
        Ok(())
    }

    /// Finishes the end of batches whose end was broken off: letters that are let go do not stay behind because somebody died in the middle. With `patience`, only what was
    /// ended longer ago than that: somebody may still be at it.
    pub(crate) async fn finish_ends(&self, patience: Duration) -> Result<(), IntakeError> {
        for batch in self.store.broken_off(AT_ONCE).await? {
            if batch.ended_at.is_some_and(|at| later(at, patience) > self.now()) {
                continue;
            }
            let by = batch.ended_by.as_deref().unwrap_or("tidings");
            let acted = self.store.end_batch(batch.id, batch.state, by).await?;
            tracing::warn!(guard.batch = %batch.id, state = batch.state.as_str(), letters = acted.map(|acted| acted.changed),
                "finished the end of a batch that was broken off");
        }
        Ok(())
    }
}

/// What a digest needs of the letters that one person would get, without the letters.
struct Person {
    to: String,
    folded: String,
    items: Vec<Id>,
    lines: Vec<String>,
    locale: Option<String>,
}

impl Person {
    fn of(item: &BatchItem) -> Self {
        let (to, folded) = (item.to.clone(), item.to.to_lowercase());
        Self { to, folded, items: Vec::new(), lines: Vec::new(), locale: None }
    }

    fn takes(&self, item: &BatchItem) -> bool {
        self.items.len() < MOST && self.folded == item.to.to_lowercase()
    }

    fn add(&mut self, item: &BatchItem) {
        self.items.push(item.id);
        if self.lines.len() < LINES
            && let Some(glance) = item.bytes.as_deref().and_then(glance)
        {
            self.locale = self.locale.take().or_else(|| glance.locale.map(|locale| locale.to_string()));
            self.lines.push(glance.subject);
        }
    }

    /// The event of the person's digest.
    fn digest(&self, batch: Id) -> Value {
        let (count, first, last) = (self.items.len(), self.items.first(), self.items.last());
        let more = (self.lines.len() < count).then(|| format!("… +{}", count - self.lines.len()));
        let lines: Vec<&str> = self.lines.iter().chain(&more).map(String::as_str).collect();
        let mut object = json!({"mail": self.to});
        if let Some(locale) = &self.locale {
            object["locale"] = json!(locale);
        }
        let name = |id: Option<&Id>| id.map(ToString::to_string).unwrap_or_default();
        json!({
            "specversion": "1.0",
            "id": format!("digest/{batch}/{}/{}/{}/{count}", self.folded, name(first), name(last)),
            "source": "tidings",
            "type": format!("{TYPE_PREFIX}digest"),
            "data": {"object": object, "details": {"count": count, "lines": lines.join("\n")}},
        })
    }
}

/// The event of a batch's alert.
fn alert(batch: &BatchRow) -> Value {
    json!({
        "specversion": "1.0",
        "id": format!("guard.held/{}", batch.id),
        "source": "tidings",
        "type": format!("{TYPE_PREFIX}guard.held"),
        "time": batch.opened_at.to_string(),
        "data": {
            "object": {"type": "rule", "id": batch.rule, "name": batch.rule},
            "details": {
                "batch": batch.id.to_string(),
                "flood": batch.flood,
                "most": batch.most,
                "people": batch.people,
                "held_at": batch.opened_at.to_string(),
            },
        },
    })
}
