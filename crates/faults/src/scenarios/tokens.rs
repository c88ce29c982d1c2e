//! Access tokens that cannot be had, come late, or are no good.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tidings_testkit::certs::{TestCa, Validity};
use tidings_testkit::issuer::{Behaviour, Issuer};
use tidings_testkit::postfix::Postfix;

use crate::house::{House, PATIENCE, events};
use crate::ledger::{End, of_maildir, reckon, recovery};
use crate::{Scale, Scenario, Tally, look};

/// See `proves`.
pub(crate) const TOKENS: Scenario = Scenario {
    name: "token_endpoint",
    proves: "while the token endpoint is down letters go under the token at hand; with none, with a slow endpoint, with dead tokens and with a client it does not know the relay is held, the reason names the endpoint, and no letter bounces or spends an attempt",
    play,
};

const USER: &str = "post@example.org";
const SECRET: &str = "client secret";

/// A relay that takes letters under access tokens only, and what it has been sent.
struct Desk {
    house: House,
    postfix: Postfix,
    issuer: Issuer,
    each: usize,
    posted: usize,
}

impl Desk {
    /// Posts some letters; how many were posted so far.
    fn post(&mut self) -> usize {
        let readers = self.posted..self.posted + self.each;
        self.posted = readers.end;
        self.house.accept(&readers.map(|n| events::test_letter(&n.to_string(), &format!("reader{n}@example.org"))).collect::<Vec<_>>());
        self.posted
    }

    /// Waits until the relay is held for this reason and all new letters wait, unspent.
    fn demand_held(&self, words: &[&str]) {
        let held = self.house.until("the relay to be held and all new letters to wait", || {
            let told = |relay: &Value| words.iter().all(|word| relay["reason"].as_str().is_some_and(|reason| reason.contains(word)));
            Some(look::relay(&self.house, "sink"))
                .filter(|relay| relay["condition"] == "held" && relay["waiting"] == self.each && told(relay))
        });
        assert!(!held["reason"].as_str().unwrap_or_default().contains(SECRET), "{held}");
        let waiting = look::items(&self.house, "state=waiting");
        assert!(waiting.iter().all(|item| item["attempts"] == 0 && item["maybe_duplicate"] == false), "{waiting:?}");
    }

    fn arrived(&self) -> usize {
        self.postfix.maildir_letters().len()
    }
}

fn play(scale: Scale) -> Tally {
    let each = scale.of(5, 50);
    let ca = TestCa::new();
    let certificate = ca.issue("localhost", Validity::Good);
    let issuer = Issuer::builder().certificate(&certificate).client("tidings", SECRET).user(USER).scope("mail").start();
    let postfix = Postfix::builder()
        .certificate(&certificate)
        .user(USER, "nobody signs in with it")
        .mechanisms(&["xoauth2", "oauthbearer"])
        .introspection(&issuer.introspection_url())
        .start();
    let house = House::start(|config| {
        fs::write(config.folder().join("secret"), SECRET).expect("our own folder can be written");
        let authority = ca.pem_path().display();
        config.relay_key("host", "\"localhost\"");
        config.relay_key("port", &postfix.submission_port().to_string());
        config.relay_key("tls", "\"starttls\"");
        config.relay_key("ca_file", &format!("\"{authority}\""));
        // As many as are posted together: each batch needs a sign-in of its own.
        config.relay_key("limits", &format!("{{ sessions = 1, messages_per_session = {each} }}"));
        config.relay_key("timeouts", "{ connect = \"3s\", command = \"3s\" }");
        let tokens = format!(
            "token_url = \"{}\", client_id = \"tidings\", client_secret_file = \"secret\", scope = \"mail\", ca_file = \"{authority}\"",
            issuer.token_url()
        );
        config.relay_key("auth", &format!("{{ username = \"{USER}\", mechanism = \"xoauth2\", oauth2 = {{ {tokens} }} }}"));
    });
    let mut desk = Desk { house, postfix, issuer, each, posted: 0 };
    let patience = PATIENCE * 2;
    let all = desk.post();
    desk.postfix.wait_for_letters(all, patience);

    // The endpoint is down; the token at hand is good.
    desk.issuer.behave(Behaviour::HangsUp);
    let all = desk.post();
    desk.postfix.wait_for_letters(all, patience);
    desk.house.until_quiet();

    // No token is good any more, and the endpoint is down, or broken, or slow: held, and well again with it.
    let mut tally = Tally::default();
    let broken = Behaviour::Says { status: 500, headers: Vec::new(), body: "no".to_owned() };
    for (behaviour, words) in [(Behaviour::HangsUp, "token"), (broken, "500"), (Behaviour::Slow(Duration::from_secs(30)), "token")] {
        desk.issuer.behave(behaviour);
        desk.issuer.revoke_all();
        let (before, all) = (desk.arrived(), desk.post());
        desk.demand_held(&["auth: ", words]);
        tally = tally.recovered(recovery(&desk.house, "sink", || desk.issuer.behave(Behaviour::Good), || desk.arrived() > before));
        desk.postfix.wait_for_letters(all, patience);
        desk.house.until_quiet();
    }

    // Dead tokens, and a client that is not known: nothing that passes by itself. The operator mends it and starts the server anew.
    let unknown = json!({"error": "invalid_client"}).to_string();
    let unknown = Behaviour::Says { status: 401, headers: vec!["Content-Type: application/json".to_owned()], body: unknown };
    for (behaviour, words) in [(Behaviour::Stale, "535"), (unknown, "invalid_client")] {
        desk.issuer.behave(behaviour);
        desk.issuer.revoke_all();
        let asked = desk.issuer.count();
        let all = desk.post();
        desk.demand_held(&["auth: ", words]);
        assert!(desk.issuer.count() <= asked + 2, "the endpoint was asked {} times at once", desk.issuer.count() - asked);
        assert!(desk.house.terminate().success());
        desk.issuer.behave(Behaviour::Good);
        desk.house.serve();
        desk.postfix.wait_for_letters(all, patience);
        desk.house.until_quiet();
    }
    reckon(&desk.house.outbox(&[]), desk.posted, &of_maildir(&desk.postfix.maildir_letters()), |_| End::Sent).and(&tally)
}
