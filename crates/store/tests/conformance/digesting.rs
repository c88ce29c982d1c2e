//! A batch of the guard that is thinned to digests, and ends that are broken off.

use crate::house::{House, only};
use tidings_core::{Id, outbox::State};
use tidings_store::{Accepted, Acted, Action, BatchRow, BatchState, Digest, FanOutOrder, FanOutStep, GuardTerms};

const ADA: &str = "ada@example.org";
const GRACE: &str = "grace@example.org";
const LINUS: &str = "linus@example.org";

const DIGESTED: Acted = Acted { changed: 0, skipped: 0 };

/// An event to each of these that is one too many, with its items.
async fn a_batch(house: &House, name: &str, to: &[&str]) -> (Id, Vec<Id>) {
    let items = house.accept(house.an_event(name).to(to).guard(1, 0)).await;
    let batch = house.store.batches(Some(BatchState::Held), false, 1).await.unwrap().remove(0);
    (batch.id, items)
}

fn a_digest(house: &House, name: &str, to: &str, items: &[Id]) -> Digest {
    Digest { acceptance: house.an_event(name).kind("digest").to(&[to]).build(), items: items.to_vec() }
}

async fn write(house: &House, batch: Id, digest: Digest) -> Option<Accepted> {
    house.store.digest(batch, vec![digest], "ada").await.unwrap().remove(0)
}

async fn batch(house: &House, id: Id) -> BatchRow {
    house.store.batch(id).await.unwrap().unwrap()
}

async fn end(house: &House, id: Id) -> Option<Acted> {
    house.store.end_batch(id, BatchState::Digested, "ada").await.unwrap()
}

pub(crate) async fn a_digest_takes_the_place_of_what_it_names(house: &House) {
    let (id, items) = a_batch(house, "e1", &[ADA, GRACE, LINUS]).await;
    let mut arrivals = house.store.arrivals();
    arrivals.mark_unchanged();
    let (one, other) = (a_digest(house, "d1", ADA, &items[..1]), a_digest(house, "d2", GRACE, &items[1..]));
    let names = [one.acceptance.id, other.acceptance.id];
    let digests = [one.acceptance.items[0].id, other.acceptance.items[0].id];
    let written = house.store.digest(id, vec![one, other], "ada").await.unwrap();
    assert_eq!(written, names.map(|name| Some(Accepted::New(name))));
    assert!(arrivals.has_changed().unwrap());
    for item in &items {
        let detail = house.detail(*item).await;
        let line = detail.history.last().unwrap();
        assert_eq!((detail.row.state, line.what.as_str(), line.by.as_deref()), (State::Cancelled, "digest", Some("ada")));
    }
    assert!(house.store.batch_items(id, None, 10).await.unwrap().is_empty());
    assert_eq!(batch(house, id).await.state, BatchState::Held, "its end is another step");
    assert_eq!(end(house, id).await, Some(DIGESTED));
    let ended = batch(house, id).await;
    assert_eq!((ended.state, ended.ended_by.as_deref(), ended.people), (BatchState::Digested, Some("ada"), 3));
    assert_eq!(end(house, id).await, Some(DIGESTED), "done again it finds nothing to do");
    assert_eq!(house.claim(10).await.iter().map(|lease| lease.id).collect::<Vec<_>>(), digests);
}

pub(crate) async fn what_joins_while_digests_are_written_stays(house: &House) {
    let (id, items) = a_batch(house, "e1", &[ADA, GRACE]).await;
    assert!(write(house, id, a_digest(house, "d1", ADA, &items)).await.is_some());
    let (same, late) = a_batch(house, "e2", &[ADA, LINUS]).await;
    assert_eq!(same, id, "the next large event of the rule joins");
    assert_eq!(end(house, id).await, Some(Acted { changed: 0, skipped: 2 }), "two that no digest names");
    assert_eq!(batch(house, id).await.state, BatchState::Held);
    assert_eq!((house.state(late[0]).await, house.state(late[1]).await), (State::Held, State::Held));
    assert_eq!(house.history(late[0]).await, ["accepted", "withheld"]);
    assert!(write(house, id, a_digest(house, "d2", ADA, &late)).await.is_some());
    assert_eq!(end(house, id).await, Some(DIGESTED));
    assert_eq!(house.store.end_batch(house.id(), BatchState::Digested, "ada").await.unwrap(), None);
}

pub(crate) async fn a_digest_of_what_is_no_longer_held_is_not_written(house: &House) {
    let (id, items) = a_batch(house, "e1", &[ADA, GRACE, LINUS]).await;
    house.store.act(Action::Release, only(items[0]), "grace").await.unwrap();
    assert_eq!(write(house, id, a_digest(house, "d1", ADA, &items[..2])).await, None);
    assert_eq!(house.state(items[1]).await, State::Held, "nor is the rest of it cancelled");
    assert_eq!(house.store.event_named("hr", "d1").await.unwrap(), None);
    let (other, stranger) = (house.id(), house.accept_one(house.an_event("e2").held("by a test")).await);
    assert_eq!(write(house, id, a_digest(house, "d2", ADA, &[stranger])).await, None, "held, and not in the batch");
    assert_eq!(write(house, other, a_digest(house, "d3", ADA, &items[1..])).await, None, "there is no such batch");
    assert_eq!(write(house, id, a_digest(house, "d4", ADA, &[])).await, None, "it stands for nothing");
    // Two that name the same item: the first one stands.
    let twice = vec![a_digest(house, "d5", ADA, &items[1..]), a_digest(house, "d6", LINUS, &items[2..])];
    let written = house.store.digest(id, twice, "ada").await.unwrap();
    assert_eq!(written.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false]);
    house.store.end_batch(id, BatchState::Released, "ada").await.unwrap().unwrap();
    assert_eq!(write(house, id, a_digest(house, "d7", ADA, &items[1..])).await, None, "the batch has ended");
    assert_eq!(end(house, id).await, None);
}

