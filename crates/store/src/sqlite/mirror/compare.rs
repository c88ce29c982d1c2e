//! Compare: what changes make different, all against one moment of the mirror.
//!
//! A batch of changes comes from one source in order, and some lean on others: a user is deleted, and with it the group is changed that had it as a member. Each
//! is compared with what is written; what earlier ones of the batch take away (objects, names, links) is kept in mind, so that a departure is told once.

use crate::{
    mirror::{
        Difference, MirrorLink, MirrorObject, Target,
        names::{Bearer, folded},
        terms::{self, Terms},
    },
    sqlite::{
        fault::Fault,
        mirror::{
            links, names, rows,
            standing::{self, NO_DIRECTORY},
        },
    },
};
use rusqlite::Connection;
use std::collections::{HashMap, HashSet};
use tidings_core::directory::{Became, Change, Entry, Head, Link, LinkRole};

/// What changes make different.
pub(super) fn compare(db: &Connection, directory: &str, changes: Vec<Change>) -> Result<Vec<Difference>, Fault> {
    let directory = standing::number(db, directory)?.unwrap_or(NO_DIRECTORY);
    let mut desk = Desk { db, directory, gone: HashSet::new(), renamed: HashSet::new(), unlinked: HashSet::new() };
    changes.into_iter().map(|change| desk.one(change.what)).collect()
}

struct Desk<'a> {
    db: &'a Connection,
    directory: i64,
    /// Objects that earlier changes end.
    gone: HashSet<i64>,
    /// Objects that earlier changes give another name: the one that is written is theirs no longer.
    renamed: HashSet<i64>,
    /// Links that earlier changes end: object, role, target.
    unlinked: HashSet<(i64, LinkRole, i64)>,
}

fn nothing(before: Option<MirrorObject>, after: Option<Head>) -> Difference {
    let (added, removed, altered, orphaned) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    Difference { before, after, document: None, added, removed, altered, orphaned }
}

