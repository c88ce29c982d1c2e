//! Postfix as the mail relay, in clear, with STARTTLS and with implicit TLS, with and without sign-in; and everything that commonly goes wrong with one.

mod house;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tidings_testkit::certs::{CertFiles, TestCa, Validity};
use tidings_testkit::folder::Folder;
use tidings_testkit::judge::{Verdict, judge};
use tidings_testkit::postfix::{MaildirLetter, Postfix};
use tidings_testkit::wait;

use house::events::{event, person, test_letter};
use house::{House, PATIENCE};

/// A relay's probes grow apart to a minute, and a busy machine adds to that.
const RECOVERY: Duration = Duration::from_mins(2);

/// The letters as mail programs get them: Postfix keeps them with bare line feeds.
fn judged(letters: &[MaildirLetter]) -> Vec<Verdict> {
    let folder = Folder::new("maildir");
    let file = |(at, letter): (usize, &MaildirLetter)| folder.write(format!("{at}.eml"), with_crlf(&letter.bytes));
    let verdicts = judge(&letters.iter().enumerate().map(file).collect::<Vec<_>>());
    for verdict in &verdicts {
        verdict.assert_clean();
    }
    verdicts
}

fn with_crlf(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\n', "\r\n")
}

/// How often each reader got a letter.
fn readers(letters: &[MaildirLetter]) -> BTreeMap<&str, usize> {
    let mut readers = BTreeMap::new();
    for letter in letters {
        *readers.entry(letter.to.as_str()).or_default() += 1;
    }
    readers
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no text {key} in {value}"))
}

#[test]
fn letters_go_through_postfix_in_clear_and_encrypted_with_and_without_sign_in() {
    let ca = TestCa::new();
    let certificate = ca.issue("localhost", Validity::Good);
    // With users, the encrypted ports take mail only from who has signed in: for encryption alone there is another one.
    let open = Postfix::builder().certificate(&certificate).start();
    let guarded = Postfix::builder().certificate(&certificate).user("post@example.org", "pass word ö").start();
    let house = House::start(|config| {
        fs::write(config.folder().join("password"), "pass word ö\n").expect("our own folder can be written");
        let ca = ca.pem_path().display();
        let relay = |name: &str, port: u16, rest: &str| {
            format!(
                "[[relay]]\nname = \"{name}\"\nkind = \"smtp\"\nhost = \"localhost\"\nport = {port}\nfrom = \"no-reply@nordwind.example\"\nca_file = \"{ca}\"\n{rest}\n"
            )
        };
        let auth = |mechanism: &str| {
            format!("auth = {{ username = \"post@example.org\", password_file = \"password\", mechanism = \"{mechanism}\" }}")
        };
        let relays = [
            relay("clear", open.plain_port(), "tls = \"starttls-when-available\""),
            relay("starttls", open.submission_port(), "tls = \"starttls\"\ntls_min = \"1.3\""),
            relay("implicit", open.implicit_tls_port(), "tls = \"implicit\""),
            relay("starttls-plain", guarded.submission_port(), &format!("tls = \"starttls\"\n{}", auth("plain"))),
            relay("implicit-plain", guarded.implicit_tls_port(), &format!("tls = \"implicit\"\n{}", auth("plain"))),
            relay("implicit-login", guarded.implicit_tls_port(), &format!("tls = \"implicit\"\n{}", auth("login"))),
        ];
        config.relays(&relays.concat());
        for name in RELAYS {
            config.more(&format!("[[rule]]\nname = \"by-{name}\"\non = [\"object.created\"]\nwhen = 'object.id == \"{name}\"'\nto = [\"owners\"]\nrelay = \"{name}\"\n"));
        }
    });
    let owners = json!([person("zoe.mueller@example.org", "de"), person("ada.king@example.org", "fr")]);
    for name in RELAYS {
        house.accept(&[event(
            name,
            "object.created",
            json!({"object": {"type": "group", "id": name, "name": "Größe & Œuvre 名前", "owners": owners}}),
        )]);
    }
    house.until_quiet();
    let letters = [open.wait_for_letters(6, PATIENCE), guarded.wait_for_letters(6, PATIENCE)].concat();
    assert_eq!(letters.len(), 12);

    let items = house.outbox(&[]);
    assert_eq!(items.len(), 12);
    for (letter, verdict) in letters.iter().zip(judged(&letters)) {
        assert_eq!(letter.from, "no-reply@nordwind.example");
        let id = verdict.message_id.as_deref().expect("it has one").trim_matches(['<', '>']).to_owned();
        let item = items.iter().find(|item| item["message_id"] == id.as_str()).unwrap_or_else(|| panic!("{id} is not in the outbox"));
        assert_eq!((text(item, "to"), text(item, "state")), (letter.to.as_str(), "sent"));
        assert!(text(item, "last_reply").contains("250"), "{item}");
        assert!(verdict.subject.as_deref().is_some_and(|subject| subject.contains("Größe & Œuvre 名前")), "{:?}", verdict.subject);
        assert_eq!(verdict.header("Content-Language"), Some(if letter.to.starts_with("ada") { "fr" } else { "de" }));
        // What arrived is what the outbox holds, behind the headers that Postfix has put in front.
        let kept = house.command(&["outbox", "show", text(item, "id"), "--eml"]);
        assert!(kept.status.success(), "{}", kept.stderr);
        assert!(with_crlf(&letter.bytes).ends_with(&kept.stdout), "{}\n--- is not the end of\n{}", kept.stdout, with_crlf(&letter.bytes));
    }
    for name in RELAYS {
        let mine: Vec<_> = items.iter().filter(|item| item["relay"] == name).collect();
        assert_eq!(mine.len(), 2, "{name}");
        assert!(mine.iter().all(|item| item["state"] == "sent" && item["maybe_duplicate"] == false), "{name}: {mine:?}");
        assert_eq!(house.relay(name)["condition"], "open", "{name}");
    }
    // And the ways were what they were meant to be.
    let (open, guarded) = (open.log(), guarded.log());
    assert!(open.contains("TLSv1.3") && open.matches("TLS connection established").count() >= 2, "{open}");
    assert!(guarded.contains("sasl_method=PLAIN, sasl_username=post@example.org"), "{guarded}");
    assert!(guarded.contains("sasl_method=LOGIN, sasl_username=post@example.org"), "{guarded}");
}

