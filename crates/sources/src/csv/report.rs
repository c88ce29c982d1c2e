//! What became of a file.

use super::plan::Mode;
use std::fmt;
use tidings_intake::Taken;

/// The ending of a report's name, behind the name of the file it is about.
pub(crate) const ENDING: &str = ".report.txt";

/// So many faults are named; the others are counted.
const NAMED: usize = 1000;

/// Something that is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The line on which the row begins, counted from 1.
    pub line: u64,
    /// What is wrong, and with which column.
    pub why: String,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its name, without its folder.
    pub file: String,
    /// What it says: everything, or changes.
    pub mode: Mode,
    /// Rows there are, the heading not counted.
    pub rows: u64,
    /// Rows that cannot be read, as far as they are named.
    pub faults: Vec<Fault>,
    /// Rows that cannot be read.
    pub faulty: u64,
    /// Why the whole file was refused, if it was; nothing has changed then.
    pub refused: Option<String>,
    /// What else should be known.
    pub remarks: Vec<String>,
    /// Whether it was a first load, of which nothing is told.
    pub silent: bool,
    /// Objects that changed, events and letters.
    pub taken: Taken,
}

impl Report {
    pub(crate) fn of(file: &std::path::Path, mode: Mode) -> Self {
        let file = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Self {
            file,
            mode,
            rows: 0,
            faults: Vec::new(),
            faulty: 0,
            refused: None,
            remarks: Vec::new(),
            silent: false,
            taken: Taken::default(),
        }
    }

    pub(crate) fn fault(&mut self, line: u64, why: impl Into<String>) {
        self.faulty += 1;
        if self.faults.len() < NAMED {
            self.faults.push(Fault { line, why: why.into() });
        }
    }

    pub(crate) fn refuse(mut self, why: impl Into<String>) -> Self {
        self.refused = Some(why.into());
        self
    }

    pub(crate) fn add(&mut self, taken: Taken) {
        self.taken.changed += taken.changed;
        self.taken.events += taken.events;
        self.taken.letters += taken.letters;
    }

    /// In one line, without anything that was written in the file.
    pub fn summary(&self) -> String {
        let bad = match self.faulty {
            0 => String::new(),
            1 => ", 1 row that cannot be read".to_owned(),
            many => format!(", {many} rows that cannot be read"),
        };
        if self.refused.is_some() {
            return format!("refused: {} rows{bad}; nothing has changed", self.rows);
        }
        let Taken { changed, events, letters } = self.taken;
        let told =
            if self.silent { "a first load, of which nothing is told".to_owned() } else { format!("{events} events, {letters} letters") };
        format!("taken: {} rows{bad}; {changed} objects changed, {told}", self.rows)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({} file): {}", self.file, self.mode.as_str(), self.summary())?;
        if let Some(why) = &self.refused {
            writeln!(f, "Why it was refused: {why}")?;
        }
        for remark in &self.remarks {
            writeln!(f, "{remark}")?;
        }
        for fault in &self.faults {
            writeln!(f, "{}:{}: {}", self.file, fault.line, fault.why)?;
        }
        let unnamed = self.faulty - self.faults.len() as u64;
        if unnamed > 0 {
            writeln!(f, "… and {unnamed} more rows that cannot be read")?;
        }
        Ok(())
    }
}
