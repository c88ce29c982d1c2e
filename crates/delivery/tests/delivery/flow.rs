//! From the outbox to the sink: the postman at work, through outages, refusals, guards and restarts.

use crate::{
    house::{House, live, relay, until},
    sessions::plan,
};
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};
use tidings_core::{
    Address, Lane,
    guard::{EnvironmentGuard, Mode},
    outbox::State,
};
use tidings_delivery::plan::{BreakerPlan, Limits, RelayPlan, SmtpPlan, Way};
use tidings_sink::{Fault, Sink, SinkOptions, Stage, What, When};

const PATIENCE: Duration = Duration::from_secs(30);

fn sink() -> Sink {
    Sink::listen("127.0.0.1:0".parse().unwrap(), SinkOptions::default()).unwrap()
}

fn smtp(sink: &Sink) -> RelayPlan {
    relay(Way::Smtp(plan(sink.addr())))
}

/// As [`smtp`], with a single letter on the way in a session.
fn unchunked(sink: &Sink) -> RelayPlan {
    relay(Way::Smtp(SmtpPlan { chunking: false, ..plan(sink.addr()) }))
}

async fn settled(house: &House, count: usize) {
    until("every letter is settled", || async { house.rows(State::Sent).await.len() == count }).await;
}

#[tokio::test]
async fn letters_arrive_once_and_are_settled() {
    let (house, sink) = (House::build().await, sink());
    let items = house.accept_many(300).await;
    let postman = house.postman(smtp(&sink), live());
    sink.wait_for(300, PATIENCE).await.unwrap();
    settled(&house, 300).await;
    // Accepted while the postman is awake and idle.
    house.accept_many(10).await;
    sink.wait_for(310, PATIENCE).await.unwrap();
    settled(&house, 310).await;
    let row = house.row(items[0]).await;
    assert_eq!((row.state, row.attempts, row.maybe_duplicate), (State::Sent, 1, false));
    assert!(row.last_reply.unwrap().starts_with("250"));
    assert!(postman.stop(PATIENCE).await);
    assert!(sink.duplicates().is_empty());
    until("the sink has seen every QUIT", || async { sink.statistics().open == 0 }).await;
}

