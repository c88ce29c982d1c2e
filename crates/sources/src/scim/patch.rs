//! PATCH (RFC 7644 §3.5.2): operations read, aimed, and done to a resource that is held in memory. Members of groups are not: see `membership`.
//!
//! Understood beyond the RFC, since Entra ID and Okta send it: operations in any case, paths as keys of a value without a path, a value with a removal, `"False"`, a manager
//! as a text alone.

#[cfg(test)]
mod tests;

use super::{
    error::ScimError,
    resource::{attribute, check_schema, coerce, is_empty, one},
    schema::{Attribute, Kind, Mutability, Schema, Type, find},
};
use serde_json::{Map, Value};
use tidings_core::{
    event::clip,
    filter::{Filter, Operator, Path, Test},
};

/// The message's schema.
const PATCH_OP: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// Operations of one request at most.
const MOST: usize = 1000;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Add,
    Remove,
    Replace,
}

/// One operation, aimed at one attribute.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) verb: Verb,
    pub(super) aim: Aim,
    /// Which elements, if not all.
    pub(super) select: Option<Filter>,
    /// The sub-attribute, as it was written.
    pub(super) sub: Option<String>,
    pub(super) value: Option<Value>,
}

/// What an operation is aimed at.
#[derive(Debug, Clone)]
pub(super) enum Aim {
    /// An attribute of the resource, or of a known extension.
    Known(Option<&'static Schema>, &'static Attribute),
    /// A known extension as a whole.
    Extension(&'static Schema),
    /// An attribute of an extension that nobody here knows.
    Foreign(String, String),
}

/// Reads the body of a PATCH.
///
/// # Errors
/// `invalidSyntax`, `invalidPath`, `noTarget` for a removal without a path, `mutability` for a path to what is read only.
pub(super) fn read(kind: Kind, body: Value) -> Result<Vec<Operation>, ScimError> {
    check_schema(&body, PATCH_OP)?;
    let Value::Object(body) = body else { return Err(ScimError::syntax("a change is a JSON object")) };
    let member = |name: &str| body.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let Some(Value::Array(list)) = member("Operations") else { return Err(ScimError::syntax("`Operations` must be a list")) };
    if list.is_empty() || list.len() > MOST {
        return Err(ScimError::syntax(format!("`Operations` must hold 1 to {MOST} operations")));
    }
    let mut operations = Vec::with_capacity(list.len());
    for operation in list {
        read_one(kind, operation, &mut operations)?;
    }
    Ok(operations)
}

fn read_one(kind: Kind, operation: &Value, operations: &mut Vec<Operation>) -> Result<(), ScimError> {
    let Value::Object(operation) = operation else { return Err(ScimError::syntax("an operation is a JSON object")) };
    let member = |name: &str| operation.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let verb = match member("op").and_then(Value::as_str).map(str::to_ascii_lowercase).as_deref() {
        Some("add") => Verb::Add,
        Some("remove") => Verb::Remove,
        Some("replace") => Verb::Replace,
        _ => return Err(ScimError::syntax("`op` is add, remove or replace")),
    };
    let value = member("value").cloned();
    if verb != Verb::Remove && value.is_none() {
        return Err(ScimError::value("`add` and `replace` need a `value`"));
    }
    match member("path") {
        None | Some(Value::Null) => {}
        Some(Value::String(path)) if path.is_empty() => {}
        Some(Value::String(path)) => return operations.push_aimed(kind, verb, path, value, true),
        Some(_) => return Err(ScimError::path("`path` is a text")),
    }
    match (verb, value) {
        (Verb::Remove, _) => Err(ScimError::no_target("a removal needs a path")),
        (_, Some(Value::Object(parts))) => {
            parts.into_iter().try_for_each(|(path, value)| operations.push_aimed(kind, verb, &path, Some(value), false))
        }
        _ => Err(ScimError::value("without a path, the value is an object with the attributes")),
    }
}

trait PushAimed {
    fn push_aimed(&mut self, kind: Kind, verb: Verb, path: &str, value: Option<Value>, strict: bool) -> Result<(), ScimError>;
}

impl PushAimed for Vec<Operation> {
    /// Adds the operation for a path. What is not the client's to write is refused if it was aimed at by name (`strict`), and passed over as a part of a whole.
    fn push_aimed(&mut self, kind: Kind, verb: Verb, path: &str, value: Option<Value>, strict: bool) -> Result<(), ScimError> {
        let bare = path.rsplit_once(':').filter(|(schema, _)| schema.eq_ignore_ascii_case(kind.core().id)).map_or(path, |(_, name)| name);
        let first = bare.split(['.', '[']).next().unwrap_or_default();
        if ["schemas", "id", "meta"].iter().any(|name| first.eq_ignore_ascii_case(name)) {
            // `schemas` follows from what is there.
            return if strict && !first.eq_ignore_ascii_case("schemas") {
                Err(ScimError::mutability(format!("`{first}` is read only")))
            } else {
                Ok(())
            };
        }
        if let Some(schema) = kind.extension(path) {
            self.push(Operation { verb, aim: Aim::Extension(schema), select: None, sub: None, value });
            return Ok(());
        }
        let parsed = Path::parse(path).map_err(|error| ScimError::path(format!("`{}`: {error}", clip(path))))?;
        let Some(aim) = aim(kind, &parsed) else {
            return Err(ScimError::path(format!("`{}` leads to no attribute of a {}", clip(path), kind.as_str())));
        };
        let sub = parsed.sub.or(parsed.attribute.sub);
        if let Aim::Known(_, attribute) = &aim {
            let written = match &sub {
                None => Some(*attribute),
                Some(name) => attribute.sub(name),
            };
            let Some(written) = written else {
                return Err(ScimError::path(format!("`{}` has no sub-attribute `{}`", attribute.name, sub.as_deref().unwrap_or_default())));
            };
            if parsed.select.is_some() && !attribute.many {
                return Err(ScimError::path(format!("`{}` has one value only: there is nothing to select", attribute.name)));
            }
            if attribute.mutability == Mutability::ReadOnly || written.mutability == Mutability::ReadOnly {
                return if strict { Err(ScimError::mutability(format!("`{path}` is read only"))) } else { Ok(()) };
            }
            if written.mutability == Mutability::Immutable {
                return Err(ScimError::mutability(format!("`{path}` cannot be changed once it is there")));
            }
        }
        self.push(Operation { verb, aim, select: parsed.select, sub, value });
        Ok(())
    }
}

fn aim(kind: Kind, path: &Path) -> Option<Aim> {
    let named = &path.attribute;
    let Some(schema) = &named.schema else { return attribute(kind, &named.name).map(|attribute| Aim::Known(None, attribute)) };
    if schema.eq_ignore_ascii_case(kind.core().id) {
        return attribute(kind, &named.name).map(|attribute| Aim::Known(None, attribute));
    }
    if let Some(schema) = kind.extension(schema) {
        return find(schema.attributes, &named.name).map(|attribute| Aim::Known(Some(schema), attribute));
    }
    if named.sub.is_some() || path.select.is_some() {
        return None;
    }
    // An extension we do not know: whole if the name stands behind a version (`…:2.0:User`), else one of its attributes.
    let version = schema.rsplit(':').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
    Some(if version {
        Aim::Foreign(format!("{schema}:{}", named.name), String::new())
    } else {
        Aim::Foreign(schema.clone(), named.name.clone())
    })
}

impl Operation {
    /// Does the operation.
    ///
    /// # Errors
    /// `invalidValue` if the value does not fit, `noTarget` if a replacement selects nothing.
    pub(super) fn apply(&self, resource: &mut Map<String, Value>) -> Result<(), ScimError> {
        match &self.aim {
            Aim::Known(None, attribute) => self.apply_to(resource, attribute),
            Aim::Known(Some(schema), attribute) => within(resource, schema.id, |extension| self.apply_to(extension, attribute)),
            Aim::Extension(schema) => self.apply_extension(resource, schema),
            Aim::Foreign(schema, name) => {
                self.apply_foreign(resource, schema, name);
                Ok(())
            }
        }
    }

