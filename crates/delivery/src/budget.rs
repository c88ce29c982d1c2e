//! What a relay may still be given: the windows of its limits together, for all nodes, kept over restarts.
//!
//! What was sent stands in the relay's sheet ([`crate::together`]), and with it, ahead of time, what this node and the others may send until they write again. A
//! process that dies therefore loses no count, and a restart allows no second day's worth; and a letter costs no write of its own.

use crate::{
    plan::Rates,
    rate::Window,
    together::{Link, Tally},
};
use std::{collections::VecDeque, time::Duration};
use tidings_core::{Timestamp, time::later};
use tokio::time::Instant;

/// At least so many sends are reserved ahead, if a quarter of the limit allows it: so many can be under way at once.
const AHEAD: u64 = 16;
/// Sends that are so close together are noted as one.
const CLOSE: Duration = Duration::from_millis(100);

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
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    windows: Vec<Window>,
    /// The database's clock, once it is known.
    link: Option<Link>,
    /// Sends that the sheet does not tell of, oldest first.
    fresh: VecDeque<(Instant, u64)>,
    unsaved: u64,
    /// So many may be sent until the sheet is written again, those that it does not tell of included.
    reserved: u64,
    /// So many may be sent by others.
    others: u64,
    ahead: u64,
}

impl Budget {
    /// The budget of these limits; `None` if there are none.
    pub(crate) fn of(rates: &Rates) -> Option<Self> {
        let spans = [(rates.per_minute, 60), (rates.per_hour, 3600), (rates.per_day, 86_400)];
        Self::within(spans.into_iter().filter_map(|(limit, span)| Some(Window::new(limit?, Duration::from_secs(span)))).collect())
    }

    /// Likewise for sessions.
    pub(crate) fn of_sessions(rates: &Rates) -> Option<Self> {
        Self::within(rates.sessions_per_minute.map(|limit| Window::new(limit, Duration::from_mins(1))).into_iter().collect())
    }

    fn within(windows: Vec<Window>) -> Option<Self> {
        // A fiftieth of the longest span's limit, or a little more if that is small: what a crash may cost.
        let limit = windows.last()?.limit();
        let ahead = (limit / 50).max(AHEAD.min(limit / 4)).max(1);
        // Nothing is written yet, so nothing may be sent on credit.
        Some(Self { windows, link: None, fresh: VecDeque::new(), unsaved: 0, reserved: 0, others: 0, ahead })
    }

    /// A budget that is kept in memory alone, for a node that is the only one.
    pub(crate) fn in_memory(mut self, now: Instant) -> Self {
        self.link = Some(Link { said: Duration::from_hours(1000), before: now, after: now });
        self.reserved = u64::MAX;
        self
    }

    /// The spans that are limited.
    pub(crate) fn spans(&self) -> impl Iterator<Item = Duration> {
        self.windows.iter().map(Window::span)
    }

    /// Takes over what the sheet says: what was sent, and how much others may send.
    pub(crate) fn look(&mut self, tallies: &[Tally], others: u64, link: Link) {
        self.link = Some(link);
        self.others = others;
        for window in &mut self.windows {
            let slices = tallies.iter().find(|tally| tally.span() == window.span()).map_or(&[][..], |tally| &tally.slices);
            window.resume(slices);
            for (at, count) in &self.fresh {
                window.spend(link.at_most(*at), *count);
            }
        }
    }

    /// Whether it is known what was sent.
    pub(crate) fn is_known(&self) -> bool {
        self.link.is_some()
    }

    /// Counts a letter that was handed over.
    pub(crate) fn spend(&mut self, now: Instant) {
        if let Some(link) = self.link {
            self.windows.iter_mut().for_each(|window| window.spend(link.at_most(now), 1));
        }
        if self.reserved == u64::MAX {
            return;
        }
        self.unsaved += 1;
        let since = |at: Instant| self.link.map_or(0, |link| at.saturating_duration_since(link.before).as_millis() / CLOSE.as_millis());
        match self.fresh.back_mut() {
            Some((at, count)) if since(*at) == since(now) => (*at, *count) = (now, *count + 1),
            _ => self.fresh.push_back((now, 1)),
        }
    }

    /// What is left while `pending` letters are under way; nothing while it is not known what was sent.
    pub(crate) fn room(&mut self, now: Instant, pending: u64) -> Room {
        let Some(link) = self.link else { return Room { any: 0, urgent: 0 } };
        let (now, pending) = (link.at_least(now), pending + self.others);
        let mut least = |urgent| self.windows.iter_mut().map(|window| window.room(now, pending, urgent)).min().unwrap_or(u64::MAX);
        Room { any: least(false), urgent: least(true) }
    }

    /// How many more may be sent on what is reserved.
    pub(crate) fn credit(&self, pending: u64) -> u64 {
        self.reserved.saturating_sub(self.unsaved + pending)
    }

    /// Whether so much was sent since the sheet was written that it is worth writing it again.
    pub(crate) fn is_stale(&self) -> bool {
        (self.unsaved + self.ahead.saturating_sub(self.reserved)) * 2 >= self.ahead
    }

    /// How much is reserved ahead at most, and at least if there is so much room.
    pub(crate) fn ahead(&self) -> (u64, u64) {
        (self.ahead, self.ahead.min(AHEAD))
    }

    pub(crate) fn reserved(&self) -> u64 {
        self.reserved
    }

    /// So many may be sent from now on, those that the sheet does not tell of included.
    pub(crate) fn reserve(&mut self, count: u64) {
        self.reserved = count;
    }

    /// Sends that the sheet does not tell of.
    pub(crate) fn unsaved(&self) -> u64 {
        self.unsaved
    }

