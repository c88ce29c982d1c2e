//! The whole job on a PostgreSQL server: the real binary, through `kill -9` and a server that goes away and comes back.

mod house;
#[path = "postgres/moving.rs"]
mod moving;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::Value;
use tidings_testkit::postgres::Postgres;

use house::House;
use house::config::Config;
use house::events::test_letter;

const PASSWORD: &str = "not-for-any-log";

/// A house whose outbox is on this server.
fn on(server: &Postgres) -> House {
    server.create("house", None);
    House::start(|config| {
        fs::write(config.folder().join("password"), format!("{PASSWORD}\n")).expect("our own folder can be written");
        config.set("database", "url", &format!("\"{}?sslmode=disable\"", server.url("house")));
        config.set("database", "password_file", "\"password\"");
    })
}

/// Two machines that serve one database, as far as one machine can be two.
fn two_on(server: &Postgres, configure: impl Fn(&mut Config)) -> [House; 2] {
    server.create("house", None);
    let furnish = |name: &str| {
        House::furnish(|config| {
            config.set("database", "url", &format!("\"{}?sslmode=disable\"", server.url("house")));
            config.set("server", "node", &format!("\"{name}\""));
            config.set("server", "node_lease", "\"3s\"");
            configure(config);
        })
    };
    let [mut one, mut two] = [furnish("one"), furnish("two")];
    one.token = one.create_token(house::SCOPES);
    one.serve();
    fs::create_dir_all(two.data_dir()).expect("our own folder");
    fs::copy(one.data_dir().join("secret.key"), two.data_dir().join("secret.key")).expect("the key of the first node");
    two.token.clone_from(&one.token);
    two.serve();
    [one, two]
}

/// The node that has a duty.
fn who_has(house: &House, duty: &str) -> Option<String> {
    let nodes = house.json(&["node", "list"]);
    let has = |node: &&Value| node["duties"].as_array().expect("a list").iter().any(|had| had == duty);
    nodes.as_array().expect("a list").iter().find(has).map(|node| node["node"].as_str().expect("a name").to_owned())
}

fn signal(house: &mut House, signal: &str) {
    let id = house.serving().id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().expect("kill is there").success());
}

/// How often each reader was sent a letter by both.
fn told(houses: &[House; 2]) -> BTreeMap<String, usize> {
    let mut told = BTreeMap::new();
    for to in houses.iter().flat_map(|house| house.sink.letters()).flat_map(|letter| letter.to.clone()) {
        *told.entry(to).or_default() += 1;
    }
    told
}

fn reader(n: usize) -> String {
    format!("reader{n}@example.org")
}

#[test]
fn the_whole_job_through_kill_9_and_a_server_that_goes_away() {
    const LETTERS: usize = 300;
    let mut server = Postgres::builder().flush().start();
    let mut house = on(&server);
    for start in (0..LETTERS).step_by(50) {
        let events: Vec<_> = (start..start + 50).map(|n| test_letter(&n.to_string(), &reader(n))).collect();
        house.accept(&events);
        if start == 100 {
            house.kill9();
            house.serve();
            // Told again: the same events.
            house.accept(&events);
        }
    }
    house.until_quiet();
    let told: BTreeSet<String> = house.sink.letters().into_iter().flat_map(|letter| letter.to.clone()).collect();
    assert_eq!(told, (0..LETTERS).map(reader).collect(), "each at least once, and nobody else");
    assert_eq!(house.outbox(&["--state", "sent"]).len(), LETTERS);
    assert_eq!(server.sql("house", "SELECT count(*), count(state) FROM item"), format!("{LETTERS}|{LETTERS}"));

    server.stop();
    let refused = house.post_event(&test_letter("away", "away@example.org"));
    assert_eq!(refused.status, 503, "{}", refused.text());
    server.start();
    house
        .until("the server to be heard again", || (house.post_event(&test_letter("back", "back@example.org")).status == 202).then_some(()));
    house.until_state("back@example.org", "sent");
    assert!(house.terminate().success());
    assert!(!house.log_has(PASSWORD), "the log knows the password");
    assert!(!house.data_dir().join("tidings.db").exists(), "no second outbox");
}

