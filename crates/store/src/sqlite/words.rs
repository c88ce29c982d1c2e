//! Texts that repeat in many rows, kept once and named by a small number.

use crate::{pack::Mould, sqlite::fault::Fault};
use rusqlite::{Connection, OptionalExtension};
use std::collections::HashMap;

/// Sources and rules come from outside, so the memory of them is bounded.
const REMEMBERED: usize = 4096;

/// The numbers that the writer remembers. Rows of these tables never change their number, so that other processes may add to them at any time.
#[derive(Debug, Default)]
pub(crate) struct Words {
    texts: HashMap<Box<str>, i64>,
    relays: HashMap<Box<str>, i64>,
    patterns: HashMap<[u8; 32], i64>,
}

impl Words {
    /// The number of a word; a word not seen before gets one.
    pub(crate) fn word(&mut self, db: &Connection, text: &str) -> Result<i64, Fault> {
        number(&mut self.texts, db, text, "SELECT number FROM word WHERE text = ?1", "INSERT INTO word (text) VALUES (?1) RETURNING number")
    }

    /// The number of a relay.
    pub(crate) fn relay(&mut self, db: &Connection, name: &str) -> Result<i64, Fault> {
        number(
            &mut self.relays,
            db,
            name,
            "SELECT number FROM relay WHERE name = ?1",
            "INSERT INTO relay (name) VALUES (?1) RETURNING number",
        )
    }

    /// The number of a pattern; one not seen before is written down.
    pub(crate) fn pattern(&mut self, db: &Connection, mould: &Mould) -> Result<i64, Fault> {
        let digest = mould.digest();
        if let Some(number) = self.patterns.get(&digest) {
            return Ok(*number);
        }
        let found = db.prepare_cached("SELECT number FROM pattern WHERE digest = ?1")?.query_row([digest], |row| row.get(0)).optional()?;
        let number = match found {
            Some(number) => number,
            None => db
                .prepare_cached("INSERT INTO pattern (digest, text) VALUES (?1, ?2) RETURNING number")?
                .query_row((digest, mould.text()), |row| row.get(0))?,
        };
        if self.patterns.len() >= REMEMBERED {
            self.patterns.clear();
        }
        self.patterns.insert(digest, number);
        Ok(number)
    }

    /// Forgets everything: after a rollback some numbers may not be there.
    pub(crate) fn forget(&mut self) {
        self.texts.clear();
        self.relays.clear();
        self.patterns.clear();
    }
}

fn number(known: &mut HashMap<Box<str>, i64>, db: &Connection, text: &str, find: &str, add: &str) -> Result<i64, Fault> {
    if let Some(number) = known.get(text) {
        return Ok(*number);
    }
    let found = db.prepare_cached(find)?.query_row([text], |row| row.get(0)).optional()?;
    let number = match found {
        Some(number) => number,
        None => db.prepare_cached(add)?.query_row([text], |row| row.get(0))?,
    };
    if known.len() >= REMEMBERED {
        known.clear();
    }
    known.insert(text.into(), number);
    Ok(number)
}
