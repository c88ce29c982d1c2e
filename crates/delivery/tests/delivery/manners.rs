//! Manners: limits that hold over restarts, providers whose refusals are not what they seem, pickup directories that nobody empties.

use crate::{
    house::{House, live, relay, until},
    sessions::plan,
};
use std::{fs, path::Path, time::Duration};
use tidings_core::{Lane, outbox::State};
use tidings_delivery::{
    Postman, RelayStatus,
    news::{News, Newswire, RelayNews},
    plan::{PickupPlan, Rates, RelayPlan, SmtpPlan, Way},
    smtp::preset::Preset,
};
use tidings_sink::{Fault, Sink, SinkOptions, Stage, What, When};
use tokio::sync::broadcast::Receiver;

const PATIENCE: Duration = Duration::from_secs(30);

fn sink() -> Sink {
    Sink::listen("127.0.0.1:0".parse().unwrap(), SinkOptions::default()).unwrap()
}

fn limited(sink: &Sink, rates: Rates) -> RelayPlan {
    RelayPlan { rates, ..relay(Way::Smtp(plan(sink.addr()))) }
}

fn at_exchange(sink: &Sink) -> RelayPlan {
    relay(Way::Smtp(SmtpPlan { replies: Preset::ExchangeOnline.rules(), ..plan(sink.addr()) }))
}

fn status(postman: &Postman) -> RelayStatus {
    postman.status().relays.remove(0)
}

/// The next piece of news.
async fn heard(wire: &mut Receiver<RelayNews>) -> News {
    tokio::time::timeout(PATIENCE, wire.recv()).await.expect("there is news").unwrap().what
}

