//! The desk of one relay: claims what is due, keeps as many sessions as help, holds the relay when it is in trouble, and says so.

mod claims;
mod confer;

use crate::{
    bench::{Bench, LEASE, Seat},
    breaker::{Breaker, Condition},
    budget::Budget,
    courier::{Courier, RelayTrouble, SessionEnd, TroubleKind},
    drain::Remarks,
    house::House,
    news::{News, Newswire},
    plan::{RelayPlan, Way},
    queue::Queue,
    standings::{GRACE, Standings},
    together::{Hold, Member, Terms, Word},
};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tidings_core::{
    Clock,
    lane::LaneSet,
    outbox::{Settlement, Stage},
    time::later,
};
use tidings_store::{RelayReport, Store};
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until},
};

/// The desk looks for due items at least so often: a hint may be missed, and delays run out silently.
const POLL: Duration = Duration::from_secs(1);
/// Bytes of letters leased at a time.
const CLAIM_BYTES: usize = 8 * 1024 * 1024;
/// Most items leased at a time.
const MOST_CLAIMED: u16 = 512;
/// A batch that is gone sooner doubles the next one, a batch that lasts longer halves it: what is leased is hidden from other nodes.
const BATCH_LASTS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(400));
/// A relay that has too many sessions gets no new one for so long.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// How a relay stands in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayStatus {
    /// Its name.
    pub name: String,
    /// `open`, `held`, `throttled` (a limit is reached), `stalled` (files are not collected) or `ramping`.
    pub condition: &'static str,
    /// Why it is held or throttled, and what to do about it.
    pub reason: Option<String>,
    /// Whether an operator has paused it.
    pub paused: bool,
    /// Sessions open or being opened.
    pub sessions: usize,
    /// Items leased and not answered for.
    pub leased: usize,
}

pub(crate) struct RelayDesk {
    plan: RelayPlan,
    courier: Arc<dyn Courier>,
    bench: Arc<Bench>,
    store: Arc<dyn Store>,
    house: Arc<House>,
    clock: Arc<dyn Clock>,
    /// Its place in the standings.
    place: usize,
    /// The desk before this one ended while the relay was held: that it works again is still to be told.
    owes_recovery: bool,
    standings: Arc<Standings>,
    status: Arc<Mutex<RelayStatus>>,
    news: Newswire,
    /// What is to be said of its pickup directory.
    remarks: Arc<Remarks>,
    breaker: Breaker,
    /// Since when it is held.
    held_since: Option<Instant>,
    sessions: JoinSet<(Seat, SessionEnd)>,
    /// Sessions begun and not let in yet.
    starting: usize,
    /// Sessions allowed now; grows to the limit as the relay answers.
    cap: u16,
    ramping: bool,
    batch: u16,
    last_full_claim: Option<Instant>,
    /// Its own queue first, then those of relays it takes over for.
    queues: Vec<Queue>,
    /// Which queue is asked first: in turn, so that none waits behind another.
    first: usize,
    probe_wanted: bool,
    busy_until: Option<Instant>,
    seen: (u64, u64),
    prolong_at: Instant,
    poll_at: Instant,
    said: Option<(&'static str, Option<String>)>,
    next_probe: Option<Instant>,
    /// The limit that is reached.
    throttled: Option<Throttle>,
    /// Whether the limits kept us from claiming what may be due.
    held_back: bool,
    /// Sessions begun lately, if that is limited.
    begins: Option<Budget>,
    /// This desk's part in what the nodes agree on.
    member: Member,
    /// When it looks again at what the others say.
    look_at: Instant,
    /// What it has to say to the others of the relay.
    word: Option<Word>,
    /// The hold that it goes by, as it stands in the sheet.
    followed: Option<Hold>,
    /// Whether the relay has answered since the sheet was written.
    answers: bool,
    /// Letters that it means to claim once they are reserved.
    wished: u64,
    /// What it has to give back without having tried it.
    orphans: Vec<Settlement>,
}

/// A limit that keeps letters waiting.
#[derive(Debug, Clone)]
struct Throttle {
    reason: String,
    until: Option<Instant>,
}

/// What a desk is made of.
pub(crate) struct DeskParts {
    pub(crate) plan: RelayPlan,
    pub(crate) courier: Arc<dyn Courier>,
    pub(crate) bench: Arc<Bench>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) house: Arc<House>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) place: usize,
    pub(crate) standings: Arc<Standings>,
    pub(crate) status: Arc<Mutex<RelayStatus>>,
    pub(crate) news: Newswire,
    pub(crate) remarks: Arc<Remarks>,
    /// Whether other nodes use the relay as well.
    pub(crate) shared: bool,
}

