//! Letters delivered: from the event over HTTP to the sink, every step durable, and from a filled outbox.

use super::PATIENCE;
use crate::{
    bench::Bench,
    counting_sink::CountingSink,
    load::{self, Manner},
    proc::ProcessReading,
    rounds::Reading,
    server::House,
    smtp_tools::SmtpSink,
    stats::real,
};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::time::{Duration, Instant};

/// Letters of the run that is counted by Message-ID before the rounds.
const VERIFIED: u64 = 2_000;
/// How long settling may take once the sink has everything.
const SETTLING: Duration = Duration::from_secs(60);

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

/// From the first request to `smtp-sink` having the last letter.
///
/// # Errors
/// If a letter is missing, or there is one too many.
pub(crate) async fn end_to_end(bench: &Bench, manner: Manner) -> Result<Reading> {
    let (warm_up, letters) = (bench.scale.warm_up, bench.scale.letters);
    let mut sink = SmtpSink::start(bench.sink_addr, bench.work()).await?;
    let house = House::new(bench, bench.sink_addr).await?;
    let server = house.serve().await?;
    load::post(server.door(), 0..warm_up, manner).await.context("warming up")?;
    sink.wait_for(warm_up, PATIENCE).await?;
    server.settled(real(warm_up), SETTLING).await?;
    let before = server.reading()?;
    let start = Instant::now();
    load::post(server.door(), warm_up..warm_up + letters, manner).await?;
    let end = sink.wait_for(warm_up + letters, PATIENCE).await?;
    server.settled(real(warm_up + letters), SETTLING).await?;
    let after = server.reading()?;
    let count = sink.letters()?;
    ensure!(count == warm_up + letters, "the sink has {count} letters, not {}", warm_up + letters);
    server.stop().await?;
    sink.stop().await?;
    Ok(reading(letters, end - start, &before, &after))
}

/// From the first request to the counting sink having the last letter, in batches. It is cheaper than `smtp-sink`, and knows every letter by its Message-ID.
///
/// # Errors
/// If a letter does not arrive in time.
pub(crate) async fn counted(bench: &Bench, letters: u64) -> Result<(Reading, Verification)> {
    let warm_up = bench.scale.warm_up;
    let sink = CountingSink::listen(true).await?;
    let house = House::new(bench, sink.addr()).await?;
    let server = house.serve().await?;
    load::post(server.door(), 0..warm_up, Manner::BATCHES).await.context("warming up")?;
    sink.wait_for(warm_up, PATIENCE).await?;
    server.settled(real(warm_up), SETTLING).await?;
    let before = server.reading()?;
    let start = Instant::now();
    load::post(server.door(), warm_up..warm_up + letters, Manner::BATCHES).await?;
    let end = sink.wait_for(warm_up + letters, PATIENCE).await?;
    server.settled(real(warm_up + letters), SETTLING).await?;
    let after = server.reading()?;
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
    let reading = reading(letters, end - start, &before, &after);
    Ok((Reading { lost: Some(verification.lost), duplicates: Some(verification.duplicates), ..reading }, verification))
}

/// The run before the rounds: it shows that everything works, and finds the size of a letter, which `smtp-source` then uses too.
///
/// # Errors
/// As for [`counted`].
pub(crate) async fn verify(bench: &Bench) -> Result<Verification> {
    let (_, verification) = counted(bench, bench.scale.letters.min(VERIFIED)).await?;
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
    let house = House::new(bench, bench.sink_addr).await?;
    house.pause().await?;
    let server = house.serve().await?;
    load::post(server.door(), 0..letters, Manner::BATCHES).await?;
    let before = server.reading()?;
    house.resume().await?;
    let start = sink.wait_for(1, PATIENCE).await?;
    let early = sink.letters()?;
    let end = sink.wait_for(letters, PATIENCE).await?;
    server.settled(real(letters), SETTLING).await?;
    let after = server.reading()?;
    let count = sink.letters()?;
    ensure!(count == letters, "the sink has {count} letters, not {letters}");
    server.stop().await?;
    sink.stop().await?;
    let whole = reading(letters, end - start, &before, &after);
    Ok(Reading { rate: real(letters - early.min(letters)) / (end - start).as_secs_f64().max(1e-6), ..whole })
}

fn reading(letters: u64, taken: Duration, before: &ProcessReading, after: &ProcessReading) -> Reading {
    Reading {
        rate: real(letters) / taken.as_secs_f64(),
        cpu_us: Some((after.cpu_seconds - before.cpu_seconds) * 1e6 / real(letters)),
        peak_bytes: Some(after.peak_bytes),
        written_bytes: Some(real(after.written_bytes - before.written_bytes) / real(letters)),
        ..Reading::default()
    }
}
