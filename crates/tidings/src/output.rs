//! Output for people (tables) and for programs (JSON).

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// Prints a value as JSON, indented on a terminal.
pub fn json(value: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if out.is_terminal() {
        serde_json::to_writer_pretty(&mut out, value)?;
    } else {
        serde_json::to_writer(&mut out, value)?;
    }
    writeln!(out)?;
    Ok(())
}

/// Prints a text as it is.
pub fn text(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Prints bytes as they are.
pub fn bytes(bytes: &[u8]) -> Result<()> {
    std::io::stdout().lock().write_all(bytes)?;
    Ok(())
}

/// A table without frames, as wide as the terminal; as wide as it needs to be if nobody watches.
pub fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head.to_vec());
    table.set_content_arrangement(if table.is_tty() { ContentArrangement::Dynamic } else { ContentArrangement::Disabled });
    table
}

/// Prints a table.
pub fn show(table: &Table) -> Result<()> {
    text(&table.trim_fmt())
}

/// A moment for people: to the second, UTC.
pub fn moment(at: tidings_core::Timestamp) -> String {
    at.round(jiff::Unit::Second).unwrap_or(at).to_string()
}
