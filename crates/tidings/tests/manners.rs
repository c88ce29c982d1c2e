//! Manners, seen from outside: Symantec's recipe, limits, presets and rows of the reply table, pickup directories that nobody empties.

mod house;

use std::fs;

use serde_json::{Value, json};
use tidings_sink::{Fault, Stage, What, When};

use house::House;
use house::events::test_letter;

fn letters(numbers: std::ops::Range<usize>) -> Vec<Value> {
    numbers.map(|n| test_letter(&n.to_string(), &format!("reader{n}@example.org"))).collect()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

#[test]
fn symantecs_recipe_tries_at_the_times_of_cron_and_clears_only_on_success() {
    // As in the recipe, but every two seconds in place of every five minutes.
    let mut house = House::start(|config| config.relay_key("retry", "{ cron = \"*/2 * * * * *\" }"));
    house.sink.add_fault(Fault::new(Stage::Content, When::First(2), What::reply("451 4.3.0 mail server out of order")));
    house.accept(&letters(1..2));
    house.until_quiet_after(1);
    let item = house.outbox(&["--state", "sent"]).remove(0);
    assert_eq!(item["attempts"], 3);
    let history = house.show(text(&item, "id"))["history"].clone();
    let history = history.as_array().expect("it has a history");
    assert_eq!(history.iter().map(|line| text(line, "what")).collect::<Vec<_>>(), ["accepted", "refused", "refused", "sent"]);
    for (refused, next) in history[1..].iter().zip(&history[2..]) {
        let due = text(refused, "next_at");
        let second: u32 = due.get(17..19).and_then(|second| second.parse().ok()).unwrap_or_else(|| panic!("no moment: {refused}"));
        assert!(second.is_multiple_of(2) && text(next, "at")[..19] >= due[..19], "at a time of cron, and not before: {history:?}");
    }
    assert!(history[3]["next_at"].is_null(), "cleared: {}", history[3]);
    let shown = house.command(&["outbox", "show", text(&item, "id")]).stdout;
    assert_eq!(shown.matches("→ kept, next attempt ").count(), 2, "{shown}");
    assert_eq!(shown.matches("→ done, cleared").count(), 1, "{shown}");

    // The mail server is gone altogether: nothing is cleared, no attempt is spent, and it goes when the server is back.
    house.sink.close();
    house.accept(&letters(2..3));
    house.until("the relay to be held", || (house.relay("sink")["condition"] == "held").then_some(()));
    let waiting = house.until("the letter to wait", || house.outbox(&["--state", "waiting"]).pop());
    assert_eq!(waiting["attempts"], 0);
    house.kill9();
    house.serve();
    house.sink.reopen();
    house.until_quiet_after(2);
    assert_eq!(house.outbox(&["--state", "sent"]).len(), 2);
}

#[test]
fn a_limit_is_seen_and_survives_a_killed_server() {
    let mut house = House::start(|config| config.relay_key("limits", "{ per_day = 30 }"));
    house.accept(&letters(0..50));
    let throttled = |house: &House| {
        house.until("the relay to be throttled", || Some(house.relay("sink")).filter(|relay| relay["condition"] == "throttled"))
    };
    let relay = throttled(&house);
    assert!(text(&relay, "reason").starts_with("its limit of 30 letters a day is reached; the next ones go from "), "{relay}");
    // Test letters go in the lane `security`, for which the last tenth is kept.
    house.until("what may go has gone", || (house.outbox(&["--state", "sent"]).len() == 30).then_some(()));
    let told = house.get("/v1/relays")["items"][0].clone();
    assert_eq!((text(&told, "condition"), told["waiting"].as_u64()), ("throttled", Some(20)), "{told}");
    assert!(house.metrics().sum("tidings_relay_throttled", &["relay=\"sink\""]) > 0.5);
    house.kill9();
    house.serve();
    house.accept(&letters(50..51));
    throttled(&house);
    house.until("the house to be quiet", || (house.outbox(&["--state", "claimed"]).is_empty()).then_some(()));
    assert_eq!((house.sink.count(), house.outbox(&["--state", "waiting"]).len()), (30, 21));
}

#[test]
fn rows_of_the_configuration_come_before_the_preset_and_that_before_the_standard() {
    let house = House::start(|config| {
        config.relay_key("preset", "\"exchange-online\"");
        config.relay_key(
            "replies",
            "[{ stage = \"content\", code = \"5xx\", text = \"come back tomorrow\", means = \"quota\", hint = \"ask Grace\" }]",
        );
    });
    house.sink.add_fault(Fault::new(Stage::Content, When::Always, What::reply("554 Come back tomorrow, please")));
    house.accept(&letters(0..3));
    let held = house.until("the relay to be held", || Some(house.relay("sink")).filter(|relay| relay["condition"] == "held"));
    assert!(text(&held, "reason").contains("Come back tomorrow") && text(&held, "reason").contains("ask Grace"), "{held}");
    house.until("all to wait", || (house.outbox(&["--state", "waiting"]).len() == 3).then_some(()));
    assert!(house.outbox(&[]).iter().all(|item| item["attempts"] == 0));

    let rows = house.json(&["relay", "replies", "sink"]);
    let rows = rows.as_array().expect("a list");
    let own = json!({"from": "configuration", "stage": "content", "code": "500-599", "enhanced": null, "text": "come back tomorrow", "means": "quota", "hint": "ask Grace"});
    assert_eq!(rows[0], own);
    let place = |from: &str| rows.iter().position(|row| row["from"] == from).unwrap_or_else(|| panic!("no row is {from}"));
    assert!(place("configuration") < place("preset") && place("preset") < place("standard"));
    assert!(rows.iter().any(|row| row["enhanced"] == "5.7.139" && row["means"] == "sign-in"), "{rows:?}");
    let table = house.command(&["relay", "replies", "sink"]).stdout;
    assert!(table.trim_start().starts_with("FROM") && table.contains("SubmissionQuotaExceeded"), "{table}");
    let unknown = house.command(&["relay", "replies", "nobody"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", unknown.stderr);
}

#[test]
fn a_mail_server_that_does_not_empty_its_folder_is_seen() {
    let house = House::start(|config| {
        fs::create_dir_all(config.folder().join("pickup")).expect("our own folder can be written");
        config.relays(
            "[[relay]]\nname = \"pickup\"\nkind = \"pickup\"\nfolder = \"pickup\"\nfrom = \"no-reply@nordwind.example\"\ndrain_within = \"500ms\"\nreplay = true\n",
        );
    });
    let folder = house.path().join("pickup");
    house.accept(&letters(0..2));
    house.until_quiet();
    let both = |house: &House| (house.metrics().sum("tidings_pickup_waiting", &["relay=\"pickup\""]) - 2.0).abs() < 0.1;
    let stalled = house
        .until("the relay to be stalled", || Some(house.relay("pickup")).filter(|relay| relay["condition"] == "stalled" && both(&house)));
    assert!(text(&stalled, "reason").contains("does not collect"), "{stalled}");
    let items = house.outbox(&["--state", "sent"]);
    let file = |item: &Value, end: &str| folder.join(format!("{}.{end}", text(item, "id")));
    let written = fs::read_to_string(file(&items[0], "eml")).expect("it lies there");
    let sender = format!(
        "X-Sender: <no-reply@nordwind.example> BODY=7bit RET=HDRS ENVID={}\r\nX-Receiver: <{}> NOTIFY=",
        text(&items[0], "id"),
        text(&items[0], "to")
    );
    assert!(written.starts_with(&sender), "{written}");

    // It wakes up, cannot read the one and takes the other.
    fs::rename(file(&items[0], "eml"), file(&items[0], "bad")).expect("our own folder can be written");
    fs::remove_file(file(&items[1], "eml")).expect("our own folder can be written");
    let relay = house.until("the bad file to be seen", || {
        Some(house.relay("pickup")).filter(|relay| relay["condition"] != "stalled" && text(relay, "reason").contains(".bad"))
    });
    assert!(text(&relay, "reason").contains(text(&items[0], "id")), "{relay}");
    assert!((house.metrics().sum("tidings_pickup_bad", &["relay=\"pickup\""]) - 1.0).abs() < 0.1);
    assert!(house.log_has("does not collect") && house.log_has("put them aside"), "{}", house.log());
}
