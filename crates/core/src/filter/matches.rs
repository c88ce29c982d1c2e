//! A filter held against a JSON object.
//!
//! Several values match if one of them does (RFC 7644 §3.4.2.2). Texts are compared without regard to case, but for attributes that RFC 7643 calls case-exact; texts that both are
//! moments are compared as such. An attribute that is not there is `null`: it equals null, is not equal to anything else, and nothing more can be said of it.

use super::{Attribute, Filter, Operator, Test};
use crate::Timestamp;
use serde_json::{Map, Value};
use std::cmp::Ordering;

/// Attributes and sub-attributes whose case counts (RFC 7643 §§3.1, 7, 8.7: `caseExact`, references, binaries).
const CASE_EXACT: [&str; 6] = ["id", "externalid", "$ref", "location", "version", "profileurl"];

/// The schemas whose attributes stand at the top of a resource, not below their own name: `…:core:2.0:User` and its siblings.
const CORE: &str = "urn:ietf:params:scim:schemas:core:";

impl Filter {
    /// Whether the filter holds for this object.
    pub fn matches(&self, object: &Map<String, Value>) -> bool {
        match self {
            Self::And(terms) => terms.iter().all(|term| term.matches(object)),
            Self::Or(terms) => terms.iter().any(|term| term.matches(object)),
            Self::Not(term) => !term.matches(object),
            Self::Attribute(attribute, test) => attribute.passes(object, test),
            Self::Element(attribute, filter, sub) => elements(attribute.resolve(object)).any(|element| {
                let chosen = match element {
                    Value::Object(element) => filter.matches(element),
                    // A simple value is its own `value` (RFC 7643 §2.4).
                    simple => filter.matches(&Map::from_iter([("value".to_owned(), simple.clone())])),
                };
                chosen && sub.as_ref().is_none_or(|(sub, test)| test.holds_for(value_of(element, sub), is_case_exact(sub)))
            }),
        }
    }
}

impl Attribute {
    /// The attribute's value without regard to its sub-attribute, if the object has it.
    pub fn resolve<'a>(&self, object: &'a Map<String, Value>) -> Option<&'a Value> {
        let Some(schema) = &self.schema else { return get(object, &self.name) };
        if let Some(Value::Object(extension)) = get(object, schema) {
            return get(extension, &self.name);
        }
        if schema.get(..CORE.len()).is_some_and(|start| start.eq_ignore_ascii_case(CORE)) {
            return get(object, &self.name);
        }
        // `urn:…:2.0:User` itself: the whole extension.
        get(object, &format!("{schema}:{}", self.name))
    }

    fn passes(&self, object: &Map<String, Value>, test: &Test) -> bool {
        let value = self.resolve(object);
        match &self.sub {
            None => test.holds_for(value, is_case_exact(&self.name)),
            Some(sub) => {
                let exact = is_case_exact(sub) || (sub.eq_ignore_ascii_case("resourceType") && self.name.eq_ignore_ascii_case("meta"));
                let mut subs = elements(value).map(|element| value_of(element, sub)).peekable();
                if subs.peek().is_none() {
                    return test.holds_for(None, exact);
                }
                subs.any(|value| test.holds_for(value, exact))
            }
        }
    }
}

/// A member of an object, its name written in any case.
pub(super) fn get<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

fn is_case_exact(name: &str) -> bool {
    CASE_EXACT.iter().any(|exact| name.eq_ignore_ascii_case(exact))
}

fn elements(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    let (many, one) = match value {
        Some(Value::Array(values)) => (values.as_slice(), None),
        Some(Value::Null) | None => (&[][..], None),
        Some(one) => (&[][..], Some(one)),
    };
    many.iter().chain(one)
}

fn value_of<'a>(element: &'a Value, sub: &str) -> Option<&'a Value> {
    match element {
        Value::Object(element) => get(element, sub),
        simple if sub.eq_ignore_ascii_case("value") => Some(simple),
        _ => None,
    }
}

impl Test {
    fn holds_for(&self, value: Option<&Value>, exact: bool) -> bool {
        match (self, value) {
            (Self::Present, value) => value.is_some_and(is_present),
            (Self::Compare(operator, wanted), Some(Value::Array(values))) if !values.is_empty() => {
                values.iter().any(|value| compares(*operator, Some(value), wanted, exact))
            }
            (Self::Compare(operator, wanted), value) => compares(*operator, value, wanted, exact),
        }
    }
}

/// There, and not empty (RFC 7644, table 3).
fn is_present(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(values) => values.iter().any(is_present),
        Value::Object(map) => map.values().any(is_present),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

fn compares(operator: Operator, found: Option<&Value>, wanted: &Value, exact: bool) -> bool {
    // Of a complex value, its `value` is compared.
    let found = match found {
        Some(Value::Object(map)) => get(map, "value"),
        other => other,
    };
    let found = found.filter(|value| !value.is_null());
    match operator {
        Operator::Equal => equal(found, wanted, exact),
        Operator::NotEqual => !equal(found, wanted, exact),
        Operator::Contains | Operator::StartsWith | Operator::EndsWith => {
            let (Some(found), Some(wanted)) = (found.and_then(text_of), wanted.as_str()) else { return false };
            let (found, wanted) = if exact { (found, wanted.to_owned()) } else { (found.to_lowercase(), wanted.to_lowercase()) };
            match operator {
                Operator::Contains => found.contains(&wanted),
                Operator::StartsWith => found.starts_with(&wanted),
                _ => found.ends_with(&wanted),
            }
        }
        Operator::Greater => order(found, wanted, exact).is_some_and(Ordering::is_gt),
        Operator::GreaterOrEqual => order(found, wanted, exact).is_some_and(Ordering::is_ge),
        Operator::Less => order(found, wanted, exact).is_some_and(Ordering::is_lt),
        Operator::LessOrEqual => order(found, wanted, exact).is_some_and(Ordering::is_le),
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn equal(found: Option<&Value>, wanted: &Value, exact: bool) -> bool {
    match (found, wanted) {
        (None, wanted) => wanted.is_null(),
        (Some(Value::Bool(found)), Value::Bool(wanted)) => found == wanted,
        // Clients write truth values as texts, "True" among them.
        (Some(Value::Bool(truth)), Value::String(text)) | (Some(Value::String(text)), Value::Bool(truth)) => {
            text.eq_ignore_ascii_case(if *truth { "true" } else { "false" })
        }
        (Some(found), wanted) => order(Some(found), wanted, exact).is_some_and(Ordering::is_eq),
    }
}

fn order(found: Option<&Value>, wanted: &Value, exact: bool) -> Option<Ordering> {
    match (found?, wanted) {
        (Value::Number(found), Value::Number(wanted)) => match (found.as_i128(), wanted.as_i128()) {
            (Some(found), Some(wanted)) => Some(found.cmp(&wanted)),
            _ => found.as_f64()?.partial_cmp(&wanted.as_f64()?),
        },
        (Value::String(found), Value::String(wanted)) => {
            if found == wanted {
                return Some(Ordering::Equal);
            }
            if let (Some(found), Some(wanted)) = (moment(found), moment(wanted)) {
                return Some(found.cmp(&wanted));
            }
            Some(if exact { found.cmp(wanted) } else { found.to_lowercase().cmp(&wanted.to_lowercase()) })
        }
        _ => None,
    }
}

/// A text that is a moment, `2026-11-22T05:00:00Z`; looked at only if it could be one.
fn moment(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    if bytes.len() < 17 || bytes[4] != b'-' || bytes[7] != b'-' { None } else { text.parse().ok() }
}
