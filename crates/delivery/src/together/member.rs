//! One node's part: what it has read, what it holds, and what it writes.

use super::{
    LEASE, Link, MARGIN, RENEW,
    share::{Claimant, fair_share},
    sheet::{Ease, Entry, Hold, Sheet, keep_tallies, millis},
};
use crate::{
    breaker::{as_asked, delay_of},
    budget::Budget,
    courier::RelayTrouble,
    plan::BreakerPlan,
};
use std::time::Duration;
use tokio::time::Instant;

/// A node writes so many times at once at most, …
const BURST: u32 = 3;
/// … and for good so often: when there are others, and when there are none.
const PACE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(250));
/// What could not be had is not asked for again sooner, unless the sheet has changed.
const PATIENCE: Duration = Duration::from_millis(200);
/// How often the number of sessions doubles while all ease off.
const EASE: Duration = Duration::from_secs(1);

/// What a node goes by.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    /// Sessions of the relay in all.
    pub(crate) sessions: u16,
    /// Whether other nodes use the relay as well.
    pub(crate) shared: bool,
    /// Whether seats and the breaker are shared, or only what is counted: a folder on this machine is nobody else's trouble.
    pub(crate) whole: bool,
    pub(crate) breaker: BreakerPlan,
}

/// What a node has to say of the relay as a whole.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Word {
    /// It is in trouble; with the dice for the delay.
    Trouble(RelayTrouble, f64),
    /// It has too many sessions.
    Busy,
    /// A probe is due: may I?
    Probe,
    /// My probe got through.
    Recovered,
}

/// How a node stands, and what it could use.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Ask {
    /// Sessions it could use now, those included that it has and uses.
    pub(crate) need: u16,
    /// Sessions it has, idle ones included.
    pub(crate) open: u16,
    /// Whether it knows of more work than its sessions do.
    pub(crate) busy: bool,
    /// Whether the relay has answered since it last wrote.
    pub(crate) answers: bool,
    /// Letters that it has or means to claim, those handed over included.
    pub(crate) letters: u64,
    /// Letters handed over and not answered for.
    pub(crate) in_flight: u64,
    /// Whether the last of the room may be used: somebody waits for the letters.
    pub(crate) urgent: bool,
    /// What it has to say.
    pub(crate) word: Option<Word>,
    /// It is going: nothing is kept that can be given back.
    pub(crate) leave: bool,
}

/// What is to be written, if the sheet is as it was.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    /// The version that is known.
    pub(crate) expected: i64,
    /// The new text.
    pub(crate) text: String,
    sheet: Sheet,
    turn: u64,
    seats: u16,
    /// Sends that it tells of, and what may be sent on it.
    letters: (u64, u64),
    begins: (u64, u64),
    begun: Instant,
    until: Instant,
    holds: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Member {
    me: String,
    terms: Terms,
    link: Option<Link>,
    version: i64,
    sheet: Sheet,
    turn: u64,
    /// Sessions it may have …
    seats: u16,
    /// … until then, and with it all that it has reserved.
    until: Option<Instant>,
    /// Written perhaps.
    doubt: Option<Draft>,
    /// So many it should have, others considered.
    target: u16,
    /// What it could use, when it last wrote or wanted to.
    need: u16,
    /// The hold that this node probes or has probed.
    probed: u64,
    renew_at: Option<Instant>,
    /// Not before, except what cannot wait.
    write_at: Option<Instant>,
    /// When something was last looked for in vain.
    tried_at: Option<Instant>,
}

impl Member {
    /// A node under a name that no other desk has, now or soon.
    pub(crate) fn new(me: String, terms: Terms) -> Self {
        Self {
            me,
            terms,
            link: None,
            version: 0,
            sheet: Sheet::default(),
            turn: 0,
            seats: 0,
            until: None,
            doubt: None,
            target: u16::MAX,
            need: 0,
            probed: 0,
            renew_at: None,
            write_at: None,
            tried_at: None,
        }
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.terms.shared
    }

    /// Whether seats and the breaker are shared.
    pub(crate) fn is_whole(&self) -> bool {
        self.terms.shared && self.terms.whole
    }

