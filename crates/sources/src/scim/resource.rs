//! Resources as clients write them, checked against the schemas: names in their own spelling, values of their type, nothing that is not the client's to write.
//!
//! Attributes of a known schema that it does not have are left out; extensions that nobody here knows are kept as they are.

use super::{
    error::ScimError,
    schema::{Attribute, COMMON, Kind, Mutability, Type, find},
};
use serde_json::{Map, Value};
use tidings_core::{Timestamp, event::clip};

/// Reads the body of a creation or replacement.
///
/// # Errors
/// `invalidSyntax` if it is no resource of this kind, `invalidValue` for a value that does not fit.
pub(super) fn read(kind: Kind, body: Value) -> Result<Map<String, Value>, ScimError> {
    let Value::Object(body) = body else { return Err(ScimError::syntax("a resource is a JSON object")) };
    let mut resource = Map::new();
    let mut named = false;
    for (key, value) in body {
        if key.eq_ignore_ascii_case("schemas") {
            named = names_schema(&value, kind)?;
        } else if key.len() > 4 && key.as_bytes()[..4].eq_ignore_ascii_case(b"urn:") {
            read_extension(kind, &key, value, &mut resource)?;
        } else if let Some(attribute) = attribute(kind, &key)
            && let Some(value) = coerce(attribute, value, attribute.name)?
        {
            resource.insert(attribute.name.to_owned(), value);
        }
    }
    if !named {
        return Err(ScimError::value(format!("`schemas` must name {}", kind.core().id)));
    }
    check_required(kind, &resource)?;
    Ok(resource)
}

/// Whether a message says that it is one of this schema.
///
/// # Errors
/// `invalidSyntax` if it does not.
pub(super) fn check_schema(message: &Value, schema: &str) -> Result<(), ScimError> {
    let member = message.as_object().and_then(|map| map.iter().find(|(key, _)| key.eq_ignore_ascii_case("schemas")));
    let named = member.and_then(|(_, schemas)| schemas.as_array()).is_some_and(|schemas| schemas.iter().any(|one| one == schema));
    if named { Ok(()) } else { Err(ScimError::syntax(format!("`schemas` must name {schema}"))) }
}

/// A top-level attribute, in any case.
pub(super) fn attribute(kind: Kind, name: &str) -> Option<&'static Attribute> {
    find(&COMMON, name).or_else(|| find(kind.core().attributes, name))
}

fn names_schema(schemas: &Value, kind: Kind) -> Result<bool, ScimError> {
    let Value::Array(schemas) = schemas else { return Err(ScimError::syntax("`schemas` is a list of schema names")) };
    let is_core = |schema: &Value| schema.as_str().is_some_and(|schema| schema.eq_ignore_ascii_case(kind.core().id));
    Ok(schemas.iter().any(is_core))
}

/// An extension's attributes; those of a known one are checked.
fn read_extension(kind: Kind, id: &str, value: Value, resource: &mut Map<String, Value>) -> Result<(), ScimError> {
    let Some(schema) = kind.extension(id) else {
        if !is_empty(&value) && !id.eq_ignore_ascii_case(kind.core().id) {
            resource.insert(id.to_owned(), value);
        }
        return Ok(());
    };
    match value {
        Value::Null => {}
        Value::Object(map) => {
            let read = members(schema.attributes, map, schema.id)?;
            if !read.is_empty() {
                resource.insert(schema.id.to_owned(), Value::Object(read));
            }
        }
        _ => return Err(ScimError::value(format!("`{}` is an object", schema.id))),
    }
    Ok(())
}

/// Whether everything that must be there is (RFC 7643 §2.2 `required`).
///
/// # Errors
/// `invalidValue`.
pub(super) fn check_required(kind: Kind, resource: &Map<String, Value>) -> Result<(), ScimError> {
    for attribute in kind.core().attributes.iter().filter(|attribute| attribute.required) {
        let there = resource.get(attribute.name).and_then(Value::as_str).is_some_and(|text| !text.trim().is_empty());
        if !there {
            return Err(ScimError::value(format!("`{}` is required", attribute.name)));
        }
    }
    Ok(())
}

