//! Temporary passwords and links: nowhere readable while they wait, in the reader's letter once, and gone afterwards.

mod house;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use house::{House, events, mail};
use serde_json::json;

const PASSWORD: &str = "Qx7-Winterlinde-84";
const TOKEN: &str = "pZ4kT9vLq2Rs8Wm1";

fn link() -> String {
    format!("https://id.nordwind.example/reset/{TOKEN}")
}

/// Every file that this house has written, with its content; the letters' sink lives in memory.
fn files(house: &House) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![house.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("our own folder can be read") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.display().to_string(), fs::read(&path).unwrap_or_default()));
            }
        }
    }
    found
}

/// The secrets, and what quoted-printable, base64 and JSON would make of them.
fn forms() -> Vec<Vec<u8>> {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD_NO_PAD;
    let mut forms = Vec::new();
    for secret in [PASSWORD, TOKEN] {
        forms.push(secret.as_bytes().to_vec());
        // In the middle of a text base64 has three shapes, each missing its first and last characters.
        for shift in 0..3 {
            let text = format!("{}{secret}", "x".repeat(shift));
            let encoded = engine.encode(text);
            forms.push(encoded.as_bytes()[4..encoded.len() - 3].to_vec());
        }
    }
    forms
}

#[track_caller]
fn demand_no_trace(house: &House, when: &str) {
    let files = files(house);
    for name in ["tidings.db", "tidings.err"] {
        assert!(files.iter().any(|(path, content)| path.ends_with(name) && !content.is_empty()), "{name} was not looked through");
    }
    for (path, content) in files {
        for form in forms() {
            assert!(!content.windows(form.len()).any(|w| w == form), "{when}: {path} holds {}", String::from_utf8_lossy(&form));
        }
    }
}

