//! What runs or tries the house as a whole.

use crate::args::{ConfigArg, JsonArg};
use clap::Args;
use std::path::PathBuf;
use tidings_core::{Address, Locale};

/// See [`Command::Agent`](crate::args::Command::Agent).
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// The settings file of Netwrix's agent, with our own section `Tidings`; its name ends in .json.
    #[arg(
        long,
        visible_alias = "config",
        short = 'c',
        value_name = "FILE",
        env = "TIDINGS_APPSETTINGS",
        default_value = "appsettings.json"
    )]
    pub appsettings: PathBuf,
    /// Only make another key that signs links, and end. It comes into force with the next start; the keys before it still verify what they have signed.
    #[arg(long)]
    pub add_key: bool,
}

/// See [`Command::Reload`](crate::args::Command::Reload).
#[derive(Debug, Args)]
pub struct ReloadArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// The output.
    #[command(flatten)]
    pub output: JsonArg,
}

/// See [`Command::Demo`](crate::args::Command::Demo).
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Wait for nobody: run the script, print what happened as a table, and succeed only if every letter arrived.
    #[arg(long)]
    pub once: bool,
    /// Keep the demo's configuration and database in this folder, which is empty, new, or an earlier demo's; otherwise they go with the demo.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// The address of the demo's page.
    #[arg(long, default_value = "127.0.0.1:8026", value_name = "ADDRESS")]
    pub listen: String,
}

/// See [`Command::Check`](crate::args::Command::Check).
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// The output.
    #[command(flatten)]
    pub output: JsonArg,
}

/// See [`Command::SendTest`](crate::args::Command::SendTest).
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
