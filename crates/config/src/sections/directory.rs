//! `[[directory]]`: identity stores, where their changes come from, and who is told of them.

mod csv;
mod ldap;
mod marker;
mod notify;

use crate::{
    keys::{Section, Shape, key, preset},
    load::{Loading, shown},
    problem::did_you_mean,
    read::Table,
};
use tidings_core::{Address, policy::Rule};

pub use csv::{BadRows, CsvSource};
pub(crate) use ldap::server as ldap_server;
pub use ldap::{LdapBind, LdapPreset, LdapServer, LdapSource, LdapTls, LdapWay};
pub use marker::LdapMarker;
pub(crate) use marker::warn_of_silence;
pub use notify::{Lifecycle, Notify};

/// Sources by their written names, `none` for a directory that is only spoken of.
const SOURCES: [&str; 4] = ["ldap", "scim", "csv", "none"];

pub(crate) static DIRECTORY: Section = Section {
    meaning: "An identity store. Its objects and links are mirrored, and every change becomes an event with the source `directory/<name>`. Several may be listed.",
    keys: &[
        key("name", Shape::Text, "Its name, unique among the directories: letters, digits, `-`, `_` and `.`; required."),
        key(
            "source",
            Shape::Choice(&SOURCES, &[]),
            "Where changes come from: `ldap` watches a server, `scim` is provisioned into by another program, `csv` reads files, `none` is for events that are posted and whose object has this `directory`; required.",
        ),
        key("relay", Shape::Text, "The relay that letters of its switches go by; the first one if absent."),
        key("to", Shape::Texts, "Mail addresses that are told of every change of the directory."),
        key("cc", Shape::Texts, "Mail addresses that get a copy of those letters, or the letters themselves if `to` is absent."),
        key(
            "password_portal_url",
            Shape::Url,
            "Where passwords are changed. Letters about a password of this directory that expires lead there, unless the event brings a `portal_url` of its own.",
        ),
        key(
            "first_load",
            Shape::Choice(&["silent", "told"], &[]),
            "csv, scim: whether what a first load finds is told as created; `silent` if absent, but `told` for `scim`, which has no first load to speak of. That of `ldap` is always silent.",
        ),
        key(
            "notify",
            Shape::Table(&notify::NOTIFY),
            "The switches: who is told of which change. Written at all, they stand in place of the built-in rules on memberships.",
        ),
        key(
            "url",
            Shape::Servers,
            "ldap: the server, `ldaps://dc1.example.org` or `ldap://…`, or a list of servers that are tried in order; required.",
        ),
        key("bind_dn", Shape::Text, "ldap: the name to sign in with; not at all if absent, or by `client_cert_file` (SASL EXTERNAL)."),
        key("bind_password", Shape::Secret, "ldap: its password."),
        key("base", Shape::Text, "ldap: the entry below which is watched, `dc=example,dc=org`; required."),
        key("filter", Shape::Text, "ldap: only what this filter finds is watched (RFC 4515); that of the preset if absent."),
        preset("starttls", Shape::Flag, "false", "ldap: whether `ldap://` is encrypted by STARTTLS, or not used at all."),
        preset("allow_cleartext", Shape::Flag, "false", "ldap: whether the password may be sent readable without TLS."),
        key(
            "ca_file",
            Shape::Path,
            "ldap: PEM file with the authorities that the server's certificate may come from; the system's if absent.",
        ),
        key("client_cert_file", Shape::Path, "ldap: PEM file with the certificate shown to the server; with `client_key_file`."),
        key("client_key_file", Shape::Path, "ldap: PEM file with its private key."),
        preset("preset", Shape::Choice(&LdapPreset::NAMES, &[]), "openldap", "ldap: what classes and attributes are called there."),
        preset(
            "way",
            Shape::Choice(&LdapWay::NAMES, &[]),
            "auto",
            "ldap: how changes are found. `sync`: content synchronisation (RFC 4533); `dirsync`: Active Directory's; `poll`: asking every `poll_every`. `auto` takes what the server offers.",
        ),
        preset(
            "poll_every",
            Shape::Duration,
            "1m",
            "ldap, csv: how often is looked for changes where the source does not tell them by itself.",
        ),
        key(
            "attributes",
            Shape::Map,
            "ldap: which attributes hold what, in place of the preset's: `{ mail = \"mail\", name = \"displayName cn\", site = \"l\" }`. Of several the first that has a value counts; `!` before one reads it the other way round. What the house knows: key, name, mail, locale, timezone, enabled, public, notify, member, owner, additional_owner, muted_owner, manager, changed_by, changed_at, and group_classes, contact_classes, user_classes, which take object classes. Any other name becomes an attribute that rules and letters can use.",
        ),
        preset("timeout", Shape::Duration, "2m", "ldap: how long a server may take to answer."),
        preset(
            "failing_after",
            Shape::Duration,
            "1m",
            "ldap: how long the source must fail before `connector.failed` is told: a hiccup is no news.",
        ),
        key("marker", Shape::Table(&marker::MARKER), "ldap: an attribute whose value asks for a letter, and is cleared once that is sent."),
        key(
            "folder",
            Shape::Path,
            "csv: the folder that is watched for files. What was read is moved into `done` or `failed` in it, with a report. Without it files are read by `tidings directory load` only.",
        ),
        preset("files", Shape::Text, "*.csv", "csv: which files are full ones: whoever does not stand in them is gone."),
        preset(
            "delta_files",
            Shape::Text,
            "*.delta.csv",
            "csv: which files say changes only, in a column `change`: `add`, `modify` or `delete`.",
        ),
        preset("delimiter", Shape::Text, ",", "csv: what stands between two fields: a character, or `tab`."),
        key(
            "list_separator",
            Shape::Text,
            "csv: what stands between the values of one field, such as a person's groups; `;` if absent, or `,` where `;` is the delimiter.",
        ),
        key(
            "columns",
            Shape::Map,
            "csv: which column holds what: `{ key = \"employee_id\", name = \"Display name\", groups = \"Roles\" }`. What is not named here is looked for under its own name: key, type, name, mail, locale, timezone, enabled, public, notify, manager, members, owner, additional_owners, groups, change, actor. Any other name becomes one that rules and letters can use.",
        ),
        preset(
            "bad_rows",
            Shape::Choice(&["skip", "refuse"], &[]),
            "skip",
            "csv: whether a row that cannot be read is left out, or has the whole file refused. Either way each is named with its line and the reason.",
        ),
        key(
            "most_vanishing",
            Shape::Percent,
            "csv, ldap: the part of all objects that may vanish at once. A full file without more than that is refused; a comparison with a server that finds more than that missing takes nothing for gone, and the source counts as failing. `20%` if absent, for ldap any part.",
        ),
    ],
};