#[tokio::test]
async fn a_refusal_touches_its_letter_only() {
    let (house, sink) = (House::build().await, sink());
    sink.add_fault(Fault::new(Stage::Rcpt, When::ToAddressContains("reader3@".into()), What::reply("550 5.1.1 nobody")));
    sink.add_fault(Fault::new(Stage::Content, When::ToAddressContains("reader5@".into()), What::reply("451 4.3.0 later")));
    let items = house.accept_many(20).await;
    let postman = house.postman(smtp(&sink), live());
    settled(&house, 18).await;
    until("both refusals are settled", || async { house.count(State::Claimed).await == 0 }).await;
    let (never, later) = (house.row(items[3]).await, house.row(items[5]).await);
    assert_eq!((never.state, never.attempts), (State::Failed, 1));
    assert_eq!(never.last_reply.as_deref(), Some("rcpt: 550 5.1.1 nobody"));
    assert_eq!((later.state, later.attempts), (State::Waiting, 1));
    let pause = later.due_at.duration_since(house.clock.now()).as_secs();
    assert!((1..=73).contains(&pause), "the first delay is a minute: {pause} s");
    assert_eq!(postman.status().relays[0].condition, "open");
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn an_outage_holds_the_relay_spends_no_attempts_and_loses_nothing() {
    outage(unchunked, 5).await;
}

#[tokio::test]
async fn an_outage_with_letters_in_chunks_leaves_no_more_in_doubt_than_were_on_the_way() {
    outage(smtp, 5 * 16).await;
}

/// `in_doubt` is how many letters may be on the way at most.
async fn outage(relay: fn(&Sink) -> RelayPlan, in_doubt: usize) {
    let (house, sink) = (House::build().await, sink());
    sink.close().await;
    house.accept_many(500).await;
    let postman = house.postman(relay(&sink), live());
    until("the relay is held", || async { postman.status().relays[0].condition == "held" }).await;
    let told = || async { house.store.relays().await.unwrap().into_iter().find(|relay| relay.name == "main") };
    until("other processes can see why", || async {
        told().await.is_some_and(|relay| {
            relay.condition.as_deref() == Some("held") && relay.reason.is_some_and(|r| r.contains("cannot be reached"))
        })
    })
    .await;
    assert!(house.rows(State::Waiting).await.iter().all(|row| row.attempts == 0));
    sink.reopen().unwrap();
    sink.wait_for(200, PATIENCE).await.unwrap();
    // A second outage in the middle of it: sessions are dropped where they stand.
    sink.close().await;
    sink.reopen().unwrap();
    until("every letter has arrived, or waits for a minute as unknown", || async {
        let marked = house.rows(State::Waiting).await.iter().filter(|row| row.maybe_duplicate).count();
        house.rows(State::Sent).await.len() + marked == 500
    })
    .await;
    let unknown = house.rows(State::Waiting).await;
    assert!(unknown.len() <= in_doubt, "only what had left whole may be unknown: {}", unknown.len());
    let arrived: HashSet<String> = sink.letters().iter().map(|letter| letter.to[0].clone()).collect();
    let lost: Vec<_> = house.rows(State::Sent).await.into_iter().filter(|row| !arrived.contains(row.to.as_str())).collect();
    assert!(lost.is_empty(), "said to be sent and never arrived: {lost:?}");
    assert!(house.rows(State::Sent).await.iter().all(|row| row.attempts == 1 && !row.maybe_duplicate));
    assert!(sink.duplicates().is_empty(), "{:?}", sink.duplicates());
    until("the relay is open for everybody to see", || async {
        told().await.is_some_and(|relay| relay.condition.as_deref() != Some("held"))
    })
    .await;
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn hang_ups_in_the_middle_lose_nothing_and_duplicate_only_what_is_marked() {
    let (house, sink) = (House::build().await, sink());
    sink.add_fault(Fault::new(Stage::Rcpt, When::Every(40), What::Hangup));
    sink.add_fault(Fault::new(Stage::Content, When::Every(60), What::HangupAfterAccept));
    let mut plan = smtp(&sink);
    plan.retry.rhythm = tidings_core::retry::Rhythm::Delays(vec![Duration::from_millis(200)]);
    house.accept_many(400).await;
    let postman = house.postman(plan, live());
    settled(&house, 400).await;
    let marked: HashSet<String> =
        house.rows(State::Sent).await.into_iter().filter(|row| row.maybe_duplicate).map(|row| row.message_id).collect();
    assert!(!marked.is_empty());
    let twice: HashMap<String, u32> = sink.duplicates().into_iter().map(|d| (d.message_id, d.times)).collect();
    for id in twice.keys() {
        assert!(marked.contains(id.trim_matches(['<', '>'])), "{id} came twice and is not marked");
    }
    let arrived: HashSet<String> = sink.letters().iter().map(|letter| letter.to[0].clone()).collect();
    assert_eq!(arrived.len(), 400);
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn a_letter_under_which_every_session_breaks_does_not_hold_up_the_others() {
    let (house, sink) = (House::build().await, sink());
    sink.add_fault(Fault::new(Stage::Data, When::ToAddressContains("reader0@".into()), What::Hangup));
    let items = house.accept_many(10).await;
    let postman = house.postman(unchunked(&sink), live());
    settled(&house, 9).await;
    until("the poisonous letter has spent an attempt", || async { house.row(items[0]).await.attempts == 1 }).await;
    assert_eq!(house.row(items[0]).await.state, State::Waiting);
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn a_wrong_password_probes_slowly_and_says_why() {
    use tidings_delivery::{Secret, plan::AuthPlan};
    let house = House::build().await;
    let users = [("ada".to_owned(), "right".to_owned())].into();
    let sink = Sink::listen("127.0.0.1:0".parse().unwrap(), SinkOptions { users, require_auth: true, ..SinkOptions::default() }).unwrap();
    let way = plan(sink.addr());
    let auth = AuthPlan::new("ada", Secret::new("wrong"), &way.host, way.port, way.tls).allow_cleartext(true);
    let breaker = BreakerPlan { delays: vec![Duration::from_millis(20)], slow_delays: vec![Duration::from_secs(3600)] };
    let relay = RelayPlan { breaker, ..relay(Way::Smtp(SmtpPlan { auth: Some(auth), ..way })) };
    let items = house.accept_many(3).await;
    let postman = house.postman(relay, live());
    until("the relay is held", || async { postman.status().relays[0].condition == "held" }).await;
    assert!(postman.status().relays[0].reason.as_ref().unwrap().contains("535"));
    until("the letters are back", || async { house.count(State::Claimed).await == 0 }).await;
    assert_eq!(house.row(items[0]).await.attempts, 0);
    assert_eq!(sink.statistics().refused_sign_ins, 1, "one probe, because of account lock-out");
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn an_operators_pause_stops_the_relay_and_lets_it_go_on() {
    let (house, sink) = (House::build().await, sink());
    house.store.pause_relay("main", true, "ops").await.unwrap();
    house.accept_many(5).await;
    let postman = house.postman(smtp(&sink), live());
    until("the pause is seen", || async { postman.status().relays[0].paused }).await;
    assert_eq!((sink.count(), house.count(State::Waiting).await), (0, 5));
    house.store.pause_relay("main", false, "ops").await.unwrap();
    sink.wait_for(5, PATIENCE).await.unwrap();
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn the_guard_decides_on_every_letter() {
    let at = |text: &str| Address::parse(text).unwrap();
    let two = || ["ada@example.org".to_owned(), "eve@elsewhere.example".to_owned()];
    let (house, sink) = (House::build().await, sink());
    let domains = vec!["example.org".to_owned()];

    let items = house.accept(two(), Lane::Notices).await;
    let postman = house.postman(smtp(&sink), EnvironmentGuard::new(Mode::Live, None, None, domains.clone()));
    until("both are decided", || async {
        house.row(items[0]).await.state == State::Sent && house.row(items[1]).await.state == State::Failed
    })
    .await;
    assert!(house.row(items[1]).await.last_reply.unwrap().contains("elsewhere.example"));
    assert!(postman.stop(PATIENCE).await);

    let items = house.accept(two(), Lane::Notices).await;
    let redirect = EnvironmentGuard::new(Mode::Redirect, Some(at("all@example.org")), None, domains);
    let postman = house.postman(smtp(&sink), redirect);
    until("both are redirected", || async { sink.letters_to("all@example.org").len() == 2 }).await;
    until("both are settled", || async { house.row(items[1]).await.state == State::Sent }).await;
    assert!(postman.stop(PATIENCE).await);

    let items = house.accept(two(), Lane::Notices).await;
    let postman = house.postman(smtp(&sink), EnvironmentGuard::new(Mode::Off, None, None, vec![]));
    until("both are held", || async { house.row(items[0]).await.state == State::Held && house.row(items[1]).await.state == State::Held })
        .await;
    assert!(postman.stop(PATIENCE).await);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mail.mbox");
    let guard = || EnvironmentGuard::new(Mode::File, None, None, vec![]);
    let items = house.accept(two(), Lane::Notices).await;
    let postman = house.postman_with(vec![smtp(&sink)], guard(), Some(file.clone()));
    until("both are written", || async {
        house.row(items[0]).await.state == State::Sent && house.row(items[1]).await.state == State::Sent
    })
    .await;
    assert_eq!(std::fs::read_to_string(&file).unwrap().matches("X-Envelope-To: ").count(), 2);
    assert!(postman.stop(PATIENCE).await);

    // A mode without its file sends nothing.
    let items = house.accept(two(), Lane::Notices).await;
    let postman = house.postman_with(vec![smtp(&sink)], guard(), None);
    until("it is held", || async { house.row(items[0]).await.state == State::Held }).await;
    assert!(postman.stop(PATIENCE).await);

    let eve = sink.letters_to("eve@elsewhere.example").len();
    assert_eq!((sink.count(), eve), (3, 0), "one live, two redirected, nothing else");
}

#[tokio::test]
async fn an_urgent_letter_does_not_wait_behind_what_is_leased_already() {
    let (house, sink) = (House::build().await, sink());
    sink.add_fault(Fault::new(Stage::Content, When::Always, What::Stall(Duration::from_millis(5))));
    house.accept((0..300).map(|n| format!("low{n}@example.org")), Lane::Digests).await;
    let plan = RelayPlan { limits: Limits { sessions: 1, messages_per_session: 1000 }, ..smtp(&sink) };
    let postman = house.postman(plan, live());
    sink.wait_for(20, PATIENCE).await.unwrap();
    house.accept(["urgent@example.org".to_owned()], Lane::Codes).await;
    let letters = sink.wait_until(|letters| letters.iter().any(|l| l.to[0].starts_with("urgent")), PATIENCE).await.unwrap();
    assert!(letters.len() < 200, "it waited behind {} others", letters.len());
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn a_stop_finishes_what_is_on_the_wire_and_gives_back_the_rest() {
    let (house, sink) = (House::build().await, sink());
    sink.add_fault(Fault::new(Stage::Content, When::Always, What::Stall(Duration::from_millis(20))));
    house.accept_many(200).await;
    let postman = house.postman(smtp(&sink), live());
    sink.wait_for(3, PATIENCE).await.unwrap();
    assert!(postman.stop(PATIENCE).await);
    let sent = house.rows(State::Sent).await.len();
    assert_eq!(sent as u64, sink.count());
    assert_eq!(house.rows(State::Waiting).await.len(), 200 - sent);
    assert!(house.rows(State::Waiting).await.iter().all(|row| row.attempts == 0 && !row.maybe_duplicate));
    // A successor carries on.
    sink.clear_faults();
    let successor = house.postman(smtp(&sink), live());
    settled(&house, 200).await;
    assert!(successor.stop(PATIENCE).await);
    assert!(sink.duplicates().is_empty());
}

#[tokio::test]
async fn at_the_deadline_of_a_stop_what_is_on_the_wire_is_settled_as_unknown() {
    let (house, sink) = (House::build().await, sink());
    sink.add_fault(Fault::new(Stage::Content, When::Always, What::Stall(Duration::from_secs(60))));
    let items = house.accept_many(1).await;
    let postman = house.postman(smtp(&sink), live());
    until("the letter is on the wire", || async { sink.statistics().contents == 1 }).await;
    assert!(!postman.stop(Duration::from_millis(300)).await);
    let row = house.row(items[0]).await;
    assert_eq!((row.state, row.maybe_duplicate), (State::Waiting, true));
}

#[tokio::test]
async fn an_idle_session_that_was_closed_by_the_relay_costs_the_next_letter_nothing() {
    let house = House::build().await;
    let sink =
        Sink::listen("127.0.0.1:0".parse().unwrap(), SinkOptions { idle: Duration::from_millis(50), ..SinkOptions::default() }).unwrap();
    let postman = house.postman(smtp(&sink), live());
    for number in 1..=5 {
        house.accept_many(1).await;
        sink.wait_for(number, PATIENCE).await.unwrap();
        // The sink says 421 and closes; whether the session has noticed when the next letter comes is left to chance on purpose.
        until("the session has ended", || async { sink.statistics().open == 0 }).await;
    }
    settled(&house, 5).await;
    assert!(house.rows(State::Sent).await.iter().all(|row| row.attempts == 1 && !row.maybe_duplicate));
    assert_eq!(postman.status().relays[0].condition, "open");
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn more_sessions_come_as_the_relay_answers_and_never_more_than_allowed() {
    let (house, sink) = (House::build().await, sink());
    sink.add_fault(Fault::new(Stage::Content, When::Always, What::Stall(Duration::from_millis(10))));
    house.accept_many(200).await;
    let plan = RelayPlan { limits: Limits { sessions: 4, messages_per_session: 15 }, ..smtp(&sink) };
    let postman = house.postman(plan, live());
    settled(&house, 200).await;
    assert_eq!(sink.statistics().most_open, 4);
    assert!(sink.letters().iter().all(|letter| letter.place <= 15));
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn one_letter_now_by_the_same_way_with_the_dialogue_written_down() {
    let (house, sink) = (House::build().await, sink());
    house.accept_many(1).await;
    let claim = tidings_store::Claim::new("cli", "main", 1, Duration::from_secs(60));
    let lease = house.store.claim(claim).await.unwrap().remove(0);
    let delivered = tidings_delivery::deliver_now(&unchunked(&sink), &live(), None, &house.clock, &lease).await;
    assert_eq!((crate::sessions::short(&delivered.outcome).as_str(), delivered.trouble), ("sent", None));
    let said = delivered.dialogue.to_string();
    for line in ["> EHLO house.example.org", "> MAIL FROM:<house@example.org>", "> RCPT TO:<reader0@example.org>", "< 354", "> QUIT"] {
        assert!(said.contains(line), "{line} is missing in:\n{said}");
    }
    let off = EnvironmentGuard::new(Mode::Off, None, None, vec![]);
    let withheld = tidings_delivery::deliver_now(&smtp(&sink), &off, None, &house.clock, &lease).await;
    assert_eq!((crate::sessions::short(&withheld.outcome).as_str(), sink.count()), ("withheld", 1));
}

#[tokio::test]
async fn delivery_stops_while_outcomes_cannot_be_written_and_drops_none() {
    let (mut house, sink) = (House::build().await, sink());
    let faulty = crate::faulty::Faulty::before(&house.store);
    faulty.refuses_outcomes.store(true, std::sync::atomic::Ordering::Release);
    house.store = std::sync::Arc::clone(&faulty) as std::sync::Arc<dyn tidings_store::Store>;
    house.accept_many(1).await;
    let postman = house.postman(smtp(&sink), live());
    until("delivery is suspended", || async { postman.status().suspended }).await;
    assert_eq!(sink.count(), 1);
    house.accept_many(20).await;
    until("the outcome is still there", || async { postman.status().unsettled == 1 }).await;
    faulty.refuses_outcomes.store(false, std::sync::atomic::Ordering::Release);
    settled(&house, 21).await;
    assert!(sink.duplicates().is_empty() && !postman.status().suspended);
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn a_relay_that_broke_the_protocol_is_used_by_one_session_at_a_time() {
    let (house, sink) = (House::build().await, sink());
    sink.add_fault(Fault::new(Stage::Rcpt, When::First(1), What::SurplusReply("250 once more".into())));
    house.accept_many(150).await;
    let plan = RelayPlan { limits: Limits { sessions: 5, messages_per_session: 10 }, ..smtp(&sink) };
    let postman = house.postman(plan, live());
    settled(&house, 150).await;
    let statistics = sink.statistics();
    assert!(statistics.sessions >= 15, "{statistics:?}");
    // The sink may not have closed its end of one session when the next begins.
    assert!(statistics.most_open <= 2, "{statistics:?}");
    assert!(sink.letters().iter().all(|letter| !letter.chunked) && sink.duplicates().is_empty());
    assert!(postman.stop(PATIENCE).await);
}
