//! Settle and expire.

use crate::house::{House, hours, outcome, seconds};
use tidings_core::{
    outbox::{Settlement, State},
    time::later,
};
use tidings_store::{Depth, Settled};

pub(crate) async fn each_outcome_is_written_with_its_history(house: &House) {
    for state in [State::Sent, State::Failed, State::Held, State::Waiting] {
        let id = house.accept_one(house.an_event(state.as_str())).await;
        let lease = house.claim(1).await.remove(0);
        house.clock.advance(seconds(2));
        let due_at = later(house.now(), std::time::Duration::from_secs(300));
        let settlement = Settlement { due_at, maybe_duplicate: true, ..outcome(&lease, state, house.now()) };
        assert_eq!(house.settle(settlement.clone()).await, Settled::Done);
        let detail = house.detail(id).await;
        let row = &detail.row;
        assert_eq!((row.state, row.attempts, row.due_at, row.maybe_duplicate), (state, 1, due_at, true));
        assert_eq!(row.last_reply.as_deref(), Some(settlement.reply.as_str()));
        let last = detail.history.last().unwrap();
        assert_eq!((last.at, last.what.as_str(), last.detail.as_deref()), (house.now(), settlement.what, Some(settlement.reply.as_str())));
        assert_eq!(last.next_at, (state == State::Waiting).then_some(due_at), "only what is not cleared is tried again");
        assert!(house.claim(1).await.is_empty(), "{state} is not due");
    }
    house.clock.advance(seconds(400));
    let again = house.claim(10).await;
    assert_eq!((again.len(), again[0].attempts, again[0].token), (1, 1, 2));
}

pub(crate) async fn a_late_node_cannot_overwrite_its_successor(house: &House) {
    let id = house.accept_one(house.an_event("e1")).await;
    let late = house.claim_as("node-a", 1).await.remove(0);
    house.clock.advance(seconds(61));
    let successor = house.claim_as("node-b", 1).await.remove(0);
    assert_eq!(house.settle(outcome(&late, State::Failed, house.now())).await, Settled::Stale);
    assert_eq!(house.state(id).await, State::Claimed);
    assert_eq!(house.settle(outcome(&successor, State::Sent, house.now())).await, Settled::Done);
    assert_eq!(house.settle(outcome(&late, State::Failed, house.now())).await, Settled::Stale);
    assert_eq!(house.state(id).await, State::Sent);
    assert_eq!(house.history(id).await, ["accepted", "lapsed", "sent"]);
}

pub(crate) async fn a_settled_item_cannot_be_settled_again(house: &House) {
    house.accept(house.an_event("e1")).await;
    let lease = house.claim(1).await.remove(0);
    assert_eq!(house.settle(outcome(&lease, State::Waiting, house.now())).await, Settled::Done);
    assert_eq!(house.settle(outcome(&lease, State::Sent, house.now())).await, Settled::Stale);
    assert_eq!(house.state(lease.id).await, State::Waiting);
}

pub(crate) async fn a_stale_settlement_does_not_spoil_the_others(house: &House) {
    for n in 0..3 {
        house.accept(house.an_event(&format!("e{n}"))).await;
    }
    let leases = house.claim(3).await;
    let mut settlements: Vec<_> = leases.iter().map(|lease| outcome(lease, State::Sent, house.now())).collect();
    settlements[1].token = 7;
    settlements.push(Settlement { id: house.id(), ..settlements[0].clone() });
    let answers = house.store.settle(settlements).await.unwrap();
    assert_eq!(answers, [Settled::Done, Settled::Stale, Settled::Done, Settled::Stale]);
    assert_eq!(house.state(leases[1].id).await, State::Claimed);
}

pub(crate) async fn an_item_whose_life_time_is_over_expires(house: &House) {
    let waiting = house.accept_one(house.an_event("e1").lives_for(hours(1))).await;
    let held = house.accept_one(house.an_event("e2").lives_for(hours(1)).held("too many at once")).await;
    let lasting = house.accept_one(house.an_event("e3").lives_for(hours(9)).due_in(hours(5))).await;
    house.clock.advance(hours(1));
    assert!(house.claim(10).await.is_empty(), "a dead link is not given out");
    assert_eq!(house.store.expire(10).await.unwrap(), 2);
    assert_eq!(house.store.expire(10).await.unwrap(), 0);
    for id in [waiting, held] {
        assert_eq!(house.state(id).await, State::Expired);
        assert_eq!(house.history(id).await.last().unwrap(), "expired");
    }
    assert_eq!(house.state(lasting).await, State::Waiting);
}

pub(crate) async fn a_lapsed_lease_past_its_life_time_expires(house: &House) {
    let id = house.accept_one(house.an_event("e1").lives_for(seconds(90))).await;
    house.claim(1).await;
    house.clock.advance(seconds(30));
    let other = house.accept_one(house.an_event("e2").lives_for(seconds(10))).await;
    house.claim(1).await;
    house.clock.advance(seconds(60));
    house.clock.advance(seconds(-1));
    assert_eq!(house.store.expire(10).await.unwrap(), 0, "both leases are somebody's or their time is not over");
    house.clock.advance(seconds(1));
    assert_eq!(house.store.expire(10).await.unwrap(), 2);
    for id in [id, other] {
        assert_eq!(house.history(id).await, ["accepted", "lapsed", "expired"]);
        assert!(house.detail(id).await.row.maybe_duplicate);
    }
    let depths: Vec<Depth> = house.store.depths().await.unwrap();
    assert!(depths.is_empty());
}

pub(crate) async fn expiring_goes_no_further_than_asked(house: &House) {
    for n in 0..5 {
        house.accept(house.an_event(&format!("e{n}")).lives_for(seconds(1))).await;
    }
    house.clock.advance(seconds(1));
    let mut counts = Vec::new();
    for _ in 0..4 {
        counts.push(house.store.expire(2).await.unwrap());
    }
    assert_eq!(counts, [2, 2, 1, 0]);
}
