//! The bench between a desk and its sessions: leased items wait on it by lane, sessions take them through the environment guard and leave outcomes.

mod seat;

pub(crate) use seat::Seat;

use crate::{
    budget::{Budget, Room, SpentUp},
    courier::Load,
    dice::Dice,
    gauges::{Counted, Gauges},
    house::House,
    news::{News, Newswire},
    plan::{Rates, RelayPlan, Way},
    smtp::{
        classify::{Class, ReplyTable},
        reply::Reply,
    },
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tidings_core::{
    Address, Clock, Id, Kind, Lane,
    guard::{Cleared, EnvironmentGuard, Verdict},
    kind::AfterUnknown,
    lane::next_turn,
    outbox::{Outcome, Refusal, Settlement, Stage, Standing, settle},
    retry::RetryPolicy,
    verp::VerpKey,
};
use tidings_store::Lease;
use tokio::{
    sync::{Notify, mpsc::UnboundedSender},
    time::Instant,
};

/// How long a lease lasts; prolonged at a third of that.
pub(crate) const LEASE: Duration = Duration::from_mins(5);
/// A session without work for so long says goodbye.
const IDLE: Duration = Duration::from_secs(10);
/// An item under which so many sessions broke off during its content is taken for the cause, and the next break spends an attempt.
const STRIKES: u8 = 2;

/// What the outside needs to know to settle an item.
struct Flight {
    standing: Standing,
    lane: Lane,
    sender: Option<Address>,
    taken_over: bool,
}

/// What the desk wants to be told of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch {
    /// That in this lane and all more urgent ones …
    pub(crate) lane: Lane,
    /// … no more than so many items are left.
    pub(crate) low_water: usize,
    /// Every answer of the relay, because more sessions may follow it.
    pub(crate) answers: bool,
}

struct Shelves {
    lanes: [VecDeque<Lease>; Lane::ALL.len()],
    queued: usize,
    /// Taken by a session and not reported yet.
    flights: HashMap<Id, Flight>,
    /// The term of the node's membership in which everything on the shelves was leased.
    term: u64,
    /// What was leased in an earlier one, and that no session has.
    orphans: Vec<Flight>,
    /// Until when all of it is leased at least.
    leased_until: Instant,
    /// Whether sessions may take items.
    gate: bool,
    /// When the desk is told that little is left.
    watch: Watch,
    /// Items of relays that this one takes over for.
    taken_over: HashSet<Id>,
    /// Letters given to sessions.
    turn: u64,
    /// Sessions waiting for an item.
    idle: usize,
    strikes: HashMap<Id, u8>,
    dice: Dice,
    answered: u64,
    opened: u64,
    /// What the relay may still be given, if that is limited.
    budget: Option<Budget>,
    /// Until when letters may be handed over; absent if nobody else shares the relay.
    until: Option<Instant>,
    /// Sessions that may be open; those that are; those of them that are told to end.
    seats: u16,
    sessions: usize,
    leaving: usize,
    /// Sender addresses that the relay does not let write, as far as they were told.
    refused_senders: HashSet<String>,
}

/// What a session is given of a lease: with an envelope sender of its own, if the relay is to have such ones and the letter's has room for it.
pub(crate) fn load(return_paths: Option<&VerpKey>, lease: Lease, to: Cleared) -> Load {
    let own = return_paths.zip(lease.sender.as_ref()).and_then(|(key, sender)| key.address(sender, lease.id));
    Load::new(lease.id, to, own.or(lease.sender), lease.bytes, lease.message_id)
}

impl Shelves {
    /// Takes everything off.
    fn clear(&mut self) -> Vec<Flight> {
        self.queued = 0;
        let taken_over = std::mem::take(&mut self.taken_over);
        self.lanes.iter_mut().flat_map(std::mem::take).map(|lease| flight(&lease, taken_over.contains(&lease.id))).collect()
    }

    /// Whether the leases hold, and what is agreed with other nodes and written down ahead leaves room for one more letter on the wire.
    fn may_hand_over(&self, now: Instant) -> bool {
        let in_flight = self.flights.len() as u64;
        now < self.leased_until
            && self.until.is_none_or(|until| now < until)
            && self.budget.as_ref().is_none_or(|budget| budget.credit(in_flight) > 0)
    }
}

