//! Claim, extend, recover.

use crate::house::{House, LEASE, ask, hours, ids, lease_end, outcome, seconds};
use futures_util::future::join_all;
use std::{collections::HashSet, sync::Arc};
use tidings_core::{
    Lane,
    lane::LaneSet,
    outbox::{Role, Settlement, State},
};
use tidings_store::{Claim, Settled};

pub(crate) async fn higher_lanes_go_first_and_the_longest_due_first_within_a_lane(house: &House) {
    let digest = house.accept_one(house.an_event("e1").lane(Lane::Digests)).await;
    let late = house.accept_one(house.an_event("e2").due_in(seconds(-10))).await;
    let later = house.accept_one(house.an_event("e3").due_in(seconds(-60))).await;
    let code = house.accept_one(house.an_event("e4").lane(Lane::Codes)).await;
    let also_late = house.accept_one(house.an_event("e5").due_in(seconds(-10))).await;
    assert_eq!(ids(&house.claim(2).await), [code, later]);
    assert_eq!(ids(&house.claim(10).await), [late, also_late, digest]);
}

pub(crate) async fn a_share_goes_to_the_lower_lane_that_has_been_due_longest(house: &House) {
    let code = |n: u8| house.an_event(&format!("code{n}")).lane(Lane::Codes);
    let digest = house.accept_one(house.an_event("digest").lane(Lane::Digests).due_in(seconds(-30))).await;
    let reminder = house.accept_one(house.an_event("reminder").lane(Lane::Reminders).due_in(seconds(-20))).await;
    let notice = house.accept_one(house.an_event("notice").due_in(seconds(10))).await;
    let mut codes = Vec::new();
    for n in 0..6 {
        codes.push(house.accept_one(code(n)).await);
    }
    let with_share = |limit, share| Claim { share, ..ask("node-a", limit) };
    assert_eq!(ids(&house.store.claim(with_share(4, 1)).await.unwrap()), [codes[0], codes[1], codes[2], digest]);
    // No other lower lane is due: the rest of the share stays with the codes.
    assert_eq!(ids(&house.store.claim(with_share(2, 2)).await.unwrap()), [reminder, codes[3]]);
    house.clock.advance(seconds(20));
    assert_eq!(
        ids(&house.store.claim(with_share(9, 3)).await.unwrap()),
        [codes[4], codes[5], notice],
        "a claim that is not full gives all"
    );
}

pub(crate) async fn no_lane_starves_while_urgent_items_keep_coming(house: &House) {
    let mut low = Vec::new();
    for lane in [Lane::Requests, Lane::Notices, Lane::Digests] {
        low.push(house.accept_one(house.an_event(lane.as_str()).lane(lane)).await);
    }
    let mut given = HashSet::new();
    for round in 0..40 {
        for n in 0..8 {
            house.accept(house.an_event(&format!("{round}-{n}")).lane(Lane::Codes)).await;
        }
        house.clock.advance(seconds(1));
        given.extend(ids(&house.store.claim(Claim { share: 1, ..ask("node-a", 8) }).await.unwrap()));
    }
    assert!(low.iter().all(|id| given.contains(id)), "every lane has had its turn");
}

pub(crate) async fn only_the_lanes_asked_for_are_given(house: &House) {
    let notice = house.accept_one(house.an_event("e1").due_in(seconds(-60))).await;
    let code = house.accept_one(house.an_event("e2").lane(Lane::Codes)).await;
    let urgent = Claim { lanes: LaneSet::down_to(Lane::Requests), share: 1, ..ask("node-a", 10) };
    assert_eq!(ids(&house.store.claim(urgent).await.unwrap()), [code]);
    assert_eq!(ids(&house.claim(10).await), [notice]);
}

pub(crate) async fn a_relay_that_takes_over_gets_no_secrets(house: &House) {
    let secret = house.accept_one(house.an_event("e1").lane(Lane::Codes).secret("hush")).await;
    let plain = house.accept_one(house.an_event("e2")).await;
    let over = Claim { taken_over_by: Some("backup".to_owned()), ..ask("node-a", 10) };
    assert_eq!(ids(&house.store.claim(over.clone()).await.unwrap()), [plain]);
    assert!(house.store.claim(over).await.unwrap().is_empty());
    assert_eq!(house.state(secret).await, State::Waiting);
    let line = house.detail(plain).await.history.pop().unwrap();
    assert_eq!((line.what.as_str(), line.detail.as_deref()), ("taken", Some("backup takes over: main is held")));
    assert_eq!(ids(&house.claim(10).await), [secret], "its own relay sends it when it is back");
}

