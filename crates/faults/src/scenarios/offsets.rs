//! A session cut at every byte of its dialogue, in both directions, between the real server and our sink.

use serde_json::Value;
use tidings_sink::SinkOptions;
use tidings_testkit::proxy::{Mischief, Proxy};

use crate::house::Mail;
use crate::ledger::{End, of_sink, reckon};
use crate::street::{RECOVERY, Street, patient, without_chunking};
use crate::{Scale, Scenario, Tally};

/// See `proves`.
pub(crate) const OFFSETS: Scenario = Scenario {
    name: "cut_at_every_byte",
    proves: "a session of two pipelined letters that is cut after any number of bytes, from either side, loses nothing; only a letter whose last byte had left may come twice, and is marked",
    play,
};

/// Cuts that run side by side, each on a relay of its own.
const WIDTH: usize = 120;

/// Letters in a session: the second one's envelope rides behind the first one's content.
const LETTERS: usize = 2;

fn play(scale: Scale) -> Tally {
    // Content by DATA, and by BDAT, where more letters may be on their way at once.
    let by_data = cut_everywhere(scale.of(7, 1), without_chunking());
    by_data.and(&cut_everywhere(scale.of(13, 1), SinkOptions::default()))
}

fn cut_everywhere(step: usize, options: SinkOptions) -> Tally {
    let sink = Mail::open_with(options);
    let proxies: Vec<Proxy> = (0..WIDTH).map(|_| Proxy::to(sink.addr())).collect();
    // A cut ends the session at both ends at once: no deadline is needed, and none is to strike where many sessions begin together.
    let street = Street::open(&proxies.iter().map(Proxy::port).collect::<Vec<_>>(), &patient());

    // How long a dialogue is.
    street.post([0], LETTERS);
    street.until_quiet(RECOVERY);
    let whole = proxies[0].transcript();
    let letters = String::from_utf8_lossy(&whole.to_server).matches("Message-ID: ").count();
    assert!(letters == LETTERS && whole.to_client.starts_with(b"220 "), "this is no dialogue: {whole:?}");
    let to_client = (0..=whole.to_client.len()).step_by(step).map(Mischief::CutToClient);
    let cuts: Vec<Mischief> = to_client.chain((0..=whole.to_server.len()).step_by(step).map(Mischief::CutToServer)).collect();
    eprintln!("{} cuts in {} bytes to the relay and {} from it", cuts.len(), whole.to_server.len(), whole.to_client.len());

    for round in cuts.chunks(WIDTH) {
        let struck = |proxies: &[Proxy]| proxies.iter().map(Proxy::struck).sum::<u64>();
        let before = struck(&proxies);
        for proxy in &proxies {
            proxy.hang_up();
        }
        let gone = || (sink.statistics().open == 0 && proxies.iter().all(|proxy| proxy.open() == 0)).then_some(());
        street.house.until("the sessions of the last round to be gone", gone);
        for (proxy, cut) in proxies.iter().zip(round) {
            proxy.next(*cut);
        }
        street.post(0..round.len(), LETTERS);
        street.until_quiet(RECOVERY);
        // A cut a few bytes behind the last one needs the farewell to strike, which comes when the session has been idle.
        let due = round.iter().filter(|cut| reached(**cut, &whole)).count() as u64;
        assert!(struck(&proxies) >= before + due, "{} of {due} cuts have struck", struck(&proxies) - before);
    }
    let items = street.items();
    let tally = reckon(&items, street.accepted(), &of_sink(&sink.letters()), |_| End::Sent);
    // A letter is in doubt only if its last byte may have left.
    let doubtful = items.iter().filter(|item: &&Value| item["maybe_duplicate"] == true).count();
    assert!(doubtful <= cuts.len() * LETTERS, "{doubtful} letters are in doubt after {} cuts", cuts.len());
    assert!(doubtful > 0, "no cut struck behind a final dot");
    tally
}

/// Whether a dialogue of this length comes to that byte for sure. Dates and numbers in letters and replies vary in length by a few bytes.
fn reached(cut: Mischief, whole: &tidings_testkit::proxy::Transcript) -> bool {
    const VARIES: usize = 24;
    match cut {
        Mischief::CutToClient(at) => at + VARIES < whole.to_client.len(),
        Mischief::CutToServer(at) => at + VARIES < whole.to_server.len(),
        Mischief::DripToClient { .. } | Mischief::Silence => false,
    }
}
