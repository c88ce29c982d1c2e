//! Which column holds what: the house's names, found in a file's headings.

use super::{
    plan::{CsvPlan, Mode},
    values::shown,
};
use tidings_core::directory::{Head, LinkRole};

/// What a column may hold that the house knows by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Key,
    Type,
    Name,
    Mail,
    Locale,
    Timezone,
    Enabled,
    Public,
    Notify,
    Manager,
    Members,
    Owner,
    AdditionalOwners,
    Groups,
    Change,
    Actor,
}

impl Column {
    const ALL: [(Self, &str); 16] = [
        (Self::Key, "key"),
        (Self::Type, "type"),
        (Self::Name, "name"),
        (Self::Mail, "mail"),
        (Self::Locale, "locale"),
        (Self::Timezone, "timezone"),
        (Self::Enabled, "enabled"),
        (Self::Public, "public"),
        (Self::Notify, "notify"),
        (Self::Manager, "manager"),
        (Self::Members, "members"),
        (Self::Owner, "owner"),
        (Self::AdditionalOwners, "additional_owners"),
        (Self::Groups, "groups"),
        (Self::Change, "change"),
        (Self::Actor, "actor"),
    ];

    /// The columns that hold links, with what those are.
    pub(crate) const LINKS: [(Self, LinkRole); 4] = [
        (Self::Manager, LinkRole::Manager),
        (Self::Members, LinkRole::Member),
        (Self::Owner, LinkRole::Owner),
        (Self::AdditionalOwners, LinkRole::AdditionalOwner),
    ];

    /// The house's name for it.
    pub(crate) fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(one, _)| *one == self).map_or("", |(_, name)| name)
    }
}

/// Where in a row everything stands.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    places: [Option<usize>; Column::ALL.len()],
    /// Attributes of the object by name.
    pub(crate) attributes: Vec<(String, usize)>,
    /// How many fields a row has.
    pub(crate) width: usize,
}

impl Layout {
    /// Finds every column, or says which is missing.
    pub(crate) fn of(headings: &[&str], plan: &CsvPlan, mode: Mode) -> Result<Self, String> {
        let find = |heading: &str| -> Result<Option<usize>, String> {
            let wanted = heading.trim().to_lowercase();
            let mut found = headings.iter().enumerate().filter(|(_, one)| one.trim().to_lowercase() == wanted).map(|(place, _)| place);
            let first = found.next();
            if found.next().is_some() { Err(format!("there is more than one column `{}`", shown(heading))) } else { Ok(first) }
        };
        let mapped = |name: &str| plan.columns.iter().find(|(target, _)| target == name).map(|(_, heading)| heading.as_str());
        let missing = |heading: &str, name: &str| {
            let there = headings.iter().map(|one| shown(one.trim())).collect::<Vec<_>>().join(", ");
            format!("there is no column `{}`, which is to hold `{name}`; there are {there}", shown(heading))
        };
        let mut layout = Self { places: [None; Column::ALL.len()], attributes: Vec::new(), width: headings.len() };
        for (place, (column, name)) in Column::ALL.into_iter().enumerate() {
            layout.places[place] = find(mapped(name).unwrap_or(name))?;
            let needed = mapped(name).is_some() || column == Column::Key || column == Column::Change && mode == Mode::Delta;
            // The column that says what changes, and by whom, need not stand in a full file.
            let needed = needed && !(matches!(column, Column::Change | Column::Actor) && mode == Mode::Full);
            if needed && layout.places[place].is_none() && (mode == Mode::Full || matches!(column, Column::Key | Column::Change)) {
                return Err(missing(mapped(name).unwrap_or(name), name));
            }
        }
        for (target, heading) in plan.columns.iter().filter(|(target, _)| Column::ALL.iter().all(|(_, name)| name != target)) {
            match find(heading)? {
                Some(place) => layout.attributes.push((target.clone(), place)),
                // A delta file may leave out whatever does not change.
                None if mode == Mode::Delta => {}
                None => return Err(missing(heading, target)),
            }
        }
        Ok(layout)
    }

    /// Where a column stands, if the file has it.
    pub(crate) fn place(&self, column: Column) -> Option<usize> {
        Column::ALL.iter().position(|(one, _)| *one == column).and_then(|index| self.places[index])
    }

    /// Whether the file has a column.
    pub(crate) fn has(&self, column: Column) -> bool {
        self.place(column).is_some()
    }

    /// What an object is after a row that says only what the file has columns for.
    pub(crate) fn overlay(&self, before: &Head, row: &Head) -> Head {
        let mut head = before.clone();
        let mut take = |column: Column, field: &mut dyn FnMut(&mut Head)| {
            if self.has(column) {
                field(&mut head);
            }
        };
        take(Column::Type, &mut |head| head.object_type = row.object_type.clone());
        take(Column::Name, &mut |head| head.name.clone_from(&row.name));
        take(Column::Mail, &mut |head| head.mail.clone_from(&row.mail));
        take(Column::Locale, &mut |head| head.locale.clone_from(&row.locale));
        take(Column::Timezone, &mut |head| head.timezone.clone_from(&row.timezone));
        take(Column::Enabled, &mut |head| head.enabled = row.enabled);
        take(Column::Public, &mut |head| head.public = row.public);
        take(Column::Notify, &mut |head| head.notify = row.notify);
        for (name, _) in &self.attributes {
            match row.attributes.get(name) {
                Some(value) => head.attributes.insert(name.clone(), value.clone()),
                None => head.attributes.remove(name),
            };
        }
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csv::plan::a_plan;

    #[test]
    fn columns_are_found_by_their_own_or_by_a_mapped_name() {
        let mut plan = a_plan();
        plan.columns = vec![("key".into(), "Nr.".into()), ("cost_centre".into(), "KST".into())];
        let layout = Layout::of(&["Name ", " nr.", "kst", "Salary"], &plan, Mode::Full).unwrap();
        assert_eq!((layout.place(Column::Key), layout.place(Column::Name), layout.has(Column::Mail)), (Some(1), Some(0), false));
        assert_eq!(layout.attributes, [("cost_centre".to_owned(), 2)]);
    }

    #[test]
    fn what_is_missing_or_there_twice_is_said() {
        let mut plan = a_plan();
        let fault = |plan: &CsvPlan, headings: &[&str], mode| Layout::of(headings, plan, mode).unwrap_err();
        assert_eq!(fault(&plan, &["id", "name"], Mode::Full), "there is no column `key`, which is to hold `key`; there are id, name");
        assert_eq!(fault(&plan, &["key", "mail", "Mail"], Mode::Full), "there is more than one column `mail`");
        assert!(fault(&plan, &["key", "name"], Mode::Delta).starts_with("there is no column `change`"));
        plan.columns = vec![("mail".into(), "E-Mail".into())];
        assert!(fault(&plan, &["key"], Mode::Full).contains("`E-Mail`, which is to hold `mail`"));
        assert!(Layout::of(&["key", "change"], &plan, Mode::Delta).is_ok());
    }
}
