//! When a refused letter is tried again.

use crate::{
    schedule::Cron,
    time::{Timestamp, later},
};
use std::time::Duration;

/// The delays between attempts on one item.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// When the next attempt comes.
    pub rhythm: Rhythm,
    /// How long after its acceptance a letter is given up.
    pub give_up_after: Duration,
}

/// The rhythm of attempts.
#[derive(Debug, Clone, PartialEq)]
pub enum Rhythm {
    /// After the first refusal the first delay, and so on; the last one repeats. Each is varied by up to a fifth either way, so that letters refused
    /// together do not come back together.
    Delays(Vec<Duration>),
    /// At the next time that a cron expression names: "every 5 minutes".
    Cron(Cron),
}

impl Default for RetryPolicy {
    /// 1, 2, 5, 10, 15, 30 minutes, 1 hour, then every 2 hours; given up after 4 days.
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self { rhythm: Rhythm::Delays([1, 2, 5, 10, 15, 30, 60, 120].map(minutes).to_vec()), give_up_after: Duration::from_hours(96) }
    }
}

/// How far a delay is varied either way.
const JITTER: f64 = 0.2;

impl RetryPolicy {
    /// When the item is due again after its `attempts`-th refusal, or `None` if it is given up. Always later than `now`.
    ///
    /// `dice` is a random number from 0 to 1; 0.5 leaves the delay as written.
    pub fn next_due(&self, attempts: u32, accepted_at: Timestamp, now: Timestamp, dice: f64) -> Option<Timestamp> {
        let due = match &self.rhythm {
            Rhythm::Delays(delays) => {
                let index = (attempts.max(1) as usize - 1).min(delays.len().saturating_sub(1));
                let delay = delays.get(index).copied().unwrap_or(Duration::from_mins(1));
                let factor = 1.0 + JITTER * (dice.clamp(0.0, 1.0) * 2.0 - 1.0);
                later(now, delay.mul_f64(factor).max(Duration::from_millis(1)))
            }
            Rhythm::Cron(cron) => cron.next_after(now)?,
        };
        (due <= later(accepted_at, self.give_up_after)).then_some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_delay_is_later_than_now_and_within_a_fifth_of_what_is_written(attempts in 1u32..40, dice in 0.0f64..=1.0) {
            let policy = RetryPolicy::default();
            let now = Timestamp::UNIX_EPOCH;
            let due = policy.next_due(attempts, now, now, dice).unwrap();
            let Rhythm::Delays(delays) = &policy.rhythm else { unreachable!() };
            let written = delays[(attempts as usize - 1).min(delays.len() - 1)].as_secs_f64();
            let waited = due.duration_since(now).as_secs_f64();
            prop_assert!(waited > 0.0 && waited >= written * 0.799 && waited <= written * 1.201);
        }
    }

    #[test]
    fn every_five_minutes_means_at_the_next_full_five_minutes() {
        let policy = RetryPolicy { rhythm: Rhythm::Cron("*/5 * * * *".parse().unwrap()), ..RetryPolicy::default() };
        let now: Timestamp = "2026-11-21T09:02:10Z".parse().unwrap();
        assert_eq!(policy.next_due(1, now, now, 0.9), Some("2026-11-21T09:05:00Z".parse().unwrap()));
    }

    #[test]
    fn after_the_last_day_nothing_is_due() {
        let policy = RetryPolicy::default();
        let now = later(Timestamp::UNIX_EPOCH, policy.give_up_after);
        assert_eq!(policy.next_due(3, Timestamp::UNIX_EPOCH, now, 0.5), None);
    }
}
