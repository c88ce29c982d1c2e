//! `tidings rules replay`: rules over the events of a real database, filled by posting them.

mod house;

use house::{House, events};
use serde_json::{Value, json};
use std::{fmt::Write as _, fs};

const RULES: &str = r#"
[[rule]]
name = "owners"
on = ["membership.*"]
to = ["owners"]
"#;

/// Linus joins and leaves Payroll of Grace and Ada, Ada gets a temporary password, and Payroll is renamed by Linus.
fn fill(house: &House) -> Vec<String> {
    let owners = [events::person("grace@example.org", "de"), events::person("ada@example.org", "en")];
    let linus = || events::person("linus@example.org", "fr");
    let payroll = |kind: &str, id: &str| events::event(id, kind, json!({"object": events::payroll(&owners), "member": linus()}));
    let renamed = json!({"object": events::payroll(&owners), "actor": linus(), "before": {"name": "Pay"}, "after": {"name": "Payroll"}});
    let ids = house.accept(&[
        payroll("membership.joined", "1"),
        payroll("membership.left", "2"),
        events::password_reset("3", "ada@example.org", "geheim-77"),
        events::event("4", "object.changed", renamed),
    ]);
    house.until_quiet_after(7);
    ids
}

/// Writes a file of drafts into the house's folder; its path.
fn drafts(house: &House, text: &str) -> String {
    let file = house.path().join("draft.toml");
    fs::write(&file, text).expect("our own folder can be written");
    file.to_str().expect("a readable path").to_owned()
}

/// What is in the database, as far as deciding and delivering write into it.
fn contents(house: &House) -> String {
    let tables = ["event", "letter", "item", "history", "fan_out", "word", "object", "link"];
    let counts = tables.map(|table| format!("(SELECT count(*) FROM {table})")).join(", ");
    house::sql(&house.database(), &format!("SELECT {counts}, (SELECT sum(state) FROM item)"))
}

/// The output with what differs from run to run taken out: ids by their order, moments, folders.
fn settled(text: &str, ids: &[String], house: &House) -> String {
    let mut text = text.replace(house.path().to_str().expect("a readable path"), "HOUSE");
    for (number, id) in ids.iter().enumerate() {
        text = text.replace(id, &format!("EVENT-{}", number + 1));
    }
    let moment = |word: &str| word.len() >= 20 && word.as_bytes()[4] == b'-' && word.as_bytes()[10] == b'T';
    let line = |line: &str| {
        line.split(' ')
            .map(|word| if word.is_ascii() && moment(word) { word.replace(&word[..20], "MOMENT") } else { word.to_owned() })
            .collect::<Vec<_>>()
            .join(" ")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn person<'a>(replay: &'a Value, address: &str) -> &'a Value {
    let people = replay["people"].as_array().expect("people are a list");
    people.iter().find(|one| one["address"] == address).unwrap_or_else(|| panic!("no {address} among {people:?}"))
}

fn counts(value: &Value) -> [u64; 3] {
    ["more", "fewer", "same"].map(|name| value[name].as_u64().expect("a number"))
}

#[test]
fn drafts_are_held_against_the_rules_in_force_person_by_person() {
    let house = House::start(|config| config.more(RULES));
    let ids = fill(&house);
    let before = contents(&house);
    let file = drafts(
        &house,
        r#"
[[rule]]
name = "first-owner"
on = ["membership.*"]
to = ["primary_owner"]
cc = ["audit@example.org"]
[[rule]]
name = "changes"
on = ["object.changed"]
to = ["actor"]
[[rule]]
name = "broken"
on = ["object.changed"]
when = "object.size > 3"
to = ["helpdesk@example.org"]
[[rule]]
name = "weak"
on = ["password.reset"]
kind = "object.changed"
when = "size(details.password) < 8"
to = ["object"]
"#,
    );
    let replayed = house.command(&["rules", "replay", "--since", "1h", "--rules", &file]);
    assert!(replayed.status.success(), "{}", replayed.stderr);
    insta::assert_snapshot!(settled(&replayed.stdout, &ids, &house));
    assert_eq!(contents(&house), before, "nothing is written");
    assert_eq!(house.sink.count(), 7, "nothing is sent");

    let shown = house.json(&["rules", "replay", "--since", "1h", "--rules", &file]);
    assert_eq!((&shown["before"], &shown["after"]), (&json!("the rules in force"), &json!(file)));
    let expected = [
        ("grace@example.org", [0, 0, 2]),
        ("ada@example.org", [1, 2, 1]),
        ("linus@example.org", [1, 0, 2]),
        ("audit@example.org", [2, 0, 0]),
    ];
    for (address, expected) in expected {
        if expected[..2] == [0, 0] {
            assert!(shown["people"].as_array().is_some_and(|people| people.iter().all(|one| one["address"] != address)), "{address}");
        } else {
            assert_eq!(counts(person(&shown, address)), expected, "{address}");
        }
    }
    assert_eq!(person(&shown, "audit@example.org")["differences"][0]["role"], "cc");
    assert_eq!(person(&shown, "ada@example.org")["differences"][2]["uncertain"], true, "it looked at the password");
    let totals = &shown["totals"];
    assert_eq!((totals["events"].as_u64(), totals["before"].as_u64(), totals["after"].as_u64()), (Some(4), Some(7), Some(9)));
    assert_eq!(counts(totals), [4, 2, 5]);
    assert_eq!((&totals["people_gained"], &totals["people_lost"], &totals["by_another_rule"]), (&json!(1), &json!(0), &json!(2)));
}

