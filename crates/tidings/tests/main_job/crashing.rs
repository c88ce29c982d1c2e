//! `kill -9` in the middle of a crowd, of letting a batch go, and of digests: everybody has exactly one letter in the end, or a second copy that is marked.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::json;
use tidings_testkit::http;
use tidings_testkit::process::Running;

use crate::house::{House, events, mail, sql};

/// Another process that looks at the database without a pause, and ends the server by SIGKILL the moment a query says 1. It gives up after a minute.
struct Assassin(Child);

impl Assassin {
    fn hire(house: &House, victim: u32, query: &str) -> Self {
        let script = "import os, signal, sqlite3, sys, time\ndb = sqlite3.connect(sys.argv[1], timeout=30)\nuntil = time.monotonic() + 60\nprint('ready', flush=True)\n\
            while time.monotonic() < until:\n  if db.execute(sys.argv[3]).fetchone()[0] == 1:\n    os.kill(int(sys.argv[2]), signal.SIGKILL)\n    sys.exit(0)\nsys.exit(1)";
        let mut command = Command::new("python3");
        command.args(["-I", "-c", script]).arg(house.database()).args([&victim.to_string(), query]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("python3 starts");
        let mut word = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut word).expect("it says that it looks");
        assert_eq!(word.trim(), "ready");
        Self(child)
    }

    #[track_caller]
    fn wait(mut self) {
        assert!(self.0.wait().expect("python3 ends").success(), "it came never to the moment in which the server was to die");
    }
}

