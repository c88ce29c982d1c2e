//! `[database]`: where the outbox is kept.

use crate::{
    keys::{Section, Shape, key, preset},
    load::{Loading, shown},
    read::Table,
    secret::{self, Secret},
};

pub(crate) static DATABASE: Section = Section {
    meaning: "Where events and the outbox are kept.",
    keys: &[
        preset("url", Shape::Text, "sqlite:tidings.db", "`sqlite:` and a file, relative to `server.data_dir`."),
        key(
            "key",
            Shape::Secret,
            "The key that seals sensitive letters at rest: 32 bytes in hexadecimal or base64. If absent, one is made on first start and kept in `server.data_dir`, for its owner only.",
        ),
        preset(
            "min_free",
            Shape::Size,
            "256MiB",
            "Below this much free disk space new events are answered with 503; what was accepted is still delivered.",
        ),
    ],
};

/// Where events and the outbox are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// `sqlite:` and a file, relative to the data folder. Default: `sqlite:tidings.db`.
    pub url: String,
    /// The key that seals sensitive letters at rest, as written: hexadecimal or base64. Default: one is made on first start.
    pub key: Option<Secret>,
    /// Below this much free disk space, in bytes, nothing new is accepted. Default: 256 MiB.
    pub min_free_bytes: u64,
}

pub(crate) fn build(loading: &Loading<'_>, table: &Table<'_>) -> Option<Database> {
    let url = table.text("url");
    let fault = url.and_then(|url| {
        let scheme = url.split(':').next().unwrap_or_default().to_ascii_lowercase();
        match url.strip_prefix("sqlite:") {
            Some("") => Some("names no file; write \"sqlite:tidings.db\"".to_owned()),
            Some(_) => None,
            None if scheme.starts_with("postgres") => {
                Some("PostgreSQL is not supported by this version; write \"sqlite:tidings.db\"".to_owned())
            }
            None => Some(format!("`{}` is not a database; write \"sqlite:tidings.db\"", shown(url))),
        }
    });
    if let Some(fault) = fault {
        loading.problem(table.place("url"), table.key("url"), fault);
    }
    let key = secret::read(loading, table, "key");
    if key.as_ref().is_some_and(|key| !is_key(key.reveal().trim())) {
        let written = ["key", "key_file", "key_env", "key_command"].into_iter().find(|way| table.has(way)).unwrap_or("key");
        loading.problem(table.place(written), table.key(written), "is not a key: 32 bytes, as 64 hexadecimal digits or in base64");
    }
    Some(Database { url: url?.to_owned(), key, min_free_bytes: table.size("min_free")? })
}

/// Whether a text is 32 bytes in hexadecimal or base64 (RFC 4648 §4, §5), by its look: 64 digits, or 43 characters and perhaps their padding.
fn is_key(text: &str) -> bool {
    let hexadecimal = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let bare = text.strip_suffix('=').unwrap_or(text);
    hexadecimal || bare.len() == 43 && bare.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_'))
}
