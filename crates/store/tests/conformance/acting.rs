//! What an operator does.

use crate::house::{House, hours, ids, only, outcome, seconds};
use std::time::Duration;
use tidings_core::{Id, outbox::State, time::later};
use tidings_store::{Acted, Action, Filter};

const DONE: Acted = Acted { changed: 1, skipped: 0 };
const SKIPPED: Acted = Acted { changed: 0, skipped: 1 };

pub(crate) async fn an_item_born_held_waits_for_its_release(house: &House) {
    let id = house.accept_one(house.an_event("e1").held("more than 500 people at once")).await;
    assert!(house.claim(1).await.is_empty());
    let detail = house.detail(id).await;
    assert_eq!((detail.row.state, detail.row.last_reply.as_deref()), (State::Held, Some("more than 500 people at once")));
    let mut arrivals = house.store.arrivals();
    arrivals.mark_unchanged();
    assert_eq!(house.store.act(Action::Release, only(id), "ada").await.unwrap(), DONE);
    assert!(arrivals.has_changed().unwrap());
    assert_eq!(ids(&house.claim(1).await), [id]);
    assert_eq!(house.history(id).await, ["accepted", "withheld", "release"]);
}

/// Brings an item into a state by the verbs that lead there.
async fn an_item_that_is(house: &House, state: State, name: &str) -> Id {
    let draft = house.an_event(name).lives_for(hours(1));
    let id = house.accept_one(if state == State::Held { draft.held("by a test") } else { draft }).await;
    match state {
        State::Held | State::Waiting => {}
        State::Claimed => assert_eq!(ids(&house.claim(1).await), [id]),
        State::Sent | State::Bounced | State::Failed => {
            let lease = house.claim(1).await.remove(0);
            house.settle(outcome(&lease, state, house.now())).await;
        }
        State::Expired => {
            house.clock.advance(hours(1));
            house.store.expire(1000).await.unwrap();
        }
        State::Cancelled => assert_eq!(house.store.act(Action::Cancel, only(id), "test").await.unwrap(), DONE),
    }
    assert_eq!(house.state(id).await, state);
    id
}

pub(crate) async fn each_action_in_each_state(house: &House) {
    use Action::{Cancel, Hold, Release, Retry};
    use State::{Bounced, Cancelled, Claimed, Expired, Failed, Held, Sent, Waiting};
    let table = [
        (Retry, [(Held, Some(Waiting)), (Waiting, Some(Waiting)), (Failed, Some(Waiting)), (Cancelled, Some(Waiting))].as_slice()),
        (Cancel, &[(Held, Some(Cancelled)), (Waiting, Some(Cancelled))]),
        (Hold, &[(Waiting, Some(Held))]),
        (Release, &[(Held, Some(Waiting))]),
    ];
    for (action, allowed) in table {
        for state in [Held, Waiting, Claimed, Sent, Bounced, Failed, Expired, Cancelled] {
            let id = an_item_that_is(house, state, &format!("{}-{state}", action.as_str())).await;
            let leads_to = allowed.iter().find(|(from, _)| *from == state).and_then(|(_, to)| *to);
            let before = house.detail(id).await.history.len();
            let acted = house.store.act(action, only(id), "ada").await.unwrap();
            assert_eq!(acted, if leads_to.is_some() { DONE } else { SKIPPED }, "{action:?} of {state}");
            assert_eq!(house.state(id).await, leads_to.unwrap_or(state), "{action:?} of {state}");
            let after = house.detail(id).await;
            assert_eq!(after.history.len(), before + usize::from(leads_to.is_some()));
            if leads_to.is_some() {
                let line = after.history.last().unwrap();
                assert_eq!((line.what.as_str(), line.by.as_deref(), line.at), (action.as_str(), Some("ada"), house.now()));
            }
            // Out of the way of the next ones.
            house.clock.advance(hours(2));
            house.store.expire(1000).await.unwrap();
        }
    }
}

pub(crate) async fn an_action_goes_to_what_fits_and_names_who_did_it(house: &House) {
    let due_later = house.accept_one(house.an_event("e1").due_in(hours(3))).await;
    let other_relay = house.accept_one(house.an_event("e2").by("backup").due_in(hours(3))).await;
    let failed = an_item_that_is(house, State::Failed, "e3").await;
    let sent = an_item_that_is(house, State::Sent, "e4").await;
    let main = Filter { relay: Some("main".to_owned()), ..Filter::default() };
    let acted = house.store.act(Action::Retry, main, "the repair script").await.unwrap();
    assert_eq!(acted, Acted { changed: 2, skipped: 1 });
    assert_eq!(ids(&house.claim(10).await), [due_later, failed]);
    assert_eq!((house.state(other_relay).await, house.state(sent).await), (State::Waiting, State::Sent));
    assert_eq!(house.detail(due_later).await.history[1].by.as_deref(), Some("the repair script"));
    let nothing = Filter { relay: Some("no such relay".to_owned()), ..Filter::default() };
    assert_eq!(house.store.act(Action::Cancel, nothing, "ada").await.unwrap(), Acted { changed: 0, skipped: 0 });
}

