//! Texts without the one character that the database does not take.

use crate::postgres::work;
use std::borrow::Cow;
use tidings_core::{
    directory::{Became, Change, Entry, Head, Link},
    subject::ObjectType,
};

/// Rids a change of it. What is told and what is kept are rid of it alike, so that a comparison finds them the same.
pub(super) fn change(change: &mut Change) {
    match &mut change.what {
        Became::Is(one) => entry(one),
        Became::Adjusted { key, head, added, removed, .. } => {
            text(key);
            head.iter_mut().for_each(self::head);
            added.iter_mut().for_each(link);
            for (_, name) in removed {
                text(name);
            }
        }
        Became::Gone { key } => text(key),
    }
}

/// Rids an entry of it.
pub(super) fn entry(entry: &mut Entry) {
    head(&mut entry.head);
    entry.links.iter_mut().for_each(link);
}

fn head(head: &mut Head) {
    text(&mut head.key);
    for one in [&mut head.reference, &mut head.name, &mut head.timezone].into_iter().flatten() {
        text(one);
    }
    if let ObjectType::Other(name) = &mut head.object_type {
        text(name);
    }
    // Attributes are kept as JSON, which has it escaped (RFC 8259 §7); addresses and languages do not have it.
}

fn link(link: &mut Link) {
    text(&mut link.to);
}

/// Rids a text of it.
pub(super) fn text(one: &mut String) {
    if let Cow::Owned(without) = work::text(one) {
        *one = without;
    }
}
