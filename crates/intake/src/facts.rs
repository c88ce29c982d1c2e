//! Facts: completes an event from the mirror as far as the rules for its kind look, and finds the people a decision wants, until it lacks nothing.
//!
//! What the event itself says whole wins over the mirror. An event whose rules look at nothing that the mirror could add costs no query and no copy.

use crate::{
    crowd::{Gatherer, Queries},
    health,
    known::{Known, NotAsked},
    news,
};
use serde_json::{Map, Value, json};
use std::{borrow::Cow, collections::HashSet};
use tidings_core::{
    Event,
    directory::LinkRole,
    policy::{
        Crowd, Decision, Facts, Found, RuleSet, Unwell, Want, WhenUnhealthy, decide,
        facts::{Path, Root},
    },
    subject::{ObjectType, Party},
};
use tidings_store::{Difference, MirrorLink, MirrorObject, StoreError, Target, Walk};

/// Where an event comes from, and so how much of it is there already.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Origin<'d> {
    /// From somebody outside: what is missing may stand in the mirror.
    Posted,
    /// From the end of an object that the mirror still has.
    End,
    /// From a difference that is not recorded yet: people are whole, and owners and manager of the object are there, as they will be.
    Difference(&'d Difference),
}

impl Origin<'_> {
    fn is_posted(self) -> bool {
        !matches!(self, Self::Difference(_))
    }

    /// The people of a group as they will be once the difference is recorded.
    fn adjust(self, crowd: &Crowd, found: Found) -> Found {
        let (Self::Difference(difference), Crowd::Members { key, .. }, Found::Few(mut people)) = (self, crowd, found.clone()) else {
            return found;
        };
        let people_of = |links: &[MirrorLink]| -> Vec<Party> {
            let members = links.iter().filter(|link| link.role == LinkRole::Member);
            members
                .filter_map(
                    |link| if let Target::Known(one) = &link.other { Some(Party::of_head(&one.directory, &one.head)) } else { None },
                )
                .collect()
        };
        if difference.after.as_ref().is_none_or(|after| after.key != *key) {
            return found;
        }
        let (added, removed) = (people_of(&difference.added), people_of(&difference.removed));
        let same = |one: &Party, other: &Party| one.directory == other.directory && one.id == other.id;
        people.retain(|one| !removed.iter().chain(&added).any(|other| same(one, other)));
        people.extend(added.into_iter().filter(|one| one.object_type != ObjectType::Group));
        Found::Few(people)
    }
}

/// What is decided by, beside the facts.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    /// The rules.
    pub rules: &'a RuleSet,
    /// The stored queries that their audiences may name.
    pub queries: &'a Queries,
    /// What is done with letters to addresses that letters come back from.
    pub unhealthy: WhenUnhealthy,
}

impl<'a> Policy<'a> {
    /// What the rules for an event look at.
    pub(crate) fn paths(&self, event: &Event) -> &'a [Path] {
        &self.rules.needs(event.kind).paths
    }
}

/// Owners or list members of one party that are read.
pub(crate) const MOST: u32 = 100;
/// Members of a group that an expression sees.
const MOST_MEMBERS: u32 = 1000;
/// Look-ups for one event; what is beyond stays a reference.
const LOOKUPS: usize = 500;
/// Decisions on one event; a group within a group within an expression may want one more each.
const ROUNDS: usize = 4;

/// Decides on an event with everything that the mirror knows of it. Gives the event as it was decided on, too.
///
/// # Errors
/// If the mirror cannot be asked.
pub(crate) async fn decided<'e>(
    event: &'e Event,
    policy: Policy<'_>,
    gatherer: Option<&Gatherer>,
    origin: Origin<'_>,
) -> Result<(Cow<'e, Event>, Decision), StoreError> {
    let known = match gatherer {
        Some(gatherer) => Known::of(gatherer, std::iter::once((event, policy.paths(event))), origin).await?,
        None => Known::default(),
    };
    decided_knowing(event, policy, gatherer, origin, &known).await
}

