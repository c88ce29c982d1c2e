//! In which order new objects are told: whoever another one speaks of first, so that nobody is told of before being known.

use super::digest::hash;
use std::collections::HashSet;
use tidings_core::directory::Entry;

/// Holds entries back until those that they name have gone through.
pub(crate) struct InOrder {
    /// Hashes of new keys that have not gone through yet.
    fresh: HashSet<u64>,
    held: Vec<(Entry, Option<String>)>,
}

impl InOrder {
    /// `fresh` are the hashes of the keys that are new.
    pub(crate) fn new(fresh: HashSet<u64>) -> Self {
        Self { fresh, held: Vec::new() }
    }

    /// Takes an entry; gives it back if it can go, and keeps it otherwise.
    pub(crate) fn take(&mut self, entry: Entry, actor: Option<String>) -> Option<(Entry, Option<String>)> {
        if self.waits(&entry) {
            self.held.push((entry, actor));
            return None;
        }
        self.fresh.remove(&hash(&entry.head.key));
        Some((entry, actor))
    }

    /// What was held back, in an order in which it can go; of a circle somebody must be first.
    pub(crate) fn rest(&mut self) -> Vec<(Entry, Option<String>)> {
        let mut going = Vec::new();
        while !self.held.is_empty() {
            let (waiting, ready): (Vec<_>, Vec<_>) = std::mem::take(&mut self.held).into_iter().partition(|(entry, _)| self.waits(entry));
            let stuck = ready.is_empty();
            for (entry, actor) in ready {
                self.fresh.remove(&hash(&entry.head.key));
                going.push((entry, actor));
            }
            self.held = waiting;
            if stuck {
                let (entry, actor) = self.held.remove(0);
                self.fresh.remove(&hash(&entry.head.key));
                going.push((entry, actor));
            }
        }
        going
    }

    fn waits(&self, entry: &Entry) -> bool {
        entry.links.iter().any(|link| link.to != entry.head.key && self.fresh.contains(&hash(&link.to)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_core::{
        directory::{Head, Link, LinkRole},
        subject::ObjectType,
    };

    fn entry(key: &str, manager: &str) -> Entry {
        let links = if manager.is_empty() { Vec::new() } else { vec![Link::new(LinkRole::Manager, manager)] };
        Entry { head: Head::new(ObjectType::User, key), links, document: None }
    }

    #[test]
    fn a_manager_goes_before_whoever_names_him_and_a_circle_ends() {
        let keys = ["a", "b", "c", "x", "y"];
        let mut order = InOrder::new(keys.iter().map(|key| hash(key)).collect());
        assert!(order.take(entry("a", "b"), None).is_none());
        assert!(order.take(entry("b", "c"), None).is_none());
        assert!(order.take(entry("x", "y"), None).is_none());
        assert!(order.take(entry("y", "x"), None).is_none());
        assert!(order.take(entry("c", "known"), None).is_some());
        let rest: Vec<String> = order.rest().into_iter().map(|(entry, _)| entry.head.key).collect();
        assert_eq!(rest, ["b", "a", "x", "y"]);
        assert!(order.rest().is_empty());
    }
}
