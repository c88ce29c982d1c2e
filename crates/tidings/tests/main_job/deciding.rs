//! Whom a posted event reaches, in which words, and what the trace says of it.

use serde_json::{Value, json};

use crate::house::{House, events, mail};

#[test]
fn everybody_gets_the_letter_in_the_readers_language_with_its_headers() {
    let house = House::start(|config| {
        config.relay_key("reply_to", "\"helpdesk@tidings.example\"");
        config.relay_key("envelope_from", "\"bounces@tidings.example\"");
        config.more("[[rule]]\nname = \"owners\"\non = [\"membership.*\"]\nto = [\"owners\", \"actor\"]\n");
    });
    let data = json!({
        "actor": events::person("ada.king@example.org", "en-GB"),
        "object": events::payroll(&[events::person("grace.hopper@example.org", "de-AT")]),
        "member": {"name": "Linus Mårtensson", "mail": "linus@example.org", "locale": "fr", "timezone": "Europe/Paris"},
    });
    let id = house.accept(&[events::event("1", "membership.joined", data)]).remove(0);
    house.sink.wait_for(3);
    house.until_quiet();
    let expected = [
        ("linus@example.org", "fr", "Vous êtes maintenant membre de « Payroll »", "built-in:membership.joined", "member=Payroll"),
        ("grace.hopper@example.org", "de", "Linus Mårtensson ist jetzt Mitglied von „Payroll“", "owners", "owner=Payroll"),
        ("ada.king@example.org", "en", "Linus Mårtensson is now a member of “Payroll”", "owners", "actor"),
    ];
    for (to, language, subject, rule, reason) in expected {
        let letter = house.sink.letter_to(to);
        assert_eq!((letter.from.as_str(), letter.to.as_slice()), ("bounces@tidings.example", [to.to_owned()].as_slice()));
        let verdict = mail::judged(&letter);
        assert_eq!(verdict.header("Content-Language"), Some(language), "{to}");
        // Typographic blanks differ between languages; the words are what counts.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(verdict.subject.as_deref().map(words), Some(words(subject)), "{to}");
        assert_eq!(verdict.to.iter().map(|one| one.address.as_str()).collect::<Vec<_>>(), [to]);
        assert_eq!((verdict.from[0].name.as_str(), verdict.from[0].address.as_str()), ("Nordwind", "no-reply@tidings.example"));
        assert_eq!(verdict.reply_to[0].address, "helpdesk@tidings.example");
        assert_eq!(verdict.header("X-Tidings-Event"), Some(id.as_str()));
        assert_eq!(verdict.header("X-Tidings-Kind"), Some("membership.joined"));
        assert_eq!(verdict.header("X-Tidings-Rule"), Some(rule), "{to}");
        assert_eq!(verdict.header("X-Tidings-Reason"), Some(reason), "{to}");
        assert_eq!(verdict.header("Auto-Submitted"), Some("auto-generated"));
        assert!(verdict.date.is_some() && verdict.message_id.is_some());
        assert!(verdict.text.as_deref().is_some_and(|text| text.contains("Payroll")), "{to}");
        assert!(verdict.html.as_deref().is_some_and(|html| html.contains("Payroll")), "{to}");
        let item = &house.outbox(&["--to", to])[0];
        assert_eq!(item["message_id"], json!(mail::message_id(&letter)));
        assert_eq!(
            (&item["state"], &item["event"], &item["attempts"], &item["rule"]),
            (&json!("sent"), &json!(id), &json!(1), &json!(rule))
        );
    }
    let ids: std::collections::HashSet<String> = house.sink.letters().iter().map(|letter| mail::message_id(letter)).collect();
    assert_eq!(ids.len(), 3, "every letter has a Message-ID of its own");
}

