//! Encryption that cannot be had, or not trusted.

use std::fs;
use std::sync::Arc;

use tidings_sink::{Fault, Sink, SinkOptions, Stage, What, When, server_tls};
use tidings_testkit::certs::{CertFiles, TestCa, Validity};
use tidings_testkit::postfix::Postfix;

use crate::house::{House, events};
use crate::ledger::{End, of_maildir, of_sink, reckon, recovery};
use crate::look;
use crate::street::{BRISK, RECOVERY, Street};
use crate::{Scale, Scenario, Tally};

/// See `proves`.
pub(crate) const ROLLOVER: Scenario = Scenario {
    name: "certificate_rolls_over",
    proves: "Postfix's certificate is renewed unnoticed, then expires, then names another host: the relay is held with a reason that says which, no letter goes in clear or is lost, and all arrive once it is put right",
    play: rollover,
};

/// See `proves`.
pub(crate) const STARTTLS: Scenario = Scenario {
    name: "starttls_tampered",
    proves: "clear text behind the answer to STARTTLS, a refused or broken STARTTLS and a stripped offer never lead to a letter in clear or to a wrong dialogue",
    play: starttls,
};

/// Puts another certificate and key in the place of these, as a renewal does, and restarts the relay.
fn roll_over(postfix: &mut Postfix, files: &CertFiles, new: &CertFiles) {
    fs::copy(&new.cert_pem, &files.cert_pem).expect("our own folder");
    fs::copy(&new.key_pem, &files.key_pem).expect("our own folder");
    postfix.stop();
    postfix.start();
}

fn rollover(scale: Scale) -> Tally {
    let count = scale.of(10, 200);
    let ca = TestCa::new();
    let issue = |host: &str, validity: Validity| ca.issue(host, validity);
    let files = issue("localhost", Validity::Good);
    let mut postfix = Postfix::builder().certificate(&files).start();
    let house = House::start(|config| {
        config.relay_key("host", "\"localhost\"");
        config.relay_key("port", &postfix.implicit_tls_port().to_string());
        config.relay_key("tls", "\"implicit\"");
        config.relay_key("ca_file", &format!("\"{}\"", ca.pem_path().display()));
        config.relay_key("retry", "{ delays = [\"1s\"] }");
    });
    let mut posted = 0;
    let mut post = || {
        let readers = posted..posted + count;
        posted += count;
        house.accept(&readers.map(|n| events::test_letter(&n.to_string(), &format!("reader{n}@example.org"))).collect::<Vec<_>>());
        posted
    };
    let patience = RECOVERY * 2;
    postfix.wait_for_letters(post(), patience);
    // A renewal in order.
    roll_over(&mut postfix, &files, &issue("localhost", Validity::Good));
    postfix.wait_for_letters(post(), patience);
    let mut tally = Tally::default();
    for (host, validity, told) in
        [("localhost", Validity::Expired, "expired on 2021-01-01"), ("mail.other.example", Validity::Good, "mail.other.example")]
    {
        roll_over(&mut postfix, &files, &issue(host, validity));
        let before = postfix.maildir_letters().len();
        let all = post();
        // A probe may come while Postfix is starting, and find no TLS at all; the next one meets the certificate.
        house.until("the relay to be held for its certificate, all letters waiting", || {
            let relay = look::relay(&house, "sink");
            let why = relay["reason"].as_str().unwrap_or_default();
            (relay["condition"] == "held" && relay["waiting"] == count && why.starts_with("tls: ") && why.contains(told)).then_some(())
        });
        assert!(house.outbox(&["--state", "waiting"]).iter().all(|item| item["attempts"] == 0));
        roll_over(&mut postfix, &files, &issue("localhost", Validity::Good));
        let recovered = recovery(&house, "sink", || {}, || postfix.maildir_letters().len() > before);
        tally = tally.recovered(recovered);
        postfix.wait_for_letters(all, patience);
        house.until_quiet();
    }
    reckon(&house.outbox(&[]), posted, &of_maildir(&postfix.maildir_letters()), |_| End::Sent).and(&tally)
}

fn starttls(scale: Scale) -> Tally {
    let letters = scale.of(3, 20);
    let ca = TestCa::new();
    let files = ca.issue("localhost", Validity::Good);
    let tls = server_tls(&files.cert_pem, &files.key_pem, None).expect("a fresh certificate");
    let with_tls = || SinkOptions { tls: Some(Arc::clone(&tls)), ..SinkOptions::default() };
    let whats = [
        Some(What::SurplusReply("250 2.0.0 injected".to_owned())),
        Some(What::SurplusReply("250-injected\n250 AUTH PLAIN".to_owned())),
        Some(What::reply("454 4.7.0 TLS not available")),
        Some(What::reply("220 ready\r\n250 injected")),
        Some(What::Hangup),
        Some(What::HangupAfterReply),
        Some(What::Garbage(b"\x15\x03\x03\x00\x02\x02\x28".to_vec())),
        // The offer is stripped.
        None,
    ];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime can be made");
    let sinks: Vec<Sink> = runtime.block_on(async {
        let listen = |what: &Option<What>| {
            let options = if what.is_some() { with_tls() } else { SinkOptions::default() };
            let sink = Sink::listen("127.0.0.1:0".parse().expect("an address"), options).expect("a loopback port is free");
            sink.add_fault(Fault::new(Stage::StartTls, When::Always, what.clone().unwrap_or(What::Hangup)));
            sink
        };
        whats.iter().map(listen).collect()
    });
    let keys = format!("host = \"localhost\"\ntls = \"starttls\"\nca_file = \"{}\"\n{BRISK}", ca.pem_path().display());
    let street = Street::open_with(&sinks.iter().map(|sink| (sink.addr().port(), keys.clone())).collect::<Vec<_>>());
    street.post_all(letters);
    let all: Vec<usize> = (0..sinks.len()).collect();
    street.until_held_for(&all, |_, why| why.starts_with("tls: "));
    assert!(sinks.iter().all(|sink| sink.count() == 0), "a letter went to a relay that was not encrypted");
    assert!(street.items().iter().all(|item| item["attempts"] == 0), "trouble with encryption spends attempts");
    for sink in &sinks {
        sink.clear_faults();
        sink.reconfigure(with_tls()).expect("options are fine");
    }
    let flows = || sinks.iter().all(|sink| sink.count() > 0);
    let slowest = all.iter().filter_map(|relay| crate::ledger::probe_interval(&street.house, &format!("r{relay}"))).max();
    let recovered = recovery(&street.house, "r0", || {}, flows);
    street.until_quiet(RECOVERY);
    let letters: Vec<_> = sinks.iter().flat_map(Sink::letters).collect();
    assert!(letters.iter().all(|letter| letter.tls), "a letter went in clear");
    let tally = reckon(&street.items(), street.accepted(), &of_sink(&letters), |_| End::Sent);
    assert_eq!(tally.doubled, 0, "no letter was ever in doubt");
    tally.recovered(crate::Recovery { took: recovered.took, interval: slowest.unwrap_or_default() })
}
