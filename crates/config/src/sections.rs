//! The sections of the configuration file, one file each, and what they come to together.

pub(crate) mod alerts;
pub(crate) mod bounces;
pub(crate) mod database;
pub(crate) mod directory;
mod graph;
pub(crate) mod letters;
pub(crate) mod log;
mod mailbox;
mod oauth2;
pub(crate) mod organisation;
mod provider;
mod query;
pub(crate) mod relay;
pub(crate) mod replies;
mod rule;
pub(crate) mod safety;
pub(crate) mod server;
pub(crate) mod smtp;

use crate::{
    appsettings,
    keys::{Section, Shape, key},
    load::Loading,
    read::Table,
};
use std::path::{Path, PathBuf};
use tidings_core::policy::RuleSet;

pub use alerts::{Alerts, Webhook};
pub use bounces::Bounces;
pub use database::Database;
pub use directory::{
    BadRows, CsvSource, Directory, DirectorySource, LdapBind, LdapMarker, LdapPreset, LdapServer, LdapSource, LdapTls, LdapWay, Lifecycle,
    Notify,
};
pub use graph::Graph;
pub use letters::Letters;
pub use log::{Log, LogFormat, LogLevel};
pub use mailbox::{AfterReading, Mailbox};
pub use oauth2::{ClientKey, ClientProof, Grant, KeyAlgorithm, OAuth2};
pub use organisation::{Logo, Organisation};
pub use query::Query;
pub use relay::{Courier, Limits, Pickup, Relay};
pub use replies::{EnhancedRange, ReplyMeaning, ReplyRule};
pub use safety::Safety;
pub use server::{ClientAuthority, Server, ServerTls};
pub use smtp::{Auth, ClientIdentity, Credential, Dsn, Extensions, Mechanism, Smtp, Timeouts, Tls, TlsMode, TlsVersion};

pub(crate) static ROOT: Section = Section {
    meaning: "",
    keys: &[
        key("server", Shape::Table(&server::SERVER), "Where the program listens and keeps its data."),
        key("organisation", Shape::Table(&organisation::ORGANISATION), "Who the letters come from."),
        key("database", Shape::Table(&database::DATABASE), "Where the outbox is kept."),
        key("safety", Shape::Table(&safety::SAFETY), "What may leave this house."),
        key("letters", Shape::Table(&letters::LETTERS), "The organisation's own wording."),
        key("log", Shape::Table(&log::LOG), "What the program says about its work."),
        key("relay", Shape::Tables(&relay::RELAY), "The ways out, in order."),
        key("directory", Shape::Tables(&directory::DIRECTORY), "The identity stores."),
        key("query", Shape::Tables(&query::QUERY), "Stored queries."),
        key("rule", Shape::Tables(&rule::RULE), "Who is told of what."),
        key("alerts", Shape::Table(&alerts::ALERTS), "Who is told of relays in trouble."),
        key("bounces", Shape::Table(&bounces::BOUNCES), "What becomes of addresses that letters come back from."),
    ],
};

/// What a file of drafts may hold.
pub(crate) static DRAFTS: Section = Section {
    meaning: "",
    keys: &[key("rule", Shape::Tables(&rule::RULE), "Who is told of what."), key("query", Shape::Tables(&query::QUERY), "Stored queries.")],
};

/// Everything a configuration says, checked.
#[derive(Debug)]
pub struct Settings {
    /// The configuration file.
    pub file: PathBuf,
    /// Where the program listens, and where it keeps its data.
    pub server: Server,
    /// Who the letters come from in the reader's eyes.
    pub organisation: Organisation,
    /// Where events and the outbox are kept.
    pub database: Database,
    /// What may leave this house.
    pub safety: Safety,
    /// The organisation's own wording.
    pub letters: Letters,
    /// What the program says about its work.
    pub log: Log,
    /// The ways out, at least one, in order; the first is the default.
    pub relays: Vec<Relay>,
    /// The identity stores, in order.
    pub directories: Vec<Directory>,
    /// The stored queries.
    pub queries: Vec<Query>,
    /// The rules in force: the built-in ones, those of the directories' switches, the configured ones.
    pub rules: RuleSet,
    /// Who is told of relays in trouble.
    pub alerts: Alerts,
    /// What only the `appsettings.json` of an agent says; absent in every other house.
    pub agent: Option<crate::Agent>,
    /// What becomes of addresses that letters come back from.
    pub bounces: Bounces,
}

