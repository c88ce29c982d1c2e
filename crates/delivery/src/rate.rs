//! How much a relay may be given in a span of time: pure, a caller brings the time and takes away "so many now" or "the next one then".
//!
//! A provider that allows N letters a minute may count in any sixty seconds, so no stretch of that length may hold more than N: not the first minute after a
//! pause, not the seam of two minutes. A token bucket or GCRA that can fill a burst of N lets nearly 2 N through such a seam, and one that cannot halves what
//! an outbox full of work may use. Here the sends are counted in slices of the span, and all slices that touch the last span count whole. The bound is
//! exact, a window is 120 numbers however large N is, and no more than a hundred-and-twentieth of the throughput is lost.
//!
//! What is on the wire counts as sent until it is known: the provider counts somewhere between our sending and its answer.

use std::{collections::VecDeque, time::Duration};

/// Slices of a span.
const SLICES: u64 = 120;
/// From this limit on, a tenth of it is kept for letters that somebody is waiting for.
const RESERVED_FROM: u64 = 10;

/// Sends within a moving span of time. Moments are durations since some fixed moment of the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    span: Duration,
    limit: u64,
    /// Slices in which something was sent, oldest first: their numbers since the fixed moment, and how much.
    slices: VecDeque<(u64, u64)>,
    spent: u64,
}

/// The number of the slice of a span in which a moment lies.
pub(crate) fn slice_number(span: Duration, at: Duration) -> u64 {
    let slice = span / u32::try_from(SLICES).expect("a small constant");
    u64::try_from(at.as_nanos() / slice.as_nanos().max(1)).unwrap_or(u64::MAX)
}

/// Whether a slice touches the span that ends in the current one.
pub(crate) fn touches(slice: u64, current: u64) -> bool {
    slice.saturating_add(SLICES) >= current
}

impl Window {
    /// What was counted elsewhere, oldest first.
    pub(crate) fn resume(&mut self, slices: &[(u64, u64)]) {
        self.slices = slices.iter().copied().collect();
        self.spent = slices.iter().map(|(_, count)| count).sum();
    }