#[test]
fn the_rules_in_force_are_held_against_what_was_recorded() {
    let mut house = House::start(|config| config.more(RULES));
    let ids = fill(&house);
    let same = house.json(&["rules", "replay"]);
    assert_eq!((counts(&same["totals"]), same["people"].as_array().map(Vec::len)), ([0, 0, 7], Some(0)));
    assert_eq!(same["totals"]["people"], 3);

    house.reconfigure(|config| {
        config.more("[[rule]]\nname = \"built-in:membership.left\"\non = [\"membership.left\"]\nto = [\"object\"]\nenabled = false\n");
    });
    let replayed = house.json(&["rules", "replay"]);
    assert_eq!((&replayed["before"], &replayed["after"]), (&json!("what was recorded"), &json!("the rules in force")));
    let linus = person(&replayed, "linus@example.org");
    assert_eq!((counts(linus), &linus["name"]), ([0, 1, 1], &json!("Linus")));
    let difference = &linus["differences"][0];
    assert_eq!(
        (&difference["change"], &difference["rule"], &difference["event"]),
        (&json!("fewer"), &json!("built-in:membership.left"), &json!(ids[1]))
    );
    let text = house.command(&["rules", "replay"]).stdout;
    assert!(text.starts_with("what was recorded → the rules in force, events accepted from "), "{text}");
    assert!(text.contains(&format!("  − membership.left by the rule built-in:membership.left, event {} of ", ids[1])), "{text}");
}

#[test]
fn a_span_and_kinds_say_which_events() {
    let house = House::start(|config| config.more(RULES));
    assert_eq!(house.command(&["rules", "replay"]).stdout.split(" between ").next(), Some("no event was accepted"));
    fill(&house);
    let events = |arguments: &[&str]| {
        let arguments: Vec<&str> = ["rules", "replay"].iter().chain(arguments).copied().collect();
        house.json(&arguments)["totals"]["events"].as_u64().expect("a number")
    };
    assert_eq!(events(&["--since", "36h"]), 4);
    assert_eq!(events(&["--kind", "membership.*", "--kind", "password.reset"]), 3);
    assert_eq!(events(&["--kind", "account.created"]), 0);
    assert_eq!(events(&["--until", "1h"]), 0);
    assert_eq!(events(&["--since", "2020-01-01T00:00:00Z", "--until", "2020-02-01T00:00:00Z"]), 0);
    let none = house.command(&["rules", "replay", "--until", "1h"]);
    assert!(none.status.success() && none.stdout.starts_with("no event was accepted between "), "{} {}", none.stdout, none.stderr);
    for (arguments, says) in [
        (["--since", "soon"], "neither a while such as `7d`"),
        (["--until", "8d"], "lies after the end"),
        (["--kind", "membership.join"], "did you mean `membership.joined`?"),
        (["--rules", "nowhere.toml"], "nowhere.toml: cannot be read: there is no such file"),
    ] {
        let refused = house.command(&["rules", "replay", arguments[0], arguments[1]]);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(says), "{arguments:?}: {}", refused.stderr);
    }
}

#[test]
fn a_house_that_was_never_open_has_nothing_to_replay_and_stays_closed() {
    let house = House::furnish(|_| {});
    let replayed = house.command(&["rules", "replay"]);
    assert!(replayed.status.success() && replayed.stdout.starts_with("no event was accepted"), "{}", replayed.stderr);
    assert_eq!(house.json(&["rules", "replay"])["totals"]["events"], 0);
    assert!(!house.database().exists());
}

#[test]
fn bad_drafts_are_refused_with_every_problem_and_its_place() {
    let house = House::furnish(|config| config.more(RULES));
    let file = drafts(
        &house,
        "[safety]\nmode = \"off\"\n\n[[rule]]\nname = \"a\"\non = [\"membership.join\"]\nto = [\"owner\"]\nrelay = \"pigeon\"\n\n[[rule]]\nname = \"a\"\non = [\"*\"]\nwhen = \"object.name ==\"\nto = [\"query:nobody\"]\ncolour = \"red\"\n\n[[query]]\nname = \"q\"\n\n[[rules]]\n",
    );
    let refused = house.command(&["rules", "replay", "--rules", &file]);
    assert_eq!(refused.status.code(), Some(2), "{}", refused.stdout);
    let places: Vec<String> = refused.stderr.lines().map(|line| line.replace(&format!("{file}:"), "")).collect();
    for expected in [
        "1:2: safety: stands in the configuration alone; drafts hold [[rule]] and [[query]]",
        "6:7: rule[0].on[0]: `membership.join` matches no type; did you mean `membership.joined`?",
        "8:9: rule[0].relay: there is no relay `pigeon`",
        "11:8: rule[1].name: `a` is the name of the rule on line 5 already",
        "15:1: rule[1].colour: there is no such key",
        "17:1: query[0].filter: is missing; every query needs it",
        "20:3: rules: there is no such key; did you mean `rule`?",
    ] {
        assert!(places.iter().any(|line| line == expected), "`{expected}` is missing in\n{}", places.join("\n"));
    }
    for begins in
        ["7:7: rule[0].to[0]: `owner` is not an audience", "13:23: rule[1].when: is not a CEL expression", "14:7: rule[1].to[0]: "]
    {
        assert!(places.iter().any(|line| line.starts_with(begins)), "`{begins}` is missing in\n{}", places.join("\n"));
    }
}

