//! One row, read: an object, its links, and the groups it says it is in.

use super::{
    layout::{Column, Layout},
    plan::CsvPlan,
    values::{flag, link, shown},
};
use serde_json::Value;
use tidings_core::{
    Address, Locale,
    directory::{Head, Link, LinkRole},
    subject::ObjectType,
};

/// The longest key, in bytes.
const LONGEST_KEY: usize = 255;
/// Keys that begin so are those of groups that are known by name alone; no row may bear one.
pub(crate) const GROUP_PREFIX: &str = "group:";

/// What a row of a delta file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Add,
    Modify,
    Delete,
}

/// A row that could be read.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// The line on which it begins.
    pub(crate) line: u64,
    /// What a delta file says of it.
    pub(crate) verb: Option<Verb>,
    /// Who made the change, if the file says so.
    pub(crate) actor: Option<String>,
    /// The object.
    pub(crate) head: Head,
    /// Its links, each role and target once.
    pub(crate) links: Vec<Link>,
    /// The groups that it says it is in, by key or name.
    pub(crate) groups: Vec<Link>,
}

/// A row that could not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bad {
    /// The line on which it begins.
    pub(crate) line: u64,
    /// Whose row it is, if at least that can be read.
    pub(crate) key: Option<String>,
    /// What it is called, if it is or may be a group: who says to be in it is not known to be out of it.
    pub(crate) group: Option<String>,
    /// What is wrong.
    pub(crate) why: String,
}

/// Reads a row.
pub(crate) fn read(fields: &[&str], line: u64, layout: &Layout, plan: &CsvPlan) -> Result<Row, Bad> {
    let bad = |key: Option<&str>, why: String| Bad { line, key: key.map(str::to_owned), group: None, why };
    // Some programs write a delimiter behind the last field.
    let surplus = fields.get(layout.width..).unwrap_or_default();
    if fields.len() < layout.width || surplus.iter().any(|field| !field.trim().is_empty()) {
        return Err(bad(None, format!("the row has {} fields, the heading {}", fields.len(), layout.width)));
    }
    let field = |column: Column| layout.place(column).map(|place| fields[place].trim()).filter(|text| !text.is_empty());
    let key = field(Column::Key).ok_or_else(|| bad(None, format!("{} is empty", Column::Key.as_str())))?;
    if key.len() > LONGEST_KEY || key.contains(char::is_control) || key.starts_with(GROUP_PREFIX) {
        return Err(bad(
            None,
            format!(
                "`{}` is not a key: at most {LONGEST_KEY} bytes without line breaks, and not beginning with `{GROUP_PREFIX}`",
                shown(key)
            ),
        ));
    }
    let mut faults = Vec::new();
    let verb = field(Column::Change).and_then(|text| verb(text).map_err(|why| faults.push(format!("change: {why}"))).ok());
    let head = head(key, &field, layout, fields, &mut faults);
    let links = links(&field, plan, &mut faults);
    let groups = list(field(Column::Groups), LinkRole::Member, plan).unwrap_or_else(|why| {
        faults.push(format!("groups: {why}"));
        Vec::new()
    });
    if !faults.is_empty() {
        let person =
            field(Column::Type).is_none_or(|text| ["user", "person", "contact", "account"].contains(&text.to_lowercase().as_str()));
        let group = (!person).then(|| head.name.unwrap_or_default());
        return Err(Bad { group, ..bad(Some(key), faults.join("; ")) });
    }
    Ok(Row { line, verb, actor: field(Column::Actor).map(str::to_owned), head, links, groups })
}

fn verb(text: &str) -> Result<Verb, String> {
    match text.to_lowercase().as_str() {
        "add" | "added" | "new" | "create" | "a" => Ok(Verb::Add),
        "modify" | "modified" | "change" | "changed" | "update" | "m" => Ok(Verb::Modify),
        "delete" | "deleted" | "remove" | "removed" | "d" => Ok(Verb::Delete),
        _ => Err(format!("`{}` is not allowed; allowed are add, modify, delete", shown(text))),
    }
}

fn head<'a>(key: &str, field: &dyn Fn(Column) -> Option<&'a str>, layout: &Layout, fields: &[&str], faults: &mut Vec<String>) -> Head {
    let mut head = Head::new(ObjectType::User, key);
    let mut told = |column: Column, why: String| faults.push(format!("{}: {why}", column.as_str()));
    if let Some(text) = field(Column::Type) {
        match text.to_lowercase().as_str() {
            "user" | "person" => {}
            "group" | "role" => head.object_type = ObjectType::Group,
            "contact" => head.object_type = ObjectType::Contact,
            "account" => head.object_type = ObjectType::Account,
            _ => told(Column::Type, format!("`{}` is not allowed; allowed are user, group, contact, account", shown(text))),
        }
    }
    // A name goes into subjects: one line.
    head.name = field(Column::Name).map(|name| name.split_whitespace().collect::<Vec<_>>().join(" "));
    if let Some(text) = field(Column::Mail) {
        match Address::parse(text) {
            Ok(address) => head.mail = Some(address),
            Err(error) => told(Column::Mail, error.to_string()),
        }
    }
    if let Some(text) = field(Column::Locale) {
        match text.parse::<Locale>() {
            Ok(locale) => head.locale = Some(locale),
            Err(error) => told(Column::Locale, error.to_string()),
        }
    }
    if let Some(text) = field(Column::Timezone) {
        match jiff::tz::TimeZone::get(text) {
            Ok(_) => head.timezone = Some(text.to_owned()),
            Err(_) => told(Column::Timezone, format!("`{}` is not a time zone such as Europe/Berlin", shown(text))),
        }
    }
    for (column, target) in [(Column::Enabled, &mut head.enabled), (Column::Public, &mut head.public), (Column::Notify, &mut head.notify)] {
        if let Some(text) = field(column) {
            match flag(text) {
                Ok(value) => *target = value,
                Err(why) => told(column, why),
            }
        }
    }
    for (name, place) in &layout.attributes {
        let text = fields[*place].trim();
        if !text.is_empty() {
            head.attributes.insert(name.clone(), Value::String(text.to_owned()));
        }
    }
    head
}

