//! The values that a template sees, made from one event and one notice.
//!
//! Only what the letter's templates mention is copied: a group's ten thousand members are not walked for a letter that does not list them.

use crate::{calendar::Moment, environment::MOMENT, variables::details};
use minijinja::{
    Value,
    value::{Enumerator, Object},
};
use serde_json::Value as Json;
use std::{collections::BTreeMap, sync::Arc};
use tidings_core::{Event, event::clip, notice::Notice, subject::Party};

/// Longest attribute value that a list of changes shows, in characters.
const CHANGE_CHARS: usize = 200;

/// A small record with a fixed set of names; absent values are `none`, so that `{% if … %}` may ask for them.
#[derive(Debug)]
struct Record(Vec<(&'static str, Value)>);

impl Object for Record {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.0.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.iter().map(|(name, _)| Value::from(*name)).collect())
    }
}

/// Values by free names, such as a directory's own attributes: a name that is not there is `none`, not an error.
#[derive(Debug)]
struct Open(BTreeMap<String, Value>);

impl Object for Open {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        Some(self.0.get(key).cloned().unwrap_or_else(none))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.keys().map(|name| Value::from(name.as_str())).collect())
    }
}

/// What the templates of one letter mention beyond the cheap fields.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mentions {
    /// Owners, members, managers or free attributes of a party.
    pub(crate) people: bool,
    /// `before`, `after` or `changes`.
    pub(crate) changes: bool,
}

impl Mentions {
    /// What this source mentions; a word in plain text counts too, which costs a little and does no harm.
    pub(crate) fn in_source(source: &str) -> Self {
        let any = |words: &[&str]| words.iter().any(|word| source.contains(word));
        Self { people: any(&["owners", "members", "manager", "attributes"]), changes: any(&["changes", "before", "after"]) }
    }

    pub(crate) fn or(self, other: Self) -> Self {
        Self { people: self.people || other.people, changes: self.changes || other.changes }
    }
}

/// The words a list of changes needs in the letter's language.
#[derive(Debug, Default)]
pub(crate) struct Words {
    /// What an attribute is called: `telephoneNumber` → `Telephone`.
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) yes: String,
    pub(crate) no: String,
}

/// What is the same for every letter, or given with the letter.
pub(crate) struct Setting<'a> {
    pub(crate) organisation: &'a Value,
    pub(crate) locale: &'a Value,
    pub(crate) words: &'a Words,
    pub(crate) moment: Moment,
    pub(crate) mentions: Mentions,
    /// Where passwords are changed, for an event that does not say so itself.
    pub(crate) portal: Option<&'a str>,
}

/// The context for the subject; [`with_subject`] adds the subject for the bodies.
pub(crate) fn context(event: &Event, notice: &Notice, setting: Setting<'_>) -> Value {
    let Setting { organisation, locale, words, moment, mentions, portal } = setting;
    let whole =
        |party: Option<&Party>, name: &str| party.map_or_else(none, |party| party_value(party, event.data.get(name), mentions.people));
    let detail = |name: &'static str| match (detail(event, name), portal) {
        (value, Some(portal)) if name == "portal_url" && value.is_none() => Value::from(portal),
        (value, _) => value,
    };
    let mut fields = vec![
        (MOMENT, Value::from_object(moment)),
        ("reader", reader(event, notice)),
        ("object", whole(event.object.as_ref(), "object")),
        ("actor", whole(event.actor.as_ref(), "actor")),
        ("member", whole(event.member.as_ref(), "member")),
        ("details", record(details(event.kind).map(|name| (name, detail(name))).collect())),
        ("organisation", organisation.clone()),
        ("locale", locale.clone()),
        ("reasons", reasons(notice)),
        (
            "event",
            record(vec![
                ("type", Value::from(event.type_name())),
                ("kind", Value::from(event.kind.name)),
                ("time", Value::from(event.time.to_string())),
                ("id", Value::from(event.id.as_str())),
                ("source", Value::from(event.source.as_str())),
            ]),
        ),
    ];
    if mentions.changes {
        let (before, after) = (event.data.get("before"), event.data.get("after"));
        fields.push(("before", open(before)));
        fields.push(("after", open(after)));
        fields.push(("changes", changes(before, after, words)));
    }
    record(fields)
}

/// The same context with the rendered subject, for layouts that show it as the title.
pub(crate) fn with_subject(context: &Value, subject: &str) -> Value {
    let fields = context.downcast_object_ref::<Record>().expect("made by `context`");
    let mut fields = fields.0.clone();
    fields.push(("subject", Value::from(subject)));
    record(fields)
}

/// A record of the organisation's settings.
pub(crate) fn organisation(name: &str, logo: Option<&str>, colour: &str, ink: &str, website: Option<&str>) -> Value {
    record(vec![
        ("name", Value::from(name)),
        ("logo", logo.map_or_else(none, Value::from)),
        ("colour", Value::from(colour)),
        ("ink", Value::from(ink)),
        ("website", website.map_or_else(none, Value::from)),
    ])
}

fn none() -> Value {
    Value::from(())
}

