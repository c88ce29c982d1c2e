//! The end-to-end job on PostgreSQL: from the event over HTTP to `smtp-sink`, beside Postfix and `smtp-source` in the same rounds, all on the same cores.

use super::{PATIENCE, deliver, deliver::SETTLING, peers};
use crate::{
    bench::Bench,
    finding::{Bound, Finding},
    load::{self, Manner},
    postgres::{DatabaseCost, Postgres},
    rounds::Reading,
    server::{House, Setup},
    smtp_tools::SmtpSink,
    stats::{counted, real},
};
use anyhow::{Context, Result, ensure};
use std::time::Instant;

/// So many times as fast as Postfix, and as `smtp-source` with nothing durable.
const AIM_POSTFIX: f64 = 6.0;
const AIM_SOURCE: f64 = 0.3;

/// Measures, a database for each reading.
///
/// # Errors
/// If a letter is missing, or there is one too many.
pub(crate) async fn measure(bench: &Bench) -> Result<Finding> {
    let server = Postgres::start(bench.work()).await?;
    let mut finding = Finding::new("postgres", format!("PostgreSQL, {} letters to smtp-sink", counted(bench.scale.letters)));
    let manners = [("one event a request", Manner::SINGLE), ("batches of 100", Manner::BATCHES)];
    let mut columns: Vec<(&str, Vec<Reading>, Vec<DatabaseCost>)> =
        manners.iter().map(|(name, _)| (*name, Vec::new(), Vec::new())).collect();
    let (mut postfix, mut source) = (Vec::new(), Vec::new());
    for round in 1..=bench.scale.rounds {
        for ((name, manner), column) in manners.into_iter().zip(&mut columns) {
            let (reading, cost) = once(bench, &server, manner).await.with_context(|| name.to_owned())?;
            eprintln!("PostgreSQL, round {round}/{}: {name}: {:.0}/s", bench.scale.rounds, reading.rate);
            column.1.push(reading);
            column.2.push(cost);
        }
        postfix.push(peers::postfix(bench).await?.rate);
        source.push(peers::source(bench).await?.rate);
    }
    server.stop().await?;
    for (name, readings, costs) in columns {
        let rates = || readings.iter().map(|reading| reading.rate);
        finding.add(format!("{name}: letters a second"), rates(), None);
        finding.add(format!("{name} ÷ Postfix"), rates().zip(&postfix).map(|(one, other)| one / other), Some(Bound::AtLeast(AIM_POSTFIX)));
        finding.add(
            format!("{name} ÷ smtp-source"),
            rates().zip(&source).map(|(one, other)| one / other),
            Some(Bound::AtLeast(AIM_SOURCE)),
        );
        finding.add(format!("{name}: CPU of the server, µs a letter"), readings.iter().filter_map(|reading| reading.cpu_us), None);
        finding.add(format!("{name}: CPU of the database, µs a letter"), costs.iter().map(|cost| cost.cpu_us), None);
        finding.add(format!("{name}: log of the database, bytes a letter"), costs.iter().map(|cost| cost.wal_bytes), None);
        finding.add(format!("{name}: statements a letter"), costs.iter().map(|cost| cost.statements), None);
    }
    finding.add("Postfix: letters a second", postfix, None);
    finding.add("smtp-source: letters a second", source, None);
    Ok(finding)
}

/// From the first request to `smtp-sink` having the last letter.
async fn once(bench: &Bench, postgres: &Postgres, manner: Manner) -> Result<(Reading, DatabaseCost)> {
    let (warm_up, letters) = (bench.scale.warm_up, bench.scale.letters);
    let url = postgres.create("house").await?;
    let mut sink = SmtpSink::start(bench.sink_addr, bench.work()).await?;
    let house = House::new(bench, Setup::smtp(bench, bench.sink_addr).on(&url)).await?;
    let server = house.serve().await?;
    load::post(server.door(), 0..warm_up, manner).await.context("warming up")?;
    sink.wait_for(warm_up, PATIENCE).await?;
    server.settled(real(warm_up), SETTLING).await?;
    let (before, database) = (server.state()?, postgres.state().await?);
    let start = Instant::now();
    load::post(server.door(), warm_up..warm_up + letters, manner).await?;
    let end = sink.wait_for(warm_up + letters, PATIENCE).await?;
    server.settled(real(warm_up + letters), SETTLING).await?;
    let (after, cost) = (server.state()?, postgres.state().await?.since(&database, letters));
    let count = sink.letters()?;
    ensure!(count == warm_up + letters, "the sink has {count} letters, not {}", warm_up + letters);
    server.stop().await?;
    sink.stop().await?;
    postgres.drop_database("house").await?;
    Ok((Reading { rate: deliver::rate(letters, end - start), ..after.since(&before, letters) }, cost))
}
