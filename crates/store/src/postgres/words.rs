//! Texts that repeat in many rows, kept once and named by a small number.
//!
//! A number is fetched, or made, before the transaction that needs it, and committed by itself: two transactions that bring the same new word do not wait for one another, and what a
//! node remembers is there whatever becomes of the transaction. A word that in the end nobody needs harms nobody.

use crate::{
    pack::Mould,
    postgres::{fault::Fault, work::query},
};
use deadpool_postgres::Pool;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Sources and rules come from outside, so the memory of them is bounded.
const REMEMBERED: usize = 4096;

/// The numbers that this process remembers. Rows of these tables never change their number.
#[derive(Debug, Default)]
pub(crate) struct Words {
    texts: Mutex<HashMap<Box<str>, i32>>,
    relays: Mutex<HashMap<Box<str>, i32>>,
    patterns: Mutex<HashMap<[u8; 32], i32>>,
}

/// The numbers of some texts.
#[derive(Debug, Default, Clone)]
pub(crate) struct Numbers(HashMap<Box<str>, i32>);

impl Numbers {
    /// The number of a text that was asked for.
    pub(crate) fn of(&self, text: &str) -> i32 {
        *self.0.get(text).expect("the number was asked for")
    }

    /// The same, if it was asked for and is known.
    pub(crate) fn find(&self, text: &str) -> Option<i32> {
        self.0.get(text).copied()
    }
}

/// One of the tables.
struct Table {
    find: &'static str,
    add: &'static str,
}

const WORD: Table = Table {
    find: "SELECT text, number FROM word WHERE text = ANY($1)",
    add: "INSERT INTO word (text) SELECT unnest($1::text[]) ON CONFLICT (text) DO NOTHING",
};
const RELAY: Table = Table {
    find: "SELECT name, number FROM relay WHERE name = ANY($1)",
    add: "INSERT INTO relay (name) SELECT unnest($1::text[]) ON CONFLICT (name) DO NOTHING",
};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Words {
    /// The numbers of words; those not seen before get one. A connection is taken only if one of them is not remembered, and not by somebody who holds one.
    pub(crate) async fn words<'a>(&self, pool: &Pool, texts: impl IntoIterator<Item = &'a str>) -> Result<Numbers, Fault> {
        numbers(&self.texts, pool, &WORD, texts.into_iter().collect()).await
    }

    /// The numbers of relays.
    pub(crate) async fn relays<'a>(&self, pool: &Pool, names: impl IntoIterator<Item = &'a str>) -> Result<Numbers, Fault> {
        numbers(&self.relays, pool, &RELAY, names.into_iter().collect()).await
    }

    /// The number of a pattern; one not seen before is written down.
    pub(crate) async fn pattern(&self, pool: &Pool, mould: &Mould) -> Result<i32, Fault> {
        let digest = mould.digest();
        if let Some(number) = lock(&self.patterns).get(&digest) {
            return Ok(*number);
        }
        let client = &pool.get().await?;
        let find = "SELECT number FROM pattern WHERE digest = $1";
        let mut found = query(client, find, &[&digest.as_slice()]).await?;
        if found.is_empty() {
            let add = "INSERT INTO pattern (digest, text) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING";
            query(client, add, &[&digest.as_slice(), &mould.text()]).await?;
            found = query(client, find, &[&digest.as_slice()]).await?;
        }
        let number = found.first().ok_or_else(|| crate::error::StoreError::Corrupt("pattern: it was not kept".to_owned()))?.get(0);
        let mut known = lock(&self.patterns);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(digest, number);
        Ok(number)
    }
}

async fn numbers(known: &Mutex<HashMap<Box<str>, i32>>, pool: &Pool, table: &Table, texts: BTreeSet<&str>) -> Result<Numbers, Fault> {
    let mut numbers = Numbers::default();
    let mut missing: Vec<&str> = Vec::new();
    {
        let known = lock(known);
        for text in texts {
            match known.get(text) {
                Some(number) => _ = numbers.0.insert(text.into(), *number),
                None => missing.push(text),
            }
        }
    }
    if missing.is_empty() {
        return Ok(numbers);
    }
    let client = &pool.get().await?;
    let mut found = query(client, table.find, &[&missing]).await?;
    if found.len() < missing.len() {
        // In one order, so that two who add the same words do not wait for each other.
        query(client, table.add, &[&missing]).await?;
        found = query(client, table.find, &[&missing]).await?;
    }
    let mut known = lock(known);
    for row in found {
        let (text, number): (&str, i32) = (row.get(0), row.get(1));
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(text.into(), number);
        numbers.0.insert(text.into(), number);
    }
    for text in missing {
        if numbers.find(text).is_none() {
            return Err(crate::error::StoreError::Corrupt("word: one was not kept".to_owned()).into());
        }
    }
    Ok(numbers)
}
