//! Letters delivered: from the event over HTTP to the sink, every step durable, and from a filled outbox.

use super::PATIENCE;
use crate::{
    bench::Bench,
    counting_sink::{CountingSink, Duties},
    load::{self, Manner},
    rounds::Reading,
    server::{House, LetterSize, Server, Setup},
    smtp_tools::SmtpSink,
    stats::real,
};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::{
    ops::Range,
    time::{Duration, Instant},
};

/// Letters of the run that is counted by Message-ID before the rounds.
const VERIFIED: u64 = 2_000;
/// How long settling may take once the sink has everything.
pub(crate) const SETTLING: Duration = Duration::from_secs(60);

/// Letters counted by Message-ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Verification {
    /// Events posted, a letter each.
    pub(crate) posted: u64,
    /// Letters that did not arrive.
    pub(crate) lost: u64,
    /// Letters that arrived again.
    pub(crate) duplicates: u64,
    /// The mean size of a letter on the wire, in bytes.
    pub(crate) letter_bytes: u64,
}

/// From the first request to `smtp-sink` having the last letter, on a disk whose every flush takes so much longer than it does.
///
/// # Errors
/// If a letter is missing, or there is one too many.
pub(crate) async fn end_to_end(bench: &Bench, manner: Manner, flush_delay: Duration) -> Result<Reading> {
    let (warm_up, letters) = (bench.scale.warm_up, bench.scale.letters);
    let mut sink = SmtpSink::start(bench.sink_addr, bench.work()).await?;
    let house = House::new(bench, Setup::smtp(bench, bench.sink_addr).slow_flushes(flush_delay)).await?;
    let server = house.serve().await?;
    load::post(server.door(), 0..warm_up, manner).await.context("warming up")?;
    sink.wait_for(warm_up, PATIENCE).await?;
    server.settled(real(warm_up), SETTLING).await?;
    let before = server.state()?;
    let start = Instant::now();
    load::post(server.door(), warm_up..warm_up + letters, manner).await?;
    let end = sink.wait_for(warm_up + letters, PATIENCE).await?;
    server.settled(real(warm_up + letters), SETTLING).await?;
    let after = server.state()?;
    let count = sink.letters()?;
    ensure!(count == warm_up + letters, "the sink has {count} letters, not {}", warm_up + letters);
    server.stop().await?;
    sink.stop().await?;
    Ok(Reading { rate: rate(letters, end - start), ..after.since(&before, letters) })
}

/// From the first request to the counting sink having the last letter. It is cheaper than `smtp-sink`, and knows every letter by its Message-ID.
///
/// # Errors
/// If a letter does not arrive in time.
pub(crate) async fn counted(bench: &Bench, letters: u64, manner: Manner, size: LetterSize) -> Result<(Reading, Verification)> {
    let warm_up = bench.scale.warm_up.min(letters);
    let sink = CountingSink::listen(Duties { names: true, ..Duties::default() }).await?;
    let house = House::new(bench, Setup::smtp(bench, sink.addr()).letters(size)).await?;
    let server = house.serve().await?;
    load::post(server.door(), 0..warm_up, manner).await.context("warming up")?;
    sink.wait_for(warm_up, PATIENCE).await?;
    server.settled(real(warm_up), SETTLING).await?;
    let before = server.state()?;
    let start = Instant::now();
    load::post(server.door(), warm_up..warm_up + letters, manner).await?;
    let end = sink.wait_for(warm_up + letters, PATIENCE).await?;
    server.settled(real(warm_up + letters), SETTLING).await?;
    let after = server.state()?;
    // A letter sent again would come before the server has ended: it finishes what is on the wire.
    server.stop().await?;
    let names = sink.names();
    let posted = warm_up + letters;
    let verification = Verification {
        posted,
        lost: posted.saturating_sub(names.distinct),
        duplicates: names.duplicates,
        letter_bytes: sink.bytes() / sink.letters().max(1),
    };
    let reading = Reading {
        rate: rate(letters, end - start),
        lost: Some(verification.lost),
        duplicates: Some(verification.duplicates),
        letter_bytes: Some(verification.letter_bytes),
        ..after.since(&before, letters)
    };
    Ok((reading, verification))
}

/// The run before the rounds: it shows that everything works, and finds the size of a letter, which `smtp-source` then uses too.
///
/// # Errors
/// As for [`counted`].
pub(crate) async fn verify(bench: &Bench) -> Result<Verification> {
    let letters = bench.scale.letters.min(VERIFIED);
    let (_, verification) = counted(bench, letters, Manner::BATCHES, LetterSize::Usual).await?;
    bench.set_letter_size(usize::try_from(verification.letter_bytes).context("a letter larger than memory")?)?;
    Ok(verification)
}

/// A filled outbox, from the first letter at the sink to the last. The server notices within a second that its relay was resumed; that second is not counted.
///
/// # Errors
/// If a letter is missing, or there is one too many.
pub(crate) async fn drain(bench: &Bench) -> Result<Reading> {
    let letters = bench.scale.letters;
    let mut sink = SmtpSink::start(bench.sink_addr, bench.work()).await?;
    let (house, server) = filled(bench, Setup::smtp(bench, bench.sink_addr), 0..letters, Manner::BATCHES).await?;
    let before = server.state()?;
    house.resume().await?;
    let start = sink.wait_for(1, PATIENCE).await?;
    let early = sink.letters()?;
    let end = sink.wait_for(letters, PATIENCE).await?;
    server.settled(real(letters), SETTLING).await?;
    let after = server.state()?;
    let count = sink.letters()?;
    ensure!(count == letters, "the sink has {count} letters, not {letters}");
    server.stop().await?;
    sink.stop().await?;
    let after = after.since(&before, letters);
    Ok(Reading { rate: rate(letters - early.min(letters), end - start), ..after })
}

/// A running server whose relay is paused and whose outbox holds the letters of these events.
///
/// # Errors
/// If an event is not accepted.
pub(crate) async fn filled(bench: &Bench, setup: Setup, numbers: Range<u64>, manner: Manner) -> Result<(House, Server)> {
    let house = House::new(bench, setup).await?;
    house.pause().await?;
    let server = house.serve().await?;
    load::post(server.door(), numbers, manner).await.context("filling the outbox")?;
    Ok((house, server))
}

/// Lets a filled outbox go to the counting sink: from the first letter there to the last, settling and the server's end included in its costs.
///
/// # Errors
/// If a letter does not come, or is not settled.
pub(crate) async fn drained(house: &House, server: Server, sink: &CountingSink, letters: u64) -> Result<Reading> {
    let before = server.state()?;
    house.resume().await?;
    let start = sink.wait_for(1, PATIENCE).await?;
    let early = sink.letters();
    let end = sink.wait_for(letters, PATIENCE).await?;
    server.settled(real(letters), SETTLING).await?;
    let after = server.state()?;
    server.stop().await?;
    Ok(Reading { rate: rate(letters - early.min(letters), end - start), ..after.since(&before, letters) })
}

/// Letters a second.
pub(crate) fn rate(letters: u64, taken: Duration) -> f64 {
    real(letters) / taken.as_secs_f64().max(1e-6)
}
