//! `tidings store`: the database as a whole.

use super::block_on;
use crate::{
    args::{StoreCommand, StoreCopyArgs},
    assemble,
    exit::Misuse,
    output,
};
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use std::{
    io::IsTerminal,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tidings_config::Settings;
use tidings_store::{Copied, CopyOptions, CopyStage, CopyStep, database_path};

/// Runs the command.
pub fn run(command: StoreCommand) -> Result<ExitCode> {
    let StoreCommand::Copy(args) = command;
    let settings = assemble::settings(&args.config.config)?;
    for (name, url) in [("--from", &args.from), ("--to", &args.to)] {
        database_path(url, &settings.server.data_dir).map_err(|error| Misuse(format!("{name}: {}", crate::exit::chain(&error.into()))))?;
    }
    let options = CopyOptions {
        from: with_password(&args.from, &settings),
        to: with_password(&args.to, &settings),
        data_dir: settings.server.data_dir.clone(),
        key: assemble::key(&settings, true)?,
        page_rows: None,
    };
    block_on(copy(args, options))
}

/// The configuration's own database is named without its password, as there.
fn with_password(url: &str, settings: &Settings) -> String {
    if url == settings.database.url { settings.database.url_with_password().reveal().to_owned() } else { url.to_owned() }
}

async fn copy(args: StoreCopyArgs, options: CopyOptions) -> Result<ExitCode> {
    let watch = Arc::new(Watch::begin());
    let watcher = Arc::clone(&watch);
    let copied = tidings_store::copy(options, Arc::new(move |step| watcher.look(step))).await;
    watch.bar.finish_and_clear();
    let copied = copied.context("copying the database")?;
    let (copying, verifying) = watch.times();
    if args.output.json {
        let mut told = serde_json::to_value(&copied)?;
        told["seconds"] = json!({ "copying": copying.as_secs_f64(), "verifying": verifying.as_secs_f64() });
        output::json(&told)?;
    } else {
        show(&copied, copying, verifying)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(copied: &Copied, copying: Duration, verifying: Duration) -> Result<()> {
    let mut table = output::table(&["TABLE", "ROWS", "SHA-256"]);
    for one in copied.tables.iter().filter(|one| one.rows > 0) {
        table.add_row([one.name, &one.rows.to_string(), &one.sha256[..16]]);
    }
    output::show(&table)?;
    let more = if copied.resumed { " (an earlier copy was finished)" } else { "" };
    output::text(&format!(
        "{} rows copied{more} in {:.1} s; read back from both databases and found the same in {:.1} s",
        copied.rows,
        copying.as_secs_f64(),
        verifying.as_secs_f64()
    ))?;
    if copied.unreadable > 0 {
        output::text(&format!(
            "{} of {} sealed letters and secrets do not open with the key, in the source as little as in the copy",
            copied.unreadable,
            copied.sealed + copied.unreadable
        ))?;
    }
    Ok(())
}

/// The bar, and when the comparison began.
struct Watch {
    bar: ProgressBar,
    begun: Instant,
    compared: Mutex<Option<Instant>>,
}

impl Watch {
    fn begin() -> Self {
        let bar = ProgressBar::new(0);
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let template = "{prefix:9} {bar:40} {human_pos}/{human_len} rows  {msg}  {per_sec}  {eta} left";
        bar.set_style(ProgressStyle::with_template(template).expect("a valid template"));
        Self { bar, begun: Instant::now(), compared: Mutex::new(None) }
    }

    fn look(&self, step: CopyStep) {
        if step.stage == CopyStage::Verifying {
            let mut compared = self.compared.lock().unwrap_or_else(PoisonError::into_inner);
            if compared.is_none() {
                *compared = Some(Instant::now());
                self.bar.reset();
            }
        }
        self.bar.set_prefix(if step.stage == CopyStage::Copying { "copying" } else { "comparing" });
        self.bar.set_length(step.total);
        self.bar.set_position(step.done);
        self.bar.set_message(step.table);
    }

    /// How long copying and comparing took.
    fn times(&self) -> (Duration, Duration) {
        let compared = self.compared.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(self.begun);
        (compared.duration_since(self.begun), compared.elapsed())
    }
}
