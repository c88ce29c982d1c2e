//! What a relay may still be given: the windows of its limits together, kept over restarts.
//!
//! The windows live in memory and are written down ahead: what the store holds says a little more than was sent, and is renewed before that little is used up.
//! A process that dies therefore loses no count, and a restart allows no second day's worth; and a letter costs no write of its own.

use crate::{plan::Rates, rate::Window};
use std::time::Duration;
use tidings_core::{Timestamp, time::later};
use tokio::time::Instant;

/// Moments before the start of the process must be nameable, and no span is longer than a day.
const BEFORE: Duration = Duration::from_hours(1000);
/// At least so many sends are written down ahead, if a quarter of the limit allows it: so many can be under way at once.
const AHEAD: u64 = 16;

/// Turns instants into moments of a [`Window`] and back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moments(Instant);

impl Moments {
    pub(crate) fn since(start: Instant) -> Self {
        Self(start)
    }

    pub(crate) fn of(self, at: Instant) -> Duration {
        BEFORE + at.saturating_duration_since(self.0)
    }

    pub(crate) fn instant(self, moment: Duration) -> Instant {
        self.0 + moment.saturating_sub(BEFORE)
    }
}

/// How many letters may be claimed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// Of any lane.
    pub(crate) any: u64,
    /// Of the lanes that somebody is waiting for; not less than `any`.
    pub(crate) urgent: u64,
}

/// A limit that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpentUp {
    limit: u64,
    span: Duration,
    /// When there is room again; absent if that depends on what is under way.
    pub(crate) until: Option<Instant>,
}

