//! Recalls stored events: what was accepted once, as an event again. Its secrets are gone; something stands in their place that reads like them.

use crate::secrets::{MASK, slot};
use serde_json::{Map, Value, json};
use tidings_core::{
    Event, Kind,
    kind::{Shape, TYPE_PREFIX},
};
use tidings_store::EventRecord;

/// What stands where a link with a secret stood: a name that leads nowhere (RFC 6761 §6.4).
const ERASED_LINK: &str = "https://erased.invalid/";

/// The event of a record; with other data, if it was decided on with more than it came with.
///
/// # Errors
/// What stands against it, in words: a kind or a value that this version does not take any more.
pub(crate) fn recall(record: &EventRecord, data: Option<&[u8]>) -> Result<Event, String> {
    let mut data: Map<String, Value> =
        serde_json::from_slice(data.unwrap_or(&record.data)).map_err(|error| format!("its data cannot be read: {error}"))?;
    let links = Kind::find(&record.kind).map(|kind| kind.variables).unwrap_or_default();
    for link in links.iter().filter(|variable| variable.secret && variable.shape == Shape::Url) {
        if let Some(place) = slot(&mut data, link.pointer).filter(|place| **place == *MASK) {
            *place = json!(ERASED_LINK);
        }
    }
    let event = json!({
        "specversion": "1.0",
        "id": record.event_id,
        "source": record.source,
        "type": format!("{TYPE_PREFIX}{}", record.kind),
        "time": record.time.to_string(),
        "data": data,
    });
    Event::read(event, "", record.accepted_at).map_err(|faults| faults.first().map(ToString::to_string).unwrap_or_default())
}

/// The places of a recalled event (JSON pointers) whose values were secrets and are not there any more.
pub(crate) fn erased(event: &Event) -> impl Iterator<Item = &'static str> {
    let gone = |pointer: &str| event.value(pointer).and_then(Value::as_str).is_some_and(|text| text == MASK || text == ERASED_LINK);
    event.kind.variables.iter().filter(move |variable| variable.secret && gone(variable.pointer)).map(|variable| variable.pointer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::mask;
    use tidings_core::{Id, testing::an_event};

    fn stored(event: &Event) -> EventRecord {
        EventRecord {
            id: Id::from_number(1),
            source: event.source.clone(),
            event_id: event.id.clone(),
            kind: event.kind.name.to_owned(),
            time: event.time,
            accepted_at: event.time,
            data: mask(event).0,
            trace: Vec::new(),
        }
    }

    #[test]
    fn what_was_stored_is_the_event_again() {
        let event = an_event().build();
        let again = recall(&stored(&event), None).unwrap();
        assert_eq!((again.data, again.time, again.kind.name), (event.data, event.time, "membership.joined"));
        assert_eq!(again.object.unwrap().owners.len(), 1);
    }

    #[test]
    fn an_event_without_its_secrets_is_read_all_the_same_and_says_what_is_gone() {
        for (kind, details, pointer) in [
            ("password.reset", json!({"password": "geheim-77"}), "/details/password"),
            ("password.reset_link", json!({"link": "https://portal.example.org/?token=geheim-77"}), "/details/link"),
        ] {
            let event = an_event().kind(kind).with("object", json!({"mail": "ada@example.org"})).with("details", details).build();
            assert_eq!(erased(&event).count(), 0);
            let again = recall(&stored(&event), None).unwrap();
            assert_eq!(erased(&again).collect::<Vec<_>>(), [pointer]);
        }
    }

    #[test]
    fn what_this_version_does_not_take_any_more_says_why() {
        let mut record = stored(&an_event().build());
        record.kind = "account.promoted".to_owned();
        assert!(recall(&record, None).unwrap_err().contains("not a known type"));
        record.data = b"no JSON".to_vec();
        assert!(recall(&record, None).unwrap_err().starts_with("its data cannot be read"));
    }
}
