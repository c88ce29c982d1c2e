//! Queries (RFC 7644 §§3.4.2, 3.4.3): which resources, in which order, which page of them.
//!
//! A filter that names one resource by id, user name, external id or a group's name, or groups by a member, is answered by look-up. Any other filter goes through the directory,
//! page by page, and keeps no more than the page that was asked for.

use super::{
    desk::{Desk, Reply, document},
    entry,
    error::ScimError,
    membership::literal_ids,
    schema::Kind,
    view::{self, Linked, Projection, asks_of},
};
use serde_json::{Map, Value, json};
use std::cmp::Ordering;
use tidings_core::{
    directory::LinkRole,
    filter::{Attribute, Filter, Operator, Test},
};
use tidings_store::{MirrorObject, ObjectId};

/// Resources of a page, unless asked otherwise.
const USUAL_COUNT: u64 = 100;
/// Resources of a page at most.
pub(super) const MOST_COUNT: u64 = 1000;
/// Members shown on one page of groups: a page ends early after so many.
const MOST_MEMBERS: usize = 20_000;
/// Resources sorted at most.
const MOST_SORTED: usize = 100_000;
/// Objects read at a time.
const PAGE: u32 = 500;

/// What is asked for.
#[derive(Debug, Default)]
pub(super) struct Query {
    filter: Option<Filter>,
    sort_by: Option<Attribute>,
    descending: bool,
    /// Counts from 0.
    offset: u64,
    count: u64,
    pub(super) projection: Projection,
}

impl Query {
    /// From the parameters of a URL.
    ///
    /// # Errors
    /// `invalidFilter`, `invalidPath` for names of attributes, `invalidValue` for numbers.
    pub(super) fn read(parameters: &[(String, String)]) -> Result<Self, ScimError> {
        let text = |name: &str| parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
        let number = |name: &str| {
            let text = text(name).filter(|text| !text.is_empty());
            text.map(|text| text.trim().parse::<i64>().map_err(|_| ScimError::value(format!("`{name}` is a number")))).transpose()
        };
        Self::of(
            text("filter"),
            (text("sortBy"), text("sortOrder")),
            (number("startIndex")?, number("count")?),
            projection(text("attributes"), text("excludedAttributes"))?,
        )
    }

    /// From the body of a `.search`.
    ///
    /// # Errors
    /// As [`Query::read`], and `invalidSyntax` for what is no search.
    pub(super) fn read_search(body: &Value) -> Result<Self, ScimError> {
        const SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:SearchRequest";
        super::resource::check_schema(body, SCHEMA)?;
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let list = |name: &str| match body.get(name) {
            Some(Value::Array(names)) => Some(names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")),
            Some(Value::String(names)) => Some(names.clone()),
            _ => None,
        };
        let number = |name: &str| match body.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_i64().map(Some).ok_or_else(|| ScimError::value(format!("`{name}` is a number"))),
        };
        Self::of(
            text("filter"),
            (text("sortBy"), text("sortOrder")),
            (number("startIndex")?, number("count")?),
            projection(list("attributes").as_deref(), list("excludedAttributes").as_deref())?,
        )
    }

    fn of(
        filter: Option<&str>,
        (sort_by, order): (Option<&str>, Option<&str>),
        (start, count): (Option<i64>, Option<i64>),
        projection: Projection,
    ) -> Result<Self, ScimError> {
        let descending = match order {
            Some(order) if order.eq_ignore_ascii_case("descending") => true,
            None | Some("") => false,
            Some(order) if order.eq_ignore_ascii_case("ascending") => false,
            Some(_) => return Err(ScimError::value("`sortOrder` is ascending or descending")),
        };
        Ok(Self {
            filter: filter.filter(|text| !text.trim().is_empty()).map(Filter::parse).transpose()?,
            sort_by: sort_by
                .filter(|text| !text.is_empty())
                .map(|name| Attribute::parse(name).map_err(|error| ScimError::path(error.to_string())))
                .transpose()?,
            descending,
            offset: start.map_or(0, |start| u64::try_from(start - 1).unwrap_or(0)),
            count: count.map_or(USUAL_COUNT, |count| u64::try_from(count).unwrap_or(0)).min(MOST_COUNT),
            projection,
        })
    }

    fn window(&self) -> std::ops::Range<u64> {
        self.offset..self.offset.saturating_add(self.count)
    }
}

