//! Crowds and floods through the whole intake, on a real database and a mirror of made-up people.

use crate::{Batch, Ended, Feed, GuardError, Intake, Queries, Taken, Telling, people};
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    ops::Range,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tidings_core::{
    Address, Clock, Id,
    directory::{Became, Change, Entry, Head, Link, LinkRole},
    flood::FloodLimits,
    outbox::State,
    policy::{Audience, Rule, RuleSet, TypePattern},
    subject::ObjectType,
    testing::{EventBuilder, FixedClock, an_event},
    time::later,
};
use tidings_store::{Action, BatchState, Database, Filter, ItemRow, OpenOptions, SealKey};

struct House {
    store: Arc<dyn Database>,
    intake: Arc<Intake>,
    clock: Arc<FixedClock>,
    folder: TempDir,
    to: Vec<String>,
    flood: FloodLimits,
}

async fn open(folder: &Path, clock: &Arc<FixedClock>, to: &[String], flood: FloodLimits) -> (Arc<dyn Database>, Arc<Intake>) {
    let options = OpenOptions {
        url: "sqlite:t.db".into(),
        data_dir: folder.to_owned(),
        key: SealKey::from_bytes([7; 32]),
        clock: clock.clone(),
        min_free_bytes: 0,
    };
    let store = tidings_store::open(options).await.unwrap();
    let to = to.iter().map(|word| Audience::parse(word).unwrap()).collect();
    let alerts =
        Rule::simple("alerts", vec![TypePattern::parse("guard.held").unwrap()], vec![Audience::parse("admin@example.org").unwrap()]);
    let rules = RuleSet::with_built_in(vec![Rule::simple("all", vec![TypePattern::parse("object.*").unwrap()], to), alerts]);
    let desk = people::desk(rules, Queries::new(), flood, clock.clone());
    let intake = Intake::open(store.clone(), desk).await.unwrap().with_mirror(store.clone());
    (store, Arc::new(intake))
}

impl House {
    async fn with(entries: Vec<Entry>, to: &[&str], flood: FloodLimits) -> Self {
        let to: Vec<String> = to.iter().map(ToString::to_string).collect();
        let (folder, clock) = (TempDir::new().unwrap(), Arc::new(FixedClock::at("2026-11-21T09:00:00Z")));
        let (store, intake) = open(folder.path(), &clock, &to, flood).await;
        let generation = store.begin_refresh("corp").await.unwrap();
        store.load("corp", entries, generation, None).await.unwrap();
        store.end_refresh("corp", None).await.unwrap();
        Self { store, intake, clock, folder, to, flood }
    }

    /// As if the process had been killed and begun anew.
    async fn restarted(self) -> Self {
        let Self { store, intake, clock, folder, to, flood } = self;
        drop((store, intake));
        let (store, intake) = open(folder.path(), &clock, &to, flood).await;
        Self { store, intake, clock, folder, to, flood }
    }

    fn feed(&self) -> Feed {
        Feed::new(self.intake.clone(), self.store.clone())
    }

    async fn changed(&self, changes: Vec<Change>) -> Taken {
        let batch = Batch { directory: "corp".into(), changes, seen: Vec::new(), generation: None, bookmark: None, telling: Telling::Told };
        self.feed().take(batch).await.unwrap()
    }

    async fn post(&self, event: &EventBuilder) -> Id {
        self.intake.accept(vec![event.cloudevent()], false).await.unwrap().ids[0]
    }

    async fn until_quiet(&self) {
        while self.intake.fan_on().await.unwrap() {}
    }

    async fn items(&self, filter: Filter) -> Vec<ItemRow> {
        let (mut all, mut before) = (Vec::new(), None);
        loop {
            let page = self.store.items(filter.clone(), before, 1000).await.unwrap();
            all.extend(page.items);
            before = page.next;
            if before.is_none() {
                return all;
            }
        }
    }

    async fn in_state(&self, state: State) -> usize {
        self.items(Filter { state: Some(state), ..Filter::default() }).await.len()
    }
}

