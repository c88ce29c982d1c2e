//! `[[directory]] marker`: requests for a letter that stand as a value in an attribute of an entry, and who answers them.

use super::Directory;
use crate::{
    keys::{Section, Shape, key},
    load::{Loading, shown},
    problem::did_you_mean,
    read::Table,
    sections::DirectorySource,
};
use tidings_core::{
    Kind,
    kind::TYPE_PREFIX,
    policy::{Rule, RuleSet},
    schedule::Cron,
};

pub(crate) static MARKER: Section = Section {
    meaning: "An attribute whose value asks for a letter, and is cleared once that is sent. The account of `bind_dn` must be able to change it.",
    keys: &[
        key("attribute", Shape::Text, "ldap: the attribute that holds the marker, such as `destinationIndicator`; required."),
        key(
            "indicator",
            Shape::Text,
            "ldap: an attribute that nobody else writes, such as `teletexTerminalIdentifier`: it holds a token while a marker is being answered, by which one that is set anew is told from one that is being cleared. Cleared with the marker.",
        ),
        key(
            "kinds",
            Shape::Map,
            "ldap: which value asks for a letter of which kind: `{ PR_EMAIL = \"password.reset\" }`; required. Values are compared as LDAP does (caseIgnoreMatch): without regard to case, blanks in a row as one.",
        ),
        key(
            "schedule",
            Shape::Cron,
            "ldap: when is looked for markers: `*/5 * * * *` is every five minutes (UTC), a sixth field in front is the second. Markers are then noticed at those times only; without it at once.",
        ),
        key(
            "details",
            Shape::Map,
            "ldap: attributes of the entry that the letter is to have: `{ account = \"uid\" }` puts the first value of `uid` into `details.account`.",
        ),
    ],
};