/// Tells desks of one node apart that are at work for the same relay, one after the other.
static DESKS: AtomicU32 = AtomicU32::new(1);

impl RelayDesk {
    pub(crate) fn new(parts: DeskParts) -> Self {
        let DeskParts { plan, courier, bench, store, house, clock, place, standings, status, news, remarks, shared } = parts;
        let (now, breaker) = (Instant::now(), Breaker::new(plan.breaker.clone()));
        let owes_recovery = status.lock().unwrap_or_else(PoisonError::into_inner).condition == "held";
        let batch = smallest_batch(&plan);
        let queues = vec![Queue::new(Arc::clone(&standings.place(place).name), None)];
        // What goes into a folder or file is written by this machine alone, and so is the trouble with it.
        let whole = shared && matches!(plan.way, Way::Smtp(_) | Way::Graph(_));
        let begins = Budget::of_sessions(&plan.rates).map(|budget| if whole { budget } else { budget.in_memory(now) });
        let terms = Terms { sessions: plan.limits.sessions.max(1), shared, whole, breaker: plan.breaker.clone() };
        let member = Member::new(format!("{}.{}", house.tenure.name(), DESKS.fetch_add(1, Ordering::Relaxed)), terms);
        Self {
            plan,
            courier,
            bench,
            store,
            house,
            clock,
            place,
            owes_recovery,
            standings,
            status,
            news,
            remarks,
            breaker,
            held_since: None,
            sessions: JoinSet::new(),
            starting: 0,
            cap: 1,
            ramping: false,
            batch,
            last_full_claim: None,
            queues,
            first: 0,
            probe_wanted: false,
            busy_until: None,
            seen: (0, 0),
            prolong_at: now + LEASE / 3,
            poll_at: now + POLL,
            said: None,
            next_probe: None,
            throttled: None,
            held_back: false,
            begins,
            member,
            look_at: now,
            word: None,
            followed: None,
            answers: false,
            wished: 0,
            orphans: Vec::new(),
        }
    }

