//! The operator's commands in a second process while the server runs, and the same over HTTP.

use std::time::Duration;

use serde_json::{Value, json};
use tidings_sink::{Fault, Stage, What, When};

use crate::house::{House, events};

/// The item to this address.
#[track_caller]
fn item(house: &House, to: &str) -> Value {
    let mut items = house.outbox(&["--to", to]);
    assert_eq!(items.len(), 1, "{items:?}");
    items.remove(0)
}

fn id(item: &Value) -> String {
    item["id"].as_str().expect("an id is a text").to_owned()
}

/// The history's words, in order.
#[track_caller]
fn history(house: &House, item: &Value) -> Vec<String> {
    let shown = house.show(&id(item));
    let lines = shown["history"].as_array().expect("a history").clone();
    lines.iter().map(|line| line["what"].as_str().expect("a word").to_owned()).collect()
}

#[test]
fn an_item_is_listed_and_shown_as_the_contract_says() {
    let house = House::start(|_| {});
    let event = house.accept(&[events::joined("1", events::person("ada@example.org", "en"))]).remove(0);
    house.until_state("ada@example.org", "sent");
    let item = item(&house, "ada@example.org");
    for key in [
        "id",
        "event",
        "kind",
        "rule",
        "to",
        "relay",
        "lane",
        "state",
        "due_at",
        "expires_at",
        "attempts",
        "message_id",
        "maybe_duplicate",
        "last_reply",
    ] {
        assert!(item.get(key).is_some(), "{key} is missing in {item}");
    }
    let fixed = ["event", "kind", "rule", "to", "relay", "lane", "state", "attempts", "maybe_duplicate"].map(|key| item[key].clone());
    let expected = [
        json!(event),
        json!("membership.joined"),
        json!("built-in:membership.joined"),
        json!("ada@example.org"),
        json!("sink"),
        json!("notices"),
        json!("sent"),
        json!(1),
        json!(false),
    ];
    assert_eq!(fixed, expected);
    assert!(item["last_reply"].as_str().is_some_and(|reply| reply.starts_with("250")), "{item}");
    assert_eq!(history(&house, &item), ["accepted", "sent"]);
    assert_eq!(house.get(&format!("/v1/outbox/{}", id(&item))), house.show(&id(&item)), "command and API say the same");
    let eml = house.command(&["outbox", "show", &id(&item), "--eml"]);
    assert_eq!(eml.stdout.as_bytes(), house.sink.letter_to("ada@example.org").bytes.as_slice());
    // Filters, and a page behind the first.
    house.accept(&[events::test_letter("2", "grace@example.org"), events::test_letter("3", "linus@example.org")]);
    house.until_quiet_after(3);
    assert_eq!(house.outbox(&["--kind", "test"]).len(), 2);
    assert_eq!(house.outbox(&["--state", "waiting"]).len(), 0);
    assert_eq!(house.outbox(&["--event", &event]).len(), 1);
    let first = house.get("/v1/outbox?limit=2");
    let next = house.get(&format!("/v1/outbox?limit=2&cursor={}", first["next"].as_str().expect("there is more")));
    let all: Vec<&Value> =
        [&first, &next].iter().flat_map(|page| page["items"].as_array().expect("items")).map(|item| &item["id"]).collect();
    assert_eq!((all.len(), &next["next"]), (3, &Value::Null));
    let unknown = house.command(&["outbox", "show", "0000000000000"]);
    assert_eq!(unknown.status.code(), Some(if unknown.stderr.contains("no item") { 1 } else { 2 }), "{}", unknown.stderr);
}

