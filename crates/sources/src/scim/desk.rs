//! The desk of one directory: reads, makes, changes and removes its resources through the feed, one change of a resource at a time.

use super::{
    entry::{self, Member},
    error::ScimError,
    membership::{self, PAGE, Plan},
    patch, resource,
    schema::{Kind, TIDINGS_GROUP, TIDINGS_USER},
    view::{self, Linked, Projection},
};
use axum::http::{HeaderValue, StatusCode};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tidings_core::{
    directory::{Became, Change, Entry, Link, LinkRole},
    event::clip,
};
use tidings_intake::{Batch, Feed, Telling};
use tidings_store::{Mirror, MirrorLink, MirrorObject};
use tokio::sync::{Mutex, MutexGuard};

/// Locks of either sort: more of them let more changes go on at once.
const LOCKS: usize = 64;

/// Ids looked up at a time.
const LOOKED_UP_AT_ONCE: usize = 500;

/// Owners of a group at most.
const MOST_OWNERS: u32 = 1000;

/// Who asks, and how.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// Who asks, as events show it.
    pub(super) actor: Value,
    /// What of a resource is wanted in the reply.
    pub(super) projection: Projection,
    /// `If-Match`.
    pub(super) if_match: Option<String>,
    /// `If-None-Match`.
    pub(super) if_none_match: Option<String>,
}

/// What is answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Option<Value>,
    /// The resource's version.
    pub(super) version: Option<String>,
    /// Where the resource lives.
    pub(super) location: Option<String>,
}

impl Reply {
    /// 200 with a body.
    pub(super) fn ok(body: Value) -> Self {
        Self { status: StatusCode::OK, body: Some(body), version: None, location: None }
    }
}

/// The desk of one directory.
pub(super) struct Desk {
    pub(super) feed: Arc<Feed>,
    /// The directory's name.
    pub(super) directory: String,
    /// Whether everything is silent until the directory is said to be loaded.
    pub(super) silent_at_first: bool,
    /// Where the directory's resources live, without a slash at the end.
    pub(super) base: String,
    /// Changes of one resource go one after the other, as do those that give a user name away. Whoever holds a lock on an id may take one on a name, never the other way round.
    locks: Arc<Locks>,
    /// Set once the first load is known to be over.
    loaded: AtomicBool,
}

/// The locks of a directory.
pub(super) struct Locks {
    ids: [Mutex<()>; LOCKS],
    names: [Mutex<()>; LOCKS],
}

impl Default for Locks {
    fn default() -> Self {
        let locks = || std::array::from_fn(|_| Mutex::new(()));
        Self { ids: locks(), names: locks() }
    }
}

impl Desk {
    pub(super) fn new(feed: Arc<Feed>, directory: String, silent_at_first: bool, base: String, locks: Arc<Locks>) -> Self {
        Self { feed, directory, silent_at_first, base, locks, loaded: AtomicBool::new(false) }
    }

    /// The locks, for another desk of the same directory.
    pub(super) fn locks(&self) -> Arc<Locks> {
        Arc::clone(&self.locks)
    }

    pub(super) fn mirror(&self) -> &dyn Mirror {
        self.feed.mirror().as_ref()
    }

    /// The object with this id, if it is of this kind.
    ///
    /// # Errors
    /// 404.
    pub(super) async fn object(&self, kind: Kind, id: &str) -> Result<MirrorObject, ScimError> {
        let found = self.mirror().object(&self.directory, id).await?;
        found
            .filter(|object| object.head.key == id && object.head.object_type == kind.object_type())
            .ok_or_else(|| ScimError::not_found(kind.as_str(), id))
    }

    /// A resource.
    ///
    /// # Errors
    /// 404.
    pub(super) async fn get(&self, kind: Kind, id: &str, request: &Request) -> Result<Reply, ScimError> {
        let object = self.object(kind, id).await?;
        let version = view::version(&object);
        if request.if_none_match.as_deref().is_some_and(|tags| names_version(tags, &version)) {
            return Ok(Reply { status: StatusCode::NOT_MODIFIED, body: None, version: Some(version), location: None });
        }
        self.reply(StatusCode::OK, kind, &object, request).await
    }

