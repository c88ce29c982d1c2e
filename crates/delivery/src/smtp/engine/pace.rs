//! How many letters may be on the way at once when they travel in chunks.
//!
//! More than one hides the round trip. Too many, and an urgent letter waits behind what a slow relay has not yet looked at, and a connection that breaks leaves
//! more letters in doubt. So the window holds about what the relay answers within a round trip, as measured: two or three letters next door, many over a long
//! way, two before a relay that is slow itself.

use std::time::Duration;
use tokio::time::Instant;

/// Fewest and most letters on the way.
const WINDOW: (usize, usize) = (2, 16);
/// Never more than what the relay answers in so long.
const REACH: Duration = Duration::from_millis(250);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Between two answers while letters were waiting for one: a moving mean.
    gap: Option<Duration>,
    /// From the first command of a letter to its answer, the shortest seen.
    trip: Option<Duration>,
    last: Option<Instant>,
}

impl Pace {
    /// How many letters may be on the way.
    pub(super) fn window(&self) -> usize {
        let (Some(gap), Some(trip)) = (self.gap, self.trip) else { return WINDOW.0 };
        // Half as much again, so that the window can grow until the gaps get no shorter.
        let wanted = (trip * 3 / 2).min(REACH).as_nanos() / gap.as_nanos().max(1) + 1;
        usize::try_from(wanted).unwrap_or(WINDOW.1).clamp(WINDOW.0, WINDOW.1)
    }

    /// A letter that was begun at `begun` is answered `now`.
    pub(super) fn answered(&mut self, begun: Instant, now: Instant) {
        // While nothing was on the way the relay had nothing to answer.
        let since = self.last.map_or(begun, |last| last.max(begun));
        let latest = now.saturating_duration_since(since);
        self.gap = Some(self.gap.map_or(latest, |gap| (gap * 3 + latest) / 4));
        let trip = now.saturating_duration_since(begun);
        self.trip = Some(self.trip.map_or(trip, |shortest| shortest.min(trip)));
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters on the way at the end of `rounds` round trips over a relay that takes `work` for each letter.
    fn window(trip: Duration, work: Duration, rounds: usize) -> usize {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        for _ in 0..rounds {
            let begun = now;
            let mut answer = now + trip;
            for _ in 0..pace.window() {
                answer += work;
                pace.answered(begun, answer);
            }
            now = answer;
        }
        pace.window()
    }

    #[test]
    fn the_window_opens_over_a_long_way_and_stays_small_otherwise() {
        let (ms, us) = (Duration::from_millis, Duration::from_micros);
        assert_eq!(Pace::default().window(), WINDOW.0);
        assert_eq!(window(ms(50), us(100), 8), WINDOW.1, "round trips are hidden soon");
        assert!((2..=4).contains(&window(us(20), us(30), 20)), "nothing to hide next door");
        assert_eq!(window(ms(1), ms(500), 8), WINDOW.0, "nothing is won by sending more to a relay that is slow itself");
        assert!((2..=4).contains(&window(ms(5), ms(40), 8)));
    }
}