    /// Whether the sheet was read.
    pub(crate) fn is_known(&self) -> bool {
        self.link.is_some()
    }

    /// Sessions that it may have now.
    pub(crate) fn seats(&self, now: Instant) -> u16 {
        match self.until {
            _ if !self.is_whole() => self.terms.sessions,
            Some(until) if now < until => self.seats,
            _ => 0,
        }
    }

    /// Sessions that it should have: fewer than it may if others want some of them.
    pub(crate) fn seats_to_use(&self, now: Instant) -> u16 {
        self.seats(now).min(self.target)
    }

    /// Whether it has no seat, and none is free or fair to have.
    pub(crate) fn is_hopeless(&self, now: Instant) -> bool {
        self.seats(now) == 0 && self.free() == 0 && self.sheet.nodes.get(&self.me).is_none_or(|mine| mine.wants == 0)
    }

    /// Until when it may begin anything; `None` is for ever.
    pub(crate) fn until(&self, now: Instant) -> Option<Instant> {
        self.terms.shared.then(|| self.until.unwrap_or(now))
    }

    /// When something must be written although nothing happens.
    pub(crate) fn renew_at(&self) -> Option<Instant> {
        self.renew_at
    }

    /// Whether something is asked for that a writing may bring.
    pub(crate) fn is_worth_a_try(&mut self, ask: &Ask, now: Instant, letters: Option<&Budget>, begins: Option<&Budget>) -> bool {
        self.need = ask.need;
        let short_of = |budget: Option<&Budget>, wanted: u64| budget.is_some_and(|budget| budget.credit(0) < wanted);
        let lack = self.others().any(|(_, other)| other.wants > other.seats || other.busy);
        ask.word.is_some()
            || ask.leave
            || self.doubt.is_some()
            || lack
            || self.renew_at.is_some_and(|at| at <= now)
            || (self.is_whole() && (ask.need > self.seats(now) || ask.busy || self.sheet.ease.is_some()))
            || short_of(letters, ask.letters)
            || letters.is_some_and(|budget| ask.letters > 0 && budget.is_stale())
            || (ask.need > ask.open && short_of(begins, 1))
    }

    /// From when on something that is wanted may be written.
    pub(crate) fn may_write_at(&self) -> Option<Instant> {
        let tried = self.tried_at.map(|at| at + PATIENCE);
        self.write_at.max(tried)
    }

    /// Seats that nobody has.
    pub(crate) fn free(&self) -> u16 {
        let others: u16 = self.others().map(|(_, entry)| entry.seats).sum();
        self.ceiling().saturating_sub(others)
    }

    /// Sessions that others have.
    pub(crate) fn open_elsewhere(&self) -> u16 {
        self.others().map(|(_, entry)| entry.open).sum()
    }

    /// Why nothing is sent, if the relay is held: since when, what is wrong, how often it has failed, when it may be tried, and whether this node is trying.
    pub(crate) fn hold(&self) -> Option<&Hold> {
        self.sheet.hold.as_ref()
    }

    /// Whether this node is the one who tries.
    pub(crate) fn is_prober(&self) -> bool {
        self.sheet.hold.as_ref().is_some_and(|hold| hold.prober.as_ref().is_some_and(|(who, _)| *who == self.me))
    }

    /// When the relay may be tried, by this node's clock: not while another one does.
    pub(crate) fn probe_at(&self) -> Option<Instant> {
        let (hold, link) = (self.sheet.hold.as_ref()?, self.link?);
        let taken = hold.prober.as_ref().filter(|(who, _)| *who != self.me).map_or(0, |(_, until)| *until);
        Some(link.surely(Duration::from_millis(hold.probe_at.max(taken))))
    }

    /// Since when the relay is held, by this node's clock.
    pub(crate) fn held_since(&self, now: Instant) -> Option<Instant> {
        let (hold, link) = (self.sheet.hold.as_ref()?, self.link?);
        let since = link.at_least(now).saturating_sub(Duration::from_millis(hold.since));
        Some(now.checked_sub(since).unwrap_or(now))
    }

    fn others(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.sheet.nodes.iter().filter(|(name, _)| **name != self.me)
    }