/// As [`decided`], with what is known already, of this event and others.
pub(crate) async fn decided_knowing<'e>(
    event: &'e Event,
    policy: Policy<'_>,
    gatherer: Option<&Gatherer>,
    origin: Origin<'_>,
    known: &Known,
) -> Result<(Cow<'e, Event>, Decision), StoreError> {
    let Policy { rules, queries, unhealthy } = policy;
    let Some(gatherer) = gatherer else { return Ok((Cow::Borrowed(event), decide(event, rules, &Facts::NONE))) };
    let event = completed(event, policy.paths(event), Sight { gatherer, known }, origin).await?;
    let mut facts = Facts::asking();
    facts.unwell = Unwell::new(unhealthy);
    if let Some(itself) = health::itself(&event) {
        facts.unwell.add(itself.to_lowercase(), "the news is about this address".to_owned());
    }
    let mut decision = decide(&event, rules, &facts);
    for _ in 1..ROUNDS {
        if decision.wants.is_empty() {
            break;
        }
        for want in std::mem::take(&mut decision.wants) {
            match want {
                Want::Crowd(crowd) => {
                    let found = gatherer.find(&crowd, queries).await?;
                    let found = origin.adjust(&crowd, found);
                    facts.add_crowd(crowd, found);
                }
                Want::Party(reference) => {
                    let found = gatherer.referred(&reference).await?;
                    facts.add_party(reference, found.map(|object| Party::of_head(&object.directory, &object.head)));
                }
            }
        }
        decision = decide(&event, rules, &facts);
    }
    if let Some(bounces) = &gatherer.bounces {
        let mut asked = HashSet::new();
        // Whoever stands in for somebody may be unhealthy as well; the fallback has no fallback.
        while health::ask(bounces.as_ref(), &decision.notices, &mut asked, &mut facts.unwell).await? {
            decision = decide(&event, rules, &facts);
        }
    }
    Ok((event, decision))
}

/// The mirror, and what is known of it already.
#[derive(Clone, Copy)]
struct Sight<'a> {
    gatherer: &'a Gatherer,
    known: &'a Known,
}

impl<'a> Sight<'a> {
    async fn object(self, directory: &str, name: &str) -> Result<Option<Cow<'a, MirrorObject>>, StoreError> {
        match self.known.object(directory, name) {
            Ok(known) => Ok(known.map(Cow::Borrowed)),
            Err(NotAsked) => Ok(self.gatherer.mirror.object(directory, name).await?.map(Cow::Owned)),
        }
    }

    /// The first links in a role, each as `shown`.
    async fn links(
        self,
        object: &MirrorObject,
        role: LinkRole,
        most: u32,
        shown: fn(&str, &MirrorLink) -> Value,
    ) -> Result<Vec<Value>, StoreError> {
        let show = |link: &MirrorLink| shown(&object.directory, link);
        if let Some(links) = self.known.links(object, role) {
            return Ok(links.take(most as usize).map(show).collect());
        }
        Ok(self.gatherer.mirror.links(object.id, role, None, most).await?.links.iter().map(show).collect())
    }
}

/// The event with what the paths look at.
async fn completed<'e>(event: &'e Event, paths: &[Path], sight: Sight<'_>, origin: Origin<'_>) -> Result<Cow<'e, Event>, StoreError> {
    if !paths.iter().any(|path| lacks_on(&event.data, path, origin)) {
        return Ok(Cow::Borrowed(event));
    }
    let mut walk = Walker { sight, origin, data: Value::Object(event.data.clone()), left: LOOKUPS };
    for path in paths {
        walk.follow(path).await?;
    }
    let Value::Object(data) = walk.data else { unreachable!("it was made of a map") };
    Ok(Cow::Owned(event.with_data(data)))
}

