//! Urgent letters, one at a time, while many reminders are being drained at full speed: from before the first byte of the event's request to the sink having the
//! letter's last byte. Accepting, its commit, claiming and the session are all in it.

use super::{PATIENCE, deliver};
use crate::{
    bench::Bench,
    counting_sink::{CountingSink, Duties},
    events::{Story, URGENT},
    load::{Lone, Manner},
    rounds::Reading,
    server::Setup,
    stats::{counted, milliseconds},
};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

/// Between the arrival of an urgent letter and the next one.
const PAUSE: Duration = Duration::from_millis(10);

/// Reminders beyond the backlog, at least: they are drained meanwhile, so that the whole backlog waits behind the last urgent letter, too.
const RESERVE: u64 = 15_000;

/// Fills the outbox with reminders, lets them go, and posts urgent events meanwhile, until there are enough or only the backlog is left. The rate is that of the
/// reminders.
///
/// # Errors
/// If an urgent letter does not arrive.
pub(crate) async fn measure(bench: &Bench) -> Result<Reading> {
    let (backlog, urgent) = (bench.scale.backlog, bench.scale.urgent_letters);
    let reminders = backlog + RESERVE.max(backlog / 2);
    let mut sink = CountingSink::listen(Duties { watched: Some(URGENT), ..Duties::default() }).await?;
    let manner = Manner::BATCHES.telling(Story::Ending);
    let (house, server) = deliver::filled(bench, Setup::smtp(bench, sink.addr()), 0..reminders, manner).await?;
    let mut client = Lone::connect(server.door()).await?;
    let before = server.state()?;
    house.resume().await?;
    sink.wait_for(1, PATIENCE).await?;
    let (start, early) = (Instant::now(), sink.letters());
    let mut latencies_ms = Vec::new();
    for number in reminders..reminders + urgent {
        if sink.letters() > reminders - backlog {
            break;
        }
        let posted = client.post(Story::Link, number).await?;
        let arrival = sink.arrival(PATIENCE).await?;
        let wanted = format!("{URGENT}{number}@");
        ensure!(arrival.to.starts_with(&wanted), "a letter for {} came where one for {wanted}… was waited for", arrival.to);
        latencies_ms.push(milliseconds(arrival.at - posted));
        tokio::time::sleep(PAUSE).await;
    }
    let (taken, arrived) = (start.elapsed(), sink.letters());
    let after = server.state()?;
    let (left, sent) = ((reminders + urgent).saturating_sub(arrived), latencies_ms.len());
    eprintln!("urgent: {sent} urgent letters sent, {} reminders still wait", counted(left));
    ensure!(sent > 0, "the reminders were sent before the first urgent event could be posted");
    server.stop().await?;
    Ok(Reading { rate: deliver::rate(arrived - early, taken), latencies_ms, ..after.since(&before, arrived) })
}
