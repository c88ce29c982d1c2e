//! Many nodes, a database that is slow and loses words, nodes that die and nodes that stop and go on: played with a time of its own, and counted at the relay.

use super::{Ask, Draft, LEASE, LOOK, Link, MARGIN, Member, Terms, Word, sheet::Sheet};
use crate::{
    budget::Budget,
    courier::{RelayTrouble, TroubleKind},
    dice::Dice,
    plan::{BreakerPlan, Rates},
};
use proptest::prelude::*;
use std::time::Duration;
use tidings_core::outbox::Stage;
use tokio::time::Instant;

const TICK: Duration = Duration::from_millis(50);
const MINUTE: Duration = Duration::from_mins(1);
/// Letters that a session carries.
const PER_SESSION: u32 = 30;
/// The longest that a letter is on the wire here: less than what a node leaves itself before its lease ends.
const LONGEST: f64 = 4.0;

#[derive(Debug, Clone)]
struct World {
    nodes: usize,
    sessions: u16,
    per_minute: Option<u32>,
    sessions_per_minute: Option<u32>,
    /// Seconds that a verb takes at most, each way.
    delay: f64,
    /// How often one is lost.
    loss: f64,
    /// How often, a second and node, one dies or stops.
    death: f64,
    stop: f64,
    /// How often a second the relay goes down.
    outage: f64,
    /// Seconds that a letter takes at most.
    letter: f64,
    seconds: u64,
    seed: u64,
}

impl Default for World {
    fn default() -> Self {
        Self {
            nodes: 1,
            sessions: 5,
            per_minute: None,
            sessions_per_minute: None,
            delay: 0.01,
            loss: 0.0,
            death: 0.0,
            stop: 0.0,
            outage: 0.0,
            letter: 0.2,
            seconds: 200,
            seed: 1,
        }
    }
}

enum Verb {
    Read,
    Write(Box<Draft>),
}

struct UnderWay {
    verb: Verb,
    begun: Instant,
    /// When the database does it; `None` if the words never came, or it is done.
    at: Option<Instant>,
    /// When the answer comes, or is given up.
    back: Instant,
    answer: Option<(bool, i64, String, Duration)>,
    lost: bool,
}

#[derive(Default)]
struct Session {
    carried: u32,
    /// A letter is on the wire until then.
    flight: Option<Instant>,
    /// It is a probe, until then.
    probe: Option<Instant>,
}

struct Node {
    member: Member,
    letters: Option<Budget>,
    begins: Option<Budget>,
    sessions: Vec<Session>,
    under_way: Option<UnderWay>,
    look_at: Instant,
    stopped_until: Option<Instant>,
    word: Option<Word>,
    answers: bool,
    /// Since when it has no seat although it wants one.
    lacks_since: Option<Instant>,
    longest_lack: Duration,
    sent: u64,
    writes: u64,
}

struct Play {
    world: World,
    dice: Dice,
    start: Instant,
    now: Instant,
    version: i64,
    text: String,
    nodes: Vec<Node>,
    named: usize,
    /// When the relay counted letters, and when sessions began.
    letters: Vec<Duration>,
    begun: Vec<Duration>,
    down_until: Option<Instant>,
    most_open: usize,
    recoveries: u32,
    holds: u32,
}

impl Play {
    fn new(world: World) -> Self {
        let start = Instant::now();
        let mut play = Self {
            dice: Dice::seeded(world.seed),
            start,
            now: start,
            version: 0,
            text: String::new(),
            nodes: Vec::new(),
            named: 0,
            letters: Vec::new(),
            begun: Vec::new(),
            down_until: None,
            most_open: 0,
            recoveries: 0,
            holds: 0,
            world,
        };
        for _ in 0..play.world.nodes {
            let node = play.node();
            play.nodes.push(node);
        }
        play
    }

    fn node(&mut self) -> Node {
        self.named += 1;
        let rates = Rates { per_minute: self.world.per_minute, sessions_per_minute: self.world.sessions_per_minute, ..Rates::default() };
        let terms = Terms { sessions: self.world.sessions, shared: true, whole: true, breaker: BreakerPlan::default() };
        Node {
            member: Member::new(format!("node{}", self.named), terms),
            letters: Budget::of(&rates),
            begins: Budget::of_sessions(&rates),
            sessions: Vec::new(),
            under_way: None,
            look_at: self.now + LOOK.mul_f64(self.dice.roll()),
            stopped_until: None,
            word: None,
            answers: false,
            lacks_since: None,
            longest_lack: Duration::ZERO,
            sent: 0,
            writes: 0,
        }
    }

