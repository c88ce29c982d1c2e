//! `tidings rules`: the rules in force.

use super::rules_replay;
use crate::{args::RulesCommand, assemble, output};
use anyhow::Result;
use serde_json::{Value, json};
use std::{path::Path, process::ExitCode};
use tidings_core::policy::{Audience, Directories, Rule};

/// Runs the command.
pub fn run(command: RulesCommand) -> Result<ExitCode> {
    match command {
        RulesCommand::List { config, output } => list(&config.config, output.json),
        RulesCommand::Replay(args) => rules_replay::run(&args),
    }
}

fn list(config: &Path, as_json: bool) -> Result<ExitCode> {
    let settings = assemble::settings(config)?;
    let rows: Vec<Value> = settings.rules.all().iter().map(|rule| row(rule, settings.rules.is_silenced(rule))).collect();
    if as_json {
        output::json(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output::table(&["NAME", "FROM", "ON", "DIRECTORY", "WHEN", "TO", "CC", "FALLBACK", "RELAY"]);
    for rule in settings.rules.all() {
        let all = |list: &[Audience]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let name = match (rule.enabled, settings.rules.is_silenced(rule)) {
            (false, _) => format!("{} (off)", rule.name),
            (true, true) => format!("{} (letters.off)", rule.name),
            (true, false) => rule.name.clone(),
        };
        table.add_row([
            name,
            rule.origin.as_str().to_owned(),
            rule.on.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            directories(&rule.directories),
            rule.when.as_ref().map(|when| when.source().to_owned()).unwrap_or_default(),
            all(&rule.to),
            all(&rule.cc),
            all(&rule.fallback),
            rule.relay.clone().unwrap_or_default(),
        ]);
    }
    output::show(&table)?;
    Ok(ExitCode::SUCCESS)
}

fn directories(of: &Directories) -> String {
    match of {
        Directories::All => String::new(),
        Directories::Only(name) => name.clone(),
        Directories::AllBut(names) => format!("all but {}", names.join(", ")),
    }
}

fn row(rule: &Rule, silenced: bool) -> Value {
    let all = |list: &[Audience]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (only, but) = match &rule.directories {
        Directories::All => (None, &[][..]),
        Directories::Only(name) => (Some(name), &[][..]),
        Directories::AllBut(names) => (None, names.as_slice()),
    };
    json!({
        "name": rule.name,
        "origin": rule.origin.as_str(),
        "on": rule.on.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "directory": only,
        "not_directories": but,
        "when": rule.when.as_ref().map(tidings_core::policy::Condition::source),
        "to": all(&rule.to),
        "cc": all(&rule.cc),
        "fallback": all(&rule.fallback),
        "kind": rule.kind.map(|kind| kind.name),
        "relay": rule.relay,
        "lane": rule.lane.map(|lane| lane.to_string()),
        "enabled": rule.enabled,
        "letters_off": silenced,
    })
}
