//! Every way to sign in, against servers that are not ours: Postfix with Dovecot, npm's smtp-server, and a SCRAM server of Python's scramp behind OpenSSL.

mod house;

use std::fmt::Write as _;

use serde_json::{Value, json};
use tidings_testkit::certs::{TestCa, Validity};
use tidings_testkit::issuer::{Behaviour, Issuer};
use tidings_testkit::postfix::Postfix;
use tidings_testkit::scram_server::{Binding, ScramServer};
use tidings_testkit::smtp_server::SmtpServer;

use house::events::test_letter;
use house::{House, PATIENCE};

const USER: &str = "post@example.org";
const PASSWORD: &str = "pass, word= ö";
const CLIENT_SECRET: &str = "client s&cret+ü";

/// What a secret looks like on the wire must not be shown either; these are parts of it in base64 and hexadecimal.
const NEVER_SHOWN: [&str; 4] = [PASSWORD, CLIENT_SECRET, "cGFzcywgd29yZD0g", "token-1-Ab3"];

/// The relays of one server, written as TOML one after the other.
struct Relays {
    text: String,
    port: u16,
    ca: String,
    tls: &'static str,
}

impl Relays {
    fn at(port: u16, tls: &'static str, ca: &TestCa) -> Self {
        Self { text: String::new(), port, ca: ca.pem_path().display().to_string(), tls }
    }

    fn add(&mut self, name: &str, auth: &str) {
        let Self { text, port, ca, tls } = self;
        write!(
            text,
            "[[relay]]\nname = \"{name}\"\nhost = \"localhost\"\nport = {port}\ntls = \"{tls}\"\nca_file = \"{ca}\"\nfrom = \"no-reply@nordwind.example\"\nauth = {{ username = \"{USER}\", {auth} }}\n\n"
        )
        .expect("a String takes everything");
    }

    fn add_password(&mut self, name: &str, password: &str, mechanism: &str) {
        self.add(name, &format!("password = \"{password}\", mechanism = \"{mechanism}\""));
    }

    fn add_tokens(&mut self, name: &str, issuer: &Issuer, secret: &str, mechanism: &str) {
        let (url, ca) = (issuer.token_url(), &self.ca);
        let tokens =
            format!("token_url = \"{url}\", client_id = \"tidings\", client_secret = \"{secret}\", scope = \"mail\", ca_file = \"{ca}\"");
        self.add(name, &format!("mechanism = \"{mechanism}\", oauth2 = {{ {tokens} }}"));
    }
}

fn issuer(ca: &TestCa) -> Issuer {
    Issuer::builder().certificate(&ca.issue("localhost", Validity::Good)).client("tidings", CLIENT_SECRET).user(USER).scope("mail").start()
}

/// `tidings send-test` by this relay: whether it was sent, and what it says.
#[track_caller]
fn send_test(house: &House, relay: &str) -> (bool, Value) {
    let ended = house.command(&["send-test", "--to", "ada@example.org", "--relay", relay, "--json"]);
    for secret in NEVER_SHOWN {
        assert!(!ended.stdout.contains(secret) && !ended.stderr.contains(secret), "{relay} shows {secret}: {}", ended.stdout);
    }
    let said: Value =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{relay}: {error}: {}{}", ended.stdout, ended.stderr));
    assert_eq!(said["sent"] == true, ended.status.success());
    (ended.status.success(), said)
}

#[track_caller]
fn sent(house: &House, relay: &str) -> Value {
    let (sent, said) = send_test(house, relay);
    assert!(sent, "{relay}: {said:#}");
    said
}

#[track_caller]
fn refused(house: &House, relay: &str, words: &[&str]) -> Value {
    let (sent, said) = send_test(house, relay);
    assert!(!sent && said["stage"] == "auth", "{relay}: {said:#}");
    for word in words {
        assert!(said.to_string().contains(word), "{relay} does not say {word:?}: {said:#}");
    }
    said
}

