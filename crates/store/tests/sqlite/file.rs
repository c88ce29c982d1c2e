//! The file: its rights, what is refused, what is found again.

use crate::house::{House, ask, clock, options};
use std::{
    error::Error,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tempfile::TempDir;
use tidings_core::outbox::Pattern;
use tidings_store::{Database, OpenOptions, SealKey, StoreError, open};

async fn opening(folder: &Path) -> Result<Arc<dyn Database>, StoreError> {
    open(options(folder.to_owned(), clock())).await
}

async fn refusal(folder: &Path) -> StoreError {
    opening(folder).await.err().expect("opening is refused")
}

fn whole(error: &StoreError) -> String {
    format!("{error}: {}", error.source().map(ToString::to_string).unwrap_or_default())
}

#[tokio::test]
async fn every_file_of_the_database_is_private() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("made/on/opening");
    let store = opening(&data).await.unwrap();
    store.ready().await.unwrap();
    let files: Vec<PathBuf> = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 3, "database, log and shared memory: {files:?}");
    for file in files {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn what_was_accepted_is_there_after_reopening() {
    let house = House::on_sqlite().await;
    let id = house.accept_one(house.an_event("e1")).await;
    let names = house.store.names().await.unwrap();
    drop(house.store);
    let store = opening(house.folder.path()).await.unwrap();
    assert_eq!(store.item(id).await.unwrap().unwrap().row.to, "ada@example.org");
    assert_eq!(store.names().await.unwrap(), names);
}

#[tokio::test]
async fn a_letter_after_a_pattern_takes_little_room_and_is_read_with_the_pattern_that_was_written_beside_it() {
    let letter = |name: &str| -> Vec<u8> {
        let noise = |line: u64| line.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (line << 7).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        (0..200).flat_map(|line| format!("{name} {:016x}\r\n", noise(line)).into_bytes()).collect()
    };
    let pattern = Arc::new(Pattern::new(letter("Ada")));
    let house = House::on_sqlite().await;
    for number in 0..50 {
        let text = letter(&format!("Linus {number}"));
        house.accept(house.an_event(&format!("e{number}")).text(text).after(&pattern)).await;
    }
    let secret = house.accept_one(house.an_event("secret").after(&pattern).secret("Eve")).await;
    drop(house.store);
    let empty = House::on_sqlite().await;
    drop(empty.store);
    let size_of = |folder: &TempDir| fs::metadata(folder.path().join("tidings.db")).unwrap().len();
    let size = size_of(&house.folder) - size_of(&empty.folder);
    assert!(size < 50 * 4_000 / 2, "{size} bytes for 50 letters of 4 KB");
    let store = opening(house.folder.path()).await.unwrap();
    let leases = store.claim(ask("node-a", 100)).await.unwrap();
    assert_eq!(leases.len(), 51);
    for (number, lease) in leases.iter().take(50).enumerate() {
        assert_eq!(lease.bytes[..], letter(&format!("Linus {number}")));
        assert_eq!(store.letter(lease.id).await.unwrap().unwrap(), lease.bytes[..]);
    }
    assert_eq!((leases[50].id, &leases[50].bytes[..]), (secret, &b"Subject: Your password\r\n\r\nEve\r\n"[..]));
}

#[tokio::test]
async fn closing_leaves_one_file() {
    let house = House::on_sqlite().await;
    house.accept(house.an_event("e1")).await;
    drop(house.store);
    let files: Vec<_> = fs::read_dir(house.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["tidings.db"]);
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    drop(opening(folder.path()).await.unwrap());
    let path = folder.path().join("tidings.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(db);
    let before = fs::read(&path).unwrap();
    assert!(matches!(refusal(folder.path()).await, StoreError::Newer { found: 99, known: 1..99, .. }));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn what_is_no_database_of_ours_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tidings.db");
    fs::write(&path, "Dear diary, ".repeat(500)).unwrap();
    let error = refusal(folder.path()).await;
    assert!(matches!(error, StoreError::Open { .. }) && whole(&error).contains("not a database"), "{}", whole(&error));
    assert_eq!(fs::read(&path).unwrap().len(), 6000);

    fs::remove_file(&path).unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE bookmarks (url TEXT)").unwrap();
    drop(db);
    let error = refusal(folder.path()).await;
    assert!(whole(&error).contains("another program"), "{}", whole(&error));
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("taken"), "a file").unwrap();
    let error = refusal(&folder.path().join("taken")).await;
    assert!(whole(&error).contains("taken/tidings.db"), "{}", whole(&error));
}

#[tokio::test]
async fn another_key_is_refused_and_harms_nothing() {
    let house = House::on_sqlite().await;
    house.accept(house.an_event("e1").secret("Winter-Storm-2026")).await;
    drop(house.store);
    let wrong = OpenOptions { key: SealKey::from_bytes([9; 32]), ..options(house.folder.path().to_owned(), clock()) };
    assert!(matches!(open(wrong).await.err(), Some(StoreError::Key(_))));
    let store = opening(house.folder.path()).await.unwrap();
    let leases = store.claim(crate::house::ask("node-a", 1)).await.unwrap();
    assert!(std::str::from_utf8(&leases[0].bytes).unwrap().contains("Winter-Storm-2026"));
}

#[tokio::test]
async fn a_letter_that_cannot_be_read_is_held_and_does_not_stop_the_others() {
    let house = House::on_sqlite().await;
    let swapped = house.accept_one(house.an_event("e1").secret("one")).await;
    let other = house.accept_one(house.an_event("e2").secret("two")).await;
    let good = house.accept_one(house.an_event("e3")).await;
    let db = rusqlite::Connection::open(house.folder.path().join("tidings.db")).unwrap();
    let sql = "UPDATE letter SET bytes = (SELECT bytes FROM letter WHERE id = ?2) WHERE id = ?1";
    assert_eq!(db.execute(sql, [swapped.number(), other.number()]).unwrap(), 1);
    assert_eq!(crate::house::ids(&house.claim(10).await), [other, good]);
    let row = house.detail(swapped).await.row;
    assert_eq!((row.state.as_str(), row.last_reply.as_deref()), ("held", Some("its letter cannot be decrypted")));
}
