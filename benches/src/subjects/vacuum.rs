//! An hour of load while a reader holds a snapshot: what vacuum may not take away must not slow the claims down.

use super::PATIENCE;
use crate::{
    bench::Bench,
    child::Running,
    counting_sink::{CountingSink, Duties},
    finding::{Bound, Finding},
    load::{self, Manner},
    postgres::Postgres,
    server::{House, Setup},
    stats::real,
};
use anyhow::{Context, Result};
use std::time::{Duration, Instant};

/// Letters that are posted and sent at a time.
const STEP: u64 = 2_000;
/// The last tenth of the time is so fast at least, measured by the first.
const AIM: f64 = 0.7;

/// Measures.
///
/// # Errors
/// If a letter does not come.
pub(crate) async fn measure(bench: &Bench) -> Result<Finding> {
    let minutes = bench.scale.minutes;
    let whole = Duration::from_secs(minutes * 60);
    let postgres = Postgres::start(bench.work()).await?;
    let mut finding = Finding::new("vacuum", format!("PostgreSQL, {minutes} minutes of load beside a reader with a snapshot"));
    let url = postgres.create("house").await?;
    let sink = CountingSink::listen(Duties::default()).await?;
    let house = House::new(bench, Setup::smtp(bench, sink.addr()).on(&url)).await?;
    let server = house.serve().await?;
    load::post(server.door(), 0..STEP, Manner::BATCHES).await.context("warming up")?;
    sink.wait_for(STEP, PATIENCE).await?;
    let reader =
        format!("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM open_item; SELECT pg_sleep({})", whole.as_secs() + 600);
    let mut reader = Running::start(postgres.psql("house", &reader), &bench.work().join("reader.log"))?;
    let (begun, mut posted, mut rates) = (Instant::now(), STEP, Vec::new());
    while begun.elapsed() < whole {
        let start = Instant::now();
        load::post(server.door(), posted..posted + STEP, Manner::BATCHES).await?;
        posted += STEP;
        sink.wait_for(posted, PATIENCE).await?;
        rates.push(real(STEP) / start.elapsed().as_secs_f64());
    }
    reader.must_run().context("the reader that holds a snapshot")?;
    let size = "SELECT pg_total_relation_size('open_item')";
    let held = postgres.sql("house", size).await?.parse::<f64>()?;
    reader.stop(PATIENCE).await?;
    // The server does not notice that the reader has gone before it wants to answer.
    let end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()";
    postgres.sql("house", end).await?;
    server.stop().await?;
    postgres.sql("house", "VACUUM open_item").await?;
    let dead = postgres.sql("house", "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'open_item'").await?.parse::<f64>()?;
    postgres.stop().await?;
    let tenth = rates.len().div_ceil(10);
    let mean = |rates: &[f64]| rates.iter().sum::<f64>() / real(rates.len().max(1) as u64);
    finding.add("letters a second, steps of 2,000", rates.iter().copied(), None);
    finding.add("last tenth ÷ first tenth", [mean(&rates[rates.len() - tenth..]) / mean(&rates[..tenth])], Some(Bound::AtLeast(AIM)));
    finding.add("hot table with its indexes at the end, MiB", [held / 1_048_576.0], None);
    finding.add("dead rows that a vacuum leaves once the reader has gone", [dead], None);
    Ok(finding)
}
