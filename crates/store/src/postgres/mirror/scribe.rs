//! What a record or a load makes of a directory's objects and links: gathered step by step, and then written table by table, however many rows that are.
//!
//! The steps lean on each other through names, which are kept up here ([`Names`]), and through what is told of an object twice. The tables need not know the steps
//! between: of an object and of a link only the last state is written. Where a step needs what the tables say of links (names that change hands), those that were gathered
//! go first.

use crate::{
    error::StoreError,
    mirror::{MirrorObject, looked_up, names::Bearer, terms::Terms},
    postgres::{
        fault::Fault,
        mirror::{
            flush,
            names::Names,
            rows::{narrow, small},
            standing::{self, Numbers},
        },
    },
};
use deadpool_postgres::Object;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use tidings_core::{
    directory::{Head, LinkRole},
    subject::ObjectType,
};

/// What a link's row says beside its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LinkRow {
    pub(super) terms: Terms,
    pub(super) flags: i16,
}

/// The key of a link's row, in the order of the index by target: its pages lie wide apart, while a batch's own part of the other one is small and stays in memory.
pub(super) type LinkKey = (i64, i16, i64);

pub(super) fn link_key(object: i64, role: LinkRole, target: i64) -> LinkKey {
    (target, small(role.number()), object)
}

/// Writes one directory.
pub(super) struct Scribe<'a> {
    pub(super) db: &'a Object,
    pub(super) directory: i32,
    /// The refresh that what is written was seen in.
    pub(super) generation: i64,
    pub(super) now: i64,
    pub(super) names: Names,
    pub(super) numbers: Numbers,
    pub(super) sheet: Pending<'a>,
}

/// What is to be written.
#[derive(Default)]
pub(super) struct Pending<'a> {
    /// Objects that are new, by their numbers.
    pub(super) added: BTreeMap<i64, &'a Head>,
    /// Objects that have another head.
    pub(super) changed: BTreeMap<i64, &'a Head>,
    /// Objects that have lost their reference to another one.
    pub(super) nameless: BTreeSet<i64>,
    /// Objects that are gone.
    pub(super) removed: HashSet<i64>,
    /// How often versions of objects rise.
    pub(super) raised: BTreeMap<i64, i64>,
    /// Objects that were seen.
    pub(super) seen: BTreeSet<i64>,
    /// Keys of objects that were seen.
    pub(super) seen_keys: BTreeSet<&'a str>,
    /// Forms of objects.
    pub(super) documents: BTreeMap<i64, &'a [u8]>,
    /// Hashes and objects that are found by them from now on, or no longer.
    pub(super) looked_up: BTreeMap<(i32, i64), bool>,
    /// Links; `None` are taken away.
    pub(super) links: BTreeMap<LinkKey, Option<LinkRow>>,
    /// Objects that have become groups, or are none any more, or came to links that others had waiting for them.
    pub(super) marked: BTreeSet<i64>,
    /// Placeholders that are new.
    pub(super) waiting: BTreeMap<i64, String>,
    /// Placeholders that are objects now.
    pub(super) taken_over: BTreeSet<i64>,
    /// Rows that have lost a link; placeholders among them may be of no use any more.
    pub(super) loosened: BTreeSet<i64>,
}

impl<'a> Scribe<'a> {
    /// Adds an object that is not there. A placeholder of its name becomes it.
    pub(super) async fn add(&mut self, head: &'a Head) -> Result<i64, Fault> {
        let waiting = self.names.waiting_for(head);
        let id = match waiting.first() {
            Some(id) => *id,
            None => self.numbers.next(self.db).await?,
        };
        self.call(id, head);
        self.take_over(&waiting, id, head).await?;
        self.sheet.added.insert(id, head);
        self.find_by(id, &BTreeSet::new(), &looked_up::hashes(head));
        Ok(id)
    }

    /// Gives an object another head. `before` is what it was when it was compared.
    pub(super) async fn change(&mut self, id: i64, before: &Head, head: &'a Head) -> Result<(), Fault> {
        let latest = self.sheet.changed.get(&id).or_else(|| self.sheet.added.get(&id)).copied().unwrap_or(before);
        self.find_by(id, &looked_up::hashes(latest), &looked_up::hashes(head));
        if latest.object_type != head.object_type {
            self.sheet.marked.insert(id);
        }
        let called_anew = self.names.object(id).map_or(&latest.reference, |named| &named.reference) != &head.reference;
        self.call(id, head);
        if called_anew {
            let waiting = self.names.waiting_for(head);
            self.take_over(&waiting, id, head).await?;
        }
        self.sheet.changed.insert(id, head);
        Ok(())
    }

