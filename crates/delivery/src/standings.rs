//! What the desks know of each other: which relay is held for good enough that another takes its letters over, and which one that is.
//!
//! A hold of a moment moves nothing. A relay is *away* once its first probe has failed or it has been held for [`GRACE`]; then the first relay along its chain
//! of `next` that is neither away nor paused takes over. A relay that an operator has paused keeps its letters: who pauses one wants them to wait.
//!
//! Places are never given up, so that a desk can keep its number: a relay that is no longer configured leaves its place empty, and finds it again if it comes back.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

/// A relay that is held so long is away, also while its first probe has not come back (a black hole, an account that is probed slowly).
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// Stands for "no next relay".
const NOBODY: usize = usize::MAX;

/// How one relay stands for the others.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) name: Arc<str>,
    next: AtomicUsize,
    /// Held for longer than a hiccup; or no longer configured.
    away: AtomicBool,
    /// Its probe needs a letter and has none: what comes in is for the probe.
    wants_letter: AtomicBool,
    /// The operator's word.
    pub(crate) paused: AtomicBool,
}

impl Place {
    fn next(&self) -> Option<usize> {
        Some(self.next.load(Ordering::Acquire)).filter(|next| *next != NOBODY)
    }

    fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }
}

/// All relays of the house.
#[derive(Debug)]
pub(crate) struct Standings {
    places: RwLock<Vec<Arc<Place>>>,
    changed: watch::Sender<u64>,
}

impl Standings {
    /// All relays by name, each with the name of the one that takes over; a name that nobody bears counts as none.
    pub(crate) fn new(relays: &[(String, Option<String>)]) -> Self {
        let standings = Self { places: RwLock::new(Vec::new()), changed: watch::Sender::new(0) };
        standings.arrange(relays);
        standings
    }

    /// Makes these the relays of the house, and gives their places. Those that stay keep their places and how they stand.
    pub(crate) fn arrange(&self, relays: &[(String, Option<String>)]) -> Vec<usize> {
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        let mut taken = Vec::with_capacity(relays.len());
        for (name, _) in relays {
            let known = places.iter().position(|place| *place.name == **name);
            taken.push(known.unwrap_or(places.len()));
            if known.is_none() {
                places.push(Arc::new(Place {
                    name: Arc::from(name.as_str()),
                    next: AtomicUsize::new(NOBODY),
                    away: AtomicBool::new(false),
                    wants_letter: AtomicBool::new(false),
                    paused: AtomicBool::new(false),
                }));
            }
        }
        for (index, place) in places.iter().enumerate() {
            let here = relays.iter().position(|(name, _)| **name == *place.name);
            let next = here.and_then(|here| relays[here].1.as_ref()).and_then(|next| relays.iter().position(|(name, _)| name == next));
            place.next.store(next.map_or(NOBODY, |next| taken[next]), Ordering::Release);
            if !taken.contains(&index) {
                // Nobody sends its letters now, and it sends nobody's.
                place.away.store(true, Ordering::Release);
                place.wants_letter.store(false, Ordering::Release);
            }
        }
        drop(places);
        self.tell();
        taken
    }

    pub(crate) fn place(&self, index: usize) -> Arc<Place> {
        Arc::clone(&self.places.read().unwrap_or_else(PoisonError::into_inner)[index])
    }

    /// The names of all places, in order.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.places.read().unwrap_or_else(PoisonError::into_inner).iter().map(|place| Arc::clone(&place.name)).collect()
    }

    /// Counts up at every change of who takes over for whom.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Notes how a relay stands.
    pub(crate) fn note(&self, index: usize, away: bool, wants_letter: bool) {
        let place = self.place(index);
        let changed = place.away.swap(away, Ordering::AcqRel) != away;
        let changed = place.wants_letter.swap(wants_letter, Ordering::AcqRel) != wants_letter || changed;
        if changed {
            self.tell();
        }
    }

    /// Sets the operator's word on a relay; says whether that was a change.
    pub(crate) fn pause(&self, index: usize, paused: bool) -> bool {
        let changed = self.place(index).paused.swap(paused, Ordering::AcqRel) != paused;
        if changed {
            self.tell();
        }
        changed
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// The relay that takes over a relay's letters now, if it is away and there is one.
    pub(crate) fn taker(&self, index: usize) -> Option<usize> {
        taker(&self.places.read().unwrap_or_else(PoisonError::into_inner), index)
    }

    /// The relays whose letters this one takes over now, except where the next letter is for the relay's own probe.
    pub(crate) fn taken_over_by(&self, by: usize) -> Vec<usize> {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        let wants_letter = |index: &usize| places[*index].wants_letter.load(Ordering::Acquire);
        (0..places.len()).filter(|index| *index != by && !wants_letter(index) && taker(&places, *index) == Some(by)).collect()
    }
}

