//! Slates: small texts by name that several nodes write, each only over the text it has read.

use tidings_core::Timestamp;

/// A slate as it stands in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slate {
    /// Counts the writings; 0 if it was never written.
    pub version: i64,
    /// What stands on it; the store does not look into it.
    pub text: String,
    /// The moment, by the database's clock, at which this was so.
    pub now: Timestamp,
}

/// What became of a writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlateWritten {
    /// It stands there now, under the next version.
    Done(Slate),
    /// Somebody has written in between, and nothing was changed: this is what stands there. Should the connection be lost while the answer was under way, it may be the
    /// caller's own text.
    Moved(Slate),
}
