//! `tidings node`: who serves the database.

use super::block_on;
use crate::{args::NodeCommand, assemble, output};
use anyhow::Result;
use std::{path::Path, process::ExitCode};
use tidings_core::Timestamp;
use tidings_store::NodeRow;

/// Runs the command.
pub fn run(command: NodeCommand) -> Result<ExitCode> {
    block_on(async {
        match command {
            NodeCommand::List { config, output } => list(&config.config, output.json).await,
        }
    })
}

async fn list(config: &Path, as_json: bool) -> Result<ExitCode> {
    let settings = assemble::settings(config)?;
    // Of one that was killed a file still tells; its lock does not.
    let rows = match assemble::store_if_there(&settings).await? {
        Some(store) if assemble::is_served(&settings)? => store.nodes().await?,
        _ => Vec::new(),
    };
    if as_json {
        output::json(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    let moment = |at: Timestamp| at.strftime("%Y-%m-%d %H:%M:%S").to_string();
    let mut table = output::table(&["NODE", "NUMBER", "VERSION", "SINCE", "SEEN", "DUTIES"]);
    for NodeRow { node, number, version, since, seen, duties, .. } in rows {
        table.add_row([node, number.to_string(), version, moment(since), moment(seen), duties.join(", ")]);
    }
    output::show(&table)?;
    Ok(ExitCode::SUCCESS)
}
