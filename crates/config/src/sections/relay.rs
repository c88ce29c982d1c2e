//! `[[relay]]`: the ways out.

use super::{
    graph::{self, Graph},
    provider::{self, Provider},
    replies::{self, ReplyRule},
    smtp::{self, Smtp},
};
use crate::{
    appsettings::{self, Rails},
    keys::{Section, Shape, key, preset},
    load::{Loading, shown},
    node::Value,
    problem::did_you_mean,
    read::Table,
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tidings_core::{
    Address,
    address::is_header_safe,
    retry::{RetryPolicy, Rhythm},
    verp::LONGEST_LOCAL,
};

pub(crate) static RELAY: Section = Section {
    meaning: "A way out: an SMTP relay, a pickup directory or a file. Several may be listed; the first is the default.",
    keys: &[
        key("name", Shape::Text, "Its name, unique among the relays; required, `appsettings` if absent beside `appsettings`."),
        preset(
            "kind",
            Shape::Choice(&["smtp", "graph", "pickup", "file"], &["http"]),
            "smtp",
            "`smtp` speaks to a mail server, `graph` sends from a mailbox of Exchange Online by Microsoft Graph, `pickup` writes into a mail server's pickup directory, `file` appends everything to one file.",
        ),
        key(
            "appsettings",
            Shape::Path,
            "A settings file of Netwrix Identity Manager whose `MailSettings` stand in place of kind, host, port, tls, auth, folder and path.",
        ),
        key(
            "preset",
            Shape::Choice(provider::NAMES, &[]),
            "smtp: host, port, tls, limits and meaning of refusals of a known provider; every key that is written beside it holds in its place.",
        ),
        key("from", Shape::Address, "The sender's address; required unless `appsettings` gives it."),
        key("from_name", Shape::Text, "The name beside the sender's address; the organisation's name if absent."),
        key("reply_to", Shape::Address, "Where answers go; to `from` if absent."),
        key("envelope_from", Shape::Address, "Where bounces go (MAIL FROM, RFC 5321); to `from` if absent."),
        preset(
            "verp",
            Shape::Flag,
            "false",
            "Whether each letter gets an envelope sender of its own, `local+ITEM-SEAL@domain`, by which its report is matched whatever the report says (VERP). The mail server of that domain must deliver `local+…` to where bounces are read.",
        ),
        key("host", Shape::Expression, "smtp: name or IP address of the mail server; required unless `preset` gives it."),
        key("port", Shape::Port, "smtp: its port; 465 for `implicit`, 587 for `starttls`, otherwise 25 if absent."),
        preset(
            "tls",
            Shape::Choice(&["none", "auto", "starttls-when-available", "starttls", "implicit"], &[]),
            "auto",
            "smtp: `implicit` and `starttls` never send unencrypted. `auto` is implicit on port 465 and otherwise, like `starttls-when-available`, encrypted if the server offers it.",
        ),
        key(
            "ca_file",
            Shape::Path,
            "smtp, graph: PEM file with the authorities that the server's certificate may come from; the system's if absent.",
        ),
        key("client_cert_file", Shape::Path, "smtp: PEM file with the certificate shown to the server; with `client_key_file`."),
        key("client_key_file", Shape::Path, "smtp: PEM file with its private key."),
        preset("tls_min", Shape::Choice(&["1.2", "1.3"], &[]), "1.2", "smtp: the oldest version of TLS that is spoken."),
        key(
            "auth",
            Shape::Table(&smtp::AUTH),
            "smtp: how to sign in; not at all if absent. graph: whose mailbox sends, and how access tokens are got; required.",
        ),
        key("limits", Shape::Table(&LIMITS), "How much at once."),
        key("replies", Shape::Tables(&replies::REPLIES), "smtp: what refusals mean, where the built-in table is not right about it."),
        key("retry", Shape::Table(&RETRY), "When a refused letter is tried again."),
        key("timeouts", Shape::Table(&smtp::TIMEOUTS), "smtp, graph: how long to wait for an answer."),
        preset("pipelining", Shape::Flag, "true", "smtp: whether commands are sent ahead of replies if the server offers PIPELINING."),
        preset(
            "chunking",
            Shape::Flag,
            "true",
            "smtp: whether several letters are on the way at once in a session if the server offers CHUNKING and PIPELINING.",
        ),
        preset(
            "dsn",
            Shape::Texts,
            "failure, delay",
            "smtp: which reports are asked for if the server offers DSN: `failure`, `delay`, `success`, or `never` alone; an empty list says nothing about them.",
        ),
        key(
            "next",
            Shape::Text,
            "The relay that takes over while this one is held: after a failed probe or 5 seconds it sends the letters, except those that hold a secret, which wait.",
        ),
        preset(
            "cloud",
            Shape::Choice(graph::CLOUD_NAMES, &[]),
            "global",
            "graph: which deployment of Microsoft 365; it gives `url`, the token endpoint's host and the scope. If absent, the one whose host `url` names.",
        ),
        key(
            "url",
            Shape::Url,
            "graph: the API with its version, `https://graph.microsoft.com/v1.0` in the global cloud; the cloud's if absent.",
        ),
        key("folder", Shape::Path, "pickup: the folder that the mail server empties; required."),
        preset(
            "x_headers",
            Shape::Flag,
            "true",
            "pickup: whether the envelope is written as `X-Sender` and `X-Receiver` (IIS, Exchange Replay); otherwise the server takes it from the headers.",
        ),
        preset(
            "replay",
            Shape::Flag,
            "false",
            "pickup: whether those headers also say how to report failures, which the Replay directory of Exchange understands and IIS does not.",
        ),
        preset(
            "drain_within",
            Shape::Duration,
            "10m",
            "pickup: how long a file may lie in the folder before the mail server is said not to collect.",
        ),
        preset(
            "max_waiting",
            Shape::Number(0, 10_000_000),
            "20000",
            "pickup: with so many files in the folder no more are written until some are collected; 0 is any number.",
        ),
        preset("min_free", Shape::Size, "64MiB", "pickup: with less room than this on the folder's disk no more files are written."),
        key("path", Shape::Path, "file: the file to which every letter is appended; required."),
    ],
};

/// Nobody's limit is higher.
const MOST: i64 = 1_000_000_000;

static LIMITS: Section = Section {
    meaning: "How much at once.",
    keys: &[
        preset(
            "sessions",
            Shape::Number(1, 1000),
            "5",
            "The most sessions open at a time. graph: the most calls at a time, 4 if absent and at most.",
        ),
        preset("messages_per_session", Shape::Number(1, 1_000_000), "100", "The most letters sent in one session."),
        preset(
            "per_minute",
            Shape::Number(0, MOST),
            "0",
            "The most letters handed over within any 60 seconds; 0 is without limit, also without the preset's. graph: 30 if absent.",
        ),
        preset("per_hour", Shape::Number(0, MOST), "0", "The most letters handed over within any hour; 0 is without limit."),
        preset(
            "per_day",
            Shape::Number(0, MOST),
            "0",
            "The most letters handed over within any 24 hours, restarts included; 0 is without limit. graph: 10000 if absent.",
        ),
        preset("sessions_per_minute", Shape::Number(0, MOST), "0", "The most sessions begun within any 60 seconds; 0 is without limit."),
    ],
};

static RETRY: Section = Section {
    meaning: "When a refused letter is tried again: after growing delays, or at times that a cron expression names.",
    keys: &[
        preset(
            "delays",
            Shape::Durations,
            "1m, 2m, 5m, 10m, 15m, 30m, 1h, 2h",
            "The waiting times after each refusal, varied by a fifth either way; the last one repeats.",
        ),
        key("cron", Shape::Cron, "In place of `delays`: `*/5 * * * *` is every five minutes (UTC); a sixth field in front is the second."),
        preset("give_up_after", Shape::Duration, "4d", "How long after it was accepted a letter is given up."),
    ],
};

/// The keys that not every kind of relay has.
const OF_SOME_KINDS: [(&str, &[&str]); 23] = [
    ("replay", &["pickup"]),
    ("drain_within", &["pickup"]),
    ("max_waiting", &["pickup"]),
    ("min_free", &["pickup"]),
    ("preset", &["smtp"]),
    ("replies", &["smtp"]),
    ("host", &["smtp"]),
    ("port", &["smtp"]),
    ("tls", &["smtp"]),
    ("ca_file", &["smtp", "graph"]),
    ("client_cert_file", &["smtp"]),
    ("client_key_file", &["smtp"]),
    ("tls_min", &["smtp"]),
    ("auth", &["smtp", "graph"]),
    ("timeouts", &["smtp", "graph"]),
    ("pipelining", &["smtp"]),
    ("chunking", &["smtp"]),
    ("dsn", &["smtp"]),
    ("cloud", &["graph"]),
    ("url", &["graph"]),
    ("folder", &["pickup"]),
    ("x_headers", &["pickup"]),
    ("path", &["file"]),
];

/// A way out, checked.
#[derive(Debug, Clone)]
pub struct Relay {
    /// Its name, unique.
    pub name: String,
    /// How letters are handed over.
    pub courier: Courier,
    /// The sender's address.
    pub from: Address,
    /// The name beside it. Default: the organisation's name, which the reader of this puts in.
    pub from_name: Option<String>,
    /// Where answers go. Default: to `from`.
    pub reply_to: Option<Address>,
    /// Where bounces go (MAIL FROM; RFC 5321 §4.1.1.2). Default: `from`.
    pub envelope_from: Address,
    /// Whether each letter gets an envelope sender of its own (VERP). Default: no.
    pub verp: bool,
    /// When a refused letter is tried again.
    pub retry: RetryPolicy,
    /// How much at once.
    pub limits: Limits,
    /// The provider whose ways are known. Default: none.
    pub preset: Option<String>,
    /// What its refusals mean, before the built-in table.
    pub replies: Vec<ReplyRule>,
    /// The relay that takes over while this one is held; it exists, and the chain has no circle.
    pub next: Option<String>,
}

/// How much a relay takes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most sessions open at a time. Default: 5.
    pub sessions: u16,
    /// The most letters sent in one session. Default: 100.
    pub messages_per_session: u32,
    /// The most letters within 60 seconds. Default: any number.
    pub per_minute: Option<u32>,
    /// The most letters within an hour. Default: any number.
    pub per_hour: Option<u32>,
    /// The most letters within 24 hours. Default: any number.
    pub per_day: Option<u32>,
    /// The most sessions begun within 60 seconds. Default: any number.
    pub sessions_per_minute: Option<u32>,
}

