//! The database and its tokens.

use crate::args::{ConfigArg, JsonArg};
use clap::{Args, Subcommand};

/// Work with the bearer tokens of the HTTP API.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it; it is shown only this once.
    Create {
        /// What it may do, separated by commas: events:write, scim:write, bounces:write, outbox:read, outbox:write, admin.
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

/// Work with the database.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Copy everything to a new database, of the same kind or the other one, and compare both; not while `tidings serve` works on either. A copy that was broken off is finished by the same
    /// command. The source is left as it is.
    Copy(StoreCopyArgs),
}

/// See [`StoreCommand::Copy`].
#[derive(Debug, Args)]
pub struct StoreCopyArgs {
    /// The database that is copied: `sqlite:` and a file, relative to the data folder, or `postgres://`. The password of the configuration's own database is taken from there.
    #[arg(long, value_name = "URL")]
    pub from: String,
    /// The database that is filled. On a server it has to be there, and empty.
    #[arg(long, value_name = "URL")]
    pub to: String,
    /// The configuration: the data folder and the key for sensitive letters, which stays the same.
    #[command(flatten)]
    pub config: ConfigArg,
    /// The output.
    #[command(flatten)]
    pub output: JsonArg,
}