pub(crate) async fn what_ends_with_the_relay_that_took_over_is_listed_under_it(house: &House) {
    for n in 0..3 {
        house.accept(house.an_event(&format!("e{n}"))).await;
    }
    let over = Claim { taken_over_by: Some("backup".to_owned()), ..ask("node-a", 10) };
    let leases = house.store.claim(over).await.unwrap();
    for (lease, state) in leases.iter().zip([State::Sent, State::Failed, State::Waiting]) {
        let settlement = Settlement { relay: Some("backup".into()), ..outcome(lease, state, house.now()) };
        assert_eq!(house.settle(settlement).await, Settled::Done);
    }
    let mut relays = Vec::new();
    for lease in &leases {
        relays.push(house.detail(lease.id).await.row.relay);
    }
    assert_eq!(relays, ["backup", "backup", "main"], "what waits again waits for its own relay");
    assert_eq!(house.detail(leases[0].id).await.row.last_reply.as_deref(), Some("250 2.0.0 queued"));
}

pub(crate) async fn what_is_not_yet_due_or_of_another_relay_stays(house: &House) {
    house.accept(house.an_event("e1").by("backup")).await;
    let soon = house.accept_one(house.an_event("e2").due_in(seconds(30))).await;
    assert!(house.claim(10).await.is_empty());
    house.clock.advance(seconds(30));
    assert_eq!(ids(&house.claim(10).await), [soon]);
    let nowhere = Claim { relay: "nowhere".to_owned(), ..ask("node-a", 10) };
    assert!(house.store.claim(nowhere).await.unwrap().is_empty());
}

pub(crate) async fn a_claimed_item_is_hidden_from_others(house: &House) {
    let id = house.accept_one(house.an_event("e1")).await;
    assert_eq!(ids(&house.claim_as("node-a", 10).await), [id]);
    assert!(house.claim_as("node-b", 10).await.is_empty());
    let row = house.detail(id).await.row;
    assert_eq!((row.state, row.due_at), (State::Claimed, lease_end(house.now())));
}

pub(crate) async fn a_claim_carries_all_that_delivery_needs(house: &House) {
    let items = house.accept(house.an_event("e1").to(&["ada@example.org", "grace@example.org"]).lane(Lane::Requests)).await;
    let leases = house.claim(10).await;
    let copy = &leases[1];
    assert_eq!((copy.id, copy.token, copy.role, copy.lane), (items[1], 1, Role::Cc, Lane::Requests));
    assert_eq!(
        (copy.to.as_str(), copy.kind.as_str(), copy.attempts, copy.maybe_duplicate),
        ("grace@example.org", "membership.joined", 0, false)
    );
    assert_eq!(copy.sender.as_ref().unwrap().as_str(), "no-reply@example.org");
    assert_eq!(copy.message_id, format!("{}@tidings.example.org", items[0]));
    assert_eq!((copy.accepted_at, &*copy.bytes), (house.now(), b"Subject: You are in\r\n\r\nWelcome.\r\n".as_slice()));
    let event = house.store.event(copy.event).await.unwrap().unwrap();
    assert_eq!(event.event_id, "e1");
}

pub(crate) async fn a_lapsed_lease_is_due_again_and_marked(house: &House) {
    let id = house.accept_one(house.an_event("e1")).await;
    house.claim_as("node-a", 1).await;
    house.clock.advance(seconds(59));
    assert!(house.claim_as("node-b", 1).await.is_empty());
    house.clock.advance(seconds(1));
    let again = house.claim_as("node-b", 1).await;
    assert_eq!((again[0].id, again[0].token, again[0].maybe_duplicate, again[0].attempts), (id, 2, true, 0));
    assert_eq!(house.history(id).await, ["accepted", "lapsed"]);
    assert!(house.detail(id).await.row.maybe_duplicate);
}

pub(crate) async fn a_claim_stops_at_its_bytes_but_gives_at_least_one(house: &House) {
    for n in 0..5 {
        house.accept(house.an_event(&format!("e{n}")).text(vec![b'x'; 1000])).await;
    }
    let small = |max_bytes| Claim { max_bytes, ..ask("node-a", 10) };
    assert_eq!(house.store.claim(small(10)).await.unwrap().len(), 1);
    assert_eq!(house.store.claim(small(2500)).await.unwrap().len(), 2);
    assert_eq!(house.store.claim(small(2000)).await.unwrap().len(), 2);
    assert_eq!(house.store.claim(small(2000)).await.unwrap().len(), 0);
}

