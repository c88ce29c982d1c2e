//! The contract of the mirror: the last known state of every directory, what is different, and the source's bookmark.
//!
//! One process at a time feeds a directory (see [`Mirror::fence`]), so a comparison and the record of it need no lock between them; a record checks all the same that nothing has moved.

pub(crate) mod columns;
pub(crate) mod looked_up;
pub(crate) mod names;
pub(crate) mod steps;
pub(crate) mod terms;

use crate::{
    error::StoreError,
    marker::{Marker, MarkerStep, NewMarker},
    store::{Acceptance, Accepted},
};
use async_trait::async_trait;
use tidings_core::{
    Id, Timestamp,
    directory::{Change, Entry, Head, LinkRole},
    subject::ObjectType,
};

/// A mirrored object's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub i64);

/// What the duty of feeding a directory is called.
pub fn directory_duty(directory: &str) -> String {
    format!("directory:{directory}")
}

/// Attributes of heads by whose text, or one of whose texts, objects are found ([`Mirror::find`]): the names that people and other systems have for them. A head's `mail` is one of
/// its `emails`.
pub const LOOKED_UP: [&str; 3] = ["account", "externalId", "emails"];

/// What is known of a directory as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct DirectoryStanding {
    /// Its name in the configuration.
    pub name: String,
    /// Where its source goes on: a synchronisation cookie, a change number; the store does not look into it.
    pub bookmark: Option<Vec<u8>>,
    /// When its first load was complete; until then everything is silent.
    pub loaded_at: Option<Timestamp>,
    /// Counts the refreshes that were begun. Entries seen in a refresh bear its number.
    pub generation: i64,
    /// Set while its source fails: since when.
    pub failed_at: Option<Timestamp>,
    /// What went wrong.
    pub failure: Option<String>,
    /// When its source was last heard of in good order.
    pub heard_at: Option<Timestamp>,
    /// Objects mirrored.
    pub objects: u64,
}

/// A mirrored object.
#[derive(Debug, Clone, PartialEq)]
pub struct MirrorObject {
    /// Its row.
    pub id: ObjectId,
    /// The directory it is of.
    pub directory: String,
    /// The object.
    pub head: Head,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// When it was last seen changed, its links included.
    pub changed_at: Timestamp,
    /// Counts its changes.
    pub version: i64,
}

/// A link as it is mirrored.
#[derive(Debug, Clone, PartialEq)]
pub struct MirrorLink {
    /// What the target is to the bearer.
    pub role: LinkRole,
    /// From when on.
    pub starts_at: Option<Timestamp>,
    /// Until when.
    pub ends_at: Option<Timestamp>,
    /// The owner wishes no letters about this group.
    pub muted: bool,
    /// The other end.
    pub other: Target,
}

/// The other end of a link.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// A mirrored object.
    Known(Box<MirrorObject>),
    /// A name that no mirrored object bears (yet).
    Unknown(String),
}

/// What a change makes different from what is mirrored. Made by [`Mirror::compare`], written by [`Mirror::record`].
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The object as it is mirrored; `None` if it is new.
    pub before: Option<MirrorObject>,
    /// The object as it will be; `None` if it is gone.
    pub after: Option<Head>,
    /// The source's own form, if it was told.
    pub document: Option<Vec<u8>>,
    /// Links that are new.
    pub added: Vec<MirrorLink>,
    /// Links that are there no longer. Those of an object that is gone are not listed, however many it has: they go with it.
    pub removed: Vec<MirrorLink>,
    /// Links whose beginning, end or muting is different: as they will be.
    pub altered: Vec<MirrorLink>,
    /// Of an object that is gone: the links of others to it, which go with it; `other` is the bearer.
    pub orphaned: Vec<MirrorLink>,
}

impl Difference {
    /// Whether the mirror says all of this already.
    pub fn is_empty(&self) -> bool {
        let same = match (&self.before, &self.after) {
            (Some(before), Some(after)) => before.head == *after,
            (None, None) => true,
            _ => false,
        };
        same && self.document.is_none() && self.added.is_empty() && self.removed.is_empty() && self.altered.is_empty()
    }
}

/// What is written in one transaction: the mirror, the bookmark, and every event that the differences caused with its letters.
#[derive(Debug)]
pub struct Record {
    /// The directory.
    pub directory: String,
    /// The differences, in order; made by one [`Mirror::compare`] or several, with no other record of the same objects in between.
    pub differences: Vec<Difference>,
    /// Keys that were seen unchanged in this refresh; marked so that a sweep does not take them for gone.
    pub seen: Vec<String>,
    /// The refresh this belongs to; objects of `differences` and `seen` bear its number afterwards.
    pub generation: Option<i64>,
    /// Where the source goes on, if that moves.
    pub bookmark: Option<Vec<u8>>,
    /// The events.
    pub acceptances: Vec<Acceptance>,
}

