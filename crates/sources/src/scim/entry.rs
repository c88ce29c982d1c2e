//! A resource as the mirror sees it: the head that events show, the links, and the document that is kept beside them.
//!
//! Members, owners and managers are links and stand in no document: a group of 100,000 members has a short one.

use super::{
    error::ScimError,
    schema::{ENTERPRISE, Kind, TIDINGS_GROUP, TIDINGS_USER},
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use tidings_core::{
    Address, Locale, Timestamp,
    directory::{Head, Link, LinkRole},
    event::clip,
};

/// The attribute of a head that holds the user name; the store looks objects up by it.
pub(super) const ACCOUNT: &str = "account";
/// The attribute of a head that holds the client's own name of the resource; the store looks objects up by it.
pub(super) const EXTERNAL_ID: &str = "externalId";

/// The attribute of a head that holds its addresses; the store looks objects up by them and by `mail`.
pub(super) const EMAILS: &str = "emails";

/// The head of a resource.
pub(super) fn head(kind: Kind, key: &str, resource: &Map<String, Value>) -> Head {
    let mut head = Head::new(kind.object_type(), key);
    let text = |name: &str| resource.get(name).and_then(Value::as_str).map(line).filter(|text| !text.is_empty());
    head.name = text("displayName");
    match kind {
        Kind::User => {
            head.name = head.name.or_else(|| full_name(resource)).or_else(|| text("userName"));
            head.mail = mail(resource);
            head.locale = text("preferredLanguage").as_deref().and_then(language).or_else(|| text("locale").as_deref().and_then(language));
            head.timezone = text("timezone");
            head.enabled = resource.get("active").and_then(Value::as_bool).unwrap_or(true);
            head.notify = extension(resource, TIDINGS_USER, "notify").and_then(Value::as_bool).unwrap_or(true);
        }
        Kind::Group => {
            head.mail = extension(resource, TIDINGS_GROUP, "mail").and_then(Value::as_str).and_then(|mail| Address::parse(mail).ok());
            head.public = extension(resource, TIDINGS_GROUP, "public").and_then(Value::as_bool).unwrap_or(false);
        }
    }
    head.attributes = attributes(resource, head.mail.as_ref());
    if head.attributes.get("displayName").and_then(Value::as_str) == head.name.as_deref() {
        head.attributes.remove("displayName");
    }
    head
}

/// The links of a resource, members aside.
pub(super) fn links(kind: Kind, resource: &Map<String, Value>) -> Vec<Link> {
    match kind {
        Kind::User => extension(resource, ENTERPRISE, "manager")
            .and_then(named)
            .map(|manager| Link::new(LinkRole::Manager, manager))
            .into_iter()
            .collect(),
        Kind::Group => owners(resource),
    }
}

/// The document that is kept: the resource without what the links say.
pub(super) fn document(resource: &Map<String, Value>) -> Vec<u8> {
    let mut document = resource.clone();
    document.shift_remove("members");
    for (schema, name) in [(ENTERPRISE, "manager"), (TIDINGS_GROUP, "owner"), (TIDINGS_GROUP, "additionalOwners")] {
        if let Some(Value::Object(extension)) = document.get_mut(schema) {
            extension.shift_remove(name);
            if extension.is_empty() {
                document.shift_remove(schema);
            }
        }
    }
    Value::Object(document).to_string().into_bytes()
}

/// A member as a client writes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Member {
    /// The member's id.
    pub(super) id: String,
    /// Beginning and end, if one of them is said.
    pub(super) term: Option<(Option<Timestamp>, Option<Timestamp>)>,
}

impl Member {
    /// The link to it.
    pub(super) fn link(&self) -> Link {
        let (starts_at, ends_at) = self.term.unwrap_or_default();
        Link { starts_at, ends_at, ..Link::new(LinkRole::Member, self.id.clone()) }
    }
}

/// The members in a list that the schema has passed; the last word on one counts.
///
/// # Errors
/// `invalidValue` for one without `value`.
pub(super) fn members(values: &Value) -> Result<Vec<Member>, ScimError> {
    let list = values.as_array().map_or(&[][..], Vec::as_slice);
    let mut members: BTreeMap<String, Member> = BTreeMap::new();
    for value in list {
        let Some(id) = named(value) else {
            return Err(ScimError::value(format!("a member needs its id as `value`, found {}", clip(&value.to_string()))));
        };
        let moment = |name: &str| value.get(name).and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok());
        let said = value.get("startsAt").or(value.get("endsAt")).is_some();
        members.insert(id.clone(), Member { id, term: said.then(|| (moment("startsAt"), moment("endsAt"))) });
    }
    Ok(members.into_values().collect())
}

