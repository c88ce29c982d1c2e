//! `kill -9` at random moments: every accepted event's letter arrives, and what arrives twice is known, marked and the same.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tidings_sink::Received;
use tidings_testkit::{http, wait};

use crate::crew::SetOnDrop;
use crate::dice::Dice;
use crate::house::{BATCH, House, events, mail};
use crate::ledger::{End, of_sink, reckon};
use crate::{Scale, Scenario, Tally};

/// See `proves`.
pub(crate) const SIGKILL: Scenario = Scenario {
    name: "sigkill_loop",
    proves: "the server killed at random moments, its start included, delivers everything it has ever answered 202 for; a copy comes only of a letter that was on the wire at a kill, and is marked",
    play,
};

const SESSIONS: usize = 4;

/// The most letters that may be posted ahead of what has arrived, so that intake is still at work when the last kill comes.
const AHEAD: usize = 500;

/// The longest commit on a busy machine: a relay's answer that is older than this at a kill is on disk.
const COMMIT: Duration = Duration::from_secs(20);

/// Time for the whole load to arrive between kills.
const DRAINING: Duration = Duration::from_mins(5);

/// What a client needs to post.
struct Client<'a> {
    url: String,
    token: String,
    house: &'a House,
    letters: usize,
}

impl Client<'_> {
    /// Posts all events in batches of varying size; what is not answered with 202 is posted again, as a careful client does.
    fn post_all(&self, mut dice: Dice, given_up: &AtomicBool) -> (usize, usize) {
        let (mut posted, mut again, mut known) = (0, 0, 0);
        while posted < self.letters {
            let arrived = || usize::try_from(self.house.sink.count()).expect("a count fits");
            let size = (1 + dice.below(120)).min(self.letters - posted);
            wait::until("letters to arrive", Duration::from_mins(3), || {
                (posted < arrived() + AHEAD || given_up.load(Ordering::Relaxed)).then_some(())
            });
            let batch: Vec<Value> = (posted..posted + size)
                .map(|n| events::joined(&n.to_string(), events::person(&format!("reader.{n}@example.org"), "en")))
                .collect();
            let body = serde_json::to_vec(&batch).expect("values serialise");
            let receipt = wait::until("a batch to be accepted", Duration::from_mins(3), || {
                let receipt = self.post(&body);
                again += usize::from(receipt.is_none());
                receipt
            });
            let count = |key: &str| usize::try_from(receipt[key].as_u64().expect("a number")).expect("a count fits");
            // All or nothing: a batch is new as a whole, or known as a whole because its first answer was lost.
            assert!([0, size].contains(&count("accepted")) && count("accepted") + count("duplicates") == size, "{receipt}");
            known += count("duplicates");
            posted += size;
        }
        (again, known)
    }

    fn post(&self, body: &[u8]) -> Option<Value> {
        let reply = http::post(&format!("{}/v1/events", self.url), Some(&self.token), BATCH, body).ok()?;
        assert!([202, 503].contains(&reply.status), "{}", reply.text());
        (reply.status == 202).then(|| reply.json())
    }
}

fn play(scale: Scale) -> Tally {
    let (letters, kills) = scale.of((3_000, 12), (20_000, 60));
    let mut dice = Dice::seeded();
    // The house's sink and configuration live in one value, the server in another, so that the client can look at the sink meanwhile.
    let mut house = House::start(|config| config.relay_key("limits", &format!("{{ sessions = {SESSIONS} }}")));
    let mut serving = house.take_serving();
    let house = house;
    let given_up = AtomicBool::new(false);
    let client = Client { url: house.url.clone(), token: house.token.clone(), house: &house, letters };
    let client_dice = dice.another();
    let mut moments: Vec<SystemTime> = Vec::new();
    thread::scope(|scope| {
        let _on_panic = SetOnDrop(&given_up);
        let posting = scope.spawn(|| client.post_all(client_dice, &given_up));
        for kill in 0..kills {
            if kill % 5 == 4 {
                // In the middle of its start, ready or not.
                pause(Duration::from_millis(dice.below(800) as u64));
            } else {
                let share = letters * 9 / 10 / kills;
                let mark = (share * kill + dice.below(share)) as u64;
                house.sink.wait_for_within(mark.max(1), DRAINING);
                pause(Duration::from_millis(dice.below(60) as u64));
            }
            moments.push(SystemTime::now());
            serving.kill9();
            serving = house.start_serving();
        }
        let (again, known) = posting.join().expect("the client gets everything accepted");
        eprintln!("{kills} kills, {again} requests posted again, {known} events known already then");
    });

    // A fast house has delivered everything before the last kill: then nothing else waits until it answers again.
    serving.wait_ready(&format!("{}/readyz", house.url), DRAINING);
    let readers = || house.sink.letters().iter().map(|letter| letter.to[0].clone()).collect::<HashSet<_>>().len();
    house.until_all("every letter to arrive", || readers() == letters);
    house.until_quiet_within(DRAINING);
    let items = house.outbox(&[]);
    let tally = reckon(&items, letters, &of_sink(&house.sink.letters()), |_| End::SentSomehow);
    demand_near_kills(&house, &moments);
    assert!(tally.doubled <= kills * ON_THE_WIRE, "{} copies after {kills} kills", tally.doubled);
    drop(serving);
    tally
}

/// Every copy follows one that was on the wire at a kill.
fn demand_near_kills(house: &House, kills: &[SystemTime]) {
    let mut copies: HashMap<String, Vec<Arc<Received>>> = HashMap::new();
    for letter in house.sink.letters() {
        copies.entry(mail::message_id(&letter)).or_default().push(letter);
    }
    for (id, letters) in &copies {
        for copy in &letters[..letters.len() - 1] {
            let at_a_kill = kills.iter().any(|kill| copy.at <= *kill + COMMIT && copy.at + COMMIT >= *kill);
            assert!(at_a_kill, "{id} came again though it had come at {:?}, far from every kill", copy.at);
        }
    }
}

/// Letters that may have been answered for and not be on disk when the process dies: a server whose commits take long hands over no more once so many outcomes wait for them, and each session
/// has one on the wire then.
const ON_THE_WIRE: usize = 256 + SESSIONS;

/// Lets time go by: the moment of a kill is to be random, nothing is waited for.
fn pause(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(1).min(time));
    }
}
