//! A look into the files finds no password, at no time.

use crate::house::{House, only, outcome};
use std::{fs, path::Path};
use tidings_core::outbox::State;
use tidings_store::Action;

const PASSWORD: &str = "Winter-Storm-2026";

fn count(folder: &Path, text: &[u8]) -> usize {
    let mut found = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        found += bytes.windows(text.len()).filter(|window| *window == text).count();
    }
    found
}

fn stored_letter(folder: &Path) -> Option<Vec<u8>> {
    let db = rusqlite::Connection::open(folder.join("tidings.db")).unwrap();
    db.query_row("SELECT bytes FROM letter WHERE sensitive = 1", [], |row| row.get(0)).unwrap()
}

fn secrets_kept(folder: &Path) -> i64 {
    let db = rusqlite::Connection::open(folder.join("tidings.db")).unwrap();
    db.query_row("SELECT count(*) FROM event_secret", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn no_file_ever_holds_a_password() {
    let house = House::on_sqlite().await;
    let folder = house.folder.path().to_owned();
    let secret = PASSWORD.as_bytes();
    house.accept(house.an_event("plain").text("Subject: x\r\n\r\nnot-a-secret-at-all\r\n")).await;
    assert_eq!(count(&folder, b"not-a-secret-at-all"), 1, "the search itself works");
    house.accept(house.an_event("e1").to(&["ada@example.org", "grace@example.org"]).secret(PASSWORD)).await;
    assert_eq!(count(&folder, secret), 0, "accepted");
    assert_eq!(secrets_kept(&folder), 1);
    let leases = house.claim(3).await;
    assert_eq!(count(&folder, secret), 0, "claimed");
    house.settle(outcome(&leases[1], State::Waiting, house.now())).await;
    house.settle(outcome(&leases[2], State::Sent, house.now())).await;
    assert_eq!(count(&folder, secret), 0, "half settled");
    let sealed = stored_letter(&folder).expect("one copy is still on its way");
    assert_eq!(secrets_kept(&folder), 1);
    let again = house.claim(1).await;
    house.settle(outcome(&again[0], State::Sent, house.now())).await;
    assert_eq!(stored_letter(&folder), None, "erased with the last copy");
    assert_eq!(secrets_kept(&folder), 0);
    assert_eq!(count(&folder, secret), 0, "settled");
    drop(house.store);
    assert_eq!(count(&folder, secret), 0, "closed");
    assert_eq!(count(&folder, &sealed[..32]), 0, "not even its ciphertext is left in the file");
}

#[tokio::test]
async fn an_event_that_caused_no_item_keeps_no_secret() {
    let house = House::on_sqlite().await;
    house.accept(house.an_event("e1").secret(PASSWORD).to(&[])).await;
    assert_eq!(secrets_kept(house.folder.path()), 0);
}

#[tokio::test]
async fn cancelling_erases_too() {
    let house = House::on_sqlite().await;
    let id = house.accept_one(house.an_event("e1").secret(PASSWORD)).await;
    assert!(stored_letter(house.folder.path()).is_some());
    house.store.act(Action::Cancel, only(id), "ada").await.unwrap();
    assert_eq!((stored_letter(house.folder.path()), secrets_kept(house.folder.path())), (None, 0));
}
