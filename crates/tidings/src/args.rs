//! The command line. Every command's help is the reference; completions and man pages are made from it.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::{path::PathBuf, str::FromStr};
use tidings_core::{Address, Id, Locale, Timestamp, outbox::State, policy::TypePattern};

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
    /// Look at and act on the ways out.
    #[command(subcommand)]
    Relay(RelayCommand),
    /// Look at the identity stores as they are mirrored, and load files.
    #[command(subcommand)]
    Directory(DirectoryCommand),
    /// Look at the rules.
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Work with the bearer tokens of the HTTP API.
    #[command(subcommand)]
    Token(TokenCommand),
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
    /// The configuration file.
    #[arg(short = 'c', long = "config", value_name = "FILE", env = "TIDINGS_CONFIG", default_value = "tidings.toml")]
    pub config: PathBuf,
}

/// See [`Command::Reload`].
#[derive(Debug, Args)]
pub struct ReloadArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// The output.
    #[command(flatten)]
    pub output: JsonArg,
}

/// Output for people or for programs.
#[derive(Debug, Args)]
pub struct JsonArg {
    /// Print JSON: an array where a command lists, an object where it shows.
    #[arg(long)]
    pub json: bool,
}

/// See [`Command::Demo`].
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Wait for nobody: run the script, print what happened as a table, and succeed only if every letter arrived.
    #[arg(long)]
    pub once: bool,
    /// Keep the demo's configuration and database in this folder; otherwise they go with the demo.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// The address of the demo's page.
    #[arg(long, default_value = "127.0.0.1:8026", value_name = "ADDRESS")]
    pub listen: String,
}

/// See [`Command::Check`].
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// The output.
    #[command(flatten)]
    pub output: JsonArg,
}

/// See [`Command::SendTest`].
#[derive(Debug, Args)]
pub struct SendTestArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// Who gets the letter.
    #[arg(long, value_name = "ADDR")]
    pub to: Address,
    /// The relay to send by; the first one if absent.
    #[arg(long, value_name = "NAME")]
    pub relay: Option<String>,
    /// The language of the letter; the organisation's if absent.
    #[arg(long, value_name = "TAG")]
    pub locale: Option<Locale>,
    /// The output.
    #[command(flatten)]
    pub output: JsonArg,
}

/// Work with events.
#[derive(Debug, Subcommand)]
pub enum EventCommand {
    /// Post CloudEvents to a server: one JSON object, a JSON array, or one object a line.
    Post(EventPostArgs),
}

/// See [`EventCommand::Post`].
#[derive(Debug, Args)]
pub struct EventPostArgs {
    /// A file, or - for standard input.
    pub file: PathBuf,
    /// The server's address, such as `http://127.0.0.1:8025`.
    #[arg(long, value_name = "URL", env = "TIDINGS_SERVER")]
    pub server: String,
    /// A token with the scope events:write.
    #[arg(long, value_name = "T", env = "TIDINGS_TOKEN", hide_env_values = true)]
    pub token: String,
    /// How many events go with one request.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub batch: u16,
    /// The output.
    #[command(flatten)]
    pub output: JsonArg,
}

/// See [`Command::Explain`].
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A file with CloudEvents (one object, an array, or one a line), or - for standard input.
    pub file: PathBuf,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// The output.
    #[command(flatten)]
    pub output: JsonArg,
}

/// See [`Command::Preview`].
#[derive(Debug, Args)]
pub struct PreviewArgs {
    /// The kind of letter, such as `membership.joined`.
    pub kind: String,
    /// The reader's language.
    #[arg(long, value_name = "TAG", default_value = "en")]
    pub locale: Locale,
    /// Which part.
    #[arg(long, value_enum, default_value_t = PreviewFormat::Text)]
    pub format: PreviewFormat,
    /// Fill in only what every event of this kind must have.
    #[arg(long)]
    pub minimal: bool,
    /// The configuration, for the organisation's name, colour and own letters; built-in letters without it.
    #[arg(short = 'c', long = "config", value_name = "FILE", env = "TIDINGS_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Which part of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PreviewFormat {
    /// Subject and text.
    Text,
    /// The HTML page.
    Html,
    /// The whole message (RFC 5322).
    Eml,
}

/// Which items.
#[derive(Debug, Args)]
pub struct FilterArgs {
    /// In this state: held, waiting, claimed, sent, bounced, failed, expired, cancelled.
    #[arg(long)]
    pub state: Option<State>,
    /// Of this kind.
    #[arg(long)]
    pub kind: Option<String>,
    /// To this address.
    #[arg(long, value_name = "ADDR")]
    pub to: Option<String>,
    /// By this relay.
    #[arg(long, value_name = "NAME")]
    pub relay: Option<String>,
    /// Caused by this event.
    #[arg(long, value_name = "ID")]
    pub event: Option<Id>,
}

/// Look at and act on the letters on their way.
#[derive(Debug, Subcommand)]
pub enum OutboxCommand {
    /// List items, newest first.
    List {
        /// The configuration.
        #[command(flatten)]
        config: ConfigArg,
        /// Which items.
        #[command(flatten)]
        filter: FilterArgs,
        /// At most this many.
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Go on behind this item.
        #[arg(long, value_name = "ID")]
        before: Option<Id>,
        /// The output.
        #[command(flatten)]
        output: JsonArg,
    },
    /// Show one item with its history.
    Show {
        /// The item.
        id: Id,
        /// The configuration.
        #[command(flatten)]
        config: ConfigArg,
        /// Print the letter's bytes instead; never for letters with secrets.
        #[arg(long, conflicts_with = "json")]
        eml: bool,
        /// The output.
        #[command(flatten)]
        output: JsonArg,
    },
    /// Make items due at once; failed, cancelled and held ones are taken up again.
    Retry(ActArgs),
    /// Never send items that wait or are held.
    Cancel(ActArgs),
    /// Set waiting items aside.
    Hold(ActArgs),
    /// Let held items go.
    Release(ActArgs),
}