#[test]
fn a_secret_is_nowhere_to_be_found_but_in_the_letter_that_arrives() {
    let mut house = House::start(|config| config.set("log", "level", "\"debug\""));
    house.sink.close();
    let ids =
        house.accept(&[events::password_reset("1", "ada@example.org", PASSWORD), events::reset_link("2", "grace@example.org", &link())]);
    house.until("the relay to be held", || (house.relay("sink")["condition"] == "held").then_some(()));
    until_both_wait(&house);

    // While it waits: database, its write-ahead log, the server's log, and the output of every command below, which is in the folder too.
    demand_no_trace(&house, "waiting");
    let mut letters = Vec::new();
    for (id, to, kind) in [(&ids[0], "ada@example.org", "password.reset"), (&ids[1], "grace@example.org", "password.reset_link")] {
        let item = house.outbox(&["--to", to]).remove(0);
        assert_eq!((item["kind"].as_str(), item["lane"].as_str(), item["state"].as_str()), (Some(kind), Some("codes"), Some("waiting")));
        let item = item["id"].as_str().expect("an id").to_owned();
        house.show(&item);
        let eml = house.command(&["outbox", "show", &item, "--eml"]);
        assert_eq!((eml.status.code(), eml.stdout.as_str()), (Some(1), ""), "{}", eml.stderr);
        assert!(eml.stderr.contains("it holds a secret"), "{}", eml.stderr);
        let event = house.get(&format!("/v1/events/{id}/trace"));
        assert!([&event["data"]["details"]["password"], &event["data"]["details"]["link"]].contains(&&json!("***")), "{event}");
        for form in forms() {
            assert!(!event.to_string().as_bytes().windows(form.len()).any(|w| w == form), "{event}");
        }
        letters.push(item);
    }
    // The same after the process died and began anew.
    house.kill9();
    demand_no_trace(&house, "after a crash");
    house.serve();
    demand_no_trace(&house, "after a restart");

    house.sink.reopen();
    let reset = mail::judged(&house.sink.letter_to("ada@example.org"));
    let choose = mail::judged(&house.sink.letter_to("grace@example.org"));
    for (verdict, secret) in [(&reset, PASSWORD.to_owned()), (&choose, link())] {
        assert!(verdict.text.as_deref().is_some_and(|text| text.contains(&secret)), "{:?}", verdict.text);
        // In HTML the slashes of a link may stand as character references; its token stands as it is.
        let page = verdict.html.as_deref().expect("there is a page").replace("&#x2f;", "/");
        assert!(page.contains(&secret), "{page}");
        assert!(verdict.subject.as_deref().is_some_and(|subject| !subject.contains(&secret)));
    }
    house.until_quiet();

    // Once sent, the letter is gone even for whoever holds the key.
    for item in &letters {
        let eml = house.command(&["outbox", "show", item, "--eml"]);
        assert_eq!((eml.status.code(), eml.stdout.as_str()), (Some(1), ""));
        assert_eq!(house.show(item)["state"], "sent");
        let retry = house.command(&["outbox", "retry", item, "--json"]);
        assert_eq!(retry.stdout.trim(), r#"{"changed":0,"skipped":1}"#, "an erased letter cannot be sent again");
    }
    assert!(house.terminate().success());
    demand_no_trace(&house, "after sending");
    assert_eq!(sealed(&house), (0, 0), "the ciphertexts are erased too");
    assert_eq!(house.sink.count(), 2);
}

#[test]
fn a_cancelled_secret_is_erased_and_a_waiting_one_is_kept_sealed() {
    let mut house = House::start(|_| {});
    house.sink.close();
    house.accept(&[events::password_reset("1", "ada@example.org", PASSWORD), events::reset_link("2", "grace@example.org", &link())]);
    house.until("the relay to be held", || (house.relay("sink")["condition"] == "held").then_some(()));
    until_both_wait(&house);
    assert_eq!(sealed(&house), (2, 2), "a letter and a secret field for each of the two events");
    assert_eq!(house.json(&["outbox", "cancel", "--to", "ada@example.org"])["changed"], 1);
    assert_eq!(sealed(&house), (1, 1));
    house.terminate();
    demand_no_trace(&house, "cancelled");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the link's end is a moment of real time")]
fn a_link_that_is_dead_before_the_relay_is_back_is_not_sent() {
    let house = House::start(|_| {});
    house.sink.close();
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(20);
    let mut event = events::reset_link("1", "ada@example.org", &link());
    event["data"]["details"]["expires_at"] = json!(end.to_string());
    house.accept(&[event, events::test_letter("2", "grace@example.org")]);
    assert_eq!(sealed(&house), (1, 1));
    let expired = house.until_state("ada@example.org", "expired");
    assert_eq!(expired["attempts"], 0, "{expired}");
    assert_eq!(sealed(&house), (0, 0), "what is never sent is erased");
    house.sink.reopen();
    house.sink.letter_to("grace@example.org");
    house.until_quiet();
    assert_eq!(house.sink.count(), 1);
}

/// What was claimed when the relay was held is given back by another commit than the one that says so.
fn until_both_wait(house: &House) {
    house.until("both letters to wait", || (house.outbox(&["--state", "waiting"]).len() == 2).then_some(()));
}

/// How many sealed letters and sealed event secrets the database holds, asked of an independent reader.
fn sealed(house: &House) -> (u64, u64) {
    let counts = house::sql(
        &house.database(),
        "SELECT (SELECT count(*) FROM letter WHERE sensitive = 1 AND bytes IS NOT NULL), (SELECT count(*) FROM event_secret)",
    );
    let (letters, events) = counts.trim().split_once(' ').expect("two numbers");
    (letters.parse().expect("a number"), events.parse().expect("a number"))
}

#[test]
fn the_key_file_is_private_and_one_that_others_can_read_is_refused() {
    let mut house = House::start(|_| {});
    let key = house.data_dir().join("secret.key");
    let mode = |path: &std::path::Path| fs::metadata(path).expect("the file is there").permissions().mode() & 0o777;
    assert_eq!((mode(&key), mode(&house.database())), (0o600, 0o600));
    house.terminate();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("our own file");
    for arguments in [vec!["serve"], vec!["outbox", "list"]] {
        let refused = house.command(&arguments);
        assert_eq!(refused.status.code(), Some(1), "{}", refused.stderr);
        let sentence =
            format!("{} may be read or changed by others than its owner (mode 644); make it private with chmod 600", key.display());
        assert!(refused.stderr.contains(&sentence), "{}", refused.stderr);
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("our own file");
    house.serve();
}

#[test]
fn a_lost_or_exchanged_key_is_told_and_nothing_is_overwritten() {
    let mut house = House::start(|_| {});
    house.sink.close();
    house.accept(&[events::password_reset("1", "ada@example.org", PASSWORD)]);
    house.terminate();
    let key = house.data_dir().join("secret.key");
    let kept = house.data_dir().join("kept.key");
    fs::rename(&key, &kept).expect("our own file");
    for command in [["serve"].as_slice(), &["outbox", "list"]] {
        let lost = house.command(command);
        assert_eq!(lost.status.code(), Some(1));
        let sentence =
            format!("the key for sensitive letters is missing: {} belongs to the database and must be restored with it", key.display());
        assert!(lost.stderr.contains(&sentence), "{}", lost.stderr);
        assert!(!key.exists(), "no other key is made in its place");
    }
    fs::write(&key, "5e".repeat(32)).expect("our own folder");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("our own file");
    let exchanged = house.command(&["serve"]);
    assert_eq!(exchanged.status.code(), Some(1));
    let sentence = format!("it is not the one that {} was made with", house.database().display());
    assert!(exchanged.stderr.contains(&sentence), "{}", exchanged.stderr);
    // With the key put back everything is as it was.
    fs::rename(&kept, &key).expect("our own file");
    house.sink.reopen();
    house.serve();
    let letter = mail::judged(&house.sink.letter_to("ada@example.org"));
    assert!(letter.text.is_some_and(|text| text.contains(PASSWORD)));
}

#[test]
fn the_key_may_come_from_the_environment() {
    let key = "5e".repeat(32);
    let mut house = House::furnish(|config| config.set("database", "key_env", "\"SEAL_KEY\""));
    let missing = house.command(&["check"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(missing.stderr.contains("database.key_env") && missing.stderr.contains("SEAL_KEY"), "{}", missing.stderr);
    house.set_environment("SEAL_KEY", &key);
    house.token = house.create_token("events:write,outbox:read");
    house.serve();
    house.accept(&[events::password_reset("1", "ada@example.org", PASSWORD)]);
    assert!(mail::judged(&house.sink.letter_to("ada@example.org")).text.is_some_and(|text| text.contains(PASSWORD)));
    house.until_quiet();
    assert!(!house.data_dir().join("secret.key").exists(), "no key is made when one is given");
    house.terminate();
    for (path, content) in files(&house) {
        assert!(!content.windows(key.len()).any(|w| w == key.as_bytes()), "{path} holds the key");
    }
}
