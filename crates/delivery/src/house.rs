//! What all desks share: the way to the settler, and whether outcomes can be written at all.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Outcomes that may wait to be written before no more letters are taken. A crash sends what waits here again, so it is small; one group of outcomes a flush
/// is enough to keep a slow disk from being the limit.
const MOST_UNSETTLED: usize = 256;

/// Whether letters may be taken, seen from the database's side.
#[derive(Debug, Default)]
pub(crate) struct House {
    suspended: AtomicBool,
    unsettled: AtomicUsize,
}

impl House {
    /// Whether a letter may be taken: its outcome could be written.
    pub(crate) fn may_send(&self) -> bool {
        !self.is_suspended() && self.unsettled() < MOST_UNSETTLED
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::Acquire)
    }

    /// Sets or lifts the suspension; says whether that was a change.
    pub(crate) fn suspend(&self, suspended: bool) -> bool {
        self.suspended.swap(suspended, Ordering::AcqRel) != suspended
    }

    pub(crate) fn unsettled(&self) -> usize {
        self.unsettled.load(Ordering::Acquire)
    }

    pub(crate) fn outcome_known(&self) {
        self.unsettled.fetch_add(1, Ordering::AcqRel);
    }

    /// Gives back how many were waiting before.
    pub(crate) fn outcomes_written(&self, count: usize) -> usize {
        self.unsettled.fetch_sub(count, Ordering::AcqRel)
    }

    /// Whether letters were refused for want of room, given what waited before a write.
    pub(crate) fn was_full(before: usize) -> bool {
        before >= MOST_UNSETTLED
    }
}
