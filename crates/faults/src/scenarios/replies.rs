//! A relay that says the wrong thing at the right time: garbage, surplus, nothing, half, too much.

use std::time::Duration;

use tidings_sink::{Fault, Sink, SinkOptions, Stage, What, When};

use crate::ledger::{End, of_sink, reckon};
use crate::street::{BRISK, RECOVERY, Street, without_chunking};
use crate::{Scale, Scenario, Tally};

/// See `proves`.
pub(crate) const REPLIES: Scenario = Scenario {
    name: "wrong_replies",
    proves: "garbage, surplus, missing, endless, half and slow replies, 421 and hang-ups at every stage cost no letter, no attempt and no unmarked copy",
    play,
};

const STAGES: [Stage; 6] = [Stage::Connect, Stage::Ehlo, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Content];

/// What can go wrong at any stage.
fn mischief() -> Vec<What> {
    vec![
        What::Garbage(b"\x16\x03\x01\x00\xff\xfe\x00garbage\r\n".to_vec()),
        What::Garbage(b"250".to_vec()),
        What::Garbage(b"999 2.0.0 what\r\n".to_vec()),
        What::Garbage(b"250-2.0.0 a\r\n550 5.0.0 b\r\n".to_vec()),
        What::Garbage(b"250 2.0.0 bare line feed\n250 2.0.0 another\n".to_vec()),
        // One line without an end, and lines without an end to them.
        What::Garbage(vec![b'2'; 70_000]),
        What::Garbage(b"250-2.0.0 and more\r\n".repeat(4_000)),
        What::SurplusReply("250 2.0.0 surplus".to_owned()),
        What::SurplusReply("354 surplus".to_owned()),
        What::SurplusReply("421 4.3.2 surplus".to_owned()),
        What::reply("421 4.3.2 shutting down"),
        What::Hangup,
        What::HangupAfterAccept,
        What::HangupAfterReply,
        What::CutReplyAfter(2),
        What::ReplyInBytes,
        // Longer than the deadlines.
        What::Stall(Duration::from_secs(4)),
    ]
}

fn play(scale: Scale) -> Tally {
    // The letter at which it happens: at the first the relay is new, at the second its session is in use and letters are sent ahead.
    let turns = scale.of(vec![1, 2], vec![1, 2, 3]);
    let letters = scale.of(3, 6);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime can be made");
    let mut faults: Vec<(Fault, SinkOptions)> = Vec::new();
    for what in mischief() {
        for stage in STAGES {
            let turns = if matches!(stage, Stage::Connect | Stage::Ehlo) { &turns[..1] } else { &turns };
            // To a final dot this is a yes, and a relay that says yes has the letter.
            if stage == Stage::Content && matches!(&what, What::Garbage(bytes) if bytes.starts_with(b"250 ")) {
                continue;
            }
            faults.extend(turns.iter().map(|turn| (Fault::new(stage, When::Nth(*turn), what.clone()), without_chunking())));
            // The same where content goes by BDAT, several letters at a time.
            if matches!(stage, Stage::Mail | Stage::Rcpt | Stage::Content) {
                faults.push((Fault::new(stage, When::Nth(2), what.clone()), SinkOptions::default()));
            }
        }
    }
    let sinks: Vec<Sink> = runtime.block_on(async {
        let listen = |(fault, options): &(Fault, SinkOptions)| {
            let sink = Sink::listen("127.0.0.1:0".parse().expect("an address"), options.clone()).expect("a loopback port is free");
            sink.add_fault(fault.clone());
            sink
        };
        faults.iter().map(listen).collect()
    });
    let street = Street::open(&sinks.iter().map(|sink| sink.addr().port()).collect::<Vec<_>>(), BRISK);
    // So many at a time that none is slow for the machine's sake.
    let all: Vec<usize> = (0..sinks.len()).collect();
    for some in all.chunks(60) {
        street.post(some.iter().copied(), letters);
        street.until_quiet(RECOVERY * 2);
    }
    let items = street.items();
    let arrivals: Vec<_> = sinks.iter().flat_map(|sink| of_sink(&sink.letters())).collect();
    let tally = reckon(&items, street.accepted(), &arrivals, |_| End::Sent);
    // Most of it happens while nothing is behind its last byte.
    let doubtful = items.iter().filter(|item| item["maybe_duplicate"] == true).count();
    assert!(doubtful <= items.len() / 3, "{doubtful} of {} letters are in doubt", items.len());
    drop(street);
    tally
}
