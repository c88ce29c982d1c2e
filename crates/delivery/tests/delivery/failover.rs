//! A relay that is held, and the one that takes over; urgent letters among many others.

use crate::{
    house::{House, live, relay, until},
    sessions::plan,
};
use std::time::Duration;
use tidings_core::{Id, Lane, outbox::State};
use tidings_delivery::plan::{BreakerPlan, Limits, RelayPlan, Way};
use tidings_sink::{Fault, Sink, SinkOptions, Stage, What, When};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn sink() -> Sink {
    Sink::listen("127.0.0.1:0".parse().unwrap(), SinkOptions::default()).unwrap()
}

pub(crate) fn smtp(name: &str, sink: &Sink, next: Option<&str>) -> RelayPlan {
    RelayPlan { name: name.to_owned(), next: next.map(str::to_owned), ..relay(Way::Smtp(plan(sink.addr()))) }
}

async fn history(house: &House, id: Id) -> Vec<String> {
    house.store.item(id).await.unwrap().unwrap().history.into_iter().map(|line| line.what).collect()
}

#[tokio::test]
async fn the_next_relay_sends_while_the_first_is_held_but_no_secrets_and_then_the_first_again() {
    let (house, main, backup) = (House::build().await, sink(), sink());
    main.close().await;
    let items = house.accept_many(200).await;
    let secret = house.accept_secret("ada@example.org").await;
    let postman = house.postman_with(vec![smtp("main", &main, Some("backup")), smtp("backup", &backup, None)], live(), None);
    backup.wait_for(200, PATIENCE).await.unwrap();
    until("all but the secret are settled", || async { house.rows(State::Sent).await.len() == 200 }).await;
    let row = house.row(items[0]).await;
    assert_eq!((row.relay.as_str(), row.attempts, row.maybe_duplicate), ("backup", 1, false), "attempts are spent by refusals only");
    assert!(row.last_reply.unwrap().starts_with("250"));
    let lines = history(&house, items[0]).await;
    assert!(lines.iter().any(|line| line == "taken") && lines.last().is_some_and(|line| line == "sent"), "{lines:?}");
    assert_eq!((backup.letters_to("ada@example.org").len(), house.row(secret).await.state == State::Sent), (0, false));
    assert!(postman.status().relays[0].condition == "held" && postman.status().relays[1].condition != "held");
    until("everybody can see who sends", || async {
        let relays = house.store.relays().await.unwrap();
        relays.iter().any(|r| r.name == "main" && r.reason.as_deref().is_some_and(|why| why.contains("backup sends its letters meanwhile")))
    })
    .await;

    main.reopen().unwrap();
    main.wait_for(1, PATIENCE).await.unwrap();
    assert_eq!(main.letters_to("ada@example.org").len(), 1);
    until("the relay works again", || async { postman.status().relays[0].condition != "held" }).await;
    let later = house.accept_many(50).await;
    main.wait_for(51, PATIENCE).await.unwrap();
    until("all are settled", || async { house.rows(State::Sent).await.len() == 251 }).await;
    assert_eq!((house.row(later[0]).await.relay.as_str(), house.row(secret).await.relay.as_str()), ("main", "main"));
    assert!(postman.stop(PATIENCE).await);
    assert!(main.duplicates().is_empty() && backup.duplicates().is_empty());
}

