//! A relay that says no: to some, to all for now, to one whatever is tried, and to us.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use tidings_sink::{Fault, Sink, SinkOptions, Stage, What, When};

use crate::house::{House, events};
use crate::ledger::{End, of_sink, reckon, recovery};
use crate::look;
use crate::street::{BRISK, RECOVERY, Street, house_with, without_chunking};
use crate::{Scale, Scenario, Tally};

/// See `proves`.
pub(crate) const SOME: Scenario = Scenario {
    name: "some_recipients_refused",
    proves: "a recipient refused for good fails alone with the relay's words, one refused for now is tried again, everybody else gets the letter, and the relay is not held",
    play: some,
};

/// See `proves`.
pub(crate) const GREY: Scenario = Scenario {
    name: "greylisting",
    proves: "a relay that greylists gets every letter at the second try, a minute or two later by default, and is not taken for a relay in trouble",
    play: grey,
};

/// See `proves`.
pub(crate) const POISON: Scenario = Scenario {
    name: "poison_letter",
    proves: "a letter under which every session breaks spends attempts of its own and holds up nobody else for long",
    play: poison,
};

/// See `proves`.
pub(crate) const SIGN_IN: Scenario = Scenario {
    name: "sign_in_refused",
    proves: "a refused sign-in holds the relay with slow probes (account lock-out), bounces no letter and spends no attempt; with the right password all arrive",
    play: sign_in,
};

/// See `proves`.
pub(crate) const QUOTA: Scenario = Scenario {
    name: "quota_spent",
    proves: "a quota that is spent, permanent in form (Exchange 554 5.2.0, Google 550 5.4.5, Amazon 454, an operator's own row), holds the relay for long and keeps every letter unspent",
    play: quota,
};

fn letters(count: usize) -> Vec<Value> {
    (0..count).map(|n| events::test_letter(&n.to_string(), &format!("reader.{n}@example.org"))).collect()
}

fn number(item: &Value) -> usize {
    let to = item["to"].as_str().expect("a recipient");
    to.split(['.', '@']).nth(1).and_then(|number| number.parse().ok()).expect("a reader has a number")
}

fn some(scale: Scale) -> Tally {
    let count = scale.of(200, 5_000);
    let house = House::start(|config| config.relay_key("retry", "{ delays = [\"1h\"] }"));
    for (last, stage, reply) in [
        ("3@", Stage::Rcpt, "550 5.1.1 nobody of that name"),
        ("4@", Stage::Content, "554 5.7.1 not that content"),
        ("5@", Stage::Rcpt, "452 4.2.2 mailbox full"),
        ("6@", Stage::Content, "451 4.3.0 try later"),
    ] {
        house.sink.add_fault(Fault::new(stage, When::ToAddressContains(last.to_owned()), What::reply(reply)));
    }
    for batch in letters(count).chunks(100) {
        house.accept(batch);
    }
    let refused_for_now = (0..count).filter(|n| [5, 6].contains(&(n % 10))).count();
    let waiting = house.until("those refused for now to wait alone", || {
        let items = look::items(&house, "state=waiting");
        (items.len() == refused_for_now && items.iter().all(|item| item["attempts"].as_u64() >= Some(1))).then_some(items)
    });
    assert_eq!(house.relay("sink")["condition"], "open");
    house.sink.clear_faults();
    retry(&house, &waiting);
    house.until_quiet();
    assert!(!house.log_has("relay held"), "a refusal is not the relay's trouble");
    let items = house.outbox(&[]);
    for item in items.iter().filter(|item| item["state"] == "failed") {
        let words = if number(item) % 10 == 3 { "550 5.1.1 nobody of that name" } else { "554 5.7.1 not that content" };
        assert!(item["last_reply"].as_str().is_some_and(|reply| reply.contains(words)) && item["attempts"] == 1, "{item}");
    }
    reckon(&items, count, &of_sink(&house.sink.letters()), |item| match number(item) % 10 {
        3 | 4 => End::Not("failed"),
        5 | 6 => End::SentSomehow,
        _ => End::Sent,
    })
}

