//! The pickup directory: whole files, once each, also through `kill -9` and a folder that goes away; and Netwrix's settings, from its manual to the reader.

mod house;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidings_testkit::certs::{TestCa, Validity};
use tidings_testkit::judge::{Verdict, judge};
use tidings_testkit::pickup_watch::PickupWatch;
use tidings_testkit::postfix::Postfix;
use tidings_testkit::process::Running;

use house::config::Config;
use house::events::test_letter;
use house::{House, PATIENCE, tidings};

/// A pickup directory as the only relay.
fn pickup(config: &mut Config, more: &str) {
    fs::create_dir_all(config.folder().join("pickup")).expect("our own folder can be written");
    config.relays(&format!(
        "[[relay]]\nname = \"pickup\"\nkind = \"pickup\"\nfolder = \"pickup\"\nfrom = \"no-reply@nordwind.example\"\n{more}\n"
    ));
}

/// Test letters to `reader<n>@example.org`.
fn letters(numbers: std::ops::Range<usize>) -> Vec<Value> {
    numbers.map(|n| test_letter(&n.to_string(), &format!("reader{n}@example.org"))).collect()
}

/// Everything in the folder, by name.
fn files(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.expect("our own folder can be read").file_name().to_string_lossy().into_owned()).collect()
}

/// The file names that these items must have, and no others.
fn names_of(items: &[Value]) -> BTreeSet<String> {
    items.iter().map(|item| format!("{}.eml", item["id"].as_str().expect("an id is a text"))).collect()
}

fn judged(folder: &Path) -> Vec<Verdict> {
    let paths: Vec<PathBuf> = files(folder).into_iter().map(|name| folder.join(name)).collect();
    let verdicts = judge(&paths);
    for verdict in &verdicts {
        verdict.assert_clean();
    }
    verdicts
}

#[test]
fn five_hundred_letters_appear_whole_and_carry_their_envelope() {
    const LETTERS: usize = 500;
    let house = House::start(|config| pickup(config, ""));
    let folder = house.path().join("pickup");
    let watch = PickupWatch::start(&folder);
    for batch in letters(0..LETTERS).chunks(50) {
        house.accept(batch);
    }
    house.until("all files", || (watch.seen() >= LETTERS).then_some(()));
    house.until_quiet();
    let sightings = watch.finish();
    assert_eq!(sightings.assert_whole().files.len(), LETTERS);

    let items = house.outbox(&["--state", "sent"]);
    assert_eq!(items.len(), LETTERS);
    assert_eq!(files(&folder), names_of(&items), "a file for each item, named after it, and nothing else");
    for item in &items {
        let name = format!("{}.eml", item["id"].as_str().expect("an id is a text"));
        assert!(item["last_reply"].as_str().is_some_and(|reply| reply.contains(&name)), "{item}");
        let lines = String::from_utf8_lossy(&sightings.files[&name]).into_owned();
        let envelope =
            format!("X-Sender: no-reply@nordwind.example\r\nX-Receiver: {}\r\n", item["to"].as_str().expect("an address is a text"));
        assert!(lines.starts_with(&envelope), "{name} begins otherwise:\n{lines}");
        assert_eq!((lines.matches("\nX-Sender:").count(), lines.matches("\nX-Receiver:").count()), (0, 1), "{lines}");
    }
    let mut readers = BTreeSet::new();
    for verdict in judged(&folder) {
        assert_eq!(verdict.from[0].address, "no-reply@nordwind.example");
        assert_eq!(verdict.header("X-Receiver"), Some(verdict.to[0].address.as_str()));
        readers.insert(verdict.to[0].address.clone());
    }
    assert_eq!(readers.len(), LETTERS);
}

#[test]
fn without_x_headers_the_letters_own_headers_say_all() {
    let house = House::start(|config| pickup(config, "x_headers = false"));
    let folder = house.path().join("pickup");
    house.accept(&letters(0..20));
    house.until_quiet();
    let items = house.outbox(&["--state", "sent"]);
    assert_eq!(files(&folder), names_of(&items));
    let verdicts = judged(&folder);
    assert_eq!(verdicts.len(), 20);
    for verdict in verdicts {
        assert!(verdict.header("X-Sender").is_none() && verdict.header("X-Receiver").is_none(), "{:?}", verdict.headers);
        assert_eq!((verdict.from.len(), verdict.to.len(), verdict.cc.len()), (1, 1, 0));
        assert_eq!(verdict.from[0].address, "no-reply@nordwind.example");
        let name = verdict.file.file_stem().expect("it has a name").to_string_lossy().into_owned();
        let item = items.iter().find(|item| item["id"] == name.as_str()).expect("the file is named after its item");
        assert_eq!(item["to"], verdict.to[0].address.as_str());
    }
}

