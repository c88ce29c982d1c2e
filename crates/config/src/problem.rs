//! Problems of a configuration: where, which key, what was found and what is allowed. All of them are told at once.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// One thing that is wrong, or, as a warning, worth knowing. Prints as `tidings.toml:14:8: relay[0].port: 99999 is not a port (1–65535)`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file it stands in, written as the caller named it.
    pub file: PathBuf,
    /// Line, counted from 1; 0 if it concerns the file as a whole.
    pub line: usize,
    /// Column in characters, counted from 1; 0 if it concerns the file as a whole.
    pub column: usize,
    /// The key in dotted form, such as `relay[0].port`; empty if no key is concerned.
    pub key: String,
    /// What was found and what is allowed.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.message)
    }
}

/// All problems of a configuration, at least one, in the order of the files. Prints one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A file's text, which knows the line and column of every byte.
#[derive(Debug)]
pub(crate) struct Source {
    file: PathBuf,
    text: String,
}

impl Source {
    /// A text; a byte order mark at its beginning is dropped.
    pub(crate) fn of(file: &Path, text: &str) -> Self {
        Self { file: file.to_owned(), text: text.strip_prefix('\u{FEFF}').unwrap_or(text).to_owned() }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Line and column of a byte, both counted from 1; a place behind the end is the end.
    pub(crate) fn place(&self, offset: usize) -> (usize, usize) {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    pub(crate) fn problem(&self, offset: usize, key: impl Into<String>, message: impl Into<String>) -> Problem {
        let (line, column) = self.place(offset);
        Problem { file: self.file.clone(), line, column, key: key.into(), message: message.into() }
    }
}

/// The word of `known` that looks most like `found`, as the end of a message: ``; did you mean `pickup`?``, or nothing.
pub(crate) fn did_you_mean<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let folded = found.to_lowercase();
    known
        .into_iter()
        .map(|word| (strsim::jaro_winkler(&word.to_lowercase(), &folded), word))
        .filter(|(likeness, _)| *likeness > 0.78)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(String::new, |(_, word)| format!("; did you mean `{word}`?"))
}

/// A found text for a message: short, and without control characters.
pub(crate) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(60).map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect();
    if text.chars().nth(60).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_counted_in_characters_from_one() {
        let source = Source::of(Path::new("x.toml"), "a = 1\nnäme = 2\n");
        assert_eq!(source.place(0), (1, 1));
        assert_eq!(source.place(source.text().find('2').unwrap()), (2, 8));
        assert_eq!(source.place(9999), (3, 1));
    }

    #[test]
    fn a_far_word_is_not_proposed() {
        assert_eq!(did_you_mean("pikup", ["smtp", "pickup", "file"]), "; did you mean `pickup`?");
        assert_eq!(did_you_mean("zebra", ["smtp", "pickup", "file"]), "");
    }
}
