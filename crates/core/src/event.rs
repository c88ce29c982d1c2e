//! Events: something that happened, as a CloudEvent 1.0 gives it, checked at the door.

use crate::{
    fault::{Place, has_control, name_of},
    kind::{Kind, Shape, TYPE_PREFIX},
    subject::Party,
    time::Timestamp,
};
use serde_json::{Map, Value};
use std::borrow::Cow;

pub use crate::fault::{Fault, clip};

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// The CloudEvent's id; with `source` it names the event once and for all.
    pub id: String,
    /// Who says so.
    pub source: String,
    /// What happened: the type without its prefix, a kind that this house knows.
    pub kind: &'static Kind,
    /// The CloudEvent's own `subject`, if any.
    pub subject: Option<String>,
    /// When it happened; the moment of acceptance if the event does not say.
    pub time: Timestamp,
    /// Who did it.
    pub actor: Option<Party>,
    /// What it is about.
    pub object: Option<Party>,
    /// The added, removed or otherwise concerned member.
    pub member: Option<Party>,
    /// The whole `data`, for conditions and letters.
    pub data: Map<String, Value>,
}

/// How the `source` of an event begins that a directory's source found; the directory's name follows.
pub const DIRECTORY_SOURCE: &str = "directory/";

/// Longest `id` and `source` that are accepted, in bytes.
pub const MAX_NAME_BYTES: usize = 1024;

