//! `tidings reload`: has the server on this machine take its configuration anew.

use crate::{args::ReloadArgs, assemble, output};
use anyhow::{Context, Result, bail};
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};
use tidings_store::ServeNote;

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often we look.
const LOOK: Duration = Duration::from_millis(50);

/// Runs the command. Status 2 if the configuration is refused; the server goes on by the one before then.
pub fn run(args: &ReloadArgs) -> Result<ExitCode> {
    // All problems are told here, before the server is asked: it might run under another user, and its log be elsewhere.
    let settings = assemble::settings_for_sending(&args.config.config)?;
    drop(assemble::stationery(&settings)?);
    let database = tidings_store::database_path(&settings.database.url, &settings.server.data_dir)?;
    let Some(before) = tidings_store::serve_note(&database)? else {
        bail!("no tidings serve is working on {}", database.display());
    };
    let pid = rustix::process::Pid::from_raw(before.pid).context("the lock file names no process")?;
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).with_context(|| format!("telling process {}", before.pid))?;
    let note = answer(&database, &before)?;
    if args.output.json {
        output::json(&serde_json::json!({"in_force": note.in_force, "said": note.said}))?;
    } else if note.in_force {
        let said = note.said.iter().fold(String::new(), |said, line| said + line + "\n");
        output::text(&format!("{said}the configuration is in force"))?;
    } else {
        for line in &note.said {
            eprintln!("{line}");
        }
        eprintln!("the server refuses the configuration and goes on by the one before");
    }
    Ok(if note.in_force { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// Waits for the server's word.
fn answer(database: &std::path::Path, before: &ServeNote) -> Result<ServeNote> {
    let until = Instant::now() + PATIENCE;
    loop {
        // A note that is being written at this moment cannot be read: the next look will find it.
        if let Ok(note) = tidings_store::serve_note(database) {
            match note {
                Some(note) if note.pid == before.pid && note.reloads > before.reloads => return Ok(note),
                Some(note) if note.pid == before.pid => {}
                _ => bail!("the server has ended meanwhile"),
            }
        }
        if Instant::now() >= until {
            bail!("the server has not answered within {} s; its log says why", PATIENCE.as_secs());
        }
        std::thread::sleep(LOOK);
    }
}
