//! A relay that says 421: one that closes has not looked at what came later, one that carries on may have taken it.

use crate::{
    house::{House, live, relay, until},
    proxy::{Ways, between_several},
    scripts::server,
    sessions::{Batch, deliver, load, plan, run, short_end, short_timeouts},
};
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};
use tidings_core::{outbox::State, retry::Rhythm};
use tidings_delivery::{
    plan::{Limits, Way},
    smtp::SmtpCourier,
};
use tidings_sink::{Extensions, Fault, Sink, SinkOptions, Stage, What, When};
use tokio::task::JoinSet;

/// What the relay says up to its 421 and what comes of it: the script, the outcomes if it closes, those if it may carry on, and the end.
struct Farewell {
    script: String,
    closed: &'static str,
    carried_on: &'static str,
    end: &'static str,
}

impl Farewell {
    fn new(script: &[&str], closed: &'static str, carried_on: &'static str, end: &'static str) -> Self {
        Self { script: script.concat(), closed, carried_on, end }
    }

    fn letters(&self) -> i64 {
        i64::try_from(self.closed.split(", ").count()).unwrap()
    }
}

/// By BDAT the first letter goes alone, and then two more leave at once, whole, before the relay says a word about either.
fn by_chunks() -> Vec<Farewell> {
    const FIRST: &str = "S: 220 hello\nC: EHLO\nS: 250-relay\nS: 250-PIPELINING\nS: 250 CHUNKING\nC: RCPT\nS: 250 ok\nS: 250 ok\n\
        C: BDAT\nC: hello\nS: 250 2.0.0 taken\nC: BDAT\nC: hello\nC: BDAT\nC: hello\n";
    const OK: &str = "S: 250 ok\n";
    const TAKEN: &str = "S: 250 ok\nS: 250 ok\nS: 250 2.0.0 taken\n";
    const FULL: &str = "S: 250 ok\nS: 550 5.1.1 nobody\n";
    const BYE: &str = "S: 421 4.3.2 closing\n";
    let (both, one) = ("sent, unknown, unknown", "sent, sent, unknown");
    let (neither, last) = ("sent, returned, returned", "sent, sent, returned");
    vec![
        Farewell::new(&[FIRST, BYE], neither, both, "busy mail"),
        Farewell::new(&[FIRST, OK, BYE], neither, both, "busy rcpt"),
        Farewell::new(&[FIRST, OK, OK, BYE], neither, both, "busy content"),
        Farewell::new(&[FIRST, FULL, BYE], "sent, permanent rcpt, returned", "sent, permanent rcpt, unknown", "busy content"),
        // In place of the answers to RSET, MAIL, RCPT and BDAT of the third letter.
        Farewell::new(&[FIRST, TAKEN, BYE], last, one, "busy mail"),
        Farewell::new(&[FIRST, TAKEN, OK, BYE], last, one, "busy mail"),
        Farewell::new(&[FIRST, TAKEN, OK, OK, BYE], last, one, "busy rcpt"),
        Farewell::new(&[FIRST, TAKEN, OK, OK, OK, BYE], last, one, "busy content"),
    ]
}

/// By DATA, pipelined and not: only the letter whose dot is answered has left whole.
fn by_data() -> Vec<Farewell> {
    const AHEAD: &str = "S: 220 hello\nC: EHLO\nS: 250-relay\nS: 250 PIPELINING\nC: DATA\n";
    const STEPS: &str = "S: 220 hello\nC: EHLO\nS: 250 relay\nC: MAIL\n";
    const DOT: &str = "C: .\nC: DATA\nS: 421 4.3.2 closing\n";
    const BYE: &str = "S: 421 4.3.2 closing\n";
    vec![
        Farewell::new(&[AHEAD, BYE], "returned", "returned", "busy mail"),
        Farewell::new(&[AHEAD, "S: 250 ok\n", BYE], "returned", "returned", "busy rcpt"),
        Farewell::new(&[AHEAD, "S: 250 ok\nS: 250 ok\n", BYE], "returned", "returned", "busy data"),
        Farewell::new(&[AHEAD, "S: 250 ok\nS: 550 no\n", BYE], "returned", "returned", "busy data"),
        Farewell::new(&[AHEAD, "S: 250 ok\nS: 250 ok\nS: 354 go\n", DOT], "returned, returned", "unknown, returned", "busy content"),
        Farewell::new(
            &[AHEAD, "S: 250 ok\nS: 250 ok\nS: 354 go\nC: .\nC: DATA\nS: 250 taken\n", BYE],
            "sent, returned",
            "sent, returned",
            "busy mail",
        ),
        Farewell::new(&[STEPS, BYE], "returned", "returned", "busy mail"),
        Farewell::new(&[STEPS, "S: 250 ok\nC: RCPT\nS: 250 ok\nC: DATA\nS: 354 go\nC: .\n", BYE], "returned", "unknown", "busy content"),
    ]
}