    /// Enters what an object is called; no other one is called so any more.
    fn call(&mut self, id: i64, head: &Head) {
        self.sheet.nameless.extend(self.names.take_away(head, id));
        self.names.enter(id, head);
        self.sheet.nameless.remove(&id);
    }

    fn find_by(&mut self, id: i64, before: &BTreeSet<i64>, after: &BTreeSet<i64>) {
        self.sheet.looked_up.extend(before.difference(after).map(|hash| ((narrow(*hash), id), false)));
        self.sheet.looked_up.extend(after.difference(before).map(|hash| ((narrow(*hash), id), true)));
    }

    /// Makes an object what placeholders stood for.
    async fn take_over(&mut self, waiting: &[i64], id: i64, head: &Head) -> Result<(), Fault> {
        if waiting.is_empty() {
            return Ok(());
        }
        let others: Vec<i64> = waiting.iter().copied().filter(|placeholder| *placeholder != id).collect();
        if !others.is_empty() {
            flush::links(self.db, std::mem::take(&mut self.sheet.links)).await?;
            for other in others {
                flush::retarget(self.db, other, id).await?;
            }
        }
        for placeholder in waiting {
            self.sheet.loosened.remove(placeholder);
            if self.sheet.waiting.remove(placeholder).is_none() {
                self.sheet.taken_over.insert(*placeholder);
            }
        }
        self.names.forget(head.referred_to_as(), waiting);
        if head.object_type == ObjectType::Group {
            // Links that were written while nobody bore the name do not know yet that they go to a group.
            self.sheet.marked.insert(id);
        }
        Ok(())
    }

    /// Takes an object away with its links and those of others to it.
    pub(super) fn remove(&mut self, before: &MirrorObject) {
        let id = before.id.0;
        let latest = self.sheet.changed.remove(&id).unwrap_or(&before.head);
        self.find_by(id, &looked_up::hashes(latest), &BTreeSet::new());
        self.names.leave(id);
        self.sheet.removed.insert(id);
    }

    /// Sets a link, or its terms.
    pub(super) fn link(&mut self, object: i64, role: LinkRole, target: Bearer, terms: Terms) {
        let row = LinkRow { terms, flags: small(terms.flags(role, target.group)) };
        self.sheet.links.insert(link_key(object, role, target.id), Some(row));
    }

    /// Takes a link away.
    pub(super) fn unlink(&mut self, object: i64, role: LinkRole, target: i64) {
        self.sheet.links.insert(link_key(object, role, target), None);
        // Whether it is a placeholder at all is looked up at the end.
        self.sheet.loosened.insert(target);
    }

    /// Marks that an object has changed.
    pub(super) fn raise(&mut self, id: i64) {
        *self.sheet.raised.entry(id).or_default() += 1;
    }

    /// The row that a name leads to; one that nobody bears gets a placeholder.
    pub(super) async fn bearer_or_placeholder(&mut self, name: &str) -> Result<Bearer, Fault> {
        if let Some(bearer) = self.names.bearer(name) {
            return Ok(bearer);
        }
        let id = self.numbers.next(self.db).await?;
        self.names.wait(id, name);
        self.sheet.waiting.insert(id, name.to_owned());
        Ok(Bearer { id, known: false, group: false })
    }

    /// Writes everything down: counts and bookmark as well.
    pub(super) async fn finish(mut self, bookmark: Option<&[u8]>) -> Result<(), Fault> {
        let more = i64::try_from(self.sheet.added.len()).expect("a count") - i64::try_from(self.sheet.removed.len()).expect("a count");
        flush::write(&mut self).await?;
        standing::note(self.db, self.directory, more, bookmark, self.now).await
    }
}

/// Refuses because an object is not as it was compared.
pub(super) fn moved(key: &str) -> Fault {
    StoreError::Moved(key.to_owned()).into()
}
