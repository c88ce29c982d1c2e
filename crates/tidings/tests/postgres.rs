//! The whole job on a PostgreSQL server: the real binary, through `kill -9` and a server that goes away and comes back.

mod house;

use std::collections::BTreeSet;
use std::fs;

use tidings_testkit::postgres::Postgres;

use house::House;
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
