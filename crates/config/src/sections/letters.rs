//! `[letters]`: the organisation's own wording.

use crate::{
    keys::{Section, Shape, key},
    load::Loading,
    read::Table,
};
use std::path::PathBuf;

pub(crate) static LETTERS: Section = Section {
    meaning: "The organisation's own wording.",
    keys: &[key(
        "templates",
        Shape::Path,
        "A folder whose files replace single parts of the built-in letters, such as `membership.joined/subject.de.txt`; the rest stays built in.",
    )],
};

/// The organisation's own wording.
#[derive(Debug, Clone, Default)]
pub struct Letters {
    /// The folder whose files replace single parts of the built-in letters; it is there. Default: none.
    pub templates: Option<PathBuf>,
}

pub(crate) fn build(loading: &Loading<'_>, table: &Table<'_>) -> Letters {
    let templates = table.file("templates", loading);
    if let Some(folder) = templates.as_ref().filter(|folder| !folder.is_dir()) {
        loading.problem(table.place("templates"), table.key("templates"), format!("the folder `{}` is not there", folder.display()));
    }
    Letters { templates }
}
