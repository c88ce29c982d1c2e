//! Members of one database: numbers, leases that lapse, duties that change hands.

use crate::house::{House, LEASE, a_server, ask, ids, outcome, seconds};
use futures_util::future::join_all;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tidings_core::outbox::State;
use tidings_store::{Claim, Membership, NewNode, Pulse, Settled, StoreError};
use tidings_testkit::postgres::Postgres;

fn a_node(offers: &[&str]) -> NewNode {
    NewNode { shown: "mail".to_owned(), version: "1".to_owned(), offers: owned(offers), predecessor: None, lease: Duration::from_secs(20) }
}

fn owned(offers: &[&str]) -> Vec<String> {
    offers.iter().map(ToString::to_string).collect()
}

/// A node as `tidings serve` is one: it beats, and gives up what it is told to.
struct Node {
    house: House,
    member: Membership,
    offers: Vec<String>,
}

impl Node {
    async fn join(house: House, offers: &[&str]) -> Self {
        let member = house.store.join(a_node(offers)).await.unwrap();
        Self { house, member, offers: owned(offers) }
    }

    async fn beat(&self) -> Option<Pulse> {
        let mut pulse = self.house.store.beat(&self.member, &self.offers).await.unwrap()?;
        self.house.store.give_up(&self.member, &pulse.surplus).await.unwrap();
        pulse.duties.retain(|duty| !pulse.surplus.contains(duty));
        Some(pulse)
    }
}

/// So many nodes with one clock.
async fn nodes(count: u16, offers: &[&str]) -> (Arc<Postgres>, Vec<Node>) {
    let server = a_server().await;
    let first = House::on_postgres(&server, "house").await;
    let clock = Arc::clone(&first.clock);
    let mut nodes = vec![Node::join(first, offers).await];
    for number in 2..=count {
        nodes.push(Node::join(House::node(&server, "house", number, Arc::clone(&clock)).await, offers).await);
    }
    (server, nodes)
}

/// What each believes to have at a moment when all have been told.
async fn held(nodes: &[&Node]) -> Vec<Vec<String>> {
    let mut held = Vec::new();
    for node in nodes {
        held.push(node.beat().await.unwrap().duties);
    }
    let all: Vec<&String> = held.iter().flatten().collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{held:?}");
    held
}