#[tokio::test]
async fn the_chain_is_followed_and_a_paused_relay_keeps_its_letters() {
    let (house, main, second, third) = (House::build().await, sink(), sink(), sink());
    main.close().await;
    second.close().await;
    house.accept_many(20).await;
    let relays = vec![smtp("main", &main, Some("second")), smtp("second", &second, Some("third")), smtp("third", &third, None)];
    let postman = house.postman_with(relays, live(), None);
    third.wait_for(20, PATIENCE).await.unwrap();
    house.store.pause_relay("main", true, "ops").await.unwrap();
    until("the pause is seen", || async { postman.status().relays[0].paused }).await;
    house.accept_many(5).await;
    // What the third relay still does for others shows that it is awake.
    house.accept_by("second", ["probe@example.org".to_owned()], Lane::Digests).await;
    third.wait_for(21, PATIENCE).await.unwrap();
    assert_eq!((third.count(), house.count(State::Waiting).await), (21, 5), "a pause is no failover");
    house.store.pause_relay("main", false, "ops").await.unwrap();
    third.wait_for(26, PATIENCE).await.unwrap();
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn a_relay_that_fails_at_letters_gets_one_for_its_probe_and_recovers() {
    let (house, main, backup) = (House::build().await, sink(), sink());
    main.add_fault(Fault::new(Stage::Mail, When::Always, What::reply("421 4.3.2 not now")));
    let mut first = smtp("main", &main, Some("backup"));
    first.breaker = BreakerPlan { delays: vec![Duration::from_millis(50)], slow_delays: vec![Duration::from_millis(50)] };
    let postman = house.postman_with(vec![first, smtp("backup", &backup, None)], live(), None);
    house.accept_many(30).await;
    // The last one may be the probe's for ever: it waits for its own relay until somebody has a letter to send.
    backup.wait_for(29, PATIENCE).await.unwrap();
    main.clear_faults();
    house.accept_many(1).await;
    until("the relay works again", || async { postman.status().relays[0].condition != "held" }).await;
    until("all are settled", || async { house.rows(State::Sent).await.len() == 31 }).await;
    assert!(main.count() >= 1);
    assert!(house.rows(State::Sent).await.iter().all(|row| row.attempts == 1), "nobody's attempts were spent by the relay's trouble");
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn an_urgent_letter_on_a_slow_relay_waits_for_what_is_on_the_wire_only() {
    let (house, sink) = (House::build().await, sink());
    sink.add_fault(Fault::new(Stage::Content, When::Always, What::Stall(Duration::from_millis(250))));
    let mut plan = smtp("main", &sink, None);
    plan.limits = Limits { sessions: 2, messages_per_session: 1000 };
    house.accept((0..2000).map(|n| format!("low{n}@example.org")), Lane::Digests).await;
    let postman = house.postman(plan, live());
    sink.wait_for(10, PATIENCE).await.unwrap();
    for n in 0..3 {
        let to = format!("urgent{n}@example.org");
        house.accept([to.clone()], Lane::Codes).await;
        let before = sink.letters().len();
        sink.wait_until(|letters| letters.iter().any(|letter| letter.to.contains(&to)), PATIENCE).await.unwrap();
        // Two sessions, in each the letter at hand and the one behind it; the share of the low lane; what goes while it is claimed.
        let place = sink.letters().iter().position(|letter| letter.to.contains(&to)).unwrap();
        let overtaken_by = place.saturating_sub(before);
        assert!(overtaken_by <= 2 * 2 + 2 + 4, "{overtaken_by} letters went before an urgent one");
    }
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn a_low_letter_is_sent_although_urgent_ones_never_end() {
    let (house, sink) = (House::build().await, sink());
    sink.add_fault(Fault::new(Stage::Content, When::Always, What::Stall(Duration::from_millis(2))));
    let mut plan = smtp("main", &sink, None);
    plan.limits = Limits { sessions: 1, messages_per_session: 1000 };
    house.accept((0..5000).map(|n| format!("urgent{n}@example.org")), Lane::Codes).await;
    for lane in [Lane::Notices, Lane::Digests] {
        house.accept((0..10).map(|n| format!("{lane}{n}@example.org")), lane).await;
    }
    let postman = house.postman(plan, live());
    let low = |letters: &[std::sync::Arc<tidings_sink::Received>]| {
        letters.iter().filter(|letter| !letter.to[0].starts_with("urgent")).count() == 20
    };
    sink.wait_until(low, PATIENCE).await.unwrap();
    assert!(sink.count() < 1000, "twenty low letters had to wait for {} others", sink.count());
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn urgent_letters_are_fast_while_many_others_wait() {
    let (house, sink) = (House::build().await, sink());
    house.accept((0..4000).map(|n| format!("low{n}@example.org")), Lane::Digests).await;
    let postman = house.postman(smtp("main", &sink, None), live());
    sink.wait_for(500, PATIENCE).await.unwrap();
    let items = house.accept(["urgent@example.org".to_owned()], Lane::Codes).await;
    sink.wait_until(|letters| letters.iter().any(|letter| letter.to[0].starts_with("urgent")), PATIENCE).await.unwrap();
    until("it is settled", || async { house.row(items[0]).await.state == State::Sent }).await;
    assert!(sink.count() < 4000, "it overtook those that were there before");
    assert!(postman.stop(PATIENCE).await);
}
