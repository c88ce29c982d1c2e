//! Where due work begins. What has been claimed and settled leaves dead entries at the front of the index of due work until they are vacuumed, and as long as somebody holds an old snapshot
//! they cannot be; a claim that begins at the far end of them walks over all. So each node remembers from which due time on its last claim has found anything, and begins there.
//!
//! A hint that is never relied on: what becomes due before that place by this node takes the mark back, what other nodes do there takes it back when they ring the [`bell`](super::bell), and what
//! nobody has told of is found by the [`scout`](super::scout), which looks behind the marks from time to time while claims go on.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tidings_core::Lane;

/// The marks of one node.
#[derive(Debug, Default)]
pub(crate) struct Front(Mutex<Marks>);

#[derive(Debug, Default)]
struct Marks {
    /// By relay and lane: nothing was due before this moment, in milliseconds, when it was last looked.
    from: HashMap<String, [i64; Lane::ALL.len()]>,
    /// Who looks beyond the marks at this moment, and the earliest moment at which something has become due since it began, which it may not see.
    looks: Vec<(u64, i64)>,
    /// Looks so far.
    begun: u64,
}

impl Marks {
    fn begin(&mut self) -> u64 {
        self.begun += 1;
        self.looks.push((self.begun, i64::MAX));
        self.begun
    }
}

/// Somebody who looks at lanes of relays, and where their marks were when it began.
pub(crate) struct Look<'f> {
    front: &'f Front,
    number: u64,
    /// Relay, lane and mark.
    pub(crate) places: Vec<(String, Lane, i64)>,
}

impl Front {
    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to look at these lanes of a relay. To be called before the database is asked.
    pub(crate) fn look(&self, relay: &str, lanes: &[Lane]) -> Look<'_> {
        let mut marks = self.marks();
        if !marks.from.contains_key(relay) {
            marks.from.insert(relay.to_owned(), [i64::MIN; Lane::ALL.len()]);
        }
        let from = marks.from[relay];
        let places = lanes.iter().map(|lane| (relay.to_owned(), *lane, from[*lane as usize])).collect();
        Look { front: self, number: marks.begin(), places }
    }

    /// Begins to look at every lane that somebody has claimed from.
    pub(crate) fn look_at_all(&self) -> Look<'_> {
        let mut marks = self.marks();
        let of_relay = |(relay, from): (&String, &[i64; Lane::ALL.len()])| Lane::ALL.map(|lane| (relay.clone(), lane, from[lane as usize]));
        let places = marks.from.iter().flat_map(of_relay).collect();
        Look { front: self, number: marks.begin(), places }
    }

    /// Something becomes due at this moment, in whatever lane. To be called once it is committed.
    pub(crate) fn due(&self, due_at: i64) {
        let mut marks = self.marks();
        for from in marks.from.values_mut().flatten() {
            *from = due_at.min(*from);
        }
        for (_, unseen) in &mut marks.looks {
            *unseen = due_at.min(*unseen);
        }
    }
}

