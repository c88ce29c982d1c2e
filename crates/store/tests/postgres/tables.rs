//! What stands in which table.

use crate::house::{House, LEASE, a_server, clock, outcome};
use std::sync::Arc;
use tidings_core::outbox::State;
use tidings_store::Settled;
use tidings_testkit::postgres::Postgres;

async fn sql(server: &Arc<Postgres>, sql: &'static str) -> String {
    let server = Arc::clone(server);
    tokio::task::spawn_blocking(move || server.sql("house", sql)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_ended_leaves_the_hot_table_and_its_history_goes_to_its_week() {
    let server = a_server().await;
    let house = House::on_postgres(&server, "house").await;
    for n in 0..5 {
        house.accept(house.an_event(&format!("e{n}"))).await;
    }
    assert_eq!(sql(&server, "SELECT count(*), count(state) FROM open_item").await, "5|5");
    for (lease, state) in house.claim(4).await.iter().zip([State::Sent, State::Sent, State::Failed, State::Waiting]) {
        house.settle(outcome(lease, state, house.now())).await;
    }
    assert_eq!(sql(&server, "SELECT count(*) FROM open_item").await, "2");
    assert_eq!(sql(&server, "SELECT count(*) FROM trouble").await, "1");
    assert_eq!(sql(&server, "SELECT count(*) FROM history").await, "4");
    assert_eq!(sql(&server, "SELECT count(*) FROM history_other").await, "0", "it found its partition");
    assert!(sql(&server, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'history'::regclass").await.parse::<u32>().unwrap() >= 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_can_be_read_from_a_table() {
    let server = a_server().await;
    let house = House::on_postgres(&server, "house").await;
    house.accept(house.an_event("e1").secret("Winter-Storm-2026")).await;
    let shown = sql(
        &server,
        "SELECT string_agg(encode(bytes, 'escape'), '') FROM letter; SELECT string_agg(encode(sealed, 'escape'), '') FROM event_secret",
    )
    .await;
    assert!(!shown.is_empty() && !shown.contains("Winter"), "{shown}");
}

/// A due item is found by the index, whatever else waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_goes_by_the_index_of_what_is_due() {
    let server = a_server().await;
    let house = House::on_postgres(&server, "house").await;
    house.store.accept((0..2000).map(|n| house.an_event(&format!("e{n}")).build()).collect()).await.unwrap();
    let plan = sql(
        &server,
        "ANALYZE open_item; EXPLAIN SELECT o.id FROM open_item o WHERE o.relay = 1 AND o.lane = 2 AND o.state IN (1, 2) AND o.due_at <= 9000000000000
         ORDER BY o.due_at, o.id LIMIT 10 FOR UPDATE SKIP LOCKED",
    )
    .await;
    assert!(plan.contains("Index Scan using open_item_due") && !plan.contains("Sort"), "{plan}");
}

/// A table whose dead rows cannot be taken away, and that the server knows to have few live ones: it believes a look at any key to be as dear as a walk over the index of due work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_named_by_its_key_is_found_by_it_however_many_dead_rows_there_are() {
    let server = a_server().await;
    let house = House::on_postgres(&server, "house").await;
    house.accept(house.an_event("e0")).await;
    drop(house);
    sql(
        &server,
        "ALTER TABLE open_item SET (autovacuum_enabled = off);
         INSERT INTO open_item SELECT n, n, 9000000000000, n, 1, 99, NULL, 0, 100, 2, n % 8 / 7, 0 FROM generate_series(1, 200000) AS n;
         DELETE FROM open_item WHERE relay = 99;
         ANALYZE open_item",
    )
    .await;
    let house = House::node(&server, "house", 2, clock()).await;
    for n in 1..=20 {
        house.accept(house.an_event(&format!("e{n}"))).await;
    }
    let leases = house.claim(20).await;
    let held = house.store.extend("node-a", &leases.iter().map(|lease| (lease.id, lease.token)).collect::<Vec<_>>(), LEASE).await.unwrap();
    assert_eq!((leases.len(), held), (20, vec![]));
    for (place, lease) in leases.iter().enumerate() {
        let state = if place % 2 == 0 { State::Sent } else { State::Waiting };
        assert_eq!(house.settle(outcome(lease, state, house.now())).await, Settled::Done);
    }
    drop(house);
    // A connection tells what it has read when it ends.
    let told = Arc::clone(&server);
    let ended = move || {
        tidings_testkit::wait::until("the connections to end", LEASE, || {
            (told.sql("house", "SELECT count(*) FROM pg_stat_activity WHERE datname = 'house' AND pid <> pg_backend_pid()") == "0")
                .then_some(())
        });
    };
    tokio::task::spawn_blocking(ended).await.unwrap();
    let read = "SELECT string_agg(idx_tup_read::text, ' ' ORDER BY indexrelname) FROM pg_stat_user_indexes WHERE relname = 'open_item' AND indexrelname <> 'open_item_pkey'";
    let read = sql(&server, read).await;
    let (due, expiry) = read.split_once(' ').unwrap();
    assert!((20..1000).contains(&due.parse::<u64>().unwrap()), "{due} entries of the index of due work were read");
    assert_eq!(expiry, "0", "nothing was to expire");
}

/// Callers go away at any moment, as HTTP clients do: what they leave behind is rolled back before anybody else gets their connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_go_away_leave_no_transaction_behind() {
    let server = a_server().await;
    let house = House::on_postgres(&server, "house").await;
    house.accept(house.an_event("e1")).await;
    for micros in (0..3000).step_by(10) {
        let call = house.store.pause_relay("main", micros % 20 == 0, "ada");
        drop(tokio::time::timeout(std::time::Duration::from_micros(micros), call).await);
    }
    for n in 0..40 {
        house.store.write_slate(&format!("relay:{n}"), 0, "kept").await.unwrap();
    }
    assert_eq!(sql(&server, "SELECT count(*) FROM slate WHERE name LIKE 'relay:%'").await, "40", "each is on disk once it is answered");
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'house' AND state LIKE 'idle in transaction%'";
    let watched = Arc::clone(&server);
    let closed = move || {
        tidings_testkit::wait::until("transactions to end", crate::house::LEASE, || (watched.sql("house", open) == "0").then_some(()));
    };
    tokio::task::spawn_blocking(closed).await.unwrap();
}
