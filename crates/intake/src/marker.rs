//! Markers: a value in an attribute of an entry that asks for a letter. One that is found becomes one event, recorded together with the note that it is being answered.

use crate::{Feed, IntakeError, facts::Origin, news};
use serde_json::{Map, Value, json};
use tidings_core::{Event, Id, Kind, Timestamp, directory::Head, kind::TYPE_PREFIX};
use tidings_store::NewMarker;

/// A marker that was found on an entry.
#[derive(Debug, Clone)]
pub struct MarkerFound {
    /// Where, and which.
    pub marker: NewMarker,
    /// What the letter is to be about.
    pub kind: &'static Kind,
    /// The entry.
    pub head: Head,
    /// What the letter is to have below `/details`.
    pub details: Map<String, Value>,
    /// Whether many others were found with it.
    pub many: bool,
}

/// What became of a marker that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkerNoted {
    /// Its event.
    pub event: Id,
    /// Letters that it made at once.
    pub letters: usize,
    /// Whether more follow in chunks.
    pub crowd: bool,
}

impl Feed {
    /// The time, as the house has it.
    pub fn now(&self) -> Timestamp {
        self.intake.now()
    }

    /// Makes a marker an event of its kind with the source `directory/NAME`, about the entry as its object. `None` if it is being answered already.
    ///
    /// # Errors
    /// [`IntakeError::Faulty`] if no event of the kind can be made of the entry; [`IntakeError::Store`] if it cannot be recorded now.
    pub async fn note_marker(&self, found: MarkerFound) -> Result<Option<MarkerNoted>, IntakeError> {
        let now = self.now();
        let directory = found.marker.directory.clone();
        let mut data = json!({"object": news::party(&directory, &found.head)});
        if !found.details.is_empty() {
            data["details"] = Value::Object(found.details);
        }
        let event = json!({
            "specversion": "1.0",
            // Which setting it is nobody can tell by the entry; that there is one event for one setting is the store's promise.
            "id": format!("{}/marker/{}", found.marker.key, self.mint()),
            "source": format!("directory/{directory}"),
            "type": format!("{TYPE_PREFIX}{}", found.kind.name),
            "data": data,
        });
        let event = Event::read(event, "", now).map_err(IntakeError::Faulty)?;
        let (mut acceptance, _) = self.intake.prepare(&event, now, None, Origin::Posted).await?;
        self.put_off(&directory).await?;
        let wait = self.wait(&directory, 1, found.many);
        let waiting = self.let_wait(std::slice::from_mut(&mut acceptance), wait);
        let noted = MarkerNoted { event: acceptance.id, letters: acceptance.items.len(), crowd: !acceptance.fan_outs.is_empty() };
        let is_new = self.mirror.note_marker(found.marker, acceptance).await?;
        self.intake.bell.notify_one();
        if is_new {
            self.remember(&directory, waiting);
        }
        Ok(is_new.then_some(noted))
    }
}