/// Where a path begins in an event's data, and what stands there.
pub(crate) fn root<'d>(data: &'d Map<String, Value>, path: &'d Path) -> (&'d str, Option<&'d Value>) {
    match &path.root {
        Root::Name(name) => (name, data.get(name)),
        Root::Person => match data.get("member").filter(|member| !member.is_null()) {
            Some(member) => ("member", Some(member)),
            None => ("object", data.get("object")),
        },
    }
}

/// Whether the mirror may add something on this path.
pub(crate) fn lacks_on(data: &Map<String, Value>, path: &Path, origin: Origin<'_>) -> bool {
    let (name, value) = root(data, path);
    lacks(value, &path.steps, origin, name == "object")
}

/// Whether the mirror may add something to a value or on the steps from it. `object` says that it is what the event is about.
fn lacks(value: Option<&Value>, steps: &[String], origin: Origin<'_>, object: bool) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(_) | Value::Number(_)) => false,
        Some(Value::String(text)) => is_reference(text),
        Some(Value::Array(list)) => list.iter().any(|one| lacks(Some(one), steps, origin, object)),
        Some(Value::Object(party)) => match steps.split_first() {
            None => origin.is_posted() && mirrored(party).is_some() && !party.contains_key("mail"),
            Some((step, rest)) => match party.get(step) {
                Some(value) => lacks(Some(value), rest, origin, false),
                None => mirrored(party).is_some() && may_add(step, object, party, origin),
            },
        },
    }
}

/// Whether the mirror may know this step of a party. The object of a difference came with its owners and its manager; heads of differences are whole.
fn may_add(step: &str, object: bool, party: &Map<String, Value>, origin: Origin<'_>) -> bool {
    let is_group = party.get("type").and_then(Value::as_str) == Some("group");
    match step {
        "members" => is_group,
        "manager" => !is_group && (origin.is_posted() || !object),
        "owners" => origin.is_posted() || !object,
        _ => origin.is_posted(),
    }
}

/// A text in the form `directory/name`; an address or a path is none.
pub(crate) fn is_reference(text: &str) -> bool {
    text.split_once('/').is_some_and(|(directory, name)| !directory.is_empty() && !name.is_empty() && !directory.contains(['@', ' ', ':']))
}

/// Directory and key of a party that stands in a mirror.
pub(crate) fn mirrored(party: &Map<String, Value>) -> Option<(&str, &str)> {
    Some((party.get("directory")?.as_str()?, party.get("id")?.as_str()?))
}

/// Follows paths through an event's data and writes down what the mirror knows on the way.
struct Walker<'a> {
    sight: Sight<'a>,
    origin: Origin<'a>,
    data: Value,
    /// Look-ups still allowed.
    left: usize,
}

impl<'a> Walker<'a> {
    async fn follow(&mut self, path: &Path) -> Result<(), StoreError> {
        let Value::Object(data) = &self.data else { return Ok(()) };
        let name = root(data, path).0;
        let object = name == "object";
        let mut places = vec![format!("/{}", escaped(name))];
        for (index, step) in path.steps.iter().map(Some).chain([None]).enumerate() {
            let mut next = Vec::new();
            for place in self.whole(places).await? {
                if let Some(step) = step {
                    self.add_step(&place, step, object && index == 0).await?;
                    next.push(format!("{place}/{}", escaped(step)));
                } else if self.origin.is_posted() {
                    self.fill(&place, "mail").await?;
                }
            }
            places = next;
        }
        Ok(())
    }