#[test]
fn every_mechanism_signs_in_at_postfix_with_dovecot() {
    let ca = TestCa::new();
    let certificate = ca.issue("localhost", Validity::Good);
    let issuer = issuer(&ca);
    let mechanisms = ["plain", "login", "cram-md5", "scram-sha-1", "scram-sha-256", "xoauth2", "oauthbearer"];
    let postfix = Postfix::builder()
        .certificate(&certificate)
        .user(USER, PASSWORD)
        .mechanisms(&mechanisms)
        .introspection(&issuer.introspection_url())
        .start();
    let house = House::furnish(|config| {
        let mut relays = Relays::at(postfix.submission_port(), "starttls", &ca);
        for mechanism in ["auto", "plain", "login", "cram-md5", "scram-sha-1", "scram-sha-256"] {
            relays.add_password(mechanism, PASSWORD, mechanism);
            relays.add_password(&format!("{mechanism}-wrong"), "not the password", mechanism);
        }
        for mechanism in ["xoauth2", "oauthbearer"] {
            relays.add_tokens(mechanism, &issuer, CLIENT_SECRET, mechanism);
        }
        relays.add_tokens("tokens-auto", &issuer, CLIENT_SECRET, "auto");
        relays.add_tokens("tokens-wrong", &issuer, "not the secret", "auto");
        config.relays(&relays.text);
    });

    for (at, mechanism) in ["plain", "login", "cram-md5", "scram-sha-1", "scram-sha-256"].into_iter().enumerate() {
        sent(&house, mechanism);
        postfix.wait_for_letters(at + 1, PATIENCE);
        let method = format!("sasl_method={}, sasl_username={USER}", mechanism.to_uppercase());
        assert!(postfix.log().contains(&method), "{method} is not in {}", postfix.log());
        refused(&house, &format!("{mechanism}-wrong"), &["535", "check user name and password"]);
    }
    sent(&house, "auto");
    refused(&house, "auto-wrong", &["535", "AUTH SCRAM-SHA-256"]);
    assert_eq!(postfix.log().matches("sasl_method=SCRAM-SHA-256,").count(), 2, "auto takes the strongest: {}", postfix.log());

    for mechanism in ["xoauth2", "oauthbearer"] {
        sent(&house, mechanism);
        assert!(postfix.log().contains(&format!("sasl_method={}, sasl_username={USER}", mechanism.to_uppercase())), "{}", postfix.log());
    }
    sent(&house, "tokens-auto");
    assert_eq!((issuer.count(), issuer.tokens().len()), (3, 3));
    assert!(issuer.introspections() >= 3, "Dovecot has judged the tokens itself");
    postfix.wait_for_letters(9, PATIENCE);

    // Wrong and expired tokens: the relay's reason is read and answered, one other token is tried, and then it is told.
    issuer.behave(Behaviour::Stale);
    for (relay, answer) in [("xoauth2", "> (an empty line)"), ("oauthbearer", "> ***")] {
        let before = issuer.count();
        let said = refused(&house, relay, &["535", "[status ", "access token from localhost:"]);
        let dialogue: Vec<&str> = said["dialogue"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        let last = dialogue.iter().rposition(|line| line.starts_with("< 535")).expect("it was refused");
        assert_eq!(dialogue[last - 1], answer, "{dialogue:#?}");
        assert_eq!(issuer.count() - before, 2, "{relay}: one forced refresh");
    }
    issuer.behave(Behaviour::Good);
    let asked = issuer.introspections();
    let said = refused(&house, "tokens-wrong", &["invalid_client", "the secret may have expired"]);
    let tried = said["dialogue"]
        .as_array()
        .is_some_and(|lines| lines.iter().any(|line| line.as_str().is_some_and(|line| line.starts_with("> AUTH"))));
    assert!(!tried && issuer.introspections() == asked, "the relay was not even asked: {said:#}");
    assert_eq!(postfix.maildir_letters().len(), 9);
}

#[test]
fn tokens_that_end_and_endpoints_that_fail_cost_no_letter() {
    let ca = TestCa::new();
    let issuer = issuer(&ca);
    let postfix = Postfix::builder()
        .certificate(&ca.issue("localhost", Validity::Good))
        .user(USER, PASSWORD)
        .mechanisms(&["xoauth2"])
        .introspection(&issuer.introspection_url())
        .start();
    issuer.behave(Behaviour::Says { status: 503, headers: Vec::new(), body: "{}".to_owned() });
    let house = House::start(|config| {
        let mut relays = Relays::at(postfix.implicit_tls_port(), "implicit", &ca);
        relays.add_tokens("company", &issuer, CLIENT_SECRET, "auto");
        relays.text.push_str("limits = { sessions = 2, messages_per_session = 1 }\n");
        config.relays(&relays.text);
    });
    let letters =
        |from: usize| (from..from + 5).map(|n| test_letter(&n.to_string(), &format!("reader{n}@example.org"))).collect::<Vec<_>>();
    house.accept(&letters(0));
    let held = house.until("the relay to be held", || {
        Some(house.relay("company")).filter(|relay| relay["condition"] == "held" && relay["waiting"] == 5)
    });
    let reason = held["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("auth: the token endpoint localhost:") && reason.contains("HTTP 503"), "{reason}");
    assert!(house.outbox(&["--state", "waiting"]).iter().all(|item| item["attempts"] == 0));

    issuer.behave(Behaviour::Good);
    postfix.wait_for_letters(5, PATIENCE);
    house.until_quiet();
    let asked = issuer.tokens().len();
    assert_eq!(asked, 1, "one token for all sessions");

    // A token that ends before its time: 535, another token, no hold.
    let holds = house.log().matches("\"relay held\"").count();
    issuer.revoke_all();
    house.accept(&letters(5));
    postfix.wait_for_letters(10, PATIENCE);
    house.until_quiet();
    assert_eq!(issuer.tokens().len(), 2);
    assert_eq!(house.log().matches("\"relay held\"").count(), holds, "{}", house.log());
    assert!(house.log_has("the relay refused the access token; asking for another one"), "{}", house.log());
    let items = house.outbox(&["--state", "sent"]);
    assert!(items.len() == 10 && items.iter().all(|item| item["maybe_duplicate"] == false && item["attempts"] == 1), "{items:?}");
    for secret in NEVER_SHOWN {
        assert!(!house.log().contains(secret), "{secret} is in the log");
    }
}

#[test]
fn npm_smtp_server_lets_in_who_is_right() {
    let ca = TestCa::new();
    let issuer = issuer(&ca);
    let server = SmtpServer::start(&ca.issue("localhost", Validity::Good), USER, PASSWORD, &issuer.introspection_url());
    let house = House::furnish(|config| {
        let mut relays = Relays::at(server.port(), "starttls", &ca);
        for mechanism in ["auto", "plain", "login", "cram-md5"] {
            relays.add_password(mechanism, PASSWORD, mechanism);
            relays.add_password(&format!("{mechanism}-wrong"), "not the password", mechanism);
        }
        relays.add_tokens("xoauth2", &issuer, CLIENT_SECRET, "xoauth2");
        config.relays(&relays.text);
    });
    for (relay, method) in [("plain", "PLAIN"), ("login", "LOGIN"), ("cram-md5", "CRAM-MD5"), ("xoauth2", "XOAUTH2"), ("auto", "CRAM-MD5")]
    {
        let before = server.letters().len();
        sent(&house, relay);
        let letters = server.letters();
        assert_eq!(letters.len(), before + 1, "{relay}");
        let last = letters.last().expect("one more");
        assert_eq!((&last["method"], &last["user"], &last["to"][0]), (&json!(method), &json!(USER), &json!("ada@example.org")), "{relay}");
    }
    for relay in ["plain-wrong", "login-wrong", "cram-md5-wrong"] {
        refused(&house, relay, &["535", "check user name and password"]);
    }
    issuer.behave(Behaviour::Stale);
    let before = issuer.count();
    refused(&house, "xoauth2", &["535", "> (an empty line)", "status 401"]);
    assert_eq!(issuer.count() - before, 2, "one forced refresh");
    assert_eq!(server.letters().len(), 5);
}

#[test]
fn scram_is_bound_to_the_tls_session() {
    let ca = TestCa::new();
    let certificate = ca.issue("localhost", Validity::Good);
    for (binding, name) in [(Binding::Exporter, "tls-exporter"), (Binding::EndPoint, "tls-server-end-point")] {
        let server = ScramServer::start(&certificate, USER, PASSWORD, binding);
        let house = House::furnish(|config| {
            let mut relays = Relays::at(server.port(), "implicit", &ca);
            for mechanism in ["auto", "scram-sha-1-plus", "scram-sha-256"] {
                relays.add_password(mechanism, PASSWORD, mechanism);
            }
            relays.add_password("wrong", "not the password", "auto");
            config.relays(&relays.text);
        });
        for (relay, method) in
            [("auto", "SCRAM-SHA-256-PLUS"), ("scram-sha-1-plus", "SCRAM-SHA-1-PLUS"), ("scram-sha-256", "SCRAM-SHA-256")]
        {
            sent(&house, relay);
            let last = server.letters().pop().expect("one letter more");
            let bound = if method.ends_with("-PLUS") { json!(name) } else { Value::Null };
            assert_eq!((&last["method"], &last["binding"], &last["user"]), (&json!(method), &bound, &json!(USER)), "{name} {relay}");
        }
        refused(&house, "wrong", &["535"]);
        // The same server, seen through another TLS session than its own: what a man in the middle has.
        server.break_binding();
        refused(&house, "auto", &["535"]);
        assert_eq!(server.letters().len(), 3);
    }
}
