//! Nodes: who serves, and what only one of them does.

use crate::house::{House, LEASE, ids, seconds};
use std::time::Duration;
use tidings_core::outbox::State;
use tidings_store::{Claim, Membership, NewNode};

pub(crate) fn a_node(shown: &str, offers: &[&str]) -> NewNode {
    NewNode {
        shown: shown.to_owned(),
        version: "1.2.3".to_owned(),
        offers: offers.iter().map(ToString::to_string).collect(),
        predecessor: None,
        lease: Duration::from_secs(20),
    }
}

/// A beat, and the duties after it.
pub(crate) async fn duties(house: &House, membership: &Membership, offers: &[&str]) -> Vec<String> {
    let offers: Vec<String> = offers.iter().map(ToString::to_string).collect();
    house.store.beat(membership, &offers).await.unwrap().expect("a member").duties
}

pub(crate) async fn a_node_joins_does_what_it_offers_and_leaves(house: &House) {
    assert!(house.store.nodes().await.unwrap().is_empty());
    let offers = ["crowds", "directory:hr"];
    let membership = house.store.join(a_node("mail-1", &offers)).await.unwrap();
    let beat = house.store.beat(&membership, &offers.map(str::to_owned)).await.unwrap().unwrap();
    assert_eq!((beat.duties.as_slice(), beat.surplus.len(), beat.lapsed.len()), (offers.map(str::to_owned).as_slice(), 0, 0));

    let listed = house.store.nodes().await.unwrap().remove(0);
    assert_eq!((listed.node.as_str(), listed.version.as_str(), listed.number), ("mail-1", "1.2.3", membership.number));
    assert_eq!(
        (listed.name, listed.since, listed.seen, listed.duties),
        (membership.name.clone(), house.now(), house.now(), offers.map(str::to_owned).to_vec())
    );

    house.accept_one(house.an_event("e1")).await;
    let claim = Claim::new(membership.name.as_str(), "main", 10, LEASE);
    let lease = house.store.claim(claim.clone()).await.unwrap().remove(0);
    assert_eq!(house.store.leave(&membership).await.unwrap(), 1);
    assert!(house.store.nodes().await.unwrap().is_empty());
    let item = house.detail(lease.id).await;
    assert_eq!((item.row.state, item.row.maybe_duplicate), (State::Waiting, true));
    assert_eq!(item.history.last().unwrap().what, "lapsed");
    assert_eq!(house.store.beat(&membership, &[]).await.unwrap(), None, "it is no member any more");
}

pub(crate) async fn a_node_that_starts_anew_takes_back_what_its_predecessor_had(house: &House) {
    let first = house.store.join(a_node("mail-1", &["crowds"])).await.unwrap();
    assert_eq!(duties(house, &first, &["crowds"]).await, ["crowds"]);
    let item = house.accept_one(house.an_event("e1")).await;
    assert_eq!(ids(&house.store.claim(Claim::new(first.name.as_str(), "main", 10, LEASE)).await.unwrap()), [item]);
    // It was killed, and starts again a second later.
    house.clock.advance(seconds(1));
    let again = house.store.join(NewNode { predecessor: Some(first.name.clone()), ..a_node("mail-1", &["crowds"]) }).await.unwrap();
    assert_eq!(again.recovered, 1);
    assert_eq!(duties(house, &again, &["crowds"]).await, ["crowds"], "and what it did alone");
    assert_eq!(house.store.nodes().await.unwrap().len(), 1);
    let lease = house.store.claim(Claim::new(again.name.as_str(), "main", 10, LEASE)).await.unwrap().remove(0);
    assert!(lease.id == item && lease.maybe_duplicate);
}

pub(crate) async fn what_is_no_longer_offered_is_not_done(house: &House) {
    let membership = house.store.join(a_node("mail-1", &["a", "b"])).await.unwrap();
    assert_eq!(duties(house, &membership, &["a", "b"]).await, ["a", "b"]);
    house.store.give_up(&membership, &["a".to_owned()]).await.unwrap();
    assert_eq!(duties(house, &membership, &["b", "c"]).await, ["b", "c"]);
    assert_eq!(house.store.nodes().await.unwrap()[0].duties, ["b", "c"]);
}