    /// Seats there are in all.
    fn ceiling(&self) -> u16 {
        let limit = self.terms.sessions.max(1);
        match self.sheet.ease {
            Some(ease) if self.others().next().is_some() => ease.seats.min(limit),
            _ => limit,
        }
    }

    /// Takes note of what the sheet says. `link` tells when it was asked for.
    pub(crate) fn look(&mut self, version: i64, text: &str, link: Link, letters: Option<&mut Budget>, begins: Option<&mut Budget>) {
        // A node that is alone goes by its own clock once it has begun.
        let link = if self.terms.shared { link } else { self.link.unwrap_or(link) };
        if version != self.version {
            self.tried_at = None;
        }
        (self.link, self.version) = (Some(link), version);
        self.sheet = Sheet::read(text, link.said);
        if !self.terms.shared {
            let mine = if self.turn > 0 { self.sheet.nodes.remove_entry(&self.me) } else { None };
            self.sheet.empty(link.at_least(link.after));
            self.sheet.nodes.extend(mine);
        }
        if self.turn == 0 && self.terms.shared {
            // An earlier process of this node, which is gone.
            self.sheet.drop_entry(&self.me, link.at_least(link.after));
        }
        let landed = self.doubt.take_if(|doubt| self.sheet.nodes.get(&self.me).is_some_and(|entry| entry.turn == doubt.turn));
        if let Some(draft) = landed {
            return self.written(draft, version, letters, begins);
        }
        // What was to be written over an earlier version never will be.
        self.doubt.take_if(|doubt| doubt.expected < version);
        self.catch_up(link.after, letters, begins);
    }

    /// Brings what this node holds in line with what the sheet says that it holds. If that has lapsed, what was sent on it is counted once more when it is told: a
    /// lapse that this node alone can see may not be what the others will see.
    fn catch_up(&mut self, now: Instant, letters: Option<&mut Budget>, begins: Option<&mut Budget>) {
        let Some(link) = self.link else { return };
        self.sheet.pass(link.at_least(now));
        let mine = self.sheet.nodes.get(&self.me);
        let held = mine.cloned().unwrap_or_default();
        self.seats = if self.doubt.is_some() { self.seats.min(held.seats) } else { held.seats };
        self.until = mine.map(|mine| link.not_before(Duration::from_millis(mine.until).saturating_sub(MARGIN)));
        if mine.is_none() {
            self.renew_at = None;
        }
        self.target = self.fair_target();
        let doubt = self.doubt.is_some();
        let elsewhere = |of: fn(&Entry) -> u64| self.others().map(|(_, entry)| of(entry)).sum::<u64>();
        for (budget, tallies, mine, others) in [
            (letters, &self.sheet.sent, held.letters, elsewhere(|entry| entry.letters)),
            (begins.filter(|_| self.terms.shared), &self.sheet.begun, held.begins, elsewhere(|entry| entry.begins)),
        ] {
            let Some(budget) = budget else { continue };
            budget.reserve(if doubt { budget.reserved().min(mine) } else { mine });
            budget.look(tallies, others, link);
        }
    }

