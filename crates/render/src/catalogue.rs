//! Message catalogues: all words of a language, one TOML file each, flattened to dotted keys (`membership.joined.subject`).

use crate::error::TemplateProblem;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use toml::de::{DeTable, DeValue};

/// One text and where it stands.
#[derive(Debug, Clone)]
#[expect(clippy::struct_field_names, reason = "a text's text is called so")]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) path: PathBuf,
    pub(crate) line: u32,
    pub(crate) built_in: bool,
}

/// All texts of one language.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalogue(pub(crate) BTreeMap<String, Text>);

impl Catalogue {
    /// Reads a file; lists become `key.0`, `key.1` …
    pub(crate) fn read(source: &str, path: &Path, built_in: bool) -> Result<Self, Vec<TemplateProblem>> {
        let table = DeTable::parse(source).map_err(|error| {
            let (line, column) = error.span().map_or((None, None), |span| place(source, span.start));
            vec![TemplateProblem { path: path.to_owned(), line, column, message: error.message().trim().to_owned() }]
        })?;
        let mut problems = Vec::new();
        let mut texts = BTreeMap::new();
        flatten("", table.get_ref(), &mut |key, value, at| {
            let (line, column) = place(source, at);
            match value {
                Some(text) => {
                    texts.insert(
                        key.to_owned(),
                        Text { text: text.trim_end_matches('\n').to_owned(), path: path.to_owned(), line: line.unwrap_or(1), built_in },
                    );
                }
                None => problems.push(TemplateProblem {
                    path: path.to_owned(),
                    line,
                    column,
                    message: format!("{key}: expected a text in quotes"),
                }),
            }
        });
        if problems.is_empty() { Ok(Self(texts)) } else { Err(problems) }
    }

    /// Adds the texts of `other`, which win.
    pub(crate) fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The text of `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Text> {
        self.0.get(key)
    }

    /// Keys and texts below a table.
    pub(crate) fn below<'a>(&'a self, table: &'a str) -> impl Iterator<Item = (&'a str, &'a Text)> {
        self.0.iter().filter_map(move |(key, text)| Some((key.strip_prefix(table)?.strip_prefix('.')?, text)))
    }
}

fn flatten(prefix: &str, table: &DeTable<'_>, found: &mut impl FnMut(&str, Option<&str>, usize)) {
    for (key, value) in table {
        let key = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        let at = value.span().start;
        match value.get_ref() {
            DeValue::String(text) => found(&key, Some(text), at),
            DeValue::Table(inner) => flatten(&key, inner, found),
            DeValue::Array(list) => {
                for (index, one) in list.iter().enumerate() {
                    found(&format!("{key}.{index}"), one.get_ref().as_str(), one.span().start);
                }
            }
            _ => found(&key, None, at),
        }
    }
}

/// Line and column, both from 1, of a byte offset.
pub(crate) fn place(source: &str, at: usize) -> (Option<u32>, Option<u32>) {
    let before = source.get(..at).unwrap_or(source);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (u32::try_from(line).ok(), u32::try_from(column).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_become_dotted_keys_and_know_their_line() {
        let source = "[test]\nsubject = \"Hello\"\n\n[calendar]\nmonths = [\"January\", \"February\"]\n";
        let catalogue = Catalogue::read(source, Path::new("en.toml"), true).unwrap();
        assert_eq!(catalogue.get("test.subject").unwrap().line, 2);
        assert_eq!(catalogue.get("calendar.months.1").unwrap().text, "February");
    }

    #[test]
    fn a_broken_file_says_where() {
        let problem = &Catalogue::read("[test]\nsubject = Hello\n", Path::new("en.toml"), true).unwrap_err()[0];
        assert_eq!((problem.line, problem.path.as_path()), (Some(2), Path::new("en.toml")));
        let problem = &Catalogue::read("[test]\nsubject = 3\n", Path::new("en.toml"), true).unwrap_err()[0];
        assert_eq!(problem.to_string(), "en.toml:2:11: test.subject: expected a text in quotes");
    }
}
