//! Several nodes on one outbox: the limits of a relay hold for all of them together, and so does what is wrong with it. Counted at the relay.

use crate::{
    faulty::Faulty,
    house::{House, membership, relay, until},
    sessions::plan,
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tidings_core::outbox::State;
use tidings_delivery::{
    Postman,
    plan::{Limits, Rates, RelayPlan, SmtpPlan, Way},
};
use tidings_sink::{Fault, Sink, SinkOptions, Stage, What, When};
use tidings_store::{Store, Tenure};

const PATIENCE: Duration = Duration::from_secs(30);
/// A hold that lasts until the test has looked, and not longer than others need to look.
const DELAYS: [Duration; 2] = [Duration::from_millis(1200), Duration::from_millis(1500)];

fn sink() -> Sink {
    Sink::listen("127.0.0.1:0".parse().unwrap(), SinkOptions::default()).unwrap()
}

/// The plan of a node, which gives its name with EHLO.
fn of(node: &str, sink: &Sink) -> RelayPlan {
    relay(Way::Smtp(SmtpPlan { helo: node.to_owned(), ..plan(sink.addr()) }))
}

fn condition(postman: &Postman) -> &'static str {
    postman.status().relays[0].condition
}

async fn stop(nodes: Vec<Postman>) {
    for node in nodes {
        assert!(node.stop(PATIENCE).await);
    }
}

fn sent_by(sink: &Sink, node: &str) -> usize {
    sink.letters().iter().filter(|letter| letter.helo == node).count()
}

#[tokio::test]
async fn three_nodes_have_no_more_sessions_than_one() {
    let (house, sink) = (House::build().await, sink());
    sink.add_fault(Fault::new(Stage::Content, When::Always, What::Stall(Duration::from_millis(20))));
    let begun = Instant::now();
    house.accept_many(900).await;
    let nodes = ["a", "b", "c"];
    let limits = Limits { sessions: 4, messages_per_session: 50 };
    let postmen: Vec<_> = nodes.iter().map(|node| house.node(node, vec![RelayPlan { limits, ..of(node, &sink) }])).collect();
    until("each node has sent letters", || async { nodes.iter().all(|node| sent_by(&sink, node) > 0) }).await;
    until("all are settled", || async { house.rows(State::Sent).await.len() == 900 }).await;
    let statistics = sink.statistics();
    assert!((3..=4).contains(&statistics.most_open), "{statistics:?}");
    assert!(sink.duplicates().is_empty());
    stop(postmen).await;
    let kept = house.store.slate("relay:main").await.unwrap();
    assert!(!kept.text.contains("\"nodes\""), "whoever leaves gives back what it has: {}", kept.text);
    // A node writes by time, not by letters.
    let most = 60 + 4 * i64::try_from(begun.elapsed().as_secs()).unwrap();
    assert!(kept.version < most, "{} writings for 900 letters", kept.version);
}

#[tokio::test]
async fn sessions_that_another_node_is_to_have_are_ended_once() {
    let (house, sink) = (House::build().await, sink());
    sink.add_fault(Fault::new(Stage::Content, When::Always, What::Stall(Duration::from_millis(20))));
    let limits = Limits { sessions: 12, messages_per_session: 10_000 };
    house.accept_many(1000).await;
    let first = house.node("first", vec![RelayPlan { limits, ..of("first", &sink) }]);
    until("the first one has all sessions", || async { sink.statistics().most_open == 12 }).await;
    let second = house.node("second", vec![RelayPlan { limits, ..of("second", &sink) }]);
    house.accept_many(1000).await;
    until("the second one sends", || async { sent_by(&sink, "second") > 0 }).await;
    let before = sent_by(&sink, "second");
    house.accept_many(1500).await;
    until("all are settled", || async { house.rows(State::Sent).await.len() == 3500 }).await;
    let statistics = sink.statistics();
    assert!(statistics.sessions <= 12 + 6 + 4, "a session that is too many is not begun anew: {statistics:?}");
    assert!(statistics.most_open == 12 && sent_by(&sink, "second") - before > 300, "{statistics:?}, {}", sent_by(&sink, "second"));
    stop(vec![first, second]).await;
}

#[tokio::test]
async fn one_seat_goes_to_another_node_when_the_one_who_has_it_dies() {
    let (house, sink) = (House::build().await, sink());
    let limits = Limits { sessions: 1, messages_per_session: 1000 };
    house.accept_many(50).await;
    let first = house.node("first", vec![RelayPlan { limits, ..of("first", &sink) }]);
    until("the first one sends", || async { house.rows(State::Sent).await.len() == 50 }).await;
    let second = house.node("second", vec![RelayPlan { limits, ..of("second", &sink) }]);
    house.accept_many(50).await;
    until("all are settled", || async { house.rows(State::Sent).await.len() == 100 }).await;
    assert_eq!(sink.statistics().most_open, 1);
    // As by SIGKILL: nobody gives the seat back.
    drop(first);
    house.accept_many(10).await;
    until("the second one sends", || async { house.rows(State::Sent).await.len() == 110 }).await;
    assert!(sent_by(&sink, "second") >= 10 && sink.duplicates().is_empty());
    stop(vec![second]).await;
}

