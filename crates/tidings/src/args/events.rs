//! Events, and what would come of them.

use crate::args::{ConfigArg, JsonArg};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use tidings_core::Locale;

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

/// See [`Command::Explain`](crate::args::Command::Explain).
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

/// See [`Command::Preview`](crate::args::Command::Preview).
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