/// The parameters `attributes` and `excludedAttributes`, lists with commas.
///
/// # Errors
/// `invalidPath`.
pub(super) fn projection(only: Option<&str>, without: Option<&str>) -> Result<Projection, ScimError> {
    let list = |names: Option<&str>| {
        let names = names.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
        names
            .map(|name| Attribute::parse(name).map_err(|error| ScimError::path(format!("`{name}`: {error}"))))
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(Projection { only: list(only)?, without: list(without)? })
}

/// What was found: how many, and those of the page.
struct Found {
    total: u64,
    page: Vec<MirrorObject>,
}

impl Desk {
    /// Answers a query about resources of these kinds.
    ///
    /// # Errors
    /// `invalidFilter`, `tooMany`.
    pub(super) async fn list(&self, kinds: &[Kind], query: &Query) -> Result<Reply, ScimError> {
        let found = self.found(kinds, query).await?;
        let ids: Vec<ObjectId> = found.page.iter().map(|object| object.id).collect();
        let documents = self.mirror().documents(&ids).await?;
        let mut resources = Vec::with_capacity(ids.len());
        let mut members = 0;
        for (object, bytes) in found.page.iter().zip(documents) {
            let Some(kind) = Kind::of(&object.head.object_type) else { continue };
            let shown = self.shown(kind, object, document(bytes), &query.projection).await?;
            members += shown.get("members").and_then(Value::as_array).map_or(0, Vec::len);
            resources.push(Value::Object(shown));
            if members > MOST_MEMBERS {
                break;
            }
        }
        Ok(Reply::ok(list_response(found.total, query.offset + 1, resources)))
    }

    async fn found(&self, kinds: &[Kind], query: &Query) -> Result<Found, ScimError> {
        if let (None, None, [kind]) = (&query.filter, &query.sort_by, kinds) {
            let limit = u32::try_from(query.count).expect("at most MOST_COUNT");
            let (total, page) = self.mirror().listing(&self.directory, &kind.object_type(), query.offset, limit).await?;
            return Ok(Found { total, page });
        }
        let mut gathering =
            Gathering { desk: self, kinds, query, total: 0, kept: Vec::new(), members: asked_members(query.filter.as_ref())? };
        if let Some(objects) = self.looked_up(kinds, query.filter.as_ref()).await? {
            gathering.take(objects).await?;
            return Ok(gathering.found());
        }
        let mut after = None;
        loop {
            let page = self.mirror().objects(Some(&self.directory), after, PAGE).await?;
            gathering.take(page.objects).await?;
            after = page.next;
            if after.is_none() {
                return Ok(gathering.found());
            }
        }
    }

    /// The objects among which a filter's matches are, if an index knows them.
    async fn looked_up(&self, kinds: &[Kind], filter: Option<&Filter>) -> Result<Option<Vec<MirrorObject>>, ScimError> {
        let terms = match filter {
            None => return Ok(None),
            Some(Filter::And(terms)) => terms.as_slice(),
            Some(one) => std::slice::from_ref(one),
        };
        for term in terms {
            let (name, value) = match term {
                Filter::Attribute(named, Test::Compare(Operator::Equal, Value::String(value))) => match &named.sub {
                    None => (named.name.as_str(), value.clone()),
                    Some(sub) if sub.eq_ignore_ascii_case("value") => (named.name.as_str(), value.clone()),
                    Some(_) => continue,
                },
                // `emails[type eq "work"].value eq "…"`: as a client asks who has an address.
                Filter::Element(named, _, Some((sub, Test::Compare(Operator::Equal, Value::String(value)))))
                    if sub.eq_ignore_ascii_case("value") =>
                {
                    (named.name.as_str(), value.clone())
                }
                Filter::Element(named, inner, None) => match literal_ids(inner).as_deref() {
                    Some([id]) => (named.name.as_str(), id.clone()),
                    _ => continue,
                },
                _ => continue,
            };
            if let Some(objects) = self.by_attribute(kinds, name, &value).await? {
                return Ok(Some(objects));
            }
        }
        Ok(None)
    }

    async fn by_attribute(&self, kinds: &[Kind], name: &str, value: &str) -> Result<Option<Vec<MirrorObject>>, ScimError> {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        let mirror = self.mirror();
        if is("id") {
            return Ok(Some(mirror.keyed(&self.directory, &[value.to_owned()]).await?));
        }
        if is("userName") {
            return Ok(Some(mirror.find(&self.directory, entry::ACCOUNT, value).await?));
        }
        if is("externalId") {
            return Ok(Some(mirror.find(&self.directory, entry::EXTERNAL_ID, value).await?));
        }
        if is("emails") && kinds == [Kind::User] {
            return Ok(Some(mirror.find(&self.directory, entry::EMAILS, value).await?));
        }
        if is("displayName") && kinds == [Kind::Group] {
            return Ok(Some(mirror.groups_named(Some(&self.directory), value).await?));
        }
        if is("members") && kinds == [Kind::Group] {
            let Some(member) = mirror.object(&self.directory, value).await? else { return Ok(Some(Vec::new())) };
            let links = self.every_link(&member, LinkRole::Member, true).await?;
            return Ok(Some(
                links
                    .into_iter()
                    .filter_map(|link| match link.other {
                        tidings_store::Target::Known(group) => Some(*group),
                        tidings_store::Target::Unknown(_) => None,
                    })
                    .collect(),
            ));
        }
        Ok(None)
    }
}

/// Goes through objects and keeps those of the page, or all with what they are sorted by.
struct Gathering<'a> {
    desk: &'a Desk,
    kinds: &'a [Kind],
    query: &'a Query,
    total: u64,
    kept: Vec<(Option<Value>, MirrorObject)>,
    /// Members that the filter asks for.
    members: Vec<String>,
}

