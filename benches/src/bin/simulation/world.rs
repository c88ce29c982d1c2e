//! The simulated world. Time is in seconds. Letters go in groups, as they do in the house: a request of many events is accepted in one transaction, a claim takes as many as there are free sessions,
//! outcomes are settled together.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, VecDeque},
};

/// Events of a request.
const BATCH: u32 = 20;
/// The most that is claimed, or settled, at once.
const GROUP: u32 = 256;
/// Shares of what a letter costs: accepting it, claiming it, settling it. Measured: of the database's log 42 % are written by accepting.
const ACCEPT: f64 = 0.42;
const CLAIM: f64 = 0.25;
const SETTLE: f64 = 0.33;

/// A queue grows if it holds more than this part of what has come.
const GROWING: f64 = 0.01;

/// What a letter costs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// Seconds of a node's core.
    pub(crate) node: f64,
    /// Seconds of a database's core.
    pub(crate) database: f64,
    /// Bytes of the database's log.
    pub(crate) wal: f64,
}

/// An installation. Letters are dealt to the databases by their events; each database has its own nodes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct World {
    pub(crate) nodes: usize,
    pub(crate) databases: usize,
    pub(crate) node_cores: usize,
    pub(crate) database_cores: usize,
    pub(crate) cost: Cost,
    pub(crate) wal_bytes_a_second: f64,
    /// Seconds that a commit waits.
    pub(crate) commit: f64,
    /// Seconds until the relay answers.
    pub(crate) answer: f64,
    /// Of a node.
    pub(crate) sessions: usize,
}

/// What a sum says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Most {
    pub(crate) letters: f64,
    pub(crate) what: &'static str,
}

/// What became of a simulated time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// From the request to the relay's answer, in milliseconds.
    pub(crate) half_ms: f64,
    /// Of 99 %.
    pub(crate) most_ms: f64,
    pub(crate) database_busy: f64,
    pub(crate) node_busy: f64,
    /// Letters not yet sent at the end.
    pub(crate) left: f64,
}

impl World {
    /// What could be carried if nothing ever waited: the least of what each part carries.
    pub(crate) fn most(&self) -> Most {
        let (nodes, databases) = (real(self.nodes), real(self.databases));
        let parts = [
            (nodes * real(self.node_cores) / self.cost.node, "nodes"),
            (databases * real(self.database_cores) / self.cost.database, "database, CPU"),
            (databases * self.wal_bytes_a_second / self.cost.wal, "database, log"),
            (nodes * real(self.sessions) / self.answer, "relay"),
        ];
        let least = parts.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).expect("there are four parts");
        Most { letters: least.0, what: least.1 }
    }

    /// The most letters a second that come through without a queue that grows. (With more, accepting takes what sending needs.)
    pub(crate) fn carried(&self, seconds: f64) -> f64 {
        let most = self.most().letters;
        let (mut carried, mut too_much) = (0.0, most * 1.1);
        for _ in 0..9 {
            let rate = f64::midpoint(carried, too_much);
            // What is on its way at any moment is no queue.
            let on_its_way = rate * (self.answer + self.commit * 3.0 + 0.2);
            if self.under(rate, seconds).left < on_its_way + rate * seconds * GROWING {
                carried = rate;
            } else {
                too_much = rate;
            }
        }
        carried
    }

    /// With so many letters a second.
    pub(crate) fn under(&self, rate: f64, seconds: f64) -> Outcome {
        Run::of(*self).run(rate, seconds)
    }
}

