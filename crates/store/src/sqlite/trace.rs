//! The column of traces: JSON, or what differs from a pattern. Most events of a kind are decided alike: the same rules do not apply for the same reasons.

use crate::{
    error::StoreError,
    pack::Patterns,
    sqlite::{fault::Fault, work::pattern_text},
};
use rusqlite::Connection;

/// The first byte of a trace that was made small; no JSON begins with it. The number of its pattern follows, little end first.
const PACKED: u8 = 0;

/// A trace that was made small, as its column has it.
pub(crate) fn written(pattern: i64, packed: &[u8]) -> Vec<u8> {
    let mut column = Vec::with_capacity(1 + size_of::<i64>() + packed.len());
    column.push(PACKED);
    column.extend_from_slice(&pattern.to_le_bytes());
    column.extend_from_slice(packed);
    column
}

/// The pattern of a trace that was made small, and what differs from it; `None` if the column is the trace itself.
pub(crate) fn split(column: &[u8]) -> Result<Option<(i64, &[u8])>, StoreError> {
    let Some(rest) = column.strip_prefix(&[PACKED]) else { return Ok(None) };
    let (number, packed) = rest.split_first_chunk().ok_or_else(|| StoreError::Corrupt("event.trace: it is cut".to_owned()))?;
    Ok(Some((i64::from_le_bytes(*number), packed)))
}

/// The trace of a column.
pub(crate) fn read(db: &Connection, patterns: &Patterns, column: Vec<u8>) -> Result<Vec<u8>, Fault> {
    match split(&column)? {
        Some((number, packed)) => patterns.unpack(packed, number, || pattern_text(db, number)),
        None => Ok(column),
    }
}
