//! `[bounces.mailbox]`: a mailbox that reports are fetched from.

use super::{
    oauth2::{self, Purpose},
    smtp::{self, Credential, TlsMode},
};
use crate::{
    keys::{Section, Shape, key, preset},
    load::{Loading, shown},
    read::Table,
    secret,
};
use std::time::Duration;

pub(crate) static MAILBOX: Section = Section {
    meaning: "A mailbox that reports are fetched from by IMAP. What is no report is left alone.",
    keys: &[
        key("host", Shape::Expression, "Name or IP address of the IMAP server; required."),
        key("port", Shape::Port, "Its port; 993 for `implicit`, otherwise 143 if absent."),
        preset(
            "tls",
            Shape::Choice(&["implicit", "starttls", "none"], &[]),
            "implicit",
            "`implicit` and `starttls` never send unencrypted; `none` needs `allow_cleartext`.",
        ),
        key("ca_file", Shape::Path, "PEM file with the authorities that the server's certificate may come from; the system's if absent."),
        key("username", Shape::Text, "The account; required."),
        key("password", Shape::Secret, "Its password; either this or `oauth2`."),
        key(
            "oauth2",
            Shape::Table(&oauth2::OAUTH2),
            "Access tokens in place of a password, shown by OAUTHBEARER if that is offered, else by XOAUTH2.",
        ),
        preset("allow_cleartext", Shape::Flag, "false", "Whether the password or token may be sent readable without TLS."),
        preset("folder", Shape::Text, "INBOX", "The folder that is read."),
        preset(
            "after",
            Shape::Text,
            "move:Tidings done",
            "What is done with a report once it is kept: `move:FOLDER` (made if there is none), `delete`, or `flag`, which leaves it and marks it as seen.",
        ),
        preset("every", Shape::Duration, "1m", "How often the mailbox is looked at if the server does not tell of mails by itself (IDLE)."),
    ],
};

/// A mailbox that reports are fetched from.
#[derive(Debug, Clone)]
pub struct Mailbox {
    /// The IMAP server's name or IP address.
    pub host: String,
    /// Its port. Default: 993 for implicit TLS, otherwise 143.
    pub port: u16,
    /// How the connection is encrypted: implicit, STARTTLS (required), or not at all. Default: implicit.
    pub tls: TlsMode,
    /// The authorities that its certificate may come from, PEM. Default: the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// The account.
    pub username: String,
    /// What proves it.
    pub credential: Credential,
    /// Whether it may be sent readable without TLS. Default: false.
    pub allow_cleartext: bool,
    /// The folder that is read. Default: `INBOX`.
    pub folder: String,
    /// What is done with a report once it is kept. Default: it is moved to `Tidings done`.
    pub after: AfterReading,
    /// How often it is looked at if the server does not tell of mails. Default: 1 min.
    pub every: Duration,
}

/// What is done with a report once it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterReading {
    /// Moved to this folder.
    Move(String),
    /// Deleted.
    Delete,
    /// Left, and marked as seen.
    Flag,
}

/// Reads the table; what stands against it is told.
pub(crate) fn build(loading: &Loading<'_>, table: &Table<'_>) -> Option<Mailbox> {
    if !table.is_written() {
        return None;
    }
    for name in ["host", "username"].into_iter().filter(|name| !table.has(name)) {
        loading.problem(table.at(), table.key(name), "is missing; a mailbox needs it");
    }
    let tls = match table.text("tls")? {
        "starttls" => TlsMode::Starttls,
        "none" => TlsMode::None,
        _ => TlsMode::Implicit,
    };
    if tls == TlsMode::None && table.has("ca_file") {
        loading.problem(table.place("ca_file"), table.key("ca_file"), "has no meaning without TLS (tls = \"none\")");
    }
    let host = table.text("host").and_then(|text| {
        let told = |message: String| loading.warning(table.place("host"), table.key("host"), message);
        smtp::host(text, &told).map_err(|message| loading.problem(table.place("host"), table.key("host"), message)).ok()
    });
    let port = table.number("port").unwrap_or(if tls == TlsMode::Implicit { 993 } else { 143 });
    if let Some(advice) = port_advice(tls, port) {
        loading.warning(table.place("port"), table.key("port"), advice);
    }
    let credential = credential(loading, table, tls);
    let after = after(loading, table);
    let folder = table.owned("folder")?;
    if after == Some(AfterReading::Move(folder.clone())) {
        loading.problem(table.place("after"), table.key("after"), "moves reports to the folder that is read");
    }
    let ca_pem = loading.pem(table, "ca_file", "CERTIFICATE");
    Some(Mailbox {
        host: host?,
        port,
        tls,
        ca_pem,
        username: table.owned("username")?,
        credential: credential?,
        allow_cleartext: table.flag("allow_cleartext"),
        folder,
        after: after?,
        every: table.duration("every")?,
    })
}

fn port_advice(tls: TlsMode, port: u16) -> Option<&'static str> {
    match (port, tls) {
        (993, TlsMode::None | TlsMode::Starttls) => Some("on 993 IMAP servers expect TLS from the first byte, which is \"implicit\""),
        (143, TlsMode::Implicit) => Some("on 143 IMAP servers begin in clear; TLS from the first byte is spoken on 993"),
        (25 | 465 | 587, _) => Some("is a port for sending mail; mailboxes are read on 993 or 143"),
        (995 | 110, _) => Some("is a port of POP3, which is not spoken; mailboxes are read by IMAP on 993 or 143"),
        _ => None,
    }
}

fn credential(loading: &Loading<'_>, table: &Table<'_>, tls: TlsMode) -> Option<Credential> {
    let password = secret::read(loading, table, "password");
    let has_password = ["password", "password_file", "password_env", "password_command"].iter().any(|way| table.has(way));
    let has_tokens = table.has("oauth2");
    if has_password && has_tokens {
        loading.problem(table.place("oauth2"), table.key("oauth2"), "stands beside a password; write one of the two");
    }
    if !has_password && !has_tokens {
        loading.problem(table.at(), table.key("password"), "is missing; write it, or `oauth2`");
    }
    if tls == TlsMode::None && !table.flag("allow_cleartext") {
        let what = if has_tokens { "the access token" } else { "the password" };
        let message = format!("{what} would travel in clear with tls = \"none\"; choose another tls, or set allow_cleartext = true");
        loading.problem(table.place("tls"), table.key("tls"), message);
    }
    if has_tokens {
        return oauth2::build(loading, &table.table("oauth2"), Purpose::Mail).map(|tokens| Credential::OAuth2(Box::new(tokens)));
    }
    password.map(Credential::Password)
}

fn after(loading: &Loading<'_>, table: &Table<'_>) -> Option<AfterReading> {
    let text = table.text("after")?;
    let folder = text.strip_prefix("move:").map(str::trim).filter(|folder| !folder.is_empty());
    let after = match text {
        "delete" => Some(AfterReading::Delete),
        "flag" => Some(AfterReading::Flag),
        _ => folder.map(|folder| AfterReading::Move(folder.to_owned())),
    };
    if after.is_none() {
        let message = format!("`{}` is not allowed here; allowed are move:FOLDER, delete, flag", shown(text));
        loading.problem(table.place("after"), table.key("after"), message);
    }
    after
}