#[test]
fn it_holds_beside_a_server_that_accepts_and_delivers() {
    let house = House::start(|config| config.more(RULES));
    fill(&house);
    let file = drafts(&house, "[[rule]]\nname = \"nobody\"\non = [\"membership.*\"]\nto = [\"approvers\"]\n");
    let (url, token) = (format!("{}/v1/events", house.url), house.token.clone());
    let posting = std::thread::spawn(move || {
        for batch in 0..40 {
            let events: Vec<Value> = (0..5)
                .map(|n| events::joined(&format!("more-{batch}-{n}"), events::person(&format!("reader{n}@example.org"), "en")))
                .collect();
            let body = serde_json::to_vec(&events).expect("values serialise");
            let reply = tidings_testkit::http::post(&url, Some(&token), house::BATCH, &body).expect("the server answers");
            assert_eq!(reply.status, 202, "{}", reply.text());
        }
    });
    let mut seen = 0;
    while !posting.is_finished() {
        let replayed = house.json(&["rules", "replay", "--rules", &file]);
        let events = replayed["totals"]["events"].as_u64().expect("a number");
        assert!((seen..=204).contains(&events), "{events} after {seen}");
        assert_eq!(counts(&replayed["totals"]), [0, 4, events - 4 + 3], "owners are not told any more, everybody else is");
        seen = events;
    }
    posting.join().expect("every batch was accepted");
    house.until_quiet_after(207);
    let last = house.json(&["rules", "replay", "--rules", &file]);
    assert_eq!(last["totals"]["events"], 204);
    assert_eq!(house.sink.count(), 207, "every letter once");
}

#[test]
fn a_crowd_is_counted_as_a_whole_and_people_beyond_five_lines_on_demand() {
    let house = House::start(|config| {
        config.more("[[directory]]\nname = \"corp\"\nsource = \"csv\"\n");
        config.more("[[rule]]\nname = \"changes\"\non = [\"object.changed\"]\nto = [\"boss@example.org\"]\n");
    });
    let mut rows = "key,type,name,mail,members\n".to_owned();
    for n in 0..1100 {
        let _ = writeln!(rows, "u{n},user,User {n},u{n}@example.org,");
    }
    let members = (0..1100).map(|n| format!("u{n}")).collect::<Vec<_>>().join(";");
    let _ = writeln!(rows, "all,group,All,,{members}\nfew,group,Few,,u1;u2");
    let file = house.path().join("people.csv");
    fs::write(&file, rows).expect("our own folder can be written");
    let loaded = house.command(&["directory", "load", "corp", file.to_str().expect("a readable path")]);
    assert!(loaded.status.success(), "{}", loaded.stderr);
    let changed = |id: usize, group: &str| events::event(&id.to_string(), "object.changed", json!({"object": format!("corp/{group}")}));
    house.accept(&(0..8).map(|id| changed(id, if id < 7 { "few" } else { "all" })).collect::<Vec<_>>());
    house.until_quiet_after(8);

    let draft = drafts(&house, "[[rule]]\nname = \"members\"\non = [\"object.changed\"]\nto = [\"object\"]\n");
    let replayed = house.json(&["rules", "replay", "--rules", &draft]);
    let [crowd] = replayed["crowds"].as_array().expect("a list").as_slice() else { panic!("{}", replayed["crowds"]) };
    assert_eq!((&crowd["crowd"], &crowd["people"], counts(crowd)), (&json!("the members of corp/all"), &json!(1100), [1, 0, 0]));
    assert_eq!(counts(&replayed["totals"]), [14, 8, 0], "the two of the small group one by one");
    assert_eq!((&replayed["totals"]["crowds_before"], &replayed["totals"]["crowds_after"]), (&json!(0), &json!(1100)));
    let user = person(&replayed, "u1@example.org");
    assert_eq!((user["differences"].as_array().map(Vec::len), &user["unlisted"]), (Some(5), &json!(2)));
    let text = house.command(&["rules", "replay", "--rules", &draft]).stdout;
    assert!(text.contains("  … and 2 more; --all shows them"), "{text}");
    assert!(text.contains("  the members of corp/all, 1100 people: +1 −0 =0 object.changed by the rule members"), "{text}");
    let all = house.command(&["rules", "replay", "--rules", &draft, "--all"]).stdout;
    assert_eq!(all.lines().filter(|line| line.starts_with("  − ")).count(), 8, "{all}");
}