const RELAYS: [&str; 6] = ["clear", "starttls", "implicit", "starttls-plain", "implicit-plain", "implicit-login"];

/// Something that keeps a relay from taking anything, what an administrator is told of it, and how it is mended.
struct Trouble {
    /// The stage at which it shows.
    stage: &'static str,
    /// What the reason must say: what was expected, what was found, what to do.
    telling: Vec<&'static str>,
    /// The relay's TOML behind its name, host and port.
    relay: String,
    /// The relay's TOML after mending, if it is our side that was wrong.
    mended: Option<String>,
}

/// Five letters meet the trouble and wait: nothing is lost, no attempt is spent, the reason is told. Then it is mended, and they arrive, once each.
fn waits_until_mended(mut postfix: Postfix, trouble: &Trouble, mend: impl FnOnce(&mut Postfix)) {
    let relays = |rest: &str| {
        format!("[[relay]]\nname = \"company\"\nkind = \"smtp\"\nhost = \"localhost\"\nfrom = \"no-reply@nordwind.example\"\n{rest}\n")
    };
    let mut house = House::start(|config| config.relays(&relays(&trouble.relay)));
    let events: Vec<Value> = (0..5).map(|n| test_letter(&n.to_string(), &format!("reader{n}@example.org"))).collect();
    house.accept(&events);
    // What the desk had claimed goes back a moment after the relay is held, and a probe may have one in hand.
    let held = house.until("the relay to be held and all letters to wait", || {
        Some(house.relay("company")).filter(|relay| relay["condition"] == "held" && relay["waiting"] == 5)
    });
    let reason = text(&held, "reason");
    assert!(reason.starts_with(&format!("{}: ", trouble.stage)), "{reason}");
    for word in &trouble.telling {
        assert!(reason.contains(word), "the reason does not say {word:?}: {reason}");
    }
    assert!(!reason.contains('\n') && !reason.contains("secret"), "{reason}");
    assert!(held["next_probe_at"].is_string(), "{held}");

    // The same by hand.
    let by_hand = house.command(&["send-test", "--to", "admin@example.org", "--relay", "company"]);
    assert_eq!(by_hand.status.code(), Some(1), "{}", by_hand.stderr);
    let told = format!("{}{}", by_hand.stdout, by_hand.stderr);
    assert!(by_hand.stderr.contains(&format!("at {}", trouble.stage)) && by_hand.stderr.contains("hint: "), "{told}");
    for word in &trouble.telling {
        assert!(by_hand.stderr.contains(word), "send-test does not say {word:?}: {told}");
    }
    // Neither the passwords nor how they look on the wire: base64 of "secret" and of "\0post\0not the secret".
    for secret in ["not the secret", "bm90IHRoZSBzZWNyZXQ", "AHBvc3QAbm90IHRoZSBzZWNyZXQ"] {
        assert!(!told.contains(secret) && !house.log().contains(secret), "{secret} is shown: {told}");
    }
    let probed = house.command(&["relay", "probe", "company"]);
    assert_eq!(probed.status.code(), Some(1));
    assert!(trouble.telling.iter().all(|word| probed.stderr.contains(word)), "{}", probed.stderr);

    let waiting = house.until("all letters to wait between two probes", || {
        Some(house.outbox(&["--relay", "company", "--state", "waiting"])).filter(|waiting| waiting.len() == 5)
    });
    assert!(waiting.iter().all(|item| item["attempts"] == 0 && item["maybe_duplicate"] == false), "{waiting:?}");
    let logged = |line: Value| line["message"] == "relay held" && line["reason"] == reason;
    assert!(house.log().lines().filter_map(|line| serde_json::from_str(line).ok()).any(logged), "{}", house.log());
    assert_eq!(postfix.maildir_letters().len(), 0);

    mend(&mut postfix);
    if let Some(mended) = &trouble.mended {
        assert!(house.terminate().success());
        house.reconfigure(|config| config.relays(&relays(mended)));
        house.serve();
    }
    let letters = postfix.wait_for_letters(5, RECOVERY);
    house.until_quiet();
    assert_eq!(readers(&letters).len(), 5, "{:?}", readers(&letters));
    let items = house.outbox(&["--state", "sent"]);
    assert_eq!((items.len(), postfix.maildir_letters().len()), (5, 5));
    assert!(items.iter().all(|item| item["maybe_duplicate"] == false), "{items:?}");
    let condition = house.until("the relay to flow again", || Some(house.relay("company")).filter(|relay| relay["condition"] != "held"));
    assert!(condition["reason"].is_null(), "{condition}");
    judged(&letters);
}

