//! What all desks share: the way to the settler, and whether outcomes can be written at all.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tidings_core::{Id, Lane, lane::LaneSet, outbox::Settlement};
use tidings_store::Tenure;
use tokio::time::Instant;

/// Outcomes that may wait to be written before no more letters are taken. A crash sends what waits here again, so it is small; one group of outcomes a flush
/// is enough to keep a slow disk from being the limit.
const MOST_UNSETTLED: usize = 256;
/// So many more may wait if they are urgent, so that an urgent letter does not wait for a flush that others have filled.
const URGENT_MORE: usize = 32;
/// The lanes that are urgent in this sense.
pub(crate) const URGENT: LaneSet = LaneSet::down_to(Lane::Requests);

/// An outcome that could not be written because its lease had ended is remembered for so long: if the clock has ended it, the item is leased again at once.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Whether letters may be taken, seen from the database's side; and the outcomes that are not written yet.
#[derive(Debug)]
pub(crate) struct House {
    /// Whether what was leased is still this node's.
    pub(crate) tenure: Arc<Tenure>,
    suspended: AtomicBool,
    unsettled: AtomicUsize,
    unwritten: Mutex<HashMap<Id, Unwritten>>,
}

/// An outcome on its way into the database.
#[derive(Debug)]
struct Unwritten {
    settlement: Settlement,
    /// When it was found that its lease had ended.
    stale_since: Option<Instant>,
}

impl House {
    pub(crate) fn of(tenure: Arc<Tenure>) -> Self {
        Self { tenure, suspended: AtomicBool::default(), unsettled: AtomicUsize::default(), unwritten: Mutex::default() }
    }

    /// The lanes of which letters may be taken: their leases hold, and their outcomes could be written.
    pub(crate) fn open_lanes(&self) -> LaneSet {
        match self.unsettled() {
            _ if self.is_suspended() || !self.tenure.holds() => LaneSet::NONE,
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

    pub(crate) fn outcome_known(&self, settlement: &Settlement) {
        self.unwritten().insert(settlement.id, Unwritten { settlement: settlement.clone(), stale_since: None });
        self.unsettled.fetch_add(1, Ordering::AcqRel);
    }

    /// Notes what became of outcomes: written, or (`true`) stale. Gives back how many were waiting before.
    pub(crate) fn outcomes_written<'s>(&self, outcomes: impl ExactSizeIterator<Item = (&'s Settlement, bool)>) -> usize {
        let count = outcomes.len();
        {
            let mut unwritten = self.unwritten();
            let mut any_stale = false;
            for (settlement, stale) in outcomes {
                let Some(known) = unwritten.get_mut(&settlement.id).filter(|known| known.settlement.token == settlement.token) else {
                    continue;
                };
                if stale {
                    known.stale_since = Some(Instant::now());
                    any_stale = true;
                } else {
                    unwritten.remove(&settlement.id);
                }
            }
            if any_stale {
                unwritten.retain(|_, known| known.stale_since.is_none_or(|since| since.elapsed() < REMEMBERED));
            }
        }
        self.unsettled.fetch_sub(count, Ordering::AcqRel)
    }

    /// The outcome of an item that is leased anew although this house has tried it under an earlier lease and could not write down yet what came of it: only the clock can have ended
    /// that lease. To be written under the new token.
    pub(crate) fn outcome_of(&self, item: Id, token: i64) -> Option<Settlement> {
        let unwritten = self.unwritten();
        let known = unwritten.get(&item).filter(|known| known.settlement.token < token)?;
        let fresh = known.stale_since.is_none_or(|since| since.elapsed() < REMEMBERED);
        fresh.then(|| Settlement { token, ..known.settlement.clone() })
    }

    fn unwritten(&self) -> MutexGuard<'_, HashMap<Id, Unwritten>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether letters were refused for want of room, given what waited before a write.
    pub(crate) fn was_full(before: usize) -> bool {
        before >= MOST_UNSETTLED
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_core::{Timestamp, outbox::State};

    fn sent(number: usize, token: i64) -> Settlement {
        Settlement {
            id: Id::from_number(i64::try_from(number).unwrap()),
            token,
            state: State::Sent,
            due_at: Timestamp::UNIX_EPOCH,
            attempts: 1,
            maybe_duplicate: false,
            at: Timestamp::UNIX_EPOCH,
            what: "sent",
            reply: "250 kept".to_owned(),
            relay: None,
        }
    }

    #[test]
    fn an_outcome_outlives_the_lease_that_the_clock_has_ended() {
        let house = House::of(Tenure::alone("node"));
        let (one, item) = (sent(7, 1), Id::from_number(7));
        house.outcome_known(&one);
        assert_eq!(house.outcome_of(item, 1), None, "it is the lease itself");
        assert_eq!(
            house.outcome_of(item, 2).map(|again| (again.token, again.what)),
            Some((2, "sent")),
            "leased anew before it was written"
        );
        // The writing finds the lease ended, and then the item is leased anew.
        house.outcomes_written([(&one, true)].into_iter());
        let again = house.outcome_of(item, 2).unwrap();
        house.outcome_known(&again);
        house.outcomes_written([(&again, false)].into_iter());
        assert_eq!((house.outcome_of(item, 3), house.unsettled()), (None, 0), "an item that comes again after that is a new attempt");
        // Not for ever: an item that another node had meanwhile may have to be sent.
        house.outcome_known(&one);
        house.outcomes_written([(&one, true)].into_iter());
        house.unwritten().get_mut(&item).unwrap().stale_since = Instant::now().checked_sub(REMEMBERED);
        assert_eq!(house.outcome_of(item, 2), None);
    }

    #[test]
    fn urgent_letters_find_room_when_the_others_have_filled_it() {
        let house = House::of(Tenure::alone("node"));
        let all: Vec<Settlement> = (0..MOST_UNSETTLED + URGENT_MORE).map(|number| sent(number, 1)).collect();
        assert_eq!(house.open_lanes(), LaneSet::ALL);
        all[..MOST_UNSETTLED].iter().for_each(|one| house.outcome_known(one));
        assert_eq!(house.open_lanes(), URGENT);
        all[MOST_UNSETTLED..].iter().for_each(|one| house.outcome_known(one));
        assert!(house.open_lanes().is_empty());
        assert!(House::was_full(house.outcomes_written(all.iter().map(|one| (one, false)))));
        assert!(house.unwritten().is_empty());
        house.suspend(true);
        assert!(house.open_lanes().is_empty());
    }
}
