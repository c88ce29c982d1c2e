//! The small steps of writing a directory's objects and links, inside the writer's transaction; what a record and a load have in common.

use crate::{
    error::StoreError,
    mirror::{
        MirrorObject,
        names::Bearer,
        terms::{MUTED, NESTED, Terms},
    },
    sqlite::{
        fault::Fault,
        mirror::{
            look_up, names,
            rows::Columns,
            standing::{self, Numbers},
        },
        work::Work,
    },
};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::{HashMap, HashSet};
use tidings_core::directory::{Head, LinkRole};

/// Writes one directory.
pub(super) struct Scribe<'a> {
    pub(super) db: &'a Connection,
    pub(super) directory: i64,
    /// The refresh that what is written was seen in.
    pub(super) generation: i64,
    pub(super) numbers: Numbers,
    now: i64,
    /// Objects that are new, less those that are gone.
    more: i64,
    /// How often each object's version was raised here.
    raised: HashMap<i64, i64>,
    /// Placeholders that have lost a link.
    loosened: HashSet<i64>,
}

impl<'a> Scribe<'a> {
    /// For a directory, which is made if it is not known. Without a refresh what is written counts as seen in the latest.
    pub(super) fn of(work: &Work<'a>, directory: &str, generation: Option<i64>) -> Result<Self, Fault> {
        let (directory, latest) = standing::enter(work.db, directory)?;
        Ok(Self {
            db: work.db,
            directory,
            generation: generation.unwrap_or(latest),
            numbers: Numbers::read(work.db)?,
            now: work.now_ms(),
            more: 0,
            raised: HashMap::new(),
            loosened: HashSet::new(),
        })
    }

    /// Refuses if an object is not as it was compared, but for what was done to it here.
    pub(super) fn expect(&self, before: &MirrorObject) -> Result<(), Fault> {
        let version: Option<i64> =
            self.db.prepare_cached("SELECT version FROM object WHERE id = ?1")?.query_row([before.id.0], |row| row.get(0)).optional()?;
        let raised = self.raised.get(&before.id.0).copied().unwrap_or(0);
        if version == Some(before.version + raised) { Ok(()) } else { Err(StoreError::Moved(before.head.key.clone()).into()) }
    }

    /// Adds an object that is not there. A placeholder of its name becomes it.
    pub(super) fn add(&mut self, head: &Head) -> Result<i64, Fault> {
        let columns = Columns::of(head);
        let waiting = names::waiting_for(self.db, self.directory, head)?;
        let id = waiting.first().copied().unwrap_or_else(|| self.numbers.next());
        names::take_away(self.db, self.directory, head, id)?;
        self.db
            .prepare_cached(
                "INSERT INTO object (id, directory, key, reference, hash, type, name, group_hash, mail, locale, timezone, flags, attributes, version, created_at, changed_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 1, ?14, ?14)",
            )?
            .execute(params![
                id,
                self.directory,
                head.key,
                head.reference,
                columns.hash,
                columns.object_type,
                head.name,
                columns.group_hash,
                head.mail.as_ref().map(tidings_core::Address::as_str),
                head.locale.as_ref().map(tidings_core::Locale::as_str),
                head.timezone,
                columns.flags,
                columns.attributes,
                self.now
            ])?;
        self.take_over(&waiting, id, columns.is_group())?;
        look_up::enter(self.db, self.directory, id, head)?;
        self.see(id)?;
        self.more += 1;
        Ok(id)
    }

    /// Gives an object another head.
    pub(super) fn change(&mut self, id: i64, before: &Head, head: &Head) -> Result<(), Fault> {
        let columns = Columns::of(head);
        self.db
            .prepare_cached(
                "UPDATE object SET reference = ?2, hash = ?3, type = ?4, name = ?5, group_hash = ?6, mail = ?7, locale = ?8, timezone = ?9, flags = ?10,
                 attributes = ?11 WHERE id = ?1",
            )?
            .execute(params![
                id,
                head.reference,
                columns.hash,
                columns.object_type,
                head.name,
                columns.group_hash,
                head.mail.as_ref().map(tidings_core::Address::as_str),
                head.locale.as_ref().map(tidings_core::Locale::as_str),
                head.timezone,
                columns.flags,
                columns.attributes
            ])?;
        look_up::change(self.db, self.directory, id, before, head)?;
        if before.object_type != head.object_type {
            self.mark_nested(id, columns.is_group())?;
        }
        if before.reference != head.reference {
            names::take_away(self.db, self.directory, head, id)?;
            let waiting = names::waiting_for(self.db, self.directory, head)?;
            self.take_over(&waiting, id, columns.is_group())?;
        }
        Ok(())
    }

    /// Makes an object what placeholders stood for.
    fn take_over(&mut self, waiting: &[i64], id: i64, group: bool) -> Result<(), Fault> {
        for placeholder in waiting {
            if *placeholder != id {
                // Where a link to the object is there as well, the two become one.
                self.db.prepare_cached("UPDATE OR REPLACE link SET target = ?2 WHERE target = ?1")?.execute([*placeholder, id])?;
            }
            self.db.prepare_cached("DELETE FROM placeholder WHERE id = ?1")?.execute([placeholder])?;
            self.loosened.remove(placeholder);
        }
        if group && !waiting.is_empty() { self.mark_nested(id, true) } else { Ok(()) }
    }