/// See the module.
pub(crate) struct Bench {
    pub(crate) relay: Arc<str>,
    guard: EnvironmentGuard,
    /// Whether behind this bench is the file of `safety.file`, the only place where letters of mode `file` may go.
    to_file: bool,
    retry: RetryPolicy,
    clock: Arc<dyn Clock>,
    house: Arc<House>,
    outcomes: UnboundedSender<Settlement>,
    pub(crate) gauges: Gauges,
    /// What the relay's refusals mean.
    replies: ReplyTable,
    news: Newswire,
    /// Makes each letter's envelope sender one of its own.
    return_paths: Option<VerpKey>,
    shelves: Mutex<Shelves>,
    /// For sessions: an item came, or the gate moved.
    work: Notify,
    /// For the desk: little is left, or an answer came.
    pub(crate) attention: Notify,
}

/// What a bench is made of.
pub(crate) struct BenchParts {
    pub(crate) relay: Arc<str>,
    pub(crate) guard: EnvironmentGuard,
    pub(crate) to_file: bool,
    pub(crate) retry: RetryPolicy,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) house: Arc<House>,
    pub(crate) outcomes: UnboundedSender<Settlement>,
    pub(crate) seed: u64,
    pub(crate) rates: Rates,
    /// Whether other nodes use the relay as well: nothing is handed over before they agree.
    pub(crate) shared: bool,
    pub(crate) replies: ReplyTable,
    pub(crate) news: Newswire,
    pub(crate) return_paths: Option<VerpKey>,
}

/// What the limits of a relay allow to claim now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// By the limits.
    pub(crate) room: Room,
    /// By what is reserved in the relay's sheet.
    pub(crate) credit: u64,
    /// Whether it is worth writing that again.
    pub(crate) stale: bool,
    /// Whether it is known what was sent.
    pub(crate) known: bool,
}

/// Items leased: waiting for a session, and on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) queued: u64,
    pub(crate) in_flight: u64,
}

/// A look at a bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BenchView {
    pub(crate) queued: usize,
    pub(crate) by_lane: [usize; Lane::ALL.len()],
    pub(crate) in_flight: usize,
    pub(crate) idle: usize,
    pub(crate) answered: u64,
    pub(crate) opened: u64,
}

impl Bench {
    pub(crate) fn new(parts: BenchParts) -> Self {
        let BenchParts { relay, guard, to_file, retry, clock, house, outcomes, seed, rates, shared, replies, news, return_paths } = parts;
        let shelves = Shelves {
            lanes: Default::default(),
            queued: 0,
            flights: HashMap::new(),
            term: house.tenure.term(),
            orphans: Vec::new(),
            leased_until: Instant::now() + LEASE,
            gate: false,
            watch: Watch { lane: Lane::Digests, low_water: 0, answers: true },
            taken_over: HashSet::new(),
            turn: 0,
            idle: 0,
            strikes: HashMap::new(),
            dice: Dice::seeded(seed),
            answered: 0,
            opened: 0,
            budget: Budget::of(&rates),
            until: shared.then(Instant::now),
            seats: u16::MAX,
            sessions: 0,
            leaving: 0,
            refused_senders: HashSet::new(),
        };
        let (gauges, shelves) = (Gauges::of(&relay), Mutex::new(shelves));
        Self {
            relay,
            guard,
            to_file,
            retry,
            clock,
            house,
            outcomes,
            gauges,
            replies,
            news,
            return_paths,
            shelves,
            work: Notify::new(),
            attention: Notify::new(),
        }
    }