pub(crate) async fn more_items_than_a_step_are_all_acted_on(house: &House) {
    let batch = (0..5001).map(|n| house.an_event(&format!("e{n}")).build()).collect();
    house.store.accept(batch).await.unwrap();
    let acted = house.store.act(Action::Hold, Filter::default(), "ada").await.unwrap();
    assert_eq!(acted, Acted { changed: 5001, skipped: 0 });
    assert!(house.claim(1).await.is_empty());
    let held = Filter { state: Some(State::Held), ..Filter::default() };
    assert_eq!(house.store.act(Action::Release, held, "ada").await.unwrap(), Acted { changed: 5001, skipped: 0 });
    assert_eq!(house.claim(u16::MAX).await.len(), 5001);
}

pub(crate) async fn what_waits_can_wait_on(house: &House) {
    let until = later(house.now(), Duration::from_secs(60));
    let early = house.accept_one(house.an_event("early")).await;
    let late = house.accept_one(house.an_event("late").due_in(seconds(61))).await;
    assert_eq!(house.store.postpone(vec![early, late], until).await.unwrap(), 1);
    assert_eq!(house.history(early).await, ["accepted"], "nothing has happened to it");
    house.clock.advance(seconds(59));
    assert!(house.claim(10).await.is_empty());
    house.clock.advance(seconds(1));
    assert_eq!(ids(&house.claim(10).await), [early]);
    house.clock.advance(seconds(1));
    assert_eq!(ids(&house.claim(10).await), [late]);
    for state in [State::Claimed, State::Held, State::Sent, State::Failed, State::Cancelled] {
        let id = an_item_that_is(house, state, &state.to_string()).await;
        assert_eq!(house.store.postpone(vec![id], later(house.now(), Duration::from_secs(600))).await.unwrap(), 0, "{state}");
        assert_eq!(house.state(id).await, state);
    }
    assert_eq!(house.store.postpone(Vec::new(), until).await.unwrap(), 0);
}

pub(crate) async fn what_waits_can_be_withheld(house: &House) {
    let [due, later] = [house.accept_one(house.an_event("due")).await, house.accept_one(house.an_event("later").due_in(hours(1))).await];
    assert_eq!(house.store.withhold(vec![due, later], "letters come back").await.unwrap(), 2);
    assert!(house.claim(10).await.is_empty());
    let detail = house.detail(due).await;
    assert_eq!((detail.row.state, detail.row.last_reply.as_deref()), (State::Held, Some("letters come back")));
    assert_eq!(house.history(due).await, ["accepted", "withheld"]);
    for state in [State::Claimed, State::Held, State::Sent, State::Failed, State::Cancelled] {
        let id = an_item_that_is(house, state, &state.to_string()).await;
        let before = house.history(id).await.len();
        assert_eq!(house.store.withhold(vec![id], "too late").await.unwrap(), 0, "{state}");
        assert_eq!((house.state(id).await, house.history(id).await.len()), (state, before));
    }
    assert_eq!(house.store.act(Action::Release, only(due), "ada").await.unwrap(), DONE);
    assert_eq!(ids(&house.claim(10).await), [due]);
}

pub(crate) async fn more_items_than_a_step_wait_on(house: &House) {
    let batch: Vec<_> = (0..4001).map(|n| house.an_event(&format!("e{n}")).build()).collect();
    let items: Vec<Id> = batch.iter().flat_map(|one| one.items.iter().map(|item| item.id)).collect();
    house.store.accept(batch).await.unwrap();
    assert_eq!(house.store.postpone(items, later(house.now(), Duration::from_secs(60))).await.unwrap(), 4001);
    assert!(house.claim(1).await.is_empty());
    house.clock.advance(seconds(60));
    assert_eq!(house.claim(u16::MAX).await.len(), 4001);
}

pub(crate) async fn a_cancelled_letter_can_be_taken_up_again(house: &House) {
    let id = house.accept_one(house.an_event("e1").lives_for(hours(2))).await;
    house.store.act(Action::Cancel, only(id), "ada").await.unwrap();
    house.store.act(Action::Retry, only(id), "ada").await.unwrap();
    let lease = house.claim(1).await.remove(0);
    assert_eq!((lease.id, lease.maybe_duplicate), (id, false));
    house.settle(outcome(&lease, State::Waiting, house.now())).await;
    house.clock.advance(hours(2));
    assert_eq!(house.store.expire(1).await.unwrap(), 1, "its life time still counts");
}