    /// Replaces references by whom they mean and lists by their places.
    async fn whole(&mut self, places: Vec<String>) -> Result<Vec<String>, StoreError> {
        let mut found = Vec::new();
        let mut open = places;
        open.reverse();
        while let Some(place) = open.pop() {
            match self.data.pointer(&place) {
                Some(Value::Array(list)) => {
                    let most = list.len().min(MOST as usize);
                    open.extend((0..most).rev().map(|index| format!("{place}/{index}")));
                }
                Some(Value::String(reference)) if is_reference(reference) && self.left > 0 => {
                    self.left -= 1;
                    let object = match reference.split_once('/') {
                        Some((directory, name)) => self.sight.object(directory, name).await?,
                        None => None,
                    };
                    if let Some(object) = object {
                        self.set(&place, Value::Object(news::party(&object.directory, &object.head)));
                    }
                    found.push(place);
                }
                Some(Value::Object(_) | Value::String(_)) => found.push(place),
                _ => {}
            }
        }
        Ok(found)
    }

    /// Adds what a path's next step needs, if the party here lacks it.
    async fn add_step(&mut self, place: &str, step: &str, object: bool) -> Result<(), StoreError> {
        let lacking = |party: &Map<String, Value>| !party.contains_key(step) && may_add(step, object, party, self.origin);
        if !self.data.pointer(place).and_then(Value::as_object).is_some_and(lacking) {
            return Ok(());
        }
        if !matches!(step, "manager" | "owners" | "members") {
            return self.fill(place, step).await;
        }
        let Some(object) = self.object(place).await? else { return Ok(()) };
        let value = match step {
            "manager" => self.sight.links(&object, LinkRole::Manager, 1, news::member).await?.pop(),
            "owners" => self.owners(&object).await?,
            _ => self.members(&object).await?,
        };
        if let (Some(value), Some(Value::Object(party))) = (value, self.data.pointer_mut(place)) {
            party.insert(step.to_owned(), value);
        }
        Ok(())
    }

    /// Adds what the mirror knows of a party beside its links, if it lacks this field.
    async fn fill(&mut self, place: &str, field: &str) -> Result<(), StoreError> {
        let Some(party) = self.data.pointer(place).and_then(Value::as_object) else { return Ok(()) };
        if party.contains_key(field) {
            return Ok(());
        }
        let Some(object) = self.object(place).await? else { return Ok(()) };
        if let Some(Value::Object(party)) = self.data.pointer_mut(place) {
            for (name, value) in object.head.to_json() {
                party.entry(name).or_insert(value);
            }
        }
        Ok(())
    }

    async fn object(&mut self, place: &str) -> Result<Option<Cow<'a, MirrorObject>>, StoreError> {
        let party = self.data.pointer(place).and_then(Value::as_object);
        let Some((directory, key)) = party.and_then(mirrored).filter(|_| self.left > 0) else { return Ok(None) };
        self.left -= 1;
        self.sight.object(directory, key).await
    }

    async fn owners(&self, object: &MirrorObject) -> Result<Option<Value>, StoreError> {
        let mut owners = Vec::new();
        for role in [LinkRole::Owner, LinkRole::AdditionalOwner] {
            owners.extend(self.sight.links(object, role, MOST, news::owner).await?);
        }
        Ok((!owners.is_empty()).then(|| json!(owners)))
    }

    async fn members(&self, object: &MirrorObject) -> Result<Option<Value>, StoreError> {
        let page = self.sight.gatherer.mirror.members(object.id, Walk::Nested, None, MOST_MEMBERS).await?;
        let members: Vec<Value> = page.objects.iter().map(|one| Value::Object(news::party(&one.directory, &one.head))).collect();
        Ok((!members.is_empty()).then(|| json!(members)))
    }

    fn set(&mut self, place: &str, value: Value) {
        if let Some(there) = self.data.pointer_mut(place) {
            *there = value;
        }
    }
}

/// A step as a JSON pointer writes it (RFC 6901 §3).
fn escaped(step: &str) -> Cow<'_, str> {
    if step.contains(['~', '/']) { Cow::Owned(step.replace('~', "~0").replace('/', "~1")) } else { Cow::Borrowed(step) }
}

#[cfg(test)]
#[path = "facts_test.rs"]
mod tests;