fn user(key: &str) -> Entry {
    let mut head = Head::new(ObjectType::User, key);
    head.mail = Address::parse(&format!("{key}@example.org")).ok();
    Entry { head, links: Vec::new(), document: None }
}

fn group(key: &str, members: impl IntoIterator<Item = String>) -> Entry {
    let mut head = Head::new(ObjectType::Group, key);
    head.name = Some(key.to_uppercase());
    Entry { head, links: members.into_iter().map(|member| Link::new(LinkRole::Member, member)).collect(), document: None }
}

/// `count` people, all of them in the group `all`.
fn crowd(count: usize) -> Vec<Entry> {
    let names: Vec<String> = (0..count).map(|n| format!("u{n}")).collect();
    let mut entries: Vec<Entry> = names.iter().map(|name| user(name)).collect();
    entries.push(group("all", names));
    entries
}

fn change(id: &str) -> EventBuilder {
    an_event().kind("object.changed").id(id).with("object", json!("corp/all")).with("member", Value::Null)
}

const NO_GUARD: FloodLimits = FloodLimits { per_event: 0, per_rule_hour: 0 };

#[tokio::test]
async fn a_crowd_is_told_in_chunks_each_person_once() {
    let house = House::with(crowd(2500), &["actor", "object", "holders:ALL"], NO_GUARD).await;
    // The actor is one of the crowd, and told at once.
    let event = house.post(&change("1").with("actor", json!("corp/u7"))).await;
    assert_eq!(house.items(Filter::default()).await.len(), 1);
    let begun = house.intake.trace(event).await.unwrap().unwrap();
    assert_eq!(begun["fan_outs"].as_array().unwrap().len(), 2, "{}", begun["fan_outs"]);

    house.until_quiet().await;
    let items = house.items(Filter::default()).await;
    let told: HashSet<_> = items.iter().map(|item| item.to.clone()).collect();
    assert_eq!((items.len(), told.len()), (2500, 2500));
    let fan_outs = house.intake.trace(event).await.unwrap().unwrap()["fan_outs"].clone();
    assert_eq!((&fan_outs[0]["told"], &fan_outs[0]["not_told"], &fan_outs[1]["told"]), (&json!(2499), &json!(1), &json!(0)), "{fan_outs}");
    assert!(!fan_outs[0]["ended_at"].is_null());
}

#[tokio::test]
async fn who_comes_and_goes_while_a_crowd_is_told_is_told_at_most_once_and_confuses_nobody_elses_place() {
    let mut entries = crowd(2500);
    entries.push(user("before"));
    entries.push(group("below", ["before".to_owned()]));
    let house = House::with(entries, &["object"], NO_GUARD).await;
    let adjusted = |added: &[&str], removed: &[&str]| {
        let added = added.iter().map(|name| Link::new(LinkRole::Member, *name)).collect();
        let removed = removed.iter().map(|name| (LinkRole::Member, (*name).to_owned())).collect();
        Change::of(Became::Adjusted { key: "all".into(), head: None, added, removed, document: None })
    };
    // What members of the group hear of is the event, not that others come and go.
    let told = async || {
        let items = house.items(Filter { kind: Some("object.changed".into()), ..Filter::default() }).await;
        let mut told: Vec<String> = items.iter().map(|item| item.to.split('@').next().unwrap().to_owned()).collect();
        told.sort_unstable();
        told
    };
    house.post(&change("1")).await;
    house.intake.fan_on().await.unwrap();
    let first = told().await;
    assert_eq!(first.len(), 1000);
    let last = house.intake.gatherer.as_ref().unwrap().mirror.object("corp", "u999").await.unwrap().unwrap();
    assert!(first.contains(&last.head.key), "people come in the order of their rows");
    // One who was told leaves and comes back, the last one who was told leaves for good, one leaves who was not told yet; a new one joins, and a group with one in it.
    house.changed(vec![adjusted(&[], &["u5", "u999", "u2400"])]).await;
    house.changed(vec![Change::of(Became::Is(user("late"))), adjusted(&["u5", "late", "below"], &[])]).await;
    // The place of one whom the cursor stands on is not needed: it is gone.
    house.changed(vec![Change::of(Became::Gone { key: "u999".into() })]).await;
    house.until_quiet().await;
    let mut expected: Vec<String> = (0..2500).filter(|n| *n != 2400).map(|n| format!("u{n}")).collect();
    // Members are those there are when their chunk comes.
    expected.extend(["before".to_owned(), "late".to_owned()]);
    expected.sort_unstable();
    assert_eq!(told().await, expected);
}

