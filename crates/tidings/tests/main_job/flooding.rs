//! What the flood guard holds, and what becomes of it.

use serde_json::{Value, json};

use crate::house::{House, events, mail};

/// A house whose rule on changes may tell three people an hour.
fn guarded(more: impl FnOnce(&mut crate::house::config::Config)) -> House {
    House::start(|config| {
        config.set("safety", "guard", "{ per_rule_hour = 3 }");
        config.set("alerts", "to", "[\"admin@example.org\"]");
        config.more("[[rule]]\nname = \"changes\"\non = [\"object.changed\"]\nto = [\"object\"]\n");
        more(config);
    })
}

fn changes(count: usize) -> Vec<Value> {
    let change = |number: usize| {
        let person = events::person(&format!("reader{}@example.org", number % 3), "de");
        events::event(&number.to_string(), "object.changed", json!({"object": person, "before": {"room": "A"}, "after": {"room": "B"}}))
    };
    (0..count).map(change).collect()
}

fn batches(house: &House) -> Vec<Value> {
    house.json(&["guard", "list"]).as_array().expect("a list is an array").clone()
}

#[test]
fn too_many_changes_at_once_send_nothing_but_one_alert_until_they_are_let_go() {
    let house = guarded(|_| {});
    house.accept(&changes(9));
    let alert = mail::judged(&house.sink.letter_to("admin@example.org"));
    let [batch] = batches(&house).try_into().expect("one batch");
    let id = batch["id"].as_str().expect("an id is a text").to_owned();
    assert_eq!(
        (&batch["people"], &batch["rule"], &batch["flood"], &batch["state"]),
        (&json!(9), &json!("changes"), &json!("rule_hour"), &json!("held"))
    );
    assert!(alert.text.as_deref().is_some_and(|text| text.contains(&format!("tidings guard release {id}"))), "{:?}", alert.text);
    assert_eq!(house.outbox(&["--state", "held"]).len(), 9);
    assert_eq!(house.sink.count(), 1);
    let held = &house.show(house.outbox(&["--state", "held"])[0]["id"].as_str().expect("an id"))["last_reply"];
    assert!(held.as_str().is_some_and(|why| why.starts_with(&format!("held by the guard: batch {id}"))), "{held}");

    // What comes later goes the same way, and nobody is told again.
    house.accept(&[events::event("later", "object.changed", json!({"object": events::person("reader9@example.org", "en")}))]);
    assert_eq!(batches(&house)[0]["people"], json!(10));
    let shown = house.command(&["guard", "show", &id]);
    assert!(shown.stdout.contains("held") && shown.stdout.contains("10 letters"), "{}", shown.stdout);

    let released = house.command(&["guard", "release", &id]);
    assert_eq!(released.stdout.trim(), "10 letters released", "{}", released.stderr);
    house.sink.wait_for(11);
    house.until_quiet();
    assert_eq!(house.sink.count(), 11);
    assert!(batches(&house).is_empty());
    let again = house.command(&["guard", "cancel", &id]);
    assert_eq!(again.status.code(), Some(1), "{}", again.stderr);
    assert!(again.stderr.contains("was released already"), "{}", again.stderr);
}

#[test]
fn a_batch_is_thinned_to_one_letter_for_each_person() {
    let house = guarded(|_| {});
    house.accept(&changes(9));
    house.sink.wait_for(1);
    let id = batches(&house)[0]["id"].as_str().expect("an id is a text").to_owned();
    let thinned = house.command(&["guard", "digest", &id]);
    assert_eq!(thinned.stdout.trim(), "9 letters cancelled, 3 digests written in place of them", "{}", thinned.stderr);
    house.sink.wait_for(4);
    house.until_quiet();
    assert_eq!((house.sink.count(), house.outbox(&["--state", "cancelled"]).len()), (4, 9));
    for number in 0..3 {
        let [letter] = house.sink.letters_to(&format!("reader{number}@example.org")).try_into().expect("one letter");
        let verdict = mail::judged(&letter);
        assert_eq!(letter.header("Content-Language").as_deref(), Some("de"));
        let text = verdict.text.unwrap_or_default();
        assert_eq!(text.lines().filter(|line| line.starts_with("- ")).count(), 3, "{text}");
        assert!(text.contains(&format!("Reader{number}")), "{text}");
    }
    assert_eq!(house.command(&["guard", "digest", &id]).status.code(), Some(0), "done again it finds nothing more to do");
    assert_eq!(house.outbox(&["--kind", "digest"]).len(), 3);
}

#[test]
fn the_api_decides_on_batches_as_well() {
    let house = guarded(|_| {});
    house.accept(&changes(4));
    house.sink.wait_for(1);
    let token = house.create_token("outbox:read,outbox:write");
    let ask = |method: &str, path: &str| {
        let bearer = format!("Bearer {token}");
        tidings_testkit::http::request(method, &format!("{}{path}", house.url), &[("Authorization", &bearer)], &[])
            .expect("the server answers")
    };
    let listed = ask("GET", "/v1/guard?state=held").json();
    let id = listed["items"][0]["id"].as_str().expect("an id is a text").to_owned();
    assert_eq!(ask("GET", &format!("/v1/guard/{id}")).json()["people"], json!(4));
    assert_eq!(ask("POST", &format!("/v1/guard/{id}/explode")).status, 404);
    let cancelled = ask("POST", &format!("/v1/guard/{id}/cancel"));
    assert_eq!((cancelled.status, cancelled.json()), (200, json!({"letters": 4, "digests": 0})));
    assert_eq!(ask("POST", &format!("/v1/guard/{id}/release")).status, 409);
    assert_eq!(ask("GET", "/v1/guard/0000000000000").status, 404);
    assert_eq!(ask("GET", "/v1/guard?state=open").status, 400);
    let shown = house.show(house.outbox(&["--state", "cancelled"])[0]["id"].as_str().expect("an id"));
    let last = shown["history"].as_array().expect("a history").last().expect("a line").clone();
    assert_eq!((&last["what"], &last["by"]), (&json!("cancel"), &json!("token:test")));
    house.until_quiet();
    assert_eq!(house.sink.count(), 1);
}