/// How letters are handed over.
#[derive(Debug, Clone)]
pub enum Courier {
    /// By SMTP.
    Smtp(Box<Smtp>),
    /// By Microsoft Graph.
    Graph(Box<Graph>),
    /// By a file each in a pickup directory.
    Pickup(Pickup),
    /// All appended to one file.
    File {
        /// The file.
        path: PathBuf,
    },
}

/// A pickup directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pickup {
    /// The folder that the mail server empties.
    pub folder: PathBuf,
    /// Whether the envelope is written as `X-Sender` and `X-Receiver`. Default: true.
    pub x_headers: bool,
    /// Whether those headers say how to report failures. Default: false.
    pub replay: bool,
    /// How long a file may lie there. Default: 10 min.
    pub drain_within: Duration,
    /// With so many files there no more are written; 0 is any number. Default: 20,000.
    pub max_waiting: u64,
    /// With fewer free bytes than this no more are written. Default: 64 MiB.
    pub min_free: u64,
}

impl Courier {
    /// The written name of the kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Smtp(_) => "smtp",
            Self::Graph(_) => "graph",
            Self::Pickup(_) => "pickup",
            Self::File { .. } => "file",
        }
    }
}

/// The name of a relay, also of one with problems.
pub(crate) fn name_of(table: &Table<'_>) -> String {
    table.owned("name").unwrap_or_else(|| if table.has("appsettings") { "appsettings".to_owned() } else { String::new() })
}

