//! The small memory in front of the token keeper: good tokens only, a few seconds each, never more than a fixed number.
//!
//! Unknown tokens are not remembered: a token made a moment ago must work at once, and guesses must not push good entries out.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::token::{Grant, TokenDigest};

pub(crate) struct GrantCache {
    entries: RwLock<HashMap<TokenDigest, Entry>>,
    capacity: usize,
    keep: Duration,
}

struct Entry {
    grant: Arc<Grant>,
    until: Instant,
}

impl GrantCache {
    pub(crate) fn new(capacity: usize, keep: Duration) -> Self {
        Self { entries: RwLock::new(HashMap::with_capacity(capacity.min(1024))), capacity, keep }
    }

    /// The grant, if it was learned less than the configured time before `now`.
    pub(crate) fn recall(&self, digest: &TokenDigest, now: Instant) -> Option<Arc<Grant>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.get(digest).filter(|entry| now < entry.until).map(|entry| Arc::clone(&entry.grant))
    }

    /// Remembers a grant. When full, what has lapsed goes first, then the entry that would lapse next.
    pub(crate) fn learn(&self, digest: TokenDigest, grant: Arc<Grant>, now: Instant) {
        if self.capacity == 0 {
            return;
        }
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.capacity && !entries.contains_key(&digest) {
            entries.retain(|_, entry| now < entry.until);
            if entries.len() >= self.capacity {
                let oldest = entries.iter().min_by_key(|(_, entry)| entry.until).map(|(digest, _)| *digest);
                oldest.and_then(|digest| entries.remove(&digest));
            }
        }
        entries.insert(digest, Entry { grant, until: now + self.keep });
    }

    pub(crate) fn forget(&self, digest: &TokenDigest) {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.read().unwrap().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{Scope, ScopeSet};

    fn a_grant(name: &str) -> Arc<Grant> {
        Arc::new(Grant { name: name.into(), scopes: ScopeSet::from_iter([Scope::Admin]), expires: None })
    }

    fn digest(n: u32) -> TokenDigest {
        TokenDigest::of(&n.to_string())
    }

    #[test]
    fn a_grant_is_remembered_for_its_time_and_no_longer() {
        let cache = GrantCache::new(10, Duration::from_secs(5));
        let start = Instant::now();
        cache.learn(digest(1), a_grant("ci"), start);
        assert_eq!(cache.recall(&digest(1), start + Duration::from_millis(4999)).unwrap().name, "ci");
        assert!(cache.recall(&digest(1), start + Duration::from_secs(5)).is_none());
        assert!(cache.recall(&digest(2), start).is_none());
    }

    #[test]
    fn the_cache_never_outgrows_its_capacity_and_drops_the_oldest() {
        let cache = GrantCache::new(100, Duration::from_secs(5));
        let start = Instant::now();
        for n in 0..10_000_u32 {
            cache.learn(digest(n), a_grant("x"), start + Duration::from_micros(u64::from(n)));
            assert!(cache.len() <= 100);
        }
        let now = start + Duration::from_millis(10);
        assert!((9_900..10_000).all(|n| cache.recall(&digest(n), now).is_some()));
        assert!(cache.recall(&digest(9_899), now).is_none());
    }

    #[test]
    fn what_is_forgotten_is_asked_again() {
        let cache = GrantCache::new(4, Duration::from_secs(5));
        let now = Instant::now();
        cache.learn(digest(1), a_grant("ci"), now);
        cache.forget(&digest(1));
        assert!(cache.recall(&digest(1), now).is_none());
    }
}
