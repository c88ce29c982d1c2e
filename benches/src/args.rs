//! The command line, and how much is measured.

use clap::{Parser, ValueEnum};
use serde::Serialize;
use std::path::PathBuf;

/// Measures the built tidings program: accepting, delivering, latency, memory, beside Postfix and its tools.
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
    /// Waiting items at which memory and the cost of a letter are measured. 10,000, 100,000 and 1,000,000 if absent.
    #[arg(long, value_delimiter = ',', value_name = "N,N")]
    pub(crate) waiting: Vec<u64>,
    /// The most SMTP sessions the server may open to the sink.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) sessions: u16,
    /// People in the company whose directory is mirrored. 1,000,000 if absent.
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    pub(crate) people: Option<u64>,
    /// Groups in that company. 100,000 if absent.
    #[arg(long, value_parser = clap::value_parser!(u64).range(2..=1_000_000))]
    pub(crate) groups: Option<u64>,
    /// Memberships in that company, for the first load. 5,000,000 if absent.
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..=50_000_000))]
    pub(crate) memberships: Option<u64>,
    /// Events a round that are decided and cause no letter. 100,000 if absent.
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    pub(crate) events: Option<u64>,
    /// Members of the group that an event is about. 100,000 if absent.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1_100..=1_000_000))]
    pub(crate) members: Option<u64>,
    /// Changes in a directory that become letters. 300 if absent.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=5_000))]
    pub(crate) changes: Option<u64>,
    /// Items that have ended, in the database that is measured with many waiting and many ended ones. 300,000 if absent.
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..=100_000_000))]
    pub(crate) settled: Option<u64>,
    /// Minutes of load beside a reader that holds a snapshot. 60 if absent.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) minutes: Option<u64>,
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
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=1440))]
    pub(crate) limit_minutes: u64,
}

/// A part of the measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// Events accepted over HTTP while nothing is sent.
    Accept,
    /// From the event over HTTP to the sink, and draining a filled outbox.
    Deliver,
    /// The same with slow flushes.
    Flush,
    /// Letters of 100 KB.
    Large,
    /// One session to a distant relay.
    Distance,
    /// One session of small letters, each timed.
    Session,
    /// Urgent letters while many others wait.
    Urgent,
    /// The pickup directory, beside a bare loop.
    Pickup,
    /// Memory and the cost of a letter with short and long queues.
    Memory,
    /// Postfix as a durable relay.
    Postfix,
    /// smtp-source to smtp-sink with nothing durable between.
    Source,
    /// Events decided by rules that look into the mirror of a large directory. Only if named.
    Deciding,
    /// An event on a large group. Only if named.
    Crowd,
    /// The first load of a large directory from slapd. Only if named.
    FirstLoad,
    /// From a change in slapd to the letter. Only if named.
    Change,
    /// From the event to the sink on PostgreSQL, beside Postfix and its tools. Only if named.
    Postgres,
    /// One node and two on PostgreSQL, with a relay that takes its time. Only if named.
    Nodes,
    /// Claiming and settling on PostgreSQL beside many items that wait and many that have ended. Only if named.
    Backlog,
    /// Load on PostgreSQL while a reader holds a snapshot. Only if named.
    Vacuum,
}

impl Group {
    /// What is measured if nothing is named: everything but what takes a large directory.
    const USUAL: [Self; 11] = [
        Self::Accept,
        Self::Deliver,
        Self::Flush,
        Self::Large,
        Self::Distance,
        Self::Session,
        Self::Urgent,
        Self::Pickup,
        Self::Memory,
        Self::Postfix,
        Self::Source,
    ];

    /// Whether it runs the server.
    pub(crate) fn serves(self) -> bool {
        !matches!(self, Self::Postfix | Self::Source)
    }
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
    /// Letters of 100 KB a round.
    pub(crate) large_letters: u64,
    /// Letters a round to a distant relay by DATA; four times as many where CHUNKING is offered.
    pub(crate) distant_letters: u64,
    /// Letters a round into the pickup directory.
    pub(crate) pickup_letters: u64,
    /// Letters a round over the one session that is timed.
    pub(crate) timed_letters: u64,
    /// Urgent letters a round.
    pub(crate) urgent_letters: u64,
    /// Letters that wait while urgent ones are sent.
    pub(crate) backlog: u64,
    /// Queue lengths at which memory and the cost of a letter are measured, the shortest first.
    pub(crate) waiting: Vec<u64>,
    /// People in the mirrored company.
    pub(crate) people: u64,
    /// Its groups.
    pub(crate) groups: u64,
    /// Its memberships.
    pub(crate) memberships: u64,
    /// Events a round that cause no letter.
    pub(crate) events: u64,
    /// Members of the group that an event is about.
    pub(crate) members: u64,
    /// Changes in a directory that become letters.
    pub(crate) changes: u64,
    /// Items that have ended.
    pub(crate) settled: u64,
    /// Minutes of load beside a reader.
    pub(crate) minutes: u64,
    /// The most sessions from the server to the sink.
    pub(crate) sessions: u16,
    /// Whether this is a short run.
    pub(crate) quick: bool,
}

