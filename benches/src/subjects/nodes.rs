//! One node and two on one database, with a relay that is the slow part: it takes 20 ms for each answer, and each node may open ten sessions.

use super::{PATIENCE, deliver, deliver::SETTLING};
use crate::{
    bench::Bench,
    counting_sink::{CountingSink, Duties},
    finding::{Bound, Finding},
    load::{self, Manner},
    postgres::Postgres,
    server::{House, Server, Setup},
    stats::counted,
};
use anyhow::{Context, Result, ensure};
use std::time::Duration;

const ANSWER: Duration = Duration::from_millis(20);
/// Sessions for each node. The relay's limit holds for all nodes together, so it is so many times as high.
const SESSIONS: u16 = 10;
/// So many times as much as one node carries.
const AIM: f64 = 1.8;

/// Measures in rounds.
///
/// # Errors
/// If a letter is missing, or there is one too many.
pub(crate) async fn measure(bench: &Bench) -> Result<Finding> {
    let postgres = Postgres::start(bench.work()).await?;
    // A second's worth of ten sessions is five hundred letters.
    let letters = bench.scale.letters.min(10_000);
    let name = format!("{} letters, a relay of {} ms an answer, {SESSIONS} sessions a node", counted(letters), ANSWER.as_millis());
    let mut finding = Finding::new("nodes", name);
    let mut rates: [Vec<f64>; 2] = Default::default();
    for round in 1..=bench.scale.rounds {
        for nodes in [1, 2] {
            let rate = once(bench, &postgres, letters, nodes).await.with_context(|| format!("{nodes} nodes"))?;
            eprintln!("nodes, round {round}/{}: {nodes}: {rate:.0}/s", bench.scale.rounds);
            rates[usize::from(nodes) - 1].push(rate);
        }
    }
    postgres.stop().await?;
    let [one, two] = rates;
    finding.add("one node: letters a second", one.iter().copied(), None);
    finding.add("two nodes: letters a second", two.iter().copied(), None);
    finding.add("two ÷ one", two.iter().zip(&one).map(|(two, one)| two / one), Some(Bound::AtLeast(AIM)));
    Ok(finding)
}

/// From the first letter of a filled outbox at the sink to the last.
async fn once(bench: &Bench, postgres: &Postgres, letters: u64, nodes: u16) -> Result<f64> {
    let url = postgres.create("nodes").await?;
    let sink = CountingSink::listen(Duties { names: true, answers_after: ANSWER, ..Duties::default() }).await?;
    let setup = || Setup::smtp(bench, sink.addr()).sessions(SESSIONS * nodes).on(&url);
    let first = House::new(bench, setup()).await?;
    first.pause().await?;
    let mut houses = vec![first];
    for _ in 1..nodes {
        let next = houses[0].beside(bench, setup()).await?;
        houses.push(next);
    }
    let mut servers: Vec<Server> = Vec::new();
    for house in &houses {
        servers.push(house.serve().await?);
    }
    load::post(servers[0].door(), 0..letters, Manner::BATCHES).await.context("filling the outbox")?;
    houses[0].resume().await?;
    let start = sink.wait_for(1, PATIENCE).await?;
    let end = sink.wait_for(letters, PATIENCE).await?;
    servers[0].empty(SETTLING).await?;
    for server in servers {
        server.stop().await?;
    }
    postgres.drop_database("nodes").await?;
    let names = sink.names();
    ensure!(names.distinct == letters && names.duplicates == 0, "{names:?} of {letters} letters");
    Ok(deliver::rate(letters, end - start))
}
