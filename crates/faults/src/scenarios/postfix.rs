//! A real Postfix stopped in the middle of a load and started again.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;
use tidings_testkit::postfix::Postfix;

use crate::house::{House, PATIENCE, events};
use crate::ledger::{End, of_maildir, reckon, recovery};
use crate::look;
use crate::{Scale, Scenario, Tally};

/// See `proves`.
pub(crate) const RESTARTS: Scenario = Scenario {
    name: "postfix_restarts_under_load",
    proves: "a real Postfix stopped in the middle of a load and started again gets every letter; those behind their final dot at the stop may come twice and are marked",
    play,
};

/// The most letters that a session has on the wire at a time, by BDAT.
const WINDOW: usize = 16;

fn play(scale: Scale) -> Tally {
    let (letters, stops) = scale.of((300, 1), (5_000, 5));
    let mut postfix = Postfix::builder().start();
    let house = House::start(|config| {
        config.relay_key("port", &postfix.plain_port().to_string());
        config.relay_key("limits", "{ sessions = 2, messages_per_session = 50 }");
        config.relay_key("retry", "{ delays = [\"1s\"] }");
    });
    let events: Vec<Value> = (0..letters).map(|n| events::test_letter(&n.to_string(), &format!("reader{n}@example.org"))).collect();
    // The last ones come while it is stopped: however fast it is, something waits then.
    let (early, late) = events.split_at(letters - 100);
    for batch in early.chunks(100) {
        house.accept(batch);
    }
    let mut tally = Tally::default();
    for stop in 0..stops {
        postfix.wait_for_letters(20 + early.len() * stop / stops, PATIENCE * 2);
        postfix.stop();
        if stop == 0 {
            house.accept(late);
        }
        let before = postfix.maildir_letters().len();
        assert!(before < letters, "all letters were through before the stop");
        house.until("a probe to find the port closed", || {
            let relay = look::relay(&house, "sink");
            let refused = relay["reason"].as_str().is_some_and(|why| why.contains("Connection refused"));
            (refused && relay["condition"] == "held").then_some(())
        });
        let waiting = house.outbox(&["--state", "waiting"]);
        // A few letters a session were on the wire with their last byte: nobody knows of those. The others have spent nothing.
        let (unknown, untouched): (Vec<_>, Vec<_>) = waiting.iter().partition(|item| item["maybe_duplicate"] == true);
        assert!(unknown.len() <= 2 * WINDOW * (stop + 1), "{unknown:?}");
        assert!(untouched.iter().all(|item| item["attempts"] == 0), "{untouched:?}");
        postfix.start();
        tally = tally.recovered(recovery(&house, "sink", || {}, || postfix.maildir_letters().len() > before));
    }
    house.until_quiet_within(Duration::from_mins(3));
    house.until("every reader to have a letter", || {
        let delivered = postfix.maildir_letters();
        let readers: HashSet<&str> = delivered.iter().map(|letter| letter.to.as_str()).collect();
        (readers.len() == letters).then_some(())
    });
    reckon(&house.outbox(&[]), letters, &of_maildir(&postfix.maildir_letters()), |_| End::Sent).and(&tally)
}