fn grey(scale: Scale) -> Tally {
    let count = scale.of(100, 2_000);
    let house = House::start(|_| {});
    house.sink.add_fault(Fault::new(Stage::Rcpt, When::First(count as u64), What::reply("451 4.7.1 greylisted, come back later")));
    for batch in letters(count).chunks(100) {
        house.accept(batch);
    }
    let waiting = house.until("every letter to be put off", || {
        Some(look::items(&house, "state=waiting")).filter(|items| items.len() == count && items.iter().all(|item| item["attempts"] == 1))
    });
    let due: HashMap<&str, i64> = waiting.iter().map(|item| (item["id"].as_str().expect("an id"), seconds_to_wait(item))).collect();
    assert!(due.values().all(|seconds| (48 - 20..=72).contains(seconds)), "the second try is not about a minute away: {due:?}");
    let varied: std::collections::HashSet<i64> = due.values().copied().collect();
    assert!(varied.len() > 5, "all come back together: {varied:?}");
    assert!(!house.log_has("relay held"), "greylisting is not the relay's trouble");
    // The relay knows us now.
    retry(&house, &waiting);
    house.until_quiet();
    reckon(&house.outbox(&[]), count, &of_sink(&house.sink.letters()), |_| End::SentAfter(1))
}

/// The operator need not wait.
fn retry(house: &House, items: &[Value]) {
    for item in items {
        let reply = house.request("POST", &format!("/v1/outbox/{}/retry", item["id"].as_str().expect("an id")));
        assert!((200..300).contains(&reply.status), "{}", reply.text());
    }
}

/// From now to when an item is due.
fn seconds_to_wait(item: &Value) -> i64 {
    let due: jiff::Timestamp = item["due_at"].as_str().expect("a moment").parse().expect("a moment in RFC 3339");
    due.duration_since(jiff::Timestamp::now()).as_secs()
}

