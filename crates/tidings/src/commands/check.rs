//! `tidings check`: all problems of configuration, rules and letters at once; touches nothing.

use crate::{
    args::CheckArgs,
    assemble::{self, environment},
    directories, output,
};
use anyhow::Result;
use std::process::ExitCode;
use tidings_config::LoadOptions;

/// Runs the command. Status 2 if there is a problem.
pub fn run(args: &CheckArgs) -> Result<ExitCode> {
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let mut counted = None;
    match tidings_config::load_with(&args.config.config, &environment, LoadOptions { check_folders: true }) {
        Err(found) => problems.extend(assemble::all_problems(&args.config.config, &found)),
        Ok(loaded) => {
            warnings.extend(loaded.warnings.iter().map(ToString::to_string));
            problems.extend(directories::faults(&loaded.settings));
            match assemble::stationery(&loaded.settings) {
                Ok(stationery) => {
                    counted = Some((loaded.settings.relays.len(), loaded.settings.rules.all().len(), stationery.locales().len()));
                }
                Err(error) => problems.extend(error.to_string().lines().map(str::to_owned)),
            }
        }
    }
    if args.output.json {
        output::json(&serde_json::json!({"problems": problems, "warnings": warnings}))?;
    } else {
        for problem in &problems {
            eprintln!("{problem}");
        }
        for warning in &warnings {
            eprintln!("{warning} (warning)");
        }
        if let Some((relays, rules, locales)) = counted {
            output::text(&format!("{}: relays: {relays}, rules: {rules}, languages: {locales}; no problem", args.config.config.display()))?;
        }
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}
