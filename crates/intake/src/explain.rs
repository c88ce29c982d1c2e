//! "Who would be told?" answered by the very code that tells, without writing or sending anything.

use crate::{
    Desk, IntakeError,
    desk::{Names, readers},
};
use serde_json::Value;
use tidings_core::{
    Event, Id,
    policy::{Facts, decide},
    trace::Trace,
};

/// What an event would lead to.
#[derive(Debug, serde::Serialize)]
pub struct Explanation {
    /// The event's source.
    pub source: String,
    /// The event's id.
    pub event: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Rule by rule, person by person, letter by letter.
    pub trace: Trace,
}

impl Desk {
    /// Says who would be told what and why. `at` is the JSON pointer of the event in what was read.
    ///
    /// # Errors
    /// [`IntakeError::Faulty`] if the event would not be accepted.
    pub fn explain(&self, event: Value, at: &str) -> Result<Explanation, IntakeError> {
        let now = self.parts.clock.now();
        let event = Event::read(event, at, now).map_err(IntakeError::Faulty)?;
        let mut decision = decide(&event, &self.parts.rules, &Facts::NONE);
        let nobody = Names { event: Id::from_number(0), letter: Id::from_number(0), installation: "explained" };
        for notice in &decision.notices {
            let composed = self.compose(&event, notice, None, nobody, now)?;
            decision.trace.letters.extend(readers(notice).map(|(reader, role)| self.trace_of(notice, reader, role, &composed, None)));
        }
        Ok(Explanation { source: event.source.clone(), event: event.id.clone(), kind: event.type_name(), trace: decision.trace })
    }
}