/// What a member walk goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// Only who is linked directly; a group among them is given as such.
    Direct,
    /// Members of member groups as well, each once however many ways lead to it; a circle ends where it began. Groups themselves are not given.
    Nested,
}

/// A page of objects in the order of their rows.
#[derive(Debug, Clone)]
pub struct ObjectPage {
    /// The objects.
    pub objects: Vec<MirrorObject>,
    /// After which object the next page begins, if there is one.
    pub next: Option<ObjectId>,
}

/// A page of links in the order of their other ends' rows.
#[derive(Debug, Clone)]
pub struct LinkPage {
    /// The links.
    pub links: Vec<MirrorLink>,
    /// After which other end the next page begins, if there is one.
    pub next: Option<ObjectId>,
}

/// Whose portrait is asked for ([`Mirror::portraits`]).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sitter {
    /// The directory.
    pub directory: String,
    /// The object's key, or else its reference.
    pub name: String,
    /// The links that are wanted of it.
    pub roles: Vec<LinkRole>,
}

/// An object with some of its links.
#[derive(Debug, Clone, PartialEq)]
pub struct Portrait {
    /// The object.
    pub object: MirrorObject,
    /// Its links in the roles asked for: role by role as asked, in the order of the other ends' rows.
    pub links: Vec<MirrorLink>,
}

impl IntoIterator for LinkPage {
    type Item = MirrorLink;
    type IntoIter = std::vec::IntoIter<MirrorLink>;

    fn into_iter(self) -> Self::IntoIter {
        self.links.into_iter()
    }
}

