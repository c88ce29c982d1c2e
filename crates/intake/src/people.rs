//! For tests: a desk, and a mirror that holds a handful of people and counts how often it is asked. It can only be read.

#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss, reason = "places in a short list")]

use crate::{Desk, DeskParts, Queries, RelayImprint};
use async_trait::async_trait;
use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicUsize, Ordering},
};
use tidings_core::{
    Address, Clock, Id, Timestamp,
    directory::{Change, Entry, Head, LinkRole},
    flood::FloodLimits,
    guard::{EnvironmentGuard, Mode},
    policy::{RuleSet, WhenUnhealthy},
    subject::ObjectType,
};
use tidings_render::{Stationery, StationeryOptions};
use tidings_store::{
    Acceptance, Accepted, Difference, DirectoryStanding, LinkPage, Marker, MarkerStep, Mirror, MirrorLink, MirrorObject, NewMarker,
    ObjectId, ObjectPage, Record, StoreError, Target, Walk,
};

/// A desk with the built-in letters and one relay.
pub(crate) fn desk(rules: RuleSet, queries: Queries, flood: FloodLimits, clock: Arc<dyn Clock>) -> Desk {
    static STATIONERY: LazyLock<Arc<Stationery>> = LazyLock::new(|| Arc::new(Stationery::load(StationeryOptions::default()).unwrap()));
    let from = Address::parse("no-reply@example.org").unwrap();
    Desk::new(DeskParts {
        stationery: STATIONERY.clone(),
        rules: Arc::new(rules),
        relays: vec![RelayImprint { name: "main".into(), from, from_name: None, reply_to: None, envelope_from: None }],
        guard: EnvironmentGuard::new(Mode::Live, None, None, vec!["example.org".into()]),
        queries,
        flood,
        unhealthy: WhenUnhealthy::Hold,
        clock,
    })
}

/// Objects and links of the directory `corp`.
#[derive(Default)]
pub(crate) struct People {
    heads: Vec<Head>,
    links: Vec<(i64, LinkRole, i64, bool)>,
    asked: AtomicUsize,
}

impl People {
    pub(crate) fn user(mut self, key: &str) -> Self {
        let mut head = Head::new(ObjectType::User, key);
        head.name = Some(key.to_uppercase());
        head.mail = Address::parse(&format!("{key}@example.org")).ok();
        self.heads.push(head);
        self
    }

    pub(crate) fn group(mut self, key: &str, members: &[&str]) -> Self {
        let mut head = Head::new(ObjectType::Group, key);
        head.name = Some(key.to_uppercase());
        self.heads.push(head);
        for member in members {
            self = self.link(key, LinkRole::Member, member, false);
        }
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Head)) -> Self {
        change(self.heads.last_mut().unwrap());
        self
    }

    pub(crate) fn link(mut self, from: &str, role: LinkRole, to: &str, muted: bool) -> Self {
        let place = |key: &str| self.heads.iter().position(|head| head.key == key).unwrap() as i64;
        let link = (place(from), role, place(to), muted);
        self.links.push(link);
        self
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn at(&self, place: i64) -> MirrorObject {
        let head = self.heads[place as usize].clone();
        let at = Timestamp::UNIX_EPOCH;
        MirrorObject { id: ObjectId(place), directory: "corp".into(), head, created_at: at, changed_at: at, version: 1 }
    }

    fn below(&self, group: i64, seen: &mut Vec<i64>, found: &mut Vec<i64>) {
        for (_, _, to, _) in self.links.iter().filter(|(from, role, ..)| *from == group && *role == LinkRole::Member) {
            if self.heads[*to as usize].object_type != ObjectType::Group {
                found.push(*to);
            } else if !seen.contains(to) {
                seen.push(*to);
                self.below(*to, seen, found);
            }
        }
    }

    fn page(&self, mut places: Vec<i64>, after: Option<ObjectId>, limit: u32) -> ObjectPage {
        self.asked.fetch_add(1, Ordering::Relaxed);
        places.sort_unstable();
        places.dedup();
        places.retain(|place| after.is_none_or(|after| *place > after.0));
        let more = places.len() > limit as usize;
        places.truncate(limit as usize);
        let next = places.last().filter(|_| more).map(|last| ObjectId(*last));
        ObjectPage { objects: places.into_iter().map(|place| self.at(place)).collect(), next }
    }
}

fn no<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable("these people can only be read".into()))
}