    /// What is to be written, if anything is worth it. From now on the node goes by the narrower of what was and what is to be, until it knows which.
    pub(crate) fn draft(
        &mut self,
        ask: &Ask,
        mut letters: Option<&mut Budget>,
        mut begins: Option<&mut Budget>,
        now: Instant,
    ) -> Option<Draft> {
        let link = self.link?;
        let cannot_wait = ask.word.is_some() || ask.leave || !self.terms.shared;
        if !cannot_wait && self.may_write_at().is_some_and(|at| now < at) {
            return None;
        }
        self.need = ask.need;
        self.catch_up(now, letters.as_deref_mut(), begins.as_deref_mut());
        let now_ms = millis(link.at_least(now));
        let mut sheet = self.sheet.clone();
        let old = sheet.nodes.remove(&self.me);
        let had = old.is_some();
        let old = old.unwrap_or_default();
        let others = !sheet.nodes.is_empty();
        let renewal = had && self.terms.shared && now_ms + millis(LEASE.saturating_sub(RENEW)) >= old.until;
        let mut why = renewal || self.doubt.is_some() || (ask.leave && had);
        let mut entry = Entry { until: now_ms + millis(LEASE), turn: self.turn + 1, open: ask.open, ..Entry::default() };

        if self.is_whole() {
            why |= self.apply_word(&mut sheet, ask, now_ms);
            why |= grow(&mut sheet, self.terms.sessions, ask, others, now_ms);
            why |= self.take_seats(&sheet, ask, &old, renewal, &mut entry);
            why |= self.take_probe(&mut sheet, ask, &entry);
        }
        let sent = letters.as_deref_mut().map_or((0, 0), |budget| {
            let (count, worth) = self.ration_letters(budget, ask, others, now);
            why |= worth;
            keep_tallies(&mut sheet.sent, budget.spans());
            (budget.unsaved(), count)
        });
        let begun = begins.as_deref_mut().filter(|_| self.is_whole()).map_or((0, 0), |budget| {
            let (count, worth) = ration_begins(budget, ask, &entry, now);
            why |= worth;
            keep_tallies(&mut sheet.begun, budget.spans());
            (budget.unsaved(), count)
        });
        (entry.letters, entry.begins) = (sent.1, begun.1);
        if !why {
            self.tried_at = Some(now);
            return None;
        }
        // What was sent counts in every span that anybody minds.
        for (moment, count) in letters.as_deref().into_iter().flat_map(Budget::fresh) {
            sheet.sent.iter_mut().for_each(|tally| tally.add(moment, count));
        }
        for (moment, count) in begins.as_deref().filter(|_| self.is_whole()).into_iter().flat_map(Budget::fresh) {
            sheet.begun.iter_mut().for_each(|tally| tally.add(moment, count));
        }
        let prober = sheet.hold.as_ref().is_some_and(|hold| hold.prober.as_ref().is_some_and(|(who, _)| *who == self.me));
        let holds = entry.seats > 0 || entry.wants > 0 || entry.letters > 0 || entry.begins > 0 || entry.busy || entry.open > 0 || prober;
        let seats = entry.seats;
        if holds {
            sheet.nodes.insert(self.me.clone(), entry);
        }
        sheet.at = now_ms.max(sheet.at);
        self.turn += 1;
        // Until it is known which of both is written, no more than each allows.
        self.seats = self.seats.min(seats);
        for (budget, (covered, count)) in [(letters, sent), (begins.filter(|_| self.terms.shared), begun)] {
            if let Some(budget) = budget {
                budget.reserve(budget.reserved().min(covered + count));
            }
        }
        let until = link.not_before(Duration::from_millis(now_ms) + LEASE.saturating_sub(MARGIN));
        let (text, turn) = (sheet.text(), self.turn);
        Some(Draft { expected: self.version, text, sheet, turn, seats, letters: sent, begins: begun, begun: now, until, holds })
    }

    /// What it should go down to if others want what it has.
    fn fair_target(&self) -> u16 {
        if !self.others().any(|(_, other)| other.wants > other.seats) {
            return u16::MAX;
        }
        let mut claimants: Vec<Claimant<'_>> =
            self.others().map(|(name, other)| Claimant { name, has: other.seats, wants: other.wants }).collect();
        claimants.push(Claimant { name: &self.me, has: self.seats, wants: self.need });
        fair_share(self.ceiling(), &claimants, &self.me)
    }

    /// What this node says of the relay changes the sheet if it is still so.
    fn apply_word(&mut self, sheet: &mut Sheet, ask: &Ask, now_ms: u64) -> bool {
        let delay = |trouble: &RelayTrouble, failures: u32, dice: f64| {
            millis(delay_of(&self.terms.breaker, trouble, failures.saturating_sub(1) as usize, dice))
        };
        match &ask.word {
            None | Some(Word::Probe) => false,
            Some(Word::Trouble(trouble, dice)) => match &mut sheet.hold {
                None => {
                    sheet.hold = Some(Hold::new(trouble, now_ms, 1, now_ms + delay(trouble, 1, *dice)));
                    sheet.ease = None;
                    true
                }
                Some(hold) if hold.prober.as_ref().is_some_and(|(who, _)| *who == self.me) => {
                    let failures = hold.failures.saturating_add(1);
                    *hold = Hold::new(trouble, hold.since, failures, now_ms + delay(trouble, failures, *dice));
                    true
                }
                // Somebody has said so already. What the relay asks for counts, whomever it told.
                Some(hold) => {
                    let asked = trouble.pause.map_or(0, |pause| now_ms + millis(as_asked(pause)));
                    let longer = hold.prober.is_none() && asked > hold.probe_at;
                    hold.probe_at = hold.probe_at.max(if longer { asked } else { 0 });
                    longer
                }
            },
            Some(Word::Recovered) => {
                let over = sheet.hold.take_if(|hold| hold.since == self.probed).is_some();
                if over {
                    sheet.ease = Some(Ease { seats: 1, at: now_ms });
                }
                over
            }
            Some(Word::Busy) => {
                let open = ask.open + sheet.nodes.values().map(|entry| entry.open).sum::<u16>();
                sheet.ease = Some(Ease { seats: open.max(1), at: now_ms });
                true
            }
        }
    }

