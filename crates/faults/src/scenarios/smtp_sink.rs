//! Postfix's `smtp-sink` with each of its switches: it rejects, defers, hangs up and says 421 at each stage, waits, and takes little at a time.

use std::time::{Duration, Instant};

use serde_json::Value;
use tidings_testkit::folder::Folder;
use tidings_testkit::ports::free_port;
use tidings_testkit::smtp_sink::{SmtpSink, kept};
use tidings_testkit::wait;

use crate::ledger::{End, Recovery, of_smtp_sink, probe_interval, reckon};
use crate::street::{BRISK, RECOVERY, Street, patient, relay_of};
use crate::{Scale, Scenario, Tally};

/// See `proves`.
pub(crate) const SWITCHES: Scenario = Scenario {
    name: "smtp_sink_switches",
    proves: "Postfix's smtp-sink rejecting (-f), deferring (-r), hanging up (-q) and saying 421 (-Q) at every stage, slow (-w -W -H), deaf (-A) and with a small window (-T): each letter ends as its refusal says, all others arrive once the sink behaves",
    play,
};

/// What must become of the letters of a misbehaving sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// They arrive in spite of it.
    Arrive,
    /// They fail with the sink's words.
    Fail,
    /// They are refused for now, and arrive once it behaves.
    Later,
    /// The relay is held; they arrive once it behaves, and have spent nothing.
    Held,
    /// Likewise, but as each session breaks under its letter, that letter may after three of them be taken for the cause and have spent an attempt.
    HeldSuspecting,
    /// They wait likewise, but it looks like a case for an administrator, and the probes are slow.
    HeldSlowly,
}

fn cases() -> Vec<(Vec<&'static str>, Fate)> {
    let mut cases = Vec::new();
    for (switch, at_the_door, at_the_letter) in [
        ("-f", Fate::HeldSlowly, Fate::Fail),
        ("-r", Fate::Held, Fate::Later),
        ("-q", Fate::Held, Fate::Held),
        ("-Q", Fate::Held, Fate::Held),
    ] {
        cases.extend(["CONNECT", "EHLO,HELO"].map(|stage| (vec![switch, stage], at_the_door)));
        cases.extend(["MAIL", "RCPT", "."].map(|stage| (vec![switch, stage], at_the_letter)));
        cases.push((vec![switch, "DATA"], if switch == "-q" { Fate::HeldSuspecting } else { at_the_letter }));
    }
    // The answer to a farewell matters to nobody.
    cases.extend(["-f", "-r", "-q", "-Q"].map(|switch| (vec![switch, "QUIT"], Fate::Arrive)));
    // It refuses the letter before it has read it.
    cases.push((vec!["-A", "0"], Fate::Fail));
    // Slow within the deadlines, and beyond them.
    cases.push((vec!["-H", "1"], Fate::Arrive));
    cases.push((vec!["-w", "3"], Fate::HeldSuspecting));
    cases.push((vec!["-W", "EHLO:3"], Fate::Held));
    cases.push((vec!["-W", "RCPT:3"], Fate::Held));
    // A small window, no pipelining, no extensions at all, an old box in the way.
    cases.push((vec!["-T", "512"], Fate::Arrive));
    cases.push((vec!["-T", "512", "-H", "1"], Fate::Arrive));
    cases.extend([vec!["-p"], vec!["-e"], vec!["-P"], vec!["-8", "-E", "-N"]].map(|switches| (switches, Fate::Arrive)));
    cases
}

impl Fate {
    fn is_held(self) -> bool {
        matches!(self, Self::Held | Self::HeldSlowly | Self::HeldSuspecting)
    }
}

