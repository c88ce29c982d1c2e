//! What a difference between a directory and its mirror is in events: pure, so that it can be read and tested without either.

use serde_json::{Map, Value, json};
use tidings_core::{
    Timestamp,
    directory::{Head, LinkRole},
    kind::TYPE_PREFIX,
};
use tidings_store::{Difference, MirrorLink, Target};

/// What surrounds a difference: who made it and when, and how the object is linked once it is written.
pub(crate) struct Scene<'a> {
    /// The directory's name.
    pub(crate) directory: &'a str,
    /// Who did it, as an event shows a person: whole, or as a reference.
    pub(crate) actor: Option<Value>,
    /// When it happened, as the source says.
    pub(crate) at: Option<Timestamp>,
    /// Found by comparison after a gap, not told by the source.
    pub(crate) found_late: bool,
    /// The object's owners, the primary one first, and its managers, as they will be; as they were of an object that is gone.
    pub(crate) keepers: &'a [MirrorLink],
}

/// The events of a difference, as CloudEvents in their JSON form, in the order in which they are to be told: the object itself, who comes, who goes.
///
/// Their ids follow from the object's key and version: what is found twice has the same names.
pub(crate) fn events(scene: &Scene<'_>, difference: &Difference) -> Vec<Value> {
    let version = difference.before.as_ref().map_or(0, |before| before.version) + 1;
    let before = difference.before.as_ref().map(|before| &before.head);
    let Some(subject) = difference.after.as_ref().or(before) else { return Vec::new() };
    let mut told = Vec::new();
    let mut tell = |kind: &str, data: Map<String, Value>| {
        let number = told.len();
        told.push(envelope(scene, kind, &format!("{}/{version}/{number}", subject.key), data));
    };
    let object = with_keepers(scene, subject);
    match (before, difference.after.as_ref()) {
        (None, Some(after)) => tell("object.created", data(scene, &object, None, &[("after", after.to_json())])),
        (Some(before), None) => tell("object.deleted", data(scene, &object, None, &[("before", before.to_json())])),
        (Some(before), Some(after)) => {
            if let Some((was, is)) = before.differences(after) {
                tell("object.changed", data(scene, &object, None, &[("before", was), ("after", is)]));
            }
        }
        (None, None) => {}
    }
    // An object that is gone has no members and owners to lose any more: its end says it all.
    let removed = if difference.after.is_some() { difference.removed.as_slice() } else { &[] };
    for (links, joins) in [(difference.added.as_slice(), true), (removed, false)] {
        for link in links {
            tell(
                kind_of(link.role, joins),
                data(scene, &object, Some(member(scene.directory, link)), &[("details", details(scene, link))]),
            );
        }
    }
    for link in &difference.orphaned {
        // Here the object is the one that was linked to: it goes from groups and offices of others.
        let Target::Known(bearer) = &link.other else { continue };
        let bearer = Value::Object(party(&bearer.directory, &bearer.head));
        let itself = Value::Object(party(scene.directory, subject));
        tell(kind_of(link.role, false), data(scene, &bearer, Some(itself), &[("details", details(scene, link))]));
    }
    told
}

const fn kind_of(role: LinkRole, joins: bool) -> &'static str {
    match (role, joins) {
        (LinkRole::Member, true) => "membership.joined",
        (LinkRole::Member, false) => "membership.left",
        (_, true) => "management.added",
        (_, false) => "management.removed",
    }
}

fn envelope(scene: &Scene<'_>, kind: &str, id: &str, data: Map<String, Value>) -> Value {
    let mut event = json!({
        "specversion": "1.0",
        "id": id,
        "source": format!("directory/{}", scene.directory),
        "type": format!("{TYPE_PREFIX}{kind}"),
        "data": data,
    });
    if let Some(at) = scene.at {
        event["time"] = json!(at.to_string());
    }
    event
}

fn data(scene: &Scene<'_>, object: &Value, member: Option<Value>, more: &[(&str, Map<String, Value>)]) -> Map<String, Value> {
    let mut data = Map::new();
    if let Some(actor) = &scene.actor {
        data.insert("actor".to_owned(), actor.clone());
    }
    data.insert("object".to_owned(), object.clone());
    if let Some(member) = member {
        data.insert("member".to_owned(), member);
    }
    for (name, map) in more {
        data.insert((*name).to_owned(), Value::Object(map.clone()));
    }
    if scene.found_late {
        let details = data.entry("details").or_insert_with(|| json!({}));
        details["found_late"] = json!(true);
    }
    data
}

/// What an event says of a link beside its two ends.
fn details(scene: &Scene<'_>, link: &MirrorLink) -> Map<String, Value> {
    let mut details = Map::new();
    if link.role != LinkRole::Member {
        details.insert("role".to_owned(), json!(link.role.as_str()));
    }
    for (name, moment) in [("starts_at", link.starts_at), ("ends_at", link.ends_at)] {
        if let Some(moment) = moment {
            details.insert(name.to_owned(), json!(moment.to_string()));
        }
    }
    if scene.found_late {
        details.insert("found_late".to_owned(), json!(true));
    }
    details
}

/// An object as an event shows it, with the directory it is of.
pub(crate) fn party(directory: &str, head: &Head) -> Map<String, Value> {
    let mut party = head.to_json();
    party.insert("directory".to_owned(), json!(directory));
    party
}