impl Event {
    /// Reads an event from the JSON form of a CloudEvent (structured mode; binary mode is brought into this form first).
    ///
    /// `at` is the JSON pointer of the event in what was received (empty, or `/3` in a batch); `received` is used when the event has no `time`.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place: a wrong `specversion`, a missing attribute, an unknown type, an address with a line break …
    pub fn read(value: Value, at: &str, received: Timestamp) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let Value::Object(mut envelope) = value else {
            return Err(vec![Fault::at(at, format!("expected a CloudEvent object, found {}", name_of(&value)))]);
        };
        match envelope.get("specversion").and_then(Value::as_str) {
            Some("1.0") => {}
            Some(other) => faults
                .push(Fault::at(&format!("{at}/specversion"), format!("`{}` is not supported; `1.0` is (CloudEvents 1.0)", clip(other)))),
            None => faults.push(Fault::at(&format!("{at}/specversion"), "missing; must be `1.0` (CloudEvents 1.0)")),
        }
        let id = attribute(&mut envelope, "id", at, &mut faults);
        let source = attribute(&mut envelope, "source", at, &mut faults);
        let kind = Self::read_type(&mut envelope, at, &mut faults);
        let time = Self::read_time(&envelope, at, received, &mut faults);
        let subject = match envelope.remove("subject") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if !has_control(&text, b"") => Some(text),
            Some(_) => {
                faults.push(Fault::at(&format!("{at}/subject"), "must be one line of text without control characters"));
                None
            }
        };
        let data = Self::read_data(&mut envelope, at, &mut faults);
        let (mut actor, mut object, mut member) = (None, None, None);
        if let Some(data) = &data {
            for (name, slot) in [("actor", &mut actor), ("object", &mut object), ("member", &mut member)] {
                if let Some(value) = data.get(name).filter(|v| !v.is_null()) {
                    *slot = Party::read_below(value, &Place::At(at).key("data").key(name), &mut faults);
                }
            }
            if let Some(kind) = kind {
                check_variables(kind, data, at, &mut faults);
            }
            check_texts(data, &Place::At(at).key("data"), &mut faults);
        }
        match (id, source, kind, data) {
            (Some(id), Some(source), Some(kind), Some(data)) if faults.is_empty() => {
                Ok(Self { id, source, kind, subject, time, actor, object, member, data })
            }
            _ => Err(faults),
        }
    }

    /// The directory it is of: the one whose source found it, else the one that its object says it is of.
    pub fn directory(&self) -> Option<&str> {
        self.source.strip_prefix(DIRECTORY_SOURCE).or_else(|| {
            let object = self.object.as_ref()?;
            match &object.reference {
                Some(reference) => reference.split_once('/').map(|(directory, _)| directory),
                None => self.data.get("object")?.get("directory")?.as_str(),
            }
        })
    }

    fn read_type(envelope: &mut Map<String, Value>, at: &str, faults: &mut Vec<Fault>) -> Option<&'static Kind> {
        let name = attribute(envelope, "type", at, faults)?;
        let at = Place::At(at);
        let at = at.key("type");
        let Some(short) = name.strip_prefix(TYPE_PREFIX) else {
            faults.push(at.fault(format!("`{}` is not a type of this house; types begin with `{TYPE_PREFIX}`", clip(&name))));
            return None;
        };
        let found = Kind::find(short);
        if found.is_none() {
            let hint = Kind::nearest(short).map_or_else(String::new, |near| format!("; did you mean `{TYPE_PREFIX}{near}`?"));
            faults.push(at.fault(format!("`{}` is not a known type{hint}", clip(&name))));
        }
        found
    }

    fn read_time(envelope: &Map<String, Value>, at: &str, received: Timestamp, faults: &mut Vec<Fault>) -> Timestamp {
        match envelope.get("time") {
            None | Some(Value::Null) => received,
            Some(Value::String(text)) => text.parse().unwrap_or_else(|_| {
                faults.push(Fault::at(
                    &format!("{at}/time"),
                    format!("`{}` is not a moment such as `2026-11-21T09:00:00Z` (RFC 3339)", clip(text)),
                ));
                received
            }),
            Some(other) => {
                faults.push(Fault::at(
                    &format!("{at}/time"),
                    format!("expected a text such as `2026-11-21T09:00:00Z`, found {}", name_of(other)),
                ));
                received
            }
        }
    }

    fn read_data(envelope: &mut Map<String, Value>, at: &str, faults: &mut Vec<Fault>) -> Option<Map<String, Value>> {
        let content_type = envelope.get("datacontenttype").and_then(Value::as_str).unwrap_or("application/json");
        if !is_json(content_type) {
            faults
                .push(Fault::at(&format!("{at}/datacontenttype"), format!("`{}` is not supported; data must be JSON", clip(content_type))));
            return None;
        }
        if envelope.contains_key("data_base64") {
            faults.push(Fault::at(&format!("{at}/data_base64"), "binary data is not supported; give a JSON object in `data`"));
            return None;
        }
        match envelope.remove("data") {
            Some(Value::Object(map)) => Some(map),
            None => {
                faults.push(Fault::at(&format!("{at}/data"), "missing; must be an object"));
                None
            }
            Some(other) => {
                faults.push(Fault::at(&format!("{at}/data"), format!("expected an object, found {}", name_of(&other))));
                None
            }
        }
    }

    /// The same event with its data completed: `actor`, `object` and `member` are read anew. One that cannot be read stays as it was.
    #[must_use]
    pub fn with_data(&self, data: Map<String, Value>) -> Self {
        let read = |name: &str, known: &Option<Party>| {
            let value = data.get(name).filter(|value| !value.is_null());
            value.and_then(|value| Party::read(value, "", &mut Vec::new())).or_else(|| known.clone())
        };
        let (actor, object, member) = (read("actor", &self.actor), read("object", &self.object), read("member", &self.member));
        let (id, source, subject) = (self.id.clone(), self.source.clone(), self.subject.clone());
        Self { id, source, kind: self.kind, subject, time: self.time, actor, object, member, data }
    }

    /// The value at a JSON pointer below `data`.
    pub fn value(&self, pointer: &str) -> Option<&Value> {
        lookup(&self.data, pointer)
    }

    /// The CloudEvent's `type`, with its prefix.
    pub fn type_name(&self) -> String {
        format!("{TYPE_PREFIX}{}", self.kind.name)
    }
}

/// Whether a media type means JSON (`application/json`, `…+json`), parameters ignored.
pub fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