pub(crate) async fn a_digest_that_fails_cancels_nothing(house: &House) {
    let (id, items) = a_batch(house, "e1", &[ADA, GRACE]).await;
    let mut digest = a_digest(house, "d1", ADA, &items);
    // The name of its item is taken.
    digest.acceptance.items[0].id = items[0];
    assert!(house.store.digest(id, vec![digest], "ada").await.is_err());
    assert_eq!((house.state(items[0]).await, house.state(items[1]).await), (State::Held, State::Held));
    assert_eq!(house.store.event_named("hr", "d1").await.unwrap(), None);
    assert!(write(house, id, a_digest(house, "d1", ADA, &items)).await.is_some());
}

pub(crate) async fn a_batch_that_a_crowd_is_told_into_is_not_digested_yet(house: &House) {
    let order = FanOutOrder { id: house.id(), rule: "members".to_owned(), plan: Vec::new(), data: None, parts: Vec::new() };
    let fan_out = order.id;
    house.accept(house.an_event("e1").to(&[]).crowd(order)).await;
    let step = |steps, guard: Option<(GuardTerms, u64)>, to: &[&str]| {
        let chunk = house.an_event("").to(to).build();
        let (id, ended) = (fan_out, guard.is_none());
        FanOutStep { id, steps, cursor: None, ended, letters: chunk.letters, items: chunk.items, passed: 0, guard }
    };
    house.store.fan_on(step(0, Some((house.terms(1, 0), 2)), &[ADA])).await.unwrap().unwrap();
    let id = house.store.batches(None, false, 1).await.unwrap()[0].id;
    let held = house.store.batch_items(id, None, 10).await.unwrap();
    assert!(write(house, id, a_digest(house, "d1", ADA, &[held[0].id])).await.is_some());
    assert_eq!(end(house, id).await, Some(Acted { changed: 0, skipped: 1 }), "somebody of the crowd is still to come");
    house.store.fan_on(step(1, None, &[GRACE])).await.unwrap().unwrap();
    let held = house.store.batch_items(id, None, 10).await.unwrap();
    assert_eq!(held.iter().map(|item| item.to.as_str()).collect::<Vec<_>>(), [GRACE]);
    assert!(write(house, id, a_digest(house, "d2", GRACE, &[held[0].id])).await.is_some());
    assert_eq!(end(house, id).await, Some(DIGESTED));
}

pub(crate) async fn of_many_who_digest_one_item_one_does(house: &House) {
    let (id, items) = a_batch(house, "e1", &[ADA, GRACE]).await;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let (store, digest) = (house.store.clone(), a_digest(house, &format!("d{caller}"), ADA, &items));
        callers.spawn(async move { store.digest(id, vec![digest], "ada").await.unwrap().remove(0) });
    }
    let mut written = 0;
    while let Some(done) = callers.join_next().await {
        written += u32::from(done.unwrap().is_some());
    }
    assert_eq!((written, house.claim(10).await.len()), (1, 1));
}

pub(crate) async fn an_end_that_was_broken_off_is_known_and_finished(house: &House) {
    let many: Vec<_> = (0..5001).map(|number| house.an_event(&format!("e{number}")).guard(0, 1).build()).collect();
    house.store.accept(many).await.unwrap();
    let id = house.store.batches(Some(BatchState::Held), false, 1).await.unwrap()[0].id;
    assert!(house.store.broken_off(10).await.unwrap().is_empty(), "what is held was not broken off");
    // Whoever releases it goes away in the middle.
    tokio::select! {
        biased;
        _ = house.store.end_batch(id, BatchState::Released, "ada") => {}
        () = tokio::task::yield_now() => {}
    }
    house.store.ready().await.unwrap();
    let state = batch(house, id).await.state;
    let waiting = house.claim(u16::MAX).await.len();
    let broken_off = house.store.broken_off(10).await.unwrap();
    match (state, broken_off.first()) {
        // A database that writes the whole end at once has written all of it or nothing.
        (BatchState::Held, None) => assert_eq!(waiting, 0),
        (BatchState::Released, None) => assert_eq!(waiting, 5001),
        (BatchState::Released, Some(row)) => {
            assert_eq!((row.id, row.ended_by.as_deref(), row.state), (id, Some("ada"), BatchState::Released));
            assert!(waiting < 5001);
        }
        other => panic!("{other:?}"),
    }
    let acted = house.store.end_batch(id, BatchState::Released, "ada").await.unwrap().unwrap();
    assert_eq!(acted.changed, 5001 - waiting as u64);
    assert_eq!(house.claim(u16::MAX).await.len(), 5001 - waiting);
    assert!(house.store.broken_off(10).await.unwrap().is_empty());
}
