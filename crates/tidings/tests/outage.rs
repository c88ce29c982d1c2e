//! The relay goes away in the middle of five thousand letters and comes back: all arrive.

mod house;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use house::{House, events, mail};
use serde_json::Value;
use tidings_sink::{Fault, Received, Stage, What, When};

const LETTERS: usize = 5_000;
const BATCH: usize = 100;

/// Letters after which the relay goes.
const BEFORE: u64 = 1_200;

/// Time for draining, which a busy machine makes long.
const DRAINING: Duration = Duration::from_mins(3);

/// Posts all events; each batch must be accepted, relay or not.
fn post_all(house: &House) {
    let numbers: Vec<usize> = (0..LETTERS).collect();
    for batch in numbers.chunks(BATCH) {
        let events: Vec<Value> =
            batch.iter().map(|n| events::joined(&n.to_string(), events::person(&format!("reader.{n}@example.org"), "en"))).collect();
        assert_eq!(house.accept(&events).len(), batch.len());
    }
}

/// Waits until the relay is held and says why; what waits for it then.
fn demand_held(house: &House) -> Vec<Value> {
    // The cut itself is told first; the next probe finds that nobody listens.
    let refused =
        |relay: &Value| relay["condition"] == "held" && relay["reason"].as_str().is_some_and(|reason| reason.starts_with("connect: "));
    let relay = house.until("the relay to be held because it cannot be reached", || Some(house.relay("sink")).filter(refused));
    assert!(relay["reason"].as_str().is_some_and(|reason| reason.contains("127.0.0.1")), "{relay}");
    assert!(relay["next_probe_at"].is_string(), "{relay}");
    let over_http = house.get("/v1/relays")["items"][0].clone();
    assert_eq!(over_http["condition"], "held", "{over_http}");
    assert!(relay["waiting"].as_u64().is_some_and(|waiting| waiting > 0), "{relay}");
    let waiting = house.outbox(&["--state", "waiting"]);
    assert!(!waiting.is_empty());
    waiting
}

fn readers(letters: &[Arc<Received>]) -> HashSet<&str> {
    letters.iter().map(|letter| letter.to[0].as_str()).collect()
}

#[test]
fn a_relay_that_stops_and_comes_back_delays_and_loses_nothing_and_nothing_comes_twice() {
    let house = House::start(|_| {});
    thread::scope(|scope| {
        let posting = scope.spawn(|| post_all(&house));
        house.sink.wait_for(BEFORE);
        // A relay that is stopped finishes what it has begun, sends everybody away and is gone.
        house.sink.add_fault(Fault::new(Stage::Connect, When::Always, What::reply("421 4.3.2 shutting down")));
        house.sink.add_fault(Fault::new(Stage::Mail, When::Always, What::reply("421 4.3.2 shutting down")));
        house.until("its sessions to end", || (house.sink.statistics().open == 0).then_some(()));
        house.sink.close();
        house.sink.clear_faults();
        posting.join().expect("events are accepted while the relay is down");
    });
    let before = house.sink.count();
    assert!(before < LETTERS as u64, "the test wants an outage in the middle");
    let waiting = demand_held(&house);
    assert!(waiting.iter().all(|item| item["attempts"] == 0), "a dead relay spends nobody's attempts");
    assert_eq!(house.sink.count(), before);

    house.sink.reopen();
    let letters = house.sink.wait_for_within(LETTERS as u64, DRAINING);
    house.until_quiet();
    assert_eq!((letters.len(), readers(&letters).len()), (LETTERS, LETTERS));
    assert_eq!((house.sink.count(), house.sink.duplicates()), (LETTERS as u64, Vec::new()));
    let items = house.outbox(&[]);
    assert_eq!(items.len(), LETTERS);
    for item in &items {
        assert_eq!(
            (item["state"].as_str(), item["attempts"].as_u64(), item["maybe_duplicate"].as_bool()),
            (Some("sent"), Some(1), Some(false)),
            "{item}"
        );
    }
    house.until("the relay to be well again", || (house.relay("sink")["condition"] != "held").then_some(()));
}

#[test]
fn a_relay_that_is_cut_off_loses_nothing_and_what_comes_twice_is_marked_and_the_same() {
    let house = House::start(|config| {
        config.relay_key("limits", "{ sessions = 4 }");
        config.relay_key("retry", "{ delays = [\"1s\"] }");
    });
    thread::scope(|scope| {
        let posting = scope.spawn(|| post_all(&house));
        for cut in 1..=3 {
            house.sink.wait_for(BEFORE * cut);
            house.sink.close();
            let waiting = demand_held(&house);
            // Not even of a letter that was behind its final dot: nobody refused it.
            let untried = |item: &Value| item["attempts"].as_u64() == Some(0);
            assert!(waiting.iter().all(untried), "a dead relay spends nobody's attempts");
            house.sink.reopen();
        }
        posting.join().expect("events are accepted all the time");
    });
    house.sink.wait_for_within(LETTERS as u64, DRAINING);
    house.until_quiet_within(DRAINING);
    let letters = house.sink.letters();
    assert_eq!(readers(&letters).len(), LETTERS);
    let items: HashMap<String, Value> =
        house.outbox(&[]).into_iter().map(|item| (item["message_id"].as_str().expect("a text").to_owned(), item)).collect();
    assert!(items.values().all(|item| item["state"] == "sent"));
    let duplicates = house.sink.duplicates();
    // One letter a session can be behind its final dot when the line is cut.
    assert!(duplicates.len() <= 3 * 4, "{duplicates:?}");
    let mut first: HashMap<String, &Received> = HashMap::new();
    for letter in &letters {
        let id = mail::message_id(letter);
        if let Some(earlier) = first.insert(id.clone(), letter) {
            assert_eq!(earlier.bytes, letter.bytes);
            assert_eq!(items[&id]["maybe_duplicate"], true, "{}", items[&id]);
        }
    }
    assert_eq!(letters.len(), LETTERS + duplicates.iter().map(|duplicate| duplicate.times as usize - 1).sum::<usize>());
}
