//! Markers: one setting is one event, whatever finds it and however often.

use crate::{
    house::{House, only, outcome},
    mirroring::DIRECTORY,
};
use futures_util::future::join_all;
use tidings_core::{
    Id,
    outbox::{Role, State},
};
use tidings_store::{Action, Marker, MarkerLetters, MarkerState, MarkerStep, NewMarker};

fn marker(key: &str, value: &str) -> NewMarker {
    NewMarker {
        directory: DIRECTORY.to_owned(),
        key: key.to_owned(),
        reference: format!("cn={key}"),
        value: value.to_owned(),
        written: value.to_uppercase(),
        seen: Some("1".to_owned()),
    }
}

async fn all(house: &House) -> Vec<Marker> {
    house.store.markers(DIRECTORY, None, None, 1000).await.unwrap()
}

/// Notes a marker with an event for one reader.
async fn note(house: &House, marker: NewMarker, event_id: &str) -> Option<Id> {
    let event = house.an_event(event_id).build();
    let id = event.id;
    house.store.note_marker(marker, event).await.unwrap().then_some(id)
}

pub(crate) async fn a_marker_is_noted_with_its_event_and_once(house: &House) {
    let first = note(house, marker("ada", "pr"), "1").await.expect("it is new");
    assert_eq!(note(house, marker("ada", "pr"), "2").await, None);
    assert_eq!(house.store.event_named("test", "2").await.unwrap(), None);
    let [found] = all(house).await.try_into().expect("one is open");
    let step = MarkerStep {
        state: MarkerState::Noted,
        reference: "cn=ada".to_owned(),
        seen: Some("1".to_owned()),
        tries: 0,
        due_at: None,
        failure: None,
    };
    let (key, value, written) = ("ada".to_owned(), "pr".to_owned(), "PR".to_owned());
    let letters = MarkerLetters { open: 1, ..MarkerLetters::default() };
    assert_eq!(found, Marker { event: first, key, value, written, noted_at: house.now(), step, letters });
    assert_eq!(house.store.event(first).await.unwrap().expect("it was accepted").event_id, "1");

    for (count, other) in
        [marker("ada", "other"), marker("eve", "pr"), NewMarker { directory: "lab".into(), ..marker("ada", "pr") }].into_iter().enumerate()
    {
        assert!(note(house, other, &format!("more-{count}")).await.is_some());
    }
    assert_eq!(all(house).await.len(), 3);
    assert_eq!(house.store.markers("lab", None, None, 10).await.unwrap().len(), 1);
    assert!(house.store.markers("elsewhere", None, None, 10).await.unwrap().is_empty());
}

pub(crate) async fn many_who_find_one_marker_make_one_event(house: &House) {
    let noted = join_all((0..20).map(|n| async move { note(house, marker("ada", "pr"), &n.to_string()).await })).await;
    assert_eq!(noted.iter().flatten().count(), 1);
    let page = house.store.items(tidings_store::Filter::default(), None, 100).await.unwrap();
    assert_eq!(page.items.len(), 1);
}

pub(crate) async fn a_marker_that_has_ended_may_be_noted_again(house: &House) {
    let first = note(house, marker("ada", "pr"), "1").await.expect("it is new");
    assert!(house.store.end_marker(first).await.unwrap());
    assert!(!house.store.end_marker(first).await.unwrap());
    assert!(all(house).await.is_empty());
    let second = note(house, marker("ada", "pr"), "2").await.expect("it is another one");
    assert_ne!(first, second);
    assert!(house.store.event(first).await.unwrap().is_some());
}

pub(crate) async fn what_is_known_of_a_marker_moves_on(house: &House) {
    let id = note(house, marker("ada", "pr"), "1").await.expect("it is new");
    let step = MarkerStep {
        state: MarkerState::Clearing,
        reference: "cn=countess".to_owned(),
        seen: Some("7".to_owned()),
        tries: 3,
        due_at: Some(house.now()),
        failure: Some("insufficientAccessRights".to_owned()),
    };
    assert!(house.store.move_marker(id, step.clone()).await.unwrap());
    assert_eq!(all(house).await[0].step, step);
    let back = MarkerStep { state: MarkerState::Claimed, seen: None, tries: 0, due_at: None, failure: None, ..step };
    assert!(house.store.move_marker(id, back.clone()).await.unwrap());
    assert_eq!(all(house).await[0].step, back);
    house.store.end_marker(id).await.unwrap();
    assert!(!house.store.move_marker(id, back).await.unwrap());
}

pub(crate) async fn markers_are_listed_by_pages_and_by_object(house: &House) {
    let mut noted = Vec::new();
    for (place, (key, value)) in [("ada", "a"), ("eve", "a"), ("ada", "b"), ("bob", "a"), ("ada", "c")].into_iter().enumerate() {
        noted.push(note(house, marker(key, value), &place.to_string()).await.expect("it is new"));
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = house.store.markers(DIRECTORY, None, after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.event);
        assert!(page.len() <= 2);
        seen.extend(page.into_iter().map(|marker| marker.event));
    }
    assert_eq!(seen, noted);
    let of_ada = house.store.markers(DIRECTORY, Some("ada"), None, 10).await.unwrap();
    assert_eq!(of_ada.iter().map(|marker| marker.value.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(house.store.markers(DIRECTORY, Some("ada"), Some(noted[2]), 10).await.unwrap().len(), 1);
    assert!(house.store.markers(DIRECTORY, Some("nobody"), None, 10).await.unwrap().is_empty());
}

pub(crate) async fn a_marker_knows_how_its_letters_stand(house: &House) {
    let letters = async || all(house).await[0].letters;
    let mut event = house.an_event("1").to(&["ada@example.org", "eve@example.org", "copy@example.org"]).build();
    event.items[1].role = Role::To;
    house.store.note_marker(marker("ada", "pr"), event).await.unwrap();
    assert_eq!(letters().await, MarkerLetters { open: 2, ..MarkerLetters::default() });
    assert!(letters().await.are_open());

    let leases = house.claim(10).await;
    // The copy counts for nothing.
    house.settle(outcome(&leases[2], State::Failed, house.now())).await;
    house.settle(outcome(&leases[0], State::Sent, house.now())).await;
    assert_eq!(letters().await, MarkerLetters { open: 1, sent: 1, ..MarkerLetters::default() });
    house.settle(outcome(&leases[1], State::Failed, house.now())).await;
    assert_eq!(letters().await, MarkerLetters { sent: 1, lost: 1, ..MarkerLetters::default() });
    assert!(!letters().await.are_sent() && !letters().await.are_open());

    house.store.act(Action::Retry, only(leases[1].id), "tester").await.unwrap();
    assert!(letters().await.are_open());
    assert_eq!(letters().await.lost, 0);
    let again = house.claim(10).await;
    house.settle(outcome(&again[0], State::Sent, house.now())).await;
    assert!(letters().await.are_sent());
}

pub(crate) async fn an_event_without_letters_is_not_sent(house: &House) {
    let event = house.an_event("1").to(&[]).build();
    house.store.note_marker(marker("ada", "pr"), event).await.unwrap();
    let letters = all(house).await[0].letters;
    assert_eq!(letters, MarkerLetters::default());
    assert!(!letters.are_sent() && !letters.are_open());
}
