//! The fault suite: what goes wrong between an outbox and a mail relay, played against the real `tidings serve`, and counted by Message-ID.
//!
//! A [`Scenario`] starts a server of its own, brings about one class of failure with real parts where they can misbehave so (Postfix, its `smtp-sink`, a small
//! disk, SIGKILL) and with our own sink and proxy where they cannot, mends it, and holds a [`Tally`] against the promises: nothing lost, what comes twice was in
//! doubt and is marked, a relay's trouble spends no letter's attempts, draining begins within one probe interval. `docs/faults.md` lists them.
//!
//! The same scenarios run in two sizes: [`Scale::Short`] as tests of the binary, [`Scale::Full`] by `cargo run --release -p tidings-faults`.

#![allow(clippy::disallowed_methods, reason = "a suite that breaks things stands outside the house: it reads clocks and environment")]

mod crew;
mod dice;
#[path = "../../tidings/tests/house/mod.rs"]
mod house;
mod ledger;
mod look;
pub mod report;
pub mod run;
mod scenarios;
mod street;

pub use ledger::{Recovery, Tally};
pub use run::{Outcome, demand, play, program_under_test};
pub use scenarios::SCENARIOS;

/// How much a scenario does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Seconds: small numbers, every seventh byte.
    Short,
    /// As much as makes sense: every byte.
    Full,
}

impl Scale {
    /// One of two numbers.
    pub(crate) fn of<T>(self, short: T, full: T) -> T {
        match self {
            Self::Short => short,
            Self::Full => full,
        }
    }
}

/// A class of failure, played from beginning to end.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name: words joined by underscores, so that it can be a test's name too.
    pub name: &'static str,
    /// What it proves, in one sentence.
    pub proves: &'static str,
    /// Plays it. What is not as it must be, and cannot be counted, is a panic that says what.
    pub(crate) play: fn(Scale) -> Tally,
}