    /// Makes a resource; `id` is its name if that was given away before (by a bulk request), and `awaited` are members that need not be there yet.
    ///
    /// # Errors
    /// 400 for what does not fit, 409 if the user name is taken.
    pub(super) async fn create(
        &self,
        kind: Kind,
        body: Value,
        request: &Request,
        id: Option<String>,
        awaited: &BTreeSet<String>,
    ) -> Result<Reply, ScimError> {
        let resource = resource::read(kind, body)?;
        let _name = self.claim_name(kind, &resource, None).await?;
        let id = id.unwrap_or_else(|| self.feed.mint().to_string());
        let links = self.all_links(kind, &resource, awaited).await?;
        let entry = Entry { head: entry::head(kind, &id, &resource), links, document: Some(entry::document(&resource)) };
        self.take(Became::Is(entry), request).await?;
        let object = self.object(kind, &id).await?;
        self.reply(StatusCode::CREATED, kind, &object, request).await
    }

    /// Replaces a resource. Our own extensions stay as they are if the client does not speak of them.
    ///
    /// # Errors
    /// 400, 404, 409, 412.
    pub(super) async fn replace(
        &self,
        kind: Kind,
        id: &str,
        body: Value,
        request: &Request,
        awaited: &BTreeSet<String>,
    ) -> Result<Reply, ScimError> {
        let _lock = self.lock(&self.locks.ids, id).await;
        let object = self.object(kind, id).await?;
        check_match(request, &object)?;
        let speaks_of = |schema: &str| speaks_of(&body, schema);
        let ours = match kind {
            Kind::User => TIDINGS_USER,
            Kind::Group => TIDINGS_GROUP,
        };
        let keep = !speaks_of(ours);
        let mut resource = resource::read(kind, body)?;
        if keep && let Some(extension) = self.writable(kind, &object).await?.shift_remove(ours) {
            resource.insert(ours.to_owned(), extension);
        }
        let _name = self.claim_name(kind, &resource, Some(&object)).await?;
        let mut links = self.all_links(kind, &resource, awaited).await?;
        if kind == Kind::Group {
            self.keep_terms(&object, &resource_terms(&resource)?, &mut links).await?;
        }
        let entry = Entry { head: entry::head(kind, id, &resource), links, document: Some(entry::document(&resource)) };
        self.take(Became::Is(entry), request).await?;
        let object = self.object(kind, id).await?;
        self.reply(StatusCode::OK, kind, &object, request).await
    }

    /// Changes a resource. A group is answered without itself, since it may be large, unless certain attributes are asked for.
    ///
    /// # Errors
    /// 400, 404, 409, 412.
    pub(super) async fn patch(
        &self,
        kind: Kind,
        id: &str,
        body: Value,
        request: &Request,
        awaited: &BTreeSet<String>,
    ) -> Result<Reply, ScimError> {
        let operations = patch::read(kind, body)?;
        let _lock = self.lock(&self.locks.ids, id).await;
        let object = self.object(kind, id).await?;
        check_match(request, &object)?;
        let before = self.writable(kind, &object).await?;
        let mut after = before.clone();
        let mut members = Plan::default();
        for operation in &operations {
            match membership::about_members(operation) {
                Some(attribute) => membership::plan(&mut members, self.mirror(), object.id, attribute, operation).await?,
                None => operation.apply(&mut after)?,
            }
        }
        rename(&before, &mut after);
        resource::check_required(kind, &after)?;
        let _name = self.claim_name(kind, &after, Some(&object)).await?;
        if let Some(became) = self.patched(kind, &object, (&before, &after), members, awaited).await? {
            self.take(became, request).await?;
        }
        let object = self.object(kind, id).await?;
        if kind == Kind::Group && request.projection.only.is_empty() && request.projection.without.is_empty() {
            return Ok(Reply { status: StatusCode::NO_CONTENT, body: None, version: Some(view::version(&object)), location: None });
        }
        self.reply(StatusCode::OK, kind, &object, request).await
    }