#[test]
fn a_language_that_no_letter_is_written_in_falls_back_visibly() {
    let house = House::start(|config| config.set("organisation", "default_locale", "\"fr\""));
    let id = house.accept(&[events::joined("1", events::person("misaki@example.org", "ja-JP"))]).remove(0);
    let letter = house.sink.letter_to("misaki@example.org");
    assert_eq!(letter.header("Content-Language").as_deref(), Some("fr"));
    let chain = house.get(&format!("/v1/events/{id}/trace"))["trace"]["letters"][0]["locale"].as_str().expect("a text").to_owned();
    let tried: Vec<&str> = chain.split(" → ").collect();
    assert_eq!((tried.first(), tried.last()), (Some(&"ja-JP"), Some(&"fr")), "{chain}");
}

#[test]
fn a_file_in_the_templates_folder_replaces_one_part_and_the_rest_stays_built_in() {
    let house = House::start(|config| {
        let folder = config.folder().join("wording");
        std::fs::create_dir_all(folder.join("membership.joined")).expect("our own folder can be written");
        std::fs::write(folder.join("membership.joined/subject.de.txt"), "Willkommen in {{ object.label }}\n")
            .expect("our own folder can be written");
        config.set("letters", "templates", "\"wording\"");
    });
    house.accept(&[
        events::joined("1", events::person("grace@example.org", "de")),
        events::joined("2", events::person("ada@example.org", "en")),
    ]);
    let german = mail::judged(&house.sink.letter_to("grace@example.org"));
    assert_eq!(german.subject.as_deref(), Some("Willkommen in Payroll"));
    assert!(german.text.as_deref().is_some_and(|text| text.contains("Guten Tag")), "{:?}", german.text);
    let english = mail::judged(&house.sink.letter_to("ada@example.org"));
    assert_eq!(english.subject.as_deref(), Some("You are now a member of “Payroll”"));
}

#[test]
fn a_letter_about_a_password_that_expires_leads_to_the_portal_of_the_persons_directory() {
    let portal = |name: &str| format!("https://portal.example.org/{name}");
    let house = House::start(|config| {
        for name in ["corp", "lab"] {
            config.more(&format!("[[directory]]\nname = \"{name}\"\nsource = \"csv\"\npassword_portal_url = \"{}\"\n", portal(name)));
        }
    });
    let file = house.path().join("people.csv");
    std::fs::write(&file, "key,name,mail,locale\nada,Ada,ada@example.org,de\n").expect("our own folder can be written");
    let loaded = house.command(&["directory", "load", "lab", file.to_str().expect("a readable path")]);
    assert!(loaded.status.success(), "{}", loaded.stderr);
    let expiring = |id: &str, object: Value, details: Value| {
        let mut data = json!({"object": object, "details": {"expires_at": "2026-12-01"}});
        data["details"].as_object_mut().expect("an object").extend(details.as_object().expect("an object").clone());
        events::event(id, "password.expiring", data)
    };
    let mut linus = events::person("linus@example.org", "fr");
    linus["directory"] = json!("corp");
    house.accept(&[
        expiring("1", json!("lab/ada"), json!({})),
        expiring("2", linus, json!({})),
        expiring("3", events::person("eve@example.org", "en"), json!({})),
        expiring("4", json!({"mail": "grace@example.org", "directory": "corp"}), json!({"portal_url": portal("own")})),
    ]);
    house.until_quiet_after(4);
    for (who, leads) in [("ada", Some("lab")), ("linus", Some("corp")), ("eve", None), ("grace", Some("own"))] {
        let verdict = mail::judged(&house.sink.letter_to(&format!("{who}@example.org")));
        let (text, html) = (verdict.text.unwrap_or_default(), verdict.html.unwrap_or_default().replace("&#x2f;", "/"));
        for name in ["corp", "lab", "own"] {
            let there = leads == Some(name);
            assert_eq!(text.contains(&portal(name)), there, "{who}: {text}");
            assert_eq!(html.contains(&format!("<a href=\"{}\"", portal(name))), there, "{who}: {html}");
        }
    }
    let preview = house.command(&["preview", "password.expiring"]);
    assert!(preview.stdout.contains(&portal("corp")), "the first one stands in the preview: {}", preview.stdout);
}

