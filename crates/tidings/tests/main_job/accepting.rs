//! The door: the three ways a CloudEvent travels, duplicates, many clients at once, tokens.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidings_testkit::http;

use crate::house::{BATCH, House, STRUCTURED, events};

#[test]
fn structured_batch_and_binary_events_are_accepted_alike() {
    let house = House::start(|_| {});
    let structured = house.post(STRUCTURED, events::test_letter("s", "structured@example.org").to_string());
    let batch = house.post(
        BATCH,
        json!([events::test_letter("b1", "batch.one@example.org"), events::test_letter("b2", "batch.two@example.org")]).to_string(),
    );
    let bearer = format!("Bearer {}", house.token);
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json; charset=utf-8"),
        ("ce-specversion", "1.0"),
        ("ce-id", "caf%C3%A9"),
        ("ce-source", "test"),
        ("ce-type", "tidings.test"),
    ];
    let data = json!({"object": events::person("binary@example.org", "en")}).to_string();
    let binary = http::request("POST", &format!("{}/v1/events", house.url), &headers, data.as_bytes()).expect("the server answers");
    for (reply, accepted) in [(&structured, 1), (&batch, 2), (&binary, 1)] {
        assert_eq!(reply.status, 202, "{}", reply.text());
        assert_eq!(reply.header("content-type"), Some("application/json"));
        let receipt = reply.json();
        assert_eq!((&receipt["accepted"], &receipt["duplicates"]), (&json!(accepted), &json!(0)));
        assert_eq!(receipt["ids"].as_array().map(Vec::len), Some(accepted));
    }
    house.sink.wait_for(4);
    for reader in ["structured", "batch.one", "batch.two", "binary"] {
        assert_eq!(house.sink.letters_to(&format!("{reader}@example.org")).len(), 1, "{reader}");
    }
    let trace = house.get(&format!("/v1/events/{}/trace", binary.json()["ids"][0].as_str().expect("an id")));
    assert_eq!((&trace["event"], &trace["source"], &trace["type"]), (&json!("café"), &json!("test"), &json!("tidings.test")));
}

#[test]
fn the_same_event_twice_changes_nothing_and_says_so() {
    let house = House::start(|_| {});
    let event = events::test_letter("4711", "ada@example.org");
    let first = house.post_event(&event).json();
    assert_eq!((&first["accepted"], &first["duplicates"]), (&json!(1), &json!(0)));
    let again = house.post_event(&event).json();
    assert_eq!((&again["accepted"], &again["duplicates"], &again["ids"]), (&json!(0), &json!(1), &first["ids"]));
    // Twice in one batch, beside a known and a new one.
    let twin = events::test_letter("4712", "grace@example.org");
    let mixed = house.post_batch(&[event.clone(), twin.clone(), twin]).json();
    assert_eq!((&mixed["accepted"], &mixed["duplicates"]), (&json!(1), &json!(2)));
    assert_eq!(mixed["ids"][0], first["ids"][0]);
    assert_eq!(mixed["ids"][1], mixed["ids"][2]);
    // The same id from another source is another event.
    let mut other = event;
    other["source"] = json!("another");
    assert_eq!(house.post_event(&other).json()["accepted"], 1);
    house.sink.wait_for(3);
    house.until_quiet();
    assert_eq!((house.sink.count(), house.outbox(&[]).len()), (3, 3));
}

#[test]
fn of_many_clients_that_post_one_event_at_once_only_one_is_first() {
    let house = House::start(|_| {});
    let event = events::test_letter("race", "ada@example.org");
    let start = Barrier::new(12);
    let receipts: Vec<Value> = thread::scope(|scope| {
        let post = || {
            start.wait();
            let reply = house.post_event(&event);
            assert_eq!(reply.status, 202, "{}", reply.text());
            reply.json()
        };
        let clients: Vec<_> = (0..12).map(|_| scope.spawn(post)).collect();
        clients.into_iter().map(|client| client.join().expect("no client panics")).collect()
    });
    let accepted: u64 = receipts.iter().filter_map(|receipt| receipt["accepted"].as_u64()).sum();
    let duplicates: u64 = receipts.iter().filter_map(|receipt| receipt["duplicates"].as_u64()).sum();
    assert_eq!((accepted, duplicates), (1, 11));
    assert!(receipts.iter().all(|receipt| receipt["ids"] == receipts[0]["ids"]), "{receipts:?}");
    house.sink.wait_for(1);
    house.until_quiet();
    assert_eq!(house.sink.count(), 1);
}