    /// What a PATCH comes to; `None` if nothing is different.
    async fn patched(
        &self,
        kind: Kind,
        object: &MirrorObject,
        (before, after): (&Map<String, Value>, &Map<String, Value>),
        mut members: Plan,
        awaited: &BTreeSet<String>,
    ) -> Result<Option<Became>, ScimError> {
        let key = object.head.key.clone();
        let head = entry::head(kind, &key, after);
        let (old, new) = (entry::links(kind, before), entry::links(kind, after));
        if old != new {
            self.check_owners(kind, &new).await?;
        }
        let document = entry::document(after);
        if let Some(whole) = members.whole.take() {
            let mut links = self.resolved(kind, new).await?;
            self.check_known(whole.keys(), awaited).await?;
            links.extend(whole.values().map(Member::link));
            let said = whole.values().filter(|member| member.term.is_some()).map(|member| member.id.clone()).collect();
            self.keep_terms(object, &said, &mut links).await?;
            return Ok(Some(Became::Is(Entry { head, links, document: Some(document) })));
        }
        let new = self.resolved(kind, new).await?;
        let old = self.resolved(kind, old).await?;
        let mut added: Vec<Link> = new.iter().filter(|link| !old.contains(link)).cloned().collect();
        let stays = |link: &Link| new.iter().any(|other| other.role == link.role && other.to == link.to);
        let mut removed: Vec<(LinkRole, String)> =
            old.iter().filter(|link| !stays(link)).map(|link| (link.role, link.to.clone())).collect();
        self.add_members(object, &mut members, awaited).await?;
        added.extend(members.added.values().map(Member::link));
        removed.extend(members.removed.into_iter().map(|id| (LinkRole::Member, id)));
        let head = (head != object.head).then_some(head);
        let document = (document != entry::document(before)).then_some(document);
        if head.is_none() && document.is_none() && added.is_empty() && removed.is_empty() {
            return Ok(None);
        }
        Ok(Some(Became::Adjusted { key, head, added, removed, document }))
    }

    /// Leaves those who are members already, unless their term is said, and checks that the others exist.
    async fn add_members(&self, group: &MirrorObject, members: &mut Plan, awaited: &BTreeSet<String>) -> Result<(), ScimError> {
        let ids: Vec<String> = members.added.keys().cloned().collect();
        let mut there = BTreeSet::new();
        for some in ids.chunks(LOOKED_UP_AT_ONCE) {
            for link in self.mirror().linked(group.id, LinkRole::Member, some).await? {
                there.insert(view::id_of(&link).to_owned());
            }
        }
        members.added.retain(|id, member| member.term.is_some() || !there.contains(id));
        self.check_known(members.added.keys().filter(|id| !there.contains(*id)), awaited).await
    }

    /// Removes a resource.
    ///
    /// # Errors
    /// 404, 412.
    pub(super) async fn delete(&self, kind: Kind, id: &str, request: &Request) -> Result<Reply, ScimError> {
        let _lock = self.lock(&self.locks.ids, id).await;
        let object = self.object(kind, id).await?;
        check_match(request, &object)?;
        self.take(Became::Gone { key: id.to_owned() }, request).await?;
        Ok(Reply { status: StatusCode::NO_CONTENT, body: None, version: None, location: None })
    }

    async fn take(&self, became: Became, request: &Request) -> Result<(), ScimError> {
        let silent = !self.loaded.load(Ordering::Relaxed) && !self.is_loaded().await?;
        let batch = Batch {
            directory: self.directory.clone(),
            changes: vec![Change::of(became)],
            seen: Vec::new(),
            generation: None,
            bookmark: None,
            telling: if silent { Telling::Silent } else { Telling::Told },
        };
        self.feed.take_by(batch, Some(&request.actor)).await?;
        Ok(())
    }

    /// Whether the first load is over. A directory that is told from the beginning has none.
    async fn is_loaded(&self) -> Result<bool, ScimError> {
        let mut loaded = self.mirror().directory(&self.directory).await?.loaded_at.is_some();
        if !loaded && !self.silent_at_first {
            self.mirror().end_refresh(&self.directory, None).await?;
            loaded = true;
        }
        self.loaded.store(loaded, Ordering::Relaxed);
        Ok(loaded)
    }