/// The keys that only some sources have.
const OF_SOME_SOURCES: [(&str, &[&str]); 28] = [
    ("url", &["ldap"]),
    ("bind_dn", &["ldap"]),
    ("bind_password", &["ldap"]),
    ("bind_password_file", &["ldap"]),
    ("bind_password_env", &["ldap"]),
    ("bind_password_command", &["ldap"]),
    ("base", &["ldap"]),
    ("filter", &["ldap"]),
    ("starttls", &["ldap"]),
    ("allow_cleartext", &["ldap"]),
    ("ca_file", &["ldap"]),
    ("client_cert_file", &["ldap"]),
    ("client_key_file", &["ldap"]),
    ("preset", &["ldap"]),
    ("way", &["ldap"]),
    ("poll_every", &["ldap", "csv"]),
    ("attributes", &["ldap"]),
    ("timeout", &["ldap"]),
    ("failing_after", &["ldap"]),
    ("marker", &["ldap"]),
    ("folder", &["csv"]),
    ("files", &["csv"]),
    ("delta_files", &["csv"]),
    ("delimiter", &["csv"]),
    ("list_separator", &["csv"]),
    ("columns", &["csv"]),
    ("bad_rows", &["csv"]),
    ("most_vanishing", &["ldap", "csv"]),
];

/// An identity store, checked.
#[derive(Debug, Clone)]
pub struct Directory {
    /// Its name, unique.
    pub name: String,
    /// Where changes come from.
    pub source: DirectorySource,
    /// The relay that letters of its switches go by; it exists.
    pub relay: Option<String>,
    /// Who is told of every change.
    pub to: Vec<Address>,
    /// Who gets a copy of those letters.
    pub cc: Vec<Address>,
    /// Where passwords are changed.
    pub password_portal_url: Option<String>,
    /// Whether what a first load finds is told.
    pub first_load_told: bool,
    /// The switches, if any are written.
    pub notify: Option<Notify>,
}

/// Where the changes of a directory come from.
#[derive(Debug, Clone)]
pub enum DirectorySource {
    /// From a server that is watched.
    Ldap(Box<LdapSource>),
    /// From a program that provisions into this one.
    Scim,
    /// From files.
    Csv(Box<CsvSource>),
    /// From nowhere: events are posted.
    None,
}

impl DirectorySource {
    /// The written name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ldap(_) => "ldap",
            Self::Scim => "scim",
            Self::Csv(_) => "csv",
            Self::None => "none",
        }
    }
}

impl Directory {
    /// The rules that its switches and addresses stand for.
    pub fn rules(&self) -> Vec<Rule> {
        notify::rules(self)
    }
}

