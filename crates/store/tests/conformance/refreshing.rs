//! Loads, refreshes, sweeps and the standing of directories.

use crate::{
    house::{House, hours},
    mirroring::{DIRECTORY, gone, group, is, load, other, record, take, user},
};
use tidings_core::directory::{Entry, LinkRole};
use tidings_store::{Difference, Filter, Record};

async fn unseen(house: &House, generation: i64) -> Vec<String> {
    let (mut after, mut keys) = (None, Vec::new());
    loop {
        let page = house.store.unseen_keys(DIRECTORY, generation, after, 2).await.unwrap();
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        keys.extend(page.into_iter().map(|(_, key)| key));
    }
    let (count, _) = house.store.unseen(DIRECTORY, generation).await.unwrap();
    assert_eq!(count, keys.len() as u64);
    keys
}

async fn members(house: &House, key: &str) -> Vec<String> {
    let group = house.store.object(DIRECTORY, key).await.unwrap().unwrap().id;
    let mut members: Vec<String> = house.store.links(group, LinkRole::Member, None, 100).await.unwrap().links.iter().map(other).collect();
    members.sort();
    members
}

async fn version(house: &House, key: &str) -> i64 {
    house.store.object(DIRECTORY, key).await.unwrap().unwrap().version
}

pub(crate) async fn a_directory_is_made_when_it_is_first_heard_of(house: &House) {
    assert!(house.store.directories().await.unwrap().is_empty());
    let made = house.store.directory(DIRECTORY).await.unwrap();
    assert_eq!((made.name.as_str(), made.objects, made.generation), (DIRECTORY, 0, 0));
    assert_eq!((made.bookmark, made.loaded_at, made.heard_at, made.failed_at), (None, None, None, None));
    house.store.load("another", vec![user("ada")], 0, None).await.unwrap();
    let all = house.store.directories().await.unwrap();
    assert_eq!(all.iter().map(|one| (one.name.as_str(), one.objects)).collect::<Vec<_>>(), [("another", 1), (DIRECTORY, 0)]);
}

pub(crate) async fn a_load_can_be_done_again(house: &House) {
    let generation = house.store.begin_refresh(DIRECTORY).await.unwrap();
    // The group comes before those it names, and one key comes twice.
    let mut first = user("ada");
    first.head.name = Some("Not yet".to_owned());
    let entries = vec![group("staff", &["ada", "eve", "ghost"]), first, user("eve"), user("ada")];
    let bookmark = Some(b"half".to_vec());
    assert_eq!(house.store.load(DIRECTORY, entries.clone(), generation, bookmark.clone()).await.unwrap(), 3);
    let standing = house.store.directory(DIRECTORY).await.unwrap();
    assert_eq!((standing.objects, standing.bookmark, standing.loaded_at), (3, bookmark, None));
    assert_eq!(members(house, "staff").await, ["[cn=ghost]", "ada", "eve"]);
    assert_eq!(house.store.object(DIRECTORY, "ada").await.unwrap().unwrap().head, user("ada").head);
    assert!(
        house.store.compare(DIRECTORY, entries.iter().skip(2).cloned().map(is).collect()).await.unwrap().iter().all(Difference::is_empty)
    );

    // It was broken off, and begins anew; meanwhile things have changed.
    house.clock.advance(hours(1));
    let generation = house.store.begin_refresh(DIRECTORY).await.unwrap();
    let mut staff = group("staff", &["ada", "linus"]);
    staff.document = Some(b"form".to_vec());
    assert_eq!(house.store.load(DIRECTORY, vec![user("ada"), staff.clone()], generation, None).await.unwrap(), 0);
    assert_eq!(house.store.load(DIRECTORY, vec![staff, user("linus")], generation, None).await.unwrap(), 1);
    assert_eq!(members(house, "staff").await, ["ada", "linus"]);
    assert_eq!((version(house, "ada").await, version(house, "staff").await), (1, 2), "what is as it was stays as it was");
    assert_eq!(unseen(house, generation).await, ["eve"]);
    take(house, vec![gone("eve")]).await;
    house.store.end_refresh(DIRECTORY, Some(b"whole".to_vec())).await.unwrap();
    let standing = house.store.directory(DIRECTORY).await.unwrap();
    assert_eq!((standing.objects, standing.bookmark.as_deref(), standing.loaded_at), (3, Some(b"whole".as_slice()), Some(house.now())));
    house.clock.advance(hours(1));
    house.store.end_refresh(DIRECTORY, None).await.unwrap();
    let later = house.store.directory(DIRECTORY).await.unwrap();
    assert_eq!((later.loaded_at, later.bookmark), (standing.loaded_at, standing.bookmark), "the first load is complete once");
}

