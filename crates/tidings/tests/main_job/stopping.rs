//! SIGTERM: what is on the wire is finished and noted, the rest waits for the next start.

use std::time::Duration;

use tidings_sink::{Fault, Stage, What, When};

use crate::house::{House, events};

const LETTERS: usize = 40;

#[test]
fn told_to_stop_it_finishes_what_is_on_the_wire_and_nothing_comes_twice() {
    let mut house = House::start(|config| config.relay_key("limits", "{ sessions = 2 }"));
    // Every final dot takes two seconds: when the sink has the first letters, answers are pending.
    house.sink.add_fault(Fault::new(Stage::Content, When::Always, What::Stall(Duration::from_secs(2))));
    let events: Vec<_> = (0..LETTERS).map(|n| events::test_letter(&n.to_string(), &format!("reader.{n}@example.org"))).collect();
    house.accept(&events);
    house.until("a letter to be on the wire", || (!house.outbox(&["--state", "claimed"]).is_empty()).then_some(()));
    house.until("the sink to have a session", || (house.sink.statistics().open > 0).then_some(()));
    let status = house.terminate();
    assert_eq!(status.code(), Some(0), "{}", house.log());
    assert!(house.log_has("\"message\":\"stopped\""), "{}", house.log());

    // Everything the sink has answered for is noted as sent, nothing is left claimed, nothing is in doubt.
    let arrived = house.sink.count();
    assert!(arrived < LETTERS as u64, "the test wants a stop in the middle");
    let items = house.outbox(&[]);
    let sent = items.iter().filter(|item| item["state"] == "sent").count() as u64;
    assert_eq!((sent, items.iter().filter(|item| item["state"] == "claimed").count()), (arrived, 0));
    assert!(items.iter().all(|item| item["maybe_duplicate"] == false), "{items:?}");

    house.sink.clear_faults();
    house.serve();
    house.sink.wait_for(LETTERS as u64);
    house.until_quiet();
    assert_eq!((house.sink.count(), house.sink.duplicates()), (LETTERS as u64, Vec::new()));
    assert!(house.outbox(&[]).iter().all(|item| item["state"] == "sent" && item["attempts"] == 1));
}

#[test]
fn an_idle_server_stops_at_once() {
    let mut house = House::start(|_| {});
    assert_eq!(house.terminate().code(), Some(0));
    assert!(!house.log_has("\"level\":\"ERROR\""), "{}", house.log());
}
