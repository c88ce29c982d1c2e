//! What others reach on the same machine: Postfix as a durable relay, and its tools with nothing durable between them.

use super::PATIENCE;
use crate::{bench::Bench, proc, rounds::Reading, smtp_tools::SmtpSink, stats::real};
use anyhow::{Result, ensure};
use std::time::Instant;

/// `smtp-source` to Postfix to `smtp-sink`: from the first connect to the sink having the last letter.
///
/// # Errors
/// If a letter is missing.
pub(crate) async fn postfix(bench: &Bench) -> Result<Reading> {
    let (warm_up, letters) = (bench.scale.warm_up, bench.scale.postfix_letters);
    let (postfix, source) = (bench.postfix()?, bench.source()?);
    let mut sink = SmtpSink::start(bench.sink_addr, bench.work()).await?;
    postfix.start().await?;
    source.send(postfix.addr(), warm_up, PATIENCE).await?;
    sink.wait_for(warm_up, PATIENCE).await?;
    let (before, flushes) = (others_cpu(&sink)?, postfix.flushes()?);
    let start = Instant::now();
    source.send(postfix.addr(), letters, PATIENCE).await?;
    let end = sink.wait_for(warm_up + letters, PATIENCE).await?;
    let (cpu, flushes) = (others_cpu(&sink)? - before, postfix.flushes()? - flushes);
    postfix.stop().await?;
    sink.stop().await?;
    Ok(Reading {
        rate: real(letters) / (end - start).as_secs_f64(),
        cpu_us: Some(cpu * 1e6 / real(letters)),
        flushes: Some(real(flushes) / real(letters)),
        ..Reading::default()
    })
}

/// `smtp-source` to `smtp-sink`.
///
/// # Errors
/// If a letter is missing.
pub(crate) async fn source(bench: &Bench) -> Result<Reading> {
    let (warm_up, letters) = (bench.scale.warm_up, bench.scale.letters);
    let source = bench.source()?;
    let sink = SmtpSink::start(bench.sink_addr, bench.work()).await?;
    source.send(bench.sink_addr, warm_up, PATIENCE).await?;
    let start = Instant::now();
    source.send(bench.sink_addr, letters, PATIENCE).await?;
    let taken = start.elapsed();
    let count = sink.letters()?;
    ensure!(count == warm_up + letters, "the sink has {count} letters, not {}", warm_up + letters);
    sink.stop().await?;
    Ok(Reading { rate: real(letters) / taken.as_secs_f64(), ..Reading::default() })
}

/// Busy seconds of the machine less those of this program, its ended children (`smtp-source`) and the sink. Postfix spreads a letter over some ten processes
/// that come and go, so it is measured as what is left; on a machine that does other work, that work is in it.
fn others_cpu(sink: &SmtpSink) -> Result<f64> {
    let own = proc::read(std::process::id())?;
    Ok(proc::machine_busy_seconds()? - own.cpu_seconds - own.children_cpu_seconds - sink.cpu_seconds()?)
}