    /// Marks memberships of a group, so that walks find them; or of what is none any more.
    fn mark_nested(&self, id: i64, group: bool) -> Result<(), Fault> {
        let flags = if group { NESTED } else { 0 };
        self.db.prepare_cached("UPDATE link SET flags = (flags & ?3) | ?4 WHERE target = ?1 AND role = ?2")?.execute([
            id,
            LinkRole::Member.number(),
            MUTED,
            flags,
        ])?;
        Ok(())
    }

    /// Takes an object away with its links and those of others to it, who have changed thereby.
    pub(super) fn remove(&mut self, id: i64) -> Result<(), Fault> {
        let bearers: Vec<i64> = self
            .db
            .prepare_cached("SELECT DISTINCT object FROM link WHERE target = ?1 AND object <> ?1")?
            .query_map([id], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for bearer in bearers {
            self.raise(bearer)?;
        }
        self.db.prepare_cached("DELETE FROM link WHERE target = ?1")?.execute([id])?;
        let placeholders: Vec<i64> = self
            .db
            .prepare_cached(
                "SELECT l.target FROM link l WHERE l.object = ?1 AND EXISTS (SELECT 1 FROM placeholder p WHERE p.id = l.target)",
            )?
            .query_map([id], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        self.loosened.extend(placeholders);
        self.db.prepare_cached("DELETE FROM link WHERE object = ?1")?.execute([id])?;
        self.db.prepare_cached("DELETE FROM object_document WHERE object = ?1")?.execute([id])?;
        self.db.prepare_cached("DELETE FROM sighting WHERE directory = ?1 AND object = ?2")?.execute([self.directory, id])?;
        look_up::leave(self.db, self.directory, id)?;
        self.db.prepare_cached("DELETE FROM object WHERE id = ?1")?.execute([id])?;
        self.more -= 1;
        Ok(())
    }

    /// Keeps the source's own form.
    pub(super) fn keep_document(&self, id: i64, document: &[u8]) -> Result<(), Fault> {
        self.db.prepare_cached("INSERT OR REPLACE INTO object_document (object, document) VALUES (?1, ?2)")?.execute((id, document))?;
        Ok(())
    }

    /// Sets a link, or its terms.
    pub(super) fn link(&self, object: i64, role: LinkRole, target: Bearer, terms: Terms) -> Result<(), Fault> {
        self.write_link(object, role.number(), target.id, terms, terms.flags(role, target.group))
    }

    pub(super) fn write_link(&self, object: i64, role: i64, target: i64, terms: Terms, flags: i64) -> Result<(), Fault> {
        self.db
            .prepare_cached(
                "INSERT OR REPLACE INTO link (object, role, target, starts_at, ends_at, flags) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![object, role, target, terms.starts_at, terms.ends_at, flags])?;
        Ok(())
    }

    /// Takes a link away.
    pub(super) fn unlink(&mut self, object: i64, role: LinkRole, target: i64) -> Result<(), Fault> {
        let gone = self.db.prepare_cached("DELETE FROM link WHERE object = ?1 AND role = ?2 AND target = ?3")?.execute([
            object,
            role.number(),
            target,
        ])?;
        if gone > 0 {
            // Whether it is a placeholder at all is looked up at the end.
            self.loosened.insert(target);
        }
        Ok(())
    }

    /// Marks that an object has changed.
    pub(super) fn raise(&mut self, id: i64) -> Result<(), Fault> {
        self.db.prepare_cached("UPDATE object SET version = version + 1, changed_at = ?2 WHERE id = ?1")?.execute([id, self.now])?;
        *self.raised.entry(id).or_default() += 1;
        Ok(())
    }

    /// Marks that an object was seen.
    pub(super) fn see(&self, id: i64) -> Result<(), Fault> {
        self.db
            .prepare_cached(
                "INSERT INTO sighting (directory, object, generation) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET generation = excluded.generation WHERE generation <> excluded.generation",
            )?
            .execute([self.directory, id, self.generation])?;
        Ok(())
    }

    /// Marks that the object of a key was seen, if there is one.
    pub(super) fn see_key(&self, key: &str) -> Result<(), Fault> {
        self.db
            .prepare_cached(
                "UPDATE sighting SET generation = ?3 WHERE directory = ?1 AND generation <> ?3
                 AND object = (SELECT id FROM object WHERE directory = ?1 AND key = ?2)",
            )?
            .execute((self.directory, key, self.generation))?;
        Ok(())
    }

    /// Ends the writing: placeholders that nothing links to are forgotten, counts and bookmark are kept.
    pub(super) fn finish(self, work: &Work<'_>, bookmark: Option<&[u8]>) -> Result<(), Fault> {
        for placeholder in &self.loosened {
            self.db
                .prepare_cached("DELETE FROM placeholder WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM link WHERE target = ?1)")?
                .execute([placeholder])?;
        }
        self.numbers.keep(self.db)?;
        standing::note(work, self.directory, self.more, bookmark)
    }
}
