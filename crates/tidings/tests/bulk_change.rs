//! Ten thousand objects change at once: nothing is sent until somebody has looked at it, and one alert says so. By a file, by a server that was away, and by a server that tells as it happens.

mod house;

use house::{House, sql};
use serde_json::{Value, json};
use std::{fmt::Write as _, fs, time::Duration};
use tidings_testkit::slapd::{SUFFIX, Slapd};

const PEOPLE: usize = 10_000;
/// All of them are changed, recorded and told in less, even by a build without optimisation on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);
/// Changes that come one by one are a bulk change from here on; the letters of the ones before may have left.
const BEFORE_IT_SHOWS: u64 = 100;
const NOTIFY: &str = "[directory.notify]\nobject = true\n";

fn furnish(source: &str) -> House {
    let mut house = House::furnish(|config| {
        // What a configuration says that leaves it out.
        config.set("safety", "guard", "{ per_event = 500, per_rule_hour = 5000 }");
        config.set("alerts", "to", "[\"admin@example.org\"]");
        config.more(&format!("[[directory]]\nname = \"corp\"\n{source}\n{NOTIFY}"));
    });
    house.token = house.create_token("outbox:read");
    house
}

fn count(house: &House, statement: &str) -> usize {
    sql(&house.database(), statement).trim().parse().expect("a number")
}

fn until_loaded(house: &House) {
    house.until_within("the first load", PATIENCE, || {
        (count(house, "SELECT count(*) FROM directory WHERE loaded_at IS NOT NULL") == 1).then_some(())
    });
    assert_eq!(count(house, "SELECT count(*) FROM object WHERE type = 0"), PEOPLE);
}

/// Waits until everybody's change is recorded; then looks at what was sent, and lets it go.
fn looked_at_and_released(house: &House, may_have_left: u64) {
    house.until_within("all changes to be recorded", PATIENCE, || {
        (count(
            house,
            "SELECT count(*) FROM item i JOIN letter l ON l.id = i.letter JOIN word w ON w.number = l.rule WHERE w.text = 'corp:object'",
        ) == PEOPLE)
            .then_some(())
    });
    let alert = house.sink.letter_to("admin@example.org");
    assert!(alert.header("Subject").is_some());
    house.until_quiet_within(PATIENCE);
    let sent = house.sink.count() - 1;
    assert!(sent <= may_have_left, "{sent} letters left before somebody had looked");
    assert_eq!(house.sink.letters_to("admin@example.org").len(), 1, "one alert");
    let batches = house.json(&["guard", "list"]);
    let [batch] = batches.as_array().expect("a list").as_slice() else { panic!("one batch: {batches}") };
    assert_eq!((&batch["rule"], &batch["state"]), (&json!("corp:object"), &json!("held")));
    assert_eq!(batch["people"].as_u64(), Some(PEOPLE as u64 - sent));

    let released = house.command(&["guard", "release", batch["id"].as_str().expect("an id")]);
    assert!(released.status.success(), "{}", released.stderr);
    house.sink.wait_for_within(PEOPLE as u64 + 1, PATIENCE);
    house.until_quiet_within(PATIENCE);
    assert_eq!(house.sink.count(), PEOPLE as u64 + 1, "everybody has one letter, and nobody two");
    let again: Value = house.json(&["guard", "list"]);
    assert_eq!(again, json!([]));
}

#[test]
fn by_a_file() {
    let mut house = furnish("source = \"csv\"\nfolder = \"in\"\npoll_every = \"100ms\"");
    let folder = house.path().join("in");
    let file = |rank: &str| {
        let mut text = String::from("key,name,mail\n");
        for number in 0..PEOPLE {
            writeln!(text, "u{number},{rank} {number},u{number}@example.org").expect("a String takes everything");
        }
        text
    };
    let put = |name: &str, text: &str| {
        fs::create_dir_all(&folder).expect("our own folder");
        fs::write(folder.join("coming.part"), text).expect("our own folder");
        fs::rename(folder.join("coming.part"), folder.join(name)).expect("our own folder");
    };
    put("first.csv", &file("Clerk"));
    house.serve();
    until_loaded(&house);
    put("second.csv", &file("Officer"));
    looked_at_and_released(&house, 0);
}

fn people() -> String {
    let mut text = String::new();
    for number in 0..PEOPLE {
        write!(
            text,
            "dn: uid=u{number},ou=people,{SUFFIX}\nobjectClass: inetOrgPerson\nuid: u{number}\ncn: User {number}\nsn: {number}\nmail: u{number}@example.org\ntitle: Clerk\n\n"
        )
        .expect("a String takes everything");
    }
    text
}

fn promotions() -> String {
    let mut text = String::new();
    for number in 0..PEOPLE {
        write!(text, "dn: uid=u{number},ou=people,{SUFFIX}\nchangetype: modify\nreplace: title\ntitle: Officer\n\n")
            .expect("a String takes everything");
    }
    text
}

fn source(slapd: &Slapd) -> String {
    format!("source = \"ldap\"\nurl = \"{}\"\nbase = \"{SUFFIX}\"\npreset = \"openldap\"", slapd.url())
}

#[test]
fn on_a_server_while_nobody_listens() {
    let slapd = Slapd::builder().room(512 << 20).content(&people()).without_flush().start();
    let mut house = furnish(&source(&slapd));
    house.serve();
    until_loaded(&house);
    house.terminate();
    slapd.modify(&promotions());
    house.serve();
    looked_at_and_released(&house, 0);
}

#[test]
fn on_a_server_that_tells_as_it_happens() {
    let slapd = Slapd::builder().room(512 << 20).content(&people()).without_flush().start();
    let mut house = furnish(&source(&slapd));
    house.serve();
    until_loaded(&house);
    slapd.modify(&promotions());
    looked_at_and_released(&house, BEFORE_IT_SHOWS);
}