    /// The same one by one, by the database's clock: not earlier than it was.
    pub(crate) fn fresh(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.fresh.iter().filter_map(|(at, count)| Some((self.link?.at_most(*at), *count)))
    }

    /// The sheet tells of so many more.
    pub(crate) fn saved(&mut self, mut count: u64) {
        self.unsaved = self.unsaved.saturating_sub(count);
        while count > 0
            && let Some((_, sent)) = self.fresh.front_mut()
        {
            let covered = count.min(*sent);
            *sent -= covered;
            count -= covered;
            if *sent == 0 {
                self.fresh.pop_front();
            }
        }
    }

    /// The limit that keeps letters waiting for longest, if one does.
    pub(crate) fn spent_up(&mut self, now: Instant, pending: u64) -> Option<SpentUp> {
        let link = self.link?;
        let (at, pending) = (link.at_least(now), pending + self.others);
        let reached = self.windows.iter_mut().filter_map(|window| {
            let until = window.free_at(at, pending, false);
            (until != Some(at)).then(|| SpentUp { limit: window.limit(), span: window.span(), until: until.map(|at| link.surely(at)) })
        });
        reached.max_by_key(|spent| (spent.until, spent.span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::BreakerPlan,
        together::{Ask, Member, Terms},
    };

    const WALL: Duration = Duration::from_secs(1_700_000_000);

    fn rates(per_minute: Option<u32>, per_day: Option<u32>) -> Rates {
        Rates { per_minute, per_day, ..Rates::default() }
    }

    /// A budget, and a node that is alone and reads this sheet.
    fn begin(rates: &Rates, now: Instant, wall: Duration, sheet: &str) -> (Budget, Member) {
        let terms = Terms { sessions: 5, shared: false, whole: false, breaker: BreakerPlan::default() };
        let (mut budget, mut member) = (Budget::of(rates).unwrap(), Member::new("serve.1".to_owned(), terms));
        assert_eq!((budget.room(now, 0).urgent, budget.is_known()), (0, false), "nothing goes before it is known what was sent");
        member.look(1, sheet, Link { said: wall, before: now, after: now }, Some(&mut budget), None);
        (budget, member)
    }

    /// Writes the sheet.
    fn write(member: &mut Member, budget: &mut Budget, leave: bool, now: Instant) -> String {
        let draft = member.draft(&Ask { leave, ..Ask::default() }, Some(budget), None, now).expect("there is something to write");
        let (text, version) = (draft.text.clone(), draft.expected + 1);
        member.written(draft, version, Some(budget), None);
        text
    }

    #[test]
    fn the_narrowest_limit_holds_and_the_longest_wait_is_named() {
        let now = Instant::now();
        let (mut budget, _) = begin(&rates(Some(5), Some(7)), now, WALL, "");
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
        assert!(sentence.starts_with("its limit of 7 letters a day is reached; the next ones go from 1970-01-02 00:"), "{sentence}");
        assert!(Budget::of(&Rates::default()).is_none());
    }

    #[test]
    fn a_process_that_dies_leaves_an_account_that_is_not_too_low() {
        let now = Instant::now();
        let limits = rates(None, Some(1000));
        let (mut budget, mut member) = begin(&limits, now, WALL, "");
        assert_eq!(budget.credit(0), 0, "nothing goes before the first account is written");
        let (mut sheet, mut sent) = (String::new(), 0);
        while budget.room(now, 0).urgent > 0 {
            if budget.credit(0) == 0 {
                assert!(budget.is_stale());
                sheet = write(&mut member, &mut budget, false, now);
            }
            budget.spend(now);
            sent += 1;
            // It dies here.
            let (mut again, _) = begin(&limits, now, WALL, &sheet);
            let room = again.room(now, 0).urgent;
            assert!(room + sent <= 1000, "{sent} sent, and {room} more allowed");
            assert!(room + sent + 20 >= 1000, "little is lost: {sent} sent, {room} allowed");
        }
        let exact = write(&mut member, &mut budget, true, now);
        let (mut tomorrow, _) = begin(&limits, now, WALL + Duration::from_hours(25), &exact);
        assert_eq!(tomorrow.room(now, 0).urgent, 1000);
        let (mut set_back, _) = begin(&limits, now, WALL.saturating_sub(Duration::from_hours(300)), &exact);
        assert_eq!(set_back.room(now, 0).urgent, 0, "a clock set back makes no room");
    }

    #[test]
    fn what_others_have_reserved_is_not_there_to_be_spent() {
        let now = Instant::now();
        let link = Link { said: WALL, before: now, after: now };
        let mut budget = Budget::of(&rates(Some(100), None)).unwrap();
        budget.look(&[], 30, link);
        assert_eq!((budget.room(now, 20), budget.credit(0)), (Room { any: 40, urgent: 50 }, 0));
        budget.reserve(5);
        budget.spend(now);
        assert_eq!((budget.credit(1), budget.room(now, 0).urgent, budget.unsaved()), (3, 69, 1));
        budget.saved(1);
        assert_eq!((budget.credit(0), budget.fresh().count()), (5, 0));
    }

    #[test]
    fn an_account_that_cannot_be_read_is_no_harm() {
        for text in ["", "{}", "[]", "{\"at\":\"x\",\"windows\":[{\"span_s\":60,\"sent\":[[1]]}]}", "{\"windows\":7}"] {
            let (mut budget, _) = begin(&rates(Some(5), None), Instant::now(), WALL, text);
            assert_eq!(budget.room(Instant::now(), 0).any, 5);
        }
    }
}
