//! The flood guard: what it counts, what it holds, and how a batch ends.

use crate::house::{Draft, House, hours, ids, only, outcome, seconds};
use std::collections::HashSet;
use tidings_core::{Id, outbox::State};
use tidings_store::{Accepted, Acted, Action, BatchItem, BatchRow, BatchState, Filter};

const ADA: &str = "ada@example.org";
const GRACE: &str = "grace@example.org";
const LINUS: &str = "linus@example.org";
/// A kind that nobody may switch off.
const MANDATORY: &str = "password.reset";

/// The batches that are held, newest first.
async fn held(house: &House) -> Vec<BatchRow> {
    house.store.batches(Some(BatchState::Held), false, 100).await.unwrap()
}

async fn the_batch(house: &House) -> BatchRow {
    let mut batches = held(house).await;
    assert_eq!(batches.len(), 1, "{batches:?}");
    batches.remove(0)
}

async fn states(house: &House, items: &[Id]) -> Vec<State> {
    let mut states = Vec::new();
    for item in items {
        states.push(house.state(*item).await);
    }
    states
}

async fn in_hour(house: &House, rule: &str) -> u64 {
    house.store.rule_hour(rule, house.now()).await.unwrap().0
}

/// An event to one person, whose rule may tell three people an hour.
fn of_three(house: &House, number: u32) -> Draft<'_> {
    house.an_event(&format!("e{number}")).to(&[&format!("u{number}@example.org")]).guard(0, 3)
}

pub(crate) async fn a_limit_is_the_most_that_goes(house: &House) {
    let first = house.accept(house.an_event("e1").to(&[ADA, GRACE]).guard(2, 3)).await;
    let second = house.accept(house.an_event("e2").to(&[LINUS]).guard(2, 3)).await;
    assert_eq!(states(house, &[first, second].concat()).await, [State::Waiting; 3]);
    assert_eq!(house.store.rule_hour("joined", house.now()).await.unwrap(), (3, None));
    let no_limit = house.accept(house.an_event("e3").to(&[ADA, GRACE, LINUS]).guard(0, 0)).await;
    let unguarded = house.accept(house.an_event("e4").to(&[ADA, GRACE, LINUS])).await;
    assert_eq!(states(house, &[no_limit, unguarded].concat()).await, [State::Waiting; 6]);
    assert!(held(house).await.is_empty());
    assert_eq!(house.store.rule_hour("no such rule", house.now()).await.unwrap(), (0, None));
}

pub(crate) async fn an_event_that_tells_too_many_is_held_whole(house: &House) {
    let acceptance = house.an_event("e1").to(&[ADA, GRACE, LINUS]).guard(2, 0).build();
    let (event, id) = (acceptance.id, acceptance.guard.unwrap().batch);
    let items: Vec<Id> = acceptance.items.iter().map(|item| item.id).collect();
    house.store.accept(vec![acceptance]).await.unwrap();
    assert_eq!(states(house, &items).await, [State::Held; 3]);
    assert!(house.claim(10).await.is_empty());
    let batch = the_batch(house).await;
    assert_eq!((batch.id, batch.event, batch.rule.as_str(), batch.flood.as_str()), (id, event, "joined", "event"));
    assert_eq!((batch.most, batch.people, batch.opened_at, batch.state), (2, 3, house.now(), BatchState::Held));
    assert_eq!((batch.ended_at, batch.ended_by, batch.alerted), (None, None, false));
    let detail = house.detail(items[0]).await;
    assert_eq!(detail.history.last().unwrap().what, "withheld");
    let why = detail.row.last_reply.unwrap();
    assert_eq!(why, format!("held by the guard: batch {id}: its event tells more than 2 people"));
    assert!(house.store.batch(id).await.unwrap().is_some() && house.store.batch(event).await.unwrap().is_none());
}