impl Gathering<'_> {
    async fn take(&mut self, objects: Vec<MirrorObject>) -> Result<(), ScimError> {
        let kinds = self.kinds;
        let objects: Vec<MirrorObject> =
            objects.into_iter().filter(|object| Kind::of(&object.head.object_type).is_some_and(|kind| kinds.contains(&kind))).collect();
        let bare = self.query.filter.is_none() && self.query.sort_by.is_none();
        let documents = if bare {
            vec![None; objects.len()]
        } else {
            self.desk.mirror().documents(&objects.iter().map(|object| object.id).collect::<Vec<_>>()).await?
        };
        for (object, bytes) in objects.into_iter().zip(documents) {
            if bare {
                self.keep(None, object)?;
                continue;
            }
            let seen = self.seen(&object, document(bytes)).await?;
            if self.query.filter.as_ref().is_none_or(|filter| filter.matches(&seen)) {
                let by = self.query.sort_by.as_ref().map(|attribute| sorted_by(attribute, &seen).unwrap_or_default());
                self.keep(by, object)?;
            }
        }
        Ok(())
    }

    fn keep(&mut self, by: Option<Value>, object: MirrorObject) -> Result<(), ScimError> {
        if self.query.sort_by.is_some() {
            if self.kept.len() >= MOST_SORTED {
                return Err(ScimError::too_many(format!(
                    "more than {MOST_SORTED} resources would have to be sorted; say more in the filter"
                )));
            }
            self.kept.push((by, object));
        } else if self.query.window().contains(&self.total) {
            self.kept.push((by, object));
        }
        self.total += 1;
        Ok(())
    }

    /// The resource as far as the filter and the order look at it.
    async fn seen(&self, object: &MirrorObject, document: Map<String, Value>) -> Result<Map<String, Value>, ScimError> {
        let kind = Kind::of(&object.head.object_type).expect("others were left out");
        let asks = |name: &str| {
            self.query.filter.as_ref().is_some_and(|filter| asks_of(filter, name))
                || self.query.sort_by.as_ref().is_some_and(|by| by.name.eq_ignore_ascii_case(name))
        };
        let (desk, mirror) = (self.desk, self.desk.mirror());
        let mut linked = Linked::default();
        if kind == Kind::User && (asks("manager") || asks("User")) {
            linked.manager = mirror.links(object.id, LinkRole::Manager, None, 1).await?.links.pop();
        }
        if kind == Kind::User && asks("groups") {
            linked.groups = desk.every_link(object, LinkRole::Member, true).await?;
        }
        if kind == Kind::Group && (asks("owner") || asks("additionalOwners") || asks("Group")) {
            for role in [LinkRole::Owner, LinkRole::AdditionalOwner] {
                linked.owners.extend(desk.every_link(object, role, false).await?);
            }
        }
        if kind == Kind::Group && asks("members") {
            // Those that are asked for, and so many others that one of them is there if there is one at all: enough for `pr` and `ne`.
            let some = u32::try_from(self.members.len() + 1).unwrap_or(u32::MAX);
            linked.members = mirror.links(object.id, LinkRole::Member, None, some).await?.links;
            if !self.members.is_empty() {
                linked.members.extend(mirror.linked(object.id, LinkRole::Member, &self.members).await?);
            }
        }
        Ok(view::resource(&desk.base, kind, object, document, &linked))
    }

    fn found(mut self) -> Found {
        if self.query.sort_by.is_some() {
            let descending = self.query.descending;
            self.kept.sort_by(|(one, _), (other, _)| {
                let order = in_order(one.as_ref(), other.as_ref());
                if descending { order.reverse() } else { order }
            });
            let skip = usize::try_from(self.query.offset).unwrap_or(usize::MAX);
            let count = usize::try_from(self.query.count).unwrap_or(usize::MAX);
            self.kept = self.kept.into_iter().skip(skip).take(count).collect();
        }
        Found { total: self.total, page: self.kept.into_iter().map(|(_, object)| object).collect() }
    }
}