/// The value at a JSON pointer (RFC 6901) below a map.
pub fn lookup<'a>(map: &'a Map<String, Value>, pointer: &str) -> Option<&'a Value> {
    let mut steps = pointer.strip_prefix('/')?.split('/').map(unescaped);
    let mut value = map.get(&*steps.next()?)?;
    for step in steps {
        value = match value {
            Value::Object(map) => map.get(&*step)?,
            Value::Array(list) => list.get(step.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(value)
}

/// A step of a JSON pointer as it was before escaping (RFC 6901 §4).
fn unescaped(step: &str) -> Cow<'_, str> {
    if step.contains('~') { Cow::Owned(step.replace("~1", "/").replace("~0", "~")) } else { Cow::Borrowed(step) }
}

fn attribute(envelope: &mut Map<String, Value>, name: &str, at: &str, faults: &mut Vec<Fault>) -> Option<String> {
    let at = Place::At(at);
    let at = at.key(name);
    match envelope.remove(name) {
        Some(Value::String(text)) if text.is_empty() => faults.push(at.fault("is empty; must be a non-empty text")),
        Some(Value::String(text)) if text.len() > MAX_NAME_BYTES => {
            faults.push(at.fault(format!("is {} bytes long; at most {MAX_NAME_BYTES} are allowed", text.len())));
        }
        Some(Value::String(text)) if has_control(&text, b"") => faults.push(at.fault("holds a control character")),
        Some(Value::String(text)) => return Some(text),
        None => faults.push(at.fault("missing; must be a non-empty text")),
        Some(other) => faults.push(at.fault(format!("expected a text, found {}", name_of(&other)))),
    }
    None
}

fn check_variables(kind: &Kind, data: &Map<String, Value>, at: &str, faults: &mut Vec<Fault>) {
    for variable in kind.variables {
        let pointer = || format!("{at}/data{}", variable.pointer);
        match lookup(data, variable.pointer) {
            None | Some(Value::Null) if variable.required => {
                faults.push(Fault::at(&pointer(), format!("missing; `{}` needs it: {}", kind.name, variable.meaning)));
            }
            None | Some(Value::Null) => {}
            Some(value) => {
                if let Some(wrong) = misfit(variable.shape, value) {
                    faults.push(Fault::at(&pointer(), wrong));
                }
            }
        }
    }
}

fn misfit(shape: Shape, value: &Value) -> Option<String> {
    let expected = |what: &str| Some(format!("expected {what}, found {}", name_of(value)));
    match (shape, value) {
        (Shape::Text, Value::String(text)) if text.is_empty() => Some("is empty".to_owned()),
        (Shape::Text, Value::String(_) | Value::Number(_))
        | (Shape::Number, Value::Number(_))
        | (Shape::Flag, Value::Bool(_))
        | (Shape::Map, Value::Object(_))
        | (Shape::Party, _) => None,
        (Shape::Time, Value::String(text)) if text.parse::<Timestamp>().is_ok() || text.parse::<jiff::civil::Date>().is_ok() => None,
        (Shape::Time, Value::String(text)) => {
            Some(format!("`{}` is neither a date such as `2026-12-31` nor a moment such as `2026-12-31T09:00:00Z`", clip(text)))
        }
        (Shape::Url, Value::String(text)) if is_web_url(text) => None,
        (Shape::Url, Value::String(_)) => Some("is not an http or https address without blanks".to_owned()),
        (Shape::Text, _) => expected("a text"),
        (Shape::Number, _) => expected("a number"),
        (Shape::Flag, _) => expected("true or false"),
        (Shape::Time, _) => expected("a date or a moment"),
        (Shape::Url, _) => expected("an http or https address"),
        (Shape::Map, _) => expected("an object"),
    }
}

/// Whether `text` is an http(s) address that may become a link in a letter.
pub fn is_web_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && !text.chars().any(|c| c.is_whitespace() || c.is_control() || "<>\"\\^`{|}".contains(c))
}

/// NUL and other control characters are refused in every text of the data; line breaks and tabs are allowed in free text.
fn check_texts(map: &Map<String, Value>, at: &Place<'_>, faults: &mut Vec<Fault>) {
    for (key, value) in map {
        check_text(value, &at.key(key), faults);
    }
}