    /// What was leased in an earlier term of the membership is not this node's any more, and off the shelves at the first look.
    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        let mut s = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        let term = self.house.tenure.term();
        if s.term != term {
            s.term = term;
            let off = s.clear();
            s.orphans.extend(off);
        }
        s
    }

    pub(crate) fn view(&self) -> BenchView {
        let s = self.shelves();
        let by_lane = std::array::from_fn(|lane| s.lanes[lane].len());
        BenchView { queued: s.queued, by_lane, in_flight: s.flights.len(), idle: s.idle, answered: s.answered, opened: s.opened }
    }

    pub(crate) fn roll(&self) -> f64 {
        self.shelves().dice.roll()
    }

    /// Puts leases on the shelves that were asked for in this term, of this relay or of one it takes over for, and calls as many sessions as can use them.
    pub(crate) fn put(&self, leases: Vec<Lease>, term: u64, taken_over: bool) {
        let mut s = self.shelves();
        if s.term != term {
            s.orphans.extend(leases.iter().map(|lease| flight(lease, taken_over)));
            return;
        }
        let calls = leases.len().min(s.idle.max(1));
        for lease in leases {
            // Only the clock can have ended a lease that this node still has: whoever carries the item settles it, under the new token.
            if let Some(flight) = s.flights.get_mut(&lease.id) {
                flight.standing.token = lease.token;
                continue;
            }
            if let Some(settlement) = self.house.outcome_of(lease.id, lease.token) {
                self.house.outcome_known(&settlement);
                let _ = self.outcomes.send(settlement);
                continue;
            }
            if taken_over {
                s.taken_over.insert(lease.id);
            }
            if lease.maybe_duplicate {
                s.lanes.iter_mut().for_each(|lane| lane.retain(|earlier| earlier.id != lease.id));
            }
            s.lanes[lease.lane as usize].push_back(lease);
        }
        s.queued = s.lanes.iter().map(VecDeque::len).sum();
        drop(s);
        for _ in 0..calls {
            self.work.notify_one();
        }
    }

    /// Changes what the desk is told of.
    pub(crate) fn watch(&self, watch: Watch) {
        self.shelves().watch = watch;
    }

    /// Lets sessions take items, or ends them once what is on the wire is done.
    pub(crate) fn set_gate(&self, open: bool) {
        let changed = std::mem::replace(&mut self.shelves().gate, open) != open;
        if changed {
            self.rouse();
        }
    }

    /// Has every waiting session look again.
    pub(crate) fn rouse_sessions(&self) {
        self.work.notify_waiters();
    }

    /// Has every waiting session look again, and the desk.
    pub(crate) fn rouse(&self) {
        self.work.notify_waiters();
        self.attention.notify_one();
    }

    /// Gives back what no session has taken.
    pub(crate) fn return_queued(&self, why: &str) {
        let flights = self.shelves().clear();
        for flight in flights {
            self.settle(&flight, Outcome::Returned { what: why.to_owned() });
        }
    }

    /// What gives back everything that was leased in an earlier term of the membership and that no session has. Whoever ended that term has taken back what was leased by then, under new tokens;
    /// but a claim that was under way has a lease that nobody else looks for until it ends.
    pub(crate) fn orphans(&self) -> Vec<Settlement> {
        let orphans = std::mem::take(&mut self.shelves().orphans);
        let returned = || Outcome::Returned { what: "not sent: the membership of this node ended while it was claimed".to_owned() };
        orphans.iter().map(|flight| self.settlement(flight, returned(), 0.5)).collect()
    }

    /// Everything leased that is not settled, for prolonging the leases.
    pub(crate) fn leases(&self) -> Vec<(Id, i64)> {
        let s = self.shelves();
        let queued = s.lanes.iter().flatten().map(|lease| (lease.id, lease.token));
        queued.chain(s.flights.values().map(|flight| (flight.standing.id, flight.standing.token))).collect()
    }

    /// Everything on the shelves is leased until then.
    pub(crate) fn prolonged(&self, until: Instant) {
        let was_over = {
            let mut s = self.shelves();
            let before = std::mem::replace(&mut s.leased_until, until);
            before <= Instant::now()
        };
        if was_over {
            self.rouse();
        }
    }

    /// Takes items off the shelves whose lease is lost; those on the wire are settled as stale later.
    pub(crate) fn forget(&self, lost: &[Id]) {
        let mut s = self.shelves();
        for lane in &mut s.lanes {
            lane.retain(|lease| !lost.contains(&lease.id));
        }
        for id in lost {
            s.taken_over.remove(id);
        }
        s.queued = s.lanes.iter().map(VecDeque::len).sum();
    }

    /// Remembers under which item a session broke off in its content.
    pub(crate) fn strike(&self, item: Id) {
        let mut s = self.shelves();
        if s.strikes.len() > 1000 {
            s.strikes.clear();
        }
        *s.strikes.entry(item).or_default() += 1;
    }

    /// The next item that the guard lets through: of the highest lane, and once in a while of the one that has waited longest.
    fn take(&self) -> Option<Load> {
        loop {
            let open = self.house.open_lanes();
            if open.is_empty() {
                return None;
            }
            let (lease, low) = {
                let mut s = self.shelves();
                if !s.gate || !s.may_hand_over(Instant::now()) {
                    return None;
                }
                let heads = Lane::ALL.map(|lane| s.lanes[lane as usize].front().filter(|_| open.has(lane)).map(|lease| lease.accepted_at));
                let lane = next_turn(s.turn + 1, &heads)?;
                let lease = s.lanes[lane as usize].pop_front()?;
                s.turn += 1;
                s.queued -= 1;
                let taken_over = s.taken_over.remove(&lease.id);
                s.flights.insert(lease.id, flight(&lease, taken_over));
                let left = || s.lanes[..=s.watch.lane as usize].iter().map(VecDeque::len).sum::<usize>();
                (lease, s.queued == 0 || (lane <= s.watch.lane && [0, s.watch.low_water].contains(&left())))
            };
            if low {
                self.attention.notify_one();
            }
            let refused = match self.guard.admit(&lease.to, lease.role) {
                // A letter that could not be written is kept empty; it is never sent raw or empty.
                _ if lease.bytes.is_empty() => Outcome::Withheld { why: "the letter could not be written and is empty".to_owned() },
                Verdict::Send(to) => return Some(load(self.return_paths.as_ref(), lease, to)),
                Verdict::ToFile(to) if self.to_file => return Some(load(self.return_paths.as_ref(), lease, to)),
                Verdict::ToFile(_) => Outcome::Withheld { why: "safety.mode is \"file\" but safety.file names no file".to_owned() },
                Verdict::Hold(why) => Outcome::Withheld { why },
                Verdict::Refuse(why) => Outcome::Barred { why },
            };
            self.report(lease.id, refused, false);
        }
    }

    /// Settles an item that a session had taken.
    fn report(&self, item: Id, outcome: Outcome, session_was_open: bool) {
        let (flight, outcome) = {
            let mut s = self.shelves();
            let Some(flight) = s.flights.remove(&item) else { return };
            if was_handed_over(&outcome)
                && let Some(budget) = &mut s.budget
            {
                budget.spend(Instant::now());
            }
            let outcome = match outcome {
                Outcome::Returned { what } if session_was_open && s.strikes.get(&item).is_some_and(|n| *n >= STRIKES) => {
                    let reply = format!("{what} (again and again at this letter)");
                    Outcome::Refused(Refusal::Transient { stage: Stage::Content, reply })
                }
                other => other,
            };
            if matches!(outcome, Outcome::Sent { .. } | Outcome::Refused(_)) {
                s.answered += 1;
                s.strikes.remove(&item);
                if s.answered.is_power_of_two() || s.answered.is_multiple_of(64) || s.idle > 0 || s.watch.answers || s.budget.is_some() {
                    self.attention.notify_one();
                }
            }
            (flight, outcome)
        };
        self.mind_the_sender(&flight, &outcome);
        self.settle(&flight, outcome);
    }

    /// Tells, once for each address, that the relay does not let a sender write: every letter of his will fail until somebody grants it.
    fn mind_the_sender(&self, flight: &Flight, outcome: &Outcome) {
        /// Nobody has so many; what comes after is no longer told.
        const MOST: usize = 100;
        let Outcome::Refused(Refusal::Permanent { stage, reply }) = outcome else { return };
        let Ok(Some((parsed, _))) = Reply::parse(format!("{reply}\r\n").as_bytes()) else { return };
        if self.replies.rule(*stage, &parsed).is_none_or(|rule| rule.class != Class::Sender) {
            return;
        }
        let from = flight.sender.as_ref().map_or_else(|| "<>".to_owned(), ToString::to_string);
        let masked = flight.sender.as_ref().map_or_else(|| "<>".to_owned(), Address::masked);
        {
            let mut s = self.shelves();
            if s.refused_senders.len() >= MOST || !s.refused_senders.insert(from.clone()) {
                return;
            }
        }
        tracing::error!(relay = %self.relay, mail.from = %masked, reply = %reply, "the relay does not let this sender write; its letters fail");
        self.news.tell(&self.relay, News::SenderRefused { from, reply: reply.clone() });
    }

    /// How many letters the limits leave, besides those that are leased already; `None` if nothing is limited.
    pub(crate) fn room(&self) -> Option<Allowed> {
        let s = &mut *self.shelves();
        let pending = (s.queued + s.flights.len()) as u64;
        let budget = s.budget.as_mut()?;
        Some(Allowed {
            room: budget.room(Instant::now(), pending),
            credit: budget.credit(pending),
            stale: budget.is_stale(),
            known: budget.is_known(),
        })
    }

    /// The limit that is reached, if one is.
    pub(crate) fn spent_up(&self) -> Option<SpentUp> {
        let s = &mut *self.shelves();
        let pending = (s.queued + s.flights.len()) as u64;
        s.budget.as_mut()?.spent_up(Instant::now(), pending)
    }

    /// Has the budget, if there is one, and what is leased and on the wire, looked at or changed.
    pub(crate) fn confer<T>(&self, with: impl FnOnce(Option<&mut Budget>, Held) -> T) -> T {
        let s = &mut *self.shelves();
        let held = Held { queued: s.queued as u64, in_flight: s.flights.len() as u64 };
        with(s.budget.as_mut(), held)
    }

    /// What other nodes leave to this one: so many sessions, and letters until then. Sessions that are too many end.
    pub(crate) fn allow(&self, seats: u16, until: Option<Instant>) {
        let fewer = {
            let mut s = self.shelves();
            let fewer = usize::from(seats) < s.sessions - s.leaving;
            (s.seats, s.until) = (seats, until);
            fewer
        };
        if fewer {
            self.work.notify_waiters();
        }
    }

    fn settlement(&self, flight: &Flight, outcome: Outcome, dice: f64) -> Settlement {
        let relay = flight.taken_over.then(|| Arc::clone(&self.relay));
        Settlement { relay, ..settle(&flight.standing, outcome, &self.retry, self.clock.now(), dice) }
    }

    fn settle(&self, flight: &Flight, outcome: Outcome) {
        let counted = Counted::from(&outcome);
        let dice = if matches!(counted, Counted::Transient | Counted::Unknown) { self.roll() } else { 0.5 };
        let settlement = self.settlement(flight, outcome, dice);
        self.gauges.count(flight.lane, flight.standing.accepted_at, counted, &settlement);
        match counted {
            Counted::Sent => tracing::debug!(relay = %self.relay, outbox.item = %settlement.id, attempts = settlement.attempts, "sent"),
            Counted::Nothing => {
                tracing::debug!(relay = %self.relay, outbox.item = %settlement.id, outbox.outcome = settlement.what, "not sent");
            }
            _ => {
                tracing::info!(relay = %self.relay, outbox.item = %settlement.id, outbox.outcome = settlement.what, outbox.state = %settlement.state, attempts = settlement.attempts, "not taken");
            }
        }
        self.house.outcome_known(&settlement);
        // The settler outlives every bench; if it is gone the process is ending, and the lease lapses.
        let _ = self.outcomes.send(settlement);
    }
}

