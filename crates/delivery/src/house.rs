//! What all desks share: the way to the settler, and whether outcomes can be written at all.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tidings_core::{Lane, lane::LaneSet};

/// Outcomes that may wait to be written before no more letters are taken. A crash sends what waits here again, so it is small; one group of outcomes a flush
/// is enough to keep a slow disk from being the limit.
const MOST_UNSETTLED: usize = 256;
/// So many more may wait if they are urgent, so that an urgent letter does not wait for a flush that others have filled.
const URGENT_MORE: usize = 32;
/// The lanes that are urgent in this sense.
pub(crate) const URGENT: LaneSet = LaneSet::down_to(Lane::Requests);

/// Whether letters may be taken, seen from the database's side.
#[derive(Debug, Default)]
pub(crate) struct House {
    suspended: AtomicBool,
    unsettled: AtomicUsize,
}

impl House {
    /// The lanes of which letters may be taken: their outcomes could be written.
    pub(crate) fn open_lanes(&self) -> LaneSet {
        match self.unsettled() {
            _ if self.is_suspended() => LaneSet::NONE,
            waiting if waiting < MOST_UNSETTLED => LaneSet::ALL,
            waiting if waiting < MOST_UNSETTLED + URGENT_MORE => URGENT,
            _ => LaneSet::NONE,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgent_letters_find_room_when_the_others_have_filled_it() {
        let house = House::default();
        assert_eq!(house.open_lanes(), LaneSet::ALL);
        (0..MOST_UNSETTLED).for_each(|_| house.outcome_known());
        assert_eq!(house.open_lanes(), URGENT);
        (0..URGENT_MORE).for_each(|_| house.outcome_known());
        assert!(house.open_lanes().is_empty());
        assert!(House::was_full(house.outcomes_written(MOST_UNSETTLED + URGENT_MORE)));
        house.suspend(true);
        assert!(house.open_lanes().is_empty());
    }
}