pub(crate) async fn all_rules_of_a_large_event_go_into_one_batch(house: &House) {
    let mut acceptance = house.an_event("e1").to(&[ADA, GRACE]).guard(2, 0).build();
    let other = house.an_event("e1").to(&[LINUS]).rule("owners").build();
    acceptance.letters.extend(other.letters);
    acceptance.items.extend(other.items);
    let items: Vec<Id> = acceptance.items.iter().map(|item| item.id).collect();
    house.store.accept(vec![acceptance]).await.unwrap();
    assert_eq!(states(house, &items).await, [State::Held; 3]);
    assert_eq!(the_batch(house).await.people, 3);
    assert_eq!((in_hour(house, "joined").await, in_hour(house, "owners").await), (2, 1));
}

pub(crate) async fn one_large_event_holds_no_small_one(house: &House) {
    house.accept(house.an_event("large").to(&[ADA, GRACE, LINUS]).guard(2, 0)).await;
    let small = house.accept_one(house.an_event("small").to(&[ADA]).guard(2, 0)).await;
    assert_eq!(house.state(small).await, State::Waiting);
    assert_eq!(
        house.store.rule_hour("joined", house.now()).await.unwrap(),
        (4, None),
        "only what a rule did too often takes in all it tells"
    );
    house.accept(house.an_event("large again").to(&[ADA, GRACE, LINUS]).guard(2, 0)).await;
    assert_eq!(the_batch(house).await.people, 6, "the next large one of the rule goes into the same batch");
}

pub(crate) async fn what_nobody_may_switch_off_is_neither_held_nor_counted(house: &House) {
    let mandatory = house.accept(house.an_event("e1").kind(MANDATORY).to(&[ADA, GRACE, LINUS]).guard(2, 2)).await;
    assert_eq!(states(house, &mandatory).await, [State::Waiting; 3]);
    // What is held for another reason is held for that.
    let broken = house.accept(house.an_event("e2").to(&[ADA, GRACE, LINUS]).held("it cannot be written").guard(2, 2)).await;
    assert_eq!(house.detail(broken[0]).await.row.last_reply.as_deref(), Some("it cannot be written"));
    assert!(held(house).await.is_empty());
    assert_eq!(in_hour(house, "joined").await, 0);
}

pub(crate) async fn an_event_told_twice_counts_once(house: &House) {
    let first = house.an_event("e1").to(&[ADA, GRACE]).guard(0, 3).build();
    let again = house.an_event("e1").to(&[ADA, GRACE]).guard(0, 3).build();
    let known = first.id;
    let accepted = house.store.accept(vec![first, again.clone()]).await.unwrap();
    assert_eq!(accepted, [Accepted::New(known), Accepted::Duplicate(known)]);
    house.store.accept(vec![again]).await.unwrap();
    assert_eq!(in_hour(house, "joined").await, 2);
    assert!(held(house).await.is_empty());
}

pub(crate) async fn an_hour_forgets_what_was_before_it(house: &House) {
    for number in 0..3 {
        house.accept(of_three(house, number)).await;
        house.clock.advance(seconds(20 * 60));
    }
    assert_eq!(in_hour(house, "joined").await, 2, "the first was an hour ago");
    house.accept(of_three(house, 3)).await;
    assert!(held(house).await.is_empty());
    assert_eq!(in_hour(house, "joined").await, 3);
    house.accept(of_three(house, 4)).await;
    assert_eq!(the_batch(house).await.flood, "rule_hour");
}

pub(crate) async fn a_rule_that_tells_too_many_is_held_with_what_has_not_left(house: &House) {
    let other_rule = house.accept_one(house.an_event("other").rule("owners").guard(0, 3)).await;
    let mut items = Vec::new();
    for number in 0..3 {
        items.push(house.accept_one(of_three(house, number)).await);
    }
    let leases = house.claim(3).await;
    assert_eq!(ids(&leases), [other_rule, items[0], items[1]]);
    house.settle(outcome(&leases[1], State::Sent, house.now())).await;
    items.push(house.accept_one(of_three(house, 3)).await);
    assert_eq!(states(house, &items).await, [State::Sent, State::Claimed, State::Held, State::Held]);
    let batch = the_batch(house).await;
    assert_eq!((batch.flood.as_str(), batch.most, batch.people), ("rule_hour", 3, 2));
    assert_eq!(house.history(items[2]).await, ["accepted", "withheld"]);
    let why = house.detail(items[2]).await.row.last_reply.unwrap();
    assert_eq!(why, format!("held by the guard: batch {}: the rule `joined` tells more than 3 people within an hour", batch.id));
    assert_eq!(house.store.rule_hour("joined", house.now()).await.unwrap(), (4, Some(batch.id)));
    assert_eq!(house.state(other_rule).await, State::Claimed);
}

