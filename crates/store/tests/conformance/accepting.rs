//! Accept.

use crate::house::{House, hours};
use futures_util::future::join_all;
use std::{collections::HashSet, sync::Arc};
use tidings_core::{
    Id,
    outbox::{Pattern, State},
};
use tidings_store::{Accepted, Filter};

pub(crate) async fn an_accepted_event_is_there_with_its_items(house: &House) {
    let acceptance = house.an_event("e1").to(&["ada@example.org", "Grace@example.org"]).build();
    let (id, items) = (acceptance.id, acceptance.items.clone());
    assert_eq!(house.store.accept(vec![acceptance]).await.unwrap(), [Accepted::New(id)]);

    let event = house.store.event(id).await.unwrap().unwrap();
    assert_eq!((event.source.as_str(), event.event_id.as_str(), event.kind.as_str()), ("hr", "e1", "membership.joined"));
    assert_eq!((event.time, event.accepted_at), (house.now(), house.now()));
    assert_eq!(
        (event.data.as_slice(), event.trace.as_slice()),
        (br#"{"object":{"id":"g7"}}"#.as_slice(), br#"[{"rule":"joined"}]"#.as_slice())
    );

    let first = house.detail(items[0].id).await;
    let row = &first.row;
    assert_eq!((row.id, row.event, row.kind.as_str(), row.rule.as_str()), (items[0].id, id, "membership.joined", "joined"));
    assert_eq!(
        (row.to.as_str(), row.role, row.relay.as_str(), row.state, row.attempts),
        ("ada@example.org", "to", "main", State::Waiting, 0)
    );
    assert_eq!((row.due_at, row.expires_at, row.accepted_at), (items[0].due_at, items[0].expires_at, house.now()));
    assert_eq!((row.maybe_duplicate, row.last_reply.as_deref()), (false, None));
    assert_eq!(row.message_id, format!("{}@tidings.example.org", items[0].letter));
    assert_eq!(house.history(items[0].id).await, ["accepted"]);
    let copy = house.detail(items[1].id).await.row;
    assert_eq!((copy.to.as_str(), copy.role, copy.message_id.as_str()), ("Grace@example.org", "cc", row.message_id.as_str()));
    assert_eq!(house.store.letter(items[1].id).await.unwrap().unwrap(), b"Subject: You are in\r\n\r\nWelcome.\r\n");
}

pub(crate) async fn a_known_event_changes_nothing_and_names_the_first(house: &House) {
    let first = house.an_event("e1").build();
    let id = first.id;
    house.store.accept(vec![first]).await.unwrap();
    house.clock.advance(hours(1));
    let again = house.an_event("e1").to(&["eve@example.org"]).build();
    assert_eq!(house.store.accept(vec![again]).await.unwrap(), [Accepted::Duplicate(id)]);
    let page = house.store.items(Filter::default(), None, 10).await.unwrap();
    assert_eq!(page.items.iter().map(|item| item.to.as_str()).collect::<Vec<_>>(), ["ada@example.org"]);
}

pub(crate) async fn the_second_of_two_in_a_batch_is_a_duplicate(house: &House) {
    let (first, second, third) = (house.an_event("e1").build(), house.an_event("e1").build(), house.an_event("e2").build());
    let (one, three) = (first.id, third.id);
    let answers = house.store.accept(vec![first, second, third]).await.unwrap();
    assert_eq!(answers, [Accepted::New(one), Accepted::Duplicate(one), Accepted::New(three)]);
    assert_eq!(house.store.items(Filter::default(), None, 10).await.unwrap().items.len(), 2);
}

pub(crate) async fn the_same_id_of_another_source_is_another_event(house: &House) {
    house.accept(house.an_event("e1")).await;
    let mut other = house.an_event("e1").build();
    "payroll".clone_into(&mut other.source);
    let id = other.id;
    assert_eq!(house.store.accept(vec![other]).await.unwrap(), [Accepted::New(id)]);
}

pub(crate) async fn many_callers_with_one_event_make_one(house: &House) {
    for round in 0..10 {
        let name = format!("race-{round}");
        let tasks = (0..32).map(|_| {
            let (store, acceptance) = (Arc::clone(&house.store), house.an_event(&name).build());
            tokio::spawn(async move { store.accept(vec![acceptance]).await.unwrap()[0] })
        });
        let answers: Vec<Accepted> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
        let new: Vec<Id> = answers.iter().filter_map(|answer| if let Accepted::New(id) = answer { Some(*id) } else { None }).collect();
        assert_eq!(new.len(), 1, "exactly one is the first");
        let named: HashSet<Id> = answers.iter().map(|(Accepted::New(id) | Accepted::Duplicate(id))| *id).collect();
        assert_eq!(named, HashSet::from([new[0]]), "all name the first");
    }
    assert_eq!(house.store.items(Filter::default(), None, 100).await.unwrap().items.len(), 10);
}

pub(crate) async fn a_batch_is_written_whole_or_not_at_all(house: &House) {
    let good = house.an_event("good").build();
    let mut broken = house.an_event("broken").build();
    broken.items[0].letter = house.id();
    let id = good.id;
    assert!(house.store.accept(vec![good, broken]).await.is_err());
    assert!(house.store.event(id).await.unwrap().is_none());
    assert!(house.store.items(Filter::default(), None, 10).await.unwrap().items.is_empty());
    house.accept(house.an_event("good")).await;
}

pub(crate) async fn a_failing_batch_does_not_spoil_its_neighbours(house: &House) {
    let tasks = (0..60).map(|n| {
        let mut acceptance = house.an_event(&format!("e{n}")).build();
        // Words that only a failing neighbour has brought must not be remembered either.
        acceptance.source = format!("source-{}", n / 3);
        if n % 3 == 0 {
            acceptance.items[0].letter = house.id();
        }
        let store = Arc::clone(&house.store);
        tokio::spawn(async move { (n, store.accept(vec![acceptance]).await.is_ok()) })
    });
    for done in join_all(tasks).await {
        let (n, accepted) = done.unwrap();
        assert_eq!(accepted, n % 3 != 0, "event {n}");
    }
    let page = house.store.items(Filter::default(), None, 100).await.unwrap();
    assert_eq!(page.items.len(), 40);
    for item in page.items {
        let event = house.store.event(item.event).await.unwrap().expect("its event is readable");
        let n: usize = event.event_id[1..].parse().unwrap();
        assert_eq!(event.source, format!("source-{}", n / 3));
    }
}

pub(crate) async fn an_event_without_items_is_kept_with_its_trace(house: &House) {
    let acceptance = house.an_event("quiet").to(&[]).build();
    let id = acceptance.id;
    house.store.accept(vec![acceptance]).await.unwrap();
    assert_eq!(house.store.event(id).await.unwrap().unwrap().trace, br#"[{"rule":"joined"}]"#);
}

pub(crate) async fn a_trace_that_is_like_its_pattern_comes_back_as_it_was(house: &House) {
    let text = |name: &str| {
        let rules: Vec<String> =
            (0..60).map(|n| format!(r#"{{"rule":"{n}","verdict":"condition_false","why":"object.name == '{name}'"}}"#)).collect();
        format!("[{}]", rules.join(",")).into_bytes()
    };
    let pattern = Arc::new(Pattern::new(text("a")));
    for (name, trace) in [
        ("like", text("b")),
        ("the-same", text("a")),
        ("other", format!("[{}]", (0..2_000_u64).map(|n| (n * n * 7_919 % 65_537).to_string()).collect::<Vec<_>>().join(",")).into_bytes()),
        ("short", b"[]".to_vec()),
    ] {
        let mut acceptance = house.an_event(name).to(&[]).build();
        (acceptance.trace, acceptance.trace_pattern) = (trace.clone(), Some(Arc::clone(&pattern)));
        let id = acceptance.id;
        house.store.accept(vec![acceptance]).await.unwrap();
        assert_eq!(house.store.event(id).await.unwrap().unwrap().trace, trace, "{name}");
    }
}

pub(crate) async fn arrivals_are_counted(house: &House) {
    let mut arrivals = house.store.arrivals();
    arrivals.mark_unchanged();
    house.accept(house.an_event("e1")).await;
    assert!(arrivals.has_changed().unwrap(), "an acceptance is seen");
    arrivals.mark_unchanged();
    house.accept(house.an_event("quiet").to(&[])).await;
    assert!(!arrivals.has_changed().unwrap(), "an event without items makes nothing due");
}