fn flight(lease: &Lease, taken_over: bool) -> Flight {
    let standing = Standing {
        id: lease.id,
        token: lease.token,
        accepted_at: lease.accepted_at,
        attempts: lease.attempts,
        maybe_duplicate: lease.maybe_duplicate,
        after_unknown: Kind::find(&lease.kind).map_or(AfterUnknown::Retry, |kind| kind.after_unknown),
    };
    Flight { standing, lane: lease.lane, taken_over, sender: lease.sender.clone() }
}

/// What the refusals of a relay mean: the rows of its plan before the standard ones.
pub(crate) fn replies_of(plan: &RelayPlan) -> ReplyTable {
    match &plan.way {
        Way::Smtp(smtp) => ReplyTable { own: smtp.replies.clone() },
        Way::Graph(_) | Way::Pickup(_) | Way::File { .. } => ReplyTable::default(),
    }
}

/// Whether the relay got the letter, whatever it made of it: that is what it counts.
fn was_handed_over(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Sent { .. } | Outcome::Unknown { .. } => true,
        Outcome::Refused(Refusal::Transient { stage, .. } | Refusal::Permanent { stage, .. }) => *stage == Stage::Content,
        Outcome::Returned { .. } | Outcome::Withheld { .. } | Outcome::Barred { .. } => false,
    }
}