/// Plays these farewells, each followed by `then`, all at once; gives how long the shortest session took: what every one waits for, it waits for, too.
async fn play(then: &str, wanted: fn(&Farewell) -> &'static str) -> Duration {
    let mut playing = JoinSet::new();
    for farewell in by_chunks().into_iter().chain(by_data()) {
        let script = format!("{}{then}", farewell.script);
        playing.spawn(async move {
            let (plan, serving) = server(vec![script.clone()]).await;
            let (mut batch, begun) = (Batch::letters(farewell.letters()), Instant::now());
            let end = deliver(plan, &mut batch).await;
            let took = begun.elapsed();
            let outcomes = batch.short().join(", ");
            assert_eq!((outcomes.as_str(), short_end(&end).as_str()), (wanted(&farewell), farewell.end), "{script}");
            tokio::time::timeout(Duration::from_secs(15), serving).await.expect("the server ends").unwrap();
            took
        });
    }
    playing.join_all().await.into_iter().min().unwrap()
}

#[tokio::test]
async fn a_relay_that_closes_has_taken_nothing_and_costs_no_time() {
    let took = play("", |farewell| farewell.closed).await;
    assert!(took < Duration::from_millis(900), "{took:?}");
    play("S: 421 4.3.2 closing\nS: 421 4.3.2 closing\n", |farewell| farewell.closed).await;
}

#[tokio::test]
async fn a_relay_that_says_more_leaves_in_doubt_what_it_holds() {
    for then in
        ["S: 250 2.0.0 taken\n", "S: 503 5.5.1 what\nSTAY", "S: 421 4.3.2 closing\nS: 250 2.0.0 taken\nSTAY", "S: thank you\n", "S! 25"]
    {
        play(then, |farewell| farewell.carried_on).await;
    }
}

#[tokio::test]
async fn a_relay_that_stays_is_not_waited_for_long_and_leaves_in_doubt_what_it_holds() {
    let took = play("STAY", |farewell| farewell.carried_on).await;
    // Far less than the answers might have taken.
    assert!(took < Duration::from_millis(2500), "{took:?}");
}

/// The relay's answers to two letters come together with its farewell, when a third letter has been begun and no octet of it has left.
#[tokio::test]
async fn a_farewell_behind_the_answers_takes_none_of_them_back() {
    let script = "S: 220 hello\nC: EHLO\nS: 250-relay\nS: 250-PIPELINING\nS: 250 CHUNKING\nC: RCPT\nS: 250 ok\nS: 250 ok\n\
        C: BDAT\nC: hello\nS: 250 2.0.0 taken\nC: BDAT\nC: hello\nC: BDAT\nC: hello\n\
        S: 250 ok\nS: 250 ok\nS: 250 2.0.0 taken\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 2.0.0 taken\nS: 421 4.3.2 enough letters\n";
    let (plan, playing) = server(vec![script.to_owned()]).await;
    let mut batch = Batch::letters(4);
    let end = deliver(plan, &mut batch).await;
    assert_eq!((batch.short().join(" ").as_str(), short_end(&end).as_str()), ("sent sent sent returned", "busy mail"));
    playing.await.unwrap();
}

const NO_CHUNKING: Extensions = Extensions { chunking: false, ..Extensions::ALL };

fn sink(extensions: Extensions) -> Sink {
    Sink::listen("127.0.0.1:0".parse().unwrap(), SinkOptions { extensions, ..SinkOptions::default() }).unwrap()
}

fn surplus() -> What {
    What::SurplusReply("421 4.3.2 surplus".to_owned())
}

