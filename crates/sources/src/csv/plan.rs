//! What a directory's configuration comes to, as plain values.

use jiff::tz::TimeZone;
use std::{path::PathBuf, time::Duration};

/// A directory that is read from files.
#[derive(Debug, Clone)]
pub struct CsvPlan {
    /// The directory's name.
    pub directory: String,
    /// The folder that is watched, if one is.
    pub folder: Option<PathBuf>,
    /// Which files are full ones; `*` stands for any text.
    pub files: String,
    /// Which files say changes only; these are looked for first.
    pub delta_files: String,
    /// What stands between two fields.
    pub delimiter: u8,
    /// What stands between the values of a field.
    pub list_separator: char,
    /// Which column holds what: the house's name and the column's heading.
    pub columns: Vec<(String, String)>,
    /// What becomes of a row that cannot be read.
    pub bad_rows: BadRows,
    /// A full file in which more than this part of all objects would vanish is refused.
    pub most_vanishing_percent: u8,
    /// How often the folder is looked at.
    pub poll_every: Duration,
    /// Whether what the first file says is told as created.
    pub first_load_told: bool,
    /// The time zone in which a bare date ends.
    pub timezone: TimeZone,
}

/// What becomes of a row that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRows {
    /// It is left out, and named in the report.
    Skip,
    /// The whole file is refused.
    Refuse,
}

/// What a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything there is.
    Full,
    /// Changes only.
    Delta,
}

impl Mode {
    /// The written name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Delta => "delta",
        }
    }
}

impl CsvPlan {
    /// What a file of this name says; `None` if it is none of ours. A name that a writer has not finished with (`.x`, `x.tmp`, `x.part`) is none, either.
    pub fn mode_of(&self, name: &str) -> Option<Mode> {
        let unfinished =
            name.starts_with('.') || [".tmp", ".part", ".partial", "~"].iter().any(|end| name.to_ascii_lowercase().ends_with(end));
        if unfinished || name.ends_with(super::report::ENDING) {
            None
        } else if fits(&self.delta_files, name) {
            Some(Mode::Delta)
        } else {
            fits(&self.files, name).then_some(Mode::Full)
        }
    }
}

/// Whether a name fits a pattern in which `*` stands for any text.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => {
            name.strip_prefix(head).is_some_and(|rest| (0..=rest.len()).any(|cut| rest.is_char_boundary(cut) && fits(tail, &rest[cut..])))
        }
    }
}

#[cfg(test)]
pub(crate) fn a_plan() -> CsvPlan {
    CsvPlan {
        directory: "hr".into(),
        folder: None,
        files: "*.csv".into(),
        delta_files: "*.delta.csv".into(),
        delimiter: b',',
        list_separator: ';',
        columns: Vec::new(),
        bad_rows: BadRows::Skip,
        most_vanishing_percent: 20,
        poll_every: Duration::from_secs(60),
        first_load_told: false,
        timezone: TimeZone::UTC,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_says_what_is_in_it() {
        let plan = a_plan();
        assert_eq!(plan.mode_of("staff.csv"), Some(Mode::Full));
        assert_eq!(plan.mode_of("staff.delta.csv"), Some(Mode::Delta));
        for none in ["staff.txt", ".staff.csv", "staff.csv.part", "staff.csv.TMP", "staff.csv~", "staff.csv.report.txt"] {
            assert_eq!(plan.mode_of(none), None, "{none}");
        }
    }
}
