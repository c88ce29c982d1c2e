//! `[[rule]]`: on which events, when, for whom, about what.

use crate::{
    keys::{Section, Shape, key, preset},
    load::{Loading, literal_start, shown},
    problem::did_you_mean,
    read::Table,
    sections::{directory::Directory, query::Query},
};
use tidings_core::{
    kind::{KINDS, Kind},
    policy::{Audience, Condition, Directories, Origin, Rule, RuleSet, TypePattern},
};

pub(crate) static RULE: Section = Section {
    meaning: "On which events, when, for whom, about what. Kinds whose reader is their own subject have a built-in rule, `built-in:<kind>`; a rule of that name replaces it. A directory's switches and addresses stand for rules as well, `<directory>:<switch>`; where a directory has switches, the built-in rules on memberships do not apply to its events.",
    keys: &[
        key("name", Shape::Text, "Its name, unique among the rules; required."),
        key("on", Shape::Texts, "The types of event it listens to, without the prefix `tidings.`; `*` stands for any text; required."),
        key(
            "when",
            Shape::Expression,
            "A CEL condition over `event`, `actor`, `object`, `member`, `before`, `after`, `details` and `data`; always if absent.",
        ),
        key(
            "to",
            Shape::Texts,
            "Whom it writes to: `actor`, `object` (of a group its members), `member`, `manager`, `managers:N`, `object_manager`, `owners`, `primary_owner`, `additional_owners`, `members`, `members:mail` (the group's own address), `members:owners`, `approvers`, `requester`, `reviewers`, `subscribers`, `performer:STEP`, `holders:NAME` (members of a group or role), `query:NAME`, `permission:/PATH`, `attr:PATH`, `cel:EXPRESSION` or a mail address; required.",
        ),
        key("directory", Shape::Text, "The directory whose events it listens to; events of any directory, and of none, if absent."),
        key("cc", Shape::Texts, "Who gets a copy; not allowed for kinds that hold secrets."),
        key("fallback", Shape::Texts, "Whom it writes to if `to` reaches nobody."),
        key("kind", Shape::Text, "The letter it sends; the event's own kind if absent."),
        key("relay", Shape::Text, "The relay its letters go by; the first one if absent."),
        key(
            "lane",
            Shape::Lane,
            "The lane its letters travel in: codes, security, requests, notices, reminders or digests; the kind's own if absent.",
        ),
        preset(
            "strict_permissions",
            Shape::Flag,
            "false",
            "Whether `permission:/PATH` means only holders of exactly this path; otherwise holders of a parent of it are told, too.",
        ),
        preset("disabled_too", Shape::Flag, "false", "Whether people whose account is disabled are told as well."),
        preset("enabled", Shape::Flag, "true", "Whether it is in force."),
    ],
};

/// What the rules stand beside.
pub(crate) struct Beside<'a> {
    /// The names of the relays.
    pub(crate) relays: &'a [String],
    /// The names of the directories, also of those with problems.
    pub(crate) stores: &'a [String],
    /// The stored queries.
    pub(crate) queries: &'a [Query],
    /// The directories.
    pub(crate) directories: &'a [Directory],
    /// The rule that `[alerts]` stands for.
    pub(crate) alerts: Option<Rule>,
    /// The rule that `[bounces]` stands for, in place of the built-in one.
    pub(crate) bounces: Option<Rule>,
}

pub(crate) fn build(loading: &Loading<'_>, tables: &[Table<'_>], beside: Beside<'_>) -> RuleSet {
    let mut names: Vec<(String, usize)> = Vec::new();
    let mut rules = Vec::new();
    for table in tables {
        if let Some(name) = table.text("name") {
            match names.iter().find(|(earlier, _)| earlier == name) {
                Some((_, place)) => {
                    let line = loading.place(*place).0;
                    loading.problem(
                        table.place("name"),
                        table.key("name"),
                        format!("`{}` is the name of the rule on line {line} already", shown(name)),
                    );
                }
                None => names.push((name.to_owned(), table.place("name"))),
            }
        }
        rules.push(rule(loading, table, &beside));
    }
    // Whoever has switches could not switch the built-in rules on memberships off otherwise.
    let switched: Vec<String> =
        beside.directories.iter().filter(|directory| directory.notify.is_some()).map(|directory| directory.name.clone()).collect();
    let mut all = RuleSet::built_in();
    for built_in in all.iter_mut().filter(|rule| rule.name.starts_with("built-in:membership.")) {
        if !switched.is_empty() {
            built_in.directories = Directories::AllBut(switched.clone());
        }
    }
    if let Some(told) = beside.bounces
        && let Some(place) = all.iter().position(|rule| rule.name == told.name)
    {
        all[place] = told;
    }
    all.extend(beside.alerts);
    all.extend(beside.directories.iter().flat_map(Directory::rules));
    all.retain(|one| rules.iter().all(|rule| rule.name != one.name));
    all.extend(rules);
    RuleSet::new(all)
}

