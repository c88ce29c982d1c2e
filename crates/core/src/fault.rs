//! Faults: what is wrong with a value that came in, and where it stands.

use serde_json::Value;

/// One thing wrong with what came in, and where: a JSON pointer (RFC 6901) to the offending value.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, thiserror::Error)]
#[error("{pointer}: {detail}")]
pub struct Fault {
    /// Where, from the root of what was read; empty for the whole.
    pub pointer: String,
    /// What is wrong and what is allowed.
    pub detail: String,
}

impl Fault {
    /// A fault at `pointer`.
    pub fn at(pointer: &str, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.to_owned(), detail: detail.into() }
    }
}

/// A found value, short enough for an error message and without control characters.
pub fn clip(text: &str) -> String {
    let mut short: String = text.chars().take(60).map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect();
    if text.chars().nth(60).is_some() {
        short.push('…');
    }
    short
}

/// What a JSON value is called in an error message.
pub(crate) fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A place inside a JSON value, as a chain along the way to it; written out only when there is a fault to tell.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'a> {
    /// Where the way begins: a JSON pointer that is already written.
    At(&'a str),
    /// A member of an object.
    Key(&'a Place<'a>, &'a str),
    /// An element of a list.
    Index(&'a Place<'a>, usize),
}

impl<'a> Place<'a> {
    /// The member `key` of this.
    pub(crate) fn key(&'a self, key: &'a str) -> Self {
        Self::Key(self, key)
    }

    /// The element `index` of this.
    pub(crate) fn index(&'a self, index: usize) -> Self {
        Self::Index(self, index)
    }

    /// As a JSON pointer.
    pub(crate) fn pointer(&self) -> String {
        match self {
            Self::At(pointer) => (*pointer).to_owned(),
            Self::Key(parent, key) => format!("{}/{}", parent.pointer(), key.replace('~', "~0").replace('/', "~1")),
            Self::Index(parent, index) => format!("{}/{index}", parent.pointer()),
        }
    }

    /// A fault at this place.
    pub(crate) fn fault(&self, detail: impl Into<String>) -> Fault {
        Fault { pointer: self.pointer(), detail: detail.into() }
    }
}

/// Whether a text holds a control character (category Cc: C0, DEL and C1) other than those of `allowed`, all of which are ASCII.
pub(crate) fn has_control(text: &str, allowed: &[u8]) -> bool {
    // Nearly every text is printable ASCII, which a few instructions tell for many bytes at a time.
    let printable = text.bytes().fold(true, |printable, byte| printable & (0x20..0x7f).contains(&byte));
    !printable && text.chars().any(|c| c.is_control() && !u8::try_from(c).is_ok_and(|byte| allowed.contains(&byte)))
}
