//! What a full file holds, in short: whose rows there are, which cannot be read, and who says to be in which group.

use super::{
    error::CsvError,
    plan::{CsvPlan, Mode},
    reader::Source,
    row::{Bad, GROUP_PREFIX, Row},
    values::shown,
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
};
use tidings_core::{
    Timestamp,
    directory::{Entry, Head, Link, LinkRole},
    subject::ObjectType,
};

/// A key as a number: the same in every digest.
pub(crate) fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// Whether a key is that of a group that has no row of its own.
pub(crate) fn is_group_by_name(key: &str) -> bool {
    key.starts_with(GROUP_PREFIX)
}

/// Somebody who says to be in a group, by the place in the list of people.
type Membership = (u32, Option<Timestamp>, Option<Timestamp>);

/// What a name in somebody's list of groups means.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Meaning {
    /// The group with this key.
    Group(String),
    /// One of several groups.
    Several,
    /// A group whose row cannot be read: it stays as it is.
    Unreadable,
}

/// What a full file holds.
#[derive(Debug, Default)]
pub(crate) struct Digest {
    /// Rows there are.
    pub(crate) rows: u64,
    /// Rows that cannot be read.
    pub(crate) bad: Vec<Bad>,
    /// Whether there are rows of which it cannot be read whose they are.
    pub(crate) keys_unknown: bool,
    /// Keys of rows that cannot be read otherwise.
    pub(crate) seen: Vec<String>,
    /// Hashes of the keys; once the mirror was looked at, of those that are new.
    pub(crate) fresh: HashSet<u64>,
    /// Whether groups have rows.
    pub(crate) has_group_rows: bool,
    /// On which line a key stands, by its hash.
    lines: HashMap<u64, u64>,
    /// What the keys and names of groups mean that have rows.
    groups: HashMap<String, Meaning>,
    people: Vec<Box<str>>,
    memberships: BTreeMap<String, Vec<Membership>>,
}

/// Looks at a whole file; the reason if it must be refused.
pub(crate) fn survey(source: &Source, plan: &CsvPlan) -> Result<Result<Digest, String>, CsvError> {
    if let Some(flaw) = source.flaw(plan)? {
        return Ok(Err(format!("line {}: {}", flaw.line, flaw.what)));
    }
    let mut digest = Digest::default();
    let mut said: BTreeMap<String, Vec<(u64, Membership)>> = BTreeMap::new();
    let read = source.rows(plan, Mode::Full, |row| {
        digest.rows += 1;
        match row {
            Ok(row) => digest.add(row, &mut said),
            Err(bad) => digest.add_bad(bad),
        }
        true
    })?;
    if let Err(why) = read {
        return Ok(Err(why));
    }
    Ok(digest.settle(said).map(|()| digest))
}

impl Digest {
    /// On which line the row of a key stands that counts.
    pub(crate) fn stands_on(&self, key: &str) -> Option<u64> {
        self.lines.get(&hash(key)).copied()
    }

