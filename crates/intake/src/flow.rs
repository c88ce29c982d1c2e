//! How a directory's changes come, and so how long their letters wait: the flood guard is to see a bulk change whole before the first letter of it leaves.
//!
//! A bulk change does not come at one moment: a file is taken run by run, a server tells as it happens, and a machine with other work to do is slow. So the letters of many changes wait for a
//! moment, and are put off again and again while more changes come. They leave when the changes have come to an end, or never if the guard's limit is reached: then they are held.

use std::time::Duration;
use tidings_core::{Id, Timestamp, time::later};

/// Of so many changes that come together the letters leave at once.
pub(crate) const MANY: u64 = 100;
/// How long the letters of more wait.
pub(crate) const MOMENT: Duration = Duration::from_secs(30);
/// Letters that are due within this are put off while more changes come. A run of changes takes less than this, however busy the machine is.
const SOON: Duration = Duration::from_secs(20);
/// How long letters are put off at most, however slowly the guard's limit is neared.
const LONGEST: Duration = Duration::from_secs(120);
/// Changes with less than this between them come together.
const LULL: Duration = Duration::from_secs(10);

/// The changes of one directory that come together.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// When the last of them came.
    last: Option<Timestamp>,
    count: u64,
    /// Letters that wait.
    waiting: Vec<Wave>,
}

/// Letters that wait until a moment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) items: Vec<Id>,
    pub(crate) due_at: Timestamp,
}

/// Letters that were recorded together, by then.
type Wave = (Timestamp, Waiting);

impl Flow {
    /// Counts changes that come now, and says how long their letters wait.
    pub(crate) fn wait(&mut self, now: Timestamp, changes: u64) -> Duration {
        self.go_on(now);
        self.last = Some(now);
        self.count += changes;
        if self.count <= MANY { Duration::ZERO } else { MOMENT }
    }

    /// Letters have been recorded to wait, by now: they are remembered. `most` is what one rule may tell within an hour: once so many changes have come, either the guard holds the letters or it is for other
    /// rules to tell of the rest, and later ones are not put off any more. 0 is no limit: there is nothing to wait for.
    pub(crate) fn remember(&mut self, now: Timestamp, waiting: Waiting, most: u64) {
        // However long it took to record them, the next ones come with them.
        self.last = Some(now);
        if self.count <= most && !waiting.items.is_empty() {
            self.waiting.push((now, waiting));
        }
    }

    /// More changes come: what is to be put off before they are looked at. They are remembered as if it had been done.
    pub(crate) fn put_off(&mut self, now: Timestamp) -> Vec<Waiting> {
        self.go_on(now);
        let mut all: Vec<Waiting> = Vec::new();
        for (recorded_at, wave) in &mut self.waiting {
            let due_at = later(now, MOMENT).min(later(*recorded_at, LONGEST));
            if wave.due_at > later(now, SOON) || due_at <= wave.due_at {
                continue;
            }
            wave.due_at = due_at;
            match all.iter_mut().find(|one| one.due_at == due_at) {
                Some(one) => one.items.extend(&wave.items),
                None => all.push(Waiting { items: wave.items.clone(), due_at }),
            }
        }
        // What is due has waited for as long as it may.
        self.waiting.retain(|(_, wave)| wave.due_at > now);
        all
    }

    /// Forgets what came before a lull. A clock that was set back is none.
    fn go_on(&mut self, now: Timestamp) {
        if self.last.is_some_and(|last| now.duration_since(last).unsigned_abs() > LULL && now > last) {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;
    const MOST: u64 = 5000;

    fn after(millis: u64) -> Timestamp {
        later(START, Duration::from_millis(millis))
    }

    fn seconds(seconds: u64) -> Timestamp {
        after(seconds * 1000)
    }

    fn item(number: i64) -> Id {
        Id::from_number(number)
    }

    /// A flow with one item that was recorded at the start.
    fn begun() -> Flow {
        let mut flow = Flow::default();
        assert_eq!(flow.wait(START, 256), MOMENT);
        flow.remember(START, Waiting { items: vec![item(1)], due_at: later(START, MOMENT) }, MOST);
        flow
    }

    #[test]
    fn few_changes_wait_for_nothing_however_long_they_go_on() {
        let mut flow = Flow::default();
        for minute in 0..200 {
            assert_eq!(flow.wait(seconds(minute * 60), 100), Duration::ZERO);
        }
    }

    #[test]
    fn many_wait_for_a_moment_at_once_or_one_after_the_other() {
        assert_eq!(Flow::default().wait(START, 101), MOMENT);
        let mut flow = Flow::default();
        let waits: Vec<Duration> = (0..150).map(|number| flow.wait(after(number * 2), 1)).collect();
        assert!(waits[..100].iter().all(Duration::is_zero));
        assert!(waits[100..].iter().all(|wait| *wait == MOMENT));
    }

    #[test]
    fn a_lull_begins_anew() {
        let mut flow = begun();
        assert_eq!(flow.wait(after(10_001), 100), Duration::ZERO);
        assert_eq!(flow.wait(after(5_000), 1), MOMENT, "a clock that was set back is no lull");
        assert_eq!(begun().put_off(after(10_001)), [], "nothing is put off for what comes later");
    }

    #[test]
    fn letters_are_put_off_while_changes_come_and_no_longer_than_they_may() {
        let mut flow = begun();
        let mut due = later(START, MOMENT);
        for second in 1..300 {
            let now = seconds(second);
            for put_off in flow.put_off(now) {
                assert_eq!(put_off.items, [item(1)]);
                assert!(put_off.due_at > due, "{due} {put_off:?}");
                assert!(due > now, "it was not due before it was put off");
                due = put_off.due_at;
            }
            flow.wait(now, 1);
        }
        assert_eq!(due, later(START, LONGEST));
        assert!(flow.waiting.is_empty(), "what has waited for so long is forgotten");
    }

    #[test]
    fn what_is_put_off_to_one_moment_is_put_off_together() {
        let mut flow = begun();
        flow.wait(seconds(5), 1);
        flow.remember(seconds(5), Waiting { items: vec![item(2), item(3)], due_at: later(seconds(5), MOMENT) }, MOST);
        flow.wait(seconds(14), 1);
        flow.remember(seconds(14), Waiting { items: vec![item(4)], due_at: later(seconds(14), MOMENT) }, MOST);
        let due_at = later(seconds(16), MOMENT);
        assert_eq!(flow.put_off(seconds(16)), [Waiting { items: vec![item(1), item(2), item(3)], due_at }]);
        assert_eq!(flow.put_off(seconds(16)), []);
    }

    #[test]
    fn a_disk_that_is_slow_makes_no_lull() {
        let mut flow = Flow::default();
        assert_eq!(flow.wait(START, 256), MOMENT);
        flow.remember(seconds(12), Waiting { items: vec![item(1)], due_at: later(START, MOMENT) }, MOST);
        assert_eq!(flow.put_off(seconds(13)), [Waiting { items: vec![item(1)], due_at: seconds(43) }]);
    }

    #[test]
    fn beyond_the_limit_and_without_one_nothing_is_put_off() {
        for (most, changes) in [(MOST, MOST + 1), (0, 101)] {
            let mut flow = Flow::default();
            assert_eq!(flow.wait(START, changes), MOMENT);
            flow.remember(START, Waiting { items: vec![item(1)], due_at: later(START, MOMENT) }, most);
            flow.wait(seconds(9), 1);
            flow.wait(seconds(18), 1);
            assert_eq!(flow.put_off(seconds(25)), []);
        }
    }
}