pub(crate) fn build(loading: &Loading<'_>, root: &Table<'_>, tables: &[Table<'_>], rails: &mut Vec<Rails>) -> Vec<Relay> {
    if tables.is_empty() && root.raw("relay").is_none_or(|node| matches!(&node.value, Value::List(list) if list.is_empty())) {
        loading.problem(
            root.place("relay"),
            "relay",
            "there is none; at least one [[relay]] is needed, with `kind`, `from` and `host`, `folder` or `path`",
        );
    }
    let mut relays = Vec::new();
    let mut names: Vec<(String, usize)> = Vec::new();
    for table in tables {
        let name = name_of(table);
        if name.is_empty() && !table.has("name") {
            loading.problem(table.at(), table.key("name"), "is missing; every relay needs a name");
        } else if let Some((_, earlier)) = names.iter().find(|(earlier, _)| *earlier == name) {
            let (line, column) = loading.place(*earlier);
            loading.problem(
                table.place("name"),
                table.key("name"),
                format!("`{}` is the name of the relay at {line}:{column} already", shown(&name)),
            );
        } else {
            names.push((name.clone(), table.place("name")));
        }
        relays.extend(relay(loading, table, name, rails));
    }
    check_next(loading, tables, &names);
    relays
}

fn relay(loading: &Loading<'_>, table: &Table<'_>, name: String, rails: &mut Vec<Rails>) -> Option<Relay> {
    let provider = table.text("preset").and_then(provider::find);
    let foreign = if table.has("appsettings") { Some(foreign(loading, table)?) } else { None };
    let (courier, from, from_written, foreign_name) = match foreign {
        Some(foreign) => {
            if table.has("from") && foreign.from_written {
                loading.problem(
                    table.place("from"),
                    table.key("from"),
                    "is given by `appsettings` already (FromAddress); write one of the two",
                );
            }
            rails.push(foreign.rails);
            (foreign.courier, foreign.from.or_else(|| table.address("from")), foreign.from_written, foreign.from_name)
        }
        None => (courier(loading, table, provider), table.address("from"), false, None),
    };
    if from.is_none() && !from_written && !table.has("from") {
        let beside = if table.has("appsettings") {
            "is missing: neither FromAddress nor this key gives the sender's address"
        } else {
            "is missing; every relay needs the sender's address"
        };
        loading.problem(table.at(), table.key("from"), beside);
    }
    let retry = retry(loading, &table.table("retry"));
    let paced = if table.text("kind") == Some("graph") { Some(&provider::GRAPH) } else { provider };
    let limits = limits(&table.table("limits"), paced);
    let replies = replies::build(loading, table);
    let from = from?;
    Some(Relay {
        name,
        courier: courier?,
        from_name: table.owned("from_name").or(foreign_name).filter(|name| is_header_safe(name)),
        reply_to: table.address("reply_to"),
        verp: verp(loading, table, table.address("envelope_from").as_ref().unwrap_or(&from)),
        envelope_from: table.address("envelope_from").unwrap_or_else(|| from.clone()),
        from,
        retry,
        limits,
        preset: provider.map(|provider| provider.name.to_owned()),
        replies,
        next: table.owned("next"),
    })
}

/// Whether envelope senders name their items; the local part must have room for that.
fn verp(loading: &Loading<'_>, table: &Table<'_>, sender: &Address) -> bool {
    let wanted = table.flag("verp");
    if wanted && (sender.local().len() > LONGEST_LOCAL || sender.local().starts_with('"')) {
        let message = format!("needs an envelope sender whose part before the @ has at most {LONGEST_LOCAL} characters and no quotes");
        loading.problem(table.place("verp"), table.key("verp"), message);
    }
    wanted
}

/// What a foreign settings file says, with the keys that would contradict it told.
fn foreign(loading: &Loading<'_>, table: &Table<'_>) -> Option<appsettings::Foreign> {
    for (name, at) in table.written() {
        if matches!(name, "kind" | "host" | "port" | "tls" | "folder" | "path") {
            loading.problem(at, table.key(name), "may not stand beside `appsettings`, which gives it");
        }
    }
    appsettings::read(loading, table)
}

/// The limits that are written, then those of the preset, then the defaults.
fn limits(table: &Table<'_>, provider: Option<&Provider>) -> Limits {
    let rate = |name: &str, preset: Option<u32>| {
        let written: Option<u32> = table.number(name).filter(|_| table.has(name));
        written.or(preset).filter(|limit| *limit > 0)
    };
    let sessions = provider.and_then(|provider| provider.sessions).filter(|_| !table.has("sessions"));
    Limits {
        sessions: sessions.or_else(|| table.number("sessions")).unwrap_or(5),
        messages_per_session: table.number("messages_per_session").unwrap_or(100),
        per_minute: rate("per_minute", provider.and_then(|provider| provider.per_minute)),
        per_hour: rate("per_hour", None),
        per_day: rate("per_day", provider.and_then(|provider| provider.per_day)),
        sessions_per_minute: rate("sessions_per_minute", None),
    }
}

fn courier(loading: &Loading<'_>, table: &Table<'_>, provider: Option<&Provider>) -> Option<Courier> {
    let kind = table.text("kind").filter(|kind| matches!(*kind, "smtp" | "graph" | "pickup" | "file"))?;
    for (name, at) in table.written() {
        if let Some((_, kinds)) = OF_SOME_KINDS.iter().find(|(of_some, kinds)| *of_some == name && !kinds.contains(&kind)) {
            let kinds = kinds.iter().map(|kind| format!("\"{kind}\"")).collect::<Vec<_>>().join(" or ");
            loading.problem(at, table.key(name), format!("belongs to relays of the kind {kinds}; this one is \"{kind}\""));
        }
    }
    let needs = |name: &str| {
        if !table.has(name) {
            loading.problem(table.at(), table.key(name), format!("is missing; a relay of the kind \"{kind}\" needs it"));
        }
    };
    match kind {
        "smtp" => smtp::build(loading, table, provider).map(|smtp| Courier::Smtp(Box::new(smtp))),
        "graph" => graph::build(loading, table).map(|graph| Courier::Graph(Box::new(graph))),
        "pickup" => {
            needs("folder");
            let folder = table.file("folder", loading)?;
            if let Some(fault) = loading.folder_fault(&folder) {
                loading.problem(table.place("folder"), table.key("folder"), fault);
            }
            pickup(loading, table, folder).map(Courier::Pickup)
        }
        _ => {
            needs("path");
            let path = table.file("path", loading)?;
            if let Some(fault) = output_fault(loading, &path) {
                loading.problem(table.place("path"), table.key("path"), fault);
            }
            Some(Courier::File { path })
        }
    }
}

/// The pickup directory of a table, written there or in a settings file.
pub(crate) fn pickup(loading: &Loading<'_>, table: &Table<'_>, folder: PathBuf) -> Option<Pickup> {
    let (x_headers, replay) = (table.flag("x_headers"), table.flag("replay"));
    if replay && !x_headers {
        loading.problem(table.place("replay"), table.key("replay"), "needs the headers that `x_headers = false` leaves out");
    }
    Some(Pickup {
        folder,
        x_headers,
        replay,
        drain_within: table.duration("drain_within")?,
        max_waiting: table.number("max_waiting")?,
        min_free: table.size("min_free")?,
    })
}

/// What stands against appending to a file.
pub(crate) fn output_fault(loading: &Loading<'_>, path: &Path) -> Option<String> {
    if path.is_dir() {
        return Some(format!("`{}` is a folder, not a file", path.display()));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    loading.folder_fault(folder)
}

fn retry(loading: &Loading<'_>, table: &Table<'_>) -> RetryPolicy {
    let default = RetryPolicy::default();
    if table.has("delays") && table.has("cron") {
        loading.problem(table.place("cron"), table.key("cron"), "stands beside `delays`; write one of the two");
    }
    let delays: Vec<_> = table.texts("delays").into_iter().filter_map(|(_, text)| crate::units::duration(text).ok()).collect();
    if table.has("delays") && table.texts("delays").is_empty() {
        loading.problem(table.place("delays"), table.key("delays"), "is empty; write at least one delay");
    }
    let give_up_after = table.duration("give_up_after").unwrap_or(default.give_up_after);
    if delays.first().is_some_and(|first| *first > give_up_after) {
        loading.warning(
            table.place("delays"),
            table.key("delays"),
            "the first delay is longer than give_up_after, so nothing is ever tried twice",
        );
    }
    let rhythm = match table.parsed("cron") {
        Some(cron) => Rhythm::Cron(cron),
        None if delays.is_empty() => default.rhythm,
        None => Rhythm::Delays(delays),
    };
    RetryPolicy { rhythm, give_up_after }
}

/// `next` must name another relay, and following it must come to an end.
fn check_next(loading: &Loading<'_>, tables: &[Table<'_>], names: &[(String, usize)]) {
    let next_of = |name: &str| tables.iter().find(|table| name_of(table) == name).and_then(|table| table.text("next"));
    for table in tables {
        let Some(next) = table.text("next") else { continue };
        let name = name_of(table);
        let told = |message: String| loading.problem(table.place("next"), table.key("next"), message);
        if next == name {
            told("names the relay itself; it must be another one".to_owned());
        } else if !names.iter().any(|(known, _)| known == next) {
            let hint = did_you_mean(next, names.iter().map(|(known, _)| known.as_str()).filter(|known| *known != name));
            told(format!("there is no relay `{}`{hint}", shown(next)));
        } else {
            let mut way = vec![name.as_str(), next];
            while let Some(further) = next_of(way[way.len() - 1]).filter(|_| way.len() <= tables.len()) {
                way.push(further);
                if further == name {
                    told(format!("goes round in a circle: {}", way.join(" → ")));
                    break;
                }
            }
        }
    }
}