fn play(scale: Scale) -> Tally {
    let letters = scale.of(3, 10);
    let cases = cases();
    let folder = Folder::new("smtp-sinks");
    let ports: Vec<u16> = cases.iter().map(|_| free_port()).collect();
    let kept_by = |relay: usize, mended: bool| folder.join(format!("{relay}{}", if mended { "-mended" } else { "" }));
    let start = |relay: usize, switches: &[&str]| SmtpSink::start_keeping(ports[relay], &kept_by(relay, switches.is_empty()), switches);
    let mut sinks: Vec<Option<SmtpSink>> = cases.iter().enumerate().map(|(relay, (switches, _))| Some(start(relay, switches))).collect();
    // Who is slow within the deadlines must be so on a busy machine, too.
    let keys = |fate: Fate| format!("tls = \"none\"\n{}", if fate == Fate::Arrive { patient() } else { BRISK.to_owned() });
    let mut street = Street::open_with(&ports.iter().zip(&cases).map(|(port, (_, fate))| (*port, keys(*fate))).collect::<Vec<_>>());
    street.post_all(letters);

    let to_hold: Vec<usize> = (0..cases.len()).filter(|relay| cases[*relay].1.is_held()).collect();
    for (relay, held) in to_hold.iter().copied().zip(street.until_held(&to_hold)) {
        assert!(held["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{:?}: {held}", cases[relay]);
    }
    let waiting = street.items().into_iter().filter(|item| matches!(cases[relay_of(item)].1, Fate::Held | Fate::HeldSlowly));
    for item in waiting {
        assert!(item["attempts"] == 0 && item["state"] != "failed", "{:?}: {item}", cases[relay_of(&item)]);
    }

    // They are mended one by one; each must flow again within its own probe interval.
    let mut recoveries = Vec::new();
    for relay in 0..cases.len() {
        if cases[relay].1.is_held() {
            drop(sinks[relay].take());
            sinks[relay] = Some(start(relay, &[]));
            recoveries.push((relay, Instant::now(), None));
            note_first(&mut recoveries, &sinks);
        }
    }
    let is_later = |relay: &usize| cases[*relay].1 == Fate::Later;
    let deferring: Vec<(usize, SmtpSink)> =
        (0..cases.len()).filter(is_later).filter_map(|relay| Some((relay, sinks[relay].take()?))).collect();
    let slowly = |relay: usize| cases[relay].1 == Fate::HeldSlowly;
    let mut look = |slow_ones_too: bool| {
        note_first(&mut recoveries, &sinks);
        recoveries.iter().all(|(relay, _, first)| first.is_some() || (slowly(*relay) && !slow_ones_too)).then_some(())
    };
    street.house.until("every mended sink to get letters", || look(false));
    let met = |item: &Value| match cases[relay_of(item)].1 {
        Fate::Arrive => item["state"] == "sent",
        Fate::Fail => item["state"] == "failed",
        Fate::Later => item["attempts"].as_u64() >= Some(1),
        Fate::Held | Fate::HeldSlowly | Fate::HeldSuspecting => true,
    };
    let unmet = || street.items().into_iter().find(|item| !met(item));
    if wait::try_until(RECOVERY * 2, || unmet().is_none().then_some(())).is_none() {
        let item = unmet().expect("it was there a moment ago");
        panic!("with {:?} this letter should have got further: {item}; {}", cases[relay_of(&item)], street.relays()[relay_of(&item)]);
    }
    let mend = |(relay, sink)| {
        drop(sink);
        start(relay, &[])
    };
    let _mended: Vec<SmtpSink> = deferring.into_iter().map(mend).collect();
    match scale {
        Scale::Full => wait::until("those that are probed slowly to get letters", RECOVERY * 2, || look(true)),
        // A new start of the server tries at once.
        Scale::Short => {
            assert!(street.house.terminate().success());
            street.house.serve();
        }
    }
    street.until_quiet(RECOVERY);

    let items = street.items();
    // It keeps also what it refuses at the final dot, and that has not arrived.
    let refuses_content = |relay: usize| cases[relay].0.ends_with(&["."]) && cases[relay].0[0] != "-q";
    let before = (0..cases.len()).filter(|relay| !refuses_content(*relay)).flat_map(|relay| kept(&kept_by(relay, false)));
    let arrivals: Vec<_> = before.chain((0..cases.len()).flat_map(|relay| kept(&kept_by(relay, true)))).collect();
    let arrivals = of_smtp_sink(&arrivals);
    let tally = reckon(&items, street.accepted(), &arrivals, |item| match cases[relay_of(item)].1 {
        Fate::Fail => End::Not("failed"),
        Fate::Later | Fate::HeldSuspecting => End::SentSomehow,
        Fate::Arrive | Fate::Held | Fate::HeldSlowly => End::Sent,
    });
    for item in items.iter().filter(|item| item["state"] == "failed") {
        let (switches, _) = &cases[relay_of(item)];
        let words = item["last_reply"].as_str().unwrap_or_default();
        assert!(words.contains("500 5.3.0") || words.contains("550"), "{switches:?}: {item}");
    }
    let recoveries =
        recoveries.into_iter().filter_map(|(relay, _, first)| Some((first?, probe_interval(&street.house, &format!("r{relay}"))?)));
    recoveries.map(|(took, interval)| Recovery { took, interval }).fold(tally, Tally::recovered)
}

/// Notes of relays that were mended at some moment how long it took until their first letter.
fn note_first(recoveries: &mut [(usize, Instant, Option<Duration>)], sinks: &[Option<SmtpSink>]) {
    for (relay, mended, first) in recoveries {
        if first.is_none() && sinks[*relay].as_ref().is_some_and(|sink| sink.count() > 0) {
            *first = Some(mended.elapsed());
        }
    }
}