    fn chance(&mut self, a_second: f64) -> bool {
        self.dice.roll() < a_second * TICK.as_secs_f64()
    }

    fn seconds(&mut self, most: f64) -> Duration {
        Duration::from_secs_f64(self.dice.roll() * most)
    }

    /// The database's clock.
    fn database(&self, at: Instant) -> Duration {
        Duration::from_secs(1_700_000_000) + (at - self.start)
    }

    fn run(mut self) -> Self {
        let end = self.start + Duration::from_secs(self.world.seconds);
        while self.now < end {
            self.now += TICK;
            if self.down_until.is_some_and(|until| until <= self.now) {
                self.down_until = None;
            }
            if self.down_until.is_none() && self.chance(self.world.outage) {
                self.down_until = Some(self.now + self.seconds(40.0));
            }
            self.serve();
            for index in 0..self.nodes.len() {
                if self.chance(self.world.death) {
                    self.nodes[index] = self.node();
                }
                if self.chance(self.world.stop) {
                    self.nodes[index].stopped_until = Some(self.now + self.seconds(50.0));
                }
                if self.nodes[index].stopped_until.is_none_or(|until| until <= self.now) {
                    self.nodes[index].stopped_until = None;
                    self.step(index);
                }
            }
            self.judge();
        }
        self.letters.sort_unstable();
        self.begun.sort_unstable();
        self
    }

