//! What a verb works with inside the writer's transaction, and the small steps that several verbs share.

use crate::{
    error::StoreError,
    pack::{Mould, Patterns},
    seal::SealKey,
    sqlite::{fault::Fault, spans::Spans, words::Words},
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use tidings_core::{Timestamp, lane::LaneSet, outbox::State};

/// The reader may get it twice.
pub(crate) const MAYBE_DUPLICATE: i64 = 1;
/// The item's letter is sensitive.
pub(crate) const SENSITIVE: i64 = 2;
/// The item's event has secrets.
pub(crate) const HAS_SECRET: i64 = 4;

/// The writer's transaction as a verb sees it.
pub(crate) struct Work<'a> {
    pub(crate) db: &'a Connection,
    pub(crate) words: &'a mut Words,
    pub(crate) spans: &'a mut Spans,
    pub(crate) patterns: &'a Patterns,
    pub(crate) key: &'a SealKey,
    pub(crate) now: Timestamp,
    /// The lanes in which something may be due after this verb.
    pub(crate) arrived: LaneSet,
}

/// A line of history to be written.
pub(crate) struct Line<'a> {
    pub(crate) item: i64,
    pub(crate) at: i64,
    pub(crate) what: &'a str,
    pub(crate) who: Option<&'a str>,
    pub(crate) detail: Option<&'a str>,
}

impl Work<'_> {
    /// The present moment as the database keeps it.
    pub(crate) fn now_ms(&self) -> i64 {
        self.now.as_millisecond()
    }

    pub(crate) fn word(&mut self, text: &str) -> Result<i64, Fault> {
        self.words.word(self.db, text)
    }

    pub(crate) fn pattern(&mut self, mould: &Mould) -> Result<i64, Fault> {
        self.words.pattern(self.db, mould)
    }

    pub(crate) fn relay(&mut self, name: &str) -> Result<i64, Fault> {
        self.words.relay(self.db, name)
    }

    /// The span of the next item.
    pub(crate) fn span(&mut self) -> Result<i64, Fault> {
        self.spans.next(self.db)
    }

    /// Adds a line to an item's history.
    pub(crate) fn note(&self, line: &Line<'_>) -> Result<(), Fault> {
        self.note_attempt(line, None)
    }

    /// Adds the line of an attempt, and when the next one is due if there is to be one.
    pub(crate) fn note_attempt(&self, line: &Line<'_>, next_at: Option<i64>) -> Result<(), Fault> {
        self.db
            .prepare_cached(
                "INSERT INTO history (item, line, at, what, who, detail, next_at)
                 VALUES (?1, 1 + coalesce((SELECT max(line) FROM history WHERE item = ?1), 0), ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![line.item, line.at, line.what, line.who, line.detail, next_at])?;
        Ok(())
    }

    /// Erases what was only kept for items that are all final now: the bytes of a sensitive letter, the secret fields of an event.
    pub(crate) fn erase(&self, event: i64, letter: i64, flags: i64) -> Result<(), Fault> {
        if flags & SENSITIVE != 0 {
            self.db
                .prepare_cached(
                    "UPDATE letter SET bytes = NULL WHERE id = ?2
                     AND NOT EXISTS (SELECT 1 FROM item WHERE event = ?1 AND letter = ?2 AND open_until IS NOT NULL)",
                )?
                .execute([event, letter])?;
        }
        if flags & HAS_SECRET != 0 {
            self.db
                .prepare_cached(
                    "DELETE FROM event_secret WHERE event = ?1
                     AND NOT EXISTS (SELECT 1 FROM item WHERE event = ?1 AND open_until IS NOT NULL)",
                )?
                .execute([event])?;
        }
        Ok(())
    }

    /// Holds an item and says why in its history.
    pub(crate) fn withhold(&self, item: i64, why: &str) -> Result<(), Fault> {
        self.stand(item, State::Held)?;
        self.note(&Line { item, at: self.now_ms(), what: "withheld", who: None, detail: Some(why) })
    }

    /// Moves an item that is not leased to another state; a final state ends its life in the index of life times.
    pub(crate) fn stand(&self, item: i64, state: State) -> Result<(), Fault> {
        let sql = if state.is_final() {
            "UPDATE item SET state = ?2, node = NULL, open_until = NULL WHERE id = ?1"
        } else {
            "UPDATE item SET state = ?2, node = NULL, open_until = expires_at WHERE id = ?1"
        };
        self.db.prepare_cached(sql)?.execute([item, state.number()])?;
        Ok(())
    }
}

/// A number as the database keeps it.
pub(crate) fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that is never below zero.
pub(crate) fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|number| number.max(0).cast_unsigned())
}

/// The text of a pattern.
pub(crate) fn pattern_text(db: &Connection, number: i64) -> Result<Vec<u8>, Fault> {
    let text = db.prepare_cached("SELECT text FROM pattern WHERE number = ?1")?.query_row([number], |row| row.get(0)).optional()?;
    text.ok_or_else(|| StoreError::Corrupt(format!("pattern {number} is not there")).into())
}

/// The hash of a folded recipient that the index holds: 32 bits of FNV-1a, small on purpose. The whole text is compared as well, so a collision costs a row read
/// and never gives a stranger's item.
pub(crate) fn recipient_hash(folded: &str) -> i64 {
    let hash = folded.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    i64::from(hash.cast_signed())
}