impl Look<'_> {
    /// Where the mark of a lane was.
    pub(crate) fn mark(&self, relay: &str, lane: Lane) -> Option<i64> {
        self.places.iter().find(|place| place.0 == relay && place.1 == lane).map(|place| place.2)
    }

    /// Nothing is due before this moment in a lane, as far as was seen. The mark goes on to there, unless it was moved meanwhile, or back if this lies behind it.
    pub(crate) fn nothing_before(&self, relay: &str, lane: Lane, due_at: i64) {
        let Some(mark) = self.mark(relay, lane) else { return };
        let mut marks = self.front.marks();
        let unseen = marks.looks.iter().find(|look| look.0 == self.number).map_or(i64::MIN, |look| look.1);
        let Some(from) = marks.from.get_mut(relay).map(|from| &mut from[lane as usize]) else { return };
        if due_at < mark {
            *from = due_at.min(*from);
        } else if *from == mark {
            *from = due_at.min(unseen);
        }
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        self.front.marks().looks.retain(|look| look.0 != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANES: [Lane; 2] = [Lane::Codes, Lane::Notices];

    fn floors(front: &Front, relay: &str) -> Vec<i64> {
        front.look(relay, &LANES).places.iter().map(|place| place.2).collect()
    }

    /// A claim that finds something in the second lane.
    fn found(front: &Front, first_due: i64) {
        front.look("main", &LANES).nothing_before("main", Lane::Notices, first_due);
    }

    #[test]
    fn a_claim_begins_where_the_last_one_found_something() {
        let front = Front::default();
        assert_eq!(floors(&front, "main"), [i64::MIN; 2]);
        found(&front, 500);
        assert_eq!(floors(&front, "main"), [i64::MIN, 500]);
        assert_eq!(floors(&front, "backup"), [i64::MIN; 2], "each relay has marks of its own");
        found(&front, 700);
        assert_eq!(floors(&front, "main"), [i64::MIN, 700]);
    }

    #[test]
    fn what_becomes_due_before_the_mark_takes_it_back() {
        let front = Front::default();
        found(&front, 500);
        front.due(600);
        assert_eq!(floors(&front, "main"), [i64::MIN, 500]);
        let earlier = front.look("main", &LANES);
        front.due(300);
        // A claim that began before that does not undo it.
        earlier.nothing_before("main", Lane::Notices, 800);
        assert_eq!(floors(&front, "main"), [i64::MIN, 300]);
        front.due(i64::MIN);
        assert_eq!(floors(&front, "main"), [i64::MIN; 2]);
    }

    #[test]
    fn what_becomes_due_behind_the_mark_while_a_claim_looks_is_not_passed_over() {
        let front = Front::default();
        found(&front, 500);
        let look = front.look("main", &LANES);
        // Accepted at 600 and committed only now, so that the claim, which finds what is due at 800, has not seen it.
        front.due(600);
        look.nothing_before("main", Lane::Notices, 800);
        drop(look);
        assert_eq!(floors(&front, "main"), [i64::MIN, 600]);
        // The next one sees it, and what comes after that.
        found(&front, 900);
        assert_eq!(floors(&front, "main"), [i64::MIN, 900]);
        // Nor by a claim that began at the very front.
        let fresh = Front::default();
        let look = fresh.look("main", &LANES);
        fresh.due(600);
        look.nothing_before("main", Lane::Notices, 800);
        drop(look);
        assert_eq!(floors(&fresh, "main"), [i64::MIN, 600]);
    }

    #[test]
    fn a_look_that_takes_long_keeps_no_mark_back() {
        let front = Front::default();
        found(&front, 500);
        let long = front.look_at_all();
        for due_at in [600, 700, 800] {
            front.due(due_at);
            found(&front, due_at);
        }
        assert_eq!(floors(&front, "main"), [i64::MIN, 800], "claims that began later have seen it");
        long.nothing_before("main", Lane::Notices, 550);
        long.nothing_before("main", Lane::Codes, 550);
        assert_eq!(floors(&front, "main"), [550, 800]);
        // What lies behind the mark takes back that of its own lane.
        long.nothing_before("main", Lane::Notices, 450);
        assert_eq!(floors(&front, "main"), [550, 450]);
        found(&front, 800);
        drop(long);
        // One that began before something became due has not seen it, however many others have begun since.
        let (early, late) = (front.look("main", &LANES), front.look("main", &LANES));
        front.due(850);
        drop(late);
        early.nothing_before("main", Lane::Notices, 900);
        drop(early);
        assert_eq!(floors(&front, "main"), [550, 850]);
        let look = front.look("main", &LANES);
        front.due(i64::MIN);
        look.nothing_before("main", Lane::Notices, 950);
        drop(look);
        assert_eq!(floors(&front, "main"), [i64::MIN; 2], "anything may lie anywhere");
        assert!(front.marks().looks.is_empty());
    }

    #[test]
    fn a_look_at_all_sees_every_lane_of_every_relay_that_was_claimed_from() {
        let front = Front::default();
        assert_eq!(front.look_at_all().places, []);
        found(&front, 500);
        drop(front.look("backup", &LANES));
        let all = front.look_at_all();
        assert_eq!(all.places.len(), 2 * Lane::ALL.len());
        front.due(400);
        for (relay, lane, _) in all.places.clone() {
            all.nothing_before(&relay, lane, 700);
        }
        drop(all);
        assert_eq!(floors(&front, "main"), [400; 2], "what has become due meanwhile was not seen");
        assert_eq!(floors(&front, "backup"), [400; 2]);
    }
}