impl Drop for Assassin {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A house with a directory of so many people, all of them in the group `all`, and a rule that tells them what changes about it.
fn with_crowd(people: usize, guard: &str) -> House {
    let mut house = House::furnish(|config| {
        config.set("safety", "guard", guard);
        config.set("alerts", "to", "[\"admin@example.org\"]");
        config.more("[[rule]]\nname = \"changes\"\non = [\"object.changed\"]\nto = [\"object\"]\n");
        config.more("[[directory]]\nname = \"corp\"\nsource = \"csv\"\nfolder = \"in\"\npoll_every = \"100ms\"\n");
    });
    let mut file = String::from("key,type,name,mail,groups\nall,group,All,,\n");
    for number in 0..people {
        let _ = writeln!(file, "u{number},user,Reader {number},reader{number}@example.org,all");
    }
    fs::create_dir_all(house.path().join("in")).expect("our own folder can be written");
    fs::write(house.path().join("in").join("start.csv"), file).expect("our own folder can be written");
    house.token = house.create_token("events:write,outbox:read,outbox:write");
    house.serve();
    let loaded = "SELECT count(*) FROM directory WHERE loaded_at IS NOT NULL";
    house.until("the directory to be loaded", || (sql(&house.database(), loaded).trim() == "1").then_some(()));
    house
}

fn change() -> serde_json::Value {
    events::event("1", "object.changed", json!({"object": "corp/all", "before": {"room": "A"}, "after": {"room": "B"}}))
}

/// Has the server killed once the query says 1, while `meanwhile` is done; then starts it again.
#[track_caller]
fn killed_when(house: &mut House, query: &str, meanwhile: impl FnOnce(&House)) {
    let mut serving: Running = house.take_serving();
    let assassin = Assassin::hire(house, serving.id(), query);
    meanwhile(house);
    assassin.wait();
    assert!(serving.wait(Duration::from_secs(10)).is_some_and(|status| !status.success()), "it still runs, or ended by itself");
    drop(serving);
    house.serve();
}

/// Posts to the API from a thread of its own; the server may die before it answers.
fn ask(house: &House, path: &str) {
    let (url, bearer) = (format!("{}{path}", house.url), format!("Bearer {}", house.token));
    thread::spawn(move || http::request("POST", &url, &[("Authorization", &bearer)], &[]));
}

fn count(house: &House, query: &str) -> usize {
    sql(&house.database(), query).trim().parse().expect("a number")
}

/// Everybody has exactly one letter of this rule; if a copy came, it is the same letter and its item says so. A letter can be on the wire at each of the `kills`.
#[track_caller]
fn each_has_one(house: &House, people: usize, rule: &str, kills: usize) {
    let mut letters: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for letter in house.sink.letters() {
        if letter.header("X-Tidings-Rule").as_deref() == Some(rule) {
            for to in &letter.to {
                letters.entry(to.clone()).or_default().push(mail::message_id(&letter));
            }
        }
    }
    let marked: HashSet<String> = house
        .outbox(&[])
        .iter()
        .filter(|item| item["maybe_duplicate"] == true)
        .map(|item| item["to"].as_str().expect("an address is a text").to_owned())
        .collect();
    for (to, ids) in &letters {
        assert!(ids.iter().all(|id| *id == ids[0]), "{to} got several letters");
        assert!(ids.len() == 1 || ids.len() <= 1 + kills && marked.contains(to), "{to} got {} copies", ids.len());
    }
    let expected: Vec<String> = (0..people).map(|number| format!("reader{number}@example.org")).collect();
    let missing: Vec<&String> = expected.iter().filter(|to| !letters.contains_key(*to)).collect();
    assert!(missing.is_empty() && letters.len() == people, "{} of {people}; missing {missing:?}", letters.len());
    eprintln!("{} copies, all marked", letters.values().filter(|ids| ids.len() > 1).count());
}

const CROWD_TOLD: &str = "SELECT count(*) = 0 FROM fan_out WHERE ended_at IS NULL";

fn until_told(house: &House) {
    house.until_all("the crowd to be told", || sql(&house.database(), CROWD_TOLD).trim() == "1");
}

#[test]
fn a_server_that_is_killed_between_the_chunks_of_a_crowd_tells_everybody_once() {
    let mut house = with_crowd(3500, "{ per_event = 0, per_rule_hour = 0 }");
    killed_when(&mut house, "SELECT count(*) FROM fan_out WHERE steps >= 1", |house| {
        house.accept(&[change()]);
    });
    for steps in [2, 3] {
        killed_when(&mut house, &format!("SELECT count(*) FROM fan_out WHERE steps >= {steps}"), |_| {});
    }
    until_told(&house);
    house.until_quiet_within(Duration::from_secs(180));
    each_has_one(&house, 3500, "changes", 3);
    assert_eq!(count(&house, "SELECT told FROM fan_out"), 3500);
}

#[test]
fn a_server_that_is_killed_while_a_batch_is_let_go_finishes_it() {
    let mut house = with_crowd(3500, "{ per_event = 10, per_rule_hour = 0 }");
    house.accept(&[change()]);
    until_told(&house);
    let id = house.json(&["guard", "list"])[0]["id"].as_str().expect("an id is a text").to_owned();
    assert_eq!(house.outbox(&["--state", "held"]).len(), 3500);
    killed_when(&mut house, "SELECT count(*) FROM guard_batch WHERE state = 'released'", |house| {
        ask(house, &format!("/v1/guard/{id}/release"));
    });
    assert!(house.json(&["guard", "list"]).as_array().expect("a list").is_empty(), "it is no longer held");
    house.until_all("the rest to be let go", || count(&house, "SELECT count(*) FROM item WHERE state = 0") == 0);
    if !house.log_has("finished the end of a batch that was broken off") {
        eprintln!("the kill came when the batch had ended");
    }
    // And once more while they are on the wire.
    killed_when(&mut house, "SELECT count(*) >= 2500 FROM item WHERE state = 3", |_| {});
    house.until_quiet_within(Duration::from_secs(180));
    each_has_one(&house, 3500, "changes", 2);
}

#[test]
fn a_server_that_is_killed_while_digests_are_written_has_each_letter_in_one_of_them() {
    let mut house = with_crowd(1500, "{ per_event = 10, per_rule_hour = 0 }");
    house.accept(&[change()]);
    until_told(&house);
    let id = house.json(&["guard", "list"])[0]["id"].as_str().expect("an id is a text").to_owned();
    let digest = "JOIN word w ON w.number = i.kind WHERE w.text = 'digest'";
    killed_when(&mut house, &format!("SELECT count(*) > 0 FROM item i {digest}"), |house| ask(house, &format!("/v1/guard/{id}/digest")));
    let (cancelled, digests) =
        (count(&house, "SELECT count(*) FROM item WHERE state = 7"), count(&house, &format!("SELECT count(*) FROM item i {digest}")));
    assert_eq!(cancelled, digests, "what is cancelled stands in a digest");
    let rest = 1500 - digests;
    if rest == 0 {
        eprintln!("the kill came when all were written");
    } else {
        assert_eq!(house.json(&["guard", "list"])[0]["id"], json!(id), "the rest is still held");
        let thinned = house.command(&["guard", "digest", &id]);
        assert_eq!(
            thinned.stdout.trim(),
            format!("{rest} letters cancelled, {rest} digests written in place of them"),
            "{}",
            thinned.stderr
        );
    }
    house.until_quiet_within(Duration::from_secs(180));
    each_has_one(&house, 1500, "built-in:digest", 1);
    assert_eq!(house.outbox(&["--state", "cancelled"]).len(), 1500);
}