#[test]
fn one_person_gets_one_letter_however_many_paths_lead_there() {
    let house = House::start(|config| {
        config.more("[[rule]]\nname = \"everybody\"\non = [\"membership.joined\"]\nto = [\"actor\", \"manager\", \"owners\", \"GRACE@Example.org\"]\n");
    });
    let grace = events::person("grace@example.org", "en");
    let mut member = events::person("linus@example.org", "en");
    member["manager"] = grace.clone();
    let data = json!({"actor": grace, "object": events::payroll(&[events::person("grace@example.org", "en")]), "member": member});
    let id = house.accept(&[events::event("1", "membership.joined", data)]).remove(0);
    house.sink.wait_for(2);
    house.until_quiet();
    assert_eq!(house.sink.count(), 2);
    let letters = house.sink.letters_to("grace@example.org");
    assert_eq!(letters.len(), 1);
    let reasons = letters[0].header("X-Tidings-Reason").expect("there is a reason");
    for reason in ["actor", "manager=Linus", "owner=Payroll", "address"] {
        assert!(reasons.split(", ").any(|found| found == reason), "{reason} is not among {reasons}");
    }
    let trace = house.get(&format!("/v1/events/{id}/trace"));
    let rule = find(&trace["trace"]["rules"], "rule", "everybody");
    let verdicts: Vec<&str> = rule["people"].as_array().expect("people").iter().filter_map(|one| one["verdict"].as_str()).collect();
    assert_eq!(verdicts, ["letter", "already_told", "already_told", "already_told"]);
}

#[test]
fn a_copy_has_the_same_bytes_and_an_envelope_of_its_own() {
    let house = House::start(|config| {
        config
            .more("[[rule]]\nname = \"copied\"\non = [\"object.changed\"]\nto = [\"object\"]\ncc = [\"manager\", \"audit@example.org\"]\n");
    });
    let mut ada = events::person("ada@example.org", "en");
    ada["manager"] = events::person("grace@example.org", "de");
    house.accept(&[events::event("1", "object.changed", json!({"object": ada, "before": {"room": "A"}, "after": {"room": "B"}}))]);
    house.sink.wait_for(3);
    house.until_quiet();
    let letters = ["ada", "grace", "audit"].map(|who| {
        let letters = house.sink.letters_to(&format!("{who}@example.org"));
        assert_eq!(letters.len(), 1, "{who}");
        assert_eq!(letters[0].to.len(), 1, "one envelope, one recipient");
        letters[0].clone()
    });
    assert!(letters.iter().all(|letter| letter.bytes == letters[0].bytes));
    let verdict = mail::judged(&letters[0]);
    assert_eq!(verdict.to[0].address, "ada@example.org");
    assert_eq!(verdict.cc.iter().map(|one| one.address.as_str()).collect::<Vec<_>>(), ["grace@example.org", "audit@example.org"]);
    let mut roles: Vec<String> =
        house.outbox(&[]).iter().map(|item| format!("{} {} {}", item["role"], item["to"], item["state"]).replace('"', "")).collect();
    roles.sort();
    assert_eq!(roles, ["cc audit@example.org sent", "cc grace@example.org sent", "to ada@example.org sent"]);
}