/// The primary owner and the others; nobody is both.
fn owners(resource: &Map<String, Value>) -> Vec<Link> {
    let primary = extension(resource, TIDINGS_GROUP, "owner").into_iter().map(|owner| (LinkRole::Owner, owner));
    let others = extension(resource, TIDINGS_GROUP, "additionalOwners").and_then(Value::as_array).into_iter().flatten();
    let mut links: Vec<Link> = Vec::new();
    for (role, owner) in primary.chain(others.map(|owner| (LinkRole::AdditionalOwner, owner))) {
        let Some(id) = named(owner) else { continue };
        if links.iter().all(|there| there.to != id) {
            links.push(Link { muted: owner.get("notify") == Some(&Value::Bool(false)), ..Link::new(role, id) });
        }
    }
    links
}

/// Whom a value names: its `value`, else the end of its `$ref`.
fn named(value: &Value) -> Option<String> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let end = || text("$ref").and_then(|reference| reference.rsplit('/').next());
    text("value").or_else(end).map(str::to_owned)
}

fn extension<'a>(resource: &'a Map<String, Value>, schema: &str, name: &str) -> Option<&'a Value> {
    resource.get(schema)?.get(name)
}

fn full_name(resource: &Map<String, Value>) -> Option<String> {
    let part = |name: &str| resource.get("name")?.get(name)?.as_str().map(line).filter(|text| !text.is_empty());
    part("formatted").or_else(|| {
        let parts: Vec<String> = ["givenName", "familyName"].into_iter().filter_map(part).collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    })
}

/// Where letters go: the primary address, else the first for work, else the first.
fn mail(resource: &Map<String, Value>) -> Option<Address> {
    let Some(Value::Array(emails)) = resource.get("emails") else { return None };
    let rank = |email: &&Value| {
        let for_work = email.get("type").and_then(Value::as_str).is_some_and(|of| of.eq_ignore_ascii_case("work"));
        if email.get("primary") == Some(&Value::Bool(true)) { 0 } else { 2 - u8::from(for_work) }
    };
    let mut emails: Vec<&Value> = emails.iter().collect();
    emails.sort_by_key(rank);
    emails.into_iter().filter_map(|email| email.get("value")?.as_str()).find_map(|text| Address::parse(text.trim()).ok())
}

/// The first language of a list as browsers send it (`en-US, de;q=0.7`), which RFC 7643 §4.1.1 allows.
fn language(text: &str) -> Option<Locale> {
    text.split([',', ';']).next()?.trim().replace('_', "-").parse().ok()
}

/// Everything else that a rule or a reader may care about, flat: texts, truth values, lists of texts.
fn attributes(resource: &Map<String, Value>, mail: Option<&Address>) -> BTreeMap<String, Value> {
    /// Said by the head's own fields, or no news for people.
    const ELSEWHERE: [&str; 6] = ["active", "locale", "timezone", "x509Certificates", "members", "groups"];
    let mut flat = BTreeMap::new();
    for (name, value) in resource {
        match value {
            Value::Object(subs) if name.starts_with("urn:") => {
                let taken = name == TIDINGS_USER || name == TIDINGS_GROUP;
                for (name, value) in subs.iter().filter(|(name, _)| !taken && name.as_str() != "manager") {
                    insert(&mut flat, name, value);
                }
            }
            Value::Object(subs) => {
                for (name, value) in subs.iter().filter(|(name, _)| *name != "formatted") {
                    insert(&mut flat, name, value);
                }
            }
            // The one address of most people is said by `mail`, unless it is written otherwise there.
            Value::Array(values) if name == "emails" && is_all(values, mail) => {}
            value if name == "userName" => insert(&mut flat, ACCOUNT, value),
            value if !ELSEWHERE.contains(&name.as_str()) => insert(&mut flat, name, value),
            _ => {}
        }
    }
    flat
}

/// Whether an address is the only one, as it is written.
fn is_all(emails: &[Value], mail: Option<&Address>) -> bool {
    matches!((emails, mail), ([one], Some(mail)) if one.get("value").and_then(Value::as_str) == Some(mail.as_str()))
}

fn insert(flat: &mut BTreeMap<String, Value>, name: &str, value: &Value) {
    let simple = |value: &Value| match value {
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(Value::String(free(text))),
        Value::Bool(_) | Value::Number(_) => Some(value.clone()),
        // Of a complex value, what names it.
        Value::Object(map) => {
            ["value", "formatted", "display"].into_iter().find_map(|name| map.get(name)?.as_str()).map(|text| Value::String(free(text)))
        }
        Value::Null | Value::Array(_) => None,
    };
    let value = match value {
        Value::Array(values) => {
            Some(values.iter().filter_map(simple).collect::<Vec<_>>()).filter(|values| !values.is_empty()).map(Value::Array)
        }
        one => simple(one),
    };
    if let Some(value) = value {
        flat.entry(name.to_owned()).or_insert(value);
    }
}

/// A text as it may stand in one line of a letter.
fn line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.trim().to_owned()
}

/// A text of several lines, without other control characters.
fn free(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !"\n\r\t".contains(c) { ' ' } else { c }).collect()
}
