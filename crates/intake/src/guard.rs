//! The flood guard's other half: tells administrators once of each batch that is held, and ends batches as they decide.

use crate::{Intake, IntakeError, facts::Origin};
use serde_json::{Value, json};
use tidings_core::{Event, Id, kind::TYPE_PREFIX};
use tidings_render::glance;
use tidings_store::{BatchItem, BatchRow, BatchState, StoreError};

/// Batches that are told of at once.
const AT_ONCE: u16 = 100;
/// Items of a batch that are read at once.
const PAGE: u16 = 500;
/// Letters that one digest names; how many more there are it says in the last line.
const LINES: usize = 200;

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
        let digests = if end == BatchState::Digested { self.digest(id).await? } else { 0 };
        match self.store.end_batch(id, end, by).await? {
            Some(acted) => Ok(Ended { letters: acted.changed, digests }),
            None => Err(GuardError::Ended(id, self.store.batch(id).await?.map_or(end, |batch| batch.state))),
        }
    }

    /// Writes one letter for each person of a batch. A person's digest is known by batch and address, so a second run writes none anew.
    async fn digest(&self, id: Id) -> Result<u64, IntakeError> {
        let (mut after, mut digests) = (None, 0);
        let mut person: Vec<BatchItem> = Vec::new();
        loop {
            let items = self.store.batch_items(id, after, PAGE).await?;
            let last = items.len() < usize::from(PAGE);
            after = items.last().map(|item| item.place).or(after);
            let mut ready = Vec::new();
            for item in items {
                // Items stand by recipient; a hash that two share only makes the order jump, and a digest more.
                if person.last().is_some_and(|one| one.to.to_lowercase() != item.to.to_lowercase()) {
                    ready.push(std::mem::take(&mut person));
                }
                person.push(item);
            }
            if last && !person.is_empty() {
                ready.push(std::mem::take(&mut person));
            }
            let now = self.now();
            let mut acceptances = Vec::with_capacity(ready.len());
            for items in &ready {
                let event = Event::read(digest(id, items), "", now).map_err(IntakeError::Faulty)?;
                acceptances.push(self.prepare(&event, now, None, Origin::Posted).await?.0);
            }
            digests += acceptances.len() as u64;
            if !acceptances.is_empty() {
                self.record(acceptances).await?;
            }
            if last {
                return Ok(digests);
            }
        }
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

/// The event of one person's digest.
fn digest(batch: Id, items: &[BatchItem]) -> Value {
    let first = items.first().expect("a person has at least one item");
    let glances: Vec<_> = items.iter().map(|item| item.bytes.as_deref().and_then(glance)).collect();
    let mut lines: Vec<String> = glances.iter().flatten().take(LINES).map(|glance| glance.subject.clone()).collect();
    if lines.len() < items.len() {
        lines.push(format!("… +{}", items.len() - lines.len()));
    }
    let mut object = json!({"mail": first.to});
    if let Some(locale) = glances.iter().flatten().find_map(|glance| glance.locale.as_ref()) {
        object["locale"] = json!(locale.to_string());
    }
    json!({
        "specversion": "1.0",
        "id": format!("digest/{batch}/{}/{}", first.to.to_lowercase(), first.id),
        "source": "tidings",
        "type": format!("{TYPE_PREFIX}digest"),
        "data": {"object": object, "details": {"count": items.len(), "lines": lines.join("\n")}},
    })
}