/// The members that a filter asks for by id. Groups are not read whole to answer a filter.
fn asked_members(filter: Option<&Filter>) -> Result<Vec<String>, ScimError> {
    let mut ids = Vec::new();
    if let Some(filter) = filter {
        collect_members(filter, &mut ids)?;
    }
    Ok(ids)
}

fn collect_members(filter: &Filter, ids: &mut Vec<String>) -> Result<(), ScimError> {
    let refused = || Err(ScimError::filter("members can be asked for by `members.value eq \"…\"`, or `members pr` alone"));
    match filter {
        Filter::And(terms) | Filter::Or(terms) => terms.iter().try_for_each(|term| collect_members(term, ids)),
        Filter::Not(term) => collect_members(term, ids),
        Filter::Attribute(named, test) if named.name.eq_ignore_ascii_case("members") => {
            let by_id = named.sub.as_ref().is_none_or(|sub| sub.eq_ignore_ascii_case("value"));
            match test {
                Test::Present if named.sub.is_none() => Ok(()),
                Test::Compare(Operator::Equal | Operator::NotEqual, Value::String(id)) if by_id => {
                    ids.push(id.clone());
                    Ok(())
                }
                _ => refused(),
            }
        }
        Filter::Element(named, inner, None) if named.name.eq_ignore_ascii_case("members") => match literal_ids(inner) {
            Some(found) => {
                ids.extend(found);
                Ok(())
            }
            None => refused(),
        },
        Filter::Element(named, ..) if named.name.eq_ignore_ascii_case("members") => refused(),
        Filter::Attribute(..) | Filter::Element(..) => Ok(()),
    }
}

/// What a resource is sorted by: of several values the primary one, else the first (RFC 7644 §3.4.2.3).
fn sorted_by(attribute: &Attribute, resource: &Map<String, Value>) -> Option<Value> {
    let value = attribute.resolve(resource)?;
    let value = match value {
        Value::Array(values) => values.iter().find(|value| value.get("primary") == Some(&Value::Bool(true))).or(values.first())?,
        one => one,
    };
    let value = match value {
        Value::Object(map) => {
            let sub = attribute.sub.as_deref().unwrap_or("value");
            map.iter().find(|(key, _)| key.eq_ignore_ascii_case(sub)).map(|(_, value)| value)?
        }
        simple => simple,
    };
    Some(match value {
        Value::String(text) => Value::String(text.to_lowercase()),
        other => other.clone(),
    })
}

/// Texts by the alphabet, what has no value last.
fn in_order(one: Option<&Value>, other: Option<&Value>) -> Ordering {
    let absent = |value: Option<&Value>| value.is_none_or(Value::is_null);
    match (one, other) {
        (Some(Value::String(one)), Some(Value::String(other))) => one.cmp(other),
        (Some(Value::Bool(one)), Some(Value::Bool(other))) => one.cmp(other),
        (one, other) => absent(one).cmp(&absent(other)),
    }
}

/// A list (RFC 7644 §3.4.2).
pub(super) fn list_response(total: u64, start: u64, resources: Vec<Value>) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": resources.len(),
        "Resources": resources,
    })
}
