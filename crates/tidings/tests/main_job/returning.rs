//! What comes back: real mail servers report, the item is bounced, the address is unhealthy, and somebody is told once.

use serde_json::{Value, json};
use tidings_sink::{Fault, Stage, What, When};
use tidings_testkit::{exim::Exim, http, postfix::Postfix};

use crate::house::{
    House, PATIENCE,
    events::{event, payroll, person},
};

const DEAD: &str = "linus.berg@dead.example";
const MANAGER: &str = "grace.hill@alive.example";

/// Linus, whose manager is Grace, joins Payroll.
fn joins(id: &str) -> Value {
    let mut linus = person(DEAD, "en");
    linus["manager"] = person(MANAGER, "en");
    event(id, "membership.joined", json!({"object": payroll(&[]), "member": linus}))
}

/// The sink behind the mail server knows nobody at `dead.example`.
fn nobody_is_there(house: &House) {
    let reply = What::reply("550 5.1.1 <linus.berg@dead.example>: Recipient address rejected: User unknown");
    house.sink.add_fault(Fault::new(Stage::Rcpt, When::ToAddressContains("@dead.example".into()), reply));
}

fn bounce(house: &House, report: &[u8]) -> Value {
    let ended = house.command_with_input(&["bounce", "-", "--json"], std::str::from_utf8(report).expect("these reports are ASCII"));
    assert!(ended.status.success(), "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).expect("it is JSON")
}

/// A relay by this port whose reports go to an address there.
fn relay(name: &str, port: u16, rest: &str) -> String {
    format!(
        "[[relay]]\nname = \"{name}\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\nfrom = \"no-reply@nordwind.example\"\n{rest}\n"
    )
}

#[test]
fn after_two_reports_of_postfix_an_address_is_unhealthy_and_its_manager_is_told_once() {
    let sink = crate::house::Mail::open();
    let onward = sink.addr().port();
    // What comes back to our side lies in the Maildir, everything else goes on to the sink.
    let map = format!(
        "transport_maps = inline:{{ {{returns.example = virtual:}}, {{alive.example = smtp:[127.0.0.1]:{onward}}}, {{dead.example = smtp:[127.0.0.1]:{onward}}} }}"
    );
    let postfix = Postfix::builder().setting(&map).start();
    let mut house = House::furnish_with(sink, |config| {
        config.relays(&relay("postfix", postfix.plain_port(), "envelope_from = \"bounces@returns.example\""));
    });
    house.token = house.create_token("events:write,outbox:read,outbox:write,bounces:write");
    nobody_is_there(&house);
    house.serve();

    house.accept(&[joins("1")]);
    let report = postfix.wait_for_letters(1, PATIENCE).remove(0);
    let item = house.until_state(DEAD, "sent");
    let taken = bounce(&house, &report.bytes);
    let line = &taken["recipients"][0];
    assert_eq!(
        (&taken["outcome"], &taken["form"], &line["item"], &line["matched_by"]),
        (&json!("taken"), &json!("dsn"), &item["id"], &json!("envid")),
        "{taken}"
    );
    assert_eq!((&line["class"], &line["effect"], &line["unhealthy"]), (&json!("hard"), &json!("bounced"), &json!(false)), "{taken}");
    let shown = house.show(item["id"].as_str().expect("an id"));
    let last = shown["history"].as_array().and_then(|lines| lines.last()).expect("it has a history").clone();
    assert_eq!((&shown["state"], &last["what"]), (&json!("bounced"), &json!("bounced")));
    assert!(
        last["detail"].as_str().is_some_and(|detail| detail.contains("User unknown") && detail.contains("relay.example.org")),
        "{last}"
    );

    // The same one by HTTP changes nothing, and something else is ignored with the reason.
    let post = |token: &str, media: &str, body: &[u8]| {
        http::post(&format!("{}/v1/bounces", house.url), Some(token), media, body).expect("it answers")
    };
    let again = post(&house.token, "message/rfc822", &report.bytes);
    assert_eq!((again.status, &again.json()["outcome"]), (202, &json!("known")), "{}", again.text());
    let away = post(
        &house.token,
        "message/rfc822",
        b"From: x@y.example\r\nSubject: Out of office\r\nAuto-Submitted: auto-replied\r\n\r\nback soon\r\n",
    );
    assert_eq!((&away.json()["outcome"], &away.json()["why"]), (&json!("ignored"), &json!("vacation")));
    assert_eq!(post(&house.token, "text/plain", b"x").status, 415);
    assert_eq!(post(&house.create_token("events:write"), "message/rfc822", b"x").status, 403);

    house.accept(&[joins("2")]);
    // In whatever order they lie there.
    let second = postfix.wait_for_letters(2, PATIENCE).into_iter().find(|letter| letter.bytes != report.bytes);
    let report = second.expect("a report of its own");
    house.until_state(DEAD, "sent");
    // Two more wait while it is not known yet: news, and a link.
    assert!(house.command(&["relay", "pause", "postfix"]).status.success());
    house.until("the server to hear of the pause", || house.log_has("the operator's word").then_some(()));
    let reset = |id| event(id, "password.reset_link", json!({"object": person(DEAD, "en"), "details": {"link": "https://id.example/x"}}));
    house.accept(&[joins("waits"), reset("reset")]);
    let taken = post(&house.token, "message/rfc822", &report.bytes).json();
    assert_eq!((&taken["recipients"][0]["effect"], &taken["recipients"][0]["unhealthy"]), (&json!("bounced"), &json!(true)), "{taken}");

    // The news is held, the link is not.
    let held = house.until_state(DEAD, "held");
    assert_eq!(held["kind"], json!("membership.joined"));
    assert!(held["last_reply"].as_str().is_some_and(|why| why.contains("come back") && why.contains("User unknown")), "{held}");
    let waiting = house.get(&format!("/v1/outbox?to={DEAD}&state=waiting"));
    assert_eq!(
        waiting["items"].as_array().map(|items| items.iter().map(|item| &item["kind"]).collect()),
        Some(vec![&json!("password.reset_link")])
    );
    assert!(house.command(&["relay", "resume", "postfix"]).status.success());
    postfix.wait_for_letters(3, PATIENCE);

    // Whoever can mend it is told.
    let letter = house.sink.letter_to(MANAGER);
    assert!(letter.header("Subject").is_some_and(|subject| subject.contains(DEAD)), "{:?}", letter.header("Subject"));
    // The next letter is held, too, and the trace says why.
    let events = house.accept(&[joins("3")]);
    let held = house.until("it to be held", || {
        let page = house.get(&format!("/v1/outbox?to={DEAD}&state=held"));
        page["items"].as_array().filter(|items| items.len() == 2).map(|items| items[0].clone())
    });
    assert!(held["last_reply"].as_str().is_some_and(|why| why.contains("come back")), "{held}");
    let trace = house.get(&format!("/v1/events/{}/trace", events[0]));
    assert!(trace["trace"]["letters"][0]["held"].as_str().is_some_and(|why| why.contains("User unknown")), "{trace}");
    // A code goes all the same: somebody waits for it.
    house.accept(&[reset("4")]);
    postfix.wait_for_letters(4, PATIENCE);
    house.until_quiet();
    assert_eq!(house.sink.letters_to(MANAGER).len(), 1, "told once");
    let addresses = house.json(&["address", "list"]);
    assert_eq!(
        (&addresses[0]["address"], &addresses[0]["told"], &addresses[0]["bounces"]),
        (&json!(DEAD), &json!(true), &json!(2)),
        "{addresses}"
    );
    assert_eq!(house.get("/v1/addresses")["items"], addresses);
    assert_eq!(house.get("/v1/bounces?matched=true")["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(house.json(&["address", "reports", "--unmatched"]), json!([]));
    let metrics = house.request("GET", "/metrics").text();
    for line in ["tidings_reports_ignored_total{why=\"vacation\"} 1", "tidings_reports_known_total 1", "matched_by=\"envid\""] {
        assert!(metrics.contains(line), "{line} is missing:\n{metrics}");
    }

    // Put right, it is written to again.
    house.sink.clear_faults();
    let cleared = house.command(&["address", "clear", DEAD, "--release"]);
    assert!(cleared.status.success() && cleared.stdout.contains("2 letters released"), "{} {}", cleared.stdout, cleared.stderr);
    assert_eq!(house.command(&["address", "clear", DEAD]).status.code(), Some(1));
    house.sink.letter_to(DEAD);
}

#[test]
fn reports_of_exim_are_matched_by_their_envelope_and_by_their_return_path() {
    let sink = crate::house::Mail::open();
    let exim = Exim::start(sink.addr().port());
    let mut house = House::furnish_with(sink, |config| {
        let plain = relay("plain", exim.port(), "envelope_from = \"bounces@example.org\"");
        let sealed = relay("sealed", exim.port(), "envelope_from = \"bounces@example.org\"\nverp = true\ndsn = []");
        config.relays(&format!("{plain}{sealed}"));
        config.set("bounces", "after", "1");
        config.set("bounces", "unhealthy", "\"fallback\"");
        config.set("bounces", "tell", "[\"it@alive.example\"]");
        config.more("[[rule]]\nname = \"by-return-path\"\non = [\"object.created\"]\nto = [\"object\"]\nfallback = [\"desk@alive.example\"]\nrelay = \"sealed\"\n");
    });
    house.token = house.create_token("events:write,outbox:read,outbox:write");
    nobody_is_there(&house);
    house.serve();
    for (count, (id, by)) in [("1", "envid"), ("2", "verp")].into_iter().enumerate() {
        let told =
            if by == "verp" { event(id, "object.created", json!({"object": person("linus@dead.example", "en")})) } else { joins(id) };
        house.accept(&[told]);
        let report = exim.wait_for_mail(count + 1, PATIENCE).remove(count);
        house.until_quiet();
        let taken = bounce(&house, &report);
        let line = &taken["recipients"][0];
        assert_eq!(
            (&line["matched_by"], &line["effect"], &line["class"]),
            (&json!(by), &json!("bounced"), &json!("hard")),
            "{taken}\n{}",
            String::from_utf8_lossy(&report)
        );
    }
    // The reports were taken by a command: once the server tells of them, it goes by them.
    house.until("both addresses to be told of", || (house.sink.letters_to("it@alive.example").len() == 2).then_some(()));
    // By another rule's fallback, and not to the address itself.
    house.accept(&[event("3", "object.created", json!({"object": person("linus@dead.example", "en")}))]);
    house.sink.letter_to("desk@alive.example");
}
