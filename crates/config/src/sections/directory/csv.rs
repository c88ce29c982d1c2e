//! The part of `[[directory]]` that reads files.

use super::mapping;
use crate::{
    load::{Loading, shown},
    read::Table,
    units,
};
use std::{path::PathBuf, time::Duration};

/// What a column may hold; any other name is an attribute of the object.
const TARGETS: [&str; 16] = [
    "key",
    "type",
    "name",
    "mail",
    "locale",
    "timezone",
    "enabled",
    "public",
    "notify",
    "manager",
    "members",
    "owner",
    "additional_owners",
    "groups",
    "change",
    "actor",
];

/// The part of all objects, in percent, that may vanish with a full file unless it is written otherwise.
const MOST_VANISHING: u8 = 20;

/// Files to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvSource {
    /// The folder that is watched. Default: none is.
    pub folder: Option<PathBuf>,
    /// Which files are full ones; `*` stands for any text. Default: `*.csv`.
    pub files: String,
    /// Which files say changes only. Default: `*.delta.csv`.
    pub delta_files: String,
    /// What stands between two fields, an ASCII character. Default: a comma.
    pub delimiter: u8,
    /// What stands between the values of a field. Default: a semicolon, or a comma where that is the delimiter.
    pub list_separator: char,
    /// Which column holds what: target and heading.
    pub columns: Vec<(String, String)>,
    /// What becomes of a row that cannot be read. Default: skip.
    pub bad_rows: BadRows,
    /// The part of all objects, in percent, that may vanish with a full file. Default: 20.
    pub most_vanishing_percent: u8,
    /// How often the folder is looked at. Default: 1 min.
    pub poll_every: Duration,
}

/// What becomes of a row that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRows {
    /// It is left out.
    Skip,
    /// Its whole file is refused.
    Refuse,
}

pub(super) fn build(loading: &Loading<'_>, table: &Table<'_>) -> Option<CsvSource> {
    let delimiter = match table.text("delimiter") {
        Some("tab" | "\t") => Some(b'\t'),
        Some(text) => match text.as_bytes() {
            [byte] if byte.is_ascii_punctuation() && *byte != b'"' => Some(*byte),
            _ => {
                let message = format!("`{}` is no delimiter; allowed are a character such as `,` `;` `|`, or `tab`", shown(text));
                loading.problem(table.place("delimiter"), table.key("delimiter"), message);
                None
            }
        },
        None => None,
    };
    let usual = if delimiter == Some(b';') { "," } else { ";" };
    let list_separator = table.text("list_separator").or_else(|| (!table.has("list_separator")).then_some(usual)).and_then(|text| {
        let mut chars = text.chars();
        let one = chars.next().filter(|_| chars.next().is_none());
        match one {
            Some(one) if delimiter != u8::try_from(one).ok() && one != '"' => Some(one),
            Some(_) if delimiter.is_none() => None,
            _ => {
                let message =
                    format!("`{}` cannot stand between the values of a field; it must be one character, and not `delimiter`", shown(text));
                loading.problem(table.place("list_separator"), table.key("list_separator"), message);
                None
            }
        }
    });
    for name in ["files", "delta_files"] {
        if let Some(text) = table.text(name).filter(|text| text.contains('/')) {
            loading.problem(
                table.place(name),
                table.key(name),
                format!("`{}` names a folder; write what files in `folder` are called", shown(text)),
            );
        }
    }
    let folder = table.file("folder", loading);
    if let Some(fault) = folder.as_ref().and_then(|folder| loading.folder_fault(folder)) {
        loading.problem(table.place("folder"), table.key("folder"), fault);
    }
    Some(CsvSource {
        folder,
        files: table.owned("files")?,
        delta_files: table.owned("delta_files")?,
        delimiter: delimiter?,
        list_separator: list_separator?,
        columns: mapping(loading, table, "columns", &TARGETS),
        bad_rows: if table.text("bad_rows") == Some("refuse") { BadRows::Refuse } else { BadRows::Skip },
        most_vanishing_percent: table.text("most_vanishing").map_or(Some(MOST_VANISHING), |text| units::percent(text).ok())?,
        poll_every: table.duration("poll_every")?,
    })
}
