//! An event on a large group: how soon it is accepted, and how fast its letters are written afterwards, beside as many letters that are accepted in batches.

use crate::{
    bench::Bench,
    child,
    company::Company,
    events::Story,
    finding::{Bound, Finding},
    load::{self, Lone, Manner},
    server::{House, Server, Setup},
    stats::{counted, mebibytes, milliseconds, real},
};
use anyhow::{Context, Result, bail};
use std::time::{Duration, Instant};

/// How long filling the mirror, and telling a crowd, may take.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// Events and letters before the clock starts.
const WARM_UP: u64 = 1_000;
/// Within so many milliseconds the event is accepted.
const AIM_MS: f64 = 50.0;
/// So fast letters of a crowd are written, measured by letters accepted in batches in the same round.
const AIM_SPEED: f64 = 1.0;

/// Fills a mirror with one large group and measures.
///
/// # Errors
/// If an event is not accepted, or not everybody gets a letter.
pub(crate) async fn measure(bench: &Bench) -> Result<Finding> {
    let scale = &bench.scale;
    // A tenth of the company is in the first group, which is the only one.
    let company = Company { people: scale.members * 10, groups: 1, memberships: scale.members };
    let members = company.members(0).count() as u64;
    let mut finding = Finding::new("crowd", format!("an event on a group of {} members", counted(members)));
    let house = House::new(bench, Setup::smtp(bench, child::free_address()?).with(CONFIGURATION.to_owned())).await?;
    let file = house.folder().join("company.csv");
    company.write_rows(&file, true)?;
    house.command_within(&["directory", "load", "corp", "company.csv", "--mode", "full"], PATIENCE).await.context("filling the mirror")?;
    house.pause().await?;
    let server = house.serve().await?;
    let batches = Manner::BATCHES.telling(Story::Changed);
    load::post(server.door(), 0..WARM_UP, batches).await.context("warming up")?;
    let (mut next, mut letters) = (WARM_UP, real(WARM_UP));
    let (mut accepted_ms, mut rates, mut ratios, mut cpu, mut beside) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut client = Lone::connect(server.door()).await?;
    for round in 1..=scale.rounds {
        let before = server.state()?;
        let taken = load::post(server.door(), next..next + members, batches).await?;
        beside.extend(server.state()?.since(&before, members).cpu_us);
        let rate = real(members) / taken.as_secs_f64();
        (next, letters) = (next + members, letters + real(members));
        let before = server.state()?;
        let start = client.post(Story::ChangedGroup, next).await?;
        accepted_ms.push(milliseconds(start.elapsed()));
        next += 1;
        letters += real(members);
        let told = told(&server, letters).await?;
        let fanned = real(members) / (told - start).as_secs_f64();
        eprintln!(
            "crowd, round {round}/{}: accepted in {:.1} ms, {fanned:.0}/s ({rate:.0}/s in batches)",
            scale.rounds,
            accepted_ms[accepted_ms.len() - 1]
        );
        cpu.extend(server.state()?.since(&before, members).cpu_us);
        rates.push(fanned);
        ratios.push(fanned / rate);
    }
    let peak = server.state()?.process.peak_bytes;
    server.stop().await?;
    finding.add("accepted within, ms", accepted_ms.iter().copied(), None);
    let longest = accepted_ms.iter().copied().fold(0.0, f64::max);
    finding.add("accepted within, longest, ms", [longest], Some(Bound::AtMost(AIM_MS)));
    finding.add("letters of the crowd a second, from the request to the last", rates, None);
    finding.add("÷ as many letters accepted in batches", ratios, Some(Bound::AtLeast(AIM_SPEED)));
    finding.add("CPU of the server, µs a letter of the crowd", cpu, None);
    finding.add("CPU of the server, µs a letter in batches", beside, None);
    finding.add("peak memory, MiB", [mebibytes(peak)], None);
    Ok(finding)
}

/// Waits until so many letters are in the outbox and returns the moment.
async fn told(server: &Server, letters: f64) -> Result<Instant> {
    let start = Instant::now();
    loop {
        let queued = server.books().await?.queued;
        if queued >= letters {
            return Ok(Instant::now());
        }
        if start.elapsed() > PATIENCE {
            bail!("{queued} of {letters} letters are written after {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Without the flood guard, which would hold such a crowd.
const CONFIGURATION: &str = "
[safety]
guard = { per_event = 0, per_rule_hour = 0 }

[[directory]]
name = \"corp\"
source = \"csv\"

[[rule]]
name = \"changed\"
on = [\"object.changed\"]
to = [\"object\"]
";
