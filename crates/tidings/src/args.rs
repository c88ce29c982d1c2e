//! The command line. Every command's help is the reference; completions and man pages are made from it.

mod directories;
mod events;
mod keeping;
mod letters;
mod rules;
mod running;
mod ways;

pub use directories::{DirectoryCommand, DirectoryLoadArgs, DirectorySyncArgs, FileMode};
pub use events::{EventCommand, EventPostArgs, ExplainArgs, PreviewArgs, PreviewFormat};
pub use keeping::{StoreCommand, StoreCopyArgs, TokenCommand};
pub use letters::{ActArgs, BatchArgs, FilterArgs, GuardCommand, OutboxCommand};
pub use rules::{RulesCommand, RulesReplayArgs};
pub use running::{AgentArgs, CheckArgs, DemoArgs, ReloadArgs, SendTestArgs};
pub use ways::{AddressClearArgs, AddressCommand, AddressReportsArgs, BounceArgs, NodeCommand, RelayArgs, RelayCommand};

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Tells people what happened to their identities, and never loses a mail.
#[derive(Debug, Parser)]
#[command(name = "tidings", version, about, long_about = None, propagate_version = true, max_term_width = 120)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the whole job on a made-up company: own mail sink, directory, events, an outage, and the letters as their readers see them.
    Demo(DemoArgs),
    /// Run the server: event API, deciding, delivering.
    Serve(ConfigArg),
    /// Run the small house beside a target system that sends the letters about passwords, set up by the appsettings.json of Netwrix's agent.
    Agent(AgentArgs),
    /// Have the running server take its configuration anew: rules, letters, relays, directories; nothing on the wire is cut off.
    Reload(ReloadArgs),
    /// Find every problem of the configuration, the rules and the letters, and touch nothing.
    Check(CheckArgs),
    /// Send a real letter by the production path and show what the relay says.
    SendTest(SendTestArgs),
    /// Work with events.
    #[command(subcommand)]
    Event(EventCommand),
    /// Say who would be told what by an event and why; write and send nothing.
    Explain(ExplainArgs),
    /// Show a letter as a reader would get it, from sample data.
    Preview(PreviewArgs),
    /// Look at and act on the letters on their way.
    #[command(subcommand)]
    Outbox(OutboxCommand),
    /// Look at and decide on what the flood guard holds.
    #[command(subcommand)]
    Guard(GuardCommand),
    /// Take a report about a letter that came back, from a file or a mail server's pipe.
    ///
    /// Exit status 0: taken, taken before, or knowingly ignored. 1: it could not be kept and has to be brought again; a mail server's pipe does so if it is told by
    /// status 75: `tidings bounce || exit 75`.
    Bounce(BounceArgs),
    /// Look at and clear addresses that letters come back from.
    #[command(subcommand)]
    Address(AddressCommand),
    /// Look at and act on the ways out.
    #[command(subcommand)]
    Relay(RelayCommand),
    /// Look at who serves the database.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Look at the identity stores as they are mirrored, and load files.
    #[command(subcommand)]
    Directory(DirectoryCommand),
    /// Look at the rules.
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Work with the bearer tokens of the HTTP API.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Work with the database.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Print the completion script for a shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write man pages into a folder.
    Man {
        /// The folder; made if missing.
        folder: PathBuf,
    },
    /// Print the reference of the configuration file, or a commented sample.
    Config {
        /// Which of the two.
        #[arg(value_enum)]
        what: ConfigText,
    },
}

/// Which text about the configuration.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ConfigText {
    /// Every section and key in Markdown.
    Reference,
    /// A commented configuration to start from.
    Sample,
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub struct ConfigArg {
    /// The configuration file; a name that ends in .json is the appsettings file of an agent.
    #[arg(
        short = 'c',
        long = "config",
        visible_alias = "appsettings",
        value_name = "FILE",
        env = "TIDINGS_CONFIG",
        default_value = "tidings.toml"
    )]
    pub config: PathBuf,
}

/// Output for people or for programs.
#[derive(Debug, Args)]
pub struct JsonArg {
    /// Print JSON: an array where a command lists, an object where it shows.
    #[arg(long)]
    pub json: bool,
}
