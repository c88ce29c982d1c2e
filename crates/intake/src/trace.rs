//! The stored answer to "why did, or did not, X get this mail?"

use crate::{Intake, IntakeError};
use serde_json::{Value, json};
use std::collections::HashMap;
use tidings_core::{Id, kind::TYPE_PREFIX, outbox::State};
use tidings_store::{FanOutRow, Filter};

/// Fan-outs of one event that are shown: one for each rule and crowd.
const MOST: u16 = 100;
/// Letters of one event that are looked at for being held; one decision tells hardly more.
const HELD: u16 = 2000;

impl Intake {
    /// An accepted event with its trace, or `None` if no event has this id. Letters that stand held now say why.
    ///
    /// # Errors
    /// If the store cannot be asked.
    pub async fn trace(&self, id: Id) -> Result<Option<Value>, IntakeError> {
        let Some(event) = self.store.event(id).await? else { return Ok(None) };
        let fan_outs: Vec<Value> = self.store.fan_outs(Some(id), MOST).await?.iter().map(progress).collect();
        let parsed = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap_or(Value::Null);
        let mut trace = parsed(&event.trace);
        self.note_held(id, &mut trace).await?;
        Ok(Some(json!({
            "id": event.id,
            "source": event.source,
            "event": event.event_id,
            "type": format!("{TYPE_PREFIX}{}", event.kind),
            "time": event.time,
            "accepted_at": event.accepted_at,
            "data": parsed(&event.data),
            "trace": trace,
            "fan_outs": fan_outs,
        })))
    }
}

impl Intake {
    /// Adds to each letter of a trace that is held now why it is: the flood guard judges when the event is on its way into the database, behind the trace.
    async fn note_held(&self, event: Id, trace: &mut Value) -> Result<(), IntakeError> {
        let Some(letters) = trace["letters"].as_array_mut().filter(|letters| !letters.is_empty()) else { return Ok(()) };
        let filter = Filter { event: Some(event), state: Some(State::Held), ..Filter::default() };
        let held = self.store.items(filter, None, HELD).await?.items;
        let why: HashMap<String, String> = held.into_iter().filter_map(|item| Some((item.id.to_string(), item.last_reply?))).collect();
        for letter in letters {
            if let Some(why) = letter["item"].as_str().and_then(|item| why.get(item)) {
                letter["held"] = json!(why);
            }
        }
        Ok(())
    }
}

/// How far a fan-out has come.
fn progress(row: &FanOutRow) -> Value {
    let plan = serde_json::from_slice::<Value>(&row.plan).unwrap_or(Value::Null);
    json!({
        "id": row.id,
        "rule": row.rule,
        "audience": plan["audience"],
        "told": row.told,
        "not_told": row.passed,
        "chunks": row.steps,
        "batch": row.batch,
        "begun_at": row.begun_at,
        "ended_at": row.ended_at,
    })
}