    /// The database does what has come, in order.
    fn serve(&mut self) {
        let mut due: Vec<(Instant, usize)> = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            due.extend(node.under_way.iter().filter_map(|verb| verb.at).filter(|at| *at <= self.now).map(|at| (at, index)));
        }
        due.sort();
        for (at, index) in due {
            let said = self.database(at);
            let under_way = self.nodes[index].under_way.as_mut().expect("it was there");
            under_way.at = None;
            let done = match &under_way.verb {
                Verb::Read => true,
                Verb::Write(draft) if draft.expected == self.version => {
                    self.version += 1;
                    self.text.clone_from(&draft.text);
                    true
                }
                Verb::Write(_) => false,
            };
            let whole_ms = Duration::from_millis(u64::try_from(said.as_millis()).unwrap());
            under_way.answer = Some((done, self.version, self.text.clone(), whole_ms));
        }
    }

    fn ask_database(&mut self, index: usize, verb: Verb) {
        let (there, back) = (self.seconds(self.world.delay), self.seconds(self.world.delay));
        let (never_came, lost) = (self.dice.roll() < self.world.loss, self.dice.roll() < self.world.loss);
        let at = (!never_came).then_some(self.now + there);
        let back = if never_came || lost { self.now + Duration::from_secs(3) } else { self.now + there + back };
        self.nodes[index].under_way = Some(UnderWay { verb, begun: self.now, at, back, answer: None, lost: never_came || lost });
    }

    fn hear_database(&mut self, index: usize) {
        let now = self.now;
        let node = &mut self.nodes[index];
        let Some(under_way) = node.under_way.take_if(|verb| verb.back <= now && (verb.lost || verb.answer.is_some())) else { return };
        let (letters, begins) = (node.letters.as_mut(), node.begins.as_mut());
        let answer = under_way.answer.filter(|_| !under_way.lost);
        match (under_way.verb, answer) {
            (Verb::Read, Some((_, version, text, said))) => {
                node.member.look(version, &text, Link { said, before: under_way.begun, after: now }, letters, begins);
            }
            (Verb::Write(draft), Some((true, version, ..))) => {
                node.writes += 1;
                node.member.written(*draft, version, letters, begins);
            }
            (Verb::Write(draft), Some((false, version, text, said))) => {
                node.member.moved(*draft, version, &text, Link { said, before: under_way.begun, after: now }, letters, begins);
            }
            (Verb::Write(draft), None) => {
                node.member.in_doubt(*draft);
                node.look_at = now;
            }
            (Verb::Read, None) => {}
        }
        node.answers = false;
    }

    /// One node looks, works and writes.
    fn step(&mut self, index: usize) {
        let now = self.now;
        self.hear_database(index);
        self.end_letters(index);
        let node = &mut self.nodes[index];
        let seats = usize::from(node.member.seats_to_use(now));
        let held = node.member.hold().is_some() || node.word.is_some();
        while (held || node.sessions.len() > seats)
            && let Some(idle) = node.sessions.iter().position(|session| session.flight.is_none() && session.probe.is_none())
        {
            node.sessions.swap_remove(idle);
        }
        let may = node.member.until(now).is_none_or(|until| now < until);
        if may && !held {
            self.begin_sessions(index, seats);
            self.hand_over(index);
        } else if may && node.member.is_prober() && node.word.is_none() && node.sessions.len() < seats.min(1) {
            self.probe(index);
        }
        self.write_or_look(index);
        let node = &mut self.nodes[index];
        if node.member.is_known() && node.member.hold().is_none() && node.member.seats(now) == 0 {
            let since = *node.lacks_since.get_or_insert(now);
            node.longest_lack = node.longest_lack.max(now - since);
        } else {
            node.lacks_since = None;
        }
    }

    fn end_letters(&mut self, index: usize) {
        let (now, up) = (self.now, self.down_until.is_none());
        let node = &mut self.nodes[index];
        let mut broken = false;
        for session in &mut node.sessions {
            if session.flight.take_if(|at| *at <= now).is_some() {
                node.letters.iter_mut().for_each(|budget| budget.spend(now));
                (node.answers, node.sent, session.carried) = (true, node.sent + 1, session.carried + 1);
                session.carried += if up { 0 } else { PER_SESSION };
                broken |= !up;
            }
        }
        node.sessions.retain(|session| session.carried < PER_SESSION);
        if broken && node.member.hold().is_none() && node.word.is_none() {
            let trouble = RelayTrouble::new(TroubleKind::Unreachable, Stage::Content, "x");
            (node.word, self.holds) = (Some(Word::Trouble(trouble, 0.5)), self.holds + 1);
        }
        let probed = node.sessions.iter().position(|session| session.probe.is_some_and(|at| at <= now));
        if let Some(probed) = probed {
            node.sessions.swap_remove(probed);
            if up {
                node.word = Some(Word::Recovered);
                self.recoveries += 1;
            } else {
                node.word = Some(Word::Trouble(RelayTrouble::new(TroubleKind::Unreachable, Stage::Connect, "x"), 0.5));
            }
        }
    }

    fn begin_sessions(&mut self, index: usize, seats: usize) {
        let now = self.now;
        while self.nodes[index].sessions.len() < seats && self.nodes[index].begins.as_ref().is_none_or(|budget| budget.credit(0) > 0) {
            self.nodes[index].begins.iter_mut().for_each(|budget| budget.spend(now));
            self.begun.push(now - self.start);
            if self.down_until.is_some() {
                let trouble = RelayTrouble::new(TroubleKind::Unreachable, Stage::Connect, "x");
                (self.nodes[index].word, self.holds) = (Some(Word::Trouble(trouble, 0.5)), self.holds + 1);
                return;
            }
            self.nodes[index].sessions.push(Session::default());
        }
    }

    fn hand_over(&mut self, index: usize) {
        let now = self.now;
        for session in 0..self.nodes[index].sessions.len() {
            let node = &self.nodes[index];
            let in_flight = node.sessions.iter().filter(|session| session.flight.is_some()).count() as u64;
            // A probe that is still under way when another node has found the relay well carries nothing.
            let busy = node.sessions[session].flight.is_some() || node.sessions[session].probe.is_some();
            if busy || node.letters.as_ref().is_some_and(|budget| budget.credit(in_flight) == 0) {
                continue;
            }
            let takes = self.seconds(self.world.letter);
            // The relay counts it at some moment between its coming and the answer.
            let counted = takes.mul_f64(self.dice.roll());
            self.letters.push(now - self.start + counted);
            self.nodes[index].sessions[session].flight = Some(now + takes);
        }
    }

    fn probe(&mut self, index: usize) {
        let now = self.now;
        if self.nodes[index].begins.as_ref().is_some_and(|budget| budget.credit(0) == 0) {
            return;
        }
        self.nodes[index].begins.iter_mut().for_each(|budget| budget.spend(now));
        self.begun.push(now - self.start);
        let takes = self.seconds(LONGEST);
        self.nodes[index].sessions.push(Session { probe: Some(now + takes), ..Session::default() });
    }

    fn write_or_look(&mut self, index: usize) {
        let now = self.now;
        let node = &mut self.nodes[index];
        if node.under_way.is_some() {
            return;
        }
        let in_flight = node.sessions.iter().filter(|session| session.flight.is_some()).count() as u64;
        if let Some(Word::Trouble(..)) = &node.word
            && node.member.hold().is_some()
            && !node.member.is_prober()
        {
            node.word = None;
        }
        if node.word == Some(Word::Recovered) && node.member.hold().is_none() {
            node.word = None;
        }
        let probe_due = node.word.is_none() && !node.member.is_prober() && node.member.probe_at().is_some_and(|at| at <= now);
        let word = if probe_due { Some(Word::Probe) } else { node.word.clone() };
        let held = node.member.hold().is_some();
        let ask = Ask {
            need: if held { u16::from(probe_due || node.member.is_prober()) } else { self.world.sessions },
            open: u16::try_from(node.sessions.len()).unwrap(),
            busy: !held,
            answers: node.answers,
            letters: if held { in_flight } else { in_flight + 10 },
            in_flight,
            urgent: false,
            word,
            leave: false,
        };
        if node.member.is_known()
            && node.member.is_worth_a_try(&ask, now, node.letters.as_ref(), node.begins.as_ref())
            && let Some(draft) = node.member.draft(&ask, node.letters.as_mut(), node.begins.as_mut(), now)
        {
            self.ask_database(index, Verb::Write(Box::new(draft)));
        } else if now >= node.look_at {
            node.look_at = now + LOOK;
            self.ask_database(index, Verb::Read);
        }
    }

    /// What must hold at any moment.
    fn judge(&mut self) {
        let valid = |node: &&Node| node.member.until(self.now).is_some_and(|until| self.now < until + MARGIN);
        let open: usize = self.nodes.iter().filter(valid).map(|node| node.sessions.len()).sum();
        assert!(open <= usize::from(self.world.sessions), "{open} sessions at {:?}", self.now - self.start);
        let seats: u16 = self.nodes.iter().filter(valid).map(|node| node.member.seats(self.now)).sum();
        assert!(seats <= self.world.sessions, "{seats} seats at {:?}", self.now - self.start);
        let probing = |node: &&Node| node.sessions.iter().any(|session| session.probe.is_some());
        let probes = self.nodes.iter().filter(valid).filter(probing).count();
        assert!(probes <= 1, "{probes} probes at {:?}", self.now - self.start);
        self.most_open = self.most_open.max(open);
        if self.now.duration_since(self.start).as_millis().is_multiple_of(1000) {
            self.judge_sheet();
        }
    }

    /// What is written down is never less than what the relay has got within the last minute.
    fn judge_sheet(&self) {
        let (said, now) = (self.database(self.now), self.now - self.start);
        let sheet = Sheet::read(&self.text, said);
        let reserved: u64 = sheet.nodes.values().map(|entry| entry.letters).sum();
        for tally in &sheet.sent {
            let counted: u64 = tally.slices.iter().map(|(_, count)| count).sum();
            let sent = self.letters.iter().filter(|at| **at + MINUTE > now && **at <= now).count() as u64;
            assert!(sent <= counted + reserved, "{sent} sent, {counted} written down and {reserved} reserved at {now:?}");
        }
    }

    /// The most within any stretch of a minute.
    fn most_within(times: &[Duration]) -> usize {
        (0..times.len()).map(|first| times[first..].iter().take_while(|at| **at < times[first] + MINUTE).count()).max().unwrap_or(0)
    }

    fn judge_counts(&self) {
        for (limit, times) in [(self.world.per_minute, &self.letters), (self.world.sessions_per_minute, &self.begun)] {
            if let Some(limit) = limit {
                let most = Self::most_within(times);
                assert!(most <= limit as usize, "{most} within a minute, allowed are {limit}");
            }
        }
    }
}