fn real(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Servers of a queue, each free from a moment on.
#[derive(Debug, Default)]
struct Pool {
    free: BinaryHeap<Reverse<Moment>>,
    busy: f64,
}

impl Pool {
    fn of(servers: usize) -> Self {
        Self { free: (0..servers).map(|_| Reverse(Moment(0.0))).collect(), busy: 0.0 }
    }

    /// Work that comes now and takes so long; gives when it is done.
    fn serve(&mut self, now: f64, takes: f64) -> f64 {
        let Reverse(Moment(free)) = self.free.pop().expect("a pool has a server");
        let done = free.max(now) + takes;
        self.free.push(Reverse(Moment(done)));
        self.busy += takes;
        done
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Moment(f64);

impl Eq for Moment {}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Moment {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// What happens next, in a database's part of the installation.
#[derive(Debug, Clone, PartialEq)]
enum Event {
    /// A request comes.
    Request,
    /// A node has decided and rendered it.
    Decided { came: f64 },
    /// Its letters are on disk.
    Accepted { came: f64, letters: u32 },
    /// Claimed letters are with the sessions.
    Claimed { came: Vec<(f64, u32)>, letters: u32 },
    /// The relay has answered them.
    Answered { came: Vec<(f64, u32)>, letters: u32 },
}

#[derive(Debug, PartialEq)]
struct Due {
    at: Moment,
    number: u64,
    part: usize,
    event: Event,
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// A database with its nodes.
#[derive(Debug)]
struct Part {
    nodes: Pool,
    cores: Pool,
    log: Pool,
    waiting: VecDeque<(f64, u32)>,
    /// Sessions, so many side by side as one server: a letter each for the time of an answer.
    sessions: Pool,
    beside: u32,
    /// Letters that may still be claimed: nodes claim ahead of their sessions, so that these need not wait.
    room: u32,
    /// Claims under way: each node makes one at a time, and passes over what another one has locked.
    claiming: usize,
    nodes_here: usize,
}

struct Run {
    world: World,
    parts: Vec<Part>,
    due: BinaryHeap<Reverse<Due>>,
    number: u64,
    /// From the request to the answer, and how many letters.
    times: Vec<(f64, u32)>,
}

impl Run {
    fn of(world: World) -> Self {
        let of = |whole: usize, place: usize| whole / world.databases + usize::from(place < whole % world.databases);
        let part = |place: usize| {
            let nodes = of(world.nodes, place).max(1);
            let sessions = nodes * world.sessions;
            let beside = (sessions / 64).max(1);
            Part {
                nodes: Pool::of(nodes * world.node_cores),
                cores: Pool::of(world.database_cores),
                log: Pool::of(1),
                waiting: VecDeque::new(),
                sessions: Pool::of((sessions / beside).max(1)),
                beside: u32::try_from(beside).unwrap_or(u32::MAX),
                room: u32::try_from(sessions * 2).unwrap_or(u32::MAX),
                claiming: 0,
                nodes_here: nodes,
            }
        };
        let parts = (0..world.databases).map(part).collect();
        Self { world, parts, due: BinaryHeap::new(), number: 0, times: Vec::new() }
    }

    fn at(&mut self, at: f64, part: usize, event: Event) {
        self.number += 1;
        self.due.push(Reverse(Due { at: Moment(at), number: self.number, part, event }));
    }

    fn run(mut self, rate: f64, seconds: f64) -> Outcome {
        let between = f64::from(BATCH) * real(self.world.databases) / rate;
        for part in 0..self.parts.len() {
            self.at(between * real(part) / real(self.parts.len()), part, Event::Request);
        }
        let mut came = 0.0;
        while let Some(Reverse(Due { at: Moment(now), part, event, .. })) = self.due.pop() {
            if now > seconds {
                break;
            }
            if event == Event::Request {
                came += f64::from(BATCH);
                self.at(now + between, part, Event::Request);
            }
            self.step(now, part, event);
        }
        self.end(came, seconds)
    }

    /// Work of a database on so many letters, with its commit; gives when it is on disk.
    fn commit(&mut self, now: f64, part: usize, letters: u32, share: f64) -> f64 {
        let (cost, speed, wait) = (self.world.cost, self.world.wal_bytes_a_second, self.world.commit);
        let base = &mut self.parts[part];
        let worked = base.cores.serve(now, f64::from(letters) * cost.database * share);
        base.log.serve(worked, f64::from(letters) * cost.wal * share / speed) + wait
    }

    fn step(&mut self, now: f64, part: usize, event: Event) {
        let node = self.world.cost.node;
        match event {
            Event::Request => {
                let done = self.parts[part].nodes.serve(now, f64::from(BATCH) * node * ACCEPT);
                self.at(done, part, Event::Decided { came: now });
            }
            Event::Decided { came } => {
                let done = self.commit(now, part, BATCH, ACCEPT);
                self.at(done, part, Event::Accepted { came, letters: BATCH });
            }
            Event::Accepted { came, letters } => {
                self.parts[part].waiting.push_back((came, letters));
                self.claim(now, part);
            }
            Event::Claimed { came, letters } => {
                self.parts[part].claiming -= 1;
                let ready = self.parts[part].nodes.serve(now, f64::from(letters) * node * CLAIM);
                self.send(ready, part, came);
                self.claim(now, part);
            }
            Event::Answered { came, letters } => {
                self.times.extend(came.iter().map(|(came, letters)| (now - came, *letters)));
                let base = &mut self.parts[part];
                base.room += letters;
                base.nodes.serve(now, f64::from(letters) * node * SETTLE);
                self.commit(now, part, letters, SETTLE);
                self.claim(now, part);
            }
        }
    }

    /// Gives letters to the sessions, as many at a time as stand side by side.
    fn send(&mut self, ready: f64, part: usize, mut came: Vec<(f64, u32)>) {
        while !came.is_empty() {
            let (mut together, mut letters) = (Vec::new(), 0);
            while let Some((at, waiting)) = came.last_mut() {
                let some = (self.parts[part].beside - letters).min(*waiting);
                if some == 0 {
                    break;
                }
                together.push((*at, some));
                letters += some;
                *waiting -= some;
                if *waiting == 0 {
                    came.pop();
                }
            }
            let done = self.parts[part].sessions.serve(ready, self.world.answer);
            self.at(done, part, Event::Answered { came: together, letters });
        }
    }

    /// Takes as many letters as there is room for.
    fn claim(&mut self, now: f64, part: usize) {
        let base = &mut self.parts[part];
        if base.claiming >= base.nodes_here {
            return;
        }
        let (mut taken, mut letters) = (Vec::new(), 0);
        while let Some((came, waiting)) = base.waiting.front_mut() {
            let free = base.room.min(GROUP - letters).min(*waiting);
            if free == 0 {
                break;
            }
            taken.push((*came, free));
            base.room -= free;
            letters += free;
            *waiting -= free;
            if *waiting == 0 {
                base.waiting.pop_front();
            }
        }
        if letters == 0 {
            return;
        }
        base.claiming += 1;
        let done = self.commit(now, part, letters, CLAIM);
        self.at(done, part, Event::Claimed { came: taken, letters });
    }

    fn end(mut self, came: f64, seconds: f64) -> Outcome {
        self.times.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let all: f64 = self.times.iter().map(|(_, letters)| f64::from(*letters)).sum();
        let within = |share: f64| {
            let mut passed = 0.0;
            let found = self.times.iter().find(|(_, letters)| {
                passed += f64::from(*letters);
                passed >= all * share
            });
            found.map_or(0.0, |(time, _)| time * 1e3)
        };
        let busy =
            |pick: fn(&Part) -> &Pool, servers: usize| self.parts.iter().map(|part| pick(part).busy).sum::<f64>() / real(servers) / seconds;
        Outcome {
            half_ms: within(0.5),
            most_ms: within(0.99),
            database_busy: busy(|part| &part.cores, self.world.databases * self.world.database_cores).min(1.0),
            node_busy: busy(|part| &part.nodes, self.world.nodes * self.world.node_cores).min(1.0),
            left: came - all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> World {
        World {
            nodes: 2,
            databases: 1,
            node_cores: 2,
            database_cores: 4,
            cost: Cost { node: 300e-6, database: 300e-6, wal: 3_000.0 },
            wal_bytes_a_second: 100e6,
            commit: 0.003,
            answer: 0.02,
            sessions: 1_000,
        }
    }

    /// What is carried at most is what the scarcest part carries, whichever that is.
    #[test]
    fn the_scarcest_part_says_how_much_is_carried() {
        for (world, what) in [
            (world(), "nodes"),
            (World { nodes: 20, ..world() }, "database, CPU"),
            (World { nodes: 20, wal_bytes_a_second: 6e6, ..world() }, "database, log"),
            (World { sessions: 10, ..world() }, "relay"),
        ] {
            let most = world.most();
            assert_eq!(most.what, what);
            let reached = world.carried(20.0) / most.letters;
            assert!((0.85..=1.05).contains(&reached), "{what}: {reached} of {}", most.letters);
        }
    }

    #[test]
    fn two_nodes_carry_twice_as_much_where_the_relay_is_slow() {
        let relay = World { sessions: 10, ..world() };
        let one = World { nodes: 1, ..relay }.carried(20.0);
        let two = relay.carried(20.0);
        assert!(two / one > 1.8, "{two} of {one}");
    }

    #[test]
    fn a_quiet_house_adds_little_to_the_commits_and_the_relay() {
        let outcome = world().under(100.0, 30.0);
        assert!(outcome.most_ms < 80.0 && outcome.half_ms >= 26.0, "{outcome:?}");
        assert!(outcome.left < 100.0 && outcome.database_busy < 0.1, "{outcome:?}");
    }

    #[test]
    fn what_is_too_much_waits() {
        let most = world().most().letters;
        assert!(world().under(most * 1.5, 20.0).left > most * 5.0);
        assert!(world().under(most * 0.6, 20.0).left < most);
    }
}
