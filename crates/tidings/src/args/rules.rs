//! Rules.

use crate::args::{ConfigArg, JsonArg};
use clap::{Args, Subcommand};
use std::{path::PathBuf, str::FromStr};
use tidings_core::{Timestamp, policy::TypePattern};

/// Look at the rules.
#[derive(Debug, Subcommand)]
pub enum RulesCommand {
    /// List the rules in force, in order: the built-in ones, those that the directories' switches stand for, and the configured ones.
    List {
        /// The configuration.
        #[command(flatten)]
        config: ConfigArg,
        /// The output.
        #[command(flatten)]
        output: JsonArg,
    },
    /// Run rules over the events that were accepted, and show person by person which letters come to it and which fall away; write and send nothing.
    Replay(RulesReplayArgs),
}

/// See [`RulesCommand::Replay`].
#[derive(Debug, Args)]
pub struct RulesReplayArgs {
    /// From when on events are taken, by the moment of their acceptance: a while ago (`7d`, `36h`) or a moment (`2026-11-21T09:00:00Z`).
    #[arg(long, value_name = "TIME", default_value = "7d")]
    pub since: Since,
    /// Up to when; now if absent.
    #[arg(long, value_name = "TIME")]
    pub until: Option<Since>,
    /// A file with `[[rule]]` tables, and `[[query]]` tables if they need any, that stand in place of the configuration's rules: what these would do is held against
    /// what the rules in force would do, both decided on today's facts. Without it, what the rules in force would do is held against what was recorded when the
    /// events came.
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// Only events of this kind; `*` stands for any text. May be given several times.
    #[arg(long, value_name = "KIND")]
    pub kind: Vec<TypePattern>,
    /// Show every difference; otherwise the first five of each person.
    #[arg(long)]
    pub all: bool,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// The output.
    #[command(flatten)]
    pub output: JsonArg,
}

/// A moment, or how long ago it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// So long ago.
    Ago(std::time::Duration),
    /// Then.
    At(Timestamp),
}

impl Since {
    /// The moment, seen from `now`.
    pub fn moment(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(ago) => now.saturating_sub(ago).unwrap_or(Timestamp::MIN),
            Self::At(moment) => moment,
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(moment) = text.parse() {
            return Ok(Self::At(moment));
        }
        let wrong = |_| format!("`{text}` is neither a while such as `7d` or `36h` nor a moment such as `2026-11-21T09:00:00Z` (RFC 3339)");
        tidings_config::units::duration(text).map(Self::Ago).map_err(wrong)
    }
}
