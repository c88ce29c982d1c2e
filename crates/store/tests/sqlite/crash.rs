//! Killed in the middle of its work: what had been answered as accepted is there.

use crate::house::{House, clock, options};
use futures_util::future::join_all;
use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
};
use tempfile::TempDir;
use tidings_core::{Id, IdMint, outbox::State};
use tidings_store::{Accepted, Filter, open};

const FOLDER: &str = "TIDINGS_CRASH_FOLDER";
const ROUND: &str = "TIDINGS_CRASH_ROUND";

/// Accepts, claims and settles without end, and says what was accepted once it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that `nothing_accepted_is_lost_when_the_process_is_killed` kills"]
async fn the_process_that_is_killed() {
    let folder = PathBuf::from(std::env::var(FOLDER).expect("started by its parent test"));
    let round = std::env::var(ROUND).unwrap();
    let clock = clock();
    let store = open(options(folder, clock.clone())).await.unwrap();
    let highest = store.names().await.unwrap().0;
    let house = House { store, clock, mint: IdMint::starting_after(highest, 1), folder: TempDir::new().unwrap() };
    for n in 0.. {
        let batches = (0..8).map(|k| vec![house.an_event(&format!("r{round}-{n}-{k}")).build()]);
        let accepting = batches.map(|batch| {
            let (store, item) = (Arc::clone(&house.store), batch[0].items[0].id);
            async move {
                assert!(matches!(store.accept(batch).await.unwrap()[0], Accepted::New(_)));
                item
            }
        });
        let items = join_all(accepting).await;
        let mut out = std::io::stdout().lock();
        for item in items {
            writeln!(out, "accepted {item}").unwrap();
        }
        out.flush().unwrap();
        drop(out);
        let leases = house.claim(4).await;
        let settled = leases.iter().map(|lease| crate::house::outcome(lease, State::Sent, house.now())).collect();
        house.store.settle(settled).await.unwrap();
        let mut out = std::io::stdout().lock();
        for lease in leases {
            writeln!(out, "sent {}", lease.id).unwrap();
        }
        out.flush().unwrap();
    }
}

#[tokio::test]
async fn nothing_accepted_is_lost_when_the_process_is_killed() {
    let folder = TempDir::new().unwrap();
    let (mut accepted, mut sent): (Vec<Id>, Vec<Id>) = (Vec::new(), Vec::new());
    for round in 0..5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["crash::the_process_that_is_killed", "--exact", "--ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .env(ROUND, round.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        for line in lines.map_while(Result::ok) {
            // The last line may be cut short by the kill; what is cut is not an answer.
            if let Some(Ok(id)) = line.strip_prefix("accepted ").map(str::parse) {
                accepted.push(id);
            } else if let Some(Ok(id)) = line.strip_prefix("sent ").map(str::parse) {
                sent.push(id);
            } else {
                continue;
            }
            seen += 1;
            if seen == 150 + round * 37 {
                child.kill().unwrap();
            }
        }
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "it was killed, it did not end by itself");

        let store = open(options(folder.path().to_owned(), clock())).await.unwrap();
        for id in &accepted {
            let item = store.item(*id).await.unwrap().unwrap_or_else(|| panic!("{id} was accepted and is gone (round {round})"));
            assert!(store.letter(*id).await.unwrap().is_some());
            assert!(store.event(item.row.event).await.unwrap().is_some());
        }
        for id in &sent {
            assert_eq!(store.item(*id).await.unwrap().unwrap().row.state, State::Sent, "{id} was settled");
        }
        let claimed = Filter { state: Some(State::Claimed), ..Filter::default() };
        let lost = store.items(claimed, None, 100).await.unwrap().items.len();
        assert_eq!(store.recover("node-a").await.unwrap(), lost as u64);
    }
    assert!(accepted.len() > 500 && sent.len() > 100, "{} accepted, {} sent", accepted.len(), sent.len());
}
