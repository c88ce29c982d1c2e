//! Measures the built `tidings` program: events accepted, letters delivered, also large ones, far away, on a slow disk and into a folder; how long single letters
//! take; CPU, disk and flushes a letter; memory with a long queue. Beside it Postfix as a durable relay and its tools `smtp-source` and `smtp-sink`. One command:
//! `cargo run --release -p tidings-benches`. What the figures mean stands in `docs/performance.md`.
//!
//! Subjects run in turn within a round, and ratios are taken within a round, because the speed of one core drifts. Everything stays on loopback, every wait has
//! a deadline, and only processes started here are ended. No room of the house is imported: the program is measured from outside, as its users meet it.

#![allow(clippy::disallowed_methods, reason = "a measuring program stands outside the house")]

mod args;
mod bench;
mod child;
mod company;
mod counting_sink;
mod delay;
mod events;
mod finding;
mod flush;
mod folder_watch;
mod http;
mod letter;
mod load;
mod machine;
mod postfix;
mod postgres;
mod proc;
mod program;
mod report;
mod rounds;
mod server;
mod slapd;
mod smtp_tools;
mod stats;
mod subjects;

use anyhow::{Context, Result, bail};
use args::{Group, Options};
use bench::Bench;
use clap::Parser;
use finding::Finding;
use report::Report;
use std::{fs, process::ExitCode, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = runtime.context("starting the runtime").and_then(|runtime| runtime.block_on(bounded(options)));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The whole run, until it is done, its time is up or somebody interrupts it. Leaving this function ends every process the run has started.
async fn bounded(options: Options) -> Result<bool> {
    let limit = Duration::from_secs(options.limit_minutes * 60);
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    tokio::select! {
        done = run(options) => done,
        () = tokio::time::sleep(limit) => bail!("not done after {} minutes; everything started is ended", limit.as_secs() / 60),
        _ = tokio::signal::ctrl_c() => bail!("interrupted; everything started is ended"),
        _ = terminate.recv() => bail!("terminated; everything started is ended"),
    }
}

/// Measures and reports. `false` if something failed on the way or letters were lost; figures below an aim are no failure.
async fn run(options: Options) -> Result<bool> {
    let json = options.json.clone();
    let bench = Bench::prepare(options).await?;
    let machine = machine::describe(bench.work());
    let before = machine::calibrate();
    let verification = if bench.measures(Group::Deliver) || bench.measures(Group::Flush) {
        Some(subjects::deliver::verify(&bench).await.context("the run that counts letters by Message-ID")?)
    } else {
        None
    };
    let mut rounds = rounds::run(&bench).await;
    let mut memory = Vec::new();
    if bench.measures(Group::Memory) {
        for &waiting in &bench.scale.waiting {
            match subjects::memory::measure(&bench, waiting, memory.last()).await {
                Ok(reading) => memory.push(reading),
                Err(error) => rounds.failures.push(format!("memory with {waiting} waiting: {error:#}")),
            }
        }
    }
    let findings = findings(&bench, &mut rounds.failures).await;
    let calibration = [before, machine::calibrate()];
    let report = Report { machine, calibration, scale: bench.scale.clone(), verification, rounds, memory, findings };
    println!("{report}");
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&report.to_json()).context("writing the results as JSON")?;
        fs::write(&path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(report.is_sound())
}

/// What is measured with large directories and on PostgreSQL, as far as it was asked for.
async fn findings(bench: &Bench, failures: &mut Vec<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let groups =
        [Group::Deciding, Group::Crowd, Group::FirstLoad, Group::Change, Group::Postgres, Group::Nodes, Group::Backlog, Group::Vacuum];
    for group in groups {
        if !bench.measures(group) {
            continue;
        }
        let found = match group {
            Group::Deciding => subjects::deciding::measure(bench).await,
            Group::Crowd => subjects::crowd::measure(bench).await,
            Group::FirstLoad => subjects::first_load::measure(bench).await,
            Group::Postgres => subjects::on_postgres::measure(bench).await,
            Group::Nodes => subjects::nodes::measure(bench).await,
            Group::Backlog => subjects::backlog::measure(bench).await,
            Group::Vacuum => subjects::vacuum::measure(bench).await,
            _ => subjects::change::measure(bench).await,
        };
        match found {
            Ok(finding) => findings.push(finding),
            Err(error) => failures.push(format!("{group:?}: {error:#}")),
        }
    }
    findings
}