#[test]
fn a_disabled_person_is_not_told_and_the_fallback_is() {
    let house = House::start(|config| {
        config.more("[[rule]]\nname = \"owners\"\non = [\"membership.*\"]\nto = [\"owners\"]\nfallback = [\"helpdesk@example.org\"]\n");
    });
    let mut gone = events::person("gone@example.org", "en");
    gone["enabled"] = json!(false);
    let nameless = json!({"name": "No Address"});
    let data = json!({"object": events::payroll(&[gone.clone(), nameless]), "member": gone});
    let id = house.accept(&[events::event("1", "membership.left", data)]).remove(0);
    house.sink.wait_for(1);
    house.until_quiet();
    assert_eq!(house.sink.count(), 1);
    let letter = house.sink.letter_to("helpdesk@example.org");
    assert!(letter.header("X-Tidings-Reason").is_some_and(|reason| reason.starts_with("fallback")));
    let trace = house.get(&format!("/v1/events/{id}/trace"));
    let verdicts = |rule: &str| -> Vec<String> {
        let people = find(&trace["trace"]["rules"], "rule", rule)["people"].as_array().expect("people").clone();
        people.iter().map(|one| format!("{} {}", one["role"], one["verdict"]).replace('"', "")).collect()
    };
    assert_eq!(verdicts("built-in:membership.left"), ["to disabled"]);
    assert_eq!(verdicts("owners"), ["to disabled", "to no_address", "fallback letter"]);
}

#[test]
fn the_trace_says_why_and_explain_says_the_same_without_doing_anything() {
    let house = House::start(|config| {
        config.more(
            "[[rule]]\nname = \"payroll\"\non = [\"membership.*\"]\nwhen = 'object.name == \"Payroll\"'\nto = [\"owners\"]\n\n\
             [[rule]]\nname = \"sales\"\non = [\"membership.*\"]\nwhen = 'object.name == \"Sales\"'\nto = [\"owners\"]\n\n\
             [[rule]]\nname = \"broken\"\non = [\"membership.*\"]\nwhen = 'object.size > 3'\nto = [\"owners\"]\n\n\
             [[rule]]\nname = \"off\"\non = [\"membership.*\"]\nto = [\"owners\"]\nenabled = false\n",
        );
    });
    let data = json!({"object": events::payroll(&[events::person("grace@example.org", "de")]), "member": "corp/u9"});
    let event = events::event("1", "membership.joined", data);

    let explained = house.command_with_input(&["explain", "-", "--json"], &event.to_string());
    assert!(explained.status.success(), "{}", explained.stderr);
    let explained: Value = serde_json::from_str(&explained.stdout).expect("JSON");
    assert_eq!(explained[0]["type"], "tidings.membership.joined");
    assert!(house.outbox(&[]).is_empty(), "explaining writes nothing");

    let id = house.accept(std::slice::from_ref(&event)).remove(0);
    house.sink.wait_for(1);
    let trace = house.get(&format!("/v1/events/{id}/trace"))["trace"].clone();
    assert_eq!(trace["rules"], explained[0]["trace"]["rules"]);
    assert_eq!(trace["unresolved"], json!(["corp/u9"]));
    let mut letters = trace["letters"].clone();
    let item = letters[0].as_object_mut().expect("a letter").remove("item").expect("the trace names the item");
    assert_eq!(letters, explained[0]["trace"]["letters"]);
    assert_eq!(house.show(item.as_str().expect("an id"))["to"], "grace@example.org");
    let verdict = |rule: &str| find(&trace["rules"], "rule", rule)["verdict"].as_str().expect("a verdict").to_owned();
    assert_eq!(["payroll", "sales", "broken", "off"].map(verdict), ["matched", "condition_false", "condition_error", "disabled"]);

    let readable = house.command_with_input(&["explain", "-"], &event.to_string());
    let lines: Vec<&str> = readable.stdout.lines().map(str::trim).collect();
    for line in ["rule payroll applies", "rule off is switched off", "to owners: Grace <grace@example.org> gets a letter"] {
        assert!(lines.contains(&line), "`{line}` is missing in\n{}", readable.stdout);
    }
    house.until_quiet();
    assert_eq!(house.sink.count(), 1);
}

#[track_caller]
fn find<'a>(list: &'a Value, key: &str, value: &str) -> &'a Value {
    let list = list.as_array().expect("a list");
    list.iter().find(|one| one[key] == value).unwrap_or_else(|| panic!("no {key} {value} in {list:?}"))
}
