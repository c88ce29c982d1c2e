//! Plays scenarios and says how each ended.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::{SCENARIOS, Scale, Scenario, Tally, house};

/// How a scenario ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Which.
    pub scenario: Scenario,
    /// What was counted; nothing if it broke off.
    pub tally: Option<Tally>,
    /// What is wrong, in words; empty if all promises were kept.
    pub wrong: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// Whether every promise was kept.
    pub fn is_well(&self) -> bool {
        self.wrong.is_empty()
    }
}

/// Says where the `tidings` program is that is to be broken. The first word counts.
pub fn program_under_test(path: impl Into<PathBuf>) {
    // It is set already when several tests run in one process, and then to the same.
    let _ = house::BINARY.set(path.into());
}

/// Plays a scenario; a panic in it is its failure and nobody else's.
pub fn play(scenario: Scenario, scale: Scale) -> Outcome {
    let start = Instant::now();
    let played = panic::catch_unwind(AssertUnwindSafe(|| (scenario.play)(scale)));
    let took = start.elapsed();
    match played {
        Ok(tally) => Outcome { scenario, wrong: tally.broken_promises(), tally: Some(tally), took },
        Err(panic) => Outcome { scenario, tally: None, wrong: vec![words(panic.as_ref())], took },
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it broke off without a word").to_owned()
}

/// Plays the short form of the scenario of this name, for a test.
///
/// # Panics
/// If there is none, or a promise was broken.
pub fn demand(name: &str) {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).unwrap_or_else(|| panic!("there is no scenario {name}"));
    let tally = (scenario.play)(Scale::Short);
    eprintln!("{name}: {tally:?}");
    let broken = tally.broken_promises();
    assert!(broken.is_empty(), "{name}: {}", broken.join("; "));
}