/// A value brought into the form of its attribute; `None` if it is not the client's to write, or says that there is none (RFC 7643 §2.5).
///
/// Truth values may be texts, numbers may stand for texts, one value may stand for a list of one: clients send them so.
///
/// # Errors
/// `invalidValue` if it is of another type.
pub(super) fn coerce(attribute: &'static Attribute, value: Value, at: &str) -> Result<Option<Value>, ScimError> {
    if attribute.mutability == Mutability::ReadOnly || is_empty(&value) {
        return Ok(None);
    }
    let read = match value {
        Value::Array(values) if attribute.many => {
            let read: Vec<Value> =
                values.into_iter().filter_map(|value| one(attribute, value, at).transpose()).collect::<Result<_, _>>()?;
            check_primary(&read, at)?;
            (!read.is_empty()).then_some(Value::Array(read))
        }
        value if attribute.many => one(attribute, value, at)?.map(|value| Value::Array(vec![value])),
        value => one(attribute, value, at)?,
    };
    // Of what is only written, that it is well written was all we wanted to know.
    Ok(read.filter(|_| attribute.mutability != Mutability::WriteOnly))
}

/// As [`coerce`], for one value.
pub(super) fn one(attribute: &'static Attribute, value: Value, at: &str) -> Result<Option<Value>, ScimError> {
    let wrong = |found: &Value| Err(ScimError::value(format!("`{at}` is of type {}, found {}", attribute.of.as_str(), shown(found))));
    match (attribute.of, value) {
        (_, Value::Null) => Ok(None),
        (Type::Complex, Value::Object(map)) => {
            let read = members(attribute.subs, map, at)?;
            Ok((!read.is_empty()).then_some(Value::Object(read)))
        }
        // A text alone is its `value`: so Entra ID writes managers.
        (Type::Complex, Value::String(text)) if attribute.sub("value").is_some() => {
            Ok((!text.is_empty()).then(|| Value::Object(Map::from_iter([("value".to_owned(), Value::String(text))]))))
        }
        (Type::Boolean, Value::Bool(flag)) => Ok(Some(Value::Bool(flag))),
        (Type::Boolean, Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(Some(Value::Bool(true))),
        (Type::Boolean, Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(Some(Value::Bool(false))),
        (Type::Moment, Value::String(text)) if text.parse::<Timestamp>().is_ok() => Ok(Some(Value::String(text))),
        (Type::Text | Type::Binary | Type::Reference, Value::String(text)) => Ok(Some(Value::String(text))),
        (Type::Text, Value::Number(number)) => Ok(Some(Value::String(number.to_string()))),
        (_, found) => wrong(&found),
    }
}

/// The attributes of an object, each in its own spelling.
fn members(attributes: &'static [Attribute], map: Map<String, Value>, at: &str) -> Result<Map<String, Value>, ScimError> {
    let mut read = Map::new();
    for (key, value) in map {
        if let Some(attribute) = find(attributes, &key)
            && let Some(value) = coerce(attribute, value, &format!("{at}.{}", attribute.name))?
        {
            read.insert(attribute.name.to_owned(), value);
        }
    }
    Ok(read)
}

/// `primary` is true once at most (RFC 7643 §2.4).
pub(super) fn check_primary(values: &[Value], at: &str) -> Result<(), ScimError> {
    let primary = values.iter().filter(|value| value.get("primary") == Some(&Value::Bool(true))).count();
    if primary > 1 { Err(ScimError::value(format!("of `{at}`, one value at most is primary"))) } else { Ok(()) }
}

/// No value, a list of none, or an object without members: as good as not there (RFC 7643 §2.5).
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) => format!("`{}`", clip(text)),
        simple => simple.to_string(),
    }
}