    fn apply_extension(&self, resource: &mut Map<String, Value>, schema: &'static Schema) -> Result<(), ScimError> {
        if self.verb == Verb::Remove {
            resource.shift_remove(schema.id);
            return Ok(());
        }
        let Some(Value::Object(parts)) = self.value.clone() else {
            return Err(ScimError::value(format!("`{}` is an object", schema.id)));
        };
        within(resource, schema.id, |extension| {
            for (name, value) in parts {
                if let Some(attribute) = find(schema.attributes, &name) {
                    set(extension, attribute, self.verb, value)?;
                }
            }
            Ok(())
        })
    }

    fn apply_foreign(&self, resource: &mut Map<String, Value>, schema: &str, name: &str) {
        let value = self.value.clone().filter(|value| self.verb != Verb::Remove && !is_empty(value));
        let schema = resource.keys().find(|key| key.eq_ignore_ascii_case(schema)).cloned().unwrap_or_else(|| schema.to_owned());
        match (name, value) {
            ("", None) => _ = resource.shift_remove(&schema),
            ("", Some(value)) => _ = resource.insert(schema, value),
            (name, value) => {
                let extension = resource.entry(schema.clone()).or_insert_with(|| Value::Object(Map::new()));
                let Value::Object(map) = extension else { return };
                let name = map.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned().unwrap_or_else(|| name.to_owned());
                match value {
                    Some(value) => _ = map.insert(name, value),
                    None => _ = map.shift_remove(&name),
                }
                if map.is_empty() {
                    resource.shift_remove(&schema);
                }
            }
        }
    }

