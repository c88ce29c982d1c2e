//! A clock that steps: what was accepted while it was ahead must not wait until it is there again.

use crate::house::{House, LEASE, hours, ids, outcome, seconds};
use jiff::SignedDuration;
use std::collections::HashSet;
use tidings_core::{
    Id, Timestamp,
    outbox::{Settlement, State},
};
use tidings_store::{HistoryLine, Settled};

fn after(from: Timestamp, by: SignedDuration) -> Timestamp {
    from.checked_add(by).unwrap()
}

async fn last_line(house: &House, id: Id) -> HistoryLine {
    house.detail(id).await.history.pop().unwrap()
}

pub(crate) async fn what_was_accepted_while_the_clock_was_ahead_is_due_once_it_is_set_back(house: &House) {
    let before = house.accept_one(house.an_event("before").due_in(hours(1))).await;
    house.clock.advance(hours(24));
    let first = house.accept_one(house.an_event("first").lives_for(hours(2))).await;
    house.clock.advance(seconds(30));
    let later = house.accept_one(house.an_event("later").due_in(seconds(90))).await;
    let mut arrivals = house.store.arrivals();
    arrivals.mark_unchanged();
    house.clock.advance(hours(-24) - seconds(30));
    let now = house.now();
    let lease = house.claim(10).await;
    assert_eq!(ids(&lease), [first], "due at once");
    assert!(arrivals.has_changed().unwrap(), "whoever waits for work hears of it");
    assert_eq!((lease[0].token, lease[0].attempts, lease[0].maybe_duplicate, lease[0].accepted_at), (1, 0, false, now));

    let row = house.detail(later).await.row;
    assert_eq!(
        (row.state, row.accepted_at, row.due_at, row.expires_at),
        (State::Waiting, now, after(now, seconds(90)), after(now, hours(24)))
    );
    let line = last_line(house, later).await;
    assert_eq!((line.what.as_str(), line.detail.as_deref(), line.at), ("clock", Some("accepted while the clock was 24 h ahead"), now));
    assert_eq!(house.history(later).await, ["accepted", "clock"]);
    assert_eq!(house.history(before).await, ["accepted"], "what was accepted before is as it was");
    assert_eq!(house.detail(before).await.row.due_at, after(now, hours(1)));

    assert_eq!(house.settle(outcome(&lease[0], State::Sent, now)).await, Settled::Done);
    house.clock.advance(seconds(90));
    assert_eq!(ids(&house.claim(10).await), [later]);
    assert!(house.claim(10).await.is_empty(), "nothing is due twice");
    house.clock.advance(hours(23));
    assert_eq!(house.history(later).await, ["accepted", "clock"], "once for a step");
}

pub(crate) async fn a_step_back_changes_times_and_nothing_else(house: &House) {
    house.clock.advance(hours(24));
    let tried = house.accept_one(house.an_event("tried")).await;
    let lease = house.claim(1).await.remove(0);
    let put_off = after(house.now(), seconds(60));
    house.settle(Settlement { due_at: put_off, ..outcome(&lease, State::Waiting, house.now()) }).await;
    let sent = house.accept_one(house.an_event("sent")).await;
    let lease = house.claim(1).await.remove(0);
    house.settle(outcome(&lease, State::Sent, house.now())).await;
    let held = house.accept_one(house.an_event("held").held("by a test").lives_for(hours(1))).await;
    let claimed = house.accept_one(house.an_event("claimed").lives_for(hours(1))).await;
    let lease = house.claim(1).await.remove(0);
    let ahead = house.now();
    house.clock.advance(hours(-24));
    let now = house.now();
    house.store.ready().await.unwrap();

    let row = house.detail(tried).await.row;
    assert_eq!((row.state, row.attempts, row.accepted_at, row.due_at), (State::Waiting, 1, now, after(now, seconds(60))));
    let row = house.detail(sent).await.row;
    assert_eq!((row.state, row.accepted_at), (State::Sent, ahead), "what is over is as it was");
    assert_eq!(house.history(sent).await, ["accepted", "sent"]);
    let row = house.detail(held).await.row;
    assert_eq!((row.state, row.accepted_at, row.expires_at), (State::Held, now, after(now, hours(1))));
    let row = house.detail(claimed).await.row;
    assert_eq!((row.state, row.accepted_at, row.expires_at), (State::Claimed, now, after(now, hours(1))));
    assert_eq!(row.due_at, after(ahead, SignedDuration::try_from(LEASE).unwrap()), "its lease is its holder's");
    assert_eq!(house.settle(outcome(&lease, State::Waiting, now)).await, Settled::Done, "the token is the same");
    assert_eq!(ids(&house.claim(10).await), [claimed]);
    house.clock.advance(hours(1));
    house.store.expire(10).await.unwrap();
    assert_eq!((house.state(held).await, house.state(tried).await), (State::Expired, State::Waiting), "life times end as they were meant");
}

pub(crate) async fn a_small_correction_of_the_clock_moves_nothing(house: &House) {
    let id = house.accept_one(house.an_event("e1")).await;
    house.clock.advance(seconds(-1));
    assert!(house.claim(1).await.is_empty());
    house.clock.advance(seconds(1));
    assert_eq!(ids(&house.claim(1).await), [id]);
    assert_eq!(house.history(id).await, ["accepted"]);
}

pub(crate) async fn each_step_back_is_mended(house: &House) {
    let mut all = Vec::new();
    for n in 0..4 {
        house.clock.advance(hours(5));
        all.push(house.accept_one(house.an_event(&format!("e{n}"))).await);
    }
    // Back to five hours after the start, in steps: each item waits until the clock is behind it.
    for mended in [1, 2, 3] {
        house.clock.advance(hours(-5));
        house.store.ready().await.unwrap();
        for (age, id) in all.iter().rev().enumerate() {
            assert_eq!(house.detail(*id).await.row.accepted_at == house.now(), age <= mended, "{age} after {mended}");
        }
    }
    house.clock.advance(hours(-5));
    let now = house.now();
    assert_eq!(ids(&house.claim(10).await).into_iter().collect::<HashSet<_>>(), all.iter().copied().collect());
    for (id, steps) in all.into_iter().zip(1..) {
        assert_eq!(house.detail(id).await.row.accepted_at, now);
        let lines = house.detail(id).await.history.into_iter().filter(|line| line.what == "clock");
        let told: Vec<_> = lines.map(|line| line.detail.unwrap()).collect();
        assert_eq!(told, vec!["accepted while the clock was 5 h ahead"; steps]);
    }
}

pub(crate) async fn more_items_than_a_step_are_all_mended(house: &House) {
    const COUNT: usize = 5001;
    house.clock.advance(hours(24));
    let batch = (0..COUNT).map(|n| house.an_event(&format!("e{n}")).build()).collect();
    house.store.accept(batch).await.unwrap();
    house.clock.advance(hours(-24));
    let mut arrivals = house.store.arrivals();
    let mut claimed = HashSet::new();
    while claimed.len() < COUNT {
        for lease in house.claim(u16::MAX).await {
            assert_eq!((lease.token, lease.maybe_duplicate), (1, false));
            assert!(claimed.insert(lease.id), "none is given twice");
        }
        if claimed.len() < COUNT {
            tokio::time::timeout(std::time::Duration::from_secs(60), arrivals.changed()).await.expect("the rest becomes due").unwrap();
        }
    }
}
