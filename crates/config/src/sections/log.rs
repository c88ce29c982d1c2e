//! `[log]`: what the program says about its work.

use crate::{
    keys::{Section, Shape, preset},
    read::Table,
};

pub(crate) static LOG: Section = Section {
    meaning: "What the program says about its work, on standard error.",
    keys: &[
        preset(
            "format",
            Shape::Choice(&["auto", "text", "json"], &[]),
            "auto",
            "`text` for people, `json` for machines, `auto` is text on a terminal.",
        ),
        preset(
            "level",
            Shape::Choice(&["error", "warn", "info", "debug", "trace"], &[]),
            "info",
            "The least urgent lines that are written.",
        ),
    ],
};

/// What the program says about its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// How a line looks. Default: auto.
    pub format: LogFormat,
    /// The least urgent lines that are written. Default: info.
    pub level: LogLevel,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// The urgency of log lines, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Somebody must act.
    Error,
    /// Carried on, degraded.
    Warn,
    /// What the house does.
    Info,
    /// Why it does so.
    Debug,
    /// Every step.
    Trace,
}

impl LogLevel {
    /// The written name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

pub(crate) fn build(table: &Table<'_>) -> Option<Log> {
    let format = match table.text("format")? {
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        _ => LogFormat::Auto,
    };
    let level = table.text("level")?;
    let levels = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];
    Some(Log { format, level: levels.into_iter().find(|l| l.as_str() == level)? })
}
