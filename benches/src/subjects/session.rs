//! One session of small letters from a filled outbox, each timed by the sink: from its 354 to its reply to the whole letter. In between, the client has read the 354
//! and written the letter to its last byte; a client that leaves the end of a letter to Nagle's algorithm waits 40 ms for a delayed ACK (RFC 1122 §4.2.3.4).

use super::deliver;
use crate::{
    bench::Bench,
    counting_sink::{CountingSink, Duties},
    load::Manner,
    rounds::Reading,
    server::{LetterSize, Setup},
    stats::milliseconds,
};
use anyhow::{Result, ensure};

/// Measures every letter of a filled outbox.
///
/// # Errors
/// If a letter is missing, or one was not timed.
pub(crate) async fn measure(bench: &Bench) -> Result<Reading> {
    let letters = bench.scale.timed_letters;
    let sink = CountingSink::listen(Duties { turns: true, ..Duties::default() }).await?;
    let setup = Setup::smtp(bench, sink.addr()).sessions(1).letters(LetterSize::Small);
    let (house, server) = deliver::filled(bench, setup, 0..letters, Manner::BATCHES).await?;
    let reading = deliver::drained(&house, server, &sink, letters).await?;
    let latencies_ms: Vec<f64> = sink.turns().into_iter().map(milliseconds).collect();
    ensure!(latencies_ms.len() as u64 == letters, "{} of {letters} letters were timed", latencies_ms.len());
    Ok(Reading { latencies_ms, letter_bytes: Some(sink.bytes() / sink.letters().max(1)), ..reading })
}
