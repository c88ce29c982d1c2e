//! Items by recipient, over many spans and from before there were spans.

use crate::house::{House, clock, options};
use std::{path::Path, sync::Arc};
use tidings_core::{Id, outbox::State};
use tidings_store::{Acted, Action, Database, Filter, SqliteStore, Tuning};

const ADA: &str = "ada@example.org";

fn to(address: &str) -> Filter {
    Filter { to: Some(address.to_owned()), ..Filter::default() }
}

async fn paged(store: &Arc<dyn Database>, filter: &Filter, limit: u16) -> Vec<Id> {
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = store.items(filter.clone(), before, limit).await.unwrap();
        assert!(page.items.len() <= usize::from(limit));
        seen.extend(page.items.iter().map(|item| item.id));
        before = page.next;
        if before.is_none() {
            return seen;
        }
    }
}

fn database(house: &House) -> rusqlite::Connection {
    rusqlite::Connection::open(house.folder.path().join("tidings.db")).unwrap()
}

fn spans(house: &House) -> Vec<(i64, i64)> {
    let db = database(house);
    let mut counted = db.prepare("SELECT span, count(*) FROM item GROUP BY span ORDER BY span").unwrap();
    counted.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn a_recipient_is_found_in_every_span_in_the_order_of_ids() {
    let (house, _) = House::on_disk(Tuning { span_items: Some(3), ..Tuning::default() }, 0).await;
    let (mut ada, mut early) = (Vec::new(), Vec::new());
    for n in 0..40 {
        // Every fifth has its id long before its place, as one that a busy house has kept waiting.
        let acceptance = house.an_event(&format!("e{n}")).to(&[if n % 4 == 3 { "grace@example.org" } else { ADA }]).build();
        if n % 4 != 3 {
            ada.push(acceptance.items[0].id);
        }
        if n % 5 == 0 {
            early.push(acceptance);
        } else {
            house.store.accept(vec![acceptance]).await.unwrap();
        }
    }
    house.store.accept(early).await.unwrap();
    assert_eq!(spans(&house).len(), 14, "40 items in threes");
    ada.sort_unstable();
    let newest_first: Vec<Id> = ada.iter().rev().copied().collect();
    for limit in [1, 3, 7, 100] {
        assert_eq!(paged(&house.store, &to("Ada@Example.org"), limit).await, newest_first, "in pages of {limit}");
    }
    let held = Filter { state: Some(State::Held), ..to(ADA) };
    assert_eq!(house.store.act(Action::Hold, to(ADA), "ada").await.unwrap(), Acted { changed: 30, skipped: 0 });
    assert_eq!(paged(&house.store, &held, 4).await, newest_first);
    assert_eq!(paged(&house.store, &to("grace@example.org"), 4).await.len(), 10);
}

#[tokio::test]
async fn a_span_is_filled_up_after_reopening() {
    let (house, store) = House::on_disk(Tuning { span_items: Some(4), ..Tuning::default() }, 0).await;
    for n in 0..6 {
        house.accept(house.an_event(&format!("e{n}"))).await;
    }
    assert_eq!(spans(&house), [(0, 4), (1, 2)]);
    let House { store: same, clock, mint, folder } = house;
    drop((store, same));
    let options = options(folder.path().to_owned(), clock.clone());
    let store = SqliteStore::open(options, Tuning { span_items: Some(4), ..Tuning::default() }).await.unwrap();
    let house = House { store, clock, mint, folder };
    for n in 6..13 {
        house.accept(house.an_event(&format!("e{n}"))).await;
    }
    assert_eq!(spans(&house), [(0, 4), (1, 4), (2, 4), (3, 1)]);
}

/// Puts the rows of a database into one as the third step of the schema left it, whatever steps have come since.
fn back_to_schema_3(path: &Path) {
    let newer = path.with_extension("newer");
    std::fs::rename(path, &newer).unwrap();
    let db = rusqlite::Connection::open(path).unwrap();
    for step in [
        include_str!("../../src/sqlite/migrations/0001_outbox.sql"),
        include_str!("../../src/sqlite/migrations/0002_patterns.sql"),
        include_str!("../../src/sqlite/migrations/0003_history_next.sql"),
    ] {
        db.execute_batch(step).unwrap();
    }
    db.execute("ATTACH ?1 AS newer", [newer.to_str().unwrap()]).unwrap();
    let application: i64 = db.query_row("PRAGMA newer.application_id", [], |row| row.get(0)).unwrap();
    db.execute_batch(&format!("PRAGMA main.application_id = {application}; PRAGMA main.user_version = 3;")).unwrap();
    let texts = |sql: &str| -> Vec<String> {
        let mut found = db.prepare(sql).unwrap();
        let texts = found.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>();
        texts.unwrap()
    };
    for table in texts("SELECT name FROM main.sqlite_schema WHERE type = 'table'") {
        let columns = texts(&format!("SELECT name FROM pragma_table_info('{table}', 'main')")).join(", ");
        db.execute_batch(&format!("INSERT INTO main.{table} ({columns}) SELECT {columns} FROM newer.{table}")).unwrap();
    }
    db.execute("INSERT INTO main.meta (name, value) VALUES ('account:main', ?1)", [&b"{\"at\":7}"[..]]).unwrap();
}

#[tokio::test]
async fn a_database_without_spans_is_brought_up_to_date() {
    let house = House::on_sqlite().await;
    let mut all = Vec::new();
    for n in 0..5 {
        all.push(house.accept_one(house.an_event(&format!("old{n}"))).await);
    }
    let House { store, clock: _, mint, folder } = house;
    drop(store);
    back_to_schema_3(&folder.path().join("tidings.db"));
    let clock = clock();
    let options = options(folder.path().to_owned(), clock.clone());
    let store = SqliteStore::open(options, Tuning { span_items: Some(2), ..Tuning::default() }).await.unwrap();
    let house = House { store, clock, mint, folder };
    for n in 0..3 {
        all.push(house.accept_one(house.an_event(&format!("new{n}"))).await);
    }
    all.reverse();
    assert_eq!(spans(&house), [(0, 5), (1, 2), (2, 1)], "what was there is one span, and that is full");
    assert_eq!(paged(&house.store, &to(ADA), 2).await, all);
    let kept = house.store.slate("relay:main").await.unwrap();
    assert_eq!((kept.version, kept.text.as_str()), (1, "{\"at\":7}"), "what was kept of the relay's limits is on its slate now");
}
