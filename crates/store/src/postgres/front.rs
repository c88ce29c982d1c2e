//! Where due work begins. What has been claimed and settled leaves dead entries at the front of the index of due work until they are vacuumed, and as long as somebody holds an old snapshot
//! they cannot be; a claim that begins at the far end of them walks over all. So each node remembers from which due time on its last claim has found anything, and begins there.
//!
//! A hint that is never relied on: what becomes due before that place by this node takes the mark back, and what other nodes do there is found by a claim that begins at the very front, which comes
//! every few seconds, more rarely the longer it takes.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tidings_core::Lane;

/// A claim begins at the front again after so long at the earliest …
const AFTER: Duration = Duration::from_secs(5);
/// … or after so many times what it took, so that it takes a twentieth of the time at most.
const TIMES: u32 = 20;

/// The marks of one node.
#[derive(Debug, Default)]
pub(crate) struct Front(Mutex<HashMap<String, [Mark; Lane::ALL.len()]>>);

/// From where a claim begins in a lane.
#[derive(Debug, Clone, Copy)]
struct Mark {
    /// Nothing was due before this moment, in milliseconds, when it was last looked.
    from: i64,
    /// When to begin at the front again.
    front_at: Option<Instant>,
}

/// Of a lane that was not looked at yet.
const NOWHERE: Mark = Mark { from: i64::MIN, front_at: None };

impl Front {
    fn marks(&self) -> MutexGuard<'_, HashMap<String, [Mark; Lane::ALL.len()]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From where a claim of these lanes of a relay begins, in their order.
    pub(crate) fn floors(&self, relay: &str, lanes: &[Lane]) -> Vec<i64> {
        let (marks, now) = (self.marks(), Instant::now());
        let floor = |lane: &Lane| {
            let mark = marks.get(relay).map_or(NOWHERE, |marks| marks[*lane as usize]);
            if mark.front_at.is_some_and(|at| now < at) { mark.from } else { i64::MIN }
        };
        lanes.iter().map(floor).collect()
    }

    /// What a claim that began at `floor` has found first in a lane, and how long it took.
    pub(crate) fn found(&self, relay: &str, lane: Lane, floor: i64, first_due: i64, took: Duration) {
        let mut marks = self.marks();
        if !marks.contains_key(relay) {
            marks.insert(relay.to_owned(), [NOWHERE; Lane::ALL.len()]);
        }
        let mark = &mut marks.get_mut(relay).expect("it was put there")[lane as usize];
        // A mark that was taken back meanwhile stays where it is.
        if floor == i64::MIN {
            mark.front_at = Some(Instant::now() + AFTER.max(took * TIMES));
            mark.from = first_due;
        } else if mark.from == floor {
            mark.from = first_due;
        }
    }

    /// Something becomes due at this moment by this node, in whatever lane.
    pub(crate) fn due(&self, due_at: i64) {
        for mark in self.marks().values_mut().flatten() {
            mark.from = mark.from.min(due_at);
        }
    }

    /// Anything may have become due.
    pub(crate) fn anything(&self) {
        self.marks().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANES: [Lane; 2] = [Lane::Codes, Lane::Notices];

    #[test]
    fn a_claim_begins_where_the_last_one_found_something() {
        let front = Front::default();
        assert_eq!(front.floors("main", &LANES), [i64::MIN; 2]);
        front.found("main", Lane::Notices, i64::MIN, 500, Duration::ZERO);
        assert_eq!(front.floors("main", &LANES), [i64::MIN, 500]);
        assert_eq!(front.floors("backup", &LANES), [i64::MIN; 2], "each relay has marks of its own");
        front.found("main", Lane::Notices, 500, 700, Duration::ZERO);
        assert_eq!(front.floors("main", &LANES), [i64::MIN, 700]);
    }

    #[test]
    fn what_becomes_due_before_the_mark_takes_it_back() {
        let front = Front::default();
        front.found("main", Lane::Notices, i64::MIN, 500, Duration::ZERO);
        front.due(600);
        assert_eq!(front.floors("main", &LANES), [i64::MIN, 500]);
        front.due(300);
        // A claim that began before that does not undo it.
        front.found("main", Lane::Notices, 500, 800, Duration::ZERO);
        assert_eq!(front.floors("main", &LANES), [i64::MIN, 300]);
        front.anything();
        assert_eq!(front.floors("main", &LANES), [i64::MIN; 2]);
    }

    #[test]
    fn the_front_is_looked_at_again() {
        let front = Front::default();
        front.found("main", Lane::Notices, i64::MIN, 500, Duration::ZERO);
        let mut marks = front.marks();
        marks.get_mut("main").unwrap()[Lane::Notices as usize].front_at = Some(Instant::now());
        drop(marks);
        assert_eq!(front.floors("main", &LANES), [i64::MIN; 2]);
    }
}