    /// At most `limit` sends in any stretch of this length.
    pub(crate) fn new(limit: u32, span: Duration) -> Self {
        Self { span, limit: u64::from(limit), slices: VecDeque::new(), spent: 0 }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn span(&self) -> Duration {
        self.span
    }

    fn slice(&self) -> Duration {
        self.span / u32::try_from(SLICES).expect("a small constant")
    }

    fn number(&self, at: Duration) -> u64 {
        slice_number(self.span, at)
    }

    /// What is kept for urgent letters.
    fn reserve(&self) -> u64 {
        if self.limit < RESERVED_FROM { 0 } else { self.limit / RESERVED_FROM }
    }

    /// Forgets slices that no longer touch the last span.
    fn advance(&mut self, now: Duration) {
        let now = self.number(now);
        while let Some(&(slice, count)) = self.slices.front().filter(|(slice, _)| !touches(*slice, now)) {
            debug_assert!(slice < now);
            self.spent -= count;
            self.slices.pop_front();
        }
    }

    /// Counts sends.
    pub(crate) fn spend(&mut self, now: Duration, count: u64) {
        self.advance(now);
        // Time that seems to go back counts for the latest slice, which is kept longer.
        let number = self.slices.back().map_or(0, |(last, _)| *last).max(self.number(now));
        match self.slices.back_mut() {
            Some((last, spent)) if *last == number => *spent += count,
            _ => self.slices.push_back((number, count)),
        }
        self.spent += count;
    }

    /// How many may be sent now while `pending` others are under way; letters that somebody is waiting for (`urgent`) may use it up.
    pub(crate) fn room(&mut self, now: Duration, pending: u64, urgent: bool) -> u64 {
        self.advance(now);
        let limit = self.limit - if urgent { 0 } else { self.reserve() };
        limit.saturating_sub(self.spent + pending)
    }

    /// When there is room again if nothing else is sent; `now` if there is. `None` if only the end of what is under way can make room.
    pub(crate) fn free_at(&mut self, now: Duration, pending: u64, urgent: bool) -> Option<Duration> {
        self.advance(now);
        let limit = self.limit - if urgent { 0 } else { self.reserve() };
        let mut standing = self.spent + pending;
        if standing < limit {
            return Some(now);
        }
        for (slice, count) in &self.slices {
            standing -= count;
            if standing < limit {
                let nanos = self.slice().as_nanos() * u128::from(slice + SLICES + 1);
                return Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_mins(1);
    /// The fixed moment lies long ago, as it does after a restart.
    const START: Duration = Duration::from_hours(1000);

    proptest! {
        #[test]
        fn no_stretch_of_the_span_ever_holds_more_than_the_limit(
            limit in 1u32..40,
            steps in proptest::collection::vec((0u64..4_000, 1u64..8, 0u64..3_000, any::<bool>()), 1..200),
        ) {
            let mut window = Window::new(limit, MINUTE);
            let (mut now, mut sent) = (START, Vec::new());
            for (pause, wanted, answer, urgent) in steps {
                now += Duration::from_millis(pause);
                let count = window.room(now, 0, urgent).min(wanted);
                // The relay counts it when it comes, we when it is answered.
                sent.extend(std::iter::repeat_n(now, usize::try_from(count).unwrap()));
                now += Duration::from_millis(answer);
                if count > 0 {
                    window.spend(now, count);
                }
            }
            for (first, start) in sent.iter().enumerate() {
                let within = sent[first..].iter().take_while(|at| **at < *start + MINUTE).count();
                prop_assert!(within <= limit as usize, "{within} within a minute from {start:?}, allowed are {limit}");
            }
        }

        #[test]
        fn the_moment_that_is_named_has_room_and_the_one_before_has_not(
            limit in 1u32..30, pauses in proptest::collection::vec(0u64..9_000, 1..60), urgent in any::<bool>(),
        ) {
            let mut window = Window::new(limit, MINUTE);
            let mut now = START;
            for pause in pauses {
                now += Duration::from_millis(pause);
                if window.room(now, 0, urgent) > 0 {
                    window.spend(now, 1);
                }
                let free = window.free_at(now, 0, urgent).expect("nothing is under way");
                prop_assert!(free <= now + MINUTE + window.slice());
                prop_assert!(window.clone().room(free, 0, urgent) > 0);
                if free > now {
                    prop_assert_eq!(window.clone().room(free.checked_sub(Duration::from_millis(1)).unwrap(), 0, urgent), 0);
                }
            }
        }

        #[test]
        fn a_restart_makes_no_room(limit in 1u32..30, pauses in proptest::collection::vec(0u64..9_000, 1..60), down in 0u64..100_000) {
            let mut window = Window::new(limit, MINUTE);
            let (mut now, mut sent) = (START, Vec::new());
            for pause in pauses {
                now += Duration::from_millis(pause);
                if window.room(now, 0, true) > 0 {
                    window.spend(now, 1);
                    sent.push(now);
                }
            }
            let down = Duration::from_millis(down);
            let mut after = Window::new(limit, MINUTE);
            let again = now + down;
            after.resume(&Vec::from(window.slices));
            let within = sent.iter().filter(|at| **at + MINUTE > now + down).count() as u64;
            prop_assert!(after.room(again, 0, true) + within <= u64::from(limit), "{within} were sent within the last minute");
            prop_assert_eq!(after.room(again + MINUTE + after.slice(), 0, true), u64::from(limit), "and it is not kept longer than it must be");
        }
    }

    #[test]
    fn a_full_outbox_uses_what_it_may() {
        let mut window = Window::new(30, MINUTE);
        let (mut now, mut sent) = (START, 0);
        while now < START + Duration::from_mins(61) {
            let room = window.room(now, 0, true);
            if room > 0 {
                window.spend(now, room);
                sent += room;
            }
            now += Duration::from_millis(100);
        }
        assert!((30 * 60..=30 * 61).contains(&sent), "{sent} in 61 minutes");
    }

    #[test]
    fn a_tenth_is_kept_for_letters_that_somebody_waits_for() {
        let mut window = Window::new(30, MINUTE);
        assert_eq!((window.room(START, 0, false), window.room(START, 0, true)), (27, 30));
        window.spend(START, 27);
        assert_eq!((window.room(START, 0, false), window.room(START, 0, true)), (0, 3));
        assert_eq!(window.room(START, 2, true), 1, "what is under way counts");
        assert_eq!(Window::new(9, MINUTE).room(START, 0, false), 9, "small limits are kept whole");
    }
}
