//! Letters on their way: the outbox, and what the flood guard holds.

use crate::args::{ConfigArg, JsonArg};
use clap::{Args, Subcommand};
use tidings_core::{Id, outbox::State};

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
