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

/// Escapes one step of a JSON pointer (RFC 6901 §3).
pub(crate) fn escape(step: &str) -> String {
    step.replace('~', "~0").replace('/', "~1")
}
