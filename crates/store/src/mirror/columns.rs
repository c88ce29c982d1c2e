//! A head as a row has it, whatever the database.

use crate::mirror::names;
use serde_json::Value;
use std::collections::BTreeMap;
use tidings_core::{directory::Head, subject::ObjectType};

const ENABLED: i64 = 1;
const PUBLIC: i64 = 2;
const NOTIFY: i64 = 4;

/// The bits of a head's column of flags.
pub(crate) fn flags(head: &Head) -> i64 {
    let bit = |set: bool, bit: i64| if set { bit } else { 0 };
    bit(head.enabled, ENABLED) | bit(head.public, PUBLIC) | bit(head.notify, NOTIFY)
}

/// Reads the bits again.
pub(crate) fn set_flags(head: &mut Head, flags: i64) {
    head.enabled = flags & ENABLED != 0;
    head.public = flags & PUBLIC != 0;
    head.notify = flags & NOTIFY != 0;
}

/// The small number that the index of groups' names holds.
pub(crate) fn group_hash(head: &Head) -> Option<i64> {
    head.name.as_deref().filter(|_| head.object_type == ObjectType::Group).map(names::hash)
}

/// Attributes as their column has them.
pub(crate) fn attributes(attributes: &BTreeMap<String, Value>) -> Option<String> {
    (!attributes.is_empty()).then(|| serde_json::to_string(attributes).expect("JSON values under texts are JSON"))
}
