//! Who is at work: the benches of all relays, to be roused when something concerns them all.

use crate::bench::Bench;
use std::sync::{Arc, PoisonError, RwLock, Weak};

/// The benches by relay. Holds none of them alive.
#[derive(Default)]
pub(crate) struct Roster(RwLock<Vec<(Arc<str>, Weak<Bench>)>>);

impl Roster {
    /// Enters a relay's bench; of one that is entered already both stay until the earlier one is gone.
    pub(crate) fn enter(&self, relay: Arc<str>, bench: &Arc<Bench>) {
        let mut benches = self.0.write().unwrap_or_else(PoisonError::into_inner);
        benches.retain(|(_, bench)| bench.strong_count() > 0);
        benches.push((relay, Arc::downgrade(bench)));
    }

    /// Has every desk look again.
    pub(crate) fn rouse(&self) {
        self.rouse_where(|_| true);
    }

    /// Has the desk of one relay look again.
    pub(crate) fn rouse_relay(&self, relay: &str) {
        self.rouse_where(|name| name == relay);
    }

    fn rouse_where(&self, fits: impl Fn(&str) -> bool) {
        let benches = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for bench in benches.iter().filter(|(name, _)| fits(name)).filter_map(|(_, bench)| bench.upgrade()) {
            bench.rouse();
        }
    }
}
