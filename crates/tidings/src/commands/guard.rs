//! `tidings guard`: the batches that the flood guard holds.

use super::{block_on, operator};
use crate::{
    args::{BatchArgs, GuardCommand},
    assemble::{self, House},
    exit::Misuse,
    output,
};
use anyhow::{Result, bail};
use std::{path::Path, process::ExitCode};
use tidings_core::Id;
use tidings_intake::GuardError;
use tidings_store::{BatchRow, BatchState};

/// Batches that are listed; the newest ones.
const LISTED: u16 = 1000;

/// Runs the command.
pub fn run(command: GuardCommand) -> Result<ExitCode> {
    block_on(async {
        match command {
            GuardCommand::List { config, all, output } => list(&config.config, all, output.json).await,
            GuardCommand::Show { id, config, output } => show(&config.config, id, output.json).await,
            GuardCommand::Release(args) => end(args, BatchState::Released).await,
            GuardCommand::Digest(args) => end(args, BatchState::Digested).await,
            GuardCommand::Cancel(args) => end(args, BatchState::Cancelled).await,
        }
    })
}

async fn list(config: &Path, all: bool, json: bool) -> Result<ExitCode> {
    let store = assemble::store(&assemble::settings(config)?).await?;
    let rows = store.batches((!all).then_some(BatchState::Held), false, LISTED).await?;
    if json {
        output::json(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output::table(&["BATCH", "STATE", "LETTERS", "RULE", "WHY", "SINCE"]);
    for row in &rows {
        let since = output::moment(row.opened_at);
        table.add_row([row.id.to_string(), row.state.as_str().to_owned(), row.people.to_string(), row.rule.clone(), why(row), since]);
    }
    output::show(&table)?;
    Ok(ExitCode::SUCCESS)
}

fn why(row: &BatchRow) -> String {
    match row.flood.as_str() {
        "event" => format!("one event tells more than {}", row.most),
        _ => format!("the rule tells more than {} an hour", row.most),
    }
}

async fn show(config: &Path, id: Id, json: bool) -> Result<ExitCode> {
    let store = assemble::store(&assemble::settings(config)?).await?;
    let Some(row) = store.batch(id).await? else { bail!("there is no batch {id}") };
    if json {
        output::json(&row)?;
        return Ok(ExitCode::SUCCESS);
    }
    let ended =
        row.ended_at.map(|at| format!(" by {} at {}", row.ended_by.as_deref().unwrap_or("?"), output::moment(at))).unwrap_or_default();
    output::text(&format!(
        "batch {id}\n  {}{ended}\n  {} letters\n  rule {}: {}\n  opened by event {} at {}",
        row.state.as_str(),
        row.people,
        row.rule,
        why(&row),
        row.event,
        output::moment(row.opened_at)
    ))?;
    Ok(ExitCode::SUCCESS)
}

async fn end(args: BatchArgs, state: BatchState) -> Result<ExitCode> {
    let settings = assemble::settings(&args.config.config)?;
    // What the house does as well: a digest is written by the same letters and the same rules.
    let house = House::build(settings).await?;
    let ended = match house.intake.end_batch(args.id, state, &operator()).await {
        Ok(ended) => ended,
        Err(error @ GuardError::Unknown(_)) => return Err(Misuse(error.to_string()).into()),
        Err(error) => return Err(error.into()),
    };
    let said = match state {
        BatchState::Digested => format!("{} letters cancelled, {} digests written in place of them", ended.letters, ended.digests),
        BatchState::Released => format!("{} letters released", ended.letters),
        _ => format!("{} letters cancelled", ended.letters),
    };
    output::text(&said)?;
    Ok(ExitCode::SUCCESS)
}