pub(crate) async fn a_batch_takes_in_for_an_hour(house: &House) {
    for number in 0..4 {
        house.accept(of_three(house, number)).await;
    }
    house.clock.advance(seconds(59 * 60));
    assert_eq!(in_hour(house, "joined").await, 4);
    house.accept(of_three(house, 4)).await;
    let first = the_batch(house).await;
    assert_eq!(first.people, 5);
    // An hour after it was opened it takes in no more; what the rule tells counts anew.
    house.clock.advance(seconds(61));
    assert_eq!(house.store.rule_hour("joined", house.now()).await.unwrap(), (1, None));
    let free = house.accept_one(of_three(house, 5)).await;
    assert_eq!(house.state(free).await, State::Waiting);
    house.accept(house.an_event("many").to(&[ADA, GRACE, LINUS]).guard(0, 3)).await;
    let batches = held(house).await;
    assert_eq!(batches.iter().map(|batch| batch.people).collect::<Vec<_>>(), [4, 5], "newest first; what had not left is in the new one");
    assert_eq!(batches[1].id, first.id);
}

/// Names are made before what they name is written, by many at once: what has the lowest name need not be written first.
pub(crate) async fn a_flood_holds_what_was_named_before_its_first(house: &House) {
    let drafts: Vec<_> = (0..3).map(|number| of_three(house, number).build()).collect();
    let mut of_two = house.an_event("two").rule("owners").to(&[ADA, GRACE]).guard(0, 3).build();
    of_two.items.reverse();
    let mut items: Vec<Id> = drafts.iter().chain([&of_two]).flat_map(|draft| &draft.items).map(|item| item.id).collect();
    for draft in drafts.into_iter().rev().chain([of_two]) {
        house.store.accept(vec![draft]).await.unwrap();
    }
    items.extend(house.accept(of_three(house, 3)).await);
    items.extend(house.accept(house.an_event("owners again").rule("owners").to(&[ADA, LINUS]).guard(0, 3)).await);
    assert_eq!(states(house, &items).await, vec![State::Held; items.len()]);
    assert_eq!(held(house).await.iter().map(|batch| batch.people).collect::<Vec<_>>(), [4, 4]);
}

