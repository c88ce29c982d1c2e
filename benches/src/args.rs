//! The command line, and how much is measured.

use clap::{Parser, ValueEnum};
use serde::Serialize;
use std::path::PathBuf;

/// Measures the built tidings program: accepting, delivering, memory, beside Postfix and its tools.
#[derive(Debug, Parser)]
#[command(name = "tidings-benches", version, max_term_width = 120)]
pub(crate) struct Options {
    /// Rounds; each runs every subject once. 8 if absent.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: Option<u32>,
    /// Letters a subject and round. 20,000 if absent.
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    pub(crate) letters: Option<u64>,
    /// Letters a round through Postfix, which is slower. 8,000 if absent.
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    pub(crate) postfix_letters: Option<u64>,
    /// Waiting items at which memory is measured. 10,000 and 1,000,000 if absent.
    #[arg(long, value_delimiter = ',', value_name = "N,N")]
    pub(crate) waiting: Vec<u64>,
    /// The most SMTP sessions the server may open to the sink.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) sessions: u16,
    /// One short round, to see that everything works; its figures are not for quoting.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Measure only this; may be given several times.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<Group>,
    /// Write the results to this file as JSON, too.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Measure this program instead of building one.
    #[arg(long, value_name = "PATH")]
    pub(crate) binary: Option<PathBuf>,
    /// A folder on the disk under test for databases and queues; beside the build's output if absent.
    #[arg(long, value_name = "DIR")]
    pub(crate) work: Option<PathBuf>,
    /// The run ends after so many minutes, done or not.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1440))]
    pub(crate) limit_minutes: u64,
}

/// A part of the measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// Events accepted over HTTP while nothing is sent.
    Accept,
    /// From the event over HTTP to the sink, and draining a filled outbox.
    Deliver,
    /// Memory with a short and a long queue.
    Memory,
    /// Postfix as a durable relay.
    Postfix,
    /// smtp-source to smtp-sink with nothing durable between.
    Source,
}

/// How much is measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Scale {
    /// Rounds.
    pub(crate) rounds: u32,
    /// Letters a subject and round.
    pub(crate) letters: u64,
    /// Letters a round through Postfix.
    pub(crate) postfix_letters: u64,
    /// Letters before the clock starts, through every durable subject.
    pub(crate) warm_up: u64,
    /// Queue lengths at which memory is measured, the shortest first.
    pub(crate) waiting: Vec<u64>,
    /// The most sessions from the server to the sink.
    pub(crate) sessions: u16,
    /// Whether this is a short run.
    pub(crate) quick: bool,
}

impl Options {
    /// The scale asked for.
    pub(crate) fn scale(&self) -> Scale {
        let (rounds, letters, postfix, waiting) =
            if self.quick { (1, 2_000, 500, [1_000, 20_000]) } else { (8, 20_000, 8_000, [10_000, 1_000_000]) };
        let mut waiting = if self.waiting.is_empty() { waiting.to_vec() } else { self.waiting.clone() };
        waiting.sort_unstable();
        let letters = self.letters.unwrap_or(letters);
        Scale {
            rounds: self.rounds.unwrap_or(rounds),
            letters,
            postfix_letters: self.postfix_letters.unwrap_or(postfix),
            warm_up: (letters / 20).clamp(50, 500),
            waiting,
            sessions: self.sessions,
            quick: self.quick,
        }
    }

    /// The groups asked for: all if none is named.
    pub(crate) fn groups(&self) -> Vec<Group> {
        if self.only.is_empty() { Group::value_variants().to_vec() } else { self.only.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_given_wins_over_the_short_run() {
        let options = Options::parse_from(["tidings-benches", "--quick", "--letters", "300", "--waiting", "500,100"]);
        let scale = options.scale();
        assert_eq!((scale.rounds, scale.letters, scale.waiting), (1, 300, vec![100, 500]));
        assert_eq!(options.groups().len(), 5);
    }
}
