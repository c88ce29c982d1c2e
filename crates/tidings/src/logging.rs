//! Logs: text on a terminal, JSON otherwise. Lines carry dotted fields, no secret and no full address.

use std::io::IsTerminal;
use tracing_subscriber::{EnvFilter, fmt};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// One readable line an event.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error; a second call changes nothing. A panic is logged like everything else, without its text on the screen twice.
pub fn start(format: LogFormat, level: &str) {
    // At its finer levels the driver of PostgreSQL writes the values of statements, addresses among them.
    let discreet = || "tokio_postgres=info".parse().expect("a target and a level");
    let filter = || EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info")).add_directive(discreet());
    let terminal = std::io::stderr().is_terminal();
    let as_json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let lines = fmt().with_env_filter(filter()).with_writer(std::io::stderr).with_target(false);
    let started = if as_json { lines.json().flatten_event(true).try_init() } else { lines.with_ansi(terminal).try_init() };
    if started.is_ok() {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(panic.place = %place, "a task panicked; this is a bug in tidings");
        }));
    }
}