#[tokio::test]
async fn a_restart_between_two_chunks_tells_nobody_twice_and_leaves_nobody_out() {
    let mut house = House::with(crowd(2500), &["object"], NO_GUARD).await;
    house.post(&change("1")).await;
    for _ in 0..4 {
        house.intake.fan_on().await.unwrap();
        house = house.restarted().await;
    }
    let items = house.items(Filter::default()).await;
    assert_eq!((items.len(), items.iter().map(|item| &item.to).collect::<HashSet<_>>().len()), (2500, 2500));
}

#[tokio::test]
async fn two_tasks_at_once_write_each_chunk_once() {
    let house = House::with(crowd(3000), &["object"], NO_GUARD).await;
    house.post(&change("1")).await;
    for _ in 0..4 {
        let (one, other) = tokio::join!(house.intake.fan_on(), house.intake.fan_on());
        one.unwrap();
        other.unwrap();
    }
    assert_eq!(house.items(Filter::default()).await.len(), 3000);
}

#[tokio::test]
async fn a_large_group_is_accepted_at_once() {
    let house = House::with(crowd(20_000), &["object"], NO_GUARD).await;
    house.post(&change("1")).await;
    // What it takes does not grow with the group: nobody has been told yet.
    assert!(house.items(Filter::default()).await.is_empty());
}

#[tokio::test]
async fn one_event_that_tells_too_many_is_held_with_one_alert_and_let_go() {
    let house = House::with(crowd(1500), &["actor", "object"], FloodLimits { per_event: 1000, per_rule_hour: 0 }).await;
    house.post(&change("1")).await;
    house.until_quiet().await;
    assert_eq!((house.in_state(State::Held).await, house.in_state(State::Waiting).await), (1501, 1));
    let alerts = house.items(Filter { kind: Some("guard.held".into()), ..Filter::default() }).await;
    assert_eq!(alerts.iter().map(|item| item.to.as_str()).collect::<Vec<_>>(), ["admin@example.org"]);

    let [batch] = house.store.batches(Some(BatchState::Held), false, 10).await.unwrap().try_into().unwrap();
    assert_eq!((batch.people, batch.flood.as_str(), batch.rule.as_str(), batch.most), (1501, "event", "all", 1000));
    assert_eq!(house.intake.end_batch(batch.id, BatchState::Released, "admin").await.unwrap(), Ended { letters: 1501, digests: 0 });
    assert_eq!((house.in_state(State::Held).await, house.in_state(State::Waiting).await), (0, 1502));
    let again = house.intake.end_batch(batch.id, BatchState::Cancelled, "admin").await;
    assert!(matches!(again, Err(GuardError::Ended(_, BatchState::Released))));
}

#[tokio::test]
async fn a_small_event_is_not_held_by_the_batch_of_a_large_one() {
    let mut entries = crowd(1500);
    entries.push(group("few", ["u1".to_owned()]));
    let house = House::with(entries, &["object"], FloodLimits { per_event: 1000, per_rule_hour: 0 }).await;
    house.post(&change("1")).await;
    house.until_quiet().await;
    house.post(&change("2").with("object", json!("corp/few"))).await;
    assert_eq!(house.in_state(State::Waiting).await, 2, "the alert and the small one");
    house.post(&change("3")).await;
    house.until_quiet().await;
    assert_eq!(house.store.batches(None, false, 10).await.unwrap().len(), 1, "another large one joins");
    assert_eq!(house.in_state(State::Held).await, 3000);
}

