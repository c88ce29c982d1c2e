//! Requests that cannot be accepted: every one is a problem (RFC 9457) with a JSON pointer to the value, and has no effect.

use serde_json::{Value, json};
use tidings_testkit::http::{self, Reply};

use crate::house::{BATCH, House, STRUCTURED, events};

/// Demands a problem with this status whose pointer and detail are these.
#[track_caller]
fn demand_problem(reply: &Reply, status: u16, pointer: Option<&str>, detail: &str) -> Value {
    assert_eq!((reply.status, reply.header("content-type")), (status, Some("application/problem+json")), "{}", reply.text());
    let problem = reply.json();
    assert_eq!(problem["status"], status, "{problem}");
    assert!(problem["title"].is_string() && problem["type"].is_string(), "{problem}");
    if let Some(pointer) = pointer {
        assert_eq!(problem["pointer"], pointer, "{problem}");
    }
    if !detail.is_empty() {
        assert!(problem["detail"].as_str().is_some_and(|found| found.contains(detail)), "`{detail}` is not in {problem}");
    }
    problem
}

/// A good event with one value changed; `null` takes it out.
fn spoilt(pointer: &str, value: Value) -> Value {
    let mut event = events::joined("spoilt", events::person("ada@example.org", "en"));
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    let parent = event.pointer_mut(parent).expect("the event has it").as_object_mut().expect("an object");
    if value.is_null() {
        parent.remove(key);
    } else {
        parent.insert(key.to_owned(), value);
    }
    event
}

#[test]
fn every_faulty_event_is_refused_with_a_pointer_to_the_value() {
    let house = House::start(|_| {});
    let cases = [
        ("/specversion", json!("0.3"), "`0.3` is not supported"),
        ("/specversion", Value::Null, "missing; must be `1.0`"),
        ("/id", Value::Null, "missing; must be a non-empty text"),
        ("/id", json!(""), "is empty"),
        ("/id", json!(7), "expected a text, found a number"),
        ("/source", Value::Null, "missing; must be a non-empty text"),
        ("/source", json!("x".repeat(1025)), "at most 1024 are allowed"),
        ("/type", Value::Null, "missing; must be a non-empty text"),
        ("/type", json!("tidings.membership.join"), "is not a known type; did you mean `tidings.membership.joined`?"),
        ("/type", json!("com.example.joined"), "types begin with `tidings.`"),
        ("/time", json!("yesterday"), "is not a moment such as"),
        ("/datacontenttype", json!("text/xml"), "data must be JSON"),
        ("/data", Value::Null, "missing; must be an object"),
        ("/data", json!([]), "expected an object"),
        ("/data/member", Value::Null, "missing; `membership.joined` needs it"),
        ("/data/object", json!(5), "expected an object or a reference"),
        ("/data/member/mail", json!("ada@example.org\r\nBcc: eve@example.org"), "holds a control character"),
        ("/data/member/mail", json!("ada@example.org\nRCPT TO:<eve@example.org>"), "holds a control character"),
        ("/data/member/mail", json!("ada"), "`ada` is not a mail address"),
        ("/data/member/name", json!("Ada\r\nBcc: eve@example.org"), ""),
        ("/data/object/name", json!("Pay\0roll"), ""),
        ("/subject", json!("a\0b"), "without control characters"),
    ];
    for (pointer, value, detail) in cases {
        let reply = house.post_event(&spoilt(pointer, value.clone()));
        let problem = demand_problem(&reply, 422, Some(pointer), detail);
        assert!(!problem.to_string().contains("eve@example.org"), "an injected text is not echoed: {problem}");
    }
    assert!(house.outbox(&[]).is_empty());
    // The same event without a fault goes through: nothing of the refused ones has stuck to its name.
    assert_eq!(house.post_event(&spoilt("/time", json!("2026-11-21T09:00:00Z"))).json()["accepted"], 1);
    house.sink.wait_for(1);
}