impl SpentUp {
    /// The reason for an administrator, with the moment if it is not a matter of a minute or so. Rounded, so that it does not change all the time.
    pub(crate) fn sentence(&self, now: Instant, wall: Timestamp) -> String {
        let span = match self.span.as_secs() {
            60 => "minute",
            3600 => "hour",
            _ => "day",
        };
        let reached = format!("its limit of {} letters a {span} is reached", self.limit);
        match self.until.map(|until| until.saturating_duration_since(now)).filter(|wait| *wait > Duration::from_mins(2)) {
            Some(wait) => format!("{reached}; the next ones go from {} UTC on", later(wall, wait).strftime("%Y-%m-%d %H:%M")),
            None => reached,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Budget {
    moments: Moments,
    windows: Vec<Window>,
    /// Sends since what the store holds was written.
    unsaved: u64,
    /// How many more than were sent the store's account says.
    ahead: u64,
}

impl Budget {
    /// The budget of these limits; `None` if there are none.
    pub(crate) fn of(rates: &Rates, now: Instant) -> Option<Self> {
        let spans = [(rates.per_minute, 60), (rates.per_hour, 3600), (rates.per_day, 86_400)];
        let windows: Vec<Window> =
            spans.into_iter().filter_map(|(limit, span)| Some(Window::new(limit?, Duration::from_secs(span)))).collect();
        // A fiftieth of the longest span's limit, or a little more if that is small: what a crash may cost.
        let limit = windows.last()?.limit();
        let ahead = (limit / 50).max(AHEAD.min(limit / 4)).max(1);
        // Nothing is written yet, so nothing may be sent on credit.
        Some(Self { moments: Moments::since(now), windows, unsaved: ahead, ahead })
    }

    /// Counts a letter that was handed over.
    pub(crate) fn spend(&mut self, now: Instant) {
        let now = self.moments.of(now);
        self.windows.iter_mut().for_each(|window| window.spend(now, 1));
        self.unsaved += 1;
    }

    /// What is left while `pending` letters are under way.
    pub(crate) fn room(&mut self, now: Instant, pending: u64) -> Room {
        let now = self.moments.of(now);
        let mut least = |urgent| self.windows.iter_mut().map(|window| window.room(now, pending, urgent)).min().unwrap_or(u64::MAX);
        Room { any: least(false), urgent: least(true) }
    }

    /// How many more may be claimed on what the store holds.
    pub(crate) fn credit(&self, pending: u64) -> u64 {
        self.ahead.saturating_sub(self.unsaved + pending)
    }

    /// Whether so much was sent since the store was told that it is worth telling it again.
    pub(crate) fn is_stale(&self) -> bool {
        self.unsaved * 2 >= self.ahead
    }

    /// The limit that keeps letters waiting for longest, if one does.
    pub(crate) fn spent_up(&mut self, now: Instant, pending: u64) -> Option<SpentUp> {
        let moments = self.moments;
        let at = moments.of(now);
        let reached = self.windows.iter_mut().filter_map(|window| {
            let until = window.free_at(at, pending, false);
            (until != Some(at)).then(|| SpentUp { limit: window.limit(), span: window.span(), until: until.map(|at| moments.instant(at)) })
        });
        reached.max_by_key(|spent| (spent.until, spent.span))
    }

    /// The account for the store, and how many unsaved sends it covers. It counts what may be sent until the next one as sent.
    pub(crate) fn account(&mut self, now: Instant, wall: Timestamp, ahead: bool) -> (String, u64) {
        let at = self.moments.of(now);
        let ahead = if ahead { self.ahead } else { 0 };
        let windows: Vec<_> = self
            .windows
            .iter_mut()
            .map(|window| {
                let ages = window.ages(at).into_iter().map(|(age, count)| (millis(age), count));
                let ages: Vec<(u64, u64)> = ages.chain((ahead > 0).then_some((0, ahead))).collect();
                serde_json::json!({"span_s": window.span().as_secs(), "sent": ages})
            })
            .collect();
        (serde_json::json!({"at": wall.as_millisecond(), "windows": windows}).to_string(), self.unsaved)
    }

    /// The account has been written.
    pub(crate) fn saved(&mut self, covered: u64) {
        self.unsaved = self.unsaved.saturating_sub(covered);
    }

    /// Takes over what an earlier process has written. A clock that was set back makes nothing younger than it was then; what cannot be read counts for nothing.
    pub(crate) fn recall(&mut self, now: Instant, wall: Timestamp, account: &str) {
        let Ok(account) = serde_json::from_str::<serde_json::Value>(account) else { return };
        let down = account["at"].as_i64().map_or(0, |at| wall.as_millisecond().saturating_sub(at)).max(0).unsigned_abs();
        let at = self.moments.of(now);
        for window in &mut self.windows {
            let kept = account["windows"].as_array().into_iter().flatten().find(|kept| kept["span_s"] == window.span().as_secs());
            let sent = kept.and_then(|kept| serde_json::from_value::<Vec<(u64, u64)>>(kept["sent"].clone()).ok()).unwrap_or_default();
            window.recall(at, sent.into_iter().map(|(age, count)| (Duration::from_millis(age.saturating_add(down)), count)).collect());
        }
    }
}

fn millis(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(per_minute: Option<u32>, per_day: Option<u32>) -> Rates {
        Rates { per_minute, per_day, ..Rates::default() }
    }

    #[test]
    fn the_narrowest_limit_holds_and_the_longest_wait_is_named() {
        let now = Instant::now();
        let mut budget = Budget::of(&rates(Some(5), Some(7)), now).unwrap();
        for _ in 0..5 {
            budget.spend(now);
        }
        assert_eq!(budget.room(now, 0), Room { any: 0, urgent: 0 });
        let spent = budget.spent_up(now, 0).unwrap();
        assert!(spent.sentence(now, Timestamp::UNIX_EPOCH).ends_with("its limit of 5 letters a minute is reached"));
        let later = now + Duration::from_secs(61);
        assert_eq!(budget.room(later, 0).any, 2);
        budget.spend(later);
        budget.spend(later);
        let spent = budget.spent_up(later, 0).unwrap();
        let sentence = spent.sentence(later, Timestamp::UNIX_EPOCH);
        assert_eq!(sentence, "its limit of 7 letters a day is reached; the next ones go from 1970-01-02 00:10 UTC on");
        assert!(Budget::of(&Rates::default(), now).is_none());
    }

    #[test]
    fn a_process_that_dies_leaves_an_account_that_is_not_too_low() {
        let now = Instant::now();
        let mut budget = Budget::of(&rates(None, Some(1000)), now).unwrap();
        assert_eq!(budget.credit(0), 0, "nothing goes before the first account is written");
        let (mut account, mut sent) = (String::new(), 0);
        while budget.room(now, 0).urgent > 0 {
            if budget.credit(0) == 0 {
                let (text, covered) = budget.account(now, Timestamp::UNIX_EPOCH, true);
                budget.saved(covered);
                account = text;
            }
            budget.spend(now);
            sent += 1;
            // It dies here.
            let mut again = Budget::of(&rates(None, Some(1000)), now).unwrap();
            again.recall(now, Timestamp::UNIX_EPOCH, &account);
            let room = again.room(now, 0).urgent;
            assert!(room + sent <= 1000, "{sent} sent, and {room} more allowed");
            assert!(room + sent + 20 >= 1000, "little is lost: {sent} sent, {room} allowed");
        }
        let (exact, _) = budget.account(now, Timestamp::UNIX_EPOCH, false);
        let mut tomorrow = Budget::of(&rates(None, Some(1000)), now).unwrap();
        tomorrow.recall(now, later(Timestamp::UNIX_EPOCH, Duration::from_hours(25)), &exact);
        assert_eq!(tomorrow.room(now, 0).urgent, 1000);
        let mut set_back = Budget::of(&rates(None, Some(1000)), now).unwrap();
        set_back.recall(now, Timestamp::from_second(-1_000_000).unwrap(), &exact);
        assert_eq!(set_back.room(now, 0).urgent, 0, "a clock set back makes no room");
    }

    #[test]
    fn an_account_that_cannot_be_read_is_no_harm() {
        let mut budget = Budget::of(&rates(Some(5), None), Instant::now()).unwrap();
        for text in ["", "{}", "[]", "{\"at\":\"x\",\"windows\":[{\"span_s\":60,\"sent\":[[1]]}]}", "{\"windows\":7}"] {
            budget.recall(Instant::now(), Timestamp::UNIX_EPOCH, text);
        }
        assert_eq!(budget.room(Instant::now(), 0).any, 5);
    }
}
