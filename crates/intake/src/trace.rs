//! The stored answer to "why did, or did not, X get this mail?"

use crate::{Intake, IntakeError};
use serde_json::{Value, json};
use tidings_core::{Id, kind::TYPE_PREFIX};
use tidings_store::FanOutRow;

/// Fan-outs of one event that are shown: one for each rule and crowd.
const MOST: u16 = 100;

impl Intake {
    /// An accepted event with its trace, or `None` if no event has this id.
    ///
    /// # Errors
    /// If the store cannot be asked.
    pub async fn trace(&self, id: Id) -> Result<Option<Value>, IntakeError> {
        let Some(event) = self.store.event(id).await? else { return Ok(None) };
        let fan_outs: Vec<Value> = self.store.fan_outs(Some(id), MOST).await?.iter().map(progress).collect();
        let parsed = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap_or(Value::Null);
        Ok(Some(json!({
            "id": event.id,
            "source": event.source,
            "event": event.event_id,
            "type": format!("{TYPE_PREFIX}{}", event.kind),
            "time": event.time,
            "accepted_at": event.accepted_at,
            "data": parsed(&event.data),
            "trace": parsed(&event.trace),
            "fan_outs": fan_outs,
        })))
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
