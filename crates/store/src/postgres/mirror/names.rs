//! Names that links go by: whose they are, and what happens when a name changes hands.
//!
//! A record goes through its differences in order, and each leans on those before it: who has come in between goes by the name, who has gone leaves it. So what the
//! tables say of all names a record speaks of is read once, and kept up as the record goes; the tables are brought to that at its end.

use crate::{
    mirror::names::{Bearer, folded},
    postgres::{
        fault::Fault,
        mirror::rows::{ASKED, GROUP, hash},
    },
};
use deadpool_postgres::Object;
use std::collections::{BTreeSet, HashMap};
use tidings_core::{directory::Head, subject::ObjectType};
use tokio_postgres::types::{ToSql, Type};

/// An object as far as names go.
#[derive(Debug, Clone)]
pub(super) struct Named {
    key: String,
    pub(super) reference: Option<String>,
    pub(super) group: bool,
}

impl Named {
    pub(super) fn referred_to_as(&self) -> &str {
        self.reference.as_deref().unwrap_or(&self.key)
    }
}

/// Who bears which name.
#[derive(Debug, Default)]
pub(super) struct Names {
    objects: HashMap<i64, Named>,
    hashes: HashMap<i32, Vec<i64>>,
    placeholders: HashMap<i32, Vec<(i64, String)>>,
}

impl Names {
    /// Whatever the tables have under these numbers.
    pub(super) async fn read(db: &Object, directory: i32, asked: &[i32]) -> Result<Self, Fault> {
        let mut there = Self::default();
        let objects = "SELECT hash, id, type = $3, reference, key FROM object WHERE directory = $1 AND hash = ANY($2)";
        let placeholders = "SELECT hash, id, name FROM placeholder WHERE directory = $1 AND hash = ANY($2) ORDER BY id";
        for some in asked.chunks(ASKED) {
            let asked: [(&(dyn ToSql + Sync), Type); 3] = [(&directory, Type::INT4), (&some, Type::INT4_ARRAY), (&GROUP, Type::TEXT)];
            let (objects, placeholders) = tokio::try_join!(db.query_typed(objects, &asked), db.query_typed(placeholders, &asked[..2]))?;
            for row in objects {
                let (hash, id) = (row.try_get(0)?, row.try_get(1)?);
                let named = Named { group: row.try_get(2)?, reference: row.try_get(3)?, key: row.try_get(4)? };
                there.objects.insert(id, named);
                there.hashes.entry(hash).or_default().push(id);
            }
            for row in placeholders {
                there.placeholders.entry(row.try_get(0)?).or_default().push((row.try_get(1)?, row.try_get(2)?));
            }
        }
        Ok(there)
    }

    pub(super) fn object(&self, id: i64) -> Option<&Named> {
        self.objects.get(&id)
    }

    /// The row that a name leads to.
    pub(super) fn bearer(&self, name: &str) -> Option<Bearer> {
        let hash = hash(name);
        let mut of_key = None;
        for id in self.hashes.get(&hash).into_iter().flatten() {
            let named = &self.objects[id];
            let bearer = Bearer { id: *id, known: true, group: named.group };
            match &named.reference {
                Some(reference) if folded(reference) == folded(name) => return Some(bearer),
                None if named.key == name => of_key = Some(bearer),
                _ => {}
            }
        }
        of_key.or_else(|| {
            let waiting = self.placeholders.get(&hash)?;
            let (id, _) = waiting.iter().find(|(_, written)| written == name)?;
            Some(Bearer { id: *id, known: false, group: false })
        })
    }

    /// Placeholders for the name that links to this object go by. More than one only if its links were written in different cases.
    pub(super) fn waiting_for(&self, head: &Head) -> Vec<i64> {
        let name = head.referred_to_as();
        let fits = |written: &str| if head.reference.is_some() { folded(written) == folded(name) } else { written == name };
        let waiting = self.placeholders.get(&hash(name)).into_iter().flatten();
        let mut ids: Vec<i64> = waiting.filter(|(_, written)| fits(written)).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// Takes a reference away from any other object that bears it: two cannot bear one name, and the one that was heard of last has it. The other one's own change
    /// (it was renamed, too, or is gone) is still to come. Its version stays: what links say of it is the same. Gives who has lost it.
    pub(super) fn take_away(&mut self, head: &Head, id: i64) -> Vec<i64> {
        let Some(reference) = &head.reference else { return Vec::new() };
        let bears = |other: &i64| self.objects[other].reference.as_ref().is_some_and(|theirs| folded(theirs) == folded(reference));
        let called = self.hashes.get(&hash(reference)).into_iter().flatten();
        let others: Vec<i64> = called.copied().filter(|other| *other != id && bears(other)).collect();
        for other in &others {
            let named = Named { reference: None, ..self.objects[other].clone() };
            self.put(*other, named);
        }
        others
    }

    /// Enters an object, or what it is called now.
    pub(super) fn enter(&mut self, id: i64, head: &Head) {
        let named = Named { key: head.key.clone(), reference: head.reference.clone(), group: head.object_type == ObjectType::Group };
        self.put(id, named);
    }

    fn put(&mut self, id: i64, named: Named) {
        self.leave(id);
        self.hashes.entry(hash(named.referred_to_as())).or_default().push(id);
        self.objects.insert(id, named);
    }

    /// Takes an object out.
    pub(super) fn leave(&mut self, id: i64) {
        if let Some(named) = self.objects.remove(&id)
            && let Some(ids) = self.hashes.get_mut(&hash(named.referred_to_as()))
        {
            ids.retain(|other| *other != id);
        }
    }

    /// Enters a placeholder.
    pub(super) fn wait(&mut self, id: i64, name: &str) {
        self.placeholders.entry(hash(name)).or_default().push((id, name.to_owned()));
    }

    /// Takes placeholders of a name out.
    pub(super) fn forget(&mut self, name: &str, ids: &[i64]) {
        if let Some(waiting) = self.placeholders.get_mut(&hash(name)) {
            waiting.retain(|(id, _)| !ids.contains(id));
        }
    }
}

/// Who bears each of many names, given in the order asked. Asked in parts, so that what is remembered of a name is a number.
pub(super) async fn bearers(db: &Object, directory: i32, asked: &[&str]) -> Result<Vec<Option<Bearer>>, Fault> {
    let mut order: Vec<(i32, usize)> = asked.iter().enumerate().map(|(place, name)| (hash(name), place)).collect();
    order.sort_unstable();
    let mut answers = vec![None; asked.len()];
    for part in order.chunks(ASKED) {
        let hashes: BTreeSet<i32> = part.iter().map(|(hash, _)| *hash).collect();
        let hashes: Vec<i32> = hashes.into_iter().collect();
        let names = Names::read(db, directory, &hashes).await?;
        for (_, place) in part {
            answers[*place] = names.bearer(asked[*place]);
        }
    }
    Ok(answers)
}