/// Time goes by, and these nodes beat meanwhile; gives who was found lapsed.
async fn pass(nodes: &[&Node], secs: i64) -> Vec<(String, u64)> {
    let mut lapsed = Vec::new();
    for _ in 0..secs / 4 {
        nodes[0].house.clock.advance(seconds(4));
        for node in nodes {
            lapsed.extend(node.beat().await.expect("a member").lapsed);
        }
    }
    lapsed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_join_at_once_have_numbers_of_their_own() {
    let (server, nodes) = nodes(3, &[]).await;
    let joins = (0..24).map(|n| {
        let store = Arc::clone(&nodes[n % 3].house.store);
        tokio::spawn(async move { store.join(a_node(&[])).await.unwrap() })
    });
    let members: Vec<Membership> = join_all(joins).await.into_iter().map(Result::unwrap).collect();
    let numbers: BTreeSet<u16> = members.iter().chain(nodes.iter().map(|node| &node.member)).map(|member| member.number).collect();
    assert_eq!(numbers, (1..=27).collect());
    assert_eq!(members.iter().map(|member| &member.name).collect::<BTreeSet<_>>().len(), 24);

    // Every number was borne once: from here on the one that was left longest ago is given, and no number twice.
    let sql = "INSERT INTO node SELECT n, NULL, '', '', '[]', 0, 0, (n * 7919) % 767 FROM generate_series(28, 767) n";
    let all = Arc::clone(&server);
    tokio::task::spawn_blocking(move || all.sql("house", sql)).await.unwrap();
    let left: Vec<u16> = {
        let all = Arc::clone(&server);
        let rows = tokio::task::spawn_blocking(move || {
            all.sql("house", "SELECT number FROM node WHERE name IS NULL ORDER BY until, number LIMIT 3")
        });
        rows.await.unwrap().lines().map(|number| number.parse().unwrap()).collect()
    };
    let store = &nodes[0].house.store;
    for number in left {
        assert_eq!(store.join(a_node(&[])).await.unwrap().number, number);
    }
    store.leave(&members[0]).await.unwrap();
    let all = Arc::clone(&server);
    tokio::task::spawn_blocking(move || all.sql("house", "UPDATE node SET name = 'n' || number WHERE name IS NULL AND until < 1000"))
        .await
        .unwrap();
    assert_eq!(store.join(a_node(&[])).await.unwrap().number, members[0].number, "the last one that is free");
    assert!(matches!(store.join(a_node(&[])).await, Err(StoreError::Unavailable(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_node_had_waits_again_after_one_lease_and_it_learns_of_it() {
    let (_server, nodes) = nodes(2, &["crowds"]).await;
    let [dead, living] = nodes.as_slice() else { unreachable!() };
    assert_eq!(dead.beat().await.unwrap().duties, ["crowds"]);
    let item = living.house.accept_one(living.house.an_event("e1")).await;
    let claim = |node: &Node| Claim::new(node.member.name.as_str(), "main", 10, LEASE);
    let lease = dead.house.store.claim(claim(dead)).await.unwrap().remove(0);

    assert!(pass(&[living], 16).await.is_empty(), "its lease has not ended");
    assert!(living.house.store.claim(claim(living)).await.unwrap().is_empty());
    assert_eq!(pass(&[living], 4).await, [(dead.member.name.clone(), 1)]);
    assert_eq!(living.beat().await.unwrap().duties, ["crowds"]);
    let again = living.house.store.claim(claim(living)).await.unwrap().remove(0);
    assert!(again.id == item && again.maybe_duplicate);
    let listed = living.house.store.nodes().await.unwrap();
    assert_eq!(listed.iter().map(|node| node.number).collect::<Vec<_>>(), [living.member.number]);

    // It was only stopped, and comes back.
    assert_eq!(dead.beat().await, None);
    assert_eq!(dead.house.store.settle(vec![outcome(&lease, State::Sent, dead.house.now())]).await.unwrap(), [Settled::Stale]);
    assert_eq!(dead.house.store.extend(&dead.member.name, &[(item, lease.token)], LEASE).await.unwrap(), [item]);
    assert_eq!(dead.house.store.leave(&dead.member).await.unwrap(), 0, "nor does it take with it what is another's");
    let settled = living.house.store.settle(vec![outcome(&again, State::Sent, living.house.now())]).await.unwrap();
    assert_eq!(settled, [Settled::Done]);
    let member = dead.house.store.join(a_node(&[])).await.unwrap();
    assert!(member.number != dead.member.number && member.name != dead.member.name);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_comes_back_after_a_lease_finds_its_nodes_where_they_were() {
    let (_server, nodes) = nodes(3, &["crowds"]).await;
    let all: Vec<&Node> = nodes.iter().collect();
    let item = nodes[2].house.accept_one(nodes[2].house.an_event("e1")).await;
    let lease = nodes[2].house.store.claim(ask(&nodes[2].member.name, 1)).await.unwrap();
    assert_eq!(ids(&lease), [item]);
    assert!(pass(&all, 40).await.is_empty());
    nodes[0].house.clock.advance(seconds(120));
    // The first one back has beaten steadily until then, and all others are late.
    assert!(pass(&all[..1], 4).await.is_empty());
    assert!(pass(&all[..2], 12).await.is_empty());
    assert!(nodes[2].beat().await.is_some());
    let settled = nodes[2].house.store.settle(vec![outcome(&lease[0], State::Sent, nodes[2].house.now())]).await.unwrap();
    assert_eq!(settled, [Settled::Done], "what it was doing meanwhile is its own");
    // One that does not come back is found out all the same.
    assert_eq!(pass(&all[..2], 24).await, [(nodes[2].member.name.clone(), 0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_back_keeps_no_dead_node_alive() {
    let (_server, nodes) = nodes(2, &[]).await;
    pass(&[&nodes[0], &nodes[1]], 8).await;
    nodes[0].house.clock.advance(seconds(-3600));
    assert_eq!(pass(&[&nodes[0]], 40).await, [(nodes[1].member.name.clone(), 0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duties_are_shared_handed_over_and_never_done_by_two() {
    let offers = ["a", "b", "c", "d", "e", "f"];
    let server = a_server().await;
    let first = House::on_postgres(&server, "house").await;
    let clock = Arc::clone(&first.clock);
    let mut nodes = vec![Node::join(first, &offers).await];
    assert_eq!(nodes[0].beat().await.unwrap().duties, offers);
    for number in 2..=3 {
        nodes.push(Node::join(House::node(&server, "house", number, Arc::clone(&clock)).await, &offers).await);
    }
    let all: Vec<&Node> = nodes.iter().collect();
    for _ in 0..3 {
        held(&all).await;
    }
    assert!(held(&all).await.iter().all(|held| held.len() == 2));
    // One leaves, and its part is free at once; one dies, and its part is free after its lease.
    nodes[1].house.store.leave(&nodes[1].member).await.unwrap();
    let left = [&nodes[0], &nodes[2]];
    assert_eq!(held(&left).await.iter().map(Vec::len).sum::<usize>(), 6);
    assert_eq!(pass(&left[..1], 20).await.len(), 1);
    assert_eq!(nodes[0].beat().await.unwrap().duties, offers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_comes_back_while_its_place_is_closed_keeps_it_or_knows() {
    let (_server, nodes) = nodes(2, &["crowds"]).await;
    let (mut late, steady) = (nodes[1].member.clone(), &nodes[0]);
    let (mut kept, mut lost) = (0, 0);
    for _ in 0..12 {
        pass(&[steady], 20).await;
        let (late_store, ours) = (Arc::clone(&nodes[1].house.store), steady.house.store.clone());
        steady.house.clock.advance(seconds(1));
        let (back, closed) = tokio::join!(late_store.beat(&late, &[]), ours.beat(&steady.member, &steady.offers));
        let closed = closed.unwrap().unwrap().lapsed.iter().any(|(name, _)| *name == late.name);
        if back.unwrap().is_some() {
            assert!(!closed);
            kept += 1;
        } else {
            lost += 1;
            late = late_store.join(a_node(&[])).await.unwrap();
        }
    }
    assert_eq!(kept + lost, 12);
}