    fn apply_to(&self, map: &mut Map<String, Value>, attribute: &'static Attribute) -> Result<(), ScimError> {
        if attribute.mutability == Mutability::WriteOnly {
            return coerce(attribute, self.value.clone().unwrap_or_default(), attribute.name).map(|_| ());
        }
        if let Some(select) = &self.select {
            return self.apply_selected(map, attribute, select);
        }
        match (&self.sub, self.verb) {
            (None, Verb::Remove) => {
                self.remove(map, attribute)?;
                Ok(())
            }
            (None, verb) => set(map, attribute, verb, self.value.clone().unwrap_or_default()),
            (Some(sub), _) => self.apply_sub(map, attribute, sub),
        }
    }

    /// Removes an attribute; with a value, only the elements that are equal to it or bear the same `value`.
    fn remove(&self, map: &mut Map<String, Value>, attribute: &'static Attribute) -> Result<(), ScimError> {
        let given = self.value.clone().filter(|value| attribute.many && !value.is_null());
        let Some(given) = given else {
            map.shift_remove(attribute.name);
            return Ok(());
        };
        let Some(Value::Array(unwanted)) = coerce(attribute, given, attribute.name)? else { return Ok(()) };
        let is_unwanted = |there: &Value| {
            unwanted.iter().any(|one| one == there || (one.get("value").is_some_and(|value| there.get("value") == Some(value))))
        };
        if let Some(Value::Array(values)) = map.get_mut(attribute.name) {
            values.retain(|value| !is_unwanted(value));
            if values.is_empty() {
                map.shift_remove(attribute.name);
            }
        }
        Ok(())
    }