/// Requests for a letter that stand in an attribute.
#[derive(Debug, Clone)]
pub struct LdapMarker {
    /// The attribute.
    pub attribute: String,
    /// The attribute for our token. Default: none.
    pub indicator: Option<String>,
    /// Which value asks for which kind; no two values are the same to LDAP.
    pub kinds: Vec<(String, &'static Kind)>,
    /// When is looked for markers. Default: they are noticed at once.
    pub schedule: Option<Cron>,
    /// Variables below `/details`, and the attributes they are filled from.
    pub details: Vec<(String, String)>,
}

pub(super) fn build(loading: &Loading<'_>, table: &Table<'_>) -> Option<LdapMarker> {
    for required in ["attribute", "kinds"] {
        if !table.has(required) {
            loading.problem(table.at(), table.key(required), "is missing; a marker needs it");
        }
    }
    for name in ["attribute", "indicator"] {
        if let Some(text) = table.text(name).filter(|text| !is_attribute(text)) {
            let message = format!("`{}` is not the name of an attribute (RFC 4512 §1.4)", shown(text));
            loading.problem(table.place(name), table.key(name), message);
        }
    }
    let (attribute, indicator) = (table.owned("attribute"), table.owned("indicator"));
    if let (Some(one), Some(other)) = (&attribute, &indicator)
        && one.eq_ignore_ascii_case(other)
    {
        loading.problem(table.place("indicator"), table.key("indicator"), "is the attribute of the marker itself; it must be another one");
    }
    let kinds = kinds(loading, table);
    let details = details(loading, table, &kinds);
    for (at, value, kind) in &kinds {
        let lacks = kind.variables.iter().filter(|variable| variable.required && variable.pointer != "/object");
        for variable in lacks {
            let given = variable.pointer.strip_prefix("/details/");
            if given.is_some_and(|name| details.iter().any(|(written, _)| written == name)) {
                continue;
            }
            let advice = match given {
                Some(name) => format!("name the attribute that holds it, as `{name}` in `details`"),
                None => "a marker cannot give it".to_owned(),
            };
            let message = format!("`{}` needs `{}` ({}); {advice}", kind.name, variable.pointer, variable.meaning);
            loading.problem(*at, format!("{}.{}", table.key("kinds"), shown(value)), message);
        }
    }
    Some(LdapMarker {
        attribute: attribute?,
        indicator,
        kinds: kinds.into_iter().map(|(_, value, kind)| (value, kind)).collect(),
        schedule: table.parsed("schedule"),
        details,
    })
}

fn kinds(loading: &Loading<'_>, table: &Table<'_>) -> Vec<(usize, String, &'static Kind)> {
    let mut kinds: Vec<(usize, String, &'static Kind)> = Vec::new();
    let written = table.pairs("kinds");
    if table.has("kinds") && written.is_empty() {
        loading.problem(
            table.place("kinds"),
            table.key("kinds"),
            "is empty; name at least one value, such as { PR_EMAIL = \"password.reset\" }",
        );
    }
    for (at, value, name) in written {
        let key = format!("{}.{}", table.key("kinds"), if folded(value).is_empty() { "\"\"" } else { value });
        if folded(value).is_empty() {
            loading.problem(at, key.clone(), "an empty value is no marker");
        }
        if let Some((earlier, ..)) = kinds.iter().find(|(_, earlier, _)| folded(earlier) == folded(value)) {
            let line = loading.place(*earlier).0;
            loading.problem(at, key.clone(), format!("is to LDAP the same value as the one on line {line}"));
        }
        if let Some(kind) = Kind::find(name.strip_prefix(TYPE_PREFIX).unwrap_or(name)) {
            kinds.push((at, value.to_owned(), kind));
        } else {
            let hint = Kind::nearest(name).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            loading.problem(at, key, format!("there is no kind `{}`{hint}", shown(name)));
        }
    }
    kinds
}

fn details(loading: &Loading<'_>, table: &Table<'_>, kinds: &[(usize, String, &'static Kind)]) -> Vec<(String, String)> {
    let known: Vec<&str> =
        kinds.iter().flat_map(|(.., kind)| kind.variables).filter_map(|variable| variable.pointer.strip_prefix("/details/")).collect();
    let mut details = Vec::new();
    for (at, name, attribute) in table.pairs("details") {
        let key = format!("{}.{name}", table.key("details"));
        if !is_attribute(attribute) {
            loading.problem(at, key, format!("`{}` is not the name of an attribute (RFC 4512 §1.4)", shown(attribute)));
        } else if !known.contains(&name) && !kinds.is_empty() {
            let hint = did_you_mean(name, known.iter().copied());
            loading.problem(at, key, format!("no kind of this marker knows `details.{}`{hint}", shown(name)));
        } else {
            details.push((name.to_owned(), attribute.to_owned()));
        }
    }
    details
}

/// Warns of kinds that nobody is told of: such a marker would stay for ever.
pub(crate) fn warn_of_silence(loading: &Loading<'_>, tables: &[Table<'_>], directories: &[Directory], rules: &RuleSet) {
    for (table, directory) in
        tables.iter().filter_map(|table| Some((table, directories.iter().find(|one| table.text("name") == Some(&one.name))?)))
    {
        let DirectorySource::Ldap(source) = &directory.source else { continue };
        let marker = table.table("marker");
        for (value, kind) in source.marker.iter().flat_map(|marker| &marker.kinds) {
            let tells = |rule: &Rule| rule.enabled && rule.directories.cover(Some(&directory.name)) && !rules.is_off(rule.kind_for(kind));
            let told = rules.for_kind(kind).any(tells);
            if told {
                continue;
            }
            let at = marker.pairs("kinds").into_iter().find(|(_, written, _)| written == value).map_or(marker.at(), |(at, ..)| at);
            let message = format!("no rule that is on tells anybody of `{}`: such a marker makes no letter, and stays", kind.name);
            loading.warning(at, format!("{}.{}", marker.key("kinds"), shown(value)), message);
        }
    }
}

/// A value as caseIgnoreMatch compares it (RFC 4517 §4.2.11, RFC 4518 §2.6.1): without regard to case, blanks in a row as one, none around it.
fn folded(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

fn is_attribute(text: &str) -> bool {
    let descr =
        |text: &str| text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let oid = |text: &str| text.contains('.') && text.split('.').all(|arc| !arc.is_empty() && arc.bytes().all(|b| b.is_ascii_digit()));
    descr(text) || oid(text)
}
