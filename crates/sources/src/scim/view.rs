//! A mirrored object as a resource, whole or as much of it as was asked for (RFC 7644 §3.9).

use super::schema::{ENTERPRISE, Kind, TIDINGS_GROUP};
use serde_json::{Map, Value, json};
use tidings_core::{
    directory::LinkRole,
    filter::{Attribute, Filter},
};
use tidings_store::{MirrorLink, MirrorObject, Target};

/// What stands in links, not in the document.
#[derive(Debug, Default)]
pub(super) struct Linked {
    /// A user's manager.
    pub(super) manager: Option<MirrorLink>,
    /// A user's groups: links to it.
    pub(super) groups: Vec<MirrorLink>,
    /// A group's owners of both roles.
    pub(super) owners: Vec<MirrorLink>,
    /// A group's members.
    pub(super) members: Vec<MirrorLink>,
}

/// The version of a resource, as an entity tag (RFC 7644 §3.14). Weak: the order of members is not part of it.
pub(super) fn version(object: &MirrorObject) -> String {
    format!("W/\"{}\"", object.version)
}

/// Where a resource lives.
pub(super) fn location(base: &str, kind: Kind, key: &str) -> String {
    format!("{base}/{}/{key}", kind.endpoint())
}

/// The whole resource.
pub(super) fn resource(base: &str, kind: Kind, object: &MirrorObject, document: Map<String, Value>, linked: &Linked) -> Map<String, Value> {
    let mut resource = Map::new();
    resource.insert("schemas".to_owned(), Value::Null);
    resource.insert("id".to_owned(), json!(object.head.key));
    resource.extend(document);
    if let Some(link) = &linked.manager {
        let mut manager = person(base, link);
        if let Some(name) = name_of(link) {
            manager.insert("displayName".to_owned(), json!(name));
        }
        put(&mut resource, ENTERPRISE, "manager", Value::Object(manager));
    }
    let owners = |role| linked.owners.iter().filter(move |link| link.role == role).map(|link| owner(base, link));
    if let Some(primary) = owners(LinkRole::Owner).next() {
        put(&mut resource, TIDINGS_GROUP, "owner", primary);
    }
    let others: Vec<Value> = owners(LinkRole::AdditionalOwner).collect();
    if !others.is_empty() {
        put(&mut resource, TIDINGS_GROUP, "additionalOwners", Value::Array(others));
    }
    if !linked.groups.is_empty() {
        resource.insert("groups".to_owned(), linked.groups.iter().map(|link| group_of(base, link)).collect());
    }
    if !linked.members.is_empty() {
        resource.insert("members".to_owned(), linked.members.iter().map(|link| member(base, link)).collect());
    }
    resource.insert("schemas".to_owned(), schemas(kind, &resource));
    resource.insert(
        "meta".to_owned(),
        json!({
            "resourceType": kind.as_str(),
            "created": object.created_at.to_string(),
            "lastModified": object.changed_at.to_string(),
            "version": version(object),
            "location": location(base, kind, &object.head.key),
        }),
    );
    resource
}

fn schemas(kind: Kind, resource: &Map<String, Value>) -> Value {
    let extensions = resource.keys().filter(|key| key.starts_with("urn:")).map(|key| json!(key));
    std::iter::once(json!(kind.core().id)).chain(extensions).collect()
}

fn put(resource: &mut Map<String, Value>, schema: &str, name: &str, value: Value) {
    let extension = resource.entry(schema).or_insert_with(|| json!({}));
    if let Value::Object(extension) = extension {
        extension.insert(name.to_owned(), value);
    }
}

fn name_of(link: &MirrorLink) -> Option<&str> {
    match &link.other {
        Target::Known(object) => object.head.name.as_deref(),
        Target::Unknown(_) => None,
    }
}

/// The id of the other end.
pub(super) fn id_of(link: &MirrorLink) -> &str {
    match &link.other {
        Target::Known(object) => &object.head.key,
        Target::Unknown(name) => name,
    }
}