fn check_text(value: &Value, at: &Place<'_>, faults: &mut Vec<Fault>) {
    match value {
        Value::String(text) if has_control(text, b"\n\r\t") => faults.push(at.fault("holds NUL or another control character")),
        Value::Array(list) => {
            for (index, one) in list.iter().enumerate() {
                check_text(one, &at.index(index), faults);
            }
        }
        Value::Object(map) => check_texts(map, at, faults),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn joined() -> Value {
        json!({"specversion":"1.0","id":"4711","source":"hr","type":"tidings.membership.joined","time":"2026-11-21T09:00:00Z",
          "data":{"object":{"type":"group","id":"g7","name":"Payroll","owners":[{"name":"Grace","mail":"grace@example.org"},{"name":"Ada","mail":"ada@example.org","primary":true}]},
                  "member":{"id":"u3","name":"Linus","mail":"linus@example.org","locale":"fr"}}})
    }

    #[test]
    fn an_event_is_of_the_directory_that_found_it_or_that_its_object_names() {
        let of = |source: &str, object: Value| {
            let mut event = joined();
            event["source"] = json!(source);
            event["data"]["object"] = object;
            Event::read(event, "", Timestamp::UNIX_EPOCH).unwrap().directory().map(str::to_owned)
        };
        assert_eq!(of("directory/corp", json!({"directory": "lab"})).as_deref(), Some("corp"));
        assert_eq!(of("hr", json!({"type": "group", "directory": "corp"})).as_deref(), Some("corp"));
        assert_eq!(of("hr", json!("corp/g7")).as_deref(), Some("corp"));
        assert_eq!(of("hr", json!({"type": "group"})), None);
    }

    fn faults(value: Value) -> Vec<String> {
        Event::read(value, "", Timestamp::UNIX_EPOCH).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_whole_event_is_read_and_the_primary_owner_stands_first() {
        let event = Event::read(joined(), "", Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(event.kind.name, "membership.joined");
        assert_eq!(event.object.unwrap().primary_owners()[0].name.as_deref(), Some("Ada"));
        assert_eq!(event.member.unwrap().locale.unwrap().as_str(), "fr");
    }

    #[test]
    fn every_fault_is_named_with_its_place() {
        let mut event = joined();
        event["specversion"] = json!("0.3");
        event["type"] = json!("tidings.membership.join");
        event["time"] = json!("yesterday");
        event["data"]["member"]["mail"] = json!("linus@example.org\r\nBcc: eve@example.org");
        event["data"]["object"]["name"] = json!("Pay\0roll");
        let faults = faults(event);
        assert!(faults[0].starts_with("/specversion: `0.3`"), "{faults:?}");
        assert!(faults[1].contains("did you mean `tidings.membership.joined`?"), "{faults:?}");
        assert!(faults[2].starts_with("/time: "), "{faults:?}");
        assert!(faults.iter().any(|f| f.starts_with("/data/member/mail: ") && f.contains("control character")), "{faults:?}");
        assert!(faults.iter().any(|f| f.starts_with("/data/object/name: ")), "{faults:?}");
    }

    #[test]
    fn a_missing_variable_is_named_with_its_meaning() {
        let event = json!({"specversion":"1.0","id":"1","source":"hr","type":"tidings.password.expiring","data":{"object":{"mail":"ada@example.org"}}});
        assert_eq!(faults(event), ["/data/details/expires_at: missing; `password.expiring` needs it: when the password expires"]);
    }

    #[test]
    fn a_link_that_is_no_web_address_is_refused() {
        let event = json!({"specversion":"1.0","id":"1","source":"hr","type":"tidings.password.reset_link","data":{"object":{"mail":"ada@example.org"},"details":{"link":"javascript:alert(1)"}}});
        assert_eq!(faults(event), ["/data/details/link: is not an http or https address without blanks"]);
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        assert_eq!(faults(json!([1])), [": expected a CloudEvent object, found a list"]);
        assert!(faults(json!({})).len() >= 4);
    }
}