#[test]
fn many_requests_share_a_commit_and_all_are_on_disk_when_answered() {
    const CLIENTS: usize = 64;
    let mut house = House::start(|_| {});
    // With the relay paused nothing but the posts writes; its own commit is done before the count begins.
    assert!(house.command(&["relay", "pause", "sink"]).status.success());
    house.accept(&[events::test_letter("before", "before@example.org")]);
    let wal = house.data_dir().join("tidings.db-wal");
    let before = commits(&wal);
    let (start, server) = (Barrier::new(CLIENTS), house.serving().id());
    // Somebody else writes while the requests come in, so that they meet at the writer's door however fast the disk is.
    let mut writer = OtherWriter::lock(&house.data_dir().join("tidings.db"));
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (house, start) = (&house, &start);
            scope.spawn(move || {
                let event = events::test_letter(&client.to_string(), &format!("reader.{client}@example.org"));
                start.wait();
                let reply = house.post_event(&event);
                assert_eq!((reply.status, &reply.json()["accepted"]), (202, &json!(1)), "{}", reply.text());
            });
        }
        // Until all have come in, and nothing is left to do but to wait for the writer.
        let mut still = (0, Instant::now());
        house.until("every request to wait for the writer", || {
            let busy = cpu_ticks(server);
            if busy != still.0 {
                still = (busy, Instant::now());
            }
            (connections(&house.url) >= CLIENTS && still.1.elapsed() > Duration::from_millis(200)).then_some(())
        });
        writer.unlock();
    });
    let shared = commits(&wal) - before;
    eprintln!("{CLIENTS} requests took {shared} commits");
    assert!(shared > 0 && shared <= CLIENTS / 2, "{CLIENTS} requests took {shared} commits");
    // Answered means on disk: the process dies at once, and everything is there.
    house.kill9();
    assert_eq!(house.outbox(&["--state", "waiting"]).len(), CLIENTS + 1);
    house.serve();
    assert!(house.command(&["relay", "resume", "sink"]).status.success());
    house.sink.wait_for(CLIENTS as u64 + 1);
    house.until_quiet();
    assert_eq!(house.sink.count(), CLIENTS as u64 + 1);
}

/// How long a process has been on the processors, in the kernel's ticks (proc(5), `/proc/pid/stat`, fields 14 and 15).
fn cpu_ticks(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("the process is there");
    // The second field, the name, may hold anything and ends in the last parenthesis.
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("a line").split(' ').collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

/// Another process that holds the database's write lock.
struct OtherWriter(Child);

impl OtherWriter {
    fn lock(database: &Path) -> Self {
        let script = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], isolation_level=None)\ndb.execute('BEGIN IMMEDIATE')\nprint('locked', flush=True)\nsys.stdin.read()\ndb.execute('ROLLBACK')";
        let mut child = Command::new("python3")
            .args(["-I", "-c", script])
            .arg(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let mut word = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut word).expect("the lock is told");
        assert_eq!(word.trim(), "locked");
        Self(child)
    }

    fn unlock(&mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().expect("python3 ends").success());
    }
}

impl Drop for OtherWriter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Established connections to the server at this URL, from the kernel's table (proc(5), `/proc/net/tcp`).
fn connections(url: &str) -> usize {
    let port: u16 = url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("the URL ends in a port");
    let local = format!(":{port:04X}");
    let table = fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    table
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1).zip(line.split_whitespace().nth(3)))
        .filter(|(at, state)| at.ends_with(&local) && *state == "01")
        .count()
}