/// `value` and `$ref` of the other end.
fn person(base: &str, link: &MirrorLink) -> Map<String, Value> {
    let mut map = Map::from_iter([("value".to_owned(), json!(id_of(link)))]);
    if let Target::Known(object) = &link.other
        && let Some(kind) = Kind::of(&object.head.object_type)
    {
        map.insert("$ref".to_owned(), json!(location(base, kind, &object.head.key)));
    }
    map
}

fn owner(base: &str, link: &MirrorLink) -> Value {
    let mut owner = person(base, link);
    if let Some(name) = name_of(link) {
        owner.insert("displayName".to_owned(), json!(name));
    }
    owner.insert("notify".to_owned(), json!(!link.muted));
    Value::Object(owner)
}

fn group_of(base: &str, link: &MirrorLink) -> Value {
    let mut group = person(base, link);
    if let Some(name) = name_of(link) {
        group.insert("display".to_owned(), json!(name));
    }
    group.insert("type".to_owned(), json!("direct"));
    Value::Object(group)
}

/// A member as a group shows it.
pub(super) fn member(base: &str, link: &MirrorLink) -> Value {
    let mut member = person(base, link);
    if let Target::Known(object) = &link.other {
        if let Some(kind) = Kind::of(&object.head.object_type) {
            member.insert("type".to_owned(), json!(kind.as_str()));
        }
        if let Some(name) = &object.head.name {
            member.insert("display".to_owned(), json!(name));
        }
    }
    for (name, moment) in [("startsAt", link.starts_at), ("endsAt", link.ends_at)] {
        if let Some(moment) = moment {
            member.insert(name.to_owned(), json!(moment.to_string()));
        }
    }
    Value::Object(member)
}

/// Which attributes are wanted: these alone, or all but these. `id` and `schemas` always come.
#[derive(Debug, Clone, Default)]
pub(super) struct Projection {
    /// Only these, if any is named.
    pub(super) only: Vec<Attribute>,
    /// Not these.
    pub(super) without: Vec<Attribute>,
}

impl Projection {
    /// Whether anything of a top-level attribute is wanted: whether it need be fetched.
    pub(super) fn wants(&self, kind: Kind, name: &str) -> bool {
        let means = |attribute: &Attribute| is_core(kind, attribute) && attribute.name.eq_ignore_ascii_case(name);
        if self.only.is_empty() { !self.without.iter().any(|one| means(one) && one.sub.is_none()) } else { self.only.iter().any(means) }
    }

    /// What is wanted of a resource.
    pub(super) fn of(&self, kind: Kind, mut resource: Map<String, Value>) -> Map<String, Value> {
        for unasked in on_request(kind).filter(|attribute| !self.only.iter().any(|one| is_same(kind, one, attribute))) {
            leave_out(kind, &mut resource, &unasked);
        }
        if self.only.is_empty() {
            self.without.iter().for_each(|attribute| leave_out(kind, &mut resource, attribute));
            return resource;
        }
        let mut chosen = Map::new();
        for always in ["schemas", "id"] {
            if let Some(value) = resource.get(always) {
                chosen.insert(always.to_owned(), value.clone());
            }
        }
        self.only.iter().for_each(|attribute| choose(kind, &resource, attribute, &mut chosen));
        chosen
    }
}

/// The sub-attributes that are shown only if they are asked for by name.
fn on_request(kind: Kind) -> impl Iterator<Item = Attribute> {
    let schemas = std::iter::once(kind.core()).chain(kind.extensions().iter().copied());
    schemas.flat_map(|schema| {
        schema.attributes.iter().flat_map(|attribute| {
            let subs = attribute.subs.iter().filter(|sub| sub.on_request);
            subs.map(|sub| Attribute {
                schema: Some(schema.id.to_owned()),
                name: attribute.name.to_owned(),
                sub: Some(sub.name.to_owned()),
            })
        })
    })
}

/// Whether two ways lead to the same attribute; without a schema, a way leads into the core.
fn is_same(kind: Kind, one: &Attribute, other: &Attribute) -> bool {
    let schema = |way: &Attribute| way.schema.clone().unwrap_or_else(|| kind.core().id.to_owned()).to_lowercase();
    let sub = |way: &Attribute| way.sub.as_deref().map(str::to_lowercase);
    schema(one) == schema(other) && one.name.eq_ignore_ascii_case(&other.name) && sub(one) == sub(other)
}

