//! A disk that fills up: intake says "not now", what was accepted is delivered and settled, and when there is room again intake goes on.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use tidings_testkit::disk::Tmpfs;

use crate::house::{House, events};
use crate::ledger::{End, of_sink, reckon};
use crate::look;
use crate::{Scale, Scenario, Tally};

/// See `proves`.
pub(crate) const NEARLY_FULL: Scenario = Scenario {
    name: "disk_nearly_full",
    proves: "on a nearly full disk intake answers 503 with Retry-After while everything accepted is delivered and settled, and goes on by itself when there is room",
    play: nearly_full,
};

/// See `proves`.
pub(crate) const FULL: Scenario = Scenario {
    name: "disk_full",
    proves: "a disk without a byte left loses nothing that was accepted, and leaves nothing behind of what was refused",
    play: full,
};

/// Fills the disk of a folder with a file until so many bytes are left, or none.
fn fill(folder: &Path, bytes: usize) -> PathBuf {
    let path = folder.join("filler");
    fs::write(&path, vec![b'x'; bytes]).expect("there is room for the filler");
    path
}

fn nearly_full(scale: Scale) -> Tally {
    let mut house = House::furnish(|config| config.set("database", "min_free", "\"16MiB\""));
    fs::create_dir(house.data_dir()).expect("our own folder");
    let disk = Tmpfs::mount(&house.data_dir(), "size=48m");
    house.token = house.create_token("events:write,outbox:read");
    house.serve();
    house.sink.close();
    let batch: Vec<_> =
        (0..scale.of(200, 2_000)).map(|n| events::test_letter(&n.to_string(), &format!("reader.{n}@example.org"))).collect();
    house.accept(&batch);
    house.until("the relay to be held", || (look::relay(&house, "sink")["condition"] == "held").then_some(()));

    let filler = fill(&house.data_dir(), 34 << 20);
    let refused = house.until("intake to notice", || {
        Some(house.post_event(&events::test_letter("late", "late@example.org"))).filter(|reply| reply.status != 202)
    });
    assert_eq!((refused.status, refused.header("content-type")), (503, Some("application/problem+json")), "{}", refused.text());
    let retry_after: u64 = refused.header("retry-after").expect("a client is told when").parse().expect("whole seconds");
    assert!(retry_after >= 1);
    assert!(refused.json()["detail"].as_str().is_some_and(|detail| detail.contains("the disk is nearly full")), "{}", refused.text());
    let known = house.outbox(&[]).len();

    // What was accepted before is delivered and settled though the disk stays as it is.
    house.sink.reopen();
    house.until_quiet_after(known as u64);
    assert_eq!(house.outbox(&["--state", "sent"]).len(), known);
    assert_eq!(house.post_event(&events::test_letter("late", "late@example.org")).status, 503);

    // With room again intake goes on, without a restart; the refused event is new.
    fs::remove_file(filler).expect("our own file");
    let accepted = house.until("intake to go on", || {
        Some(house.post_event(&events::test_letter("later", "later@example.org"))).filter(|reply| reply.status == 202)
    });
    assert_eq!(accepted.json()["accepted"], 1);
    house.until_quiet_after(known as u64 + 1);
    let tally = reckon(&house.outbox(&[]), known + 1, &of_sink(&house.sink.letters()), |_| End::Sent);
    assert_eq!(tally.doubled, 0, "no letter was ever in doubt");
    assert!(house.terminate().success());
    drop(disk);
    tally
}

fn full(scale: Scale) -> Tally {
    let mut house = House::furnish(|config| config.set("database", "min_free", "\"1KiB\""));
    fs::create_dir(house.data_dir()).expect("our own folder");
    let disk = Tmpfs::mount(&house.data_dir(), scale.of("size=8m", "size=16m"));
    house.token = house.create_token("events:write,outbox:read");
    house.serve();
    house.sink.close();
    // Events with much in them until the disk is really full; the last one is refused as a whole.
    let mut accepted = Vec::new();
    let refused = (0..2000).find_map(|n| {
        let note = format!("{n} ").repeat(4000);
        let data = json!({"object": events::person(&format!("reader.{n}@example.org"), "en"), "details": {"note": note}});
        let reply = house.post_event(&events::event(&n.to_string(), "test", data));
        if reply.status == 202 {
            accepted.push(n);
            return None;
        }
        Some(reply)
    });
    let refused = refused.expect("a few megabytes are not enough for this");
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    assert!(accepted.len() > 20, "{}", accepted.len());
    let there = house.outbox(&[]);
    assert_eq!(there.len(), accepted.len(), "what was refused has left nothing behind");

    // The relay is back and outcomes may not fit on the disk; then there is room again.
    house.sink.reopen();
    house.until("delivery to begin, or to be found impossible", || {
        (house.sink.count() > 0 || house.log_has("letters cannot be claimed")).then_some(())
    });
    disk.remount("size=64m");
    house.until_quiet();
    assert_eq!(house.post_event(&events::test_letter("later", "later@example.org")).status, 202);
    house.sink.letter_to("later@example.org");
    house.until_quiet();
    // Whether a relay's answer could be written or not is all that may double a letter.
    let tally = reckon(&house.outbox(&[]), accepted.len() + 1, &of_sink(&house.sink.letters()), |_| End::SentSomehow);
    assert!(house.terminate().success());
    drop(disk);
    tally
}
