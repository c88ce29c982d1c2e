//! One-way: the server posts a temporary password, and the agent sends it with its own mail settings.

use std::fs;

use serde_json::json;
use tidings_testkit::folder::Folder;
use tidings_testkit::judge::judge_bytes;
use tidings_testkit::postfix::Postfix;
use tidings_testkit::wait;

use crate::house::events::{event, password_reset, person, test_letter};
use crate::house::{PATIENCE, sql};
use crate::small_house::Agent;

const PASSWORD: &str = "kiwi-Tango-58-lampe";

/// Whoever has no language, and whoever has one that we have.
fn reset(id: &str, to: &str, locale: Option<&str>) -> serde_json::Value {
    let mut event = password_reset(id, to, PASSWORD);
    match locale {
        Some(locale) => event["data"]["object"]["locale"] = json!(locale),
        None => drop(event["data"]["object"].as_object_mut().expect("an object").remove("locale")),
    }
    event
}

#[test]
fn a_temporary_password_goes_through_postfix_in_the_readers_language_and_leaves_no_trace() {
    let postfix = Postfix::builder().start();
    let mut agent = Agent::start(postfix.plain_port(), |settings| {
        settings["PasswordResetSettings"]["NotificationSettings"] = json!({"Cultures": ["it", "fr", "en"]});
        // Of the server's own settings, which stand beside them in the same file, nothing is taken.
        settings["MailSettings"] =
            json!({"FromAddress": "server@nordwind.example", "Host": "mail.invalid", "CatchAllAddress": "catch@nordwind.example"});
    });
    agent.accept(&reset("1", "ada@example.org", Some("de-AT")));
    agent.accept(&reset("2", "linus@example.org", None));
    agent.accept(&reset("3", "grace@example.org", Some("sv")));
    agent.accept(&test_letter("4", "root@example.org"));
    let letters = postfix.wait_for_letters(4, PATIENCE);
    for (to, word) in [("ada@example.org", "Passwort"), ("linus@example.org", "mot de passe"), ("grace@example.org", "mot de passe")] {
        let letter = letters.iter().find(|letter| letter.to == to).unwrap_or_else(|| panic!("no letter to {to}"));
        let verdict = judge_bytes(String::from_utf8_lossy(&letter.bytes).replace('\n', "\r\n").as_bytes());
        let text = verdict.text.as_deref().expect("a text");
        assert!(text.contains(word) && text.contains(PASSWORD), "{to}: {text}");
        assert_eq!(verdict.from[0].address, "no-reply@nordwind.example");
    }
    wait::until("the outcomes to be written", PATIENCE, || {
        let items = agent.json(&["outbox", "list"]);
        items.as_array().expect("a list").iter().all(|item| item["state"] == "sent" && item["relay"] == "mail").then_some(())
    });
    assert!(agent.terminate().success(), "{}", agent.log());
    for entry in fs::read_dir(agent.path("tidings-agent-data")).expect("the data folder").map(|entry| entry.expect("an entry").path()) {
        let bytes = fs::read(&entry).unwrap_or_default();
        assert!(!bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes()), "{} holds the password", entry.display());
    }
    assert!(!agent.log().contains(PASSWORD) && !agent.log().contains("ada@example.org"), "{}", agent.log());
    let sealed = "SELECT count(*) FROM event_secret";
    assert_eq!(sql(&agent.path("tidings-agent-data/tidings.db"), sealed).trim(), "0");
}

#[test]
fn a_pickup_directory_takes_them_too() {
    let mails = Folder::new("mails");
    let agent = Agent::start(0, |settings| {
        let folder = mails.path().display().to_string();
        let mail = json!({"FromAddress": "no-reply@nordwind.example", "UseSpecifiedPickupDirectory": "true", "PickupDirectory": folder});
        settings["PasswordResetSettings"] = json!({"MailSettings": mail});
        settings["Tidings"]["Organisation"]["DefaultLocale"] = json!("de");
    });
    agent.accept(&reset("1", "ada@example.org", None));
    let file = wait::until("a letter in the folder", PATIENCE, || {
        let files = fs::read_dir(mails.path()).expect("our own folder").filter_map(|entry| Some(entry.ok()?.path()));
        files.into_iter().find(|file| file.extension().is_some_and(|ending| ending == "eml"))
    });
    let text = fs::read_to_string(file).expect("the letter");
    assert!(text.starts_with("X-Sender:") && text.contains("Nordwind"), "{text}");
    assert!(judge_bytes(text.as_bytes()).text.expect("a text").contains("Passwort"));
}

#[test]
fn other_events_are_refused_with_what_is_taken() {
    let agent =
        Agent::start(9, |settings| drop(settings["PasswordResetSettings"].as_object_mut().expect("an object").remove("TwoFactorSettings")));
    let joined = event(
        "1",
        "membership.joined",
        json!({"object": {"type": "group", "id": "g", "name": "G"}, "member": person("ada@example.org", "en")}),
    );
    let refused = agent.post(&joined);
    assert_eq!((refused.status, refused.json()["pointer"].as_str()), (422, Some("/type")), "{}", refused.text());
    let detail = refused.text();
    for kind in ["tidings.password.reset", "tidings.password.reset_link", "tidings.test"] {
        assert!(detail.contains(&format!("`{kind}`")), "{detail}");
    }
    let link = agent.post(&event("2", "password.reset_link", json!({"object": person("ada@example.org", "en")})));
    assert_eq!(link.status, 422);
    assert!(link.text().contains("TwoFactorSettings"), "{}", link.text());
    assert_eq!(agent.json(&["outbox", "list"]), json!([]), "nothing was accepted");
    assert_eq!(agent.get(&format!("{}/.well-known/jwks.json", agent.url), "en").status, 404);
    assert_eq!(agent.get(&format!("{}/scim/v2/Users", agent.url), "en").status, 404, "an agent is no directory");
}