fn poison(scale: Scale) -> Tally {
    let count = scale.of(40, 400);
    let house = house_with(without_chunking(), |config| config.relay_key("limits", "{ sessions = 1 }"));
    house.sink.add_fault(Fault::new(Stage::Data, When::ToAddressContains("reader.0@".to_owned()), What::Hangup));
    house.accept(&letters(count));
    house.until("the poisonous letter to spend an attempt, and everybody else to have a letter", || {
        let items = look::items(&house, "");
        let well =
            |item: &Value| if number(item) == 0 { item["attempts"] == 1 && item["state"] == "waiting" } else { item["state"] == "sent" };
        items.iter().all(well).then_some(())
    });
    // Once it harms nobody it is a letter like any other.
    house.sink.clear_faults();
    let poisonous = house.outbox(&["--to", "reader.0@example.org"])[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(house.request("POST", &format!("/v1/outbox/{poisonous}/retry")).status / 100, 2);
    house.until_quiet();
    let ends = |item: &Value| if number(item) == 0 { End::SentAfter(1) } else { End::Sent };
    reckon(&house.outbox(&[]), count, &of_sink(&house.sink.letters()), ends)
}

fn sign_in(scale: Scale) -> Tally {
    let count = scale.of(20, 500);
    let users = |password: &str| HashMap::from([("post".to_owned(), password.to_owned())]);
    let options = |password: &str| SinkOptions { users: users(password), require_auth: true, ..SinkOptions::default() };
    let auth = |password: &str| format!("{{ username = \"post\", password = \"{password}\", allow_cleartext = true }}");
    let mut house = house_with(options("right"), |config| config.relay_key("auth", &auth("wrong")));
    for batch in letters(count).chunks(100) {
        house.accept(batch);
    }
    let held = house.until("the relay to be held and all letters to wait", || {
        Some(look::relay(&house, "sink")).filter(|relay| relay["condition"] == "held" && relay["waiting"] == count)
    });
    assert!(held["reason"].as_str().is_some_and(|why| why.starts_with("auth: 535")), "{held}");
    let interval = crate::ledger::probe_interval(&house, "sink").expect("it is held");
    assert!(interval >= Duration::from_secs(40), "a refused password is tried again after {interval:?}");
    assert_eq!(house.sink.statistics().refused_sign_ins, 1, "an account may be locked by more");
    assert!(house.outbox(&[]).iter().all(|item| item["attempts"] == 0 && item["state"] == "waiting"));
    let flows = || house.sink.count() > 0;
    let recovered = match scale {
        // Mended on the relay's side: the next slow probe finds out.
        Scale::Full => recovery(&house, "sink", || house.sink.reconfigure(options("wrong")).expect("options are fine"), flows),
        // Mended on our side: the server starts with the right password.
        Scale::Short => {
            assert!(house.terminate().success());
            house.reconfigure(|config| config.relay_key("auth", &auth("right")));
            house.serve();
            crate::Recovery { took: Duration::ZERO, interval: Duration::ZERO }
        }
    };
    house.until_quiet();
    assert_eq!(house.sink.statistics().refused_sign_ins, 1);
    reckon(&house.outbox(&[]), count, &of_sink(&house.sink.letters()), |_| End::Sent).recovered(recovered)
}

/// What the providers say, where, and under which settings of the relay it means a quota.
const QUOTAS: [(Stage, &str, &str, &str); 4] = [
    (
        Stage::Content,
        "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; failed to process message",
        "preset = \"exchange-online\"",
        "",
    ),
    (Stage::Rcpt, "550 5.4.5 Daily SMTP relay sending limit exceeded for user", "preset = \"google-workspace-relay\"", ""),
    (Stage::Content, "454 Throttling failure: Daily message quota exceeded", "preset = \"amazon-ses\"", ""),
    (
        Stage::Mail,
        "550 5.7.1 enough for today",
        "",
        "[[relay.replies]]\nstage = \"mail\"\ncode = 550\ntext = \"enough for today\"\nmeans = \"quota\"",
    ),
];

fn quota(scale: Scale) -> Tally {
    let count = scale.of(5, 20);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime can be made");
    let sinks: Vec<Sink> = runtime.block_on(async {
        let listen = |(stage, reply, ..): &(Stage, &str, &str, &str)| {
            let sink = Sink::listen("127.0.0.1:0".parse().expect("an address"), SinkOptions::default()).expect("a loopback port is free");
            sink.add_fault(Fault::new(*stage, When::Always, What::reply(*reply)));
            sink
        };
        QUOTAS.iter().map(listen).collect()
    });
    let relay = |(sink, (.., first, last)): (&Sink, &(Stage, &str, &str, &str))| {
        (sink.addr().port(), format!("{first}\ntls = \"none\"\n{BRISK}\n{last}"))
    };
    let mut street = Street::open_with(&sinks.iter().zip(&QUOTAS).map(relay).collect::<Vec<_>>());
    street.post_all(count);
    let all: Vec<usize> = (0..sinks.len()).collect();
    for held in street.until_held_for(&all, |relay, why| why.contains(QUOTAS[relay].1)) {
        let interval = crate::ledger::probe_interval(&street.house, held["name"].as_str().expect("a name")).expect("it is held");
        assert!(interval >= Duration::from_mins(5), "a spent quota is tried again after {interval:?}");
    }
    street.house.until("every letter to be back", || {
        street.items().iter().all(|item| item["state"] == "waiting" && item["attempts"] == 0).then_some(())
    });
    // The next day; the operator does not wait for the probe and starts the server anew.
    assert!(street.house.terminate().success());
    sinks.iter().for_each(Sink::clear_faults);
    street.house.serve();
    street.until_quiet(RECOVERY);
    let letters: Vec<_> = sinks.iter().flat_map(Sink::letters).collect();
    let tally = reckon(&street.items(), street.accepted(), &of_sink(&letters), |_| End::Sent);
    assert_eq!(tally.doubled, 0, "no letter was ever in doubt");
    tally
}
