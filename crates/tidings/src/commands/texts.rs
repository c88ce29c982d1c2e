//! Texts made from the program itself: shell completions, man pages, the reference of the configuration.

use crate::{
    args::{Cli, ConfigText},
    output,
};
use anyhow::{Context, Result};
use clap::CommandFactory;
use std::{path::Path, process::ExitCode};

/// Prints the completion script for a shell.
pub fn completion(shell: clap_complete::Shell) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tidings", &mut script);
    output::bytes(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a man page for every command into a folder.
pub fn man(folder: &Path) -> Result<ExitCode> {
    std::fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    clap_mangen::generate_to(Cli::command(), folder).with_context(|| format!("writing man pages into {}", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a text about the configuration.
pub fn config(what: ConfigText) -> Result<ExitCode> {
    match what {
        ConfigText::Reference => output::text(&tidings_config::reference())?,
        ConfigText::Sample => output::text(tidings_config::sample())?,
    }
    Ok(ExitCode::SUCCESS)
}