#[test]
fn retry_cancel_hold_and_release_work_beside_the_running_server() {
    let house = House::start(|config| config.relay_key("retry", "{ delays = [\"1h\"] }"));
    house.sink.add_fault(Fault::new(Stage::Rcpt, When::ToAddressContains("slow".into()), What::reply("450 4.2.1 mailbox busy")));
    house.sink.add_fault(Fault::new(Stage::Rcpt, When::ToAddressContains("gone".into()), What::reply("550 5.1.1 no such user")));
    house.accept(&["slow.ada", "slow.grace", "slow.linus", "gone"].map(|who| events::test_letter(who, &format!("{who}@example.org"))));
    for who in ["slow.ada", "slow.grace", "slow.linus"] {
        let waiting = house.until("the refusal to be noted", || {
            let item = item(&house, &format!("{who}@example.org"));
            (item["attempts"] == 1).then_some(item)
        });
        assert_eq!(waiting["state"], "waiting");
        assert!(waiting["last_reply"].as_str().is_some_and(|reply| reply.contains("450 4.2.1 mailbox busy")), "{waiting}");
    }
    let failed = house.until_state("gone@example.org", "failed");
    assert_eq!(failed["last_reply"], "rcpt: 550 5.1.1 no such user");

    let [ada, grace, linus] = ["slow.ada", "slow.grace", "slow.linus"].map(|who| item(&house, &format!("{who}@example.org")));
    assert_eq!(house.json(&["outbox", "cancel", &id(&ada)]), json!({"changed": 1, "skipped": 0}));
    assert_eq!(house.json(&["outbox", "hold", &id(&grace)]), json!({"changed": 1, "skipped": 0}));
    // What is not possible is said, and fails.
    let again = house.command(&["outbox", "cancel", &id(&ada), "--json"]);
    assert_eq!((again.status.code(), again.stdout.trim()), (Some(1), r#"{"changed":0,"skipped":1}"#));
    let all = house.command(&["outbox", "retry"]);
    assert_eq!(all.status.code(), Some(2), "without a name or a filter nothing is done: {}", all.stderr);

    house.sink.clear_faults();
    // "Retry now" for one item, then for a filter; a held one goes when it is released.
    assert_eq!(house.json(&["outbox", "retry", &id(&linus)]), json!({"changed": 1, "skipped": 0}));
    house.until_state("slow.linus@example.org", "sent");
    assert_eq!(house.json(&["outbox", "retry", "--state", "failed"]), json!({"changed": 1, "skipped": 0}));
    house.until_state("gone@example.org", "sent");
    assert_eq!(
        (item(&house, "slow.ada@example.org")["state"].as_str(), item(&house, "slow.grace@example.org")["state"].as_str()),
        (Some("cancelled"), Some("held"))
    );
    let released = house.request("POST", &format!("/v1/outbox/{}/release", id(&grace)));
    assert_eq!((released.status, released.json()["state"].as_str()), (200, Some("waiting")), "{}", released.text());
    // Let go, it waits for the moment its last refusal had put it off to, unless it is told to go now.
    assert_eq!(released.json()["due_at"], grace["due_at"]);
    assert_eq!(house.request("POST", &format!("/v1/outbox/{}/retry", id(&grace))).status, 200);
    house.until_state("slow.grace@example.org", "sent");
    let conflict = house.request("POST", &format!("/v1/outbox/{}/release", id(&grace)));
    assert_eq!((conflict.status, conflict.header("content-type")), (409, Some("application/problem+json")));

    assert_eq!(history(&house, &linus), ["accepted", "refused", "retry", "sent"]);
    assert_eq!(history(&house, &ada), ["accepted", "refused", "cancel"]);
    assert_eq!(history(&house, &grace), ["accepted", "refused", "hold", "release", "retry", "sent"]);
    let by: Vec<Value> = house.show(&id(&grace))["history"].as_array().expect("a history").iter().map(|line| line["by"].clone()).collect();
    assert_eq!((&by[2], &by[3]), (&json!("cli:tester"), &json!("token:test")));
    house.until_quiet();
    assert_eq!(house.sink.count(), 3, "the cancelled letter is never sent");
}

#[test]
fn a_paused_relay_sends_nothing_until_it_is_resumed() {
    let house = House::start(|_| {});
    let paused = house.command(&["relay", "pause", "sink"]);
    assert_eq!((paused.status.code(), paused.stdout.trim()), (Some(0), "sink is paused"));
    house.until("the server to hear of the pause", || house.log_has("the operator's word").then_some(()));
    house.accept(&[events::test_letter("1", "ada@example.org")]);
    let relay = house.relay("sink");
    assert_eq!((&relay["condition"], &relay["waiting"], &relay["paused_by"]), (&json!("paused"), &json!(1), &json!("cli:tester")));
    // A retry by hand does not get past the pause; the next tick of the server has gone by when it has answered another pause.
    assert_eq!(house.json(&["outbox", "retry", "--to", "ada@example.org"])["changed"], 1);
    let resumed_by_api = house.request("POST", "/v1/relays/sink/pause");
    assert_eq!(resumed_by_api.status, 200, "{}", resumed_by_api.text());
    assert_eq!((house.sink.count(), item(&house, "ada@example.org")["state"].as_str()), (0, Some("waiting")));
    assert!(house.command(&["relay", "resume", "sink"]).status.success());
    house.until_state("ada@example.org", "sent");
    assert_eq!(house.relay("sink")["paused_at"], Value::Null);
    let unknown = house.command(&["relay", "pause", "sinc"]);
    assert_eq!((unknown.status.code(), unknown.stderr.trim()), (Some(2), "no relay is called `sinc`; there are sink"));
}

#[test]
fn a_relay_is_probed_without_a_letter() {
    let house = House::start(|_| {});
    let probed = house.command(&["relay", "probe", "sink"]);
    assert!(probed.status.success(), "{}", probed.stderr);
    assert!(
        probed.stdout.contains("< 220 ") && probed.stdout.contains("> EHLO ") && probed.stdout.contains("sink works"),
        "{}",
        probed.stdout
    );
    house.sink.close();
    let dead = house.command(&["relay", "probe", "sink"]);
    assert_eq!(dead.status.code(), Some(1));
    assert!(dead.stderr.contains("sink does not work: connect: "), "{}", dead.stderr);
    assert_eq!(house.sink.count(), 0);
}

#[test]
fn a_code_does_not_wait_behind_notices() {
    const NOTICES: usize = 100;
    let house = House::start(|config| config.relay_key("limits", "{ sessions = 1 }"));
    house.sink.add_fault(Fault::new(Stage::Content, When::Always, What::Stall(Duration::from_millis(40))));
    let notices: Vec<Value> =
        (0..NOTICES).map(|n| events::joined(&n.to_string(), events::person(&format!("reader.{n}@example.org"), "en"))).collect();
    house.accept(&notices);
    house.sink.wait_for(5);
    house.accept(&[events::password_reset("code", "ada@example.org", "Winter-84")]);
    let before = house.sink.letter_to("ada@example.org");
    let ahead = house.sink.letters().iter().position(|letter| letter.to == before.to).expect("it is there");
    // Only what had been handed to the session already may go first.
    assert!(ahead < NOTICES / 3, "{ahead} of {NOTICES} notices went before the code");
    house.sink.clear_faults();
    house.until_quiet_after(NOTICES as u64 + 1);
}
