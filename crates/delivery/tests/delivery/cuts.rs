//! A session cut at every byte, in both directions, and every reply dropped, doubled or garbled: what is reported must be what is true.
//!
//! The truth is taken from what passed the go-between and from what the sink kept, never from the client.

use crate::{
    proxy::{Passed, Tamper, Ways, one_session},
    sessions::{Batch, load, plan, run, short},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tidings_core::outbox::Outcome;
use tidings_delivery::{
    courier::SessionEnd,
    plan::{Limits, Reports, SmtpPlan, Timeouts},
    smtp::SmtpCourier,
};
use tidings_sink::{Extensions, Fault, Received, Sink, SinkOptions, Stage, What, When};
use tokio::{net::TcpListener, task::JoinSet};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Steps,
    Ahead,
    Chunks,
}

const WAYS: [Way; 3] = [Way::Steps, Way::Ahead, Way::Chunks];

/// Letters, of which the relay refuses some.
#[derive(Debug, Clone, Copy)]
struct Refusals {
    recipient: Option<i64>,
    content: Option<i64>,
    /// How many letters there are in all.
    of: i64,
}

const NONE: Refusals = Refusals { recipient: None, content: None, of: 3 };
const SOME: Refusals = Refusals { recipient: Some(2), content: Some(3), of: 3 };
/// With a letter behind the refused ones.
const MORE: Refusals = Refusals { of: 4, ..SOME };
const LAST: Refusals = Refusals { recipient: Some(3), content: Some(2), of: 3 };

/// A sink with a go-between in front, for one session after the other.
struct Rig {
    sink: Sink,
    listener: TcpListener,
}

/// What one session through a go-between came to.
struct Told {
    outcomes: HashMap<i64, Outcome>,
    end: SessionEnd,
    passed: Passed,
    /// What the sink kept, and the number it gave to the first of these.
    kept: Vec<Arc<Received>>,
    first: u64,
    way: Way,
    refusals: Refusals,
    ways: Ways,
}

impl Rig {
    async fn build() -> Self {
        let sink = Sink::listen("127.0.0.1:0".parse().unwrap(), SinkOptions::default()).unwrap();
        Self { sink, listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    fn behave(&self, way: Way, refusals: Refusals) {
        let extensions =
            Extensions { pipelining: way != Way::Steps, chunking: way == Way::Chunks, enhanced_status_codes: true, ..Extensions::NONE };
        self.sink.reconfigure(SinkOptions { host: "s".into(), extensions, ..SinkOptions::default() }).unwrap();
        self.sink.clear_faults();
        self.sink.forget_letters();
        for (stage, number, reply) in
            [(Stage::Rcpt, refusals.recipient, "550 5.1.1 no"), (Stage::Content, refusals.content, "554 5.7.1 no")]
        {
            if let Some(number) = number {
                self.sink.add_fault(Fault::new(stage, When::ToAddressContains(format!("r{number}@")), What::reply(reply)));
            }
        }
    }

    async fn session(&self, way: Way, refusals: Refusals, ways: Ways, patience: Duration) -> Told {
        self.behave(way, refusals);
        let first = self.sink.count() + 1;
        let mut batch = Batch::of((1..=refusals.of).map(|n| load(n, &format!("r{n}@e.org"), &format!(".\r\nend {n}"))));
        let timeouts = Timeouts { connect: Duration::from_secs(5), command: patience, final_dot: patience };
        let plan = SmtpPlan { reports: Reports::Unasked, helo: "h".to_owned(), ..plan(self.listener.local_addr().unwrap()) };
        let courier = SmtpCourier::new(plan, Limits::default(), timeouts);
        let passing = tokio::time::timeout(Duration::from_secs(30), one_session(&self.listener, self.sink.addr(), &ways));
        let (end, passed) = tokio::join!(run(&courier, &mut batch), passing);
        let (outcomes, kept) = (batch.outcomes.into_iter().collect(), self.sink.letters());
        assert!(self.sink.duplicates().is_empty());
        Told { outcomes, end, passed: passed.expect("the session is over"), kept, first, way, refusals, ways }
    }
}

async fn session(way: Way, refusals: Refusals, ways: Ways, patience: Duration) -> Told {
    Rig::build().await.session(way, refusals, ways, patience).await
}

impl Told {
    fn describe(&self, number: i64) -> String {
        let (up, down) = (String::from_utf8_lossy(&self.passed.up), String::from_utf8_lossy(&self.passed.down));
        let outcome = self.outcomes.get(&number);
        format!("letter {number}: {outcome:?}, {:?} {:?} {:?}\n{:?}\nup: {up}\ndown: {down}", self.way, self.refusals, self.ways, self.end)
    }

    fn short(&self, number: i64) -> String {
        self.outcomes.get(&number).map_or_else(|| "untouched".to_owned(), short)
    }

    /// The number that the sink gave to this letter.
    fn number_of(&self, number: i64) -> Option<u64> {
        (self.first..).zip(&self.kept).find(|(_, letter)| letter.to == [format!("r{number}@e.org")]).map(|(kept_as, _)| kept_as)
    }

    fn was_kept(&self, number: i64) -> bool {
        self.number_of(number).is_some()
    }

    /// Whether the whole content left the client.
    fn left_whole(&self, number: i64) -> bool {
        let end = match self.way {
            Way::Chunks => format!("end {number}\r\n"),
            Way::Steps | Way::Ahead => format!("end {number}\r\n.\r\n"),
        };
        self.passed.up.windows(end.len()).any(|part| part == end.as_bytes())
    }

    /// The whole reply lines that reached the client.
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.passed.down).into_owned();
        text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(|line| line.trim_end().to_owned()).collect()
    }