#[test]
fn all_faults_of_a_request_are_told_at_once_and_none_of_its_events_is_accepted() {
    let house = House::start(|_| {});
    let mut bad = events::joined("bad", events::person("ada@example.org", "en"));
    bad["type"] = json!("tidings.membership.leave");
    bad["specversion"] = json!("2.0");
    bad["data"]["member"]["mail"] = json!("nobody");
    let batch = [events::test_letter("1", "one@example.org"), bad, events::test_letter("3", "three@example.org"), json!("no event")];
    let reply = house.post_batch(&batch);
    let problem = demand_problem(&reply, 422, None, "nothing was");
    let pointers: Vec<&str> = problem["errors"].as_array().expect("errors").iter().filter_map(|error| error["pointer"].as_str()).collect();
    assert_eq!(pointers, ["/1/specversion", "/1/type", "/1/data/member/mail", "/3"]);
    assert!(house.outbox(&[]).is_empty(), "all or nothing");
    // Its good events are new when they come alone.
    let receipt = house.post_batch(&[batch[0].clone(), batch[2].clone()]).json();
    assert_eq!((&receipt["accepted"], &receipt["duplicates"]), (&json!(2), &json!(0)));
    house.until_quiet_after(2);
    assert_eq!(house.sink.count(), 2);
}

#[test]
fn what_is_no_json_no_event_stream_or_too_long_is_refused_at_the_door() {
    let house = House::start(|config| config.set("server", "max_body", "\"64KiB\""));
    let event = events::test_letter("1", "ada@example.org").to_string();
    demand_problem(&house.post(STRUCTURED, &event[..event.len() - 3]), 400, Some(""), "the body is not JSON");
    demand_problem(&house.post(STRUCTURED, "{\"id\": tru}"), 400, Some(""), "line 1 column");
    demand_problem(&house.post(STRUCTURED, ""), 400, Some(""), "the body is not JSON");
    demand_problem(&house.post(BATCH, &event), 400, Some(""), "must be a JSON array");
    demand_problem(&house.post("application/json", &event), 415, None, "application/cloudevents+json");
    demand_problem(&house.post("text/plain", &event), 415, None, "application/cloudevents+json");
    demand_problem(&house.post("application/cloudevents+avro", &event), 415, None, "application/cloudevents+json");
    let huge =
        events::event("1", "test", json!({"object": events::person("ada@example.org", "en"), "details": {"note": "x".repeat(70_000)}}));
    demand_problem(&house.post_event(&huge), 413, None, "65536");
    let got = house.request("GET", "/v1/events");
    demand_problem(&got, 405, None, "");
    assert_eq!(got.header("allow"), Some("POST"));
    demand_problem(&house.request("GET", "/v1/nowhere"), 404, None, "");
    demand_problem(&house.request("GET", "/v1/outbox?state=lost"), 400, None, "`lost` is not a state");
    demand_problem(&house.request("GET", "/v1/outbox?limit=0"), 400, None, "limit");
    demand_problem(&house.request("GET", "/v1/events/no-id/trace"), 400, None, "");
    let deep = format!("{}1{}", "[".repeat(1000), "]".repeat(1000));
    demand_problem(&house.post(BATCH, deep), 400, Some(""), "the body is not JSON");
    assert!(house.outbox(&[]).is_empty());
    assert_eq!(house.post(STRUCTURED, &event).status, 202, "the server is as well as before");
}

#[test]
fn a_wrong_token_is_refused_before_the_body_is_looked_at() {
    let house = House::start(|_| {});
    let url = format!("{}/v1/events", house.url);
    for token in ["tid_0", &"x".repeat(64), &format!("tid_{}", "f".repeat(64))] {
        let reply = http::post(&url, Some(token), STRUCTURED, b"no json").expect("the server answers");
        let problem = demand_problem(&reply, 401, None, "");
        assert!(!problem.to_string().contains(token));
    }
    let basic = http::request("POST", &url, &[("Authorization", "Basic dXNlcjpwYXNz")], b"").expect("the server answers");
    demand_problem(&basic, 401, None, "");
}
