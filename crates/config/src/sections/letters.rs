//! `[letters]`: the organisation's own wording.

use crate::{
    keys::{Section, Shape, key},
    load::Loading,
    read::Table,
};
use std::path::PathBuf;
use tidings_core::{
    kind::{KINDS, Kind},
    policy::TypePattern,
};

pub(crate) static LETTERS: Section = Section {
    meaning: "The organisation's own wording.",
    keys: &[
        key(
            "templates",
            Shape::Path,
            "A folder whose files replace single parts of the built-in letters, such as `membership.joined/subject.de.txt`; the rest stays built in.",
        ),
        key(
            "off",
            Shape::Texts,
            "Kinds of which no letter is written, whatever the rules say; `*` stands for any text: `[\"membership.left\", \"management.*\"]`. All kinds are on if absent.",
        ),
    ],
};

/// The organisation's own wording.
#[derive(Debug, Clone, Default)]
pub struct Letters {
    /// The folder whose files replace single parts of the built-in letters; it is there. Default: none.
    pub templates: Option<PathBuf>,
    /// Kinds of which no letter is written. Default: none.
    pub off: Vec<&'static Kind>,
}

pub(crate) fn build(loading: &Loading<'_>, table: &Table<'_>) -> Letters {
    let templates = table.file("templates", loading);
    if let Some(folder) = templates.as_ref().filter(|folder| !folder.is_dir()) {
        loading.problem(table.place("templates"), table.key("templates"), format!("the folder `{}` is not there", folder.display()));
    }
    Letters { templates, off: off(loading, table) }
}

/// The kinds that are switched off. What nobody else may switch off is the operator's to decide, but worth a word.
fn off(loading: &Loading<'_>, table: &Table<'_>) -> Vec<&'static Kind> {
    let mut off: Vec<&'static Kind> = Vec::new();
    for (index, (at, text)) in table.texts("off").into_iter().enumerate() {
        let key = format!("{}[{index}]", table.key("off"));
        let named: Vec<&'static Kind> = match TypePattern::parse(text) {
            Ok(pattern) => KINDS.iter().filter(|kind| pattern.matches(kind.name)).collect(),
            Err(error) => {
                loading.problem(at, key, error.to_string());
                continue;
            }
        };
        if let Some(kind) = named.iter().find(|kind| kind.mandatory) {
            loading.warning(at, key, format!("letters of the kind `{}`, which readers may not switch off, are not written", kind.name));
        }
        off.extend(named);
    }
    off
}