#[test]
fn a_server_killed_again_and_again_writes_each_letter_once() {
    const ROUNDS: usize = 6;
    const LETTERS: usize = 120;
    let mut house = House::start(|config| pickup(config, ""));
    let folder = house.path().join("pickup");
    let watch = PickupWatch::start(&folder);
    let mut interrupted = Vec::new();
    for round in 0..ROUNDS {
        house.accept(&letters(round * LETTERS..(round + 1) * LETTERS));
        // In the middle of this round's letters, each time elsewhere.
        let midst = round * LETTERS + 5 + round * 11;
        house.until("some files", || (watch.seen() >= midst).then_some(()));
        house.kill9();
        let missing = (round + 1) * LETTERS
            - files(&folder).iter().filter(|name| Path::new(name).extension().is_some_and(|end| end == "eml")).count();
        interrupted.extend((missing > 0).then_some(missing));
        house.serve();
    }
    println!("killed with so many files to go: {interrupted:?}");
    assert!(!interrupted.is_empty(), "every kill came too late to interrupt anything");
    house.until_quiet();
    let items = house.outbox(&[]);
    assert_eq!(items.len(), ROUNDS * LETTERS);
    assert!(items.iter().all(|item| item["state"] == "sent"), "{:?}", items.iter().find(|item| item["state"] != "sent"));
    let there = files(&folder);
    assert_eq!(there, names_of(&items), "a file for each item, and no second one, no half one left behind");
    // What was seen first is what is there now: nothing was written over.
    let sightings = watch.finish();
    assert_eq!(sightings.assert_whole().files.len(), ROUNDS * LETTERS);
    let readers: BTreeSet<String> = judged(&folder).iter().map(|verdict| verdict.to[0].address.clone()).collect();
    assert_eq!(readers.len(), ROUNDS * LETTERS);
}

#[test]
fn a_folder_that_goes_away_holds_the_relay_until_it_is_back() {
    let house = House::start(|config| pickup(config, ""));
    let (folder, aside) = (house.path().join("pickup"), house.path().join("aside"));
    house.accept(&letters(0..10));
    house.until_quiet();
    assert_eq!(files(&folder).len(), 10);

    fs::rename(&folder, &aside).expect("our own folder can be moved");
    house.accept(&letters(10..30));
    // What the desk had claimed goes back a moment after the relay is held, and a probe may have one in hand.
    let held = house.until("the relay to be held and all letters to wait", || {
        Some(house.relay("pickup")).filter(|relay| relay["condition"] == "held" && relay["waiting"] == 20)
    });
    let reason = held["reason"].as_str().expect("a held relay says why");
    assert!(reason.contains(&folder.display().to_string()), "{reason}");
    assert!(reason.contains("does not exist") && reason.contains("create it, or correct its path"), "{reason}");
    let waiting = house.until("all letters to wait between two probes", || {
        Some(house.outbox(&["--state", "waiting"])).filter(|waiting| waiting.len() == 20)
    });
    assert!(waiting.iter().all(|item| item["attempts"] == 0), "{waiting:?}");
    assert!(!folder.exists(), "nobody may make the folder anew: another one would be drained by no mail server");
    let by_hand = house.command(&["relay", "probe", "pickup"]);
    assert!(!by_hand.status.success() && by_hand.stderr.contains("pickup"), "{}", by_hand.stderr);

    fs::rename(&aside, &folder).expect("our own folder can be moved");
    house.until_quiet();
    assert_eq!(files(&folder), names_of(&house.outbox(&["--state", "sent"])));
    assert_eq!((files(&folder).len(), house.outbox(&[]).len()), (30, 30));
    let relay = house.until("the relay to flow again", || Some(house.relay("pickup")).filter(|relay| relay["condition"] != "held"));
    assert!(relay["reason"].is_null(), "{relay}");
    judged(&folder);
}

// ----- Netwrix -----------------------------------------------------------------------------------------------------------------------------

/// The published sample of the server, its ellipsis included.
const SERVER: &str = r#"{
...
"MailSettings": {
"Host": "smtp.contoso.com",
"FromAddress": "no-reply@contoso.com"
}
}
"#;

/// The published sample of the agent.
const AGENT: &str = r#""MailSettings": {
"FromAddress": "no-reply@contoso.com",
"Host":"smtp.contoso.com",
"Port":993,
"Username": "contosousercube",
"Password": "secret"
}
"#;

/// The published sample with a pickup directory, its trailing comma included.
const PICKUP: &str = r#""MailSettings": {
"FromAddress": "no-reply@contoso.com",
"UseSpecifiedPickupDirectory": true,
"PickupDirectory": "C:/Temp/identitymanagerContosoPickup",
}
"#;

