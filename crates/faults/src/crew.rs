//! A crew: several nodes on one database, one sink as the relay of them all, and a client that goes on to the next node where one does not answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tidings_sink::SinkOptions;
use tidings_testkit::process::Running;
use tidings_testkit::{http, wait};

use crate::house::{BATCH, Config, House, Mail, PATIENCE, events};
use crate::ledger::{End, of_sink, reckon};
use crate::{Tally, look};

/// Letters of one request.
const TOGETHER: usize = 50;
/// The most letters that are posted ahead of what has arrived, so that intake is at work whenever trouble comes.
const AHEAD: usize = 400;
/// How long everything may take to arrive.
const ARRIVING: Duration = Duration::from_mins(5);
/// Nodes share what opens sensitive letters.
const KEY: &str = "\"6b1f0c5d2e7a98431122334455667788990aabbccddeeff00112233445566778\"";

/// See the module. Nodes go by their number from 0.
pub(crate) struct Crew {
    /// The relay of all nodes.
    pub(crate) sink: Mail,
    nodes: Vec<Node>,
}

struct Node {
    serving: Mutex<Serving>,
    house: House,
}

/// What runs of a node.
struct Serving {
    program: Option<Running>,
    /// Stopped by SIGSTOP: whoever asks it waits for nothing.
    frozen: bool,
}

impl Crew {
    /// So many nodes that serve on the database at this address.
    pub(crate) fn open(nodes: usize, database: &str, configure: impl Fn(&mut Config)) -> Self {
        let sink = Mail::open_with(SinkOptions::default());
        let port = sink.addr().port().to_string();
        let open = |number: usize| {
            let mut house = House::start(|config| {
                config.set("database", "url", &format!("\"{database}\""));
                config.set("database", "key", KEY);
                config.set("safety", "guard", "{ per_event = 0, per_rule_hour = 0 }");
                config.relay_key("port", &port);
                configure(config);
            });
            let program = Some(house.take_serving());
            eprintln!("node {number}: {}", house.url);
            Node { serving: Mutex::new(Serving { program, frozen: false }), house }
        };
        Self { nodes: (0..nodes).map(open).collect(), sink }
    }

    /// How many nodes it has, dead or alive.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    fn with<T>(&self, node: usize, act: impl FnOnce(&mut Serving) -> T) -> T {
        act(&mut self.nodes[node].serving.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// SIGKILL.
    pub(crate) fn kill9(&self, node: usize) {
        let program = self.with(node, |serving| serving.program.take());
        program.expect("it serves").kill9();
    }

    /// Starts it again, and does not wait for it.
    pub(crate) fn start(&self, node: usize) {
        self.with(node, |serving| serving.program = Some(self.nodes[node].house.start_serving()));
    }

    /// SIGSTOP: it stands still, its connections stay.
    pub(crate) fn freeze(&self, node: usize) {
        self.with(node, |serving| {
            serving.frozen = true;
            serving.program.as_mut().expect("it serves").freeze();
        });
    }

    /// SIGCONT: it goes on as if nothing had been.
    pub(crate) fn thaw(&self, node: usize) {
        self.with(node, |serving| {
            serving.program.as_mut().expect("it serves").thaw();
            serving.frozen = false;
        });
    }

    /// The node's harness, for its log and its commands; whether it serves is for [`Crew`] to know.
    pub(crate) fn house(&self, node: usize) -> &House {
        &self.nodes[node].house
    }

    /// A node that answers.
    pub(crate) fn living(&self) -> &House {
        wait::until("a node to answer", PATIENCE, || (0..self.len()).find(|node| self.answers(*node)).map(|node| self.house(node)))
    }

    /// Whether a node is ready.
    pub(crate) fn answers(&self, node: usize) -> bool {
        let there = self.with(node, |serving| serving.program.is_some() && !serving.frozen);
        there && http::get(&format!("{}/readyz", self.house(node).url)).is_ok_and(|reply| reply.status == 200)
    }

    /// Posts a letter to each of so many readers while this trouble is made, each of its events until a node has accepted it.
    pub(crate) fn under_load(&self, letters: usize, trouble: impl FnOnce()) {
        let given_up = AtomicBool::new(false);
        thread::scope(|scope| {
            let _on_panic = SetOnDrop(&given_up);
            let posting = scope.spawn(|| self.post(0..letters, &given_up));
            trouble();
            posting.join().expect("the client gets everything accepted");
        });
    }

    /// Posts letters of these numbers.
    pub(crate) fn post_more(&self, numbers: std::ops::Range<usize>) {
        self.post(numbers, &AtomicBool::new(false));
    }

    fn post(&self, numbers: std::ops::Range<usize>, given_up: &AtomicBool) {
        let numbers: Vec<usize> = numbers.collect();
        let mut turn = 0;
        for (index, together) in numbers.chunks(TOGETHER).enumerate() {
            let posted = numbers[0] + index * TOGETHER;
            wait::until("letters to arrive", ARRIVING, || {
                let arrived = usize::try_from(self.sink.count()).expect("a count fits");
                (posted < arrived + AHEAD || given_up.load(Ordering::Relaxed)).then_some(())
            });
            let letter = |n: &usize| events::joined(&n.to_string(), events::person(&format!("reader.{n}@example.org"), "en"));
            let body = serde_json::to_vec(&together.iter().map(letter).collect::<Vec<Value>>()).expect("values serialise");
            wait::until("a batch to be accepted", ARRIVING, || {
                turn += 1;
                (self.accepted_by(turn % self.len(), &body) || given_up.load(Ordering::Relaxed)).then_some(())
            });
        }
    }

    fn accepted_by(&self, node: usize, body: &[u8]) -> bool {
        if !self.with(node, |serving| serving.program.is_some() && !serving.frozen) {
            return false;
        }
        let house = self.house(node);
        let Ok(reply) = http::post(&format!("{}/v1/events", house.url), Some(&house.token), BATCH, body) else { return false };
        assert!([202, 503].contains(&reply.status), "{}", reply.text());
        reply.status == 202
    }

    /// Waits until no letter waits or is on its way.
    pub(crate) fn until_quiet(&self) {
        let start = std::time::Instant::now();
        self.living().until_quiet_within(ARRIVING);
        eprintln!("quiet after {:.1?}", start.elapsed());
    }

    /// Holds every item against what has arrived: each sent, none refused.
    pub(crate) fn reckon(&self, accepted: usize) -> Tally {
        reckon(&look::items(self.living(), ""), accepted, &of_sink(&self.sink.letters()), |_| End::Sent)
    }

    /// Whether this node has sent letters since it was started.
    pub(crate) fn has_sent(&self, node: usize) -> bool {
        self.answers(node) && self.house(node).metrics().sum("tidings_sent_total", &[]) > 0.0
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let serving = self.serving.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = serving.program.as_mut().filter(|_| serving.frozen) {
            // What stands still hears no other word.
            program.thaw();
        }
    }
}

/// Set when dropped: tells other threads that nobody waits for their work any more.
pub(crate) struct SetOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
