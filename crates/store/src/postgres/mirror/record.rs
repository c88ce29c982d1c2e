//! Record: differences, sightings, bookmark and events as one. The events are the outbox's ([`crate::postgres::accept`]), in the same transaction.

use crate::{
    mirror::{Difference, MirrorLink, MirrorObject, Record, Target, names::Bearer, terms::Terms},
    postgres::{
        fault::Fault,
        mirror::{
            names::Names,
            rows::{self, ASKED, GROUP, hash},
            scribe::{Pending, Scribe, moved},
            standing::{self, Numbers},
        },
    },
};
use deadpool_postgres::Object;
use std::collections::{BTreeSet, HashMap, HashSet};
use tokio_postgres::types::Type;

/// The mirror's part of the verb.
pub(super) async fn record(db: &Object, record: &Record, now: i64) -> Result<(), Fault> {
    let (directory, latest) = standing::enter(db, &record.directory).await?;
    let told: Vec<&Difference> = record.differences.iter().filter(|one| !one.is_empty()).collect();
    let there = There::read(db, directory, &told).await?;
    let names = Names::read(db, directory, &there.hashes(&told)).await?;
    let numbers = Numbers::of(told.iter().map(|one| usize::from(one.before.is_none()) + one.added.len()).sum());
    let generation = record.generation.unwrap_or(latest);
    let mut desk = Desk { scribe: Scribe { db, directory, generation, now, names, numbers, sheet: Pending::default() }, there };
    for difference in &record.differences {
        desk.write(difference, record.generation.is_some()).await?;
    }
    if record.generation.is_some() {
        desk.scribe.sheet.seen_keys.extend(record.seen.iter().map(String::as_str));
    }
    desk.scribe.finish(record.bookmark.as_deref()).await
}

/// What is there before anything is written.
struct There {
    /// The versions of objects that differ.
    versions: HashMap<i64, i64>,
    /// Objects that links go to, and whether they are groups.
    groups: HashMap<i64, bool>,
    /// Keys of new objects that are not new; kept up.
    keys: HashSet<String>,
}

impl There {
    async fn read(db: &Object, directory: i32, told: &[&Difference]) -> Result<Self, Fault> {
        let before: Vec<i64> = told.iter().filter_map(|one| one.before.as_ref()).map(|before| before.id.0).collect();
        let links = told.iter().flat_map(|one| one.added.iter().chain(&one.altered));
        let targets: BTreeSet<i64> = links.filter_map(|link| known(&link.other)).map(|object| object.id.0).collect();
        let targets: Vec<i64> = targets.into_iter().collect();
        let sql = format!("SELECT id, type = '{GROUP}' FROM object WHERE id = ANY($1)");
        let new: Vec<&str> =
            told.iter().filter(|one| one.before.is_none()).filter_map(|one| Some(one.after.as_ref()?.key.as_str())).collect();
        let (versions, groups, keys) = tokio::try_join!(
            rows::column_of(db, "SELECT id, version FROM object WHERE id = ANY($1)", &before),
            rows::column_of(db, &sql, &targets),
            known_keys(db, directory, &new)
        )?;
        Ok(Self { versions, groups, keys })
    }

    /// The numbers of all names that matter: what objects were called and will be, and the other ends of links as far as they are names, or may be before the end.
    fn hashes(&self, told: &[&Difference]) -> Vec<i32> {
        let gone: HashSet<i64> =
            told.iter().filter(|one| one.after.is_none()).filter_map(|one| one.before.as_ref()).map(|one| one.id.0).collect();
        let mut hashes = BTreeSet::new();
        for one in told {
            hashes.extend(one.before.as_ref().map(|before| hash(before.head.referred_to_as())));
            hashes.extend(one.after.as_ref().map(|after| hash(after.referred_to_as())));
            for link in one.added.iter().chain(&one.altered).chain(&one.removed) {
                match &link.other {
                    Target::Unknown(name) => _ = hashes.insert(hash(name)),
                    Target::Known(object) if gone.contains(&object.id.0) || !self.groups.contains_key(&object.id.0) => {
                        hashes.insert(hash(object.head.referred_to_as()));
                    }
                    Target::Known(_) => {}
                }
            }
        }
        hashes.into_iter().collect()
    }
}