/// A house whose relay is Netwrix's file; it does not serve yet.
fn netwrix(settings: &str, more: &str) -> House {
    let mut house = House::furnish(|config| {
        fs::write(config.folder().join("appsettings.json"), settings).expect("our own folder can be written");
        config.relays(&format!("[[relay]]\nname = \"netwrix\"\nappsettings = \"appsettings.json\"\n{more}\n"));
    });
    house.token = house.create_token("events:write,outbox:read");
    house
}

/// `tidings serve` with these variables of the environment, which .NET puts before the file; ready.
fn serve_with(house: &House, environment: &[(&str, &str)]) -> Running {
    let program = tidings().args(["serve".as_ref(), "-c".as_ref(), house.config_file().as_os_str()]);
    let program = environment.iter().fold(program, |program, (name, value)| program.env(name, value));
    let mut running = program.start(house.path());
    running.wait_ready(&format!("{}/readyz", house.url), PATIENCE);
    running
}

#[test]
fn netwrixs_server_settings_work_as_they_are() {
    let postfix = Postfix::builder().start();
    let house = netwrix(SERVER, "");
    let port = postfix.plain_port().to_string();
    let serving = serve_with(&house, &[("MailSettings__Host", "127.0.0.1"), ("MailSettings__Port", &port)]);
    house.accept(&letters(0..3));
    let letters = postfix.wait_for_letters(3, PATIENCE);
    house.until_quiet();
    drop(serving);
    assert!(letters.iter().all(|letter| letter.from == "no-reply@contoso.com"));
    assert!(String::from_utf8_lossy(&letters[0].bytes).contains("no-reply@contoso.com>"));
    assert_eq!(house.outbox(&["--state", "sent"]).len(), 3);
}

#[test]
fn netwrixs_agent_settings_work_as_they_are_with_their_sign_in() {
    let ca = TestCa::new();
    let postfix = Postfix::builder().certificate(&ca.issue("localhost", Validity::Good)).user("contosousercube", "secret").start();
    let house = netwrix(AGENT, &format!("ca_file = \"{}\"", ca.pem_path().display()));
    let port = postfix.submission_port().to_string();
    let serving = serve_with(&house, &[("MailSettings__Host", "localhost"), ("MAILSETTINGS__PORT", &port)]);
    house.accept(&letters(0..3));
    let letters = postfix.wait_for_letters(3, PATIENCE);
    house.until_quiet();
    drop(serving);
    assert!(letters.iter().all(|letter| letter.from == "no-reply@contoso.com"));
    assert!(postfix.log().contains("sasl_username=contosousercube"), "{}", postfix.log());
    assert!(!house.log().contains("\"secret\""), "{}", house.log());
    // As published, the port is one that takes no mail; that is told.
    let checked = house.command(&["check"]);
    assert!(checked.status.success(), "{}", checked.stderr);
    assert!(checked.stderr.contains("appsettings.json:4:8: MailSettings.Port: 993 is the port of IMAP over TLS"), "{}", checked.stderr);
}

#[test]
fn netwrixs_pickup_settings_work_as_they_are() {
    let house = netwrix(PICKUP, "");
    // As published, the directory is one of Windows, and is not here.
    let checked = house.command(&["check"]);
    assert_eq!(checked.status.code(), Some(2));
    assert!(
        checked.stderr.contains("MailSettings.PickupDirectory") && checked.stderr.contains("C:/Temp/identitymanagerContosoPickup"),
        "{}",
        checked.stderr
    );

    let folder = house.path().join("identitymanagerContosoPickup");
    fs::create_dir(&folder).expect("our own folder can be written");
    let serving = serve_with(&house, &[("MailSettings__PickupDirectory", &folder.display().to_string())]);
    let watch = PickupWatch::start(&folder);
    house.accept(&letters(0..20));
    house.until("all files", || (watch.seen() >= 20).then_some(()));
    house.until_quiet();
    drop(serving);
    assert_eq!(watch.finish().assert_whole().files.len(), 20);
    assert_eq!(files(&folder), names_of(&house.outbox(&["--state", "sent"])));
    for verdict in judged(&folder) {
        assert_eq!((verdict.from[0].address.as_str(), verdict.header("X-Sender")), ("no-reply@contoso.com", Some("no-reply@contoso.com")));
    }
}

#[test]
fn a_path_in_netwrixs_host_is_a_pickup_directory() {
    let house = netwrix(SERVER, "");
    let folder = house.path().join("drop");
    fs::create_dir(&folder).expect("our own folder can be written");
    let serving = serve_with(&house, &[("MailSettings__Host", &folder.display().to_string())]);
    house.accept(&letters(0..3));
    house.until_quiet();
    drop(serving);
    assert_eq!(files(&folder), names_of(&house.outbox(&["--state", "sent"])));
    assert_eq!(judged(&folder).len(), 3);
}
