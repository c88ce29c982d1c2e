//! A configuration file that starts valid; a test says only what matters to it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The text of `tidings.toml` in the making. Values are written as TOML: `"\"live\""`, `"true"`, `"{ sessions = 2 }"`.
pub(crate) struct Config {
    folder: PathBuf,
    /// The port of the house's mail sink.
    pub(crate) sink_port: u16,
    tables: BTreeMap<String, BTreeMap<String, String>>,
    relay: BTreeMap<String, String>,
    relays: Option<String>,
    more: String,
}

impl Config {
    pub(super) fn new(folder: &Path, listen: &str, sink_port: u16) -> Self {
        let mut config = Self {
            folder: folder.to_owned(),
            sink_port,
            tables: BTreeMap::new(),
            relay: BTreeMap::new(),
            relays: None,
            more: String::new(),
        };
        config.set("server", "listen", &format!("\"{listen}\""));
        config.set("server", "data_dir", "\"data\"");
        config.set("organisation", "name", "\"Nordwind\"");
        config.set("database", "min_free", "\"1MiB\"");
        config.relay_key("name", "\"sink\"");
        config.relay_key("kind", "\"smtp\"");
        config.relay_key("host", "\"127.0.0.1\"");
        config.relay_key("port", &sink_port.to_string());
        config.relay_key("tls", "\"none\"");
        config.relay_key("from", "\"no-reply@tidings.example\"");
        config
    }

    /// Where it is written.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join("tidings.toml")
    }

    /// The house's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Sets a key of a section.
    pub(crate) fn set(&mut self, section: &str, key: &str, value: &str) {
        self.tables.entry(section.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
    }

    /// Takes a key out of a section.
    pub(crate) fn unset(&mut self, section: &str, key: &str) {
        if let Some(table) = self.tables.get_mut(section) {
            table.remove(key);
        }
    }

    /// Sets a key of the relay `sink`, which is the house's own mail sink.
    pub(crate) fn relay_key(&mut self, key: &str, value: &str) {
        self.relay.insert(key.to_owned(), value.to_owned());
    }

    /// Replaces the relay `sink` by these `[[relay]]` tables.
    pub(crate) fn relays(&mut self, text: &str) {
        self.relays = Some(text.to_owned());
    }

    /// Adds text at the end: `[[rule]]` and further `[[relay]]` tables.
    pub(crate) fn more(&mut self, text: &str) {
        self.more.push_str(text);
        self.more.push('\n');
    }

    /// Takes back all that [`Config::more`] has added.
    pub(crate) fn nothing_more(&mut self) {
        self.more.clear();
    }

    pub(super) fn write(&self) {
        let mut text = String::new();
        let mut table = |head: &str, keys: &BTreeMap<String, String>| {
            let _ = writeln!(text, "{head}");
            for (key, value) in keys {
                let _ = writeln!(text, "{key} = {value}");
            }
            text.push('\n');
        };
        for (section, keys) in &self.tables {
            table(&format!("[{section}]"), keys);
        }
        if self.relays.is_none() {
            table("[[relay]]", &self.relay);
        }
        text.push_str(self.relays.as_deref().unwrap_or_default());
        text.push('\n');
        text.push_str(&self.more);
        fs::write(self.file(), text).expect("our own folder can be written");
    }
}
