//! A disk that is nearly full, and one that is full.

use crate::house::{House, clock, options, outcome};
use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tempfile::TempDir;
use tidings_core::{
    IdMint,
    directory::{Became, Change, Entry, Head},
    outbox::State,
    subject::ObjectType,
};
use tidings_store::{Database, Filter, Mirror, Record, Settled, Store, StoreError, Tuning, open};

const NEEDED: u64 = 1000;

#[tokio::test]
async fn intake_stops_on_a_nearly_full_disk_and_settling_goes_on() {
    let free = Arc::new(AtomicU64::new(u64::MAX));
    let asked = free.clone();
    let tuning = Tuning { free_space: Some(Arc::new(move |_| Ok(asked.load(Ordering::Relaxed)))), ..Tuning::default() };
    let (house, store) = House::on_disk(tuning, NEEDED).await;
    // The disk fills up before anybody has asked for it, since an answer is believed for a second.
    free.store(NEEDED - 1, Ordering::Relaxed);
    let refused = store.accept(vec![house.an_event("e1").build()]).await;
    assert!(matches!(refused, Err(StoreError::Full { free_bytes: 999, needed_bytes: NEEDED, .. })), "{refused:?}");
    assert!(store.items(Filter::default(), None, 1).await.unwrap().items.is_empty());
    free.store(NEEDED, Ordering::Relaxed);
    let id = house.accept_one(house.an_event("e1")).await;
    free.store(0, Ordering::Relaxed);
    let lease = house.claim(1).await.remove(0);
    assert_eq!(house.settle(outcome(&lease, State::Sent, house.now())).await, Settled::Done);
    assert_eq!(house.state(id).await, State::Sent);
}

#[tokio::test]
async fn a_directory_is_not_fed_on_a_nearly_full_disk() {
    let tuning = Tuning { free_space: Some(Arc::new(|_| Ok(NEEDED - 1))), ..Tuning::default() };
    let (_house, store) = House::on_disk(tuning, NEEDED).await;
    let entry = Entry { head: Head::new(ObjectType::User, "ada"), links: Vec::new(), document: None };
    let differences = store.compare("corp", vec![Change::of(Became::Is(entry.clone()))]).await.unwrap();
    let (directory, bookmark) = ("corp".to_owned(), Some(b"cookie".to_vec()));
    let record = Record { directory, differences, seen: Vec::new(), generation: None, bookmark: bookmark.clone(), acceptances: Vec::new() };
    assert!(matches!(store.record(record).await, Err(StoreError::Full { .. })));
    assert!(matches!(store.load("corp", vec![entry], 0, bookmark).await, Err(StoreError::Full { .. })));
    let standing = store.directory("corp").await.unwrap();
    assert_eq!((standing.objects, standing.bookmark), (0, None));
    // That a source fails can still be noted.
    assert!(store.report_source("corp", Some("no route to host".to_owned()), None).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_what_does_not_fit_and_loses_nothing() {
    let (house, store) = House::on_disk(Tuning { page_limit: Some(400), ..Tuning::default() }, 0).await;
    let mut accepted = Vec::new();
    let mut refusals = 0;
    for n in 0..400 {
        let acceptance = house.an_event(&format!("e{n}")).text(vec![b'x'; 12_000]).build();
        let id = acceptance.items[0].id;
        match store.accept(vec![acceptance]).await {
            Ok(_) => accepted.push(id),
            Err(StoreError::Full { .. }) => refusals += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(accepted.len() > 50 && refusals > 50, "{} accepted, {refusals} refused", accepted.len());
    for id in &accepted {
        assert_eq!(store.letter(*id).await.unwrap().map(|text| text.len()), Some(12_000));
    }
    assert_eq!(store.items(Filter::default(), None, 1000).await.unwrap().items.len(), accepted.len());

    // Intake and delivery side by side on the full disk: what is small is still written, alone if its group is not.
    let leases = house.claim(20).await;
    assert_eq!(leases.len(), 20);
    let mut beside = Vec::new();
    for n in 0..20 {
        let (store, acceptance) = (store.clone(), house.an_event(&format!("f{n}")).text(vec![b'x'; 12_000]).build());
        beside.push(tokio::spawn(async move { store.accept(vec![acceptance]).await }));
    }
    let settled = house.settle(outcome(&leases[0], State::Sent, house.now())).await;
    assert_eq!(settled, Settled::Done);
    for refused in beside {
        assert!(matches!(refused.await.unwrap(), Err(StoreError::Full { .. })));
    }
    assert_eq!(house.state(leases[0].id).await, State::Sent);
}

const FOLDER: &str = "TIDINGS_FULL_FOLDER";

/// Accepts until the disk takes no more, and looks whether everything accepted is there, before and after reopening.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that the tests below start on a small disk"]
async fn the_process_on_a_small_disk() {
    let folder = std::path::PathBuf::from(std::env::var(FOLDER).expect("started by its parent test"));
    let clock = clock();
    let store = open(options(folder.clone(), clock.clone())).await.unwrap();
    let house = House { store, clock, mint: IdMint::starting_after(None, 1), folder: TempDir::new_in("/dev/shm").unwrap() };
    let mut accepted = Vec::new();
    let mut full = 0;
    for n in 0..600 {
        let acceptance = house.an_event(&format!("e{n}")).text(vec![b'x'; 30_000]).build();
        let id = acceptance.items[0].id;
        match house.store.accept(vec![acceptance]).await {
            Ok(_) => accepted.push(id),
            Err(StoreError::Full { .. } | StoreError::Unavailable(_)) => full += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(accepted.len() > 20 && full > 20, "{} accepted, {full} refused", accepted.len());
    let all_there = async |store: &Arc<dyn Database>| {
        for id in &accepted {
            assert_eq!(store.letter(*id).await.unwrap().map(|text| text.len()), Some(30_000));
        }
        assert_eq!(store.items(Filter::default(), None, 1000).await.unwrap().items.len(), accepted.len());
    };
    all_there(&house.store).await;
    drop(house.store);
    all_there(&open(options(folder, house.clock)).await.unwrap()).await;
    println!("all {} accepted letters are there", accepted.len());
}

/// Starts the process above behind a few words of shell.
fn on_a_small_disk(program: &mut Command, shell: &str) {
    let folder = TempDir::new().unwrap();
    let script = format!("{shell} exec \"$0\" disk::the_process_on_a_small_disk --exact --ignored --nocapture");
    let done = program.args(["sh", "-c", &script]).arg(std::env::current_exe().unwrap()).env(FOLDER, folder.path()).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && said.contains("accepted letters are there"), "{said}");
}

/// No file may grow beyond 4 MiB (`ulimit` counts in 512 bytes): every write beyond fails.
#[test]
fn a_disk_that_takes_no_more_loses_nothing() {
    on_a_small_disk(&mut Command::new("env"), "trap '' XFSZ; ulimit -f 8192;");
}

/// A file system of 8 MiB in a mount namespace of its own (ENOSPC). Where the system allows no such namespace, the test above stands alone.
#[test]
fn a_file_system_without_room_loses_nothing() {
    if Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success()) {
        let mount = format!("mount -t tmpfs -o size=8m tidings \"${FOLDER}\" &&");
        on_a_small_disk(Command::new("unshare").arg("-rm"), &mount);
    } else {
        eprintln!("SKIPPED: this system allows no mount namespace");
    }
}
