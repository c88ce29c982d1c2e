//! A change in slapd on its way to the reader: from the moment before it is told to `ldapmodify` to the letter's last byte at the sink.

use super::first_load::directory;
use crate::{
    bench::Bench,
    company::{Company, MAILBOX, scatter},
    counting_sink::{CountingSink, Duties},
    finding::Finding,
    server::{House, Setup},
    slapd::Slapd,
    stats::{counted, mebibytes, milliseconds},
};
use anyhow::{Context, Result, bail, ensure};
use std::time::{Duration, Instant};

/// Groups of the company, ten members each.
const GROUPS: u64 = 1_000;
/// How long the first load may take.
const LOADING: Duration = Duration::from_secs(15 * 60);
/// How long one letter may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest pause between a letter and the next change; the shortest is none.
const PAUSE_MS: u64 = 300;
/// 99 % of letters are there within so many milliseconds.
const AIM_MS: f64 = 1_000.0;

/// Adds people to groups, one at a time at random moments, each of whom is told.
///
/// # Errors
/// If a letter does not arrive.
pub(crate) async fn measure(bench: &Bench) -> Result<Finding> {
    let scale = &bench.scale;
    let people = scale.people.min(100_000);
    let company = Company { people, groups: GROUPS.min(people / 20).max(2), memberships: people / 2 };
    let name = format!("a change among {} people becomes a letter, {} changes", counted(people), counted(scale.changes));
    let mut finding = Finding::new("change", name);
    let mut sink = CountingSink::listen(Duties { watched: Some(MAILBOX), ..Duties::default() }).await?;
    let slapd = Slapd::start(&company, bench.work()).await?;
    let setup = Setup::smtp(bench, sink.addr()).with(directory(&slapd, "notify = { added_member = true }\n"));
    let house = House::new(bench, setup).await?;
    let server = house.serve().await?;
    let start = Instant::now();
    while !server.books().await?.loaded {
        ensure!(start.elapsed() < LOADING, "the directory is not loaded after {LOADING:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut editor = slapd.editor()?;
    let mut times_ms = Vec::new();
    for number in 0..scale.changes {
        let group = 1 + scatter(number) % (company.groups - 1);
        let Some(person) = outsider(&company, group, number) else { bail!("everybody is in group {group}") };
        let told = editor.add_member(group, person).await?;
        let wanted = format!("{MAILBOX}{person}@");
        let arrival = sink.arrival(PATIENCE).await.with_context(|| format!("change {number}"))?;
        ensure!(arrival.to.starts_with(&wanted), "a letter for {} came where one for {wanted}… was waited for", arrival.to);
        times_ms.push(milliseconds(arrival.at - told));
        tokio::time::sleep(Duration::from_millis(scatter(number ^ 0x00c0_ffee) % PAUSE_MS)).await;
    }
    let after = server.state()?;
    server.stop().await?;
    finding.add_latency("from the change to the letter", &times_ms, AIM_MS);
    finding.add("peak memory, MiB", [mebibytes(after.process.peak_bytes)], None);
    slapd.stop().await?;
    Ok(finding)
}

/// Somebody who is not in the group, another one for each number.
fn outsider(company: &Company, group: u64, number: u64) -> Option<u64> {
    let members: std::collections::HashSet<u64> = company.members(group).collect();
    let first = scatter(number ^ 0xbeef) % company.people;
    (0..company.people).map(|step| (first + step) % company.people).find(|person| !members.contains(person))
}