#[tokio::test]
async fn a_limit_of_a_day_holds_over_restarts_however_they_come() {
    let (house, sink) = (House::build().await, sink());
    let plan = || limited(&sink, Rates { per_day: Some(40), ..Rates::default() });
    house.accept_many(100).await;
    let postman = house.postman(plan(), live());
    until("what may go has gone", || async { sink.count() == 36 && status(&postman).condition == "throttled" }).await;
    let reason = status(&postman).reason.unwrap();
    assert!(reason.starts_with("its limit of 40 letters a day is reached; the next ones go from "), "{reason}");
    until("other processes can see it", || async {
        house
            .store
            .relays()
            .await
            .unwrap()
            .iter()
            .any(|relay| relay.condition.as_deref() == Some("throttled") && relay.next_probe_at.is_some())
    })
    .await;
    assert!(house.rows(State::Waiting).await.iter().all(|row| row.attempts == 0), "a letter that waits for its turn spends nothing");
    assert!(postman.stop(PATIENCE).await);

    let postman = house.postman(plan(), live());
    until("it knows what was sent before", || async { status(&postman).condition == "throttled" }).await;
    assert_eq!(sink.count(), 36);
    // Dropped where it stands, as by SIGKILL.
    drop(postman);
    let postman = house.postman(plan(), live());
    until("it still knows", || async { status(&postman).condition == "throttled" }).await;
    assert_eq!((sink.count(), house.count(State::Waiting).await), (36, 64));
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn what_somebody_waits_for_goes_on_when_the_limit_is_reached() {
    let (house, sink) = (House::build().await, sink());
    house.accept_many(60).await;
    let postman = house.postman(limited(&sink, Rates { per_day: Some(40), ..Rates::default() }), live());
    until("the limit is reached", || async { sink.count() == 36 && status(&postman).condition == "throttled" }).await;
    let codes = house.accept((0..6).map(|n| format!("code{n}@example.org")), Lane::Codes).await;
    until("a tenth was kept for them", || async { sink.count() == 40 }).await;
    until("nothing is under way", || async { house.count(State::Claimed).await == 0 }).await;
    let mut sent = 0;
    for code in codes {
        sent += usize::from(house.row(code).await.state == State::Sent);
    }
    assert_eq!((sent, sink.count()), (4, 40), "and no more than the limit");
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn a_process_that_dies_in_the_middle_does_not_begin_the_day_anew() {
    let (house, sink) = (House::build().await, sink());
    let plan = || limited(&sink, Rates { per_day: Some(200), ..Rates::default() });
    house.accept_many(400).await;
    for midst in [20, 60, 100] {
        let postman = house.postman(plan(), live());
        until("some letters", || async { sink.count() >= midst }).await;
        drop(postman);
    }
    let postman = house.postman(plan(), live());
    until("the limit is reached", || async { status(&postman).condition == "throttled" && house.count(State::Claimed).await == 0 }).await;
    let sent = sink.count();
    assert!((100..=180).contains(&sent), "{sent} of at most 180 a day, a tenth less what is kept for codes");
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn only_what_was_handed_over_counts() {
    let (house, sink) = (House::build().await, sink());
    sink.add_fault(Fault::new(Stage::Rcpt, When::First(30), What::reply("550 5.1.1 nobody")));
    house.accept_many(60).await;
    let postman = house.postman(limited(&sink, Rates { per_hour: Some(20), ..Rates::default() }), live());
    until("the limit is reached", || async { sink.count() == 18 && status(&postman).condition == "throttled" }).await;
    assert_eq!((house.count(State::Waiting).await, house.rows(State::Failed).await.len()), (12, 30));
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn a_minutes_limit_lets_only_so_many_letters_go_and_so_many_sessions_begin() {
    let (house, sink) = (House::build().await, sink());
    house.accept_many(12).await;
    let postman = house.postman(limited(&sink, Rates { per_minute: Some(9), sessions_per_minute: Some(2), ..Rates::default() }), live());
    until("the first ones", || async { sink.count() == 9 && status(&postman).condition == "throttled" }).await;
    assert!(sink.statistics().sessions <= 2, "{:?}", sink.statistics());
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn a_spent_quota_holds_the_relay_and_keeps_the_mail() {
    let (house, sink) = (House::build().await, sink());
    let quota = "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message";
    sink.add_fault(Fault::new(Stage::Content, When::Always, What::reply(quota)));
    house.accept_many(20).await;
    let wire = Newswire::default();
    let mut news = wire.listen();
    let postman = house.postman_telling(at_exchange(&sink), wire);
    let News::Held { trouble } = heard(&mut news).await else { panic!("it is held") };
    assert_eq!(trouble.kind.as_str(), "quota");
    let reason = trouble.sentence();
    assert!(reason.contains("SubmissionQuotaExceeded") && reason.contains("10,000 recipients"), "{reason}");
    until("every letter waits", || async { house.count(State::Waiting).await == 20 }).await;
    assert!(house.rows(State::Waiting).await.iter().all(|row| row.attempts == 0));
    sink.clear_faults();
    sink.wait_for(20, PATIENCE).await.unwrap();
    assert_eq!(heard(&mut news).await, News::Recovered, "told once, however many probes failed");
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn a_sender_that_may_not_write_fails_its_letters_and_is_told_once() {
    let (house, sink) = (House::build().await, sink());
    let refusal = "554 5.7.60 SMTP; Client does not have permissions to send as this sender";
    sink.add_fault(Fault::new(Stage::Content, When::First(5), What::reply(refusal)));
    let items = house.accept_many(10).await;
    let wire = Newswire::default();
    let mut news = wire.listen();
    let postman = house.postman_telling(at_exchange(&sink), wire);
    until("all are settled", || async { house.rows(State::Sent).await.len() == 5 && house.rows(State::Failed).await.len() == 5 }).await;
    let News::SenderRefused { from, reply } = heard(&mut news).await else { panic!("the sender is refused") };
    assert!(from == "house@example.org" && reply.contains("5.7.60") && reply.contains("Send As"), "{from}: {reply}");
    assert!(news.try_recv().is_err(), "told once");
    let failed = house.rows(State::Failed).await.remove(0);
    assert!(items.contains(&failed.id) && failed.last_reply.unwrap().contains("grant it Send As"));
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn too_many_sessions_means_fewer_sessions() {
    let (house, sink) = (House::build().await, sink());
    sink.add_fault(Fault::new(
        Stage::Content,
        When::Every(7),
        What::reply("432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded"),
    ));
    house.accept_many(30).await;
    let postman = house.postman(at_exchange(&sink), live());
    until("all arrive all the same", || async { house.rows(State::Sent).await.len() == 30 }).await;
    assert!(house.rows(State::Sent).await.iter().all(|row| row.attempts == 1), "too many sessions are no fault of a letter");
    assert!(postman.stop(PATIENCE).await);
}

fn files(folder: &Path, end: &str) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|found| found == end)).collect()
}

#[tokio::test]
async fn a_full_pickup_directory_waits_for_the_mail_server_and_nothing_is_lost() {
    let house = House::build().await;
    let folder = tempfile::tempdir().unwrap();
    house.accept_many(50).await;
    let pickup = PickupPlan { max_waiting: 20, ..PickupPlan::new(folder.path()) };
    let postman = house.postman(relay(Way::Pickup(pickup)), live());
    until("the relay waits", || async { status(&postman).condition == "held" }).await;
    let reason = status(&postman).reason.unwrap();
    assert!(reason.contains("20 files wait in ") && reason.contains("mail server that empties it"), "{reason}");
    let mut collected = 0;
    until("everything is collected", || {
        let waiting = files(folder.path(), "eml");
        assert!(waiting.len() <= 20, "{} files", waiting.len());
        collected += waiting.len();
        for path in &waiting {
            fs::remove_file(path).unwrap();
        }
        let done = collected == 50;
        async move { done }
    })
    .await;
    until("all are settled", || async { house.rows(State::Sent).await.len() == 50 }).await;
    assert!(house.rows(State::Sent).await.iter().all(|row| row.attempts == 1 && !row.maybe_duplicate));
    assert!(postman.stop(PATIENCE).await);
}

#[tokio::test]
async fn files_that_nobody_collects_and_bad_ones_are_seen() {
    let house = House::build().await;
    let folder = tempfile::tempdir().unwrap();
    let wire = Newswire::default();
    let mut news = wire.listen();
    let pickup = PickupPlan { drain_within: Duration::from_millis(300), ..PickupPlan::new(folder.path()) };
    let items = house.accept(["ada@example.org".to_owned(), "bob@example.org".to_owned()], Lane::Notices).await;
    let postman = house.postman_telling(relay(Way::Pickup(pickup)), wire);
    assert!(matches!(heard(&mut news).await, News::NotDrained { files: 2, .. }));
    until("the list of relays says so", || async {
        let status = status(&postman);
        status.condition == "stalled" && status.reason.is_some_and(|reason| reason.contains("does not collect"))
    })
    .await;
    // The mail server wakes up, takes one and cannot read the other.
    let (good, bad) = (folder.path().join(format!("{}.eml", items[0])), folder.path().join(format!("{}.bad", items[1])));
    fs::remove_file(good).unwrap();
    fs::rename(folder.path().join(format!("{}.eml", items[1])), bad).unwrap();
    assert_eq!(heard(&mut news).await, News::Drained);
    assert_eq!(heard(&mut news).await, News::BadFiles { names: vec![format!("{}.bad", items[1])], count: 1 });
    until("other processes see the bad file", || async {
        house.store.relays().await.unwrap().iter().any(|relay| relay.reason.as_ref().is_some_and(|reason| reason.contains(".bad")))
    })
    .await;
    assert_ne!(status(&postman).condition, "stalled");
    assert!(postman.stop(PATIENCE).await);
}
