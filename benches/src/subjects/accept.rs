//! Events accepted a second over HTTP. The relay is paused: deciding, rendering and writing happen, sending does not.

use crate::{
    bench::Bench,
    child,
    load::{self, Manner},
    rounds::Reading,
    server::{House, Setup},
    stats::real,
};
use anyhow::{Context, Result, ensure};

/// Measures accepting in this manner.
///
/// # Errors
/// If an event is not accepted, or does not lead to one waiting letter.
pub(crate) async fn measure(bench: &Bench, manner: Manner) -> Result<Reading> {
    let (warm_up, letters) = (bench.scale.warm_up, bench.scale.letters);
    let house = House::new(bench, Setup::smtp(bench, child::free_address()?)).await?;
    house.pause().await?;
    let empty = house.data_bytes();
    let server = house.serve().await?;
    load::post(server.door(), 0..warm_up, manner).await.context("warming up")?;
    let before = server.state()?;
    let taken = load::post(server.door(), warm_up..warm_up + letters, manner).await?;
    let after = server.state()?;
    let queued = server.books().await?.queued;
    ensure!(
        (queued - real(warm_up + letters)).abs() < 0.5,
        "{} events led to {queued} waiting letters, not to one each",
        warm_up + letters
    );
    // Only after the end is everything in the database file itself and the log of recent writes empty.
    server.stop().await?;
    Ok(Reading {
        rate: real(letters) / taken.as_secs_f64(),
        stored_bytes: Some(real(house.data_bytes().saturating_sub(empty)) / real(warm_up + letters)),
        ..after.since(&before, letters)
    })
}