fn links<'a>(field: &dyn Fn(Column) -> Option<&'a str>, plan: &CsvPlan, faults: &mut Vec<String>) -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    for (column, role) in Column::LINKS {
        let found = match (role, field(column)) {
            (_, None) => Ok(Vec::new()),
            // Of these there is one.
            (LinkRole::Owner | LinkRole::Manager, Some(text)) => link(text, role, &plan.timezone).map(|link| vec![link]),
            (_, text) => list(text, role, plan),
        };
        match found {
            Ok(found) => links.extend(found),
            Err(why) => faults.push(format!("{}: {why}", column.as_str())),
        }
    }
    links
}

fn list(text: Option<&str>, role: LinkRole, plan: &CsvPlan) -> Result<Vec<Link>, String> {
    let mut seen = std::collections::HashSet::new();
    let mut links = Vec::new();
    for one in text.unwrap_or_default().split(plan.list_separator).map(str::trim).filter(|one| !one.is_empty()) {
        let link = link(one, role, &plan.timezone)?;
        if seen.insert(link.to.clone()) {
            links.push(link);
        }
    }
    Ok(links)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csv::plan::{Mode, a_plan};
    use serde_json::json;

    const HEADINGS: [&str; 14] = [
        "key", "type", "name", "mail", "locale", "timezone", "enabled", "notify", "manager", "members", "owner", "groups", "change", "Site",
    ];

    fn of(fields: &[&str]) -> Result<Row, Bad> {
        let mut plan = a_plan();
        plan.columns = vec![("site".into(), "Site".into())];
        read(fields, 7, &Layout::of(&HEADINGS, &plan, Mode::Delta).unwrap(), &plan)
    }

    #[test]
    fn a_row_is_an_object_with_its_links() {
        let row = of(&[
            " u1 ",
            "",
            "Ada\n King",
            "ada@example.org",
            "de",
            "Europe/Berlin",
            "no",
            "0",
            "u2",
            "",
            "",
            "Sales; g2 until 2026-12-31;Sales",
            "add",
            "Paris",
        ])
        .unwrap();
        assert_eq!(
            (row.head.key.as_str(), row.head.name.as_deref(), row.head.enabled, row.head.notify),
            ("u1", Some("Ada King"), false, false)
        );
        assert_eq!(row.head.attributes["site"], json!("Paris"));
        assert_eq!(row.links, [Link::new(LinkRole::Manager, "u2")]);
        assert_eq!(
            row.groups.iter().map(|link| (link.to.as_str(), link.ends_at.is_some())).collect::<Vec<_>>(),
            [("Sales", false), ("g2", true)]
        );
        assert_eq!(row.verb, Some(Verb::Add));
        let group = of(&["g2", "Group", "", "", "", "", "", "", "", "u1;u3", "u9", "", "modify", ""]).unwrap();
        assert_eq!(group.head.object_type, ObjectType::Group);
        assert_eq!(group.links.iter().map(|link| link.role).collect::<Vec<_>>(), [LinkRole::Member, LinkRole::Member, LinkRole::Owner]);
    }

    #[test]
    fn everything_that_is_wrong_with_a_row_is_said_at_once() {
        let bad =
            of(&["u1", "robot", "", "ada", "", "Mars/Olympus", "perhaps", "", "", "", "", "g until 2026-99-01", "rename", ""]).unwrap_err();
        assert_eq!(bad.key.as_deref(), Some("u1"));
        assert_eq!(bad.why.split("; ").filter(|part| part.contains(": `")).count(), 6, "{}", bad.why);
        for why in
            ["change: `rename`", "type: `robot`", "mail: `ada`", "timezone: `Mars/Olympus`", "enabled: `perhaps`", "groups: `2026-99-01`"]
        {
            assert!(bad.why.contains(why), "{why}: {}", bad.why);
        }
    }

    #[test]
    fn a_row_whose_key_cannot_be_trusted_has_none() {
        assert_eq!(of(&["u1", "user"]).unwrap_err().key, None);
        assert_eq!(of(&["", "", "", "", "", "", "", "", "", "", "", "", "", ""]).unwrap_err().why, "key is empty");
        assert!(of(&["group:x", "", "", "", "", "", "", "", "", "", "", "", "", ""]).unwrap_err().why.contains("is not a key"));
        let mut surplus = vec!["u1"; 1];
        surplus.extend([""; 15]);
        assert!(of(&surplus).is_ok());
        surplus[15] = "more";
        assert!(of(&surplus).is_err());
    }
}