#[tokio::test]
async fn a_rule_that_tells_too_much_within_the_hour_is_held_back_and_thinned_to_digests() {
    let house = House::with(crowd(3), &["object"], FloodLimits { per_event: 0, per_rule_hour: 10 }).await;
    for number in 0..5 {
        house.post(&change(&number.to_string())).await;
        house.until_quiet().await;
    }
    // Three of each event: with the fourth it was too much, and what had not left was held back.
    assert_eq!(house.in_state(State::Held).await, 15);
    let [batch] = house.store.batches(None, false, 10).await.unwrap().try_into().unwrap();
    assert_eq!((batch.flood.as_str(), batch.people), ("rule_hour", 15));
    assert_eq!(house.items(Filter { kind: Some("guard.held".into()), ..Filter::default() }).await.len(), 1);

    assert_eq!(house.intake.end_batch(batch.id, BatchState::Digested, "admin").await.unwrap(), Ended { letters: 15, digests: 3 });
    let digests = house.items(Filter { kind: Some("digest".into()), ..Filter::default() }).await;
    assert_eq!(digests.len(), 3);
    let letter = String::from_utf8(house.store.letter(digests[0].id).await.unwrap().unwrap()).unwrap();
    assert_eq!(letter.lines().filter(|line| line.starts_with("- ")).count(), 5, "{letter}");
    assert!(letter.contains("ALL"), "{letter}");
    // The rule's hour has begun anew, and an hour later there is nothing to be told.
    house.post(&change("next")).await;
    assert_eq!(house.in_state(State::Waiting).await, 3 + 1 + 3);
}

#[tokio::test]
async fn what_left_long_ago_does_not_count() {
    let house = House::with(crowd(3), &["object"], FloodLimits { per_event: 0, per_rule_hour: 4 }).await;
    house.post(&change("1")).await;
    house.clock.advance(jiff::SignedDuration::from_mins(61));
    house.post(&change("2")).await;
    assert_eq!(house.in_state(State::Held).await, 0);
    house.post(&change("3")).await;
    assert_eq!(house.in_state(State::Held).await, 6);
    let [batch] = house.store.batches(None, false, 10).await.unwrap().try_into().unwrap();
    // An item that an operator lets go by itself is no longer the batch's.
    let one = house.items(Filter { state: Some(State::Held), ..Filter::default() }).await[0].id;
    house.store.act(Action::Release, Filter { id: Some(one), ..Filter::default() }, "admin").await.unwrap();
    assert_eq!(house.intake.end_batch(batch.id, BatchState::Cancelled, "admin").await.unwrap(), Ended { letters: 5, digests: 0 });
    assert_eq!(house.in_state(State::Cancelled).await, 5);
}

#[tokio::test]
async fn a_batch_that_is_cancelled_while_its_crowd_is_told_stays_cancelled() {
    let house = House::with(crowd(2500), &["object"], FloodLimits { per_event: 1000, per_rule_hour: 0 }).await;
    house.post(&change("1")).await;
    house.intake.fan_on().await.unwrap();
    let [batch] = house.store.batches(None, false, 10).await.unwrap().try_into().unwrap();
    house.intake.end_batch(batch.id, BatchState::Cancelled, "admin").await.unwrap();
    house.until_quiet().await;
    assert_eq!((house.in_state(State::Cancelled).await, house.in_state(State::Waiting).await), (1000, 1));
}