    /// Whether the file speaks of this key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.lines.contains_key(&hash(key)) || is_group_by_name(key) && self.memberships.contains_key(key)
    }

    fn add(&mut self, row: Row, said: &mut BTreeMap<String, Vec<(u64, Membership)>>) {
        let number = hash(&row.head.key);
        if let Some(earlier) = self.lines.get(&number) {
            let why = format!("the key stands on line {earlier} already");
            return self.bad.push(Bad { line: row.line, key: Some(row.head.key), group: None, why });
        }
        self.lines.insert(number, row.line);
        self.fresh.insert(number);
        if row.head.object_type == ObjectType::Group {
            self.has_group_rows = true;
            if let Some(name) = row.head.name.filter(|name| *name != row.head.key) {
                let means = Meaning::Group(row.head.key.clone());
                self.groups.entry(name).and_modify(|other| *other = Meaning::Several).or_insert(means);
            }
            self.groups.insert(row.head.key.clone(), Meaning::Group(row.head.key.clone()));
        }
        if row.groups.is_empty() {
            return;
        }
        let person = u32::try_from(self.people.len()).unwrap_or(u32::MAX);
        self.people.push(row.head.key.into_boxed_str());
        for group in row.groups {
            said.entry(group.to).or_default().push((row.line, (person, group.starts_at, group.ends_at)));
        }
    }

    fn add_bad(&mut self, bad: Bad) {
        match &bad.key {
            Some(key) => {
                self.lines.entry(hash(key)).or_insert(0);
                self.seen.push(key.clone());
                if let Some(name) = &bad.group {
                    self.groups.insert(key.clone(), Meaning::Unreadable);
                    self.groups.insert(name.clone(), Meaning::Unreadable);
                }
            }
            None => self.keys_unknown = true,
        }
        self.bad.push(bad);
    }

    /// Once all rows are known: which group each name means; the reason if that cannot be said.
    fn settle(&mut self, said: BTreeMap<String, Vec<(u64, Membership)>>) -> Result<(), String> {
        for (name, members) in said {
            let key = match self.groups.get(&name) {
                Some(Meaning::Group(key)) => key.clone(),
                Some(Meaning::Unreadable) => continue,
                Some(Meaning::Several) => {
                    let line = members.first().map_or(0, |(line, _)| *line);
                    return Err(format!("line {line}: groups: more than one group is called `{}`; write its key", shown(&name)));
                }
                None if self.lines.contains_key(&hash(&name)) => {
                    let why = format!("groups: `{}` is not a group", shown(&name));
                    self.bad.extend(members.iter().map(|(line, _)| Bad { line: *line, key: None, group: None, why: why.clone() }));
                    continue;
                }
                None => format!("{GROUP_PREFIX}{name}"),
            };
            self.memberships.entry(key).or_default().extend(members.into_iter().map(|(_, member)| member));
        }
        self.bad.sort_by_key(|bad| bad.line);
        Ok(())
    }

    /// Notes that somebody stays in a group whose own row does not say so, because it cannot be read.
    pub(crate) fn keep(&mut self, group: &str, link: &Link) {
        let person = u32::try_from(self.people.len()).unwrap_or(u32::MAX);
        self.people.push(link.to.clone().into_boxed_str());
        self.memberships.entry(group.to_owned()).or_default().push((person, link.starts_at, link.ends_at));
    }

    /// Adds to a group whoever says to be in it.
    pub(crate) fn add_members(&self, entry: &mut Entry) {
        let Some(members) = self.memberships.get(&entry.head.key) else { return };
        let mut told: HashSet<String> =
            entry.links.iter().filter(|link| link.role == LinkRole::Member).map(|link| link.to.clone()).collect();
        let links = members.iter().filter_map(|member| self.link(member)).filter(|link| told.insert(link.to.clone()));
        entry.links.extend(links);
    }

    fn link(&self, (person, starts_at, ends_at): &Membership) -> Option<Link> {
        let key = self.people.get(*person as usize)?;
        Some(Link { starts_at: *starts_at, ends_at: *ends_at, ..Link::new(LinkRole::Member, &**key) })
    }

    /// The groups that have no row of their own.
    pub(crate) fn named_groups(&self) -> impl Iterator<Item = Entry> + '_ {
        self.memberships.keys().filter(|key| is_group_by_name(key)).map(|key| {
            let mut entry = Entry { head: group_by_name(&key[GROUP_PREFIX.len()..]), links: Vec::new(), document: None };
            self.add_members(&mut entry);
            entry
        })
    }
}

/// A group of which only the name is known.
pub(crate) fn group_by_name(name: &str) -> Head {
    let mut head = Head::new(ObjectType::Group, format!("{GROUP_PREFIX}{name}"));
    head.name = Some(name.split_whitespace().collect::<Vec<_>>().join(" "));
    head
}
