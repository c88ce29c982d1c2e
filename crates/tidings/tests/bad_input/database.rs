//! Databases that cannot be used: newer, foreign, no database, locked, in use.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;

use tidings_testkit::folder::Folder;
use tidings_testkit::http;
use tidings_testkit::process::{Program, installed};

use crate::house::{self, House, events};

/// Reads the number that an SQLite database keeps for its user.
fn user_version(database: &Path) -> u32 {
    let head = fs::read(database).expect("the database is there");
    u32::from_be_bytes(head[60..64].try_into().expect("four bytes"))
}

/// Writes the number that an SQLite database keeps for its user (file format §1.3, offset 60, big-endian).
fn set_user_version(database: &Path, version: u32) {
    let mut file = fs::OpenOptions::new().write(true).open(database).expect("our own file");
    file.seek(SeekFrom::Start(60)).expect("a file can be sought");
    file.write_all(&version.to_be_bytes()).expect("our own file");
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let mut house = House::start(|_| {});
    house.accept(&[events::test_letter("1", "ada@example.org")]);
    house.until_quiet_after(1);
    assert!(house.terminate().success());
    let known = user_version(&house.database());
    set_user_version(&house.database(), 99);
    let before = fs::read(house.database()).expect("the database is there");
    for command in [["serve"].as_slice(), &["outbox", "list"]] {
        let refused = house.command(command);
        assert_eq!(refused.status.code(), Some(1), "{}", refused.stderr);
        let sentence =
            format!("the database {} has schema 99, made by a newer tidings; this one knows up to {known}", house.database().display());
        assert!(refused.stderr.contains(&sentence), "{}", refused.stderr);
    }
    assert!(fs::read(house.database()).expect("the database is there") == before, "not a byte is changed");
    set_user_version(&house.database(), known);
    house.serve();
    assert_eq!(house.outbox(&["--state", "sent"]).len(), 1);
}

#[test]
fn what_is_no_database_or_another_programs_is_not_touched() {
    let house = House::furnish(|_| {});
    // A key of ours is there, and in place of the database something else.
    house.create_token("admin");
    for end in ["", "-wal", "-shm"] {
        let file = house.data_dir().join(format!("tidings.db{end}"));
        assert!(fs::remove_file(&file).is_ok() || !file.exists(), "our own file");
    }
    let text = "This is my diary, not a database. ".repeat(200);
    fs::write(house.database(), &text).expect("our own folder");
    let refused = house.command(&["serve"]);
    assert_eq!(refused.status.code(), Some(1));
    let sentence = format!("cannot open the database {}", house.database().display());
    assert!(refused.stderr.contains(&sentence) && refused.stderr.contains("not a database"), "{}", refused.stderr);
    assert!(fs::read_to_string(house.database()).expect("it is there") == text, "not a byte is changed");

    fs::remove_file(house.database()).expect("our own file");
    house::sql(&house.database(), "CREATE TABLE diary (day TEXT)");
    let before = fs::read(house.database()).expect("it is there");
    let foreign = house.command(&["serve"]);
    assert_eq!(foreign.status.code(), Some(1));
    assert!(foreign.stderr.contains("it is an SQLite database of another program"), "{}", foreign.stderr);
    assert!(fs::read(house.database()).expect("it is there") == before, "not a byte is changed");
}

#[test]
fn a_second_server_on_the_same_folder_is_refused_and_the_first_goes_on() {
    let house = House::start(|_| {});
    let second = house.command(&["serve"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(second.stderr.contains(&format!("another tidings serve is working on {}", house.database().display())), "{}", second.stderr);
    house.accept(&[events::test_letter("1", "ada@example.org")]);
    house.sink.wait_for(1);
}

#[test]
fn while_somebody_else_locks_the_database_the_house_is_not_ready_and_loses_nothing() {
    let house = House::start(|_| {});
    house.accept(&[events::test_letter("1", "before@example.org")]);
    house.until_quiet_after(1);
    let folder = Folder::new("locker");
    let release = folder.join("release");
    let script = "import os, sqlite3, sys, time\n\
                  db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)\n\
                  db.execute('BEGIN IMMEDIATE')\n\
                  print('locked', flush=True)\n\
                  while not os.path.exists(sys.argv[2]): time.sleep(0.01)\n\
                  db.execute('ROLLBACK')\n";
    let arguments = ["-I".into(), "-c".into(), script.into(), house.database(), release.clone()];
    let mut locker = Program::new(installed("python3", "python3")).args(arguments).start(folder.path());
    house.until("the lock to be taken", || locker.stdout().contains("locked").then_some(()));
    thread::scope(|scope| {
        // An event that comes meanwhile waits for its commit.
        let posting = scope.spawn(|| house.post_event(&events::test_letter("2", "meanwhile@example.org")));
        assert_eq!(http::get(&format!("{}/healthz", house.url)).expect("the server answers").status, 200, "it is alive all the same");
        let unready = http::get(&format!("{}/readyz", house.url)).expect("the server answers");
        fs::write(&release, "").expect("our own folder");
        assert_eq!((unready.status, unready.json()["ready"].as_bool()), (503, Some(false)), "{}", unready.text());
        let reply = posting.join().expect("the client does not panic");
        assert_eq!(reply.status, 202, "{}", reply.text());
    });
    house.until("the lock to be given back", || locker.status());
    house.until_quiet_after(2);
    assert_eq!((house.sink.count(), http::get(&format!("{}/readyz", house.url)).expect("the server answers").status), (2, 200));
}