pub(crate) async fn many_floods_at_once_are_one_batch(house: &House) {
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let draft =
            |number: u32| house.an_event(&format!("e{caller}-{number}")).to(&[&format!("u{caller}-{number}@example.org")]).guard(0, 10);
        let acceptances: Vec<_> = (0..10).map(|number| draft(number).build()).collect();
        let store = house.store.clone();
        callers.spawn(async move {
            for acceptance in acceptances {
                store.accept(vec![acceptance]).await.unwrap();
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    // What one of them wrote while another one opened the batch may be in it only now.
    let batch = the_batch(house).await.id;
    house.store.batch_alerted(batch).await.unwrap();
    assert_eq!(the_batch(house).await.people, 80);
    assert_eq!(in_hour(house, "joined").await, 80);
    assert!(house.claim(100).await.is_empty(), "not one is left out");
}

pub(crate) async fn batches_are_listed_by_state_and_by_what_is_untold(house: &House) {
    let mut all = Vec::new();
    for rule in ["one", "two", "three"] {
        house.accept(house.an_event(rule).rule(rule).to(&[ADA, GRACE, LINUS]).guard(2, 0)).await;
        all.push(held(house).await[0].id);
        house.clock.advance(seconds(1));
    }
    let listed = |state, unalerted, limit| async move {
        let rows = house.store.batches(state, unalerted, limit).await.unwrap();
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(None, true, 10).await, all, "whoever is to be told is told in order");
    assert_eq!(listed(None, true, 1).await, all[..1]);
    house.store.batch_alerted(all[0]).await.unwrap();
    assert_eq!(listed(None, true, 10).await, all[1..]);
    assert!(house.store.batch(all[0]).await.unwrap().unwrap().alerted);
    house.clock.advance(seconds(9));
    house.store.end_batch(all[1], BatchState::Cancelled, "ada").await.unwrap().unwrap();
    assert_eq!(listed(Some(BatchState::Held), false, 10).await, [all[2], all[0]]);
    assert_eq!(listed(Some(BatchState::Cancelled), false, 10).await, [all[1]]);
    assert_eq!(listed(None, false, 10).await, [all[2], all[1], all[0]]);
    assert_eq!(listed(None, false, 2).await, [all[2], all[1]]);
    let ended = house.store.batch(all[1]).await.unwrap().unwrap();
    assert_eq!((ended.state, ended.ended_at, ended.ended_by.as_deref()), (BatchState::Cancelled, Some(house.now()), Some("ada")));
    assert_eq!((ended.people, ended.rule.as_str()), (3, "two"), "an ended batch still says what it held");
}

/// All items of a batch, read by pages of a size.
async fn paged(house: &House, batch: Id, size: u16) -> Vec<BatchItem> {
    let (mut all, mut after): (Vec<BatchItem>, _) = (Vec::new(), None);
    loop {
        let page = house.store.batch_items(batch, after, size).await.unwrap();
        assert!(page.len() <= usize::from(size));
        after = page.last().map(|item| item.place).or(after);
        let last = page.len() < usize::from(size);
        all.extend(page);
        if last {
            return all;
        }
    }
}

pub(crate) async fn items_of_a_batch_come_by_recipient_in_pages(house: &House) {
    let mut items = Vec::new();
    for number in 0..23 {
        let to = [ADA, "Grace@example.org", LINUS, GRACE][number % 4];
        let text = format!("Subject: {number}\r\n\r\nWelcome.\r\n");
        items.push(house.accept_one(house.an_event(&format!("e{number}")).to(&[to]).text(text).guard(0, 1)).await);
    }
    let batch = the_batch(house).await.id;
    let all = paged(house, batch, 4).await;
    assert_eq!(all.iter().map(|item| item.id).collect::<HashSet<_>>(), items.iter().copied().collect());
    assert_eq!(all.len(), items.len());
    assert!(all.is_sorted_by_key(|item| item.place));
    let mut people: Vec<String> = all.iter().map(|item| item.to.to_lowercase()).collect();
    people.dedup();
    assert_eq!(people.len(), 3, "each person's stand together, however the address is written");
    for item in &all {
        let number = items.iter().position(|id| *id == item.id).unwrap();
        assert!(item.bytes.as_deref().unwrap().starts_with(format!("Subject: {number}\r\n").as_bytes()));
        assert_eq!((item.event, item.accepted_at), (house.detail(item.id).await.row.event, house.now()));
    }
    assert!(house.store.batch_items(house.id(), None, 10).await.unwrap().is_empty());
}

pub(crate) async fn a_letter_that_must_not_be_read_comes_without_its_bytes(house: &House) {
    house.accept(house.an_event("e1").to(&[ADA, GRACE]).secret("Winter-Storm-2026").guard(1, 0)).await;
    let items = paged(house, the_batch(house).await.id, 10).await;
    assert_eq!(items.iter().map(|item| item.bytes.clone()).collect::<Vec<_>>(), [None, None]);
}

pub(crate) async fn a_batch_is_let_go_once(house: &House) {
    let items = house.accept(house.an_event("e1").to(&[ADA, GRACE, LINUS]).guard(2, 3)).await;
    let batch = the_batch(house).await.id;
    let mut arrivals = house.store.arrivals();
    arrivals.mark_unchanged();
    let end = |state| house.store.end_batch(batch, state, "ada");
    assert_eq!(end(BatchState::Released).await.unwrap(), Some(Acted { changed: 3, skipped: 0 }));
    assert!(arrivals.has_changed().unwrap());
    assert_eq!(house.history(items[0]).await, ["accepted", "withheld", "release"]);
    assert_eq!(house.detail(items[0]).await.history.last().unwrap().by.as_deref(), Some("ada"));
    assert_eq!(end(BatchState::Released).await.unwrap(), Some(Acted { changed: 0, skipped: 0 }), "done again it finds nothing to do");
    assert_eq!(end(BatchState::Cancelled).await.unwrap(), None);
    assert_eq!(house.store.end_batch(house.id(), BatchState::Released, "ada").await.unwrap(), None);
    assert!(end(BatchState::Held).await.is_err(), "that is no end");
    // Somebody has looked at what the rule does: its hour begins anew, and nothing goes into a batch that has ended.
    assert_eq!(house.store.rule_hour("joined", house.now()).await.unwrap(), (0, None));
    house.accept(house.an_event("e2").to(&[ADA, GRACE]).guard(2, 3)).await;
    assert!(held(house).await.is_empty());
    assert_eq!(house.claim(10).await.len(), 5);
    assert_eq!(house.store.batch(batch).await.unwrap().unwrap().people, 3);
}

pub(crate) async fn a_cancelled_batch_takes_its_secrets_with_it(house: &House) {
    let items = house.accept(house.an_event("e1").to(&[ADA, GRACE]).secret("Winter-Storm-2026").guard(1, 0)).await;
    let batch = the_batch(house).await.id;
    let acted = house.store.end_batch(batch, BatchState::Cancelled, "ada").await.unwrap();
    assert_eq!(acted, Some(Acted { changed: 2, skipped: 0 }));
    assert_eq!(states(house, &items).await, [State::Cancelled; 2]);
    assert_eq!(house.history(items[0]).await, ["accepted", "withheld", "cancel"]);
    assert!(paged(house, batch, 10).await.is_empty());
    let retried = house.store.act(Action::Retry, only(items[0]), "ada").await.unwrap();
    assert_eq!(retried, Acted { changed: 0, skipped: 1 }, "its letter has been erased");
}

pub(crate) async fn more_items_than_a_step_are_all_let_go(house: &House) {
    let batch: Vec<_> = (0..5001).map(|number| of_three(house, number).build()).collect();
    house.store.accept(batch).await.unwrap();
    let batch = the_batch(house).await;
    assert_eq!(batch.people, 5001);
    let acted = house.store.end_batch(batch.id, BatchState::Released, "ada").await.unwrap();
    assert_eq!(acted, Some(Acted { changed: 5001, skipped: 0 }));
    assert_eq!(house.claim(u16::MAX).await.len(), 5001);
}

pub(crate) async fn what_an_operator_took_out_of_a_batch_stays_as_it_is(house: &House) {
    let items = house.accept(house.an_event("e1").to(&[ADA, GRACE, LINUS]).lives_for(hours(5)).guard(2, 0)).await;
    let batch = the_batch(house).await.id;
    house.store.act(Action::Cancel, only(items[0]), "grace").await.unwrap();
    house.store.act(Action::Release, only(items[1]), "grace").await.unwrap();
    assert_eq!(paged(house, batch, 10).await.iter().map(|item| item.id).collect::<Vec<_>>(), [items[2]]);
    let acted = house.store.end_batch(batch, BatchState::Cancelled, "ada").await.unwrap();
    assert_eq!(acted, Some(Acted { changed: 1, skipped: 2 }));
    assert_eq!(states(house, &items).await, [State::Cancelled, State::Waiting, State::Cancelled]);
    assert_eq!(house.history(items[0]).await, ["accepted", "withheld", "cancel"]);
    // What expires while it is held is out of its batch as well.
    let expiring = house.accept(house.an_event("e2").to(&[ADA, GRACE, LINUS]).lives_for(hours(1)).guard(2, 0)).await;
    let batch = the_batch(house).await.id;
    house.clock.advance(hours(2));
    house.store.expire(10).await.unwrap();
    assert!(paged(house, batch, 10).await.is_empty());
    assert_eq!(house.store.end_batch(batch, BatchState::Released, "ada").await.unwrap(), Some(Acted { changed: 0, skipped: 3 }));
    assert_eq!(states(house, &expiring).await, [State::Expired; 3]);
    let waiting = Filter { state: Some(State::Waiting), ..Filter::default() };
    assert_eq!(house.store.items(waiting, None, 10).await.unwrap().items.len(), 1);
}
