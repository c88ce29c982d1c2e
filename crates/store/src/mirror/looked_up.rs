//! Under which small numbers an object is found by the names that people and other systems have for it.

use crate::{
    mirror::{LOOKED_UP, names},
    sqlite::recipient_hash,
};
use serde_json::Value;
use std::collections::BTreeSet;
use tidings_core::{Address, directory::Head};

/// The small number that the index holds for an attribute's text.
pub(crate) fn hash(attribute: &str, text: &str) -> i64 {
    recipient_hash(&format!("{attribute}\0{}", names::folded(text)))
}

/// The numbers under which an object is found. One that is named by a reference is not looked up otherwise.
pub(crate) fn hashes(head: &Head) -> BTreeSet<i64> {
    if head.reference.is_some() {
        return BTreeSet::new();
    }
    LOOKED_UP.iter().flat_map(|name| texts(head, name).map(|text| hash(name, text))).collect()
}

/// The texts of an attribute.
fn texts<'a>(head: &'a Head, attribute: &str) -> impl Iterator<Item = &'a str> {
    let (one, many) = match head.attributes.get(attribute) {
        Some(Value::Array(values)) => (None, values.as_slice()),
        one => (one, &[][..]),
    };
    let mail = head.mail.as_ref().filter(|_| attribute == "emails").map(Address::as_str);
    one.into_iter().chain(many).filter_map(Value::as_str).chain(mail)
}

/// Whether an attribute of an object says this, letter case aside.
pub(crate) fn says(head: &Head, attribute: &str, value: &str) -> bool {
    texts(head, attribute).any(|text| names::folded(text) == names::folded(value))
}
