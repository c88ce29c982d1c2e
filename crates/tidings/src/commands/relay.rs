//! `tidings relay`: the ways out.

use super::{block_on, operator};
use crate::{
    args::{RelayArgs, RelayCommand},
    assemble,
    clock::SystemClock,
    exit::Misuse,
    output,
};
use anyhow::Result;
use serde_json::json;
use std::{path::Path, process::ExitCode, sync::Arc};
use tidings_core::{Clock, outbox::State};
use tidings_delivery::{
    plan::Way,
    smtp::classify::{Rule, standard},
};

/// Runs the command.
pub fn run(command: RelayCommand) -> Result<ExitCode> {
    block_on(async {
        match command {
            RelayCommand::List { config, output } => list(&config.config, output.json).await,
            RelayCommand::Pause(args) => pause(args, true).await,
            RelayCommand::Resume(args) => pause(args, false).await,
            RelayCommand::Probe(args) => probe(args).await,
            RelayCommand::Replies { relay, output } => replies(&relay, output.json),
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

/// Shows the whole table of replies of a relay in the order in which it is looked through.
fn replies(args: &RelayArgs, as_json: bool) -> Result<ExitCode> {
    let settings = assemble::settings(&args.config.config)?;
    let plans: Vec<_> = settings.relays.iter().map(assemble::plan).collect();
    let Way::Smtp(smtp) = &assemble::find_relay(&plans, &args.name)?.way else {
        return Err(Misuse(format!("{} does not speak SMTP, so nothing is refused with a code", args.name)).into());
    };
    let written = settings.relays.iter().find(|relay| relay.name == args.name).map_or(0, |relay| relay.replies.len());
    let own = smtp.replies.iter().enumerate().map(|(index, rule)| (if index < written { "configuration" } else { "preset" }, rule));
    let rows: Vec<_> = own.chain(standard().iter().map(|rule| ("standard", rule))).map(|(from, rule)| reply_row(from, rule)).collect();
    if as_json {
        output::json(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output::table(&["FROM", "STAGE", "CODE", "ENHANCED", "TEXT", "MEANS", "HINT"]);
    for row in &rows {
        table.add_row(
            ["from", "stage", "code", "enhanced", "text", "means", "hint"].map(|key| row[key].as_str().unwrap_or_default().to_owned()),
        );
    }
    output::show(&table)?;
    Ok(ExitCode::SUCCESS)
}

fn reply_row(from: &str, rule: &Rule) -> serde_json::Value {
    let range = |first: u16, last: u16| if first == last { first.to_string() } else { format!("{first}-{last}") };
    let stages: Vec<&str> = rule.stages.iter().map(|stage| stage.as_str()).collect();
    let enhanced = rule.enhanced.map(|codes| match codes.details {
        (0, 999) => format!("{}.{}.*", codes.of.0, codes.of.1),
        (first, last) => format!("{}.{}.{}", codes.of.0, codes.of.1, range(first, last)),
    });
    json!({
        "from": from,
        "stage": if stages.is_empty() { "any".to_owned() } else { stages.join(", ") },
        "code": range(rule.codes.0, rule.codes.1),
        "enhanced": enhanced,
        "text": rule.words,
        "means": rule.class.as_str(),
        "hint": rule.hint,
    })
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
