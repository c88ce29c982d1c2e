//! `/metrics`, `/healthz`, `/readyz`: what a monitor sees.

use serde_json::json;
use tidings_sink::{Fault, Stage, What, When};
use tidings_testkit::http;

use crate::house::{House, events};

#[test]
fn every_promised_metric_is_there_and_moves() {
    let house = House::start(|config| config.relay_key("retry", "{ delays = [\"1s\"] }"));
    let fresh = house.metrics();
    for lane in ["codes", "security", "requests", "notices", "reminders", "digests"] {
        assert!(fresh.sum("tidings_queue_items", &[&format!("lane=\"{lane}\"")]).abs() < 0.5, "{lane}");
    }

    // A paused relay lets the queue grow.
    assert!(house.command(&["relay", "pause", "sink"]).status.success());
    house.until("the server to hear of the pause", || house.log_has("the operator's word").then_some(()));
    house.accept(&[events::test_letter("1", "ada@example.org"), events::joined("2", events::person("grace@example.org", "en"))]);
    house.accept(&[events::test_letter("1", "ada@example.org")]);
    let queued = house.metrics();
    let depth = |lane: &str| queued.sum("tidings_queue_items", &[&format!("lane=\"{lane}\""), "state=\"waiting\""]);
    assert_eq!((whole(depth("security")), whole(depth("notices")), whole(depth("codes"))), (1, 1, 0));
    house.until("the oldest to grow older", || {
        (house.metrics().sum("tidings_queue_oldest_seconds", &["lane=\"notices\"", "state=\"waiting\""]) > 0.5).then_some(())
    });

    // One "not now", one "never", one hang-up behind the final dot.
    house.sink.add_fault(Fault::new(Stage::Rcpt, When::Nth(1), What::reply("451 4.7.1 come back later")));
    assert!(house.command(&["relay", "resume", "sink"]).status.success());
    house.sink.wait_for(2);
    house.until_quiet();
    house.sink.clear_faults();
    house.sink.add_fault(Fault::new(Stage::Rcpt, When::ToAddressContains("nobody".into()), What::reply("550 5.1.1 no such user")));
    house.accept(&[events::test_letter("3", "nobody@example.org")]);
    house.until_state("nobody@example.org", "failed");
    house.sink.clear_faults();
    house.sink.add_fault(Fault::new(Stage::Content, When::Nth(1), What::HangupAfterAccept));
    house.accept(&[events::test_letter("4", "twice@example.org")]);
    let twice = house.until_state("twice@example.org", "sent");
    assert_eq!(twice["maybe_duplicate"], true);
    house
        .until("the relay to be well again", || (whole(house.metrics().sum("tidings_relay_held", &["relay=\"sink\""])) == 0).then_some(()));

    let metrics = house.metrics();
    let names = [
        "tidings_events_accepted_total",
        "tidings_events_duplicate_total",
        "tidings_letters_accepted_total",
        "tidings_sent_total",
        "tidings_refused_total",
        "tidings_retried_total",
        "tidings_unknown_total",
        "tidings_accept_to_sent_seconds",
        "tidings_queue_items",
        "tidings_queue_oldest_seconds",
        "tidings_relay_held",
        "tidings_sessions",
    ];
    for name in names {
        assert!(metrics.has(name), "{name} is missing");
    }
    let expected = [
        ("tidings_events_accepted_total", vec!["kind=\"test\""], 3),
        ("tidings_events_accepted_total", vec!["kind=\"membership.joined\""], 1),
        ("tidings_events_duplicate_total", vec!["kind=\"test\""], 1),
        ("tidings_letters_accepted_total", vec![], 4),
        ("tidings_sent_total", vec!["relay=\"sink\""], 3),
        ("tidings_sent_total", vec!["lane=\"notices\""], 1),
        ("tidings_refused_total", vec!["class=\"transient\""], 1),
        ("tidings_refused_total", vec!["class=\"permanent\""], 1),
        ("tidings_retried_total", vec!["relay=\"sink\""], 2),
        ("tidings_unknown_total", vec!["relay=\"sink\""], 1),
        ("tidings_accept_to_sent_seconds_count", vec![], 3),
        ("tidings_accept_to_sent_seconds_bucket", vec!["le=\"+Inf\"", "lane=\"notices\""], 1),
        ("tidings_queue_items", vec![], 0),
        ("tidings_relay_held", vec!["relay=\"sink\""], 0),
    ];
    for (name, labels, value) in expected {
        assert_eq!(whole(metrics.sum(name, &labels)), value, "{name} {labels:?}");
    }
    // A letter that waited shows in the histogram.
    assert!(metrics.sum("tidings_accept_to_sent_seconds_sum", &["lane=\"notices\""]) > 0.5);

    // A dead relay is seen.
    house.sink.close();
    house.accept(&[events::test_letter("5", "later@example.org")]);
    house.until("the relay to be held", || (whole(house.metrics().sum("tidings_relay_held", &["relay=\"sink\""])) == 1).then_some(()));
    house.sink.reopen();
    house.until_state("later@example.org", "sent");
    house.until("the hold to end", || (whole(house.metrics().sum("tidings_relay_held", &["relay=\"sink\""])) == 0).then_some(()));
}

/// A sample that counts things.
#[allow(clippy::cast_possible_truncation, reason = "counts are small")]
fn whole(value: f64) -> i64 {
    assert!(value.fract().abs() < 1e-9, "{value} is no whole number");
    value as i64
}

#[test]
fn health_and_readiness_are_told_without_a_token() {
    let mut house = House::start(|_| {});
    let healthy = http::get(&format!("{}/healthz", house.url)).expect("the server answers");
    assert_eq!((healthy.status, healthy.json()), (200, json!({"alive": true})));
    let ready = http::get(&format!("{}/readyz", house.url)).expect("the server answers");
    assert_eq!((ready.status, ready.json()), (200, json!({"ready": true})));
    // A relay that is down does not make the house unready: it accepts, and delivers later.
    house.sink.close();
    house.accept(&[events::test_letter("1", "ada@example.org")]);
    house.until("the relay to be held", || (house.relay("sink")["condition"] == "held").then_some(()));
    assert_eq!(http::get(&format!("{}/readyz", house.url)).expect("the server answers").status, 200);
    house.terminate();
    assert!(http::get(&format!("{}/healthz", house.url)).is_err(), "nobody answers any more");
}
