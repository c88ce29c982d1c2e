//! Letters by Microsoft Graph, against a Graph on loopback that follows Microsoft's documents: copies, the test letter's dialogue, `kill -9` in the middle of calls.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tidings_testkit::certs::{TestCa, Validity};
use tidings_testkit::graph::{Graph, Manner};
use tidings_testkit::issuer::Issuer;

use crate::house::{House, events};

const MAILBOX: &str = "no-reply@contoso.example";
const SECRET: &str = "client s&cret+ü";
const SCOPE: &str = "https://graph.microsoft.com/.default";

/// A tenant: its token endpoint and its Graph, both by HTTPS.
struct Tenant {
    ca: TestCa,
    issuer: Issuer,
    graph: Graph,
}

impl Tenant {
    fn start() -> Self {
        let ca = TestCa::new();
        let certificate = ca.issue("localhost", Validity::Good);
        let issuer = Issuer::builder().certificate(&certificate).client("tidings", SECRET).scope(SCOPE).start();
        let graph = Graph::start(Some(&certificate), MAILBOX, &issuer.introspection_url());
        Self { ca, issuer, graph }
    }

    fn relay(&self, name: &str, more: &str) -> String {
        let (ca, url, token_url) = (self.ca.pem_path().display(), self.graph.url(), self.issuer.token_url());
        format!(
            "[[relay]]\nname = \"{name}\"\nkind = \"graph\"\nfrom = \"{MAILBOX}\"\nurl = \"{url}\"\nca_file = \"{ca}\"\n{more}\n\
             [relay.auth.oauth2]\ntoken_url = \"{token_url}\"\nclient_id = \"tidings\"\nclient_secret = \"{SECRET}\"\nca_file = \"{ca}\"\n\n"
        )
    }

    /// How often each reader got a letter.
    fn copies(&self) -> BTreeMap<String, usize> {
        let mut copies = BTreeMap::new();
        for letter in self.graph.letters() {
            assert_eq!(letter.recipients.len(), 1, "{:?}", letter.recipients);
            *copies.entry(letter.recipients[0].clone()).or_default() += 1;
        }
        copies
    }
}

#[test]
fn a_letter_and_its_copy_reach_one_person_each_and_send_test_shows_the_call() {
    let tenant = Tenant::start();
    let house = House::start(|config| {
        config.relays(&tenant.relay("graph", ""));
        config.more("[[rule]]\nname = \"copied\"\non = [\"object.changed\"]\nto = [\"object\"]\ncc = [\"manager\"]\n");
    });
    let mut ada = events::person("ada.king@example.org", "en");
    ada["manager"] = events::person("grace@example.org", "en");
    house.accept(&[events::event("1", "object.changed", json!({"object": ada, "before": {"room": "A"}, "after": {"room": "B"}}))]);
    house.until_quiet();
    let expected = ["ada.king@example.org", "grace@example.org"].map(|to| (to.to_owned(), 1));
    assert_eq!(tenant.copies(), BTreeMap::from(expected));
    let letters = tenant.graph.letters();
    assert_eq!(letters[0].message_id, letters[1].message_id, "a copy is the same letter");
    let item = &house.outbox(&["--to", "grace@example.org"])[0];
    let reply = item["last_reply"].as_str().expect("the relay has answered");
    assert!(reply.starts_with("HTTP 202 Accepted (request-id ") && reply.contains("client-request-id "), "{reply}");

    let ended = house.command(&["send-test", "--to", "ada@example.org", "--json"]);
    assert!(ended.status.success(), "{}{}", ended.stdout, ended.stderr);
    for line in ["> POST /v1.0/users/no-reply@contoso.example/sendMail", "> Authorization: Bearer ***", "< HTTP 202 Accepted"] {
        assert!(ended.stdout.contains(line), "{line} is not in {}", ended.stdout);
    }
    tenant.graph.meet([Manner::error(403, "ErrorAccessDenied", &[])]);
    let ended = house.command(&["send-test", "--to", "ada@example.org", "--json"]);
    let said: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert!(!ended.status.success() && said["stage"] == "mail" && said["sent"] == false, "{said:#}");
    assert!(said["hint"].as_str().is_some_and(|hint| hint.contains("Mail.Send") && hint.contains("access policy")), "{said:#}");
    let probed = house.command(&["relay", "probe", "graph"]);
    assert!(probed.status.success() && probed.stdout.contains("access token from localhost:"), "{}{}", probed.stdout, probed.stderr);
    for shown in [&ended.stdout, &probed.stdout, &house.log()] {
        assert!(!shown.contains(SECRET) && !shown.contains("token-1-Ab3"), "{shown}");
    }
}

#[test]
fn kill_9_in_the_middle_of_calls_loses_nothing_and_marks_what_may_have_come_twice() {
    const READERS: usize = 24;
    let tenant = Tenant::start();
    tenant.graph.take_your_time(Duration::from_millis(100));
    let mut house = House::start(|config| config.relays(&tenant.relay("graph", "limits = { per_minute = 0 }")));
    let letters: Vec<_> = (0..READERS).map(|n| events::test_letter(&n.to_string(), &format!("reader{n}@example.org"))).collect();
    house.accept(&letters);
    for calls in [6, 14] {
        house.until("calls to be under way", || (tenant.graph.calls().len() >= calls).then_some(()));
        house.kill9();
        house.serve();
    }
    house.until_quiet();
    let copies = tenant.copies();
    assert_eq!(copies.len(), READERS, "{copies:?}");
    assert!(tenant.graph.most_at_once() <= 8, "four of the process that died, at most, and four of the next");
    for item in house.outbox(&[]) {
        let copies = copies[item["to"].as_str().expect("an address")];
        assert!(item["state"] == "sent" && (copies == 1 || copies <= 3 && item["maybe_duplicate"] == true), "{copies} of {item}");
    }
}
