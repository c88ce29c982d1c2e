//! Crowds: the people whom no event names, read from the mirror in pages. Whoever fits into one decision is given whole; the rest is told in chunks, from a cursor on.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tidings_core::{
    filter::Filter,
    policy::{Crowd, Found},
    subject::{ObjectType, Party},
};
use tidings_store::{Bounces, Mirror, MirrorObject, ObjectId, StoreError, Walk};

/// A stored query: people by what the mirror knows of them.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredQuery {
    /// What they must fit, held against the object as an event shows it ([`tidings_core::directory::Head::to_json`]) with its `directory`.
    pub filter: Filter,
    /// The directory that is searched; all of them if absent.
    pub directory: Option<String>,
}

/// Stored queries by name.
pub type Queries = HashMap<String, StoredQuery>;

/// The attribute of a group or role that lists the permissions it grants.
const PERMISSIONS: &str = "permissions";
/// People that one decision takes; beyond it they are told in chunks of as many.
pub(crate) const FEW: u32 = 1000;
/// Objects that are searched for a query before its people are told in chunks.
const SEARCHED: usize = 4000;
/// Groups that are asked whether each alone is too many for one decision, before people are read.
const ASKED: usize = 16;
/// Groups of one name, or that grant one permission.
const GROUPS: usize = 1000;
/// So long the list of groups that grant something is believed.
const BELIEVED: Duration = Duration::from_secs(30);

/// Where a chunk begins: behind this object of this source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// The group, for crowds of several; 0 otherwise.
    pub(crate) group: i64,
    /// The object; `None` at the beginning.
    pub(crate) after: Option<i64>,
}

/// Asks the mirror for people.
pub(crate) struct Gatherer {
    pub(crate) mirror: Arc<dyn Mirror>,
    pub(crate) bounces: Option<Arc<dyn Bounces>>,
    granting: Mutex<Option<(Instant, Arc<Vec<Granting>>)>>,
}

/// A group that grants permissions.
struct Granting {
    group: ObjectId,
    paths: Vec<String>,
}

impl Gatherer {
    pub(crate) fn new(mirror: Arc<dyn Mirror>) -> Self {
        Self { mirror, bounces: None, granting: Mutex::new(None) }
    }

    /// One that knows of addresses that letters come back from, too.
    pub(crate) fn knowing(mirror: Arc<dyn Mirror>, bounces: Arc<dyn Bounces>) -> Self {
        Self { bounces: Some(bounces), ..Self::new(mirror) }
    }

    /// Who stands behind `directory/name`.
    pub(crate) async fn referred(&self, reference: &str) -> Result<Option<MirrorObject>, StoreError> {
        let Some((directory, name)) = reference.split_once('/') else { return Ok(None) };
        self.mirror.object(directory, name).await
    }

    /// A crowd, as far as it fits into one decision.
    pub(crate) async fn find(&self, crowd: &Crowd, queries: &Queries) -> Result<Found, StoreError> {
        if let Some(why) = self.unknown(crowd, queries).await? {
            return Ok(Found::Unknown(why));
        }
        for group in self.sources(crowd).await?.into_iter().take(ASKED) {
            if self.mirror.has_more_members(group, FEW).await? {
                return Ok(Found::Many(None));
            }
        }
        let mut people = Vec::new();
        let mut known = HashSet::new();
        let mut cursor = Some(Cursor::default());
        let mut searched = 0;
        while let Some(from) = cursor {
            let chunk = self.chunk(crowd, queries, from).await?;
            searched += chunk.searched;
            people.extend(chunk.people.into_iter().filter(|one| known.insert(one.id)).map(|one| Party::of_head(&one.directory, &one.head)));
            cursor = chunk.next;
            if people.len() > FEW as usize || cursor.is_some() && (people.len() >= FEW as usize || searched > SEARCHED) {
                return Ok(Found::Many(None));
            }
        }
        Ok(Found::Few(people))
    }

    /// Why a crowd cannot be found at all.
    async fn unknown(&self, crowd: &Crowd, queries: &Queries) -> Result<Option<String>, StoreError> {
        Ok(match crowd {
            Crowd::Query(name) if !queries.contains_key(name) => Some(format!("no query is called `{name}`")),
            Crowd::Holders(name) if self.sources(crowd).await?.is_empty() => Some(format!("no group or role is called `{name}`")),
            Crowd::Permission { path, .. } if self.sources(crowd).await?.is_empty() => Some(format!("no group or role grants `{path}`")),
            _ => None,
        })
    }

