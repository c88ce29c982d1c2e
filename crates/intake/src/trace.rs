//! The stored answer to "why did, or did not, X get this mail?"

use crate::{Intake, IntakeError};
use serde_json::{Value, json};
use tidings_core::{Id, kind::TYPE_PREFIX};

impl Intake {
    /// An accepted event with its trace, or `None` if no event has this id.
    ///
    /// # Errors
    /// If the store cannot be asked.
    pub async fn trace(&self, id: Id) -> Result<Option<Value>, IntakeError> {
        let Some(event) = self.store.event(id).await? else { return Ok(None) };
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
        })))
    }
}