    async fn lock<'a>(&'a self, locks: &'a [Mutex<()>; LOCKS], name: &str) -> MutexGuard<'a, ()> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % LOCKS as u64).expect("below the number of locks");
        locks[index].lock().await
    }

    /// Makes sure that a user's name is free, and that nobody else takes it as long as the guard lives.
    async fn claim_name(
        &self,
        kind: Kind,
        resource: &Map<String, Value>,
        owner: Option<&MirrorObject>,
    ) -> Result<Option<MutexGuard<'_, ()>>, ScimError> {
        let Some(name) = resource.get("userName").and_then(Value::as_str).filter(|_| kind == Kind::User) else { return Ok(None) };
        let lock = self.lock(&self.locks.names, &name.to_lowercase()).await;
        let others = self.mirror().find(&self.directory, entry::ACCOUNT, name).await?;
        if others.iter().any(|other| owner.is_none_or(|owner| owner.id != other.id)) {
            return Err(ScimError::uniqueness(format!("the userName `{}` is taken", clip(name))));
        }
        Ok(Some(lock))
    }

    /// All links of a resource that is told whole.
    async fn all_links(&self, kind: Kind, resource: &Map<String, Value>, awaited: &BTreeSet<String>) -> Result<Vec<Link>, ScimError> {
        let links = entry::links(kind, resource);
        self.check_owners(kind, &links).await?;
        let mut links = self.resolved(kind, links).await?;
        if let Some(members) = resource.get("members") {
            let members = entry::members(members)?;
            self.check_known(members.iter().map(|member| &member.id), awaited).await?;
            links.extend(members.iter().map(Member::link));
        }
        Ok(links)
    }

    /// A manager may be named by user name or by the client's own name: links go to the id, if it can be found.
    async fn resolved(&self, kind: Kind, mut links: Vec<Link>) -> Result<Vec<Link>, ScimError> {
        if kind == Kind::User {
            for link in &mut links {
                if self.mirror().object(&self.directory, &link.to).await?.is_some() {
                    continue;
                }
                for attribute in [entry::ACCOUNT, entry::EXTERNAL_ID] {
                    if let [one] = self.mirror().find(&self.directory, attribute, &link.to).await?.as_slice() {
                        link.to.clone_from(&one.head.key);
                        break;
                    }
                }
            }
        }
        Ok(links)
    }

    async fn check_owners(&self, kind: Kind, links: &[Link]) -> Result<(), ScimError> {
        if kind == Kind::User {
            return Ok(());
        }
        if links.len() > MOST_OWNERS as usize {
            return Err(ScimError::value(format!("a group has {MOST_OWNERS} owners at most")));
        }
        self.check_known(links.iter().map(|link| &link.to), &BTreeSet::new()).await
    }

    /// Checks that these ids are those of resources.
    async fn check_known(&self, ids: impl Iterator<Item = &String>, awaited: &BTreeSet<String>) -> Result<(), ScimError> {
        let ids: Vec<String> = ids.filter(|id| !awaited.contains(*id)).cloned().collect();
        for some in ids.chunks(LOOKED_UP_AT_ONCE) {
            let known = self.mirror().keyed(&self.directory, some).await?;
            if known.len() == some.len() {
                continue;
            }
            let known: BTreeSet<&str> = known.iter().map(|object| object.head.key.as_str()).collect();
            if let Some(unknown) = some.iter().find(|id| !known.contains(id.as_str())) {
                return Err(ScimError::value(format!("there is no resource `{}`", clip(unknown))));
            }
        }
        Ok(())
    }

    /// Members who stay keep beginning and end, unless those were said anew.
    async fn keep_terms(&self, group: &MirrorObject, said: &BTreeSet<String>, links: &mut [Link]) -> Result<(), ScimError> {
        let mut staying: BTreeMap<String, &mut Link> = links
            .iter_mut()
            .filter(|link| link.role == LinkRole::Member && !said.contains(&link.to))
            .map(|link| (link.to.clone(), link))
            .collect();
        let mut after = None;
        while !staying.is_empty() {
            let page = self.mirror().links(group.id, LinkRole::Member, after, PAGE).await?;
            for old in page.links.iter().filter(|old| old.starts_at.is_some() || old.ends_at.is_some()) {
                if let Some(link) = staying.get_mut(view::id_of(old)) {
                    (link.starts_at, link.ends_at) = (old.starts_at, old.ends_at);
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// The resource as a client could have written it, without members.
    async fn writable(&self, kind: Kind, object: &MirrorObject) -> Result<Map<String, Value>, ScimError> {
        let document = document(self.mirror().document(object.id).await?);
        let mut linked = Linked::default();
        self.fetch_keepers(kind, object, &mut linked).await?;
        let mut resource = view::resource(&self.base, kind, object, document, &linked);
        for ours in ["schemas", "id", "meta"] {
            resource.shift_remove(ours);
        }
        Ok(resource)
    }

    async fn fetch_keepers(&self, kind: Kind, object: &MirrorObject, linked: &mut Linked) -> Result<(), ScimError> {
        match kind {
            Kind::User => linked.manager = self.mirror().links(object.id, LinkRole::Manager, None, 1).await?.links.pop(),
            Kind::Group => {
                for role in [LinkRole::Owner, LinkRole::AdditionalOwner] {
                    linked.owners.extend(self.mirror().links(object.id, role, None, MOST_OWNERS).await?);
                }
            }
        }
        Ok(())
    }

    /// A resource as it is shown.
    pub(super) async fn shown(
        &self,
        kind: Kind,
        object: &MirrorObject,
        document: Map<String, Value>,
        projection: &Projection,
    ) -> Result<Map<String, Value>, ScimError> {
        let mut linked = Linked::default();
        self.fetch_keepers(kind, object, &mut linked).await?;
        match kind {
            Kind::User if projection.wants(kind, "groups") => linked.groups = self.every_link(object, LinkRole::Member, true).await?,
            Kind::Group if projection.wants(kind, "members") => linked.members = self.every_link(object, LinkRole::Member, false).await?,
            _ => {}
        }
        Ok(projection.of(kind, view::resource(&self.base, kind, object, document, &linked)))
    }

    /// All links of an object in a role, or all to it.
    pub(super) async fn every_link(&self, object: &MirrorObject, role: LinkRole, incoming: bool) -> Result<Vec<MirrorLink>, ScimError> {
        let mut links = Vec::new();
        let mut after = None;
        loop {
            let page = if incoming {
                self.mirror().links_to(object.id, role, after, PAGE).await?
            } else {
                self.mirror().links(object.id, role, after, PAGE).await?
            };
            links.extend(page.links);
            after = page.next;
            if after.is_none() {
                return Ok(links);
            }
        }
    }

    async fn reply(&self, status: StatusCode, kind: Kind, object: &MirrorObject, request: &Request) -> Result<Reply, ScimError> {
        let document = document(self.mirror().document(object.id).await?);
        let shown = self.shown(kind, object, document, &request.projection).await?;
        Ok(Reply {
            status,
            body: Some(Value::Object(shown)),
            version: Some(view::version(object)),
            location: Some(view::location(&self.base, kind, &object.head.key)),
        })
    }
}

/// A full name that was put together of given and family name follows them, unless it was changed itself.
fn rename(before: &Map<String, Value>, after: &mut Map<String, Value>) {
    let part = |resource: &Map<String, Value>, name: &str| resource.get("name")?.get(name)?.as_str().map(str::to_owned);
    let joined = |resource: &Map<String, Value>| Some(format!("{} {}", part(resource, "givenName")?, part(resource, "familyName")?));
    let (was, is) = (part(before, "formatted"), part(after, "formatted"));
    if was.is_some()
        && was == is
        && was == joined(before)
        && let Some(joined) = joined(after)
        && let Some(Value::Object(name)) = after.get_mut("name")
    {
        name.insert("formatted".to_owned(), Value::String(joined));
    }
}

/// A document as it was kept. What another source left here is no resource's: such an object shows what its head says.
pub(super) fn document(bytes: Option<Vec<u8>>) -> Map<String, Value> {
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// The members whose term a resource says.
fn resource_terms(resource: &Map<String, Value>) -> Result<BTreeSet<String>, ScimError> {
    let members = entry::members(resource.get("members").unwrap_or(&Value::Null))?;
    Ok(members.into_iter().filter(|member| member.term.is_some()).map(|member| member.id).collect())
}

/// Whether a body names an extension, among its schemas or by its attributes.
fn speaks_of(body: &Value, schema: &str) -> bool {
    let Value::Object(body) = body else { return false };
    body.iter().any(|(key, value)| {
        key.eq_ignore_ascii_case(schema)
            || (key.eq_ignore_ascii_case("schemas")
                && value
                    .as_array()
                    .is_some_and(|named| named.iter().any(|one| one.as_str().is_some_and(|one| one.eq_ignore_ascii_case(schema)))))
    })
}

fn check_match(request: &Request, object: &MirrorObject) -> Result<(), ScimError> {
    let version = view::version(object);
    match &request.if_match {
        Some(tags) if !names_version(tags, &version) => {
            let error = ScimError::precondition(&version);
            Err(match HeaderValue::from_str(&version) {
                Ok(tag) => error.header(axum::http::header::ETAG, tag),
                Err(_) => error,
            })
        }
        _ => Ok(()),
    }
}

/// Whether a list of entity tags (RFC 9110 §13.1) names this version; compared weakly.
fn names_version(tags: &str, version: &str) -> bool {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    tags.split(',').any(|tag| tag.trim() == "*" || bare(tag) == bare(version))
}