/// What a session of 40 letters comes to in which the relay says 421 for nothing at the `nth` of this stage, and how many are in doubt. A way of 40 ms there
/// and back lets more than two letters be on the way.
async fn surplus_at(stage: Stage, nth: u64) -> usize {
    let sink = sink(Extensions::ALL);
    sink.add_fault(Fault::new(stage, When::Nth(nth), surplus()));
    let (addr, passing) = between_several(sink.addr(), Ways { delay: Duration::from_millis(20), ..Ways::default() }, 2).await;
    let courier = SmtpCourier::new(plan(addr), Limits::default(), short_timeouts());
    let mut batch = Batch::letters(40);
    let end = run(&courier, &mut batch).await;
    let (short, kept) = (batch.short(), sink.letters());
    assert!(short_end(&end).starts_with("busy"), "{stage:?} {nth} {end:?}");
    let kept: HashSet<String> = kept.iter().map(|letter| letter.header("Subject").unwrap()).collect();
    for (number, outcome) in (1..).zip(&short) {
        let (kept, which) = (kept.contains(&number.to_string()), format!("letter {number}, surplus at {stage:?} {nth}"));
        match outcome.as_str() {
            "sent" => assert!(kept, "{which} is sent and never came"),
            "unknown" => {}
            other => assert!(!kept, "{which} is {other} and came: it would come again, unmarked"),
        }
    }
    sink.forget_letters();
    run(&courier, &mut Batch::of((101..=104).map(|n| load(n, "ada@example.org", "again")))).await;
    passing.await.unwrap();
    let in_doubt = short.iter().filter(|outcome| *outcome == "unknown").count();
    let again = sink.letters();
    assert!(
        again.len() == 4 && again.iter().all(|letter| letter.chunked == (in_doubt == 0)),
        "by DATA for a while, if letters were at stake"
    );
    in_doubt
}

#[tokio::test]
async fn a_window_of_letters_behind_a_farewell_is_in_doubt_and_the_next_go_by_data() {
    for stage in [Stage::Mail, Stage::Rcpt, Stage::Content] {
        for nth in [2, 3] {
            surplus_at(stage, nth).await;
        }
        // How many letters are on the way depends on the machine, and where in its window the 421 comes.
        let mut most = 0;
        for nth in 12..=34 {
            most = surplus_at(stage, nth).await.max(most);
            if most >= 3 {
                break;
            }
        }
        assert!(most >= 3, "{stage:?}: no more letters were on the way than {most}");
    }
}

#[tokio::test]
async fn letters_behind_a_farewell_come_twice_only_if_marked() {
    const COUNT: usize = 60;
    let stages = [Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Content];
    let cases = stages.map(|stage| (stage, NO_CHUNKING)).into_iter().chain(stages.map(|stage| (stage, Extensions::ALL)));
    for (stage, extensions) in cases {
        let (house, sink) = (House::build().await, sink(extensions));
        sink.add_fault(Fault::new(stage, When::Every(25), surplus()));
        let mut plan = relay(Way::Smtp(plan(sink.addr())));
        plan.retry.rhythm = Rhythm::Delays(vec![Duration::from_millis(200)]);
        house.accept_many(COUNT).await;
        let postman = house.postman(plan, live());
        until("every letter is settled", || async { house.rows(State::Sent).await.len() == COUNT }).await;
        let rows = house.rows(State::Sent).await;
        assert!(rows.iter().all(|row| row.attempts == 1), "no letter was refused");
        let marked: HashSet<&str> = rows.iter().filter(|row| row.maybe_duplicate).map(|row| row.message_id.as_str()).collect();
        let twice = sink.duplicates();
        let unmarked: Vec<_> = twice.iter().filter(|twice| !marked.contains(twice.message_id.trim_matches(['<', '>']))).collect();
        assert!(unmarked.is_empty(), "{stage:?}, {extensions:?}: {unmarked:?} came twice and are not marked");
        let arrived: HashSet<String> = sink.letters().iter().map(|letter| letter.to[0].clone()).collect();
        assert_eq!(arrived.len(), COUNT, "all of them came");
        assert!(postman.stop(Duration::from_secs(30)).await);
    }
}
