//! An outbox in use moves from a file to a server and back, and the copying is killed on its way.

use crate::house::{self, House, PATIENCE, events::test_letter, mail::message_id, tidings};
use crate::reader;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use tidings_testkit::postgres::Postgres;
use tidings_testkit::process::Program;
use tidings_testkit::wait;

const FILE: &str = "sqlite:tidings.db";
const BACK: &str = "sqlite:back.db";

fn post(house: &House, numbers: std::ops::Range<usize>) {
    let events: Vec<_> = numbers.map(|n| test_letter(&n.to_string(), &reader(n))).collect();
    for some in events.chunks(50) {
        house.accept(some);
    }
}

fn copy(house: &House, from: &str, to: &str) -> tidings_testkit::process::Ended {
    house.command(&["store", "copy", "--from", from, "--to", to, "--json"])
}

/// `tidings outbox list --json` of everything, byte for byte.
fn listing(house: &House) -> String {
    let ended = house.command(&["outbox", "list", "--limit", "1000000", "--json"]);
    assert!(ended.status.success(), "{}", ended.stderr);
    ended.stdout
}

/// Runs the copy until it waits for a table that somebody else keeps from being written, and kills it there. Reading goes on: the copy has looked before whether anything stands there.
fn killed_at(server: &Postgres, house: &House, table: &str, url: &str) {
    let holder = format!("BEGIN; LOCK TABLE {table} IN SHARE MODE; SELECT pg_sleep(300)");
    let mut holder = Program::new("/usr/bin/psql").args(["-X", "-q", "-d", &server.url("house"), "-c", &holder]).start(house.path());
    let locked = format!("SELECT count(*) FROM pg_locks WHERE relation = '{table}'::regclass AND mode = 'ShareLock' AND granted");
    wait::until("the table to be locked", PATIENCE, || (server.sql("house", &locked) == "1").then_some(()));
    let arguments = ["store", "copy", "--from", FILE, "--to", url];
    let folder = house.path().join("copying");
    std::fs::create_dir_all(&folder).expect("our own folder can be written");
    let mut copying = tidings().args(arguments).args(["-c".into(), house.config_file()]).start(&folder);
    let waits = format!("SELECT count(*) FROM pg_locks WHERE relation = '{table}'::regclass AND NOT granted");
    wait::until("the copy to come to the table", PATIENCE, || (server.sql("house", &waits) != "0").then_some(()));
    copying.kill9();
    holder.kill9();
    // What both had begun is rolled back once the server has noticed.
    wait::until("their sessions to end", PATIENCE, || {
        server.sql("house", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'house' AND pid <> pg_backend_pid()");
        let others = server.sql("house", "SELECT count(*) FROM pg_stat_activity WHERE datname = 'house' AND pid <> pg_backend_pid()");
        (others == "0").then_some(())
    });
}

#[test]
fn an_outbox_under_load_moves_to_a_server_and_back() {
    const FIRST: usize = 300;
    const SECOND: usize = 100;
    let server = Postgres::builder().start();
    server.create("house", None);
    let url = format!("{}?sslmode=disable", server.url("house"));
    let mut house = House::start(|config| {
        config.relay_key("limits", "{ sessions = 2 }");
        config.set("server", "node_lease", "\"15s\"");
    });
    post(&house, 0..FIRST);
    house.sink.wait_for(20);
    let refused = copy(&house, FILE, &url);
    assert!(!refused.status.success() && refused.stderr.contains("another tidings serve"), "{}", refused.stderr);
    house.kill9();
    let there = listing(&house);

    // The schema is there, and nothing else; then the copy is killed twice.
    house.reconfigure(|config| config.set("database", "url", &format!("\"{url}\"")));
    assert_eq!(listing(&house).trim(), "[]");
    for table in ["event", "history"] {
        killed_at(&server, &house, table, &url);
        let refused = house.command(&["serve"]);
        assert!(!refused.status.success() && refused.stderr.contains("unfinished copy"), "{}", refused.stderr);
    }
    let done = copy(&house, FILE, &url);
    assert!(done.status.success(), "{}", done.stderr);
    let done: Value = serde_json::from_str(&done.stdout).expect("a summary");
    assert_eq!((&done["resumed"], &done["unreadable"]), (&Value::Bool(true), &Value::from(0)), "{done}");
    let items = done["tables"].as_array().expect("a list").iter().find(|table| table["name"] == "item").expect("items");
    assert_eq!(items["rows"], FIRST, "{done}");
    assert_eq!(listing(&house), there, "what stood in the file stands on the server");
    assert!(copy(&house, FILE, &url).stderr.contains("is not empty"), "it is no copy any more");

    // It goes on there: the same tokens, the rest of the letters, new ones.
    house.serve();
    post(&house, FIRST..FIRST + SECOND);
    house.until_quiet();
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for letter in house.sink.letters() {
        let names = letter.to.iter().map(|to| (to.clone(), message_id(&letter)));
        names.for_each(|(to, name)| _ = told.entry(to).or_default().insert(name));
    }
    assert_eq!(told.keys().cloned().collect::<BTreeSet<_>>(), (0..FIRST + SECOND).map(reader).collect(), "everybody, and nobody else");
    assert!(told.values().all(|names| names.len() == 1), "nobody has two different letters");
    let twice = house.sink.letters().len() - told.len();
    let marked = house.outbox(&[]).iter().filter(|item| item["maybe_duplicate"] == true).count();
    assert!(twice <= marked.max(2), "{twice} came twice, {marked} are marked");

    house.kill9();
    let refused = copy(&house, &url, BACK);
    assert!(
        !refused.status.success() && refused.stderr.contains("another tidings serve"),
        "a node that was killed is a member until its lease ends"
    );
    house.until("its lease to end", || copy(&house, &url, BACK).status.success().then_some(()));
    let on_server = listing(&house);
    house.reconfigure(|config| config.set("database", "url", &format!("\"{BACK}\"")));
    assert_eq!(listing(&house), on_server, "the way back");
    house.serve();
    post(&house, 1000..1001);
    house.until_state(&reader(1000), "sent");
    assert!(house.terminate().success());
}

#[test]
fn a_url_that_is_none_is_refused_before_anything_is_made() {
    let house = House::furnish(|_| {});
    house.create_token(house::SCOPES);
    for (from, to, why) in [
        ("tidings.db", "sqlite:new.db", "--from: "),
        ("sqlite:tidings.db", "mysql://secret:hunter2@h/d", "--to: "),
        ("sqlite:none.db", "sqlite:new.db", "there is no outbox"),
        ("sqlite:tidings.db", "postgres://u:hunter2@127.0.0.1:1/d", "cannot open the database"),
    ] {
        let ended = copy(&house, from, to);
        assert!(!ended.status.success() && ended.stderr.contains(why), "{from} {to}: {}", ended.stderr);
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    }
    assert!(!house.data_dir().join("new.db").exists());
}
