//! Several nodes at work on one database.

use crate::house::{House, a_server, ask, clock, hours, ids, outcome, seconds};
use futures_util::future::join_all;
use std::{collections::HashSet, sync::Arc, time::Duration};
use tidings_core::outbox::State;
use tidings_store::{Accepted, BatchState, Settled};
use tidings_testkit::postgres::Postgres;

/// Two nodes with one clock.
async fn two_nodes() -> (Arc<Postgres>, House, House) {
    let server = a_server().await;
    let one = House::on_postgres(&server, "house").await;
    let other = House::node(&server, "house", 2, Arc::clone(&one.clock)).await;
    (server, one, other)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_are_told_the_same_event_make_one() {
    let (_server, one, other) = two_nodes().await;
    for round in 0..20 {
        let names: Vec<String> = (0..8).map(|n| format!("race-{round}-{n}")).collect();
        // Each node brings them in an order of its own: they must not wait for each other crosswise.
        let batch = |house: &House, turned: bool| {
            let mut batch: Vec<_> = names.iter().map(|name| house.an_event(name).build()).collect();
            if turned {
                batch.reverse();
            }
            batch
        };
        let (first, second) = tokio::join!(one.store.accept(batch(&one, false)), other.store.accept(batch(&other, true)));
        let (first, mut second) = (first.unwrap(), second.unwrap());
        second.reverse();
        for pair in first.into_iter().zip(second) {
            let ((Accepted::New(id), Accepted::Duplicate(known)) | (Accepted::Duplicate(known), Accepted::New(id))) = pair else {
                panic!("one of them is the first: {pair:?}");
            };
            assert_eq!(id, known, "both name the first");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_never_share_an_item() {
    let (_server, one, other) = two_nodes().await;
    one.store.accept((0..600).map(|n| one.an_event(&format!("e{n}")).build()).collect()).await.unwrap();
    let claimers = (0..8).map(|n| {
        let store = Arc::clone(if n % 2 == 0 { &one.store } else { &other.store });
        let now = one.now();
        tokio::spawn(async move {
            let mut mine = Vec::new();
            loop {
                let leases = store.claim(ask(&format!("node-{n}"), 7)).await.unwrap();
                if leases.is_empty() {
                    return mine;
                }
                mine.extend(ids(&leases));
                let settled = store.settle(leases.iter().map(|lease| outcome(lease, State::Sent, now)).collect()).await.unwrap();
                assert!(settled.into_iter().all(|settled| settled == Settled::Done));
            }
        })
    });
    let all: Vec<_> = join_all(claimers).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!((all.len(), all.iter().collect::<HashSet<_>>().len()), (600, 600));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_accepts_wakes_the_other() {
    let (_server, one, other) = two_nodes().await;
    let mut arrivals = other.store.arrivals();
    // A node may still be about to listen: what it does not hear at first it hears later.
    let heard = async {
        for n in 0.. {
            arrivals.mark_unchanged();
            one.accept(one.an_event(&format!("e{n}"))).await;
            if let Ok(heard) = tokio::time::timeout(Duration::from_millis(500), arrivals.changed()).await {
                return heard.unwrap();
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), heard).await.expect("the other node hears of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hears_of_work_before_that_which_it_knows_takes_it_at_once() {
    let (server, one, _) = two_nodes().await;
    let other = House::node(&server, "house", 3, clock()).await;
    other.clock.advance(seconds(10));
    other.accept(other.an_event("later")).await;
    assert_eq!(other.claim(1).await.len(), 1);
    let mut arrivals = other.store.arrivals();
    let heard = async {
        for n in 0.. {
            arrivals.mark_unchanged();
            one.accept(one.an_event(&format!("e{n}"))).await;
            if tokio::time::timeout(Duration::from_millis(500), arrivals.changed()).await.is_ok() {
                return n + 1;
            }
        }
        unreachable!("the numbers do not end")
    };
    let accepted = tokio::time::timeout(Duration::from_secs(60), heard).await.expect("the other node hears of it");
    assert_eq!(other.claim(100).await.len(), accepted, "all that was accepted earlier than what it had taken last");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_due_and_nobody_told_of_is_found_a_little_later() {
    let (server, one, _) = two_nodes().await;
    one.accept(one.an_event("now")).await;
    let shortly = one.accept_one(one.an_event("shortly before").due_in(hours(1))).await;
    let long = one.accept_one(one.an_event("long before").due_in(hours(2))).await;
    assert_eq!(one.claim(10).await.len(), 1);
    // As if it had been written by somebody who ended before he could ring.
    let sql = "UPDATE open_item SET due_at = CASE WHEN due_at = (SELECT max(due_at) FROM open_item) THEN due_at - 10800000 ELSE due_at - 3605000 END
        WHERE state = 1 RETURNING 1";
    let sql = format!("WITH moved AS ({sql}) SELECT count(*) FROM moved");
    let told = Arc::clone(&server);
    assert_eq!(tokio::task::spawn_blocking(move || told.sql("house", &sql)).await.unwrap(), "2");
    let mut found = HashSet::new();
    let all_found = async {
        while found.len() < 2 {
            found.extend(ids(&one.claim(10).await));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), all_found).await.expect("it is found");
    assert_eq!(found, HashSet::from([shortly, long]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_copies_that_end_on_two_nodes_at_once_take_their_secrets_with_them() {
    let (server, one, other) = two_nodes().await;
    for round in 0..25 {
        let secret = one.an_event(&format!("e{round}")).to(&["ada@example.org", "grace@example.org"]).secret("Winter-2026");
        one.accept(secret).await;
        let leases = one.claim(2).await;
        let settle = |house: &House, place: usize| {
            let (store, settlement) = (Arc::clone(&house.store), outcome(&leases[place], State::Sent, one.now()));
            async move { store.settle(vec![settlement]).await.unwrap() }
        };
        let (first, second) = tokio::join!(settle(&one, 0), settle(&other, 1));
        assert_eq!((first, second), (vec![Settled::Done], vec![Settled::Done]));
    }
    let left = tokio::task::spawn_blocking(move || {
        server.sql("house", "SELECT (SELECT count(*) FROM letter WHERE bytes IS NOT NULL), (SELECT count(*) FROM event_secret)")
    });
    assert_eq!(left.await.unwrap(), "0|0", "neither of them leaves it to the other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_on_two_nodes_at_once_are_one_batch() {
    let (_server, one, other) = two_nodes().await;
    let floods = (0..12).map(|n| {
        let house = if n % 2 == 0 { &one } else { &other };
        let (store, flood) = (Arc::clone(&house.store), house.an_event(&format!("e{n}")).guard(0, 3).build());
        tokio::spawn(async move { store.accept(vec![flood]).await.unwrap() })
    });
    join_all(floods).await.into_iter().for_each(|done| drop(done.unwrap()));
    // What is told at one and the same moment is not seen by one another; the next one sees all.
    one.accept(one.an_event("last").guard(0, 3)).await;
    let batches = one.store.batches(Some(BatchState::Held), false, 10).await.unwrap();
    assert_eq!(batches.len(), 1, "{batches:?}");
    let free = one.claim(100).await.len();
    let held = usize::try_from(batches[0].people).unwrap();
    assert_eq!(free + held, 13);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_open_an_empty_database_at_once_agree() {
    let server = a_server().await;
    let maker = Arc::clone(&server);
    tokio::task::spawn_blocking(move || maker.create("empty", None)).await.unwrap();
    let nodes = join_all((1..=4).map(|number| House::node(&server, "empty", number, clock()))).await;
    let mut names = HashSet::new();
    for node in &nodes {
        names.insert(node.store.names().await.unwrap().1);
    }
    assert_eq!(names.len(), 1, "one installation");
}