impl Desk<'_> {
    fn one(&mut self, what: Became) -> Result<Difference, Fault> {
        match what {
            Became::Is(Entry { head, links, document }) => {
                let before = rows::by_key(self.db, self.directory, &head.key)?;
                let mut difference = self.of_head(before, head)?;
                difference.document = self.told_anew(&difference, document)?;
                self.whole(&mut difference, &links)?;
                Ok(difference)
            }
            Became::Adjusted { key, head, added, removed, document } => {
                let Some(before) = rows::by_key(self.db, self.directory, &key)? else { return Ok(nothing(None, None)) };
                // The key names the object; a head cannot give it another.
                let head = head.map_or_else(|| before.head.clone(), |head| Head { key, ..head });
                let mut difference = self.of_head(Some(before), head)?;
                difference.document = self.told_anew(&difference, document)?;
                self.parts(&mut difference, &added, &removed)?;
                Ok(difference)
            }
            Became::Gone { key } => match rows::by_key(self.db, self.directory, &key)? {
                Some(before) => self.end(before),
                None => Ok(nothing(None, None)),
            },
        }
    }

    fn of_head(&mut self, before: Option<MirrorObject>, head: Head) -> Result<Difference, Fault> {
        let Some(before) = before else { return Ok(nothing(None, Some(head))) };
        let head = rows::settled(self.db, &before, head)?;
        if folded(before.head.referred_to_as()) != folded(head.referred_to_as()) {
            self.renamed.insert(before.id.0);
        }
        Ok(nothing(Some(before), Some(head)))
    }

    /// The source's own form, unless it is the one that is kept.
    fn told_anew(&self, difference: &Difference, document: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, Fault> {
        let (Some(before), Some(told)) = (&difference.before, &document) else { return Ok(document) };
        let kept = rows::document(self.db, before.id.0)?;
        Ok(if kept.as_ref() == Some(told) { None } else { document })
    }

    /// Compares all links of an object.
    fn whole(&mut self, difference: &mut Difference, links: &[Link]) -> Result<(), Fault> {
        let ends = self.ends(links.iter().map(|link| link.to.as_str()))?;
        let mut wanted = wanted(links, &ends);
        if let Some(id) = difference.before.as_ref().map(|before| before.id.0) {
            let mut mirrored = self.db.prepare_cached("SELECT role, target, starts_at, ends_at, flags FROM link WHERE object = ?1")?;
            let mut found = mirrored.query([id])?;
            while let Some(row) = found.next()? {
                let (role, target, terms) = (terms::role_of(row.get(0)?)?, row.get(1)?, links::read(row, 2)?);
                if self.gone.contains(&target) {
                    continue;
                }
                match wanted.remove(&(role, End::Row(target))) {
                    Some(place) if Terms::of(&links[place]) == terms => {}
                    Some(place) => difference.altered.push(Terms::of(&links[place]).link(role, links::target(self.db, target)?)),
                    None => {
                        difference.removed.push(terms.link(role, links::target(self.db, target)?));
                        self.unlinked.insert((id, role, target));
                    }
                }
            }
        }
        for (place, (link, end)) in links.iter().zip(&ends).enumerate() {
            if wanted.get(&(link.role, *end)) == Some(&place) {
                difference.added.push(self.link(link, *end)?);
            }
        }
        Ok(())
    }

    /// Compares the links that are told of.
    fn parts(&mut self, difference: &mut Difference, added: &[Link], removed: &[(LinkRole, String)]) -> Result<(), Fault> {
        let id = difference.before.as_ref().expect("only what is there is adjusted").id.0;
        let ends = self.ends(added.iter().map(|link| link.to.as_str()))?;
        let wanted = wanted(added, &ends);
        for (place, (link, end)) in added.iter().zip(&ends).enumerate() {
            if wanted[&(link.role, *end)] != place {
                continue;
            }
            let mirrored = match end {
                End::Row(target) => links::terms(self.db, id, link.role, *target)?,
                End::Name(_) => None,
            };
            match mirrored {
                Some(terms) if terms == Terms::of(link) => {}
                Some(_) => difference.altered.push(self.link(link, *end)?),
                None => difference.added.push(self.link(link, *end)?),
            }
        }
        let ends = self.ends(removed.iter().map(|(_, name)| name.as_str()))?;
        for ((role, _), end) in removed.iter().zip(ends) {
            let End::Row(target) = end else { continue };
            if wanted.contains_key(&(*role, end)) || self.unlinked.contains(&(id, *role, target)) {
                continue;
            }
            if let Some(terms) = links::terms(self.db, id, *role, target)? {
                difference.removed.push(terms.link(*role, links::target(self.db, target)?));
                self.unlinked.insert((id, *role, target));
            }
        }
        Ok(())
    }

    /// Ends an object. Links of its own are not listed, however many it has; those of others to it are.
    fn end(&mut self, before: MirrorObject) -> Result<Difference, Fault> {
        let id = before.id.0;
        self.gone.insert(id);
        let mut difference = nothing(Some(before), None);
        let sql = format!(
            "SELECT l.object, l.role, l.starts_at, l.ends_at, l.flags, {} FROM link l CROSS JOIN object o ON o.id = l.object
             CROSS JOIN directory d ON d.number = o.directory WHERE l.target = ?1 ORDER BY l.role, l.object",
            rows::COLUMNS
        );
        let mut links = self.db.prepare_cached(&sql)?;
        let mut found = links.query([id])?;
        while let Some(row) = found.next()? {
            let (bearer, role, terms) = (row.get(0)?, terms::role_of(row.get(1)?)?, links::read(row, 2)?);
            if !self.gone.contains(&bearer) && !self.unlinked.contains(&(bearer, role, id)) {
                difference.orphaned.push(terms.link(role, Target::Known(Box::new(rows::object(row, 5)?))));
            }
        }
        Ok(difference)
    }

    /// Where names lead once the earlier changes are written.
    fn ends<'n>(&self, names: impl Iterator<Item = &'n str>) -> Result<Vec<End<'n>>, Fault> {
        let asked: Vec<&str> = names.collect();
        let bearers = names::bearers(self.db, self.directory, &asked)?;
        let end = |(name, bearer): (&'n str, Option<Bearer>)| match bearer {
            Some(bearer) if !self.gone.contains(&bearer.id) && !self.renamed.contains(&bearer.id) => End::Row(bearer.id),
            _ => End::Name(name),
        };
        Ok(asked.into_iter().zip(bearers).map(end).collect())
    }

    fn link(&self, link: &Link, end: End<'_>) -> Result<MirrorLink, Fault> {
        let other = match end {
            End::Row(id) => links::target(self.db, id)?,
            End::Name(name) => Target::Unknown(name.to_owned()),
        };
        Ok(Terms::of(link).link(link.role, other))
    }
}

/// Where a link leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum End<'a> {
    /// To an object or a placeholder.
    Row(i64),
    /// To a name that has no row yet.
    Name(&'a str),
}

/// The place of each different link; of two alike the later one counts.
fn wanted<'a>(links: &[Link], ends: &[End<'a>]) -> HashMap<(LinkRole, End<'a>), usize> {
    links.iter().zip(ends).enumerate().map(|(place, (link, end))| ((link.role, *end), place)).collect()
}