fn worlds() -> impl Strategy<Value = World> {
    let limits = (1u16..12, proptest::option::of(1u32..200), proptest::option::of(1u32..60));
    let faults = (0.0..2.0, prop_oneof![Just(0.0), 0.0..0.3], prop_oneof![Just(0.0), 0.0..0.05], prop_oneof![Just(0.0), 0.0..0.05]);
    let more = (prop_oneof![Just(0.0), 0.0..0.05], 0.05..LONGEST, any::<u64>());
    (1usize..7, limits, faults, more).prop_map(
        |(nodes, (sessions, per_minute, sessions_per_minute), (delay, loss, death, stop), (outage, letter, seed))| World {
            nodes,
            sessions,
            per_minute,
            sessions_per_minute,
            delay,
            loss,
            death,
            stop,
            outage,
            letter,
            seed,
            ..World::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn whoever_dies_or_stops_no_limit_is_ever_exceeded(world in worlds()) {
        Play::new(world).run().judge_counts();
    }
}

#[test]
fn nobody_starves_where_there_are_seats_for_all() {
    for nodes in [1, 2, 3, 5] {
        let play = Play::new(World { nodes, ..World::default() }).run();
        for node in &play.nodes {
            assert!(node.longest_lack <= Duration::from_secs(8), "{:?} without a seat among {nodes}", node.longest_lack);
            let least = (play.letters.len() / nodes / 2) as u64;
            assert!(node.sent >= least, "{} of {} letters among {nodes}", node.sent, play.letters.len());
            assert!(node.writes <= play.world.seconds / 2, "{} writes in {} s", node.writes, play.world.seconds);
        }
        assert_eq!(play.most_open, 5, "and all seats are used");
        // Five sessions, a tenth of a second a letter, rounded up to the tick.
        assert!(play.letters.len() > 5000, "{}", play.letters.len());
    }
}

#[test]
fn the_seats_of_a_node_that_dies_are_free_after_its_lease() {
    for sessions in [1, 4] {
        let mut play = Play::new(World { nodes: 2, sessions, seconds: 20, ..World::default() }).run();
        let rich = (0..2).max_by_key(|index| play.nodes[*index].member.seats(play.now)).unwrap();
        assert!(play.nodes[rich].member.seats(play.now) > 0);
        // It does not go on.
        play.nodes[rich].stopped_until = Some(play.now + Duration::from_hours(1));
        let before = play.nodes[1 - rich].sent;
        play.world.seconds += LEASE.as_secs() + 5;
        let play = play.run();
        let other = &play.nodes[1 - rich];
        assert_eq!(other.member.seats(play.now), sessions, "all are its own now");
        assert!(other.sent > before);
    }
}

#[test]
fn what_a_limit_allows_is_used_however_many_nodes_there_are() {
    for (nodes, least) in [(1, 0.93), (2, 0.88), (4, 0.85)] {
        for per_minute in [30, 600] {
            let world = World { nodes, per_minute: Some(per_minute), sessions: 20, seconds: 900, ..World::default() };
            let play = Play::new(world).run();
            play.judge_counts();
            // A tenth is kept for letters that somebody waits for.
            let allowed = f64::from(per_minute) * 0.9 * 15.0;
            let used = f64::from(u32::try_from(play.letters.len()).unwrap()) / allowed;
            assert!(used >= least, "{used:.3} of {per_minute} a minute among {nodes}");
        }
    }
}

#[test]
fn a_hold_is_everybodys_and_so_is_the_recovery() {
    let world = World { nodes: 4, sessions: 8, outage: 0.02, seconds: 900, ..World::default() };
    let play = Play::new(world).run();
    assert!(play.recoveries > 3, "{} recoveries", play.recoveries);
    assert!(play.holds < play.recoveries * 8, "{} sessions failed in {} outages", play.holds, play.recoveries);
    assert!(play.letters.len() > 10_000, "{}", play.letters.len());
}

/// A writing that was done although its answer was lost, then others that were not, until what was held had lapsed in the eyes of this node alone.
#[test]
fn what_was_written_without_an_answer_is_not_sent_twice_on() {
    let world = World {
        nodes: 2,
        sessions: 6,
        per_minute: Some(168),
        sessions_per_minute: Some(28),
        delay: 1.652_784_546_395_477_3,
        loss: 0.121_773_426_489_450_2,
        letter: 1.063_258_138_495_969_7,
        seed: 1_283_445_204_908_218_088,
        ..World::default()
    };
    Play::new(world).run().judge_counts();
}