#[test]
fn two_nodes_share_the_work_and_one_that_is_killed_or_stopped_leaves_it_to_the_other() {
    const LETTERS: usize = 240;
    let server = Postgres::builder().flush().start();
    let mut houses = two_on(&server, |config| config.relay_key("limits", "{ sessions = 2 }"));
    let nodes = houses[0].get("/v1/nodes");
    assert_eq!(nodes["items"].as_array().expect("a list").len(), 2, "{nodes}");
    let post = |house: &House, from: usize| {
        let events: Vec<_> = (from..from + LETTERS / 4).map(|n| test_letter(&n.to_string(), &reader(n))).collect();
        house.accept(&events);
    };
    post(&houses[0], 0);
    post(&houses[1], LETTERS / 4);
    houses[1].until_quiet();
    assert!(told(&houses).values().all(|times| *times == 1), "each once while nobody dies");

    // One is stopped in the midst of its work, and goes on when the other has done it.
    post(&houses[0], LETTERS / 2);
    signal(&mut houses[0], "-STOP");
    houses[1].until("the stopped node to be given up", || houses[1].log_has("was not heard of any more").then_some(()));
    houses[1].until_quiet();
    let before = told(&houses);
    signal(&mut houses[0], "-CONT");
    houses[0].until("the stopped node to notice", || houses[0].log_has("joined anew").then_some(()));

    // The other is killed in the midst of its work.
    post(&houses[1], LETTERS / 4 * 3);
    houses[1].kill9();
    houses[0].until_quiet();
    let told = told(&houses);
    assert_eq!(told.keys().cloned().collect::<BTreeSet<_>>(), (0..LETTERS).map(reader).collect(), "nobody is forgotten");
    let marked: BTreeSet<String> = houses[0]
        .outbox(&[])
        .iter()
        .filter(|item| item["maybe_duplicate"] == true)
        .map(|item| item["to"].as_str().expect("an address").to_owned())
        .collect();
    for (to, times) in told {
        assert!(times == 1 || marked.contains(&to), "{to} was told {times} times, unmarked; before: {before:?}");
    }
    // It starts again on its machine and is a node as before.
    houses[1].serve();
    houses[1].accept(&[test_letter("last", "last@example.org")]);
    houses[1].until_state("last@example.org", "sent");
    for house in &mut houses {
        assert!(house.terminate().success());
    }
    assert_eq!(server.sql("house", "SELECT count(*) FROM node WHERE name IS NOT NULL"), "0", "both took their leave");
    assert_eq!(houses[0].json(&["node", "list"]), Value::Array(Vec::new()));
}

#[test]
fn a_directory_changes_hands_and_nothing_is_told_twice() {
    let server = Postgres::builder().start();
    let files = tidings_testkit::folder::Folder::new("files");
    let folder = files.path().to_owned();
    let put = |name: &str, rank: &str| {
        let rows: Vec<String> = (0..20).map(|n| format!("u{n},{rank} {n},u{n}@example.org\n")).collect();
        fs::write(folder.join("coming.part"), format!("key,name,mail\n{}", rows.concat())).expect("our own folder");
        fs::rename(folder.join("coming.part"), folder.join(name)).expect("our own folder");
    };
    put("0.csv", "Clerk");
    let directory = format!(
        "[[directory]]\nname = \"corp\"\nsource = \"csv\"\nfolder = \"{}\"\npoll_every = \"100ms\"\n[directory.notify]\nobject = true\n",
        folder.display()
    );
    let mut houses = two_on(&server, |config| config.more(&directory));
    let duty = "directory:corp";
    let loaded = || server.sql("house", "SELECT count(*) FROM directory WHERE loaded_at IS NOT NULL") == "1";
    houses[0].until("the first load", || loaded().then_some(()));
    for (round, rank) in ["Officer", "Major", "Colonel"].into_iter().enumerate() {
        let holder = houses[0].until("a node to feed the directory", || who_has(&houses[0], duty));
        put(&format!("{}.csv", round + 1), rank);
        let all = (20 * (round + 1)).to_string();
        houses[0].until("all changes to be told", || (server.sql("house", "SELECT count(*) FROM item") == all).then_some(()));
        // What is on the wire when a node dies may come twice; here it is about what is told.
        houses[0].until_quiet();
        let place = usize::from(holder == "two");
        match round {
            0 => {
                houses[place].kill9();
                let other = &houses[1 - place];
                other.until("the other to feed it", || (who_has(other, duty)? != holder).then_some(()));
                houses[place].serve();
            }
            1 => {
                signal(&mut houses[place], "-STOP");
                let other = &houses[1 - place];
                // The duty may have moved to the other just before, for balance; and a place whose lease has ended is listed no more, but is its node's until somebody closes it.
                let members = || server.sql("house", "SELECT count(*) FROM node WHERE name IS NOT NULL");
                other.until("the stopped node's place to be closed", || (members() == "1").then_some(()));
                other.until("the other to feed it", || (who_has(other, duty)? != holder).then_some(()));
                signal(&mut houses[place], "-CONT");
                houses[place].until("the stopped node to notice", || houses[place].log_has("joined anew").then_some(()));
            }
            _ => {}
        }
    }
    houses[0].until_quiet();
    let told = told(&houses);
    assert_eq!(told.len(), 20);
    assert!(told.values().all(|times| *times == 3), "each change once: {told:?}");
    // Taking its leave hands over at once.
    let holder = houses[0].until("a node to feed the directory", || who_has(&houses[0], duty));
    let place = usize::from(holder == "two");
    assert!(houses[place].terminate().success());
    let other = &houses[1 - place];
    other.until("the other to feed it", || (who_has(other, duty)? != holder).then_some(()));
}
