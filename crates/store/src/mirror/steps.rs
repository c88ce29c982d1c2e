//! Into which transactions a load is cut.

use std::collections::HashMap;
use tidings_core::directory::Entry;

/// A transaction of a load ends after so many entries …
const ENTRIES: usize = 10_000;
/// … or so many links. More in one are quicker, since each page is written once a transaction; but every other verb waits for it.
const LINKS: usize = 100_000;

/// Cuts entries into transactions. One entry is never cut.
pub(crate) fn steps(entries: Vec<Entry>) -> Vec<Vec<Entry>> {
    let mut steps: Vec<Vec<Entry>> = Vec::new();
    let mut links = 0;
    for entry in entries {
        let full = steps.last().is_none_or(|step| step.len() >= ENTRIES || links + entry.links.len() > LINKS && !step.is_empty());
        if full {
            steps.push(Vec::new());
            links = 0;
        }
        links += entry.links.len();
        steps.last_mut().expect("a step was begun").push(entry);
    }
    steps
}

/// Of entries of one key the last.
pub(crate) fn last_of_each_key(entries: &[Entry]) -> impl Iterator<Item = &Entry> {
    let last: HashMap<&str, usize> = entries.iter().enumerate().map(|(place, entry)| (entry.head.key.as_str(), place)).collect();
    entries.iter().enumerate().filter(move |(place, entry)| last[entry.head.key.as_str()] == *place).map(|(_, entry)| entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_core::{
        directory::{Head, Link, LinkRole},
        subject::ObjectType,
    };

    fn entries(links: &[usize]) -> Vec<Entry> {
        let entry = |(n, count): (usize, &usize)| Entry {
            head: Head::new(ObjectType::Group, n.to_string()),
            links: (0..*count).map(|to| Link::new(LinkRole::Member, to.to_string())).collect(),
            document: None,
        };
        links.iter().enumerate().map(entry).collect()
    }

    #[test]
    fn a_load_is_cut_by_entries_and_by_links() {
        let lengths = |links: &[usize]| steps(entries(links)).iter().map(Vec::len).collect::<Vec<_>>();
        assert!(lengths(&[]).is_empty());
        assert_eq!(lengths(&vec![1; 10_001]), [10_000, 1]);
        assert_eq!(lengths(&[1, 100_001, 1, 60_000, 60_000]), [1, 1, 2, 1]);
    }

    #[test]
    fn of_two_entries_of_one_key_the_last_counts() {
        let mut two = entries(&[1, 2, 3]);
        two[2].head.key = "0".to_owned();
        assert_eq!(last_of_each_key(&two).map(|entry| entry.links.len()).collect::<Vec<_>>(), [2, 3]);
    }
}
