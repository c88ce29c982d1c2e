//! A made-up company: people with managers, groups with owners and members. The same numbers give the same company, as a file of rows (CSV) or of entries (LDIF).

use anyhow::{Context, Result};
use serde::Serialize;
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

/// The tree that entries stand in.
pub(crate) const SUFFIX: &str = "dc=example,dc=org";
/// The first letter of everybody's mail address; a number follows.
pub(crate) const MAILBOX: &str = "p";
/// So many people have the same manager.
const TEAM: u64 = 8;

/// How large it is.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Company {
    /// People; their numbers begin with 0.
    pub(crate) people: u64,
    /// Groups; their numbers begin with 0.
    pub(crate) groups: u64,
    /// Memberships of all groups together.
    pub(crate) memberships: u64,
}

impl Company {
    /// People and groups.
    pub(crate) fn objects(&self) -> u64 {
        self.people + self.groups
    }

    /// The members of a group; the first group has a tenth of the company, the others share what is left.
    pub(crate) fn members(&self, group: u64) -> impl Iterator<Item = u64> + use<> {
        let people = self.people.max(1);
        let large = (people / 10).min(self.memberships);
        let (count, step) = if group == 0 { (large, 10) } else { ((self.memberships - large) / (self.groups.max(2) - 1), 1) };
        // Neighbours in a group are no neighbours in the company, and nobody is in it twice.
        let (first, stride) = if group == 0 { (0, step) } else { (scatter(group) % people, people / count.max(1)) };
        (0..count.min(people)).map(move |place| (first + place * stride.max(1)) % people)
    }

    /// Who owns a group.
    fn owner(&self, group: u64) -> u64 {
        scatter(group ^ 0x5eed) % self.people.max(1)
    }

    /// Writes everybody and every group with its owner as rows; memberships only if `linked`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn write_rows(&self, path: &Path, linked: bool) -> Result<()> {
        written(path, |out| {
            writeln!(out, "key,type,name,mail,locale,department,title,manager,owner,members")?;
            for number in 0..self.people {
                let (locale, manager) = (["en", "de", "fr"][usize::try_from(number % 3).expect("a number below 3 fits")], number / TEAM);
                let (department, title) = (number % 300, number % 50);
                writeln!(
                    out,
                    "p{number},user,Given{} Family{number},{MAILBOX}{number}@example.org,{locale},Department {department},Engineer {title},p{manager},,",
                    number % 1000
                )?;
            }
            for group in 0..self.groups {
                write!(out, "g{group},group,Team {group},,,,,,p{},", self.owner(group))?;
                if linked {
                    for (place, member) in self.members(group).enumerate() {
                        write!(out, "{}p{member}", if place > 0 { ";" } else { "" })?;
                    }
                }
                writeln!(out)?;
            }
            Ok(())
        })
    }

    /// Writes the tree, everybody and every group as entries; groups stand evenly among the people, as in a directory that has grown.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn write_entries(&self, path: &Path) -> Result<()> {
        written(path, |out| {
            write!(out, "dn: {SUFFIX}\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example\n\n")?;
            for unit in ["people", "groups"] {
                write!(out, "dn: ou={unit},{SUFFIX}\nobjectClass: organizationalUnit\nou: {unit}\n\n")?;
            }
            let every = (self.people / self.groups.max(1)).max(1);
            let mut group = 0;
            for number in 0..self.people {
                write_person(out, number)?;
                if number % every == 0 && group < self.groups {
                    self.write_group(out, group)?;
                    group += 1;
                }
            }
            (group..self.groups).try_for_each(|group| self.write_group(out, group))
        })
    }

    fn write_group(&self, out: &mut impl Write, group: u64) -> std::io::Result<()> {
        write!(out, "dn: {}\nobjectClass: groupOfNames\ncn: Team {group}\nowner: {}\n", self::group(group), person(self.owner(group)))?;
        let mut alone = true;
        for member in self.members(group) {
            writeln!(out, "member: {}", person(member))?;
            alone = false;
        }
        if alone {
            // The class demands one.
            writeln!(out, "member: {}", person(0))?;
        }
        writeln!(out)
    }
}

fn write_person(out: &mut impl Write, number: u64) -> std::io::Result<()> {
    write!(
        out,
        "dn: {}\nobjectClass: inetOrgPerson\nuid: user{number}\ncn: Given{} Family{number}\nsn: Family{number}\nmail: {MAILBOX}{number}@example.org\n\
         title: Engineer {}\ndepartmentNumber: {}\nmanager: {}\n\n",
        person(number),
        number % 1000,
        number % 50,
        number % 300,
        person(number / TEAM)
    )
}

/// A person's entry.
pub(crate) fn person(number: u64) -> String {
    format!("uid=user{number},ou=people,{SUFFIX}")
}

/// A group's entry.
pub(crate) fn group(number: u64) -> String {
    format!("cn=Team {number},ou=groups,{SUFFIX}")
}

/// Numbers in no order that can be had again (splitmix64).
pub(crate) fn scatter(seed: u64) -> u64 {
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

fn written(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) -> Result<()> {
    let file = File::create(path).with_context(|| format!("making {}", path.display()))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    write(&mut out).and_then(|()| out.flush()).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::HashSet, fs};

    const SMALL: Company = Company { people: 1_000, groups: 20, memberships: 500 };

    #[test]
    fn nobody_is_in_a_group_twice_and_there_are_as_many_memberships_as_asked_for() {
        let mut all = 0;
        for group in 0..SMALL.groups {
            let members: Vec<u64> = SMALL.members(group).collect();
            assert_eq!(members.iter().collect::<HashSet<_>>().len(), members.len());
            assert!(members.iter().all(|member| *member < SMALL.people));
            all += members.len();
        }
        assert_eq!(SMALL.members(0).count(), 100);
        assert!((480..=500).contains(&all), "{all}");
    }

    #[test]
    fn rows_and_entries_hold_everything() {
        let folder = tempfile::tempdir().unwrap();
        let (rows, entries) = (folder.path().join("rows.csv"), folder.path().join("entries.ldif"));
        SMALL.write_rows(&rows, true).unwrap();
        SMALL.write_entries(&entries).unwrap();
        assert_eq!(fs::read_to_string(&rows).unwrap().lines().count(), 1_021);
        let entries = fs::read_to_string(&entries).unwrap();
        assert_eq!(entries.matches("dn: ").count(), 1_023);
        assert_eq!(entries.matches("\nmember: ").count(), (0..20).map(|group| SMALL.members(group).count()).sum::<usize>());
    }
}