/// Puts other certificate and key in the place of these, as a renewal does, and restarts the relay.
fn roll_over(postfix: &mut Postfix, old: &CertFiles, new: &CertFiles) {
    fs::copy(&new.cert_pem, &old.cert_pem).expect("our own folder");
    fs::copy(&new.key_pem, &old.key_pem).expect("our own folder");
    postfix.stop();
    postfix.start();
}

#[test]
fn a_wrong_password_holds_the_relay_until_it_is_put_right() {
    let ca = TestCa::new();
    let postfix = Postfix::builder().certificate(&ca.issue("localhost", Validity::Good)).user("post", "the right one").start();
    let relay = |password: &str| {
        let (port, ca) = (postfix.implicit_tls_port(), ca.pem_path().display());
        format!(
            "port = {port}\ntls = \"implicit\"\nca_file = \"{ca}\"\nauth = {{ username = \"post\", password_command = \"echo '{password}'\" }}"
        )
    };
    let trouble = Trouble {
        stage: "auth",
        telling: vec!["535", "check user name and password"],
        relay: relay("not the secret"),
        mended: Some(relay("the right one")),
    };
    waits_until_mended(postfix, &trouble, |_| {});
}

#[test]
fn an_expired_certificate_holds_the_relay_until_it_is_renewed() {
    let ca = TestCa::new();
    let (old, new) = (ca.issue("localhost", Validity::Expired), ca.issue("localhost", Validity::Good));
    let postfix = Postfix::builder().certificate(&old).start();
    let (port, authority) = (postfix.implicit_tls_port(), ca.pem_path().display());
    let trouble = Trouble {
        stage: "tls",
        telling: vec!["certificate of localhost", "expired on 2021-01-01", "renew"],
        relay: format!("port = {port}\ntls = \"implicit\"\nca_file = \"{authority}\""),
        mended: None,
    };
    waits_until_mended(postfix, &trouble, |postfix| roll_over(postfix, &old, &new));
}