fn is_core(kind: Kind, attribute: &Attribute) -> bool {
    attribute.schema.as_ref().is_none_or(|schema| schema.eq_ignore_ascii_case(kind.core().id))
}

/// The key of an extension that is named whole: `urn:…:2.0:User` reads as the attribute `User` of `urn:…:2.0`.
fn whole_extension(resource: &Map<String, Value>, attribute: &Attribute) -> Option<String> {
    let schema = attribute.schema.as_ref().filter(|_| attribute.sub.is_none())?;
    let whole = format!("{schema}:{}", attribute.name);
    resource.keys().find(|key| key.eq_ignore_ascii_case(&whole)).cloned()
}

fn key_of(map: &Map<String, Value>, name: &str) -> Option<String> {
    map.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned()
}

fn leave_out(kind: Kind, resource: &mut Map<String, Value>, attribute: &Attribute) {
    if let Some(key) = whole_extension(resource, attribute) {
        resource.shift_remove(&key);
        return;
    }
    let core = is_core(kind, attribute);
    if core && ["id", "schemas"].iter().any(|always| attribute.name.eq_ignore_ascii_case(always)) {
        return;
    }
    let map = if core {
        Some(resource)
    } else {
        attribute
            .schema
            .as_ref()
            .and_then(|schema| key_of(resource, schema))
            .and_then(|key| resource.get_mut(&key))
            .and_then(Value::as_object_mut)
    };
    let Some(map) = map else { return };
    let Some(key) = key_of(map, &attribute.name) else { return };
    match &attribute.sub {
        None => _ = map.shift_remove(&key),
        Some(sub) => {
            let value = map.get_mut(&key).expect("the key was just found");
            each_object(value, |object| {
                if let Some(key) = key_of(object, sub) {
                    object.shift_remove(&key);
                }
            });
        }
    }
}

fn choose(kind: Kind, resource: &Map<String, Value>, attribute: &Attribute, chosen: &mut Map<String, Value>) {
    if let Some(key) = whole_extension(resource, attribute) {
        chosen.insert(key.clone(), resource[&key].clone());
        return;
    }
    let (from, into) = if is_core(kind, attribute) {
        (resource, chosen)
    } else {
        let Some(key) = attribute.schema.as_ref().and_then(|schema| key_of(resource, schema)) else { return };
        let (Some(from), into) = (resource[&key].as_object(), chosen.entry(key).or_insert_with(|| json!({}))) else { return };
        (from, into.as_object_mut().expect("made an object"))
    };
    let Some(key) = key_of(from, &attribute.name) else { return };
    let value = &from[&key];
    let Some(sub) = &attribute.sub else {
        into.insert(key, value.clone());
        return;
    };
    let part = |value: &Value| {
        let object = value.as_object()?;
        let key = key_of(object, sub)?;
        Some((key.clone(), object[&key].clone()))
    };
    match value {
        Value::Array(values) => {
            // Of several sub-attributes of one attribute, each is added to the elements that the first one made.
            let there = into.entry(key).or_insert_with(|| values.iter().map(|_| json!({})).collect());
            if let Value::Array(there) = there {
                for (into, value) in there.iter_mut().zip(values) {
                    if let (Value::Object(into), Some((key, value))) = (into, part(value)) {
                        into.insert(key, value);
                    }
                }
            }
        }
        value => {
            if let Some((sub, part)) = part(value)
                && let Value::Object(into) = into.entry(key).or_insert_with(|| json!({}))
            {
                into.insert(sub, part);
            }
        }
    }
}

fn each_object(value: &mut Value, mut act: impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Array(values) => values.iter_mut().filter_map(Value::as_object_mut).for_each(act),
        Value::Object(object) => act(object),
        _ => {}
    }
}

/// Whether a filter asks of a top-level attribute.
pub(super) fn asks_of(filter: &Filter, name: &str) -> bool {
    match filter {
        Filter::And(terms) | Filter::Or(terms) => terms.iter().any(|term| asks_of(term, name)),
        Filter::Not(term) => asks_of(term, name),
        Filter::Attribute(attribute, _) | Filter::Element(attribute, ..) => attribute.name.eq_ignore_ascii_case(name),
    }
}