    /// Takes as many seats as are fair and free; gives back what others want and what it has closed.
    fn take_seats(&self, sheet: &Sheet, ask: &Ask, old: &Entry, renewal: bool, entry: &mut Entry) -> bool {
        let probes = sheet.hold.as_ref().is_some_and(|hold| match &hold.prober {
            Some((who, _)) => *who == self.me,
            None => ask.word == Some(Word::Probe),
        });
        let ceiling = self.ceiling();
        let taken: u16 = sheet.nodes.values().map(|other| other.seats).sum();
        let free = ceiling.saturating_sub(taken);
        let mut need = if sheet.hold.is_some() { u16::from(probes) } else { ask.need };
        if ask.leave {
            need = 0;
        } else if need == 0 && sheet.hold.is_none() && free == 0 && sheet.nodes.values().any(|other| other.busy) {
            // Others have more to do than they can: this node could help.
            need = ceiling;
        }
        let mut claimants: Vec<Claimant<'_>> =
            sheet.nodes.iter().map(|(name, other)| Claimant { name, has: other.seats, wants: other.wants }).collect();
        claimants.push(Claimant { name: &self.me, has: old.seats, wants: need });
        let share = fair_share(ceiling, &claimants, &self.me);
        // Where nothing is to be had it is not worth asking.
        entry.wants = if share == 0 { 0 } else { need };
        let others_lack = sheet.nodes.values().any(|other| other.wants > other.seats);
        let mut seats = share.min(free);
        if !(others_lack || renewal || ask.leave || sheet.hold.is_some()) {
            seats = seats.max(old.seats.min(free));
        }
        entry.seats = seats.max(ask.open.min(old.seats));
        entry.busy = ask.busy && sheet.hold.is_none() && !ask.leave;
        let gains = need > old.seats && entry.seats > old.seats;
        let gives = others_lack && entry.seats < old.seats;
        let asks = !sheet.nodes.is_empty() && entry.wants > entry.seats && entry.wants > old.wants;
        gains || gives || asks || (entry.busy && !old.busy)
    }

    /// The first who asks when it is time is the one who probes; it needs a seat for that.
    fn take_probe(&mut self, sheet: &mut Sheet, ask: &Ask, entry: &Entry) -> bool {
        let now_ms = entry.until - millis(LEASE);
        let Some(hold) = &mut sheet.hold else { return false };
        let mine = hold.prober.as_ref().is_some_and(|(who, _)| *who == self.me);
        if mine && ask.leave {
            hold.prober = None;
            return true;
        }
        let may = hold.prober.is_none() && ask.word == Some(Word::Probe) && hold.probe_at <= now_ms && entry.seats > 0;
        if mine || may {
            hold.prober = Some((self.me.clone(), entry.until));
            self.probed = hold.since;
        }
        may
    }

