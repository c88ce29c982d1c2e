//! Why somebody is told or not, over people from a file: `tidings explain` before the event is posted, and the stored trace once it was, say the same.

use std::fs;

use serde_json::{Value, json};

use crate::house::{House, events};

/// Linus of Payroll, whose manager is Ada; Payroll's owners are Grace and everybody who cannot be told.
const PEOPLE: &str = "\
key,type,name,mail,locale,enabled,notify,manager,members,owner,additional_owners
ada,user,Ada,ada@example.org,en,,,,,,
grace,user,Grace,grace@example.org,de-AT,,,,,,
linus,user,Linus,linus@example.org,fr,,,ada,,,
muted,user,Muted,muted@example.org,en,,false,,,,
gone,user,Gone,gone@example.org,en,false,,,,,
nowhere,user,Nowhere,,en,,,,,,
outside,user,Outside,owner@elsewhere.example,en,,,,,,
payroll,group,Payroll,,,,,,linus;ada,grace,muted;gone;nowhere;outside;ghost
";

fn house() -> House {
    let house = House::start(|config| {
        config.set("safety", "allowed_domains", "[\"example.org\"]");
        config.set("safety", "guard", "{ per_event = 3 }");
        config.more("[[directory]]\nname = \"corp\"\nsource = \"csv\"\n");
        for (name, rest) in [
            ("owners", "to = [\"owners\"]"),
            ("above", "to = [\"manager\", \"actor\", \"ADA@example.org\"]\ncc = [\"primary_owner\"]"),
            ("sales", "when = 'object.name == \"Sales\"'\nto = [\"owners\"]"),
            ("broken", "when = 'object.size > 3'\nto = [\"owners\"]"),
            ("off", "to = [\"owners\"]\nenabled = false"),
            ("approvers", "to = [\"approvers\"]\nfallback = [\"helpdesk@example.org\"]"),
        ] {
            config.more(&format!("[[rule]]\nname = \"{name}\"\non = [\"membership.joined\"]\n{rest}\n"));
        }
    });
    let file = house.path().join("people.csv");
    fs::write(&file, PEOPLE).expect("our own folder can be written");
    let loaded = house.command(&["directory", "load", "corp", file.to_str().expect("a readable path")]);
    assert!(loaded.status.success(), "{}", loaded.stderr);
    house
}

fn explain(house: &House, event: &Value) -> String {
    let explained = house.command_with_input(&["explain", "-"], &event.to_string());
    assert!(explained.status.success(), "{}", explained.stderr);
    explained.stdout
}

/// A letter of a trace without what only one of the two can know: its item, and how far the guard has come with it.
fn comparable(letter: &Value) -> Value {
    let mut letter = letter.clone();
    let fields = letter.as_object_mut().expect("a letter is an object");
    fields.remove("item");
    fields.remove("held");
    letter
}

#[test]
fn explain_and_the_trace_name_every_reason_why_somebody_is_told_or_not() {
    let house = house();
    let event = events::event("1", "membership.joined", json!({"object": "corp/payroll", "member": "corp/linus", "actor": "corp/ada"}));
    let before = explain(&house, &event);
    insta::assert_snapshot!(before);
    let explained = &house.command_with_input(&["explain", "-", "--json"], &event.to_string()).stdout;
    let explained = serde_json::from_str::<Value>(explained).expect("JSON")[0]["trace"].clone();
    assert!(house.outbox(&[]).is_empty(), "explaining writes nothing");

    let id = house.accept(std::slice::from_ref(&event)).remove(0);
    let trace = house.get(&format!("/v1/events/{id}/trace"))["trace"].clone();
    assert_eq!((&trace["rules"], &trace["unresolved"]), (&explained["rules"], &explained["unresolved"]));
    assert_eq!(trace["unresolved"], json!(["corp/ghost"]));
    let letters = |trace: &Value| trace["letters"].as_array().expect("letters are a list").clone();
    let both: Vec<(Value, Value)> = letters(&trace).into_iter().zip(letters(&explained)).collect();
    assert_eq!(both.len(), 5);
    let batch = house.json(&["guard", "list"])[0]["id"].as_str().expect("a batch").to_owned();
    for (told, explained) in &both {
        assert_eq!(comparable(told), comparable(explained));
        let (held, would) = (told["held"].as_str().expect("it is held"), explained["held"].as_str().expect("it would be held"));
        let why = held.strip_prefix(&format!("held by the guard: batch {batch}: ")).expect("the guard's words");
        assert_eq!(would, format!("would be held by the guard: {why}, 5 in all"));
    }

    // Posted again it is a duplicate, whatever else it leads to; the trace stays that of the first.
    let again = house.post_event(&event).json();
    assert_eq!((&again["accepted"], &again["duplicates"], &again["ids"]), (&json!(0), &json!(1), &json!([id])));
    let after = explain(&house, &event);
    let known =
        format!("  nothing comes of it: the event was accepted before, as {id}; what follows is what it would lead to under another id\n");
    assert_eq!(after.replacen(&known, "", 1), before);
    assert!(after.contains(&known), "{after}");

    // Let go, the letters are not held any more, and one is refused by the environment guard in the words that were foretold.
    assert!(house.command(&["guard", "release", &batch]).status.success());
    house.until_quiet_after(4);
    let refused = house.outbox(&["--to", "owner@elsewhere.example"]).remove(0);
    let foretold =
        both.iter().find(|(_, explained)| explained["to"] == "owner@elsewhere.example").expect("it was foretold").1["guard"].clone();
    assert_eq!((&refused["state"], &refused["last_reply"]), (&json!("failed"), &foretold));
    let trace = house.get(&format!("/v1/events/{id}/trace"));
    assert!(letters(&trace["trace"]).iter().all(|letter| letter.get("held").is_none()), "{trace}");
}
