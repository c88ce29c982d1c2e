//! The mending of a step of the clock over the end of a process.

use crate::house::{House, hours, ids, options};
use tidings_store::open;

async fn reopened(house: House) -> House {
    let House { store, clock, mint, folder } = house;
    drop(store);
    let store = open(options(folder.path().to_owned(), clock.clone())).await.unwrap();
    House { store, clock, mint, folder }
}

#[tokio::test]
async fn a_clock_set_back_between_two_runs_is_noticed() {
    let house = House::on_sqlite().await;
    house.clock.advance(hours(24));
    let id = house.accept_one(house.an_event("e1")).await;
    house.clock.advance(hours(-24));
    let house = reopened(house).await;
    assert_eq!(ids(&house.claim(10).await), [id]);
    assert_eq!(house.history(id).await, ["accepted", "clock"]);
}

#[tokio::test]
async fn mending_that_was_broken_off_goes_on() {
    let house = House::on_sqlite().await;
    let early = house.accept_one(house.an_event("e1")).await;
    house.clock.advance(hours(24));
    let left = house.accept_one(house.an_event("e2")).await;
    let path = house.folder.path().join("tidings.db");
    house.clock.advance(hours(-24));
    let House { store, clock, mint, folder } = house;
    drop(store);
    // As a process leaves it that was killed between two steps: what is left stands above the mark, and newer items no longer tell of it.
    let db = rusqlite::Connection::open(&path).unwrap();
    let mark = format!("{} {}", early.number(), left.number());
    db.execute("INSERT INTO meta (name, value) VALUES ('clock_mend', CAST(?1 AS BLOB))", [mark]).unwrap();
    db.execute("INSERT INTO item SELECT id + 1, event, letter, kind, relay, lane, role, state, ?2, expires_at, ?2, open_until, attempts, token, node, flags, folded_hash, recipient, folded, span FROM item WHERE id = ?1", [left.number(), clock_ms(&clock)]).unwrap();
    drop(db);
    let store = open(options(folder.path().to_owned(), clock.clone())).await.unwrap();
    let house = House { store, clock, mint, folder };
    let mut due = ids(&house.claim(10).await);
    due.sort_unstable();
    assert_eq!(due, [early, left, tidings_core::Id::from_number(left.number() + 1)]);
    assert_eq!(house.history(left).await, ["accepted", "clock"]);
    let db = rusqlite::Connection::open(&path).unwrap();
    let marks: i64 = db.query_row("SELECT count(*) FROM meta WHERE name = 'clock_mend'", [], |row| row.get(0)).unwrap();
    assert_eq!(marks, 0, "it is done");
}

#[tokio::test]
async fn a_step_leaves_a_mark_before_anything_is_accepted_by_the_new_clock() {
    let house = House::on_sqlite().await;
    house.clock.advance(hours(24));
    let batch = (0..3000).map(|n| house.an_event(&format!("e{n}")).build()).collect();
    house.store.accept(batch).await.unwrap();
    house.clock.advance(hours(-24));
    house.accept(house.an_event("new")).await;
    let house = reopened(house).await;
    let mut claimed = 0;
    let mut arrivals = house.store.arrivals();
    while claimed < 3001 {
        claimed += house.claim(u16::MAX).await.len();
        if claimed < 3001 {
            tokio::time::timeout(std::time::Duration::from_secs(60), arrivals.changed()).await.expect("the rest becomes due").unwrap();
        }
    }
}

fn clock_ms(clock: &tidings_core::testing::FixedClock) -> i64 {
    tidings_core::Clock::now(clock).as_millisecond()
}
