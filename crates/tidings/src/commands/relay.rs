//! `tidings relay`: the ways out.

use super::{block_on, operator};
use crate::{
    args::{RelayArgs, RelayCommand},
    assemble,
    clock::SystemClock,
    output,
};
use anyhow::Result;
use serde_json::json;
use std::{path::Path, process::ExitCode, sync::Arc};
use tidings_core::{Clock, outbox::State};

/// Runs the command.
pub fn run(command: RelayCommand) -> Result<ExitCode> {
    block_on(async {
        match command {
            RelayCommand::List { config, output } => list(&config.config, output.json).await,
            RelayCommand::Pause(args) => pause(args, true).await,
            RelayCommand::Resume(args) => pause(args, false).await,
            RelayCommand::Probe(args) => probe(args).await,
        }
    })
}

async fn list(config: &Path, as_json: bool) -> Result<ExitCode> {
    let settings = assemble::settings(config)?;
    let store = assemble::store(&settings).await?;
    let standings = store.relays().await?;
    let depths = store.depths().await?;
    let mut rows = Vec::new();
    for relay in &settings.relays {
        let standing = standings.iter().find(|s| s.name == relay.name);
        let waiting: u64 = depths.iter().filter(|d| d.relay == relay.name && d.state == State::Waiting).map(|d| d.items).sum();
        let condition = match standing {
            Some(s) if s.paused_at.is_some() => "paused".to_owned(),
            Some(s) => s.condition.clone().unwrap_or_else(|| "unknown".to_owned()),
            None => "unknown".to_owned(),
        };
        rows.push(json!({
            "name": relay.name,
            "kind": relay.courier.kind(),
            "condition": condition,
            "waiting": waiting,
            "reason": standing.and_then(|s| s.reason.clone()),
            "next_probe_at": standing.and_then(|s| s.next_probe_at),
            "paused_at": standing.and_then(|s| s.paused_at),
            "paused_by": standing.and_then(|s| s.paused_by.clone()),
            "reported_at": standing.and_then(|s| s.reported_at),
        }));
    }
    if as_json {
        output::json(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output::table(&["NAME", "KIND", "CONDITION", "WAITING", "WHY"]);
    for row in &rows {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        table.add_row([text("name"), text("kind"), text("condition"), row["waiting"].to_string(), text("reason")]);
    }
    output::show(&table)?;
    Ok(ExitCode::SUCCESS)
}

async fn pause(args: RelayArgs, paused: bool) -> Result<ExitCode> {
    let settings = assemble::settings(&args.config.config)?;
    let plans: Vec<_> = settings.relays.iter().map(assemble::plan).collect();
    assemble::find_relay(&plans, &args.name)?;
    let store = assemble::store(&settings).await?;
    store.pause_relay(&args.name, paused, &operator()).await?;
    output::text(&format!("{} {}", args.name, if paused { "is paused" } else { "goes on" }))?;
    Ok(ExitCode::SUCCESS)
}

async fn probe(args: RelayArgs) -> Result<ExitCode> {
    let settings = assemble::settings_for_sending(&args.config.config)?;
    let plans: Vec<_> = settings.relays.iter().map(assemble::plan).collect();
    let plan = assemble::find_relay(&plans, &args.name)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    match tidings_delivery::probe(plan, &clock).await {
        Ok(dialogue) => {
            output::text(&format!("{dialogue}\n{} works", args.name))?;
            Ok(ExitCode::SUCCESS)
        }
        Err((trouble, dialogue)) => {
            output::text(&dialogue.to_string())?;
            eprintln!("tidings: {} does not work: {}", args.name, trouble.sentence());
            Ok(ExitCode::FAILURE)
        }
    }
}