#[async_trait]
impl Mirror for People {
    async fn directory(&self, _: &str) -> Result<DirectoryStanding, StoreError> {
        no()
    }
    async fn directories(&self) -> Result<Vec<DirectoryStanding>, StoreError> {
        no()
    }
    async fn compare(&self, _: &str, _: Vec<Change>) -> Result<Vec<Difference>, StoreError> {
        no()
    }
    async fn record(&self, _: Record) -> Result<Vec<Accepted>, StoreError> {
        no()
    }
    async fn load(&self, _: &str, _: Vec<Entry>, _: i64, _: Option<Vec<u8>>) -> Result<u64, StoreError> {
        no()
    }
    async fn begin_refresh(&self, _: &str) -> Result<i64, StoreError> {
        no()
    }
    async fn unseen(&self, _: &str, _: i64) -> Result<(u64, u64), StoreError> {
        no()
    }
    async fn unseen_keys(&self, _: &str, _: i64, _: Option<ObjectId>, _: u32) -> Result<Vec<(ObjectId, String)>, StoreError> {
        no()
    }
    async fn end_refresh(&self, _: &str, _: Option<Vec<u8>>) -> Result<(), StoreError> {
        no()
    }
    async fn report_source(&self, _: &str, _: Option<String>, _: Option<Acceptance>) -> Result<bool, StoreError> {
        no()
    }
    async fn keyed(&self, _: &str, _: &[String]) -> Result<Vec<MirrorObject>, StoreError> {
        no()
    }
    async fn documents(&self, _: &[ObjectId]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        no()
    }
    async fn find(&self, _: &str, _: &str, _: &str) -> Result<Vec<MirrorObject>, StoreError> {
        no()
    }
    async fn listing(&self, _: &str, _: &ObjectType, _: u64, _: u32) -> Result<(u64, Vec<MirrorObject>), StoreError> {
        no()
    }
    async fn linked(&self, _: ObjectId, _: LinkRole, _: &[String]) -> Result<Vec<MirrorLink>, StoreError> {
        no()
    }
    async fn note_marker(&self, _: NewMarker, _: Acceptance) -> Result<bool, StoreError> {
        no()
    }
    async fn markers(&self, _: &str, _: Option<&str>, _: Option<Id>, _: u32) -> Result<Vec<Marker>, StoreError> {
        no()
    }
    async fn move_marker(&self, _: Id, _: MarkerStep) -> Result<bool, StoreError> {
        no()
    }
    async fn end_marker(&self, _: Id) -> Result<bool, StoreError> {
        no()
    }
    async fn document(&self, _: ObjectId) -> Result<Option<Vec<u8>>, StoreError> {
        no()
    }

    async fn object(&self, directory: &str, name: &str) -> Result<Option<MirrorObject>, StoreError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let found = self.heads.iter().position(|head| directory == "corp" && (head.key == name || head.reference.as_deref() == Some(name)));
        Ok(found.map(|place| self.at(place as i64)))
    }

    async fn objects(&self, _: Option<&str>, after: Option<ObjectId>, limit: u32) -> Result<ObjectPage, StoreError> {
        Ok(self.page((0..self.heads.len() as i64).collect(), after, limit))
    }

    async fn groups_named(&self, directory: Option<&str>, name: &str) -> Result<Vec<MirrorObject>, StoreError> {
        let fits = |head: &Head| head.object_type == ObjectType::Group && head.name.as_deref() == Some(name);
        let places = (0..self.heads.len()).filter(|place| directory.is_none_or(|one| one == "corp") && fits(&self.heads[*place]));
        Ok(places.map(|place| self.at(place as i64)).collect())
    }

    async fn links(&self, object: ObjectId, role: LinkRole, _: Option<ObjectId>, limit: u32) -> Result<LinkPage, StoreError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let fits = self.links.iter().filter(|(from, its, ..)| *from == object.0 && *its == role).take(limit as usize);
        let links = fits
            .map(|(_, role, to, muted)| {
                let other = Target::Known(Box::new(self.at(*to)));
                MirrorLink { role: *role, starts_at: None, ends_at: None, muted: *muted, other }
            })
            .collect();
        Ok(LinkPage { links, next: None })
    }

    async fn links_to(&self, _: ObjectId, _: LinkRole, _: Option<ObjectId>, _: u32) -> Result<LinkPage, StoreError> {
        no()
    }

    async fn managers(&self, _: ObjectId, _: u8) -> Result<Vec<MirrorObject>, StoreError> {
        no()
    }

    async fn members(&self, group: ObjectId, depth: Walk, after: Option<ObjectId>, limit: u32) -> Result<ObjectPage, StoreError> {
        let mut found = Vec::new();
        assert_eq!(depth, Walk::Nested);
        self.below(group.0, &mut vec![group.0], &mut found);
        Ok(self.page(found, after, limit))
    }
}
