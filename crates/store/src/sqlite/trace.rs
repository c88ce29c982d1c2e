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

/// The trace of a column.
pub(crate) fn read(db: &Connection, patterns: &Patterns, column: Vec<u8>) -> Result<Vec<u8>, Fault> {
    let Some(rest) = column.strip_prefix(&[PACKED]) else { return Ok(column) };
    let Some((number, packed)) = rest.split_first_chunk() else {
        return Err(StoreError::Corrupt("event.trace: it is cut".to_owned()).into());
    };
    let number = i64::from_le_bytes(*number);
    patterns.unpack(packed, number, || pattern_text(db, number))
}