#[test]
fn a_certificate_for_another_host_holds_the_relay_until_it_is_reissued() {
    let ca = TestCa::new();
    let (old, new) = (ca.issue("mail.other.example", Validity::Good), ca.issue("localhost", Validity::Good));
    let postfix = Postfix::builder().certificate(&old).start();
    let (port, authority) = (postfix.submission_port(), ca.pem_path().display());
    let trouble = Trouble {
        stage: "tls",
        telling: vec!["mail.other.example", "not to localhost", "set host to a name that the certificate carries"],
        relay: format!("port = {port}\ntls = \"starttls\"\nca_file = \"{authority}\""),
        mended: None,
    };
    waits_until_mended(postfix, &trouble, |postfix| roll_over(postfix, &old, &new));
}

#[test]
fn an_unknown_authority_holds_the_relay_until_it_is_named() {
    let ca = TestCa::new();
    let postfix = Postfix::builder().certificate(&ca.issue("localhost", Validity::Good)).start();
    let relay = format!("port = {}\ntls = \"starttls\"", postfix.submission_port());
    let trouble = Trouble {
        stage: "tls",
        telling: vec!["certificate of localhost", "authority that is not trusted here", "set ca_file"],
        mended: Some(format!("{relay}\nca_file = \"{}\"", ca.pem_path().display())),
        relay,
    };
    waits_until_mended(postfix, &trouble, |_| {});
}

#[test]
fn a_relay_without_starttls_gets_nothing_in_clear_when_encryption_is_required() {
    let ca = TestCa::new();
    let postfix = Postfix::builder().certificate(&ca.issue("localhost", Validity::Good)).start();
    let relay = |port: u16| format!("port = {port}\ntls = \"starttls\"\nca_file = \"{}\"", ca.pem_path().display());
    let trouble = Trouble {
        stage: "tls",
        telling: vec!["offers no STARTTLS", "encryption is required", "tls = \"implicit\""],
        relay: relay(postfix.plain_port()),
        mended: Some(relay(postfix.submission_port())),
    };
    waits_until_mended(postfix, &trouble, |_| {});
}

#[test]
fn a_relay_that_demands_a_client_certificate_is_held_until_one_is_given() {
    let ca = TestCa::new();
    let postfix = Postfix::builder().certificate(&ca.issue("localhost", Validity::Good)).demand_client_certificate(ca.pem_path()).start();
    let own = ca.issue_client("tidings", Validity::Good);
    let mut house = House::start(|config| {
        config.relay_key("host", "\"localhost\"");
        config.relay_key("port", &postfix.submission_port().to_string());
        config.relay_key("tls", "\"starttls\"");
        config.relay_key("ca_file", &format!("\"{}\"", ca.pem_path().display()));
    });
    house.accept(&[test_letter("1", "ada@example.org")]);
    let held = house.until("the relay to be held", || Some(house.relay("sink")).filter(|relay| relay["condition"] == "held"));
    assert!(text(&held, "reason").contains("No client certificate presented"), "{held}");
    assert!(house.outbox(&["--state", "waiting"]).iter().all(|item| item["attempts"] == 0));
    assert!(house.terminate().success());
    house.reconfigure(|config| {
        config.relay_key("client_cert_file", &format!("\"{}\"", own.cert_pem.display()));
        config.relay_key("client_key_file", &format!("\"{}\"", own.key_pem.display()));
    });
    house.serve();
    let letters = postfix.wait_for_letters(1, RECOVERY);
    house.until_quiet();
    assert_eq!((readers(&letters).len(), house.outbox(&["--state", "sent"]).len()), (1, 1));
}