pub(crate) async fn a_load_larger_than_a_transaction_is_whole(house: &House) {
    let keys: Vec<String> = (0..12_000).map(|n| format!("u{n}")).collect();
    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut entries = vec![group("all", &names)];
    entries.extend(keys.iter().map(|key| user(key)));
    assert_eq!(load(house, entries).await, 12_001);
    let standing = house.store.directory(DIRECTORY).await.unwrap();
    assert_eq!(standing.objects, 12_001);
    let all = house.store.object(DIRECTORY, "all").await.unwrap().unwrap().id;
    let (mut after, mut count, mut pages) = (None, 0, 0);
    loop {
        let page = house.store.members(all, tidings_store::Walk::Nested, after, 5000).await.unwrap();
        count += page.objects.len();
        pages += 1;
        let Some(next) = page.next else { break };
        after = Some(next);
    }
    assert_eq!((count, pages), (12_000, 3));
    let same = house.store.compare(DIRECTORY, vec![is(group("all", &names))]).await.unwrap();
    assert!(same[0].is_empty());
    let one_less = house.store.compare(DIRECTORY, vec![is(group("all", &names[1..]))]).await.unwrap();
    assert_eq!(one_less[0].removed.iter().map(other).collect::<Vec<_>>(), ["u0"]);
}

pub(crate) async fn a_refresh_finds_what_was_not_seen(house: &House) {
    load(house, ["a", "b", "c", "d", "e"].map(user).into()).await;
    let generation = house.store.begin_refresh(DIRECTORY).await.unwrap();
    assert_eq!(generation, 1);
    let generation = house.store.begin_refresh(DIRECTORY).await.unwrap();
    assert_eq!((generation, house.store.directory(DIRECTORY).await.unwrap().generation), (2, 2));
    assert_eq!(house.store.unseen(DIRECTORY, generation).await.unwrap(), (5, 5));
    let differences = house.store.compare(DIRECTORY, vec![is(user("b")), is(user("new"))]).await.unwrap();
    let seen = vec!["d".to_owned(), "unheard-of".to_owned()];
    house.store.record(Record { seen, generation: Some(generation), ..record(differences) }).await.unwrap();
    assert_eq!(unseen(house, generation).await, ["a", "c", "e"]);
    // What is told beside the refresh was seen as well.
    let mut changed = user("c");
    changed.head.enabled = false;
    take(house, vec![is(changed), is(user("f"))]).await;
    assert_eq!(unseen(house, generation).await, ["a", "e"]);
    take(house, vec![gone("a"), gone("e")]).await;
    assert_eq!(house.store.unseen(DIRECTORY, generation).await.unwrap(), (0, 5));
    assert_eq!(house.store.unseen("unheard-of", 1).await.unwrap(), (0, 0));
}

pub(crate) async fn a_source_fails_and_works_again_once_each(house: &House) {
    let event = |name: &str| Some(house.an_event(name).build());
    let report = async |failure: Option<&str>, news| house.store.report_source(DIRECTORY, failure.map(str::to_owned), news).await.unwrap();
    assert!(!report(None, event("works-first")).await, "that it works is no news");
    let since = house.now();
    assert!(report(Some("no route to host"), event("failed")).await);
    house.clock.advance(hours(1));
    assert!(!report(Some("connection refused"), event("failed-again")).await);
    let standing = house.store.directory(DIRECTORY).await.unwrap();
    assert_eq!(
        (standing.failed_at, standing.failure.as_deref(), standing.heard_at),
        (Some(since), Some("connection refused"), Some(since))
    );
    assert!(report(None, event("works")).await);
    assert!(!report(None, None).await);
    let standing = house.store.directory(DIRECTORY).await.unwrap();
    assert_eq!((standing.failed_at, standing.failure, standing.heard_at), (None, None, Some(house.now())));
    let page = house.store.items(Filter::default(), None, 10).await.unwrap();
    let mut told = Vec::new();
    for item in page.items {
        told.push(house.store.event(item.event).await.unwrap().unwrap().event_id);
    }
    assert_eq!(told, ["works", "failed"]);
}

pub(crate) async fn directories_do_not_know_each_other(house: &House) {
    load(house, vec![user("ada"), group("staff", &["ada", "eve"])]).await;
    let entries: Vec<Entry> = vec![user("eve"), group("staff", &["ada"])];
    house.store.load("elsewhere", entries, 1, None).await.unwrap();
    assert_eq!(members(house, "staff").await, ["[cn=eve]", "ada"]);
    take(house, vec![gone("staff"), gone("ada")]).await;
    assert_eq!(house.store.directory("elsewhere").await.unwrap().objects, 2);
    let theirs = house.store.object("elsewhere", "staff").await.unwrap().unwrap();
    assert_eq!(
        house.store.links(theirs.id, LinkRole::Member, None, 9).await.unwrap().links.iter().map(other).collect::<Vec<_>>(),
        ["[cn=ada]"]
    );
}