/// What is usual unless the command line says otherwise.
struct Usual {
    rounds: u32,
    letters: u64,
    postfix_letters: u64,
    large_letters: u64,
    distant_letters: u64,
    pickup_letters: u64,
    timed_letters: u64,
    urgent_letters: u64,
    backlog: u64,
    waiting: &'static [u64],
    people: u64,
    groups: u64,
    memberships: u64,
    events: u64,
    members: u64,
    changes: u64,
    settled: u64,
    minutes: u64,
}

impl Options {
    const FULL: Usual = Usual {
        rounds: 8,
        letters: 20_000,
        postfix_letters: 8_000,
        large_letters: 3_000,
        distant_letters: 150,
        pickup_letters: 8_000,
        timed_letters: 3_000,
        urgent_letters: 50,
        backlog: 100_000,
        waiting: &[10_000, 100_000, 1_000_000],
        people: 1_000_000,
        groups: 100_000,
        memberships: 5_000_000,
        events: 100_000,
        members: 100_000,
        changes: 300,
        settled: 300_000,
        minutes: 60,
    };
    const SHORT: Usual = Usual {
        rounds: 1,
        letters: 2_000,
        postfix_letters: 500,
        large_letters: 300,
        distant_letters: 50,
        pickup_letters: 1_000,
        timed_letters: 500,
        urgent_letters: 50,
        backlog: 10_000,
        waiting: &[1_000, 20_000],
        people: 10_000,
        groups: 1_000,
        memberships: 50_000,
        events: 5_000,
        members: 3_000,
        changes: 20,
        settled: 20_000,
        minutes: 1,
    };

    /// The scale asked for.
    pub(crate) fn scale(&self) -> Scale {
        let usual = if self.quick { Self::SHORT } else { Self::FULL };
        let letters = self.letters.unwrap_or(usual.letters);
        let mut waiting = if self.waiting.is_empty() { usual.waiting.to_vec() } else { self.waiting.clone() };
        waiting.sort_unstable();
        Scale {
            rounds: self.rounds.unwrap_or(usual.rounds),
            letters,
            postfix_letters: self.postfix_letters.unwrap_or(usual.postfix_letters),
            warm_up: (letters / 20).clamp(50, 500),
            large_letters: usual.large_letters,
            distant_letters: usual.distant_letters,
            pickup_letters: usual.pickup_letters,
            timed_letters: usual.timed_letters,
            urgent_letters: usual.urgent_letters,
            backlog: usual.backlog,
            waiting,
            people: self.people.unwrap_or(usual.people),
            groups: self.groups.unwrap_or(usual.groups),
            memberships: self.memberships.unwrap_or(usual.memberships),
            events: self.events.unwrap_or(usual.events),
            members: self.members.unwrap_or(usual.members),
            changes: self.changes.unwrap_or(usual.changes),
            settled: self.settled.unwrap_or(usual.settled),
            minutes: self.minutes.unwrap_or(usual.minutes),
            sessions: self.sessions,
            quick: self.quick,
        }
    }

    /// The groups asked for: the usual ones if none is named.
    pub(crate) fn groups(&self) -> Vec<Group> {
        if self.only.is_empty() { Group::USUAL.to_vec() } else { self.only.clone() }
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
        assert_eq!(options.groups().len(), 11);
        assert_eq!((scale.people, scale.changes), (10_000, 20));
    }

    #[test]
    fn large_directories_are_measured_only_if_they_are_named() {
        let groups = Options::parse_from(["tidings-benches", "--only", "deciding,first-load"]).groups();
        assert_eq!(groups, [Group::Deciding, Group::FirstLoad]);
        assert!(!Options::parse_from(["tidings-benches"]).groups().contains(&Group::Change));
    }
}
