//! How fast a directory's changes come, and so how long their letters wait: the flood guard is to see a bulk change whole before the first letter of it leaves.

use std::time::Duration;
use tidings_core::Timestamp;

/// Of so many changes that come together the letters leave at once.
pub(crate) const MANY: u64 = 100;
/// How long the letters of more wait at least.
pub(crate) const MOMENT: Duration = Duration::from_secs(30);
/// How long at most, however slowly the guard's limit is neared.
const LONGEST: Duration = Duration::from_secs(120);
/// Changes with less than this between them come together.
const LULL: Duration = Duration::from_secs(10);

/// The changes of one directory that come together.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// When the first of them came, and the last.
    span: Option<(Timestamp, Timestamp)>,
    count: u64,
}

impl Flow {
    /// Counts changes that come now, and says how long their letters wait. `most` is what one rule may tell within an hour, 0 if that is not limited.
    ///
    /// A bulk change does not come at one moment: a server that tells as it happens tells a thousand or so a second. So the letters wait until, at the pace seen, the limit is
    /// reached or the changes have come to an end.
    pub(crate) fn wait(&mut self, now: Timestamp, changes: u64, most: u64) -> Duration {
        let begun = match self.span {
            Some((begun, last)) if passed(last, now) <= LULL => begun,
            _ => {
                self.count = 0;
                now
            }
        };
        self.span = Some((begun, now));
        let before = self.count;
        self.count += changes;
        if self.count <= MANY {
            return Duration::ZERO;
        }
        let left = most.saturating_sub(self.count);
        if before == 0 || left == 0 {
            return MOMENT;
        }
        // Half as long again: the pace is not even.
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let seconds = passed(begun, now).as_secs_f64() * left as f64 / before as f64 * 1.5;
        Duration::from_secs_f64(seconds.clamp(MOMENT.as_secs_f64(), LONGEST.as_secs_f64()))
    }
}

/// The time between two moments; none if the clock was set back in between.
fn passed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_core::time::later;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn after(millis: u64) -> Timestamp {
        later(START, Duration::from_millis(millis))
    }

    #[test]
    fn few_changes_wait_for_nothing_however_long_they_go_on() {
        let mut flow = Flow::default();
        for minute in 0..200 {
            assert_eq!(flow.wait(after(minute * 60_000), 100, 5000), Duration::ZERO);
        }
    }

    #[test]
    fn many_at_once_wait_for_a_moment() {
        assert_eq!(Flow::default().wait(START, 101, 5000), MOMENT);
    }

    #[test]
    fn many_one_after_the_other_wait_as_well() {
        let mut flow = Flow::default();
        let waits: Vec<Duration> = (0..150).map(|number| flow.wait(after(number * 2), 1, 5000)).collect();
        assert!(waits[..100].iter().all(Duration::is_zero));
        assert!(waits[100..].iter().all(|wait| *wait == MOMENT));
    }

    #[test]
    fn the_slower_they_come_the_longer_they_wait() {
        let mut flow = Flow::default();
        let mut last = Duration::ZERO;
        for number in 0..300 {
            last = flow.wait(after(number * 10), 1, 3000);
        }
        // 100 a second, 2,700 to go: 27 seconds and half as many again.
        assert!((Duration::from_secs(40)..Duration::from_secs(41)).contains(&last), "{last:?}");
        for number in 4..100 {
            last = flow.wait(after(number * 1000), 1, 3000);
        }
        assert_eq!(last, LONGEST);
    }

    #[test]
    fn a_lull_begins_anew() {
        let mut flow = Flow::default();
        assert_eq!(flow.wait(START, 5000, 5000), MOMENT);
        assert_eq!(flow.wait(after(10_001), 100, 5000), Duration::ZERO);
        assert_eq!(flow.wait(after(5_000), 1, 5000), MOMENT, "a clock that was set back is no lull");
    }

    #[test]
    fn without_a_limit_a_moment_is_enough() {
        let mut flow = Flow::default();
        assert_eq!((flow.wait(START, 200, 0), flow.wait(after(9000), 200, 0)), (MOMENT, MOMENT));
    }
}
