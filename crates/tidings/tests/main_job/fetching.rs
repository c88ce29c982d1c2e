//! Reports that are fetched from a mailbox on a real Dovecot: the letter is bounced, `kill -9` in the middle keeps each report once, and a reload goes elsewhere.

use std::collections::BTreeSet;

use serde_json::Value;
use tidings_testkit::certs::{TestCa, Validity};
use tidings_testkit::mailbox::Mailbox;

use crate::house::{Config, House, events, mail};

const USER: &str = "reports@nordwind.example";
const PASSWORD: &str = "pass, word= ö";

fn reads(config: &mut Config, mailbox: &Mailbox, ca: &TestCa, after: &str) {
    let (port, ca) = (mailbox.tls_port(), ca.pem_path().display().to_string());
    for (key, value) in [("host", "localhost"), ("username", USER), ("password", PASSWORD), ("ca_file", ca.as_str()), ("after", after)] {
        config.set("bounces.mailbox", key, &format!("\"{value}\""));
    }
    config.set("bounces.mailbox", "port", &port.to_string());
}

/// What a mail server says of a letter that nobody is there for.
fn report(number: usize, to: &str, message_id: &str) -> Vec<u8> {
    format!(
        "From: MAILER-DAEMON@mx.example.net\r\nTo: {USER}\r\nSubject: Undelivered {number}\r\nMessage-ID: <r{number}@mx.example.net>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n\
         Reporting-MTA: dns; mx.example.net\r\n\r\nFinal-Recipient: rfc822; {to}\r\nAction: failed\r\nStatus: 5.1.1\r\n\
         Diagnostic-Code: smtp; 550 5.1.1 User unknown\r\n\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {message_id}\r\nSubject: x\r\n\r\n--b--\r\n"
    )
    .into_bytes()
}

fn reports(house: &House) -> Vec<Value> {
    let listed = house.json(&["address", "reports"]);
    listed.as_array().expect("a list").clone()
}

#[test]
fn a_report_in_the_mailbox_bounces_its_letter_and_a_kill_keeps_each_once() {
    const MORE: usize = 60;
    let ca = TestCa::new();
    let mut mailbox = Mailbox::of(USER, PASSWORD).certificate(&ca.issue("localhost", Validity::Good)).start();
    let mut house = House::start(|config| reads(config, &mailbox, &ca, "move:Done"));
    house.accept(&[events::test_letter("1", "linus@example.net")]);
    let letter = house.sink.letter_to("linus@example.net");
    house.until_quiet();
    mailbox.deliver(&report(0, "linus@example.net", &mail::message_id(&letter)));
    mailbox.deliver(b"From: bob@example.org\r\nSubject: lunch\r\n\r\nAt noon?\r\n");
    let item = house.until_state("linus@example.net", "bounced");
    assert!(item["last_reply"].as_str().is_some_and(|reply| reply.contains("User unknown")), "{item}");

    for number in 1..=MORE {
        mailbox.deliver(&report(number, &format!("reader{number}@example.net"), "<unknown@example.net>"));
    }
    house.until("some reports to be taken", || (reports(&house).len() > 10).then_some(()));
    house.kill9();
    house.serve();
    house.until("everything to be put away", || {
        (mailbox.mails("Done").len() == MORE + 1 && mailbox.mails("INBOX").len() == 1).then_some(())
    });
    let taken = reports(&house);
    let named: BTreeSet<&str> = taken.iter().filter_map(|report| report["recipient"].as_str()).collect();
    assert_eq!((taken.len(), named.len()), (MORE + 1, MORE + 1), "each once");

    // A server that is gone is told, and costs nothing; a reload finds the mailbox elsewhere.
    mailbox.kill();
    house.until("the trouble to be told", || house.log_has("the mailbox of reports cannot be read").then_some(()));
    assert_eq!(house.request("GET", "/readyz").status, 200, "letters go out all the same");
    assert!(house.metrics().sum("tidings_mailbox_held", &[]) > 0.5);
    let elsewhere = Mailbox::of(USER, PASSWORD).certificate(&ca.issue("localhost", Validity::Good)).start();
    house.reconfigure(|config| reads(config, &elsewhere, &ca, "delete"));
    let ended = house.command(&["reload"]);
    assert!(ended.status.success(), "{}{}", ended.stdout, ended.stderr);
    elsewhere.deliver(&report(MORE + 1, "elsewhere@example.net", "<unknown@example.net>"));
    house.until("the report elsewhere", || {
        let taken = reports(&house).iter().any(|report| report["recipient"] == "elsewhere@example.net");
        (taken && elsewhere.mails("INBOX").is_empty()).then_some(())
    });
    assert!(!house.log().contains(PASSWORD) && !house.log().contains(USER), "no secret and no full address in a log");
}
