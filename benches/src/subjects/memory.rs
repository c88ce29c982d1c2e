//! Memory of the server, and what a letter costs it, with short and long queues: freshly started on the filled database, accepting some more, and after some seconds of
//! claiming and settling.

use super::deliver;
use crate::{
    bench::Bench,
    counting_sink::{CountingSink, Duties},
    load::{self, Manner},
    proc,
    server::{House, Setup},
    stats::{counted, real},
};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::time::{Duration, Instant};

/// How long the queue is drained, at most.
const DRAINING: Duration = Duration::from_secs(15);
/// How long the fresh server is left alone before it is read.
const IDLE: Duration = Duration::from_secs(3);
/// Letters accepted on top of the queue.
const MORE: u64 = 20_000;
/// The disk that must stay free beside what a queue is expected to take: for the database's log and for others.
const SPARE: u64 = 2 << 30;
/// Bytes of the database a letter, until a shorter queue has shown it.
const USUAL_BYTES: f64 = 10_000.0;

/// What was seen with one length of the queue. Sizes in bytes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct MemoryReading {
    /// Items waiting.
    pub(crate) waiting: u64,
    /// Events accepted a second while filling.
    pub(crate) filled_per_second: f64,
    /// Peak of the server that was filled.
    pub(crate) filling_peak_bytes: u64,
    /// Resident memory of a server freshly started on the filled database.
    pub(crate) fresh_bytes: u64,
    /// Its peak.
    pub(crate) fresh_peak_bytes: u64,
    /// Events a second accepted on top of the queue.
    pub(crate) accepted_per_second: f64,
    /// CPU of the server an event accepted on top, in microseconds.
    pub(crate) accepted_cpu_us: f64,
    /// Resident memory of the same server after draining.
    pub(crate) drained_bytes: u64,
    /// Its peak: start, accepting and draining together.
    pub(crate) drained_peak_bytes: u64,
    /// Letters drained.
    pub(crate) drained: u64,
    /// For so many seconds.
    pub(crate) drained_seconds: f64,
    /// CPU of the server a letter drained, in microseconds.
    pub(crate) drained_cpu_us: f64,
    /// Bytes of the database a waiting letter.
    pub(crate) stored_bytes: f64,
}

/// Fills the outbox with so many waiting items and measures. `shorter` is what was seen with a shorter queue.
///
/// # Errors
/// If the disk has too little room, an event is not accepted, or nothing is drained.
pub(crate) async fn measure(bench: &Bench, waiting: u64, shorter: Option<&MemoryReading>) -> Result<MemoryReading> {
    must_fit(bench, waiting, shorter.map_or(USUAL_BYTES, |reading| reading.stored_bytes))?;
    let sink = CountingSink::listen(Duties::default()).await?;
    let setup = Setup::smtp(bench, sink.addr());
    let house = House::new(bench, setup).await?;
    house.pause().await?;
    let empty = house.data_bytes();

    let server = house.serve().await?;
    let taken = load::post(server.door(), 0..waiting, Manner::BATCHES).await.context("filling the outbox")?;
    let filling = server.state()?.process;
    server.stop().await?;
    let stored = house.data_bytes().saturating_sub(empty);
    eprintln!("memory: {} items waiting", counted(waiting));

    let server = house.serve().await?;
    tokio::time::sleep(IDLE).await;
    let queued = server.books().await?.queued;
    ensure!((queued - real(waiting)).abs() < 0.5, "{queued} items wait after a restart, not {waiting}");
    let fresh = server.state()?;
    let more = MORE.min(waiting);
    let accepting = load::post(server.door(), waiting..waiting + more, Manner::BATCHES).await.context("accepting more")?;
    let filled = server.state()?;
    house.resume().await?;
    sink.wait_for(1, DRAINING).await?;
    let (start, early) = (Instant::now(), sink.letters());
    while start.elapsed() < DRAINING && sink.letters() < waiting + more {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (seconds, drained) = (start.elapsed().as_secs_f64(), sink.letters());
    let after = server.state()?;
    server.stop().await?;
    let cpu = |reading: crate::rounds::Reading| reading.cpu_us.unwrap_or_default();
    Ok(MemoryReading {
        waiting,
        filled_per_second: deliver::rate(waiting, taken),
        filling_peak_bytes: filling.peak_bytes,
        fresh_bytes: fresh.process.resident_bytes,
        fresh_peak_bytes: fresh.process.peak_bytes,
        accepted_per_second: deliver::rate(more, accepting),
        accepted_cpu_us: cpu(filled.since(&fresh, more)),
        drained_bytes: after.process.resident_bytes,
        drained_peak_bytes: after.process.peak_bytes,
        drained: drained - early,
        drained_seconds: seconds,
        drained_cpu_us: cpu(after.since(&filled, drained)),
        stored_bytes: real(stored) / real(waiting),
    })
}

/// A full disk would stop the server from accepting, and disturb others.
fn must_fit(bench: &Bench, waiting: u64, bytes_each: f64) -> Result<()> {
    let free = proc::free_bytes(bench.work())?;
    let needed = real(waiting + MORE) * bytes_each + real(SPARE);
    let gibibytes = |bytes: f64| bytes / f64::from(1 << 30);
    ensure!(
        needed <= real(free),
        "it takes about {:.0} GiB of disk, and {:.0} are free: give a folder on a larger one with --work, or shorter queues with --waiting",
        gibibytes(needed).ceil(),
        gibibytes(real(free)).floor()
    );
    Ok(())
}
