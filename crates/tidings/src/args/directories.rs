//! Identity stores.

use crate::args::{ConfigArg, JsonArg};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

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