#[tokio::test]
async fn a_batch_that_is_digested_while_its_crowd_is_told_leaves_nobody_out() {
    let house = House::with(crowd(2500), &["object"], FloodLimits { per_event: 1000, per_rule_hour: 0 }).await;
    house.post(&change("1")).await;
    house.intake.fan_on().await.unwrap();
    let [batch] = house.store.batches(None, false, 10).await.unwrap().try_into().unwrap();
    let ended = house.intake.end_batch(batch.id, BatchState::Digested, "admin").await.unwrap();
    assert_eq!(ended, Ended { letters: 2500, digests: 2500 });
    house.until_quiet().await;
    let digests = house.items(Filter { kind: Some("digest".into()), ..Filter::default() }).await;
    assert_eq!(digests.iter().map(|item| &item.to).collect::<HashSet<_>>().len(), 2500);
    assert_eq!((house.in_state(State::Cancelled).await, house.in_state(State::Held).await), (2500, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_joins_a_batch_while_it_is_digested_is_in_a_digest_or_stays() {
    let house = House::with(crowd(3), &["object"], FloodLimits { per_event: 0, per_rule_hour: 10 }).await;
    for number in 0..100 {
        house.post(&change(&format!("before {number}"))).await;
    }
    let [batch] = house.store.batches(None, false, 10).await.unwrap().try_into().unwrap();
    let intake = house.intake.clone();
    let posting = tokio::spawn(async move {
        for number in 0..100 {
            intake.accept(vec![change(&format!("meanwhile {number}")).cloudevent()], false).await.unwrap();
        }
    });
    let ended = house.intake.end_batch(batch.id, BatchState::Digested, "admin").await.unwrap();
    posting.await.unwrap();
    // Each cancelled letter stands in one digest, and each other one is there.
    let mut listed = 0;
    for digest in house.items(Filter { kind: Some("digest".into()), ..Filter::default() }).await {
        let letter = String::from_utf8(house.store.letter(digest.id).await.unwrap().unwrap()).unwrap();
        listed += letter.lines().filter(|line| line.starts_with("- ")).count();
    }
    let cancelled = house.in_state(State::Cancelled).await;
    assert!(cancelled >= 300);
    assert_eq!((listed, ended.letters), (cancelled, cancelled as u64));
    let changes = house.items(Filter { kind: Some("object.changed".into()), ..Filter::default() }).await;
    let open = changes.iter().filter(|item| matches!(item.state, State::Held | State::Waiting)).count();
    assert_eq!((changes.len(), open), (600, 600 - cancelled));
}

#[tokio::test]
async fn a_release_that_was_broken_off_is_finished_by_whoever_comes_next() {
    let house = House::with(crowd(3), &["object"], FloodLimits { per_event: 0, per_rule_hour: 10 }).await;
    for number in 0..400 {
        house.post(&change(&number.to_string())).await;
    }
    let [batch] = house.store.batches(None, false, 10).await.unwrap().try_into().unwrap();
    assert_eq!(batch.people, 1200);
    tokio::select! {
        biased;
        _ = house.store.end_batch(batch.id, BatchState::Released, "admin") => panic!("it takes several transactions"),
        () = tokio::task::yield_now() => {}
    }
    house.store.ready().await.unwrap();
    let held = house.in_state(State::Held).await;
    assert!((1..1200).contains(&held), "{held}");
    let task = tokio::spawn(crate::fan_out(house.intake.clone()));
    let deadline = Instant::now() + std::time::Duration::from_secs(30);
    while house.in_state(State::Held).await > 0 {
        assert!(Instant::now() < deadline, "letters that were let go are still held");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    task.abort();
    let last = house.items(Filter { kind: Some("object.changed".into()), ..Filter::default() }).await[0].id;
    let line = house.store.item(last).await.unwrap().unwrap().history.pop().unwrap();
    assert_eq!((line.what.as_str(), line.by.as_deref()), ("release", Some("admin")));
}

#[tokio::test]
async fn a_large_group_that_is_deleted_tells_everybody_who_was_in_it() {
    let house = House::with(crowd(2500), &["object"], NO_GUARD).await;
    house.post(&change("1")).await;
    house.intake.fan_on().await.unwrap();
    // The news of the change is on its way when the group ends: both reach everybody.
    house.changed(vec![Change::of(Became::Gone { key: "all".into() })]).await;
    house.until_quiet().await;
    for kind in ["object.changed", "object.deleted"] {
        let items = house.items(Filter { kind: Some(kind.into()), ..Filter::default() }).await;
        assert_eq!((items.len(), items.iter().map(|item| &item.to).collect::<HashSet<_>>().len()), (2500, 2500), "{kind}");
    }
}

#[tokio::test]
async fn many_objects_that_change_at_once_send_nothing_until_they_are_let_go() {
    let house = House::with(crowd(2000), &["actor", "object"], FloodLimits { per_event: 0, per_rule_hour: 500 }).await;
    let changes = (0..2000).map(|n| {
        let mut entry = user(&format!("u{n}"));
        entry.head.attributes.insert("title".into(), json!("New"));
        Change::of(Became::Is(entry))
    });
    // In batches, as a source reads them; before the first letter is due the guard has seen enough.
    for batch in changes.collect::<Vec<_>>().chunks(400) {
        assert_eq!(house.changed(batch.to_vec()).await.letters, 400);
    }
    house.until_quiet().await;
    assert_eq!((house.in_state(State::Held).await, house.in_state(State::Waiting).await), (2000, 1));
    let [batch] = house.store.batches(None, false, 10).await.unwrap().try_into().unwrap();
    assert_eq!(house.intake.end_batch(batch.id, BatchState::Released, "admin").await.unwrap().letters, 2000);
    assert_eq!(house.in_state(State::Waiting).await, 2001);
}

/// Changes of these people's names.
fn renamed(numbers: Range<usize>) -> Vec<Change> {
    let rename = |number| {
        let mut entry = user(&format!("u{number}"));
        entry.head.name = Some(format!("Number {number}"));
        Change::of(Became::Is(entry))
    };
    numbers.map(rename).collect()
}

#[tokio::test]
async fn letters_of_a_slow_bulk_change_wait_until_the_guard_has_seen_it() {
    const RUN: usize = 120;
    let house = House::with(crowd(RUN * 5), &["object"], FloodLimits { per_event: 0, per_rule_hour: 500 }).await;
    let feed = house.feed();
    for run in 0..5 {
        let changes = renamed(run * RUN..(run + 1) * RUN);
        let batch = Batch { directory: "corp".into(), changes, seen: Vec::new(), generation: None, bookmark: None, telling: Telling::Told };
        assert_eq!(feed.take(batch).await.unwrap().letters, RUN as u64);
        let now = house.clock.now();
        let due = house.items(Filter { state: Some(State::Waiting), ..Filter::default() }).await;
        assert!(due.iter().all(|item| item.due_at > later(now, Duration::from_secs(9))), "after run {run}");
        house.clock.advance(SignedDuration::from_secs(9));
    }
    assert_eq!((house.in_state(State::Held).await, house.in_state(State::Waiting).await), (RUN * 5, 0));
}

#[tokio::test]
async fn letters_of_few_changes_leave_at_once_however_many_entries_were_looked_at() {
    let house = House::with(crowd(300), &["object"], FloodLimits { per_event: 0, per_rule_hour: 500 }).await;
    let now = house.clock.now();
    let all = renamed(0..300);
    assert_eq!(house.changed(all.clone()).await.letters, 300);
    assert!(house.items(Filter::default()).await.iter().all(|item| item.due_at == later(now, Duration::from_secs(30))));
    // Once more the same: nothing has changed, and the one that has is not one of many.
    let feed = house.feed();
    let mut one = user("u7");
    one.head.name = Some("Ada".to_owned());
    let parts = all.chunks(100).map(<[Change]>::to_vec).chain([vec![Change::of(Became::Is(one))]]);
    let mut letters = 0;
    for changes in parts {
        let batch = Batch { directory: "corp".into(), changes, seen: Vec::new(), generation: None, bookmark: None, telling: Telling::Told };
        letters += feed.take(batch).await.unwrap().letters;
    }
    assert_eq!((letters, house.items(Filter::default()).await[0].due_at), (1, now));
}
