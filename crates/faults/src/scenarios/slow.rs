//! Relays that do not hang up but take for ever.

use std::time::Duration;

use tidings_testkit::proxy::{Mischief, Proxy, Transcript};

use crate::house::Mail;
use crate::ledger::{End, of_sink, probe_interval, reckon};
use crate::street::{BRISK, RECOVERY, Street, without_chunking};
use crate::{Recovery, Scale, Scenario, Tally};

/// See `proves`.
pub(crate) const LORIS: Scenario = Scenario {
    name: "slow_loris",
    proves: "a relay that says one byte at a time, at any stage, or nothing at all behind an open port, is held at the deadline of the stage, however lively it looks",
    play,
};

/// Far below every deadline: no read of its own ever waits long.
const DRIP: Duration = Duration::from_millis(150);

fn play(scale: Scale) -> Tally {
    let letters = scale.of(3, 20);
    let sink = Mail::open_with(without_chunking());
    let proxies: Vec<Proxy> = (0..=STAGES.len()).map(|_| Proxy::to(sink.addr())).collect();
    let street = Street::open(&proxies.iter().map(Proxy::port).collect::<Vec<_>>(), BRISK);
    street.post([0], 1);
    street.until_quiet(RECOVERY);
    let whole = proxies[0].transcript();
    for (stage, proxy) in STAGES.iter().zip(&proxies) {
        proxy.hang_up();
        proxy.always(Some(Mischief::DripToClient { from: begins(&whole, stage), every: DRIP }));
    }
    proxies[STAGES.len()].always(Some(Mischief::Silence));
    street.house.until("the session to be gone", || (proxies[0].open() == 0).then_some(()));
    street.post_all(letters);
    let all: Vec<usize> = (0..proxies.len()).collect();
    street.until_held_for(&all, |_, why| why.contains("no answer within"));
    for item in street.items().iter().filter(|item| item["state"] != "sent") {
        assert_eq!(item["attempts"], 0, "{item}");
    }
    // Each is mended on its own.
    let taken = || sink.letters().iter().map(|letter| relay_of(&letter.to[0])).collect::<Vec<_>>();
    let start = std::time::Instant::now();
    for proxy in &proxies {
        proxy.always(None);
        proxy.hang_up();
    }
    let before: Vec<usize> = all.iter().map(|relay| taken().iter().filter(|taken| **taken == *relay).count()).collect();
    let mut recoveries = vec![None; proxies.len()];
    street.house.until("every relay to get letters", || {
        let taken = taken();
        for relay in &all {
            if taken.iter().filter(|taken| **taken == *relay).count() > before[*relay] {
                recoveries[*relay].get_or_insert_with(|| start.elapsed());
            }
        }
        recoveries.iter().all(Option::is_some).then_some(())
    });
    street.until_quiet(RECOVERY);
    let tally = reckon(&street.items(), street.accepted(), &of_sink(&sink.letters()), |_| End::Sent);
    let interval = |relay: usize| probe_interval(&street.house, &format!("r{relay}")).expect("it was held");
    let recoveries =
        recoveries.into_iter().enumerate().filter_map(|(relay, took)| Some(Recovery { took: took?, interval: interval(relay) }));
    recoveries.fold(tally, Tally::recovered)
}

/// What is said slowly: from the beginning of this answer on.
const STAGES: [&str; 5] = ["220 ", "250-", "250 2.1.0", "354 ", "250 2.0.0"];

fn begins(whole: &Transcript, answer: &str) -> usize {
    let said = String::from_utf8_lossy(&whole.to_client);
    said.find(answer).unwrap_or_else(|| panic!("the sink never said {answer:?}: {said}"))
}

/// The readers of relay 7 are r7.1 and so on.
fn relay_of(reader: &str) -> usize {
    reader.trim_start_matches('r').split('.').next().and_then(|number| number.parse().ok()).expect("a reader of the street")
}
