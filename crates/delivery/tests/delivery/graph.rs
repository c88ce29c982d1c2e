//! Microsoft Graph: one recipient a call, tokens that end, refusals, throttling, calls that are cut, and four of them at a time.

use crate::{
    house::{House, WallClock, live, relay, until},
    sessions::{Batch, short, short_end, short_timeouts},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tidings_core::{
    Address, Id, Lane,
    guard::{EnvironmentGuard, Mode, Verdict},
    outbox::{Outcome, Role, State},
};
use tidings_delivery::{
    Secret,
    courier::{Courier as _, Load, SessionEnd},
    graph::{GraphCourier, GraphPlan},
    oauth::{ClientProof, TokenPlan},
    plan::{Limits, RelayPlan, Timeouts, Way},
};
use tidings_testkit::{
    certs::{TestCa, Validity},
    graph::{Graph, Manner},
    issuer::{Behaviour, Issuer},
};

const MAILBOX: &str = "post@example.org";

struct Cloud {
    issuer: Issuer,
    graph: Graph,
}

impl Cloud {
    fn start() -> Self {
        let issuer = Issuer::builder().client("tidings", "secret").scope("graph/.default").start();
        let graph = Graph::start(None, MAILBOX, &issuer.introspection_url());
        Self { issuer, graph }
    }

    fn plan(&self) -> GraphPlan {
        self.plan_for(MAILBOX)
    }

    fn plan_for(&self, mailbox: &str) -> GraphPlan {
        let proof = ClientProof::SecretInBody(Secret::new("secret"));
        GraphPlan::new(self.graph.url(), mailbox, TokenPlan::new(self.issuer.token_url(), "tidings", proof).scope("graph/.default"))
    }

    fn way(&self) -> Way {
        Way::Graph(self.plan())
    }

    fn recipients(&self) -> Vec<Vec<String>> {
        self.graph.letters().into_iter().map(|letter| letter.recipients).collect()
    }
}

fn courier(plan: GraphPlan) -> GraphCourier {
    GraphCourier::new(plan, Limits::default(), short_timeouts(), Arc::new(WallClock))
}

async fn run(courier: &GraphCourier, batch: &mut Batch) -> SessionEnd {
    tokio::time::timeout(Duration::from_secs(30), courier.session(batch)).await.expect("the session ends by itself")
}

/// A letter with these header lines.
fn letter(number: i64, to: &str, header: &str) -> Load {
    let Verdict::Send(to) = live().admit(&Address::parse(to).unwrap(), Role::To) else { panic!("a live guard sends") };
    let bytes = format!("Message-ID: <{number}@house>\r\n{header}\r\nhello {number}\r\n").into_bytes();
    Load::new(Id::from_number(number), to, None, bytes.into(), format!("{number}@house"))
}

fn letters(count: i64) -> Batch {
    Batch::of((1..=count).map(|n| letter(n, &format!("reader{n}@example.org"), &format!("To: reader{n}@example.org\r\n"))))
}

#[tokio::test]
async fn a_call_names_the_one_recipient_and_nobody_else() {
    let cloud = Cloud::start();
    let shared = "From: Post <post@example.org>\r\nTo: \"King, Ada\" <ada@example.org>\r\nCc: bob@example.org,\r\n carol@example.org\r\nBcc: dave@example.org\r\nSubject: x\r\n";
    let own = "From: post@example.org\r\nTo: Ada King <Ada@example.org>\r\nSubject: x\r\n";
    let mut batch = Batch::of([
        letter(1, "ada@example.org", own),
        letter(2, "ada@example.org", shared),
        letter(3, "bob@example.org", shared),
        letter(4, "redirected@example.org", own),
        letter(5, "nobody@nowhere.invalid", own),
        letter(6, "ada@example.org", own),
    ]);
    assert_eq!(short_end(&run(&courier(cloud.plan()), &mut batch).await), "done");
    assert_eq!(batch.short(), ["sent", "sent", "sent", "sent", "permanent rcpt", "sent"]);
    let expected = ["Ada@example.org", "ada@example.org", "bob@example.org", "redirected@example.org", "Ada@example.org"];
    assert_eq!(cloud.recipients(), expected.map(|one| vec![one.to_owned()]));
    let letters = cloud.graph.letters();
    assert_eq!(
        letters[0].bytes,
        b"Message-ID: <1@house>\r\nFrom: post@example.org\r\nTo: Ada King <Ada@example.org>\r\nSubject: x\r\n\r\nhello 1\r\n"
    );
    let text = String::from_utf8_lossy(&letters[2].bytes).into_owned();
    assert_eq!(text, "To: bob@example.org\r\nMessage-ID: <3@house>\r\nFrom: Post <post@example.org>\r\nSubject: x\r\n\r\nhello 3\r\n");
    assert!(letters[0].client_request_id.len() == 36 && letters[0].client_request_id != letters[1].client_request_id);
    assert_eq!((cloud.graph.connections(), cloud.issuer.count()), (1, 1), "one connection and one token for all");
    let Outcome::Sent { reply } = &batch.outcomes[0].1 else { panic!("it was sent") };
    assert!(reply.starts_with("HTTP 202 Accepted (request-id 0") && reply.contains(&letters[0].client_request_id), "{reply}");
}

#[tokio::test]
async fn a_token_that_ends_is_replaced_and_one_that_never_was_good_is_trouble() {
    let cloud = Cloud::start();
    let courier = courier(cloud.plan());
    assert_eq!(short_end(&run(&courier, &mut letters(1)).await), "done");
    cloud.issuer.revoke_all();
    let mut batch = letters(3);
    assert_eq!((short_end(&run(&courier, &mut batch).await).as_str(), batch.short().join(" ").as_str()), ("done", "sent sent sent"));
    assert_eq!((cloud.graph.statuses(), cloud.issuer.count()), (vec![202, 401, 202, 202, 202], 2));

    cloud.issuer.revoke_all();
    cloud.issuer.behave(Behaviour::Stale);
    let mut batch = letters(3);
    let SessionEnd::Trouble(trouble) = run(&courier, &mut batch).await else { panic!("no trouble") };
    assert_eq!((trouble.kind.as_str(), batch.short()), ("auth", vec!["returned".to_owned()]));
    assert!(trouble.sentence().contains("HTTP 401 InvalidAuthenticationToken") && trouble.kind.needs_a_person(), "{}", trouble.sentence());
    assert_eq!(cloud.issuer.count(), 3, "one other token was tried");
    cloud.issuer.behave(Behaviour::Says { status: 503, headers: Vec::new(), body: "{}".to_owned() });
    assert_eq!(short_end(&run(&courier, &mut letters(1)).await), "unreachable auth");
}

#[tokio::test]
async fn what_graph_says_decides_about_the_letter_or_the_relay() {
    let cloud = Cloud::start();
    for (manner, outcome, end) in [
        (Manner::error(400, "ErrorInvalidRecipients", &[]), "permanent rcpt", "done"),
        (Manner::error(400, "ErrorMimeContentInvalid", &[]), "permanent content", "done"),
        (Manner::error(400, "BadRequest", &[]), "transient content", "done"),
        (Manner::error(403, "ErrorAccessDenied", &[]), "returned", "configuration mail"),
        (Manner::error(404, "ErrorInvalidUser", &[]), "returned", "configuration mail"),
        (Manner::error(429, "ApplicationThrottled", &["Retry-After: 2"]), "returned", "busy content"),
        (Manner::error(503, "ServiceUnavailable", &[]), "returned", "busy content"),
        (Manner::error(500, "InternalServerError", &[]), "unknown", "unreachable content"),
        (Manner::Says(202, vec!["Connection: close".to_owned()], String::new()), "sent", "done"),
        (Manner::Says(302, vec!["Location: https://example.org/".to_owned()], String::new()), "returned", "configuration mail"),
        (Manner::LateError(504), "unknown", "unreachable content"),
        (Manner::CutAt(0), "unknown", "unreachable content"),
        (Manner::CutAfter, "unknown", "unreachable content"),
        (Manner::Slow(Duration::from_secs(3)), "unknown", "unreachable content"),
    ] {
        cloud.graph.meet([manner.clone()]);
        let limit = if matches!(manner, Manner::Slow(_)) { Duration::from_secs(1) } else { Duration::from_secs(15) };
        let timeouts = Timeouts { final_dot: limit, ..short_timeouts() };
        let courier = GraphCourier::new(cloud.plan(), Limits::default(), timeouts, Arc::new(WallClock));
        let mut batch = letters(1);
        let found = short_end(&run(&courier, &mut batch).await);
        assert_eq!((batch.short().join(" ").as_str(), found.as_str()), (outcome, end), "{manner:?}");
    }
    let mut wrong = letters(1);
    assert_eq!(short_end(&run(&courier(cloud.plan_for("other@example.org")), &mut wrong).await), "configuration mail");
}

#[tokio::test]
async fn a_letter_too_large_is_refused_unsent_and_the_largest_is_taken() {
    let cloud = Cloud::start();
    let sized = |number, octets| {
        let line = "x".repeat(998) + "\r\n";
        let mut load = letter(number, "ada@example.org", "To: ada@example.org\r\n");
        let mut bytes = load.bytes.to_vec();
        while bytes.len() + line.len() <= octets {
            bytes.extend_from_slice(line.as_bytes());
        }
        load.bytes = bytes.into();
        load
    };
    // Base64 makes four octets of three.
    let mut batch = Batch::of([sized(1, 3 << 20), sized(2, (3 << 20) + 2000), sized(3, 100)]);
    assert_eq!(short_end(&run(&courier(cloud.plan()), &mut batch).await), "done");
    assert_eq!(batch.short(), ["sent", "permanent content", "sent"]);
    assert_eq!(cloud.graph.calls().len(), 2);
}

#[tokio::test]
async fn a_connection_that_graph_has_closed_costs_nothing() {
    let cloud = Cloud::start();
    cloud.graph.meet([Manner::ClosesBehind, Manner::Good, Manner::ClosesBehind]);
    let courier = courier(cloud.plan());
    for count in [1, 2, 1] {
        let mut batch = letters(count);
        assert_eq!(short_end(&run(&courier, &mut batch).await), "done");
        assert!(batch.outcomes.iter().all(|(_, outcome)| short(outcome) == "sent"), "{:?}", batch.outcomes);
    }
    assert_eq!(cloud.graph.letters().len(), 4);
}

#[tokio::test]
async fn graph_is_trusted_by_its_certificate_alone() {
    let (ca, other) = (TestCa::new(), TestCa::new());
    let issuer = Issuer::builder().client("tidings", "secret").start();
    let graph = Graph::start(Some(&ca.issue("localhost", Validity::Good)), MAILBOX, &issuer.introspection_url());
    let plan = |ca: &TestCa| {
        let proof = ClientProof::SecretInBody(Secret::new("secret"));
        let plan = GraphPlan::new(graph.url(), MAILBOX, TokenPlan::new(issuer.token_url(), "tidings", proof));
        plan.ca_pem(std::fs::read(ca.pem_path()).unwrap())
    };
    assert_eq!(short_end(&run(&courier(plan(&other)), &mut letters(1)).await), "tls tls");
    assert_eq!(issuer.count(), 0, "no token is asked for to show it to a stranger");
    assert_eq!(short_end(&run(&courier(plan(&ca)), &mut letters(2)).await), "done");
    assert_eq!(graph.letters().len(), 2);
}

fn crowded(cloud: &Cloud, sessions: u16) -> RelayPlan {
    RelayPlan { limits: Limits { sessions, ..Limits::default() }, ..relay(cloud.way()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn never_more_than_four_calls_are_under_way() {
    let cloud = Cloud::start();
    cloud.graph.take_your_time(Duration::from_millis(20));
    let house = House::build().await;
    house.accept_many(80).await;
    let postman = house.postman(crowded(&cloud, 12), live());
    until("all letters to be taken", || async { house.rows(State::Sent).await.len() == 80 }).await;
    postman.stop(Duration::from_secs(5)).await;
    assert_eq!((cloud.graph.most_at_once(), cloud.graph.letters().len()), (4, 80));
    assert!(cloud.graph.statuses().iter().all(|status| *status == 202), "{:?}", cloud.graph.statuses());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_relay_pauses_as_long_as_it_is_told_and_no_attempt_is_spent() {
    let cloud = Cloud::start();
    let house = House::build().await;
    house.accept_many(5).await;
    let postman = house.postman(crowded(&cloud, 4), live());
    until("the first letters to be taken", || async { house.rows(State::Sent).await.len() == 5 }).await;
    let begun = Instant::now();
    cloud.graph.throttle(Duration::from_millis(5800));
    house.accept(["a", "b", "c", "d", "e", "f"].map(|name| format!("{name}@example.org")), Lane::Notices).await;
    until("the relay to be held", || async { postman.status().relays.iter().any(|relay| relay.condition == "held") }).await;
    let reason = postman.status().relays[0].reason.clone().unwrap_or_default();
    assert!(reason.contains("HTTP 429 ApplicationThrottled"), "{reason}");
    until("the rest to be taken", || async { house.rows(State::Sent).await.len() == 11 }).await;
    // Retry-After was 6 s: no call came between the first refusals and then.
    let late: Vec<Duration> = cloud.graph.calls().into_iter().filter_map(|at| at.checked_duration_since(begun)).collect();
    let early = late.iter().filter(|at| **at < Duration::from_millis(5800)).count();
    assert!((1..=4).contains(&early), "{late:?}");
    assert!(late.iter().all(|at| *at < Duration::from_millis(4000) || *at >= Duration::from_millis(5800)), "{late:?}");
    for row in house.rows(State::Sent).await {
        assert_eq!((row.attempts, row.maybe_duplicate), (1, false));
    }
    postman.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirected_letter_reaches_only_whom_the_guard_names() {
    let cloud = Cloud::start();
    let house = House::build().await;
    house.accept_many(3).await;
    let guard = EnvironmentGuard::new(Mode::Redirect, Some(Address::parse("tester@example.org").unwrap()), None, vec![]);
    let postman = house.postman(relay(cloud.way()), guard);
    until("the letters to be taken", || async { house.rows(State::Sent).await.len() == 3 }).await;
    postman.stop(Duration::from_secs(5)).await;
    assert_eq!(cloud.recipients(), vec![vec!["tester@example.org".to_owned()]; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_cut_anywhere_lose_nothing_and_mark_what_may_have_come_twice() {
    let cloud = Cloud::start();
    let house = House::build().await;
    cloud.graph.meet([
        Manner::Good,
        Manner::CutAt(0),
        Manner::CutAfter,
        Manner::CutAt(10),
        Manner::LateError(502),
        Manner::error(503, "x", &["Retry-After: 1"]),
        Manner::CutAfter,
    ]);
    let mut plan = crowded(&cloud, 4);
    plan.retry.rhythm = tidings_core::retry::Rhythm::Delays(vec![Duration::from_millis(50)]);
    house.accept_many(20).await;
    let postman = house.postman(plan, live());
    until("all letters to be taken", || async { house.rows(State::Sent).await.len() == 20 }).await;
    postman.stop(Duration::from_secs(5)).await;
    assert!(!cloud.graph.has_manners_left());
    let mut copies = std::collections::HashMap::<String, usize>::new();
    for letter in cloud.graph.letters() {
        *copies.entry(letter.recipients[0].clone()).or_default() += 1;
    }
    assert_eq!(copies.len(), 20);
    for row in house.rows(State::Sent).await {
        let copies = copies[row.to.as_str()];
        assert!(copies == 1 || row.maybe_duplicate, "{copies} of {}", row.to);
    }
    assert_eq!(copies.values().filter(|copies| **copies > 1).count(), 3, "each call that was carried out and not answered");
}