/// Those of the keys that are there.
async fn known_keys(db: &Object, directory: i32, asked: &[&str]) -> Result<HashSet<String>, Fault> {
    let mut keys = HashSet::new();
    for some in asked.chunks(ASKED) {
        let sql = "SELECT key FROM object WHERE directory = $1 AND key = ANY($2)";
        for row in db.query_typed(sql, &[(&directory, Type::INT4), (&some, Type::TEXT_ARRAY)]).await? {
            keys.insert(row.try_get(0)?);
        }
    }
    Ok(keys)
}

fn known(target: &Target) -> Option<&MirrorObject> {
    match target {
        Target::Known(object) => Some(object),
        Target::Unknown(_) => None,
    }
}

/// A record being written.
struct Desk<'a> {
    scribe: Scribe<'a>,
    there: There,
}

impl<'a> Desk<'a> {
    async fn write(&mut self, difference: &'a Difference, in_refresh: bool) -> Result<(), Fault> {
        let id = match (&difference.before, &difference.after) {
            (None, None) => return Ok(()),
            (Some(before), None) => {
                self.expect(before)?;
                self.there.keys.remove(&before.head.key);
                self.scribe.remove(before);
                return Ok(());
            }
            (None, Some(head)) => {
                if !self.there.keys.insert(head.key.clone()) {
                    return Err(moved(&head.key));
                }
                self.scribe.add(head).await?
            }
            (Some(before), Some(head)) => {
                let id = before.id.0;
                if difference.is_empty() {
                    if in_refresh {
                        self.scribe.sheet.seen_keys.insert(&head.key);
                    }
                    return Ok(());
                }
                self.expect(before)?;
                if before.head != *head {
                    self.scribe.change(id, &before.head, head).await?;
                }
                self.scribe.raise(id);
                self.scribe.sheet.seen.insert(id);
                id
            }
        };
        if let Some(document) = &difference.document {
            self.scribe.sheet.documents.insert(id, document);
        }
        for link in &difference.removed {
            if let Some(target) = self.lost(link) {
                self.scribe.unlink(id, link.role, target);
            }
        }
        for link in difference.added.iter().chain(&difference.altered) {
            let target = self.gained(link).await?;
            self.scribe.link(id, link.role, target, Terms::of_mirrored(link));
        }
        Ok(())
    }

    /// Refuses if an object is not as it was compared, but for what was done to it here: that is not written yet.
    fn expect(&self, before: &MirrorObject) -> Result<(), Fault> {
        let as_compared = self.there.versions.get(&before.id.0) == Some(&before.version) && !self.is_removed(before);
        if as_compared { Ok(()) } else { Err(moved(&before.head.key)) }
    }

    fn is_removed(&self, object: &MirrorObject) -> bool {
        self.scribe.sheet.removed.contains(&object.id.0)
    }

    /// The row that a removed link went to. A link to an object that has gone in this very record went with it.
    fn lost(&self, link: &MirrorLink) -> Option<i64> {
        match &link.other {
            Target::Known(object) => (!self.is_removed(object)).then_some(object.id.0),
            Target::Unknown(name) => self.scribe.names.bearer(name).map(|bearer| bearer.id),
        }
    }

    /// The row that a link is to go to. An object that has gone leaves its name.
    async fn gained(&mut self, link: &MirrorLink) -> Result<Bearer, Fault> {
        let name = match &link.other {
            Target::Known(object) => {
                let id = object.id.0;
                let group = self.scribe.names.object(id).map(|named| named.group).or_else(|| self.there.groups.get(&id).copied());
                if let Some(group) = group.filter(|_| !self.is_removed(object)) {
                    return Ok(Bearer { id, known: true, group });
                }
                object.head.referred_to_as()
            }
            Target::Unknown(name) => name,
        };
        self.scribe.bearer_or_placeholder(name).await
    }
}
