//! Memory of the server with a short and a long queue: freshly started on the filled database, and after half a minute of claiming and settling.

use crate::{
    bench::Bench,
    counting_sink::CountingSink,
    load::{self, Manner},
    server::House,
    stats::{counted, real},
};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::time::{Duration, Instant};

/// How long the queue is drained, at most.
const DRAINING: Duration = Duration::from_secs(30);
/// How long the fresh server is left alone before it is read.
const IDLE: Duration = Duration::from_secs(3);

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
    /// Resident memory of the same server after draining.
    pub(crate) drained_bytes: u64,
    /// Its peak, start and draining together.
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

/// Fills the outbox with so many waiting items and measures.
///
/// # Errors
/// If an event is not accepted, or nothing is drained.
pub(crate) async fn measure(bench: &Bench, waiting: u64) -> Result<MemoryReading> {
    let sink = CountingSink::listen(false).await?;
    let house = House::new(bench, sink.addr()).await?;
    house.pause().await?;
    let empty = house.data_bytes();

    let server = house.serve().await?;
    let taken = load::post(server.door(), 0..waiting, Manner::BATCHES).await.context("filling the outbox")?;
    let filling = server.reading()?;
    server.stop().await?;
    let stored = house.data_bytes().saturating_sub(empty);
    eprintln!("memory: {} items waiting", counted(waiting));

    let server = house.serve().await?;
    tokio::time::sleep(IDLE).await;
    let queued = server.books().await?.queued;
    ensure!((queued - real(waiting)).abs() < 0.5, "{queued} items wait after a restart, not {waiting}");
    let fresh = server.reading()?;
    house.resume().await?;
    sink.wait_for(1, DRAINING).await?;
    let (start, early) = (Instant::now(), sink.letters());
    while start.elapsed() < DRAINING && sink.letters() < waiting {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (seconds, drained) = (start.elapsed().as_secs_f64(), sink.letters());
    let after = server.reading()?;
    server.stop().await?;
    Ok(MemoryReading {
        waiting,
        filled_per_second: real(waiting) / taken.as_secs_f64(),
        filling_peak_bytes: filling.peak_bytes,
        fresh_bytes: fresh.resident_bytes,
        fresh_peak_bytes: fresh.peak_bytes,
        drained_bytes: after.resident_bytes,
        drained_peak_bytes: after.peak_bytes,
        drained: drained - early,
        drained_seconds: seconds,
        drained_cpu_us: (after.cpu_seconds - fresh.cpu_seconds) * 1e6 / real(drained.max(1)),
        stored_bytes: real(stored) / real(waiting),
    })
}
