//! A relay's queue as a desk sees it: in which lanes something may be due, and what to ask for.

use std::{sync::Arc, time::Duration};
use tidings_core::{
    Lane,
    lane::{LaneSet, SHARE_OF_LOWER},
};
use tokio::time::Instant;

/// Most leased items that wait for a session: urgent ones are leased beside a full batch of others.
const MOST_ON_SHELF: usize = 1024;
/// A look into another relay's queue that finds nothing is not repeated for so many times as long as it took: letters that only their own relay may send are
/// passed over one by one, and there may be many.
const REST: u32 = 10;
/// And for this long at least.
const LEAST_REST: Duration = Duration::from_millis(20);

/// What is on the shelves in a lane and all more urgent ones.
pub(crate) fn ahead(by_lane: &[usize; Lane::ALL.len()], lane: Lane) -> usize {
    by_lane[..=lane as usize].iter().sum()
}

/// What to claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) lanes: LaneSet,
    pub(crate) limit: u16,
    pub(crate) share: u16,
}

/// What a claim brought, as far as the queue is concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Catch {
    /// It brought as much as it was to bring.
    pub(crate) full: bool,
    pub(crate) empty: bool,
    /// The least urgent lane that was reached without the share: those above it are exhausted.
    pub(crate) reached: Option<Lane>,
    pub(crate) took: Duration,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) relay: Arc<str>,
    /// Whose place in the standings it is, if it belongs to another relay.
    pub(crate) of: Option<usize>,
    /// Lanes in which something may be due.
    pub(crate) pending: LaneSet,
    /// Not before this moment.
    pub(crate) look_at: Instant,
    /// Eighths of a letter that the lane which has waited longest is owed.
    owed: u16,
}

impl Queue {
    pub(crate) fn new(relay: Arc<str>, of: Option<usize>) -> Self {
        Self { relay, of, pending: LaneSet::ALL, look_at: Instant::now(), owed: 0 }
    }

    /// What to claim, given what is on the shelves: the lanes in front of which not more than half a batch waits, up to a batch.
    ///
    /// An urgent letter therefore overtakes whatever less urgent is leased already, and a lane is leased no further ahead than it can be sent soon.
    pub(crate) fn wish(&mut self, by_lane: &[usize; Lane::ALL.len()], batch: u16, allowed: LaneSet) -> Option<Wish> {
        let mut lanes = LaneSet::NONE;
        for lane in self.pending.and(allowed).iter().filter(|lane| ahead(by_lane, *lane) <= usize::from(batch / 2)) {
            lanes.add(lane);
        }
        let least = lanes.iter().last()?;
        let shelved: usize = by_lane.iter().sum();
        let room = usize::from(batch).saturating_sub(ahead(by_lane, least)).min(MOST_ON_SHELF.saturating_sub(shelved));
        let limit = u16::try_from(room).unwrap_or(batch).max(1);
        let owed = self.owed + limit;
        self.owed = owed % SHARE_OF_LOWER;
        Some(Wish { lanes, limit, share: (owed / SHARE_OF_LOWER).min(limit) })
    }

    /// Learns from what a claim brought.
    pub(crate) fn learn(&mut self, wish: Wish, catch: Catch) {
        if !catch.full {
            self.pending = self.pending.and(without(wish.lanes));
        } else if let Some(reached) = catch.reached {
            self.pending = self.pending.and(LaneSet::from(reached).or(without(wish.lanes)));
        }
        if catch.empty && self.of.is_some() {
            self.look_at = Instant::now() + (catch.took * REST).max(LEAST_REST);
        }
    }

    /// Something may have come in these lanes; says whether that is new.
    pub(crate) fn heard(&mut self, lanes: LaneSet) -> bool {
        let all = self.pending.or(lanes);
        std::mem::replace(&mut self.pending, all) != all
    }
}

/// All lanes but these.
fn without(lanes: LaneSet) -> LaneSet {
    let mut others = LaneSet::NONE;
    for lane in LaneSet::ALL.iter().filter(|lane| !lanes.has(*lane)) {
        others.add(lane);
    }
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue {
        Queue::new("main".into(), None)
    }

    fn shelf(notices: usize) -> [usize; 6] {
        [0, 0, 0, notices, 0, 0]
    }

    fn catch(full: bool, reached: Option<Lane>) -> Catch {
        Catch { full, empty: false, reached, took: Duration::ZERO }
    }

    #[test]
    fn an_urgent_lane_is_claimed_although_the_shelves_are_full_of_others() {
        let mut queue = queue();
        let wish = queue.wish(&shelf(400), 512, LaneSet::ALL).unwrap();
        assert_eq!((wish.lanes, wish.limit), (LaneSet::down_to(Lane::Requests), 512));
        queue.learn(wish, catch(false, None));
        assert_eq!(queue.wish(&shelf(400), 512, LaneSet::ALL), None, "the urgent lanes are known to be empty, the others have enough");
        let wish = queue.wish(&shelf(256), 512, LaneSet::ALL).unwrap();
        assert_eq!((wish.lanes, wish.limit), (LaneSet::from(Lane::Notices), 256));
        assert!(queue.heard(LaneSet::down_to(Lane::Codes)) && !queue.heard(LaneSet::down_to(Lane::Codes)));
        assert_eq!(queue.wish(&shelf(500), 512, LaneSet::ALL).unwrap().lanes, LaneSet::down_to(Lane::Codes));
    }

    #[test]
    fn after_a_full_claim_the_lanes_above_the_one_reached_are_known_to_be_empty() {
        let mut queue = queue();
        let wish = queue.wish(&shelf(0), 16, LaneSet::ALL).unwrap();
        queue.learn(wish, catch(true, Some(Lane::Notices)));
        assert_eq!(queue.pending, LaneSet::from(Lane::Notices));
        let wish = queue.wish(&shelf(8), 16, LaneSet::ALL).unwrap();
        queue.learn(wish, catch(true, None));
        assert_eq!(queue.pending, LaneSet::from(Lane::Notices));
    }

    #[test]
    fn small_claims_owe_the_share_until_it_makes_a_letter() {
        let mut queue = queue();
        let shares: u16 = (0..64).map(|_| queue.wish(&shelf(0), 1, LaneSet::ALL).unwrap().share).sum();
        assert_eq!(shares, 8);
        let wish = queue.wish(&shelf(0), 512, LaneSet::ALL).unwrap();
        assert_eq!((wish.limit, wish.share), (512, 64));
    }

    #[test]
    fn the_shelves_never_hold_more_than_their_bound() {
        let mut queue = queue();
        let full = [0, 0, 0, 500, 0, 500];
        let wish = queue.wish(&full, 512, LaneSet::ALL).unwrap();
        assert!(usize::from(wish.limit) <= MOST_ON_SHELF - 1000, "{wish:?}");
    }
}
