//! What can go wrong: when the letters are loaded, and when one is written.

use std::{fmt, path::PathBuf};

/// One thing wrong with a template, a catalogue or the organisation's settings, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateProblem {
    /// The file; a built-in one is named as in the source tree, `templates/test/body.txt`.
    pub path: PathBuf,
    /// Line, from 1.
    pub line: Option<u32>,
    /// Column in characters, from 1.
    pub column: Option<u32>,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl fmt::Display for TemplateProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        for place in [self.line, self.column].into_iter().flatten() {
            write!(f, "{place}:")?;
        }
        write!(f, " {}", self.message)
    }
}

impl std::error::Error for TemplateProblem {}

/// Why a letter was not written. It is held then, never sent raw or empty.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The template failed on this event's values: an optional one is used without asking whether it is there, a loop is endless …
    #[error("the letter `{template}` could not be written: {why}")]
    Template {
        /// Which part, `de/membership.joined/body.html`.
        template: String,
        /// What went wrong, without any value of the event.
        why: String,
        /// The line of the joined template, layout and body.
        line: Option<usize>,
    },
    /// A header value that may not be sent: it holds CR, LF, NUL or another control character.
    #[error("the header field {name} {why}")]
    Header {
        /// The field.
        name: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The subject came out empty.
    #[error("the subject of `{kind}` in language {locale} is empty")]
    EmptySubject {
        /// The kind.
        kind: &'static str,
        /// The language.
        locale: String,
    },
    /// No letter of this kind in any language; cannot happen with the built-in letters.
    #[error("there is no letter for `{0}`")]
    NoLetter(&'static str),
}