fn record(fields: Vec<(&'static str, Value)>) -> Value {
    Value::from_object(Record(fields))
}

fn optional(text: Option<&str>) -> Value {
    text.map_or_else(none, Value::from)
}

fn reader(event: &Event, notice: &Notice) -> Value {
    let reader = &notice.reader;
    // Somebody is a party of the event if a path of that name led to them, or if the party has their address.
    let is = |party: Option<&Party>, code: &str| {
        let same = || party.and_then(|party| party.mail.as_ref()).is_some_and(|mail| mail.folded() == reader.address.folded());
        reader.reasons.iter().any(|reason| reason.code == code) || same()
    };
    let party = &reader.party;
    record(vec![
        ("label", Value::from(party.name.as_deref().unwrap_or(reader.address.as_str()))),
        ("name", optional(party.name.as_deref())),
        ("mail", Value::from(reader.address.as_str())),
        ("locale", optional(party.locale.as_ref().map(tidings_core::Locale::as_str))),
        ("timezone", optional(party.timezone.as_deref())),
        ("is_actor", Value::from(is(event.actor.as_ref(), "actor"))),
        ("is_object", Value::from(is(event.object.as_ref(), "object"))),
        ("is_member", Value::from(is(event.member.as_ref(), "member"))),
    ])
}

fn party_value(party: &Party, raw: Option<&Json>, people: bool) -> Value {
    let mut fields = vec![
        ("label", Value::from(party.display_name())),
        ("name", optional(party.name.as_deref())),
        ("mail", optional(party.mail.as_ref().map(tidings_core::Address::as_str))),
        ("id", optional(party.id.as_deref())),
        ("type", Value::from(party.object_type.as_str())),
        ("locale", optional(party.locale.as_ref().map(tidings_core::Locale::as_str))),
        ("timezone", optional(party.timezone.as_deref())),
        ("public", Value::from(party.public)),
        ("enabled", Value::from(party.enabled)),
    ];
    if people {
        let all = |list: &[Party]| Value::from(list.iter().map(|one| party_value(one, None, true)).collect::<Vec<_>>());
        fields.push(("manager", party.manager.as_deref().map_or_else(none, |manager| party_value(manager, None, true))));
        fields.push(("owners", all(&party.owners)));
        fields.push(("members", all(&party.members)));
        fields.push(("attributes", open(raw)));
    }
    record(fields)
}

fn detail(event: &Event, name: &str) -> Value {
    match event.data.get("details").and_then(|details| details.get(name)) {
        Some(Json::String(text)) if text.trim().is_empty() => none(),
        Some(value) => json(value),
        None => none(),
    }
}

fn reasons(notice: &Notice) -> Value {
    let one = |reason: &tidings_core::notice::Reason| {
        record(vec![("code", Value::from(reason.code)), ("detail", optional(reason.detail.as_deref()))])
    };
    Value::from(notice.reader.reasons.iter().map(one).collect::<Vec<_>>())
}

fn open(value: Option<&Json>) -> Value {
    let map = value.and_then(Json::as_object).map(|map| map.iter().map(|(key, value)| (key.clone(), json(value))).collect());
    Value::from_object(Open(map.unwrap_or_default()))
}

fn json(value: &Json) -> Value {
    match value {
        Json::Null => none(),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::from(whole),
            (None, Some(broken)) => Value::from(broken),
            (None, None) => Value::from(number.to_string()),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(list) => Value::from(list.iter().map(json).collect::<Vec<_>>()),
        Json::Object(_) => open(Some(value)),
    }
}

/// Every attribute whose value differs, in the order of `before`, then of `after`: `name`, `label`, `before`, `after`; the latter two are texts or `none`.
fn changes(before: Option<&Json>, after: Option<&Json>, words: &Words) -> Value {
    let empty = serde_json::Map::new();
    let before = before.and_then(Json::as_object).unwrap_or(&empty);
    let after = after.and_then(Json::as_object).unwrap_or(&empty);
    let added = after.keys().filter(|key| !before.contains_key(*key));
    let differing =
        before.keys().chain(added).filter(|key| before.get(*key).unwrap_or(&Json::Null) != after.get(*key).unwrap_or(&Json::Null));
    let one = |name: &String| {
        let text = |map: &serde_json::Map<String, Json>| match map.get(name).and_then(|value| shown(value, words)) {
            Some(_) if is_secret(name) => Value::from("•••"),
            Some(text) => Value::from(text),
            None => none(),
        };
        let label = words.attributes.get(&name.to_lowercase()).map_or_else(|| clip(name), Clone::clone);
        record(vec![("name", Value::from(clip(name))), ("label", Value::from(label)), ("before", text(before)), ("after", text(after))])
    };
    Value::from(differing.map(one).collect::<Vec<_>>())
}

/// Attributes that nobody should read in a mail, whoever put them into the event.
fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    ["password", "passwd", "pwd", "secret", "token", "privatekey"].iter().any(|word| name.contains(word))
}

fn shown(value: &Json, words: &Words) -> Option<String> {
    let text = match value {
        Json::Null => return None,
        Json::Bool(true) => words.yes.clone(),
        Json::Bool(false) => words.no.clone(),
        Json::String(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        Json::Array(list) => list.iter().filter_map(|one| shown(one, words)).collect::<Vec<_>>().join(", "),
        // A person given as an object is shown by name, as everywhere else.
        Json::Object(map) => match map.get("name").or_else(|| map.get("mail")).and_then(Json::as_str) {
            Some(name) => name.to_owned(),
            None => value.to_string(),
        },
        Json::Number(number) => number.to_string(),
    };
    if text.is_empty() {
        return None;
    }
    Some(match text.char_indices().nth(CHANGE_CHARS) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    })
}
