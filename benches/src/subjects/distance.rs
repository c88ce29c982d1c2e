//! A relay far away: a filled outbox goes over one session to the counting sink, through a line on which a byte takes 25 ms each way.

use super::deliver;
use crate::{
    bench::Bench,
    counting_sink::{CountingSink, Duties},
    delay::LongLine,
    load::Manner,
    rounds::Reading,
    server::Setup,
};
use anyhow::{Result, ensure};
use std::time::Duration;

/// What a byte takes in one direction: half of the 50 ms of a round trip.
const ONE_WAY: Duration = Duration::from_millis(25);

/// Measures from the first letter at the sink to the last; the sink offers CHUNKING (RFC 3030) or not.
///
/// # Errors
/// If a letter is missing, or there is one too many.
pub(crate) async fn measure(bench: &Bench, chunking: bool) -> Result<Reading> {
    // As CHUNKING is faster, more letters are needed for its start not to count.
    let letters = bench.scale.distant_letters * if chunking { 4 } else { 1 };
    let sink = CountingSink::listen(Duties { chunking, ..Duties::default() }).await?;
    let line = LongLine::to(sink.addr(), ONE_WAY)?;
    let setup = Setup::smtp(bench, line.addr()).sessions(1);
    let (house, server) = deliver::filled(bench, setup, 0..letters, Manner::BATCHES).await?;
    let reading = deliver::drained(&house, server, &sink, letters).await?;
    ensure!(sink.letters() == letters, "the sink has {} letters, not {letters}", sink.letters());
    Ok(reading)
}
