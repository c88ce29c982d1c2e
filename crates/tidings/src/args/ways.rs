//! Ways out and the way back: relays, nodes, reports, addresses.

use crate::args::{ConfigArg, JsonArg};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use tidings_core::{Address, Id};

/// See [`Command::Bounce`](crate::args::Command::Bounce).
#[derive(Debug, Args)]
pub struct BounceArgs {
    /// The mail as it came (RFC 5322); `-` is standard input.
    #[arg(default_value = "-", value_name = "FILE|-")]
    pub file: PathBuf,
    /// The address that it was delivered to, if the mail itself does not say so; by it letters with return paths of their own are matched.
    #[arg(long, value_name = "ADDR")]
    pub recipient: Option<String>,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// The output.
    #[command(flatten)]
    pub output: JsonArg,
}

/// Look at and clear addresses that letters come back from.
#[derive(Debug, Subcommand)]
pub enum AddressCommand {
    /// List the addresses that are unhealthy.
    List {
        /// The configuration.
        #[command(flatten)]
        config: ConfigArg,
        /// The output.
        #[command(flatten)]
        output: JsonArg,
    },
    /// Make an address healthy again: letters are sent to it as before.
    Clear(AddressClearArgs),
    /// List the reports that were taken, the newest first.
    Reports(AddressReportsArgs),
}

/// See [`AddressCommand::Clear`].
#[derive(Debug, Args)]
pub struct AddressClearArgs {
    /// The address.
    pub address: Address,
    /// Let the letters go as well that are held for it.
    #[arg(long)]
    pub release: bool,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
}

/// See [`AddressCommand::Reports`].
#[derive(Debug, Args)]
pub struct AddressReportsArgs {
    /// Only those that are about no item that is known.
    #[arg(long)]
    pub unmatched: bool,
    /// Only those about this item.
    #[arg(long, value_name = "ID")]
    pub item: Option<Id>,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
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

/// Look at who serves the database.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List the running servers of this database, and what each of them does alone.
    List {
        /// The configuration.
        #[command(flatten)]
        config: ConfigArg,
        /// The output.
        #[command(flatten)]
        output: JsonArg,
    },
}
