//! `cargo run --release -p tidings-faults`: builds the server, breaks it in every way of `docs/faults.md`, prints what was counted, and ends with 1 if a
//! promise was broken.

#![allow(clippy::disallowed_methods, reason = "a suite that breaks things stands outside the house")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::Parser;
use tidings_faults::{SCENARIOS, Scale, Scenario, play, program_under_test, report};

/// Breaks the built server in every way we know and counts what becomes of its letters.
#[derive(Debug, Parser)]
#[command(name = "tidings-faults", version, max_term_width = 120)]
struct Options {
    /// Play only scenarios whose name contains this; may be given several times.
    #[arg(long, value_delimiter = ',', value_name = "WORD")]
    only: Vec<String>,
    /// The short form of each scenario, as in the tests.
    #[arg(long)]
    short: bool,
    /// Play the scenarios over and over until so many seconds have gone by; the round under way is finished.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Write the results to this file as JSON, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Break this program instead of building one.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Only name the scenarios and what each proves.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Gives whether every promise was kept.
fn run(options: &Options) -> Result<bool, String> {
    let wanted = |scenario: &&Scenario| options.only.is_empty() || options.only.iter().any(|word| scenario.name.contains(word.as_str()));
    let scenarios: Vec<Scenario> = SCENARIOS.iter().filter(wanted).copied().collect();
    if scenarios.is_empty() {
        return Err(format!(
            "no scenario is named so; there are: {}",
            SCENARIOS.iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ")
        ));
    }
    if options.list {
        for scenario in &scenarios {
            println!("{:24} {}", scenario.name, scenario.proves);
        }
        return Ok(true);
    }
    program_under_test(match &options.binary {
        Some(path) => path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?,
        None => build()?,
    });
    let scale = if options.short { Scale::Short } else { Scale::Full };
    let until = Instant::now() + Duration::from_secs(options.seconds.unwrap_or(0));
    let mut outcomes = Vec::new();
    loop {
        for scenario in &scenarios {
            eprintln!("== {}: {}", scenario.name, scenario.proves);
            let outcome = play(*scenario, scale);
            eprintln!("   {}", if outcome.is_well() { "holds".to_owned() } else { format!("BROKEN: {}", outcome.wrong.join("; ")) });
            outcomes.push(outcome);
        }
        if Instant::now() >= until {
            break;
        }
    }
    println!("{}", report::table(&outcomes));
    for outcome in outcomes.iter().filter(|outcome| !outcome.is_well()) {
        println!("{}: {}", outcome.scenario.name, outcome.wrong.join("; "));
    }
    if let Some(file) = &options.json {
        fs::write(file, format!("{:#}\n", report::json(&outcomes))).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(outcomes.iter().all(tidings_faults::Outcome::is_well))
}

/// Builds the server as this program was built, so that nobody breaks yesterday's.
fn build() -> Result<PathBuf, String> {
    let own = env::current_exe().map_err(|error| format!("asking for the path of this program: {error}"))?;
    let folder = own.parent().ok_or("this program lies in no folder")?;
    let target = folder.parent().ok_or("this program does not lie in the output of a build; give --binary")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "-p", "tidings", "--target-dir"]).arg(target).current_dir(root);
    if folder.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().map_err(|error| format!("running cargo build: {error}"))?;
    if status.success() { Ok(folder.join("tidings")) } else { Err(format!("the server does not build: {status}")) }
}