    /// How many letters to reserve, and whether it is worth writing for that.
    fn ration_letters(&self, budget: &mut Budget, ask: &Ask, others: bool, now: Instant) -> (u64, bool) {
        let (most, least) = budget.ahead();
        if ask.leave {
            return (0, true);
        }
        if !self.terms.shared {
            // Nobody else is there to be left without: what is counted ahead only costs something if this node dies.
            return (most, budget.is_stale());
        }
        let kept = budget.reserved().saturating_sub(budget.unsaved());
        let room = budget.room(now, 0);
        let room = if ask.urgent { room.urgent } else { room.any };
        let more = match ask.letters {
            0 => 0,
            _ if others => (budget.unsaved() * 2).clamp(least, most).min(room.saturating_sub(ask.letters) / 2),
            _ => most,
        };
        let count = (ask.letters + more).min(room).max(ask.in_flight.min(kept));
        let short = ask.letters > kept || (ask.letters > 0 && budget.unsaved() * 2 >= budget.reserved());
        (count, short && count > kept)
    }

    /// The next writing that can wait is not to come at once.
    fn pace(&mut self, begun: Instant) {
        let pace = if self.others().next().is_some() { PACE.0 } else { PACE.1 };
        let earliest = begun.checked_sub(pace * BURST).unwrap_or(begun);
        self.write_at = Some(self.write_at.map_or(earliest, |at| at.max(earliest)) + pace);
    }

    /// The draft was written as this version.
    pub(crate) fn written(&mut self, draft: Draft, version: i64, letters: Option<&mut Budget>, begins: Option<&mut Budget>) {
        let Some(link) = self.link else { return };
        self.pace(draft.begun);
        (self.version, self.sheet, self.seats, self.doubt, self.tried_at) = (version, draft.sheet, draft.seats, None, None);
        self.until = draft.holds.then_some(draft.until);
        self.renew_at = (draft.holds && self.terms.shared).then(|| draft.begun + RENEW);
        let elsewhere = |of: fn(&Entry) -> u64| self.others().map(|(_, entry)| of(entry)).sum::<u64>();
        for (budget, tallies, (covered, count), others) in [
            (letters, &self.sheet.sent, draft.letters, elsewhere(|entry| entry.letters)),
            (begins.filter(|_| self.terms.shared), &self.sheet.begun, draft.begins, elsewhere(|entry| entry.begins)),
        ] {
            if let Some(budget) = budget {
                budget.saved(covered);
                budget.reserve(count);
                budget.look(tallies, others, link);
            }
        }
    }

    /// Somebody else has written first: `look` at what.
    pub(crate) fn moved(
        &mut self,
        draft: Draft,
        version: i64,
        text: &str,
        link: Link,
        mut letters: Option<&mut Budget>,
        mut begins: Option<&mut Budget>,
    ) {
        // It may have been written all the same, and somebody else have written after it.
        self.doubt = Some(draft);
        self.look(version, text, link, letters.as_deref_mut(), begins.as_deref_mut());
        if self.doubt.take().is_some() {
            self.catch_up(link.after, letters, begins);
        }
    }

    /// It is not known whether the draft was written: until that is clear the node goes by the narrower of both.
    pub(crate) fn in_doubt(&mut self, draft: Draft) {
        self.pace(draft.begun);
        self.doubt = Some(draft);
    }
}

/// Sessions come back by and by: as the relay answers, twice as many a second later.
fn grow(sheet: &mut Sheet, limit: u16, ask: &Ask, others: bool, now_ms: u64) -> bool {
    let Some(ease) = sheet.ease else { return false };
    if !others {
        // Who is alone knows by itself when it may have more.
        sheet.ease = Some(ease).filter(|ease| ask.need <= ease.seats && sheet.hold.is_none());
        return false;
    }
    if !ask.answers || sheet.hold.is_some() || now_ms < ease.at + millis(EASE) {
        return false;
    }
    let seats = ease.seats.saturating_mul(2);
    sheet.ease = (seats < limit).then_some(Ease { seats, at: now_ms });
    true
}

/// How many sessions it may begin, and whether it is worth writing for that.
fn ration_begins(budget: &mut Budget, ask: &Ask, entry: &Entry, now: Instant) -> (u64, bool) {
    let to_begin = u64::from(entry.seats.min(ask.need.max(u16::from(ask.word == Some(Word::Probe)))).saturating_sub(ask.open));
    let kept = budget.reserved().saturating_sub(budget.unsaved());
    let count = if ask.leave { 0 } else { to_begin.min(budget.room(now, 0).urgent) };
    (count, to_begin > kept && count > kept)
}