pub(crate) fn build(loading: &Loading<'_>, tables: &[Table<'_>], relays: &[String]) -> Vec<Directory> {
    let mut names: Vec<(&str, usize)> = Vec::new();
    let mut directories = Vec::new();
    for table in tables {
        match table.text("name") {
            None if !table.has("name") => loading.problem(table.at(), table.key("name"), "is missing; every directory needs a name"),
            None => {}
            Some(name) => {
                if let Some((_, earlier)) = names.iter().find(|(earlier, _)| *earlier == name) {
                    let line = loading.place(*earlier).0;
                    let message = format!("`{}` is the name of the directory on line {line} already", shown(name));
                    loading.problem(table.place("name"), table.key("name"), message);
                }
                let right = name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
                if !right {
                    let message = format!("`{}` is not a name for a directory: up to 64 letters, digits, `-`, `_` and `.`", shown(name));
                    loading.problem(table.place("name"), table.key("name"), message);
                }
                names.push((name, table.place("name")));
            }
        }
        directories.extend(directory(loading, table, relays));
    }
    directories
}

fn directory(loading: &Loading<'_>, table: &Table<'_>, relays: &[String]) -> Option<Directory> {
    if !table.has("source") {
        let message = format!("is missing; every directory needs one of {}", SOURCES.join(", "));
        loading.problem(table.at(), table.key("source"), message);
    }
    let word = table.text("source").filter(|word| SOURCES.contains(word));
    if let Some(word) = word {
        for (name, place) in table.written() {
            if let Some((_, sources)) = OF_SOME_SOURCES.iter().find(|(key, sources)| *key == name && !sources.contains(&word)) {
                let of = sources.iter().map(|source| format!("\"{source}\"")).collect::<Vec<_>>().join(" and ");
                loading.problem(place, table.key(name), format!("belongs to directories of the source {of}; this one is \"{word}\""));
            }
        }
    }
    let relay = table.owned("relay");
    if let Some(relay) = relay.as_ref().filter(|name| !relays.contains(name)) {
        let hint = did_you_mean(relay, relays.iter().map(String::as_str));
        loading.problem(table.place("relay"), table.key("relay"), format!("there is no relay `{}`{hint}", shown(relay)));
    }
    let (to, cc) = (addresses(loading, table, "to"), addresses(loading, table, "cc"));
    let notify = table.has("notify").then(|| notify::build(loading, &table.table("notify")));
    if word == Some("none") && notify.is_none() && to.is_empty() && cc.is_empty() && !table.has("password_portal_url") {
        loading.warning(
            table.at(),
            table.key("source"),
            "\"none\" with none of `notify`, `to` and `password_portal_url` says nothing about anything",
        );
    }
    let source = match word? {
        "ldap" => DirectorySource::Ldap(Box::new(ldap::build(loading, table)?)),
        "csv" => DirectorySource::Csv(Box::new(csv::build(loading, table)?)),
        "scim" => DirectorySource::Scim,
        _ => DirectorySource::None,
    };
    let first_load_told = match table.text("first_load") {
        Some(word) => word == "told",
        None => matches!(source, DirectorySource::Scim),
    };
    Some(Directory {
        name: table.owned("name").unwrap_or_default(),
        source,
        relay,
        to,
        cc,
        password_portal_url: table.owned("password_portal_url"),
        first_load_told,
        notify,
    })
}

fn addresses(loading: &Loading<'_>, table: &Table<'_>, name: &str) -> Vec<Address> {
    let mut addresses = Vec::new();
    for (index, (at, text)) in table.texts(name).into_iter().enumerate() {
        match Address::parse(text) {
            Ok(address) => addresses.push(address),
            Err(error) => loading.problem(at, format!("{}[{index}]", table.key(name)), error.to_string()),
        }
    }
    addresses
}

/// A table of free names, each with a text; a name that looks like one of the house's own is pointed out.
fn mapping(loading: &Loading<'_>, table: &Table<'_>, name: &str, known: &[&str]) -> Vec<(String, String)> {
    // Closer than elsewhere: a name of one's own is nothing unusual here.
    let near = |target: &str| known.iter().find(|name| **name != target && strsim::jaro_winkler(name, target) > 0.92);
    let mut pairs = Vec::new();
    for (at, target, text) in table.pairs(name) {
        if let Some(near) = near(target).filter(|_| !known.contains(&target)) {
            let message = format!("`{}` becomes an attribute of that name; did you mean `{near}`?", shown(target));
            loading.warning(at, format!("{}.{target}", table.key(name)), message);
        }
        pairs.push((target.to_owned(), text.to_owned()));
    }
    pairs
}
