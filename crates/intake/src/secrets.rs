//! Takes the secrets out of an event's data, so that what is kept in the clear shows `***` in their place.

use serde_json::{Map, Value};
use tidings_core::{Event, event::lookup};

/// What stands where a secret stood.
pub(crate) const MASK: &str = "***";

/// The event's data as JSON with its secrets masked, and the secrets by their pointers if it has any.
pub(crate) fn mask(event: &Event) -> (Vec<u8>, Option<Vec<u8>>) {
    let to_json = |value: &Map<String, Value>| serde_json::to_vec(value).expect("a JSON map serialises");
    if !event.kind.sensitive() {
        return (to_json(&event.data), None);
    }
    let mut shown = event.data.clone();
    let mut secrets = Map::new();
    for variable in event.kind.variables.iter().filter(|v| v.secret) {
        if let Some(value) = lookup(&event.data, variable.pointer) {
            secrets.insert(variable.pointer.to_owned(), value.clone());
            if let Some(place) = slot(&mut shown, variable.pointer) {
                *place = Value::String(MASK.to_owned());
            }
        }
    }
    (to_json(&shown), (!secrets.is_empty()).then(|| to_json(&secrets)))
}

/// The place of a JSON pointer in a map.
pub(crate) fn slot<'a>(map: &'a mut Map<String, Value>, pointer: &str) -> Option<&'a mut Value> {
    let (first, rest) =
        pointer.strip_prefix('/')?.split_once('/').map_or((pointer.strip_prefix('/')?, None), |(first, rest)| (first, Some(rest)));
    let value = map.get_mut(first)?;
    match rest {
        None => Some(value),
        Some(rest) => value.pointer_mut(&format!("/{rest}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tidings_core::testing::an_event;

    #[test]
    fn a_secret_is_masked_and_kept_apart() {
        let event = an_event()
            .kind("password.reset")
            .with("object", json!({"mail": "ada@example.org"}))
            .with("details", json!({"password": "geheim-77", "account": "ada"}))
            .build();
        let (shown, secrets) = mask(&event);
        let shown = String::from_utf8(shown).unwrap();
        assert!(!shown.contains("geheim") && shown.contains(MASK) && shown.contains("\"account\":\"ada\""), "{shown}");
        assert_eq!(secrets.unwrap(), br#"{"/details/password":"geheim-77"}"#);
    }

    #[test]
    fn an_event_without_secrets_is_kept_as_it_is() {
        let event = an_event().build();
        let (shown, secrets) = mask(&event);
        assert_eq!(serde_json::from_slice::<Map<String, Value>>(&shown).unwrap(), event.data);
        assert!(secrets.is_none());
    }
}
