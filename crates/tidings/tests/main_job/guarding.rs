//! The environment guard: nothing leaves but what the section `[safety]` allows, and what stays is on record with the reason.

use std::fs;

use serde_json::json;
use tidings_testkit::judge::judge_bytes;

use crate::house::{Config, House, events, mail};

fn with_copies(config: &mut Config) {
    config.more("[[rule]]\nname = \"copied\"\non = [\"object.changed\"]\nto = [\"object\"]\ncc = [\"manager\"]\n");
}

fn changed(house: &House, id: &str) -> String {
    let mut ada = events::person("ada@example.org", "en");
    ada["manager"] = events::person("grace@elsewhere.example", "de");
    house.accept(&[events::event(id, "object.changed", json!({"object": ada}))]).remove(0)
}

#[test]
fn redirected_letters_go_to_one_address_and_copies_to_another() {
    let house = House::start(|config| {
        with_copies(config);
        config.set("safety", "mode", "\"redirect\"");
        config.set("safety", "redirect_to", "\"all@test.example\"");
        config.set("safety", "redirect_cc", "\"copies@test.example\"");
    });
    let id = changed(&house, "1");
    let letters = house.sink.wait_for(2);
    house.until_quiet();
    let mut envelopes: Vec<&str> = letters.iter().map(|letter| letter.to[0].as_str()).collect();
    envelopes.sort_unstable();
    assert_eq!(envelopes, ["all@test.example", "copies@test.example"]);
    // The letter itself is the one the reader would get.
    assert_eq!(mail::judged(&letters[0]).to[0].address, "ada@example.org");
    let trace = house.get(&format!("/v1/events/{id}/trace"));
    assert_eq!(trace["trace"]["letters"][0]["guard"], "redirected to all@test.example");
    assert_eq!(house.outbox(&["--to", "ada@example.org"])[0]["state"], "sent");
}

#[test]
fn without_an_address_for_copies_they_are_redirected_like_letters() {
    let house = House::start(|config| {
        with_copies(config);
        config.set("safety", "mode", "\"redirect\"");
        config.set("safety", "redirect_to", "\"all@test.example\"");
    });
    changed(&house, "1");
    house.sink.wait_for(2);
    house.until_quiet();
    assert_eq!(house.sink.letters_to("all@test.example").len(), 2);
}

#[test]
fn the_allow_list_counts_after_the_redirect() {
    let house = House::start(|config| {
        config.set("safety", "mode", "\"redirect\"");
        config.set("safety", "redirect_to", "\"all@test.example\"");
        config.set("safety", "allowed_domains", "[\"example.org\"]");
    });
    house.accept(&[events::test_letter("1", "ada@example.org")]);
    let barred = house.until_state("ada@example.org", "failed");
    assert!(barred["last_reply"].as_str().is_some_and(|reply| reply.contains("`test.example` is not among them")), "{barred}");
    assert_eq!(house.sink.count(), 0);
}

#[test]
fn a_recipient_outside_the_allowed_domains_is_refused_on_record() {
    let house = House::start(|config| {
        with_copies(config);
        config.set("safety", "allowed_domains", "[\"example.org\", \"*.corp.example\"]");
    });
    let id = changed(&house, "1");
    house.accept(&[events::test_letter("2", "linus@mail.corp.example")]);
    let barred = house.until_state("grace@elsewhere.example", "failed");
    house.sink.wait_for(2);
    house.until_quiet();
    assert_eq!(house.sink.count(), 2);
    assert!(house.sink.letters_to("grace@elsewhere.example").is_empty());
    let why =
        "the environment guard allows only example.org, .corp.example; `elsewhere.example` is not among them (safety.allowed_domains)";
    let shown = house.show(barred["id"].as_str().expect("an id"));
    assert_eq!((&shown["history"][1]["what"], &shown["history"][1]["detail"]), (&json!("barred"), &json!(why)));
    let trace = house.get(&format!("/v1/events/{id}/trace"));
    assert_eq!(trace["trace"]["letters"][1]["guard"], why);
    // The test letter passes the same guard.
    let tested = house.command(&["send-test", "--to", "eve@elsewhere.example"]);
    assert_eq!(tested.status.code(), Some(1));
    assert!(tested.stderr.contains("safety.allowed_domains"), "{}", tested.stderr);
    assert_eq!(house.sink.count(), 2);
}

#[test]
fn in_mode_file_every_letter_is_in_the_file_and_none_at_the_relay() {
    let house = House::start(|config| {
        with_copies(config);
        config.set("safety", "mode", "\"file\"");
        config.set("safety", "file", "\"letters.mbox\"");
    });
    changed(&house, "1");
    house.until_quiet();
    let mailbox = fs::read_to_string(house.path().join("letters.mbox")).expect("the file is there");
    let letters: Vec<&str> = mailbox.split_inclusive('\n').filter(|line| line.starts_with("From ")).collect();
    assert_eq!(letters.len(), 2, "{mailbox}");
    let first = mailbox.split_once('\n').expect("a From line").1.split("\nFrom ").next().expect("a letter");
    let letter = first.trim_end().replace("\r\n", "\n").replace('\n', "\r\n") + "\r\n";
    let verdict = judge_bytes(letter.as_bytes());
    assert_eq!(verdict.to[0].address, "ada@example.org");
    assert_eq!((house.sink.statistics().sessions, house.outbox(&["--state", "sent"]).len()), (0, 2));
}

#[test]
fn in_mode_off_everything_is_held_until_it_is_switched_on_and_released() {
    let mut house = House::start(|config| config.set("safety", "mode", "\"off\""));
    house.accept(&[events::test_letter("1", "ada@example.org")]);
    let held = house.until_state("ada@example.org", "held");
    assert_eq!(held["last_reply"], "mail is switched off here (safety.mode = \"off\")");
    assert_eq!((house.sink.statistics().sessions, house.sink.count()), (0, 0));
    house.terminate();
    house.reconfigure(|config| config.unset("safety", "mode"));
    house.serve();
    assert_eq!(house.json(&["outbox", "release", "--state", "held"])["changed"], 1);
    house.until_state("ada@example.org", "sent");
    assert_eq!(house.sink.count(), 1);
}
