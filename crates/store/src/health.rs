//! Which addresses are unhealthy, kept in memory so that an acceptance need not ask the database for each of its readers.
//!
//! What is kept only says who need not be asked for: whoever may be unhealthy is looked up. Whoever makes an address unhealthy, or healthy again, counts that on a [slate](crate::Slate) in the same
//! transaction; a node looks at the count once a second while it accepts, and so goes by another node's word a second later at most.

use crate::error::StoreError;
use async_trait::async_trait;
use std::{
    collections::{HashSet, hash_map::RandomState},
    hash::BuildHasher,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

/// The slate on which changes are counted.
pub(crate) const SLATE: &str = "address_health";
/// How long a look at the count holds.
const FRESH: Duration = Duration::from_secs(1);
/// All are read anew after so long, whatever the count says: an older program that serves the same database may not count.
const STALE: Duration = Duration::from_mins(1);
/// With more unhealthy addresses than this nothing is kept, and each is asked for.
pub(crate) const MOST: u32 = 100_000;

/// The database, as far as this is concerned.
#[async_trait]
pub(crate) trait Records: Sync {
    /// How many changes were counted.
    async fn changes(&self) -> Result<i64, StoreError>;
    /// All addresses that may be unhealthy, folded, up to one more than [`MOST`].
    async fn all(&self) -> Result<Vec<String>, StoreError>;
}

/// What is known.
#[derive(Default)]
pub(crate) struct Health {
    known: RwLock<Known>,
    /// Held by whoever looks.
    looking: tokio::sync::Mutex<()>,
    hasher: RandomState,
}

#[derive(Default, Clone)]
struct Known {
    /// Hashes of the addresses; `None`: too many, or not read yet.
    hashes: Option<Arc<HashSet<u64>>>,
    changes: Option<i64>,
    looked_at: Option<Instant>,
    read_at: Option<Instant>,
    /// Counts what this process has changed.
    epoch: u64,
}

impl Known {
    fn is_fresh(&self) -> bool {
        self.looked_at.is_some_and(|at| at.elapsed() < FRESH)
    }
}

impl Health {
    fn known(&self) -> Known {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hash(&self, folded: &str) -> u64 {
        self.hasher.hash_one(folded)
    }

    /// This process may have changed something, or has learned of a change.
    pub(crate) fn changed(&self) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.looked_at = None;
        known.epoch += 1;
    }

    /// Those of these addresses that have to be looked up.
    pub(crate) async fn doubtful(&self, mut folded: Vec<String>, records: &dyn Records) -> Result<Vec<String>, StoreError> {
        let mut known = self.known();
        if !known.is_fresh() {
            let _looking = self.looking.lock().await;
            known = self.known();
            if !known.is_fresh() {
                known = self.look(known, records).await?;
            }
        }
        if let Some(hashes) = &known.hashes {
            folded.retain(|address| hashes.contains(&self.hash(address)));
        }
        Ok(folded)
    }

    async fn look(&self, mut known: Known, records: &dyn Records) -> Result<Known, StoreError> {
        let begun = Instant::now();
        // The count first: what changes while the addresses are read is seen at the next look.
        let changes = records.changes().await?;
        if known.changes != Some(changes) || known.read_at.is_none_or(|at| at.elapsed() > STALE) {
            let all = records.all().await?;
            known.hashes = (all.len() <= MOST as usize).then(|| Arc::new(all.iter().map(|address| self.hash(address)).collect()));
            known.changes = Some(changes);
            known.read_at = Some(begun);
        }
        known.looked_at = Some(begun);
        let mut kept = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if kept.epoch != known.epoch {
            known.epoch = kept.epoch;
            known.looked_at = None;
        }
        kept.clone_from(&known);
        Ok(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Book {
        changes: Mutex<i64>,
        all: Mutex<Vec<String>>,
        asked: Mutex<(u32, u32)>,
    }

    #[async_trait]
    impl Records for Book {
        async fn changes(&self) -> Result<i64, StoreError> {
            self.asked.lock().unwrap().0 += 1;
            Ok(*self.changes.lock().unwrap())
        }

        async fn all(&self) -> Result<Vec<String>, StoreError> {
            self.asked.lock().unwrap().1 += 1;
            Ok(self.all.lock().unwrap().clone())
        }
    }

    async fn doubtful(health: &Health, book: &Book, addresses: &[&str]) -> Vec<String> {
        health.doubtful(addresses.iter().map(ToString::to_string).collect(), book).await.unwrap()
    }

    fn age(health: &Health) {
        health.known.write().unwrap().looked_at = Instant::now().checked_sub(FRESH);
    }

    /// However long the machine stood still since.
    fn renew(health: &Health) {
        health.known.write().unwrap().looked_at = Some(Instant::now() + FRESH * 3600);
    }

    #[tokio::test]
    async fn who_is_known_to_be_healthy_is_not_asked_for() {
        let (health, book) = (Health::default(), Book::default());
        *book.all.lock().unwrap() = vec!["ada@example.org".to_owned()];
        assert_eq!(doubtful(&health, &book, &["ada@example.org", "grace@example.org"]).await, ["ada@example.org"]);
        renew(&health);
        assert!(doubtful(&health, &book, &["grace@example.org"]).await.is_empty());
        assert_eq!(*book.asked.lock().unwrap(), (1, 1), "one look holds for a while");
        age(&health);
        doubtful(&health, &book, &["grace@example.org"]).await;
        assert_eq!(*book.asked.lock().unwrap(), (2, 1), "nothing was counted, so nothing is read");
    }

    #[tokio::test]
    async fn what_another_node_has_counted_and_what_this_one_has_changed_is_read() {
        let (health, book) = (Health::default(), Book::default());
        assert!(doubtful(&health, &book, &["ada@example.org"]).await.is_empty());
        *book.all.lock().unwrap() = vec!["ada@example.org".to_owned()];
        *book.changes.lock().unwrap() = 1;
        renew(&health);
        assert!(doubtful(&health, &book, &["ada@example.org"]).await.is_empty(), "not looked at yet");
        age(&health);
        assert_eq!(doubtful(&health, &book, &["ada@example.org"]).await, ["ada@example.org"]);
        book.all.lock().unwrap().clear();
        *book.changes.lock().unwrap() = 2;
        health.changed();
        assert!(doubtful(&health, &book, &["ada@example.org"]).await.is_empty(), "our own change counts at once");
    }

    #[tokio::test]
    async fn too_many_are_all_asked_for() {
        let (health, book) = (Health::default(), Book::default());
        *book.all.lock().unwrap() = (0..=MOST).map(|n| format!("u{n}@example.org")).collect();
        assert_eq!(doubtful(&health, &book, &["grace@example.org"]).await, ["grace@example.org"]);
    }
}
