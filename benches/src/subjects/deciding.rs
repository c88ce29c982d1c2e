//! Deciding: events that name people and groups by reference go through fifty rules whose conditions need what the mirror knows of them, and cause no letter. Batches
//! over HTTP, each answered when it is on disk.

use crate::{
    bench::Bench,
    child,
    company::Company,
    events::Story,
    finding::{Bound, Finding},
    load::{self, Manner},
    server::{House, Setup},
    stats::{counted, mebibytes, real},
};
use anyhow::{Context, Result, ensure};
use std::{fmt::Write as _, fs, time::Duration};

/// Rules whose conditions are computed for every event.
const RULES: u64 = 50;
/// How long filling the mirror may take.
const FILLING: Duration = Duration::from_secs(30 * 60);
/// Events before the clock starts.
const WARM_UP: u64 = 2_000;
/// Events decided a second.
const AIM: f64 = 20_000.0;

/// Fills a mirror and measures.
///
/// # Errors
/// If the mirror cannot be filled, an event is not accepted, or one causes a letter.
pub(crate) async fn measure(bench: &Bench) -> Result<Finding> {
    let scale = &bench.scale;
    let company = Company { people: scale.people, groups: scale.groups, memberships: 0 };
    let objects = counted(company.objects());
    let mut finding = Finding::new("deciding", format!("deciding through {RULES} rules, mirror of {objects} objects"));
    let house = House::new(bench, Setup::smtp(bench, child::free_address()?).with(configuration())).await?;
    let loading = fill(&house, &company).await?;
    finding.add("mirror filled from a file, objects a second", [real(company.objects()) / loading.as_secs_f64()], None);
    let server = house.serve().await?;
    let manner = Manner::BATCHES.telling(Story::Referring { people: company.people, groups: company.groups });
    load::post(server.door(), 0..WARM_UP, manner).await.context("warming up")?;
    let stored = house.data_bytes();
    let (mut next, mut rates, mut cpu, mut flushes, mut written) = (WARM_UP, Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 1..=scale.rounds {
        let before = server.state()?;
        let taken = load::post(server.door(), next..next + scale.events, manner).await?;
        let reading = server.state()?.since(&before, scale.events);
        next += scale.events;
        rates.push(real(scale.events) / taken.as_secs_f64());
        eprintln!("deciding, round {round}/{}: {:.0}/s", scale.rounds, rates[rates.len() - 1]);
        cpu.extend(reading.cpu_us);
        flushes.extend(reading.flushes);
        written.extend(reading.written_bytes);
    }
    let queued = server.books().await?.queued;
    ensure!(queued < 0.5, "{queued} letters were written, and none was to be");
    let peak = server.state()?.process.peak_bytes;
    server.stop().await?;
    let kept = real(house.data_bytes().saturating_sub(stored)) / real(next - WARM_UP);
    finding.add("events a second", rates, Some(Bound::AtLeast(AIM)));
    finding.add("CPU of the server, µs an event", cpu, None);
    finding.add("stored bytes an event", [kept], None);
    finding.add("written bytes an event", written, None);
    finding.add("flushes an event", flushes, None);
    finding.add("peak memory, MiB", [mebibytes(peak)], None);
    Ok(finding)
}

/// Has the program read the company from a file.
async fn fill(house: &House, company: &Company) -> Result<Duration> {
    let file = house.folder().join("company.csv");
    company.write_rows(&file, false)?;
    let start = std::time::Instant::now();
    house.command_within(&["directory", "load", "corp", "company.csv", "--mode", "full"], FILLING).await.context("filling the mirror")?;
    fs::remove_file(file).context("removing the file of the company")?;
    Ok(start.elapsed())
}

/// The directory, and rules of five sorts, each of which asks the mirror for something else. Nobody fits any of them.
fn configuration() -> String {
    let mut text = "
[[directory]]
name = \"corp\"
source = \"csv\"
columns = { department = \"department\", title = \"title\" }

[[rule]]
name = \"built-in:membership.joined\"
on = [\"membership.joined\"]
to = [\"member\"]
enabled = false
"
    .to_owned();
    for number in 0..RULES {
        let when = match number % 5 {
            0 => format!("object.owners.exists(o, o.mail == \"nobody{number}@example.org\")"),
            1 => format!("member.enabled && member.department == \"No department {number}\""),
            2 => format!("has(member.manager) && member.manager.mail == \"nobody{number}@example.org\""),
            3 => format!("actor.title == \"Apprentice {number}\" || object.name == \"No team {number}\""),
            _ => format!("object.name.startsWith(\"Crew {number}\") && member.locale == \"fr\""),
        };
        write!(text, "\n[[rule]]\nname = \"rule-{number}\"\non = [\"membership.*\"]\nwhen = '{when}'\nto = [\"owners\", \"manager\"]\n")
            .expect("a String takes everything");
    }
    text
}