#[test]
fn a_refused_recipient_fails_alone_with_the_relays_words() {
    let refusal = "smtpd_recipient_restrictions = check_recipient_access inline:{{ gone@example.org = 550 5.1.1 No such user here }}, permit_mynetworks, reject";
    let postfix = Postfix::builder().setting(refusal).start();
    let house = House::start(|config| {
        config.relay_key("port", &postfix.plain_port().to_string());
        config.more("[[rule]]\nname = \"owners\"\non = [\"object.deleted\"]\nto = [\"owners\"]\n");
    });
    let owners = ["ada@example.org", "gone@example.org", "bob@example.org"].map(|mail| person(mail, "en"));
    for n in 0..3 {
        let object = json!({"type": "group", "id": "g7", "name": "Payroll", "owners": owners});
        house.accept(&[event(&n.to_string(), "object.deleted", json!({"object": object}))]);
    }
    house.until_quiet();
    let letters = postfix.wait_for_letters(6, PATIENCE);
    assert_eq!(readers(&letters), BTreeMap::from([("ada@example.org", 3), ("bob@example.org", 3)]));
    judged(&letters);

    let failed = house.outbox(&["--state", "failed"]);
    assert_eq!(failed.len(), 3);
    for item in &failed {
        assert_eq!((text(item, "to"), &item["attempts"]), ("gone@example.org", &json!(1)));
        assert!(text(item, "last_reply").contains("550 5.1.1") && text(item, "last_reply").contains("No such user here"), "{item}");
        let shown = house.show(text(item, "id"));
        assert!(shown.to_string().contains("No such user here"), "{shown}");
    }
    let sent = house.outbox(&["--state", "sent"]);
    assert!(sent.len() == 6 && sent.iter().all(|item| item["to"] != "gone@example.org"), "{sent:?}");
    // A refused letter is no trouble of the relay.
    assert_eq!(house.relay("sink")["condition"], "open");
    assert!(!house.log().contains("relay held"), "{}", house.log());
    // An operator may try again, and gets the same answer.
    let id = text(&failed[0], "id");
    assert!(house.command(&["outbox", "retry", id]).status.success());
    house.until("the second refusal", || (house.show(id)["attempts"] == 2 && house.show(id)["state"] == "failed").then_some(()));
}

/// Postfix offers CHUNKING and PIPELINING: many letters in one session, some of them refused, several on the way at once.
#[test]
fn letters_in_chunks_reach_postfix_whole_and_its_refusals_touch_their_own() {
    let gone = |n: u8| format!("{{ gone{n}@example.org = 550 5.1.1 No such user here }}");
    let refusal = format!(
        "smtpd_recipient_restrictions = check_recipient_access inline:{{{}, {}, {}}}, permit_mynetworks, reject",
        gone(1),
        gone(2),
        gone(3)
    );
    let postfix = Postfix::builder().setting(&refusal).start();
    let mut house = House::start(|config| {
        config.relay_key("port", &postfix.plain_port().to_string());
        config.relay_key("limits", "{ sessions = 1 }");
        config.more("[[rule]]\nname = \"owners\"\non = [\"object.deleted\"]\nto = [\"owners\"]\n");
    });
    let mut owners: Vec<_> = (0..60).map(|n| person(&format!("reader{n}@example.org"), "en")).collect();
    for (n, place) in [(1, 7), (2, 8), (3, 30)] {
        owners.insert(place, person(&format!("gone{n}@example.org"), "en"));
    }
    let object = json!({"type": "group", "id": "g7", "name": "Payroll", "owners": owners});
    house.accept(&[event("many", "object.deleted", json!({"object": object}))]);
    house.until_quiet();
    let letters = postfix.wait_for_letters(60, PATIENCE);
    let readers = readers(&letters);
    assert!(readers.len() == 60 && readers.values().all(|times| *times == 1), "{readers:?}");
    judged(&letters);
    let sent = house.outbox(&["--state", "sent"]);
    assert!(sent.len() == 60 && sent.iter().all(|item| item["maybe_duplicate"] == false), "{sent:?}");
    let failed = house.outbox(&["--state", "failed"]);
    assert!(failed.len() == 3 && failed.iter().all(|item| text(item, "to").starts_with("gone")), "{failed:?}");
    // Postfix counts commands when a session ends.
    assert!(house.terminate().success());
    let counted = wait::try_until(PATIENCE, || postfix.log().contains(" bdat=60/63 ").then_some(()));
    assert!(counted.is_some(), "not all went by BDAT: {}", postfix.log());
    let log = postfix.log();
    assert!(!log.contains("improper command pipelining") && !log.contains("too many errors"), "{log}");
}