    /// A sub-attribute: of the one complex value, or of every element.
    fn apply_sub(&self, map: &mut Map<String, Value>, attribute: &'static Attribute, sub: &str) -> Result<(), ScimError> {
        let sub = attribute.sub(sub).expect("the path was aimed");
        let value = self.sub_value(attribute, sub)?;
        if !map.contains_key(attribute.name) {
            let Some(value) = value else { return Ok(()) };
            let one = Value::Object(Map::from_iter([(sub.name.to_owned(), value)]));
            map.insert(attribute.name.to_owned(), if attribute.many { Value::Array(vec![one]) } else { one });
            return Ok(());
        }
        let there = map.get_mut(attribute.name).expect("just looked");
        let elements = match there {
            Value::Array(values) => values.iter_mut().collect(),
            one => vec![one],
        };
        elements.into_iter().filter_map(Value::as_object_mut).for_each(|element| put(element, sub, value.clone()));
        prune(map, attribute)
    }

    fn sub_value(&self, attribute: &'static Attribute, sub: &'static Attribute) -> Result<Option<Value>, ScimError> {
        match (self.verb, &self.value) {
            (Verb::Remove, _) | (_, None) => Ok(None),
            (_, Some(value)) => coerce(sub, value.clone(), &format!("{}.{}", attribute.name, sub.name)),
        }
    }

    fn apply_selected(&self, map: &mut Map<String, Value>, attribute: &'static Attribute, select: &Filter) -> Result<(), ScimError> {
        let mut values = match map.shift_remove(attribute.name) {
            Some(Value::Array(values)) => values,
            _ => Vec::new(),
        };
        let chosen = |value: &Value| value.as_object().is_some_and(|element| select.matches(element));
        let found: Vec<usize> = values.iter().enumerate().filter(|(_, value)| chosen(value)).map(|(index, _)| index).collect();
        let changed = self.change_selected(&mut values, &found, attribute, select);
        if !values.is_empty() {
            map.insert(attribute.name.to_owned(), Value::Array(values));
        }
        changed?;
        prune(map, attribute)
    }