/// The other end of a link as an event shows it: whole, or as a reference.
pub(crate) fn member(directory: &str, link: &MirrorLink) -> Value {
    match &link.other {
        Target::Known(object) => Value::Object(party(&object.directory, &object.head)),
        Target::Unknown(name) => Value::String(format!("{directory}/{name}")),
    }
}

/// An owner as an event shows one: the primary one is marked, and so is who wishes no letters about the group.
pub(crate) fn owner(directory: &str, link: &MirrorLink) -> Value {
    let mut owner = member(directory, link);
    if let Value::Object(owner) = &mut owner {
        if link.role == LinkRole::Owner {
            owner.insert("primary".to_owned(), json!(true));
        }
        if link.muted {
            owner.insert("notify".to_owned(), json!(false));
        }
    }
    owner
}

fn with_keepers(scene: &Scene<'_>, subject: &Head) -> Value {
    let mut object = party(scene.directory, subject);
    let mut owners = Vec::new();
    for link in scene.keepers {
        match link.role {
            LinkRole::Manager => _ = object.insert("manager".to_owned(), member(scene.directory, link)),
            LinkRole::Owner | LinkRole::AdditionalOwner => owners.push(owner(scene.directory, link)),
            LinkRole::Member => {}
        }
    }
    if !owners.is_empty() {
        object.insert("owners".to_owned(), Value::Array(owners));
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_core::{Address, Event, Timestamp, subject::ObjectType};
    use tidings_store::{MirrorObject, ObjectId};

    fn head(object_type: ObjectType, key: &str) -> Head {
        let mut head = Head::new(object_type, key);
        head.name = Some(key.to_uppercase());
        head.mail = Some(Address::parse(&format!("{key}@example.org")).unwrap());
        head
    }

    fn known(head: Head) -> Box<MirrorObject> {
        let at = Timestamp::UNIX_EPOCH;
        Box::new(MirrorObject { id: ObjectId(1), directory: "corp".into(), head, created_at: at, changed_at: at, version: 4 })
    }

    fn link(role: LinkRole, key: &str) -> MirrorLink {
        MirrorLink { role, starts_at: None, ends_at: None, muted: false, other: Target::Known(known(head(ObjectType::User, key))) }
    }

    fn difference(before: Option<Head>, after: Option<Head>) -> Difference {
        let (added, removed, altered, orphaned) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Difference { before: before.map(|head| *known(head)), after, document: None, added, removed, altered, orphaned }
    }

    fn told(scene: &Scene<'_>, difference: &Difference) -> Vec<Event> {
        events(scene, difference).into_iter().map(|event| Event::read(event, "", Timestamp::UNIX_EPOCH).unwrap()).collect()
    }

    fn scene(keepers: &[MirrorLink]) -> Scene<'_> {
        Scene { directory: "corp", actor: Some(json!("corp/cn=admin")), at: None, found_late: false, keepers }
    }

    #[test]
    fn a_group_that_changes_tells_of_itself_and_of_everybody_who_comes_and_goes() {
        let mut after = head(ObjectType::Group, "g");
        after.public = true;
        let mut difference = difference(Some(head(ObjectType::Group, "g")), Some(after));
        difference.added = vec![link(LinkRole::Member, "linus"), link(LinkRole::AdditionalOwner, "grace")];
        difference.removed = vec![link(LinkRole::Member, "eve")];
        let keepers = [link(LinkRole::AdditionalOwner, "grace"), link(LinkRole::Owner, "ada")];
        let events = told(&scene(&keepers), &difference);
        let kinds: Vec<_> = events.iter().map(|event| event.kind.name).collect();
        assert_eq!(kinds, ["object.changed", "membership.joined", "management.added", "membership.left"]);
        assert_eq!(events.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["g/5/0", "g/5/1", "g/5/2", "g/5/3"]);
        assert_eq!(events[0].value("/after/public"), Some(&json!(true)));
        assert_eq!(events[1].member.as_ref().unwrap().name.as_deref(), Some("LINUS"));
        assert_eq!(events[1].object.as_ref().unwrap().primary_owners()[0].name.as_deref(), Some("ADA"));
        assert_eq!(events[2].value("/details/role"), Some(&json!("additional_owner")));
    }

    #[test]
    fn somebody_who_is_gone_leaves_the_groups() {
        let mut difference = difference(Some(head(ObjectType::User, "eve")), None);
        difference.orphaned = vec![MirrorLink { other: Target::Known(known(head(ObjectType::Group, "g"))), ..link(LinkRole::Member, "g") }];
        let events = told(&Scene { found_late: true, ..scene(&[]) }, &difference);
        assert_eq!(events.iter().map(|event| event.kind.name).collect::<Vec<_>>(), ["object.deleted", "membership.left"]);
        assert_eq!(events[1].object.as_ref().unwrap().name.as_deref(), Some("G"));
        assert_eq!(events[1].member.as_ref().unwrap().name.as_deref(), Some("EVE"));
        assert_eq!(events[1].value("/details/found_late"), Some(&json!(true)));
    }

    #[test]
    fn nothing_different_tells_nothing() {
        assert!(told(&scene(&[]), &difference(Some(head(ObjectType::User, "u")), Some(head(ObjectType::User, "u")))).is_empty());
    }
}