    /// The people of a crowd from a cursor on, at most about [`FEW`]. Somebody in several groups comes with each.
    pub(crate) async fn chunk(&self, crowd: &Crowd, queries: &Queries, from: Cursor) -> Result<Chunk, StoreError> {
        if let Crowd::Query(name) = crowd {
            let Some(query) = queries.get(name) else { return Ok(Chunk::default()) };
            return self.searched(query, from).await;
        }
        let mut groups = self.sources(crowd).await?.into_iter().filter(|group| group.0 >= from.group);
        let Some(group) = groups.next() else { return Ok(Chunk::default()) };
        let after = from.after.filter(|_| group.0 == from.group || from.group == 0).map(ObjectId);
        let page = self.mirror.members(group, Walk::Nested, after, FEW).await?;
        let next = match page.next {
            Some(next) => Some(Cursor { group: group.0, after: Some(next.0) }),
            None => groups.next().map(|group| Cursor { group: group.0, after: None }),
        };
        Ok(Chunk { searched: page.objects.len(), people: page.objects, next })
    }

    /// How many a crowd is.
    pub(crate) async fn size(&self, crowd: &Crowd, queries: &Queries) -> Result<u64, StoreError> {
        let (mut size, mut cursor) = (0, Some(Cursor::default()));
        while let Some(from) = cursor {
            let chunk = self.chunk(crowd, queries, from).await?;
            size += chunk.people.len() as u64;
            cursor = chunk.next;
        }
        Ok(size)
    }

    async fn searched(&self, query: &StoredQuery, from: Cursor) -> Result<Chunk, StoreError> {
        let page = self.mirror.objects(query.directory.as_deref(), from.after.map(ObjectId), FEW).await?;
        let searched = page.objects.len();
        let fits = |object: &MirrorObject| {
            let mut shown = object.head.to_json();
            shown.insert("directory".to_owned(), Value::String(object.directory.clone()));
            query.filter.matches(&shown)
        };
        let people = page.objects.into_iter().filter(fits).collect();
        Ok(Chunk { searched, people, next: page.next.map(|next| Cursor { group: 0, after: Some(next.0) }) })
    }

    /// The groups whose members a crowd is, in the order of their rows.
    async fn sources(&self, crowd: &Crowd) -> Result<Vec<ObjectId>, StoreError> {
        let mut groups: Vec<ObjectId> = match crowd {
            Crowd::Members { directory, key } => self.mirror.object(directory, key).await?.into_iter().map(|group| group.id).collect(),
            Crowd::Holders(name) => self.named(name).await?.into_iter().map(|group| group.id).collect(),
            Crowd::Permission { path, strict } => {
                let grants = |granted: &String| granted == path || !strict && is_below(path, granted);
                self.granting().await?.iter().filter(|one| one.paths.iter().any(grants)).map(|one| one.group).take(GROUPS).collect()
            }
            Crowd::Query(_) => Vec::new(),
        };
        groups.sort_unstable();
        Ok(groups)
    }

    /// Groups of a name, or of `DIRECTORY/NAME`.
    async fn named(&self, name: &str) -> Result<Vec<MirrorObject>, StoreError> {
        let groups = self.mirror.groups_named(None, name).await?;
        match name.split_once('/').filter(|_| groups.is_empty()) {
            Some((directory, name)) => self.mirror.groups_named(Some(directory), name).await,
            None => Ok(groups),
        }
    }

    /// Every group that grants something and does not forgo its letters. All objects are looked through for that, so what was found is believed for a while.
    async fn granting(&self) -> Result<Arc<Vec<Granting>>, StoreError> {
        let now = Instant::now();
        let known = self.granting.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, granting)) = known.filter(|(since, _)| now.duration_since(*since) < BELIEVED) {
            return Ok(granting);
        }
        let mut granting = Vec::new();
        let mut after = None;
        loop {
            let page = self.mirror.objects(None, after, FEW).await?;
            // A role that wishes no letters gives the right without the mail.
            for object in page.objects.iter().filter(|object| object.head.object_type == ObjectType::Group && object.head.notify) {
                let paths = match object.head.attributes.get(PERMISSIONS) {
                    Some(Value::String(path)) => vec![path.trim_end_matches('/').to_owned()],
                    Some(Value::Array(list)) => {
                        list.iter().filter_map(Value::as_str).map(|path| path.trim_end_matches('/').to_owned()).collect()
                    }
                    _ => continue,
                };
                granting.push(Granting { group: object.id, paths });
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let granting = Arc::new(granting);
        *self.granting.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, Arc::clone(&granting)));
        Ok(granting)
    }
}

/// Whether `path` lies below `parent`: `/Custom/x/y` below `/Custom` and below `/`.
fn is_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.starts_with('/'))
}

/// Some people of a crowd.
#[derive(Default)]
pub(crate) struct Chunk {
    /// Who.
    pub(crate) people: Vec<MirrorObject>,
    /// Where the next chunk begins, if there is one.
    pub(crate) next: Option<Cursor>,
    /// Objects looked at.
    searched: usize,
}