/// Commits in a write-ahead log (SQLite's file format §4): frames whose header bears the size of the database and the salt of the log.
fn commits(wal: &Path) -> usize {
    const HEADER: usize = 32;
    const FRAME_HEADER: usize = 24;
    let log = fs::read(wal).expect("the log is there");
    let word = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().expect("four bytes"));
    let page = word(8) as usize;
    let salt = log[16..24].to_vec();
    let frames = (HEADER..log.len().saturating_sub(FRAME_HEADER)).step_by(FRAME_HEADER + page);
    frames.take_while(|at| log[at + 8..at + 16] == salt[..]).filter(|at| word(at + 4) > 0).count()
}

#[test]
fn a_token_opens_only_what_its_scopes_allow() {
    let house = House::start(|_| {});
    let writer = house.create_token("events:write");
    let reader = house.create_token("outbox:read");
    let id = house.accept(&[events::test_letter("1", "ada@example.org")]).remove(0);
    let item = house.until_state("ada@example.org", "sent")["id"].as_str().expect("an id").to_owned();
    let event = events::test_letter("2", "grace@example.org").to_string();
    let ask = |method: &str, path: &str, token: Option<&str>| {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers = vec![("Content-Type", STRUCTURED)];
        headers.extend(bearer.as_deref().map(|bearer| ("Authorization", bearer)));
        let body = if method == "POST" { event.as_bytes() } else { b"" };
        http::request(method, &format!("{}{path}", house.url), &headers, body).expect("the server answers")
    };
    let (show, trace, retry) = (format!("/v1/outbox/{item}"), format!("/v1/events/{id}/trace"), format!("/v1/outbox/{item}/retry"));
    let guarded = [
        ("POST", "/v1/events"),
        ("GET", "/v1/outbox"),
        ("GET", &show),
        ("POST", &retry),
        ("GET", &trace),
        ("GET", "/v1/relays"),
        ("POST", "/v1/relays/sink/pause"),
    ];
    for (method, path) in guarded {
        let none = ask(method, path, None);
        assert_eq!((none.status, none.header("www-authenticate")), (401, Some("Bearer")), "{method} {path}: {}", none.text());
        assert_eq!(none.header("content-type"), Some("application/problem+json"), "{method} {path}");
        let wrong = ask(method, path, Some(&format!("tid_{}", "0".repeat(64))));
        assert_eq!(wrong.status, 401, "{method} {path}");
        assert!(wrong.header("www-authenticate").is_some_and(|it| it.contains("invalid_token")), "{method} {path}");
    }
    for (method, path, token, scope) in [
        ("POST", "/v1/events", &reader, "events:write"),
        ("GET", "/v1/outbox", &writer, "outbox:read"),
        ("GET", show.as_str(), &writer, "outbox:read"),
        ("GET", "/v1/relays", &writer, "outbox:read"),
        ("POST", retry.as_str(), &reader, "outbox:write"),
        ("POST", "/v1/relays/sink/pause", &reader, "outbox:write"),
    ] {
        let reply = ask(method, path, Some(token));
        assert_eq!(reply.status, 403, "{method} {path}: {}", reply.text());
        let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
        assert_eq!(reply.header("www-authenticate"), Some(challenge.as_str()), "{method} {path}");
        assert!(reply.json()["detail"].as_str().is_some_and(|detail| detail.contains(scope)), "{}", reply.text());
    }
    assert_eq!(ask("GET", "/v1/outbox", Some(&reader)).status, 200);
    assert_eq!(ask("POST", "/v1/events", Some(&writer)).status, 202);
    // Nothing that was refused has had an effect, and no token is kept or logged in the clear.
    assert_eq!(house.relay("sink")["paused_at"], Value::Null);
    let database = fs::read(house.database()).expect("the database is there");
    for token in [&writer, &reader, &house.token] {
        assert!(!house.log().contains(token.as_str()));
        assert!(!database.windows(token.len()).any(|w| w == token.as_bytes()));
    }
}