    /// Works until told to stop; then ends its sessions in order and gives back what was not sent.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut arrivals = self.store.arrivals();
        let mut seen = *arrivals.borrow_and_update();
        let mut standings = self.standings.changes();
        let (bench, remarks) = (Arc::clone(&self.bench), Arc::clone(&self.remarks));
        self.turn().await;
        while !*stop.borrow_and_update() {
            let wake_at = self.wake_at();
            tokio::select! {
                biased;
                _ = stop.changed() => continue,
                Some(ended) = self.sessions.join_next() => self.session_over(ended),
                () = bench.attention.notified() => {}
                () = remarks.changed.notified() => {}
                _ = standings.changed() => {}
                changed = arrivals.changed() => match changed {
                    Ok(()) => {
                        let now = *arrivals.borrow_and_update();
                        if !self.heard(now.since(std::mem::replace(&mut seen, now))) {
                            continue;
                        }
                    }
                    // The store is closing; its verbs will say so.
                    Err(_) => sleep_until(wake_at).await,
                },
                () = sleep_until(wake_at) => {}
            }
            let now = Instant::now();
            if now >= self.poll_at {
                self.heard(LaneSet::ALL);
                self.poll_at = now + POLL;
            }
            self.turn().await;
        }
        self.finish().await;
    }

    /// When to look again although nothing is heard.
    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let away_at = self.held_since.map(|since| since + GRACE).filter(|at| *at > now);
        let looks = self.queues.iter().filter(|queue| !queue.pending.is_empty() && queue.look_at > now).map(|queue| queue.look_at);
        looks.chain(self.next_probe).chain(away_at).chain(self.confer_at(now)).fold(self.poll_at, Instant::min)
    }

    /// Something may have come in these lanes; says whether that is new.
    fn heard(&mut self, lanes: LaneSet) -> bool {
        let mut news = false;
        for queue in &mut self.queues {
            news |= queue.heard(lanes);
        }
        news
    }

    async fn finish(&mut self) {
        self.bench.set_gate(false);
        self.bench.return_queued("not sent: this program is shutting down");
        loop {
            let confer_at = self.confer_at(Instant::now()).unwrap_or(self.prolong_at);
            tokio::select! {
                ended = self.sessions.join_next() => match ended {
                    Some(ended) => self.session_over(ended),
                    None => break,
                },
                () = sleep_until(self.prolong_at) => self.prolong().await,
                () = sleep_until(confer_at) => {
                    self.look().await;
                    self.confer(false).await;
                }
            }
        }
        self.give_back_orphans().await;
        self.leave().await;
        self.bench.gauges.sessions.set(0.0);
        self.publish();
    }

    /// Brings everything in line with what is known now.
    async fn turn(&mut self) {
        self.note_answers();
        if Instant::now() >= self.prolong_at {
            self.prolong().await;
        }
        self.look().await;
        self.probe_if_due().await;
        self.take_stand();
        let paused = self.is_paused();
        let flows = !paused && !matches!(self.breaker.condition(), Condition::Held(..));
        self.bench.set_gate(flows);
        if flows {
            self.claim().await;
            self.confer(true).await;
            self.start_sessions();
        } else if self.bench.view().queued > 0 {
            let why = self.breaker.reason().map_or_else(|| "the relay is paused".to_owned(), RelayTrouble::sentence);
            self.bench.return_queued(&format!("not sent: {why}"));
        }
        self.give_back_orphans().await;
        self.confer(false).await;
        self.note_throttle();
        self.say().await;
        self.publish();
    }

    fn is_paused(&self) -> bool {
        self.standings.place(self.place).paused.load(Ordering::Acquire)
    }

    /// Tells the other desks whether this relay is away, and learns for whom it is to send.
    fn take_stand(&mut self) {
        let away = self.held_since.is_some_and(|since| self.breaker.probe_failed() || since.elapsed() >= GRACE);
        let view = self.bench.view();
        let wants_letter = self.breaker.wants_letter(Instant::now()) && view.queued + view.in_flight == 0;
        self.standings.note(self.place, away, wants_letter);
        let over = self.standings.taken_over_by(self.place);
        self.queues.retain(|queue| queue.of.is_none_or(|place| over.contains(&place)));
        for place in over {
            if !self.queues.iter().any(|queue| queue.of == Some(place)) {
                let name = Arc::clone(&self.standings.place(place).name);
                tracing::info!(relay = %self.plan.name, of = %name, "takes over the letters of a relay that is held");
                self.queues.push(Queue::new(name, Some(place)));
            }
        }
    }

    /// Ramps up, and ends a probe, on what the relay answered since the last look.
    fn note_answers(&mut self) {
        let view = self.bench.view();
        let (opened, answered) = (view.opened - self.seen.0, view.answered - self.seen.1);
        self.seen = (view.opened, view.answered);
        self.starting = self.starting.saturating_sub(usize::try_from(opened).unwrap_or(usize::MAX));
        self.answers |= answered > 0;
        let recovered = (opened > 0 && self.breaker.opened()) || (answered > 0 && self.breaker.answered());
        if recovered || (answered > 0 && std::mem::take(&mut self.owes_recovery)) {
            self.word = (self.member.is_whole() && recovered).then_some(Word::Recovered);
            self.works_again();
        }
        if answered > 0 && self.breaker.is_open() {
            self.cap = self.cap.saturating_mul(2).min(self.plan.limits.sessions.max(1));
        }
        if self.cap >= self.plan.limits.sessions || (view.queued == 0 && view.in_flight == 0 && answered == 0 && self.sessions.is_empty()) {
            self.ramping = false;
        }
    }

    fn works_again(&mut self) {
        self.owes_recovery = false;
        tracing::info!(relay = %self.plan.name, "the relay works again");
        self.news.tell(&self.plan.name, News::Recovered);
        (self.ramping, self.held_since, self.next_probe) = (true, None, None);
        self.heard(LaneSet::ALL);
    }

    async fn prolong(&mut self) {
        self.prolong_at = Instant::now() + LEASE / 3;
        let (asked, leases) = (Instant::now(), self.bench.leases());
        if leases.is_empty() {
            return self.bench.prolonged(asked + LEASE);
        }
        match self.store.extend(&self.house.tenure.name(), &leases, LEASE).await {
            Ok(lost) => {
                self.bench.forget(&lost);
                self.bench.prolonged(asked + LEASE);
            }
            Err(error) => tracing::warn!(relay = %self.plan.name, error = %error, "leases cannot be prolonged"),
        }
    }

    fn start_sessions(&mut self) {
        let now = Instant::now();
        let others_open = self.member.open_elsewhere() > 0;
        if self.busy_until.is_some_and(|until| now < until) && (!self.sessions.is_empty() || others_open) {
            return;
        }
        // Not what others want and have not got yet: a session in such a seat would be told to leave at once.
        let seats = self.member.seats_to_use(now);
        loop {
            if self.begins.as_mut().is_some_and(|budget| budget.credit(0).min(budget.room(now, 0).urgent) == 0) {
                return;
            }
            let view = self.bench.view();
            let probe = std::mem::take(&mut self.probe_wanted) && self.sessions.is_empty();
            let needed = view.queued > view.idle + self.starting && !self.house.open_lanes().is_empty();
            let cap = if self.courier.one_at_a_time() { 1 } else { self.cap }.min(seats);
            if !(probe || needed) || self.sessions.len() >= usize::from(cap) {
                return;
            }
            let (courier, mut seat) = (Arc::clone(&self.courier), Seat::at(Arc::clone(&self.bench)));
            self.starting += 1;
            if let Some(budget) = &mut self.begins {
                budget.spend(now);
            }
            self.sessions.spawn(async move {
                let end = courier.session(&mut seat).await;
                (seat, end)
            });
            #[expect(clippy::cast_precision_loss, reason = "sessions are few")]
            self.bench.gauges.sessions.set(self.sessions.len() as f64);
        }
    }

    fn session_over(&mut self, ended: Result<(Seat, SessionEnd), JoinError>) {
        #[expect(clippy::cast_precision_loss, reason = "sessions are few")]
        self.bench.gauges.sessions.set(self.sessions.len() as f64);
        self.note_answers();
        let (seat, end) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(relay = %self.plan.name, error = %error, "a session broke off");
                self.starting = self.starting.min(self.sessions.len());
                return self.hold(RelayTrouble::new(TroubleKind::Protocol, Stage::Connect, "a session broke off inside this program"));
            }
        };
        if !seat.was_opened {
            self.starting = self.starting.saturating_sub(1);
        }
        match end {
            SessionEnd::Trouble(trouble) => {
                if matches!(trouble.stage, Stage::Data | Stage::Content)
                    && matches!(trouble.kind, TroubleKind::Unreachable | TroubleKind::Protocol)
                    && let Some(item) = seat.returned
                {
                    self.bench.strike(item);
                }
                self.trouble(trouble);
            }
            SessionEnd::Done if seat.taken == 0 && !seat.dismissed && self.bench.view().queued > 0 => {
                self.trouble(RelayTrouble::new(TroubleKind::Busy, Stage::Mail, "the relay closed the session before a letter was sent"));
            }
            SessionEnd::Done | SessionEnd::Limit => {
                self.heard(LaneSet::ALL);
                // Nobody has anything to send: the next rush begins with one session again.
                if self.sessions.is_empty() && self.bench.view().queued == 0 {
                    self.cap = 1;
                }
            }
        }
    }

    /// One session too many is not yet a relay that is down.
    fn trouble(&mut self, trouble: RelayTrouble) {
        let others_open = self.member.open_elsewhere() > 0;
        let too_many = trouble.kind == TroubleKind::Busy && trouble.pause.is_none() && (!self.sessions.is_empty() || others_open);
        if too_many && self.breaker.is_open() {
            self.word = others_open.then_some(Word::Busy);
            self.cap = u16::try_from(self.sessions.len()).unwrap_or(u16::MAX).min(self.cap).max(1);
            self.busy_until = Some(Instant::now() + BUSY_PAUSE);
            tracing::info!(relay = %self.plan.name, smtp.stage = %trouble.stage, reply = %trouble.what, sessions = self.cap, "the relay is busy, fewer sessions");
            return;
        }
        self.hold(trouble);
    }

    fn hold(&mut self, trouble: RelayTrouble) {
        if matches!(self.breaker.condition(), Condition::Held(..)) {
            // The other sessions of a relay that went down tell the same news.
            let now = Instant::now();
            if let Some(delay) = self.breaker.prolong(trouble.pause, now) {
                self.next_probe = Some(now + delay);
                self.word = self.member.is_whole().then_some(Word::Trouble(trouble, 0.5));
            }
            return;
        }
        if self.breaker.is_open() {
            self.news.tell(&self.plan.name, News::Held { trouble: trouble.clone() });
        }
        self.held_since.get_or_insert_with(Instant::now);
        self.word = self.member.is_whole().then(|| Word::Trouble(trouble.clone(), self.bench.roll()));
        let sentence = trouble.sentence();
        let (stage, kind) = (trouble.stage, trouble.kind);
        let delay = self.breaker.hold(trouble, Instant::now(), self.bench.roll());
        self.next_probe = Some(Instant::now() + delay);
        self.bench.set_gate(false);
        self.cap = 1;
        let delay_s = delay.as_secs_f64();
        if kind.needs_a_person() {
            tracing::error!(relay = %self.plan.name, smtp.stage = %stage, trouble.kind = kind.as_str(), reason = %sentence, next_probe_s = delay_s, "relay held");
        } else {
            tracing::warn!(relay = %self.plan.name, smtp.stage = %stage, trouble.kind = kind.as_str(), reason = %sentence, next_probe_s = delay_s, "relay held");
        }
    }

    fn condition(&self) -> &'static str {
        match self.breaker.condition() {
            Condition::Held(..) | Condition::Probing(_) => "held",
            Condition::Open if self.throttled.is_some() => "throttled",
            Condition::Open if self.remarks.now().is_some_and(|remark| remark.stalled) => "stalled",
            Condition::Open if self.ramping => "ramping",
            Condition::Open => "open",
        }
    }

    /// Why the relay is held, and who sends its letters meanwhile.
    fn with_taker(&self, reason: String) -> String {
        match self.standings.taker(self.place) {
            Some(taker) => format!("{reason}; {} sends its letters meanwhile, except secrets", self.standings.place(taker).name),
            None => reason,
        }
    }

    /// Why letters wait.
    fn reason(&self) -> Option<String> {
        let throttle = || self.throttled.as_ref().map(|throttle| throttle.reason.clone());
        let remark = || self.remarks.now().map(|remark| remark.words);
        self.breaker.reason().map(|trouble| self.with_taker(trouble.sentence())).or_else(throttle).or_else(remark)
    }

    /// Tells the other processes through the store, when there is something new.
    async fn say(&mut self) {
        let condition = self.condition();
        let reason = self.reason();
        if matches!(self.breaker.condition(), Condition::Probing(_)) {
            return;
        }
        let next_try = self.next_probe.or(self.throttled.as_ref().and_then(|throttle| throttle.until));
        let next_probe_at = next_try.map(|at| later(self.clock.now(), at.saturating_duration_since(Instant::now())));
        let key = (condition, reason.clone().map(|reason| format!("{reason} {:?}", self.next_probe)));
        if self.said.as_ref() == Some(&key) {
            return;
        }
        self.bench.gauges.held.set(if condition == "held" { 1.0 } else { 0.0 });
        self.bench.gauges.throttled.set(if condition == "throttled" { 1.0 } else { 0.0 });
        match self.store.report_relay(&self.plan.name, RelayReport { condition, reason, next_probe_at }).await {
            Ok(()) => self.said = Some(key),
            Err(error) => tracing::debug!(relay = %self.plan.name, error = %error, "the relay's condition cannot be noted"),
        }
    }

    fn publish(&self) {
        let view = self.bench.view();
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.condition = self.condition();
        status.reason = self.reason();
        status.paused = self.is_paused();
        (status.sessions, status.leased) = (self.sessions.len(), view.queued + view.in_flight);
    }
}

fn smallest_batch(plan: &RelayPlan) -> u16 {
    plan.limits.sessions.saturating_mul(2).clamp(2, MOST_CLAIMED)
}