fn taker(places: &[Arc<Place>], index: usize) -> Option<usize> {
    let own = &places[index];
    if !own.is_away() || own.is_paused() {
        return None;
    }
    let mut taker = own.next()?;
    // The configuration refuses circles; the bound keeps a mistake from being an endless loop.
    for _ in 0..places.len() {
        let place = &places[taker];
        if !place.is_away() && !place.is_paused() {
            return Some(taker).filter(|taker| *taker != index);
        }
        taker = place.next()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> Standings {
        let relay = |name: &str, next: Option<&str>| (name.to_owned(), next.map(str::to_owned));
        Standings::new(&[relay("a", Some("b")), relay("b", Some("c")), relay("c", None), relay("d", Some("a"))])
    }

    fn over(standings: &Standings, taker: usize) -> Vec<usize> {
        standings.taken_over_by(taker)
    }

    #[test]
    fn the_first_relay_of_the_chain_that_is_there_takes_over() {
        let all = chain();
        assert!((0..4).all(|relay| all.taker(relay).is_none()));
        all.note(0, true, false);
        assert_eq!((all.taker(0), over(&all, 1), over(&all, 2)), (Some(1), vec![0], vec![]));
        all.note(1, true, false);
        assert_eq!((all.taker(0), all.taker(1), over(&all, 2)), (Some(2), Some(2), vec![0, 1]));
        all.note(3, true, false);
        assert_eq!(all.taker(3), Some(2), "by way of the two that are away");
        all.note(2, true, false);
        assert!((0..4).all(|relay| all.taker(relay).is_none()), "nobody is left");
        all.note(0, false, false);
        assert_eq!((all.taker(3), all.taker(0)), (Some(0), None));
    }

    #[test]
    fn a_paused_relay_keeps_its_letters_and_takes_nobodys() {
        let all = chain();
        all.note(0, true, false);
        assert!(all.pause(1, true) && !all.pause(1, true));
        assert_eq!(all.taker(0), Some(2));
        all.pause(0, true);
        assert_eq!(all.taker(0), None);
    }

    #[test]
    fn a_letter_that_a_probe_needs_is_left_to_it() {
        let all = chain();
        let mut changes = all.changes();
        all.note(0, true, true);
        assert!(changes.has_changed().unwrap());
        assert_eq!((all.taker(0), over(&all, 1)), (Some(1), vec![]));
        changes.mark_unchanged();
        all.note(0, true, false);
        assert!(changes.has_changed().unwrap());
        assert_eq!(over(&all, 1), [0]);
        changes.mark_unchanged();
        all.note(0, true, false);
        assert!(!changes.has_changed().unwrap());
    }

    #[test]
    fn a_circle_ends() {
        let relay = |name: &str, next: &str| (name.to_owned(), Some(next.to_owned()));
        let all = Standings::new(&[relay("a", "b"), relay("b", "a"), relay("x", "nobody")]);
        for index in 0..3 {
            all.note(index, true, false);
        }
        assert!((0..3).all(|relay| all.taker(relay).is_none()));
    }

    #[test]
    fn another_configuration_keeps_places_and_empties_those_that_are_no_longer_named() {
        let relay = |name: &str, next: Option<&str>| (name.to_owned(), next.map(str::to_owned));
        let all = chain();
        all.note(0, true, false);
        assert_eq!(all.arrange(&[relay("e", None), relay("a", Some("e")), relay("c", None)]), [4, 0, 2]);
        assert_eq!((all.taker(0), over(&all, 4), over(&all, 1)), (Some(4), vec![0], vec![]), "the new one takes over");
        assert_eq!((all.taker(1), all.taker(3)), (None, None), "nobody sends the letters of those that are gone");
        assert_eq!(all.arrange(&[relay("a", Some("b")), relay("b", None)]), [0, 1]);
        all.note(1, false, false);
        assert_eq!((&*all.names()[4], all.taker(0)), ("e", Some(1)));
    }
}