#[tokio::test]
async fn what_is_claimed_for_a_membership_that_has_ended_meanwhile_goes_at_once_and_once() {
    let (mut house, sink) = (House::build().await, sink());
    let faulty = Faulty::before(&house.store);
    house.store = Arc::clone(&faulty) as Arc<dyn Store>;
    let tenure = Tenure::of(&membership("before"), Instant::now());
    let postman = house.node_for(Arc::clone(&tenure), vec![of("a", &sink)]);
    faulty.keeps_claims.send_replace(true);
    house.accept_many(20).await;
    until("a claim is on its way", || async { faulty.claims_kept.load(Ordering::Acquire) > 0 }).await;
    // Whoever ends a membership takes back what is leased under its name: nothing, yet.
    tenure.lose();
    assert_eq!(house.store.recover("before").await.unwrap(), 0);
    tenure.renew(&membership("after"), Instant::now());
    faulty.keeps_claims.send_replace(false);
    until("all are settled", || async { house.rows(State::Sent).await.len() == 20 }).await;
    assert!(house.rows(State::Sent).await.iter().all(|row| !row.maybe_duplicate), "nobody had tried them");
    assert!(sink.duplicates().is_empty());
    stop(vec![postman]).await;
}

#[tokio::test]
async fn what_may_go_in_a_minute_may_go_once_however_many_nodes_there_are() {
    let (house, sink) = (House::build().await, sink());
    let nodes = ["a", "b", "c"];
    house.accept_many(200).await;
    let rates = Rates { per_minute: Some(50), sessions_per_minute: Some(20), ..Rates::default() };
    let start = || nodes.iter().map(|node| house.node(node, vec![RelayPlan { rates, ..of(node, &sink) }])).collect::<Vec<_>>();
    let postmen = start();
    let throttled = |postmen: &[Postman]| postmen.iter().all(|postman| condition(postman) == "throttled");
    until("the limit is reached", || async { sink.count() == 45 && throttled(&postmen) }).await;
    until("nothing is leased", || async { house.count(State::Claimed).await == 0 }).await;
    assert!(sink.statistics().sessions <= 20);
    // One is killed, two stop; others come.
    let mut postmen = postmen;
    drop(postmen.remove(0));
    stop(postmen).await;
    let postmen = start();
    until("they know what was sent", || async { throttled(&postmen) }).await;
    assert!((40..=45).contains(&sink.count()), "{}", sink.count());
    assert!(house.rows(State::Waiting).await.iter().all(|row| row.attempts == 0));
    stop(postmen).await;
}

#[tokio::test]
async fn what_one_node_finds_holds_all_and_one_at_a_time_tries() {
    let (house, sink) = (House::build().await, sink());
    let nodes = ["a", "b", "c"];
    let held = |node: &&str| {
        let mut plan = of(node, &sink);
        (plan.breaker.delays, plan.breaker.slow_delays) = (DELAYS.to_vec(), DELAYS.to_vec());
        house.node(node, vec![plan])
    };
    let postmen: Vec<_> = nodes.iter().map(held).collect();
    sink.add_fault(Fault::new(Stage::Connect, When::Always, What::reply("421 4.3.2 come back later")));
    house.accept_many(3).await;
    until("all hold it", || async { postmen.iter().all(|postman| condition(postman) == "held") }).await;
    let (before, begun) = (sink.statistics().sessions, std::time::Instant::now());
    house.accept_many(60).await;
    until("it was tried a few times", || async { sink.statistics().sessions >= before + 3 }).await;
    assert!(begun.elapsed() > DELAYS[0] * 2, "three tries in {:?}", begun.elapsed());
    assert!(postmen.iter().all(|postman| condition(postman) == "held"));
    let standing = house.store.relays().await.unwrap().remove(0);
    assert_eq!(standing.condition.as_deref(), Some("held"));
    sink.clear_faults();
    until("all are settled", || async { house.rows(State::Sent).await.len() == 63 }).await;
    until("all know that it works again", || async { postmen.iter().all(|postman| condition(postman) != "held") }).await;
    until("and so do others", || async {
        house.store.relays().await.unwrap().iter().all(|standing| standing.condition.as_deref() != Some("held"))
    })
    .await;
    assert!(sink.duplicates().is_empty());
    stop(postmen).await;
}

#[tokio::test]
async fn a_relay_that_one_node_finds_away_is_replaced_by_the_next_one_at_all() {
    let (house, main, backup) = (House::build().await, sink(), sink());
    main.close().await;
    let route = |node: &str| {
        let first = RelayPlan { next: Some("backup".to_owned()), ..of(node, &main) };
        vec![first, RelayPlan { name: "backup".to_owned(), ..of(node, &backup) }]
    };
    let postmen = vec![house.node("a", route("a")), house.node("b", route("b"))];
    house.accept_many(100).await;
    backup.wait_for(100, PATIENCE).await.unwrap();
    until("all are settled", || async { house.rows(State::Sent).await.len() == 100 }).await;
    main.reopen().unwrap();
    until("it works again", || async { postmen.iter().all(|postman| condition(postman) != "held") }).await;
    house.accept_many(20).await;
    main.wait_for(20, PATIENCE).await.unwrap();
    assert!(main.duplicates().is_empty() && backup.duplicates().is_empty());
    stop(postmen).await;
}

#[tokio::test]
async fn a_node_that_is_alone_for_now_is_as_fast_as_one_that_always_is() {
    let (house, sink) = (House::build().await, sink());
    let rates = Rates { per_day: Some(100_000), ..Rates::default() };
    let postman = house.node("only", vec![RelayPlan { rates, ..of("only", &sink) }]);
    house.accept_many(1).await;
    until("one is settled", || async { house.rows(State::Sent).await.len() == 1 }).await;
    let writings = || async { house.store.slate("relay:main").await.unwrap().version };
    let (before, begun) = (writings().await, Instant::now());
    house.accept_many(2000).await;
    until("all are settled", || async { house.rows(State::Sent).await.len() == 2001 }).await;
    let after = writings().await;
    let most = 40 + 2 * i64::try_from(begun.elapsed().as_secs()).unwrap();
    assert!(after - before < most, "{} writings for 2,000 letters", after - before);
    stop(vec![postman]).await;
}
