//! What a PATCH does to a group's members, worked out without reading the group: what is added, what is removed, or whom it has instead.

use super::{
    entry::{self, Member},
    error::ScimError,
    patch::{Aim, Operation, Verb},
    resource::coerce,
    schema::Attribute,
    view,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use tidings_core::{
    directory::LinkRole,
    filter::{Filter, Operator, Test},
};
use tidings_store::{Mirror, MirrorLink, ObjectId};

/// Links read at a time.
pub(super) const PAGE: u32 = 1000;

/// What becomes of the members.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// These and nobody else, if it is said so.
    pub(super) whole: Option<BTreeMap<String, Member>>,
    /// These in addition.
    pub(super) added: BTreeMap<String, Member>,
    /// These no longer.
    pub(super) removed: BTreeSet<String>,
}

impl Plan {
    /// A plan that leaves exactly these.
    pub(super) fn of_whole(members: Vec<Member>) -> Self {
        Self { whole: Some(members.into_iter().map(|member| (member.id.clone(), member)).collect()), ..Self::default() }
    }

    fn add(&mut self, members: Vec<Member>) {
        for member in members {
            self.removed.remove(&member.id);
            self.whole.as_mut().unwrap_or(&mut self.added).insert(member.id.clone(), member);
        }
    }

    fn remove(&mut self, ids: Vec<String>) {
        for id in ids {
            if let Some(whole) = &mut self.whole {
                whole.remove(&id);
            } else {
                self.added.remove(&id);
                self.removed.insert(id);
            }
        }
    }
}

/// The attribute, if an operation is about members.
pub(super) fn about_members(operation: &Operation) -> Option<&'static Attribute> {
    match operation.aim {
        Aim::Known(None, attribute) if attribute.name == "members" => Some(attribute),
        _ => None,
    }
}

/// Goes on with the plan by one operation about members.
///
/// # Errors
/// `invalidValue`, `invalidPath`, `noTarget`.
pub(super) async fn plan(
    plan: &mut Plan,
    mirror: &dyn Mirror,
    group: ObjectId,
    attribute: &'static Attribute,
    operation: &Operation,
) -> Result<(), ScimError> {
    let given = || coerce(attribute, operation.value.clone().unwrap_or_default(), attribute.name);
    let Some(select) = &operation.select else {
        if operation.sub.is_some() {
            return Err(ScimError::path("say whose with `members[value eq \"…\"]`"));
        }
        match (operation.verb, given()?) {
            (Verb::Add, given) => plan.add(entry::members(&given.unwrap_or_default())?),
            (Verb::Replace, given) => *plan = Plan::of_whole(entry::members(&given.unwrap_or_default())?),
            (Verb::Remove, None) => *plan = Plan::of_whole(Vec::new()),
            (Verb::Remove, Some(given)) => plan.remove(entry::members(&given)?.into_iter().map(|member| member.id).collect()),
        }
        return Ok(());
    };
    if operation.verb == Verb::Remove && operation.sub.is_none() {
        let ids = match literal_ids(select) {
            Some(ids) => ids,
            None => selected(plan, mirror, group, select).await?.into_iter().map(|member| member.id).collect(),
        };
        plan.remove(ids);
        return Ok(());
    }
    let mut chosen = selected(plan, mirror, group, select).await?;
    if chosen.is_empty() {
        // A member that is not there yet can be added so.
        match (operation.verb, literal_ids(select)) {
            (Verb::Add, Some(ids)) => chosen = ids.into_iter().map(|id| Member { id, term: None }).collect(),
            _ => return Err(ScimError::no_target(format!("`members[{select}]` selects nobody"))),
        }
    }
    for member in &mut chosen {
        member.term = Some(new_term(member, attribute, operation)?);
    }
    plan.add(chosen);
    Ok(())
}

/// The term of a selected member after an operation.
fn new_term(
    member: &Member,
    attribute: &'static Attribute,
    operation: &Operation,
) -> Result<(Option<tidings_core::Timestamp>, Option<tidings_core::Timestamp>), ScimError> {
    let (mut starts, mut ends) = member.term.unwrap_or_default();
    let given = match (&operation.sub, operation.verb, &operation.value) {
        (Some(sub), Verb::Remove, _) => Value::from_iter([(sub.clone(), Value::Null)]),
        (Some(sub), _, Some(value)) => Value::from_iter([(sub.clone(), value.clone())]),
        (None, _, Some(value)) => value.clone(),
        (_, _, None) => Value::Null,
    };
    let Value::Object(given) = given else { return Err(ScimError::value("a selected member is an object")) };
    for (name, value) in given {
        let Some(sub) = attribute.sub(&name) else { continue };
        let moment = coerce(sub, value, sub.name)?.and_then(|value| value.as_str().and_then(|text| text.parse().ok()));
        match sub.name {
            "startsAt" => starts = moment,
            "endsAt" => ends = moment,
            _ => {}
        }
    }
    Ok((starts, ends))
}

/// The members that a filter selects, as they are by now.
async fn selected(plan: &Plan, mirror: &dyn Mirror, group: ObjectId, select: &Filter) -> Result<Vec<Member>, ScimError> {
    let as_member = |link: &MirrorLink| Member {
        id: view::id_of(link).to_owned(),
        term: (link.starts_at.is_some() || link.ends_at.is_some()).then_some((link.starts_at, link.ends_at)),
    };
    if let Some(whole) = &plan.whole {
        let ids =
            literal_ids(select).ok_or_else(|| ScimError::filter("after a replacement, members can be selected by `value eq` only"))?;
        return Ok(ids.iter().filter_map(|id| whole.get(id)).cloned().collect());
    }
    let mut chosen: BTreeMap<String, Member> = BTreeMap::new();
    if let Some(ids) = literal_ids(select) {
        chosen.extend(ids.iter().filter_map(|id| plan.added.get(id)).map(|member| (member.id.clone(), member.clone())));
        for link in mirror.linked(group, LinkRole::Member, &ids).await? {
            chosen.entry(view::id_of(&link).to_owned()).or_insert_with(|| as_member(&link));
        }
    } else {
        let mut after = None;
        loop {
            let page = mirror.links(group, LinkRole::Member, after, PAGE).await?;
            for link in &page.links {
                let shown = view::member("", link);
                if shown.as_object().is_some_and(|shown| select.matches(shown)) {
                    chosen.insert(view::id_of(link).to_owned(), as_member(link));
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    chosen.retain(|id, _| !plan.removed.contains(id));
    Ok(chosen.into_values().collect())
}

/// The ids that a filter asks for, if it asks for nothing else: `value eq "a" or value eq "b"`.
pub(super) fn literal_ids(filter: &Filter) -> Option<Vec<String>> {
    match filter {
        Filter::Attribute(named, Test::Compare(Operator::Equal, Value::String(id)))
            if named.sub.is_none() && named.name.eq_ignore_ascii_case("value") =>
        {
            Some(vec![id.clone()])
        }
        Filter::Or(terms) => {
            let ids: Option<Vec<Vec<String>>> = terms.iter().map(literal_ids).collect();
            Some(ids?.concat())
        }
        _ => None,
    }
}