impl Settings {
    /// The directory of this name.
    pub fn directory(&self, name: &str) -> Option<&Directory> {
        self.directories.iter().find(|directory| directory.name == name)
    }

    /// The relay of this name.
    pub fn relay(&self, name: &str) -> Option<&Relay> {
        self.relays.iter().find(|relay| relay.name == name)
    }
}

/// Builds the settings of a checked tree; what concerns several keys is told on the way. `None` only if a problem was told.
pub(crate) fn build(loading: &Loading<'_>, root: &Table<'_>, path: &Path) -> Option<Settings> {
    let server = server::build(loading, &root.table("server"));
    let organisation = organisation::build(loading, &root.table("organisation"));
    let database = database::build(loading, &root.table("database"));
    let safety = safety::build(loading, &root.table("safety"));
    let letters = letters::build(loading, &root.table("letters"));
    let log = log::build(&root.table("log"));
    let tables = root.tables("relay");
    let mut rails: Vec<appsettings::Rails> = Vec::new();
    let relays = relay::build(loading, root, &tables, &mut rails);
    let safety = safety.map(|safety| safety::merge(loading, &root.table("safety"), safety, rails));
    let names: Vec<String> = tables.iter().map(relay::name_of).collect();
    let alerts = alerts::build(loading, &root.table("alerts"), &names);
    let bounces = bounces::build(loading, &root.table("bounces"), &alerts);
    let tables = root.tables("directory");
    let directories = directory::build(loading, &tables, &names);
    let stores: Vec<String> = tables.iter().filter_map(|table| table.owned("name")).collect();
    let queries = query::build(loading, &root.tables("query"), &stores);
    let beside = rule::Beside {
        relays: &names,
        stores: &stores,
        queries: &queries,
        directories: &directories,
        alerts: alerts::rule(&alerts),
        bounces: bounces.rule(),
    };
    let rules = rule::build(loading, &root.tables("rule"), beside).without_letters(letters.off.clone());
    directory::warn_of_silence(loading, &tables, &directories, &rules);
    Some(Settings {
        file: path.to_owned(),
        server: server?,
        organisation: organisation?,
        database: database?,
        safety: safety?,
        letters,
        log: log?,
        relays,
        directories,
        queries,
        rules,
        alerts,
        agent: None,
        bounces,
    })
}

/// Builds the rules and queries of drafts beside what a configuration says.
pub(crate) fn build_drafts(loading: &Loading<'_>, root: &Table<'_>, beside: &Settings) -> (RuleSet, Vec<Query>) {
    let tables = root.tables("rule");
    if tables.is_empty() {
        loading.warning(0, "rule", "there is none: only the built-in rules and those of the directories' switches are left");
    }
    let relays: Vec<String> = beside.relays.iter().map(|relay| relay.name.clone()).collect();
    let stores: Vec<String> = beside.directories.iter().map(|directory| directory.name.clone()).collect();
    let mut queries = query::build(loading, &root.tables("query"), &stores);
    let kept: Vec<Query> = beside.queries.iter().filter(|query| queries.iter().all(|draft| draft.name != query.name)).cloned().collect();
    queries.extend(kept);
    let (alerts, off) = (alerts::rule(&beside.alerts), beside.letters.off.clone());
    let bounces = beside.bounces.rule();
    let beside = rule::Beside { relays: &relays, stores: &stores, queries: &queries, directories: &beside.directories, alerts, bounces };
    (rule::build(loading, &tables, beside).without_letters(off), queries)
}

/// Whether a text is an `http` or `https` address with a host and without blanks.
pub(crate) fn web_address(text: &str) -> Result<(), String> {
    let lower = text.to_ascii_lowercase();
    let rest = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let right = host.is_some_and(|host| !host.is_empty() && !host.starts_with(':') && !host.contains('@'));
    let clean = !text.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '"' | '<' | '>' | '\\'));
    if right && clean {
        Ok(())
    } else {
        Err(format!("`{}` is not a web address such as \"https://mail.example.org\"", crate::problem::shown(text)))
    }
}