fn rule(loading: &Loading<'_>, table: &Table<'_>, beside: &Beside<'_>) -> Rule {
    for required in ["name", "on", "to"] {
        if !table.has(required) {
            loading.problem(table.at(), table.key(required), "is missing; every rule needs it");
        }
    }
    for list in ["on", "to"] {
        if table.has(list) && table.texts(list).is_empty() {
            loading.problem(table.place(list), table.key(list), "is empty");
        }
    }
    let kind = kind(loading, table);
    let known = |name: &str, names: &[String]| {
        let found = table.owned(name);
        if let Some(found) = found.as_ref().filter(|found| !names.contains(found)) {
            let hint = did_you_mean(found, names.iter().map(String::as_str));
            loading.problem(table.place(name), table.key(name), format!("there is no {name} `{}`{hint}", shown(found)));
        }
        found
    };
    let relay = known("relay", beside.relays);
    let rule = Rule {
        name: table.owned("name").unwrap_or_default(),
        origin: Origin::Configured,
        on: patterns(loading, table),
        directories: known("directory", beside.stores).map_or(Directories::All, Directories::Only),
        when: condition(loading, table),
        to: audiences(loading, table, "to", beside),
        cc: audiences(loading, table, "cc", beside),
        fallback: audiences(loading, table, "fallback", beside),
        kind,
        relay,
        lane: table.parsed("lane"),
        disabled_too: table.flag("disabled_too"),
        enabled: table.flag("enabled"),
    };
    keep_secrets(loading, table, &rule);
    rule
}

fn kind(loading: &Loading<'_>, table: &Table<'_>) -> Option<&'static Kind> {
    let name = table.text("kind")?;
    let found = Kind::find(name.strip_prefix(tidings_core::kind::TYPE_PREFIX).unwrap_or(name));
    if found.is_none() {
        let hint = Kind::nearest(name).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        loading.problem(table.place("kind"), table.key("kind"), format!("there is no kind `{}`{hint}", shown(name)));
    }
    found
}

fn patterns(loading: &Loading<'_>, table: &Table<'_>) -> Vec<TypePattern> {
    let mut patterns = Vec::new();
    for (index, (at, text)) in table.texts("on").into_iter().enumerate() {
        match TypePattern::parse(text) {
            Ok(pattern) => patterns.push(pattern),
            Err(error) => loading.problem(at, format!("{}[{index}]", table.key("on")), error.to_string()),
        }
    }
    patterns
}

fn condition(loading: &Loading<'_>, table: &Table<'_>) -> Option<Condition> {
    let text = table.text("when")?;
    match Condition::compile(text) {
        Ok(condition) => Some(condition),
        Err(error) => {
            let at = place_in(loading, table.place("when"), text, error.line, error.column);
            loading.problem(at, table.key("when"), error.message);
            None
        }
    }
}

/// The byte of the file at which line and column of an expression stand; where the value begins, if that cannot be told.
fn place_in(loading: &Loading<'_>, at: usize, text: &str, line: Option<usize>, column: Option<usize>) -> usize {
    let Some((start, column)) = literal_start(loading.text(), at, text).zip(column) else { return at };
    let line_start: usize = text.split_inclusive('\n').take(line.unwrap_or(1).saturating_sub(1)).map(str::len).sum();
    let within: usize = text.get(line_start..).unwrap_or_default().chars().take(column.saturating_sub(1)).map(char::len_utf8).sum();
    start + line_start + within
}

fn audiences(loading: &Loading<'_>, table: &Table<'_>, name: &str, beside: &Beside<'_>) -> Vec<Audience> {
    let mut audiences = Vec::new();
    for (index, (at, text)) in table.texts(name).into_iter().enumerate() {
        match Audience::parse(text) {
            Ok(audience) if audience.needs_directory() && beside.stores.is_empty() => loading.problem(
                at,
                format!("{}[{index}]", table.key(name)),
                format!("`{}` needs a mirrored directory, and none is configured", shown(text)),
            ),
            Ok(Audience::Query(query)) if !beside.queries.iter().any(|known| known.name == query) => {
                let hint = did_you_mean(&query, beside.queries.iter().map(|known| known.name.as_str()));
                loading.problem(at, format!("{}[{index}]", table.key(name)), format!("there is no query `{}`{hint}", shown(&query)));
            }
            Ok(permission @ Audience::Permission { .. }) if table.flag("strict_permissions") => {
                let message = "with strict_permissions whoever holds only a parent of this path is not told";
                loading.warning(at, format!("{}[{index}]", table.key(name)), message);
                audiences.push(permission.strictly());
            }
            Ok(audience) => audiences.push(audience),
            Err(error) => loading.problem(at, format!("{}[{index}]", table.key(name)), error.to_string()),
        }
    }
    audiences
}

/// Secrets go to the person they belong to: never in copy, and to others only after a warning.
fn keep_secrets(loading: &Loading<'_>, table: &Table<'_>, rule: &Rule) {
    let listens = |kind: &&Kind| rule.on.iter().any(|pattern| pattern.matches(kind.name));
    let sensitive: Vec<&str> = match rule.kind {
        Some(kind) => Some(kind).filter(|kind| kind.sensitive()).into_iter().map(|kind| kind.name).collect(),
        None => KINDS.iter().filter(|kind| kind.sensitive()).filter(listens).map(|kind| kind.name).collect(),
    };
    let Some(first) = sensitive.first() else { return };
    if table.has("cc") {
        loading.problem(
            table.place("cc"),
            table.key("cc"),
            format!("letters of the kind `{first}` hold a secret and are never copied to anybody; leave `cc` out or narrow `on`"),
        );
    }
    for (list, audiences) in [("to", &rule.to), ("fallback", &rule.fallback)] {
        if let Some(other) = audiences.iter().find(|audience| !matches!(audience, Audience::Object | Audience::Member)) {
            let message = format!(
                "letters of the kind `{first}` hold a secret, and `{}` may be another person than the one it belongs to",
                shown(&other.to_string())
            );
            loading.warning(table.place(list), table.key(list), message);
        }
    }
}