    fn change_selected(
        &self,
        values: &mut Vec<Value>,
        found: &[usize],
        attribute: &'static Attribute,
        select: &Filter,
    ) -> Result<(), ScimError> {
        let sub = self.sub.as_deref().map(|sub| attribute.sub(sub).expect("the path was aimed"));
        if self.verb == Verb::Remove {
            match sub {
                None => found.iter().rev().for_each(|&index| _ = values.remove(index)),
                Some(sub) => {
                    for &index in found {
                        if let Value::Object(element) = &mut values[index] {
                            put(element, sub, None);
                        }
                    }
                }
            }
            return Ok(());
        }
        let given = self.value.clone().unwrap_or_default();
        let fresh = match sub {
            Some(sub) => {
                Map::from_iter(coerce(sub, given, &format!("{}.{}", attribute.name, sub.name))?.map(|value| (sub.name.to_owned(), value)))
            }
            None => match one(
                attribute,
                if let Value::Array(mut list) = given { list.pop().unwrap_or_default() } else { given },
                attribute.name,
            )? {
                Some(Value::Object(map)) => map,
                _ => return Err(ScimError::value(format!("a selected value of `{}` is an object", attribute.name))),
            },
        };
        let primary = fresh.get("primary") == Some(&Value::Bool(true));
        let mut touched = found.to_vec();
        if found.is_empty() {
            if self.verb == Verb::Replace {
                return Err(ScimError::no_target(format!("`{}[{select}]` selects nothing", attribute.name)));
            }
            let Some(mut made) = made_to_match(attribute, select) else {
                return Err(ScimError::no_target(format!("`{}[{select}]` selects nothing, and does not say what to add", attribute.name)));
            };
            made.extend(fresh);
            touched.push(values.len());
            values.push(Value::Object(made));
        } else {
            for &index in found {
                if let Value::Object(element) = &mut values[index] {
                    element.extend(fresh.clone());
                }
            }
        }
        if primary {
            others_not_primary(values, &touched);
        }
        Ok(())
    }
}

/// Sets or adds to an attribute.
fn set(map: &mut Map<String, Value>, attribute: &'static Attribute, verb: Verb, value: Value) -> Result<(), ScimError> {
    let Some(value) = coerce(attribute, value, attribute.name)? else {
        // Nothing, given to replace what is there, is its removal.
        if verb == Verb::Replace && attribute.mutability != Mutability::ReadOnly {
            map.shift_remove(attribute.name);
        }
        return Ok(());
    };
    match (verb, map.get_mut(attribute.name), value) {
        (Verb::Add, Some(Value::Array(there)), Value::Array(more)) => {
            let first = there.len();
            for value in more {
                if !there.contains(&value) {
                    there.push(value);
                }
            }
            let primary: Vec<usize> =
                (first..there.len()).filter(|&index| there[index].get("primary") == Some(&Value::Bool(true))).collect();
            if !primary.is_empty() {
                others_not_primary(there, &primary);
            }
        }
        // The sub-attributes that are given replace those that are there; the others stay (RFC 7644 §§3.5.2.1, 3.5.2.3).
        (_, Some(Value::Object(there)), Value::Object(parts)) if attribute.of == Type::Complex => {
            // A reference belongs to the value beside it: one without the other would name two.
            if parts.contains_key("value") != parts.contains_key("$ref") {
                there.shift_remove("value");
                there.shift_remove("$ref");
            }
            there.extend(parts);
        }
        (_, _, value) => _ = map.insert(attribute.name.to_owned(), value),
    }
    Ok(())
}

fn put(element: &mut Map<String, Value>, sub: &'static Attribute, value: Option<Value>) {
    match value {
        Some(value) => _ = element.insert(sub.name.to_owned(), value),
        None => _ = element.shift_remove(sub.name),
    }
    if sub.name == "value" {
        element.shift_remove("$ref");
    }
}

/// Leaves out what has become empty, and checks that one value at most is primary.
fn prune(map: &mut Map<String, Value>, attribute: &'static Attribute) -> Result<(), ScimError> {
    let empty = |value: &Value| value.as_object().is_some_and(Map::is_empty);
    match map.get_mut(attribute.name) {
        Some(Value::Array(values)) => {
            values.retain(|value| !empty(value));
            super::resource::check_primary(values, attribute.name)?;
            if values.is_empty() {
                map.shift_remove(attribute.name);
            }
        }
        Some(one) if empty(one) => _ = map.shift_remove(attribute.name),
        _ => {}
    }
    Ok(())
}

/// A new primary value takes the mark from the others (RFC 7644 §3.5.2).
fn others_not_primary(values: &mut [Value], but: &[usize]) {
    let last = but.last();
    for (index, value) in values.iter_mut().enumerate() {
        if Some(&index) != last
            && let Value::Object(value) = value
            && value.get("primary") == Some(&Value::Bool(true))
        {
            value.insert("primary".to_owned(), Value::Bool(false));
        }
    }
}

/// An element that a selection by equality would find: `type eq "work"` makes `{"type": "work"}`.
fn made_to_match(attribute: &'static Attribute, select: &Filter) -> Option<Map<String, Value>> {
    let terms = match select {
        Filter::And(terms) => terms.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut made = Map::new();
    for term in terms {
        let Filter::Attribute(named, Test::Compare(Operator::Equal, value)) = term else { return None };
        let sub = attribute.sub(&named.name)?;
        made.insert(sub.name.to_owned(), one(sub, value.clone(), sub.name).ok()??);
    }
    Some(made)
}

fn within(
    resource: &mut Map<String, Value>,
    schema: &str,
    act: impl FnOnce(&mut Map<String, Value>) -> Result<(), ScimError>,
) -> Result<(), ScimError> {
    let mut extension = match resource.shift_remove(schema) {
        Some(Value::Object(extension)) => extension,
        _ => Map::new(),
    };
    let done = act(&mut extension);
    if !extension.is_empty() {
        resource.insert(schema.to_owned(), Value::Object(extension));
    }
    done
}