pub(crate) async fn a_lease_can_be_prolonged_by_its_holder_only(house: &House) {
    for n in 0..2 {
        house.accept(house.an_event(&format!("e{n}"))).await;
    }
    let leases = house.claim_as("node-a", 2).await;
    let held: Vec<_> = leases.iter().map(|lease| (lease.id, lease.token)).collect();
    house.clock.advance(seconds(50));
    assert_eq!(house.store.extend("node-b", &held, LEASE).await.unwrap(), [held[0].0, held[1].0]);
    assert_eq!(house.store.extend("node-a", &[held[0], (held[1].0, 9)], LEASE).await.unwrap(), [held[1].0]);
    house.clock.advance(seconds(20));
    let lapsed = house.claim_as("node-b", 10).await;
    assert_eq!(ids(&lapsed), [held[1].0], "the prolonged one is still node-a's");
    assert_eq!(house.store.extend("node-a", &held, LEASE).await.unwrap(), [held[1].0]);
}

pub(crate) async fn a_node_that_starts_anew_gets_its_items_back(house: &House) {
    for n in 0..5 {
        house.accept(house.an_event(&format!("e{n}"))).await;
    }
    let mine = house.claim_as("node-a", 2).await;
    let others = house.claim_as("node-b", 2).await;
    assert_eq!(house.store.recover("node-a").await.unwrap(), 2);
    assert_eq!(house.store.recover("node-a").await.unwrap(), 0);
    assert_eq!(house.store.recover("never-heard-of").await.unwrap(), 0);
    assert_eq!(house.settle(outcome(&mine[0], State::Sent, house.now())).await, Settled::Stale);
    assert_eq!(house.settle(outcome(&others[0], State::Sent, house.now())).await, Settled::Done);
    let row = house.detail(mine[0].id).await.row;
    assert_eq!((row.state, row.due_at, row.maybe_duplicate), (State::Waiting, house.now(), true));
    assert_eq!(house.history(mine[0].id).await, ["accepted", "lapsed"]);
    assert_eq!(house.claim_as("node-a", 10).await.len(), 3);
}

pub(crate) async fn a_paused_relay_gives_nothing(house: &House) {
    house.accept(house.an_event("e1")).await;
    house.store.pause_relay("main", true, "ada").await.unwrap();
    assert!(house.claim(1).await.is_empty());
    let mut arrivals = house.store.arrivals();
    arrivals.mark_unchanged();
    house.store.pause_relay("main", false, "ada").await.unwrap();
    assert!(arrivals.has_changed().unwrap());
    assert_eq!(house.claim(1).await.len(), 1);
}

pub(crate) async fn many_claimers_never_share_an_item(house: &House) {
    let batch = (0..300).map(|n| house.an_event(&format!("e{n}")).build()).collect();
    house.store.accept(batch).await.unwrap();
    let tasks = (0..12).map(|n| {
        let store = Arc::clone(&house.store);
        tokio::spawn(async move {
            let mut mine = Vec::new();
            loop {
                let leases = store.claim(ask(&format!("node-{n}"), 7)).await.unwrap();
                if leases.is_empty() {
                    return mine;
                }
                mine.extend(ids(&leases));
            }
        })
    });
    let all: Vec<_> = join_all(tasks).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(all.len(), 300);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 300);
}

pub(crate) async fn an_item_born_claimed_is_settled_with_token_one(house: &House) {
    let id = house.accept_one(house.an_event("e1").claimed_by("cli-7")).await;
    assert_eq!(house.state(id).await, State::Claimed);
    assert!(house.claim(1).await.is_empty());
    house.clock.advance(seconds(14 * 60));
    assert!(house.claim(1).await.is_empty(), "it is its sender's for a quarter of an hour");
    house.clock.advance(hours(1));
    let lease = house.claim(1).await.remove(0);
    assert_eq!((lease.id, lease.token, lease.maybe_duplicate), (id, 2, true));

    let id = house.accept_one(house.an_event("e2").claimed_by("cli-7")).await;
    let sent = tidings_core::outbox::Settlement { id, token: 1, ..outcome(&lease, State::Sent, house.now()) };
    assert_eq!(house.settle(sent).await, Settled::Done);
    assert_eq!(house.state(id).await, State::Sent);
}