    /// Whether the client heard that this letter was taken: which number it has in the sink is known from the sink.
    fn was_confirmed(&self, number: i64) -> bool {
        self.number_of(number).is_some_and(|kept_as| self.lines().iter().any(|line| line.contains(&format!("kept as {kept_as},"))))
    }

    /// Nothing is claimed that is not so, whatever the relay said.
    fn check_safe(&self) {
        for number in 1..=self.refusals.of {
            let outcome = self.short(number);
            match outcome.as_str() {
                "sent" => assert!(self.was_kept(number), "sent and not kept: {}", self.describe(number)),
                "unknown" => assert!(self.left_whole(number), "in doubt though not sent: {}", self.describe(number)),
                _ => assert!(!self.was_kept(number), "kept, and nobody knows: {}", self.describe(number)),
            }
        }
    }

    /// What is reported is all that can be known, when the relay's words came through as far as they came.
    fn check_exact(&self) {
        self.check_safe();
        for number in 1..=self.refusals.of {
            let (outcome, describe) = (self.short(number), || self.describe(number));
            assert_eq!(outcome == "sent", self.was_confirmed(number), "sent is what the relay confirmed: {}", describe());
            if let Some(Outcome::Sent { reply }) = self.outcomes.get(&number) {
                let right = self.number_of(number).is_some_and(|kept_as| reply.contains(&format!("kept as {kept_as},")));
                assert!(right, "the answer to another letter: {}", describe());
            }
            if matches!(outcome.as_str(), "returned" | "untouched") {
                assert!(!self.left_whole(number), "left whole and taken back: {}", describe());
            }
            if outcome == "permanent rcpt" {
                assert_eq!(Some(number), self.refusals.recipient, "{}", describe());
            } else if outcome == "permanent content" {
                assert_eq!(Some(number), self.refusals.content, "{}", describe());
            } else {
                assert!(!outcome.contains("permanent") && !outcome.contains("transient"), "{}", describe());
            }
        }
        if let SessionEnd::Trouble(trouble) = &self.end {
            assert!(!trouble.what.contains("no answer within"), "a cut is noticed at once: {}", self.describe(1));
        }
    }
}

/// Runs sessions, a few at a time; gives how many.
async fn each(cases: Vec<(Way, Refusals, Ways)>, patience: Duration, check: fn(&Told)) -> usize {
    const AT_ONCE: usize = 12;
    let (cases, mut working) = (Arc::new(Mutex::new(cases)), JoinSet::new());
    for _ in 0..AT_ONCE {
        let cases = Arc::clone(&cases);
        working.spawn(async move {
            let (rig, mut count) = (Rig::build().await, 0);
            let next = || cases.lock().unwrap().pop();
            while let Some((way, refusals, ways)) = next() {
                check(&rig.session(way, refusals, ways, patience).await);
                count += 1;
            }
            count
        });
    }
    working.join_all().await.into_iter().sum()
}

const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_session_that_is_not_cut_ends_as_it_should() {
    for way in WAYS {
        let told = session(way, NONE, Ways::default(), LONG).await;
        told.check_exact();
        assert_eq!((1..=told.refusals.of).map(|n| told.short(n)).collect::<Vec<_>>(), ["sent"; 3], "{way:?}");
        let told = session(way, SOME, Ways::default(), LONG).await;
        told.check_exact();
        let short: Vec<_> = (1..=told.refusals.of).map(|n| told.short(n)).collect();
        assert_eq!(short, ["sent", "permanent rcpt", "permanent content"], "{way:?}");
        assert_eq!(told.kept.iter().filter(|letter| letter.chunked).count(), usize::from(way == Way::Chunks));
    }
}

async fn cut_everywhere(up: bool) {
    let mut cases = Vec::new();
    for way in WAYS {
        for refusals in [NONE, SOME] {
            let whole = session(way, refusals, Ways::default(), LONG).await.passed;
            let length = if up { whole.up.len() } else { whole.down.len() };
            let ways = |at| if up { Ways { up: Some(at), ..Ways::default() } } else { Ways { down: Some(at), ..Ways::default() } };
            cases.extend((0..length).map(|at| (way, refusals, ways(at))));
        }
    }
    let count = cases.len();
    assert!(count > 1200, "{count}");
    assert_eq!(each(cases, LONG, Told::check_exact).await, count);
}

#[tokio::test]
async fn a_cut_at_every_byte_that_the_relay_says_is_reported_exactly() {
    cut_everywhere(false).await;
}

#[tokio::test]
async fn a_cut_at_every_byte_that_the_client_says_is_reported_exactly() {
    cut_everywhere(true).await;
}

#[tokio::test]
async fn no_reply_too_many_too_few_or_garbled_makes_a_false_report() {
    let mut cases = Vec::new();
    for way in WAYS {
        for refusals in [NONE, MORE, LAST] {
            let lines = session(way, refusals, Ways::default(), LONG).await.lines().len();
            for line in 0..lines {
                let tampers = [
                    Tamper::Drop(line),
                    Tamper::Before(line, "250 2.0.0 surplus"),
                    Tamper::Before(line, "250 surplus"),
                    Tamper::Before(line, "421 4.3.2 surplus"),
                    Tamper::Replace(line, "421 4.3.2 not so"),
                    Tamper::Replace(line, "thank you"),
                    Tamper::Replace(line, "399 hm"),
                    Tamper::Replace(line, "554-unfinished"),
                ];
                cases.extend(tampers.map(|tamper| (way, refusals, Ways { tamper: Some(tamper), ..Ways::default() })));
            }
        }
    }
    let count = cases.len();
    assert!(count > 500, "{count}");
    // A reply that is missing is noticed by waiting for it.
    assert_eq!(each(cases, Duration::from_millis(400), Told::check_safe).await, count);
}