/// The mirror of all directories.
#[async_trait]
pub trait Mirror: Send + Sync + 'static {
    /// A directory's standing; an unknown one is made.
    async fn directory(&self, name: &str) -> Result<DirectoryStanding, StoreError>;

    /// All directories that were ever fed.
    async fn directories(&self) -> Result<Vec<DirectoryStanding>, StoreError>;

    /// What these changes make different, each compared with the mirror as it is now: no two of them may be of one object, or name one that another of them makes.
    /// What earlier ones take away (an object, its name, a link) is taken into account, so that a departure that two of them tell of is one difference.
    /// A change without effect gives an empty difference; the adjustment or end of an object that is not there does, too.
    ///
    /// Memory grows with what is different, not with what is compared: an entry's links are compared as pairs of numbers.
    async fn compare(&self, directory: &str, changes: Vec<Change>) -> Result<Vec<Difference>, StoreError>;

    /// Writes differences, bookmark and events in one transaction that other callers may share.
    ///
    /// # Errors
    /// [`StoreError::Full`] and [`StoreError::Unavailable`] as for an acceptance; [`StoreError::Moved`] if an object has changed since it was compared: nothing is written then.
    async fn record(&self, record: Record) -> Result<Vec<Accepted>, StoreError>;

    /// Writes entries as they are, without comparing and without events: the way of a first load, many at once. Gives how many are in the mirror after this that were not before.
    /// It can be done again over what an interrupted one has left: what is there is brought to what the entry says. What only the interrupted one had is unseen then.
    async fn load(&self, directory: &str, entries: Vec<Entry>, generation: i64, bookmark: Option<Vec<u8>>) -> Result<u64, StoreError>;

    /// Begins a refresh: from now on what is seen bears the number given back.
    async fn begin_refresh(&self, directory: &str) -> Result<i64, StoreError>;

    /// How many objects have not been seen in this refresh, and how many there are.
    async fn unseen(&self, directory: &str, generation: i64) -> Result<(u64, u64), StoreError>;

    /// Keys of objects that have not been seen in this refresh, from `after` (exclusive) on, in the order of their rows.
    async fn unseen_keys(
        &self,
        directory: &str,
        generation: i64,
        after: Option<ObjectId>,
        limit: u32,
    ) -> Result<Vec<(ObjectId, String)>, StoreError>;

    /// Ends a refresh: the directory is loaded, and its source goes on from `bookmark`.
    async fn end_refresh(&self, directory: &str, bookmark: Option<Vec<u8>>) -> Result<(), StoreError>;

    /// Notes that a source fails (`Some`) or works (`None`), together with the event that says so. Gives false, and accepts nothing, if that was known already.
    async fn report_source(&self, directory: &str, failure: Option<String>, news: Option<Acceptance>) -> Result<bool, StoreError>;

    /// The object of this key, or else of this reference.
    async fn object(&self, directory: &str, name: &str) -> Result<Option<MirrorObject>, StoreError>;

    /// Many objects at once, in the order asked, each with the first `limit` links of every role asked for.
    async fn portraits(&self, sitters: Vec<Sitter>, limit: u32) -> Result<Vec<Option<Portrait>>, StoreError> {
        let mut portraits = Vec::with_capacity(sitters.len());
        for Sitter { directory, name, roles } in sitters {
            let Some(object) = self.object(&directory, &name).await? else {
                portraits.push(None);
                continue;
            };
            let mut links = Vec::new();
            for role in roles {
                links.extend(self.links(object.id, role, None, limit).await?);
            }
            portraits.push(Some(Portrait { object, links }));
        }
        Ok(portraits)
    }

    /// The source's own form of an object.
    async fn document(&self, object: ObjectId) -> Result<Option<Vec<u8>>, StoreError>;

    /// Objects of a directory (of all, if none is named) in the order of their rows.
    async fn objects(&self, directory: Option<&str>, after: Option<ObjectId>, limit: u32) -> Result<ObjectPage, StoreError>;

    /// The objects of these keys, in no order; what is not there is left out.
    async fn keyed(&self, directory: &str, keys: &[String]) -> Result<Vec<MirrorObject>, StoreError>;

    /// The sources' own forms of several objects, in their order.
    async fn documents(&self, objects: &[ObjectId]) -> Result<Vec<Option<Vec<u8>>>, StoreError>;

    /// Objects that have this text, letter case aside, in an attribute of [`LOOKED_UP`].
    async fn find(&self, directory: &str, attribute: &str, value: &str) -> Result<Vec<MirrorObject>, StoreError>;

    /// Objects of one type in the order of their rows without the first `offset`, and how many there are altogether.
    async fn listing(
        &self,
        directory: &str,
        object_type: &ObjectType,
        offset: u64,
        limit: u32,
    ) -> Result<(u64, Vec<MirrorObject>), StoreError>;

    /// Those of an object's links in one role that go to these names; in no order.
    async fn linked(&self, object: ObjectId, role: LinkRole, names: &[String]) -> Result<Vec<MirrorLink>, StoreError>;

    /// Groups of this name, in any directory or the one named.
    async fn groups_named(&self, directory: Option<&str>, name: &str) -> Result<Vec<MirrorObject>, StoreError>;

    /// What an object links to in one role, from `after` (exclusive) on, in the order of the targets' rows.
    async fn links(&self, object: ObjectId, role: LinkRole, after: Option<ObjectId>, limit: u32) -> Result<LinkPage, StoreError>;

    /// Who links to an object in one role: the groups of a member, the people of a manager.
    async fn links_to(&self, object: ObjectId, role: LinkRole, after: Option<ObjectId>, limit: u32) -> Result<LinkPage, StoreError>;

    /// The managers above a person, nearest first, at most `levels` of them; a circle ends where it began.
    async fn managers(&self, object: ObjectId, levels: u8) -> Result<Vec<MirrorObject>, StoreError>;

    /// The members of a group that are mirrored objects, in the order of their rows. A page costs about what it holds, and for [`Walk::Nested`] a look at each group below.
    async fn members(&self, group: ObjectId, depth: Walk, after: Option<ObjectId>, limit: u32) -> Result<ObjectPage, StoreError>;

    /// Whether a group certainly has more direct members than that, found without reading one of them. A database that has no quick way to tell says no.
    async fn has_more_members(&self, _group: ObjectId, _than: u32) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// From now on this process writes a directory only while this member (its name in leases) has the duty [`directory_duty`] of it; whoever does not say so, writes in any case. A source that
    /// goes on after others have taken its place is refused, and has recorded nothing. Where one process serves at a time there is nothing to check.
    fn fence(&self, _directory: &str, _holder: &str) {}

    /// Notes a marker and accepts its event with its letters, as one. Gives false, and accepts nothing, if a marker of this directory, key and value is open already: however
    /// often one is found, and by however many at once, it is one event.
    ///
    /// # Errors
    /// [`StoreError::Full`] and [`StoreError::Unavailable`] as for an acceptance.
    async fn note_marker(&self, marker: NewMarker, event: Acceptance) -> Result<bool, StoreError>;

    /// The open markers of a directory in the order in which they were noted, from `after` (exclusive) on, with how their letters stand now; of one object only, if its key is given.
    async fn markers(&self, directory: &str, key: Option<&str>, after: Option<Id>, limit: u32) -> Result<Vec<Marker>, StoreError>;

    /// Writes how far an open marker is. Gives false if it is open no longer.
    async fn move_marker(&self, event: Id, step: MarkerStep) -> Result<bool, StoreError>;

    /// Ends a marker: cleared, or gone by itself. It is forgotten; its event and letters stay. Gives false if it was open no longer.
    async fn end_marker(&self, event: Id) -> Result<bool, StoreError>;
}