/// Which items to act on.
#[derive(Debug, Args)]
pub struct ActArgs {
    /// The items by name; or use filters.
    pub ids: Vec<Id>,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// Which items.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Every item, without any filter.
    #[arg(long)]
    pub all: bool,
    /// The output.
    #[command(flatten)]
    pub output: JsonArg,
}

/// Look at and act on the ways out.
#[derive(Debug, Subcommand)]
pub enum RelayCommand {
    /// List the relays, what waits for them and whether they are held, and why.
    List {
        /// The configuration.
        #[command(flatten)]
        config: ConfigArg,
        /// The output.
        #[command(flatten)]
        output: JsonArg,
    },
    /// Send nothing by a relay until it is resumed.
    Pause(RelayArgs),
    /// Go on with a paused relay.
    Resume(RelayArgs),
    /// Connect, sign in and take leave; show the dialogue. Sends nothing.
    Probe(RelayArgs),
    /// Show what the refusals of a relay mean, row by row; the first that fits holds.
    Replies {
        /// The relay.
        #[command(flatten)]
        relay: RelayArgs,
        /// The output.
        #[command(flatten)]
        output: JsonArg,
    },
}

/// Which relay.
#[derive(Debug, Args)]
pub struct RelayArgs {
    /// The relay's name.
    pub name: String,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
}

/// Look at and decide on what the flood guard holds.
#[derive(Debug, Subcommand)]
pub enum GuardCommand {
    /// List batches that are held, newest first.
    List {
        /// The configuration.
        #[command(flatten)]
        config: ConfigArg,
        /// Also those that were decided on.
        #[arg(long)]
        all: bool,
        /// The output.
        #[command(flatten)]
        output: JsonArg,
    },
    /// Show a batch: what was too much, and where it stands. Its letters are listed by `tidings outbox list --state held`.
    Show {
        /// The batch.
        #[arg(value_name = "BATCH")]
        id: Id,
        /// The configuration.
        #[command(flatten)]
        config: ConfigArg,
        /// The output.
        #[command(flatten)]
        output: JsonArg,
    },
    /// Let a batch's letters go.
    Release(BatchArgs),
    /// Send each person of a batch one letter that lists what would have been said, and cancel the batch's own letters.
    Digest(BatchArgs),
    /// Cancel a batch's letters.
    Cancel(BatchArgs),
}

/// Which batch.
#[derive(Debug, Args)]
pub struct BatchArgs {
    /// The batch.
    #[arg(value_name = "BATCH")]
    pub id: Id,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
}

/// Look at the identity stores as they are mirrored, and load files.
#[derive(Debug, Subcommand)]
pub enum DirectoryCommand {
    /// List the directories: how many objects are mirrored, when the source was last heard of, and whether it fails and why.
    List {
        /// The configuration.
        #[command(flatten)]
        config: ConfigArg,
        /// The output.
        #[command(flatten)]
        output: JsonArg,
    },
    /// Show one directory and the rules that apply to it, or one of its objects with its links.
    Show {
        /// The directory.
        name: String,
        /// The key of an object, or the name by which others link to it.
        object: Option<String>,
        /// The configuration.
        #[command(flatten)]
        config: ConfigArg,
        /// The output.
        #[command(flatten)]
        output: JsonArg,
    },
    /// Ask a server for what has changed, or compare everything, and end; not while `tidings serve` watches it. For a directory of the source scim with a silent first load, say
    /// that this load is over.
    Sync(DirectorySyncArgs),
    /// Take a file into a directory of the source csv, and report every row that cannot be read.
    Load(DirectoryLoadArgs),
}

/// See [`DirectoryCommand::Sync`].
#[derive(Debug, Args)]
pub struct DirectorySyncArgs {
    /// The directory, of the source ldap or scim.
    pub name: String,
    /// Read and compare everything, instead of what has changed since the last time.
    #[arg(long)]
    pub whole: bool,
    /// Tell nobody of what is found different.
    #[arg(long)]
    pub silent: bool,
    /// Only connect and look: which server answers, in which way it tells of changes, and some entries as they would be mirrored. Records nothing.
    #[arg(long, conflicts_with_all = ["whole", "silent"])]
    pub visit: bool,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// The output.
    #[command(flatten)]
    pub output: JsonArg,
}

/// See [`DirectoryCommand::Load`].
#[derive(Debug, Args)]
pub struct DirectoryLoadArgs {
    /// The directory.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// What the file says; as its name says if absent, else everything.
    #[arg(long, value_enum)]
    pub mode: Option<FileMode>,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// The output.
    #[command(flatten)]
    pub output: JsonArg,
}

/// What a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FileMode {
    /// Everything there is: whoever does not stand in it is gone.
    Full,
    /// Changes only, in a column `change`.
    Delta,
}

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

/// Work with the bearer tokens of the HTTP API.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it; it is shown only this once.
    Create {
        /// What it may do, separated by commas: events:write, scim:write, outbox:read, outbox:write, admin.
        #[arg(long, value_name = "SCOPES")]
        scope: tidings_web::ScopeSet,
        /// What it is for.
        #[arg(long, default_value = "")]
        name: String,
        /// How many days it works; for ever if absent.
        #[arg(long, value_name = "DAYS")]
        days: Option<u32>,
        /// The configuration.
        #[command(flatten)]
        config: ConfigArg,
        /// The output.
        #[command(flatten)]
        output: JsonArg,
    },
}
