//! The settings file of Netwrix Identity Manager, taken as it is: `MailSettings` at the top (server), or under `PasswordResetSettings` (agent).
//!
//! Read with .NET's habits: keys without regard to case and also as `"MailSettings:Host"`, numbers and flags given as texts, the environment before the file
//! (`MailSettings__Host`). Sections of the file that do not concern mail are left alone.

use crate::{
    dotnet::{Block, Found},
    json,
    load::{Loading, read_text, shown},
    node::{Node, Value},
    problem::{Problem, Source, did_you_mean},
    read::Table,
    secret::Secret,
    sections::{Auth, Courier, Credential, Mechanism, Smtp, TlsMode, relay::pickup, safety::domain, smtp as smtp_parts},
};
use std::path::{Path, PathBuf};
use tidings_core::{Address, guard::Mode};

/// The keys of `MailSettings`.
const KEYS: [&str; 15] = [
    "FromAddress",
    "Host",
    "Port",
    "UserName",
    "Password",
    "UseDefaultCredentials",
    "UseSpecifiedPickupDirectory",
    "PickupDirectory",
    "SecureSocketOption",
    "EnableSsl",
    "Enabled",
    "AllowedDomains",
    "CatchAllAddress",
    "CatchAllCCAddress",
    "MaxRecipients",
];

/// The values of `SecureSocketOption`, by number in the order of `MailKit`'s enumeration.
const SOCKET_OPTIONS: [(&str, TlsMode); 5] = [
    ("None", TlsMode::None),
    ("Auto", TlsMode::Auto),
    ("SslOnConnect", TlsMode::Implicit),
    ("StartTls", TlsMode::Starttls),
    ("StartTlsWhenAvailable", TlsMode::StarttlsWhenAvailable),
];

/// What such a file says about a relay and about safety.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) courier: Option<Courier>,
    pub(crate) from: Option<Address>,
    /// Whether the file gives a sender, rightly or wrongly.
    pub(crate) from_written: bool,
    pub(crate) from_name: Option<String>,
    pub(crate) rails: Rails,
}

/// What such a file says about safety; see `sections::safety::merge`.
#[derive(Debug)]
pub(crate) struct Rails {
    pub(crate) mode: Mode,
    /// Whether the file says anything about the mode.
    pub(crate) written: bool,
    pub(crate) redirect_to: Option<Address>,
    pub(crate) redirect_cc: Option<Address>,
    pub(crate) allowed_domains: Vec<String>,
    place: Problem,
}

impl Rails {
    /// A problem or warning at the file's `MailSettings`, about one of its keys or the whole.
    pub(crate) fn problem(&self, key: &str, message: String) -> Problem {
        let key = if key.is_empty() { self.place.key.clone() } else { format!("{}.{key}", self.place.key) };
        Problem { key, message, ..self.place.clone() }
    }
}

/// Reads the file that a relay names.
pub(crate) fn read(loading: &Loading<'_>, table: &Table<'_>) -> Option<Foreign> {
    let path = table.file("appsettings", loading)?;
    let text = match read_text(&path) {
        Ok(text) => text,
        Err(message) => {
            loading.problem(table.place("appsettings"), table.key("appsettings"), format!("`{}` {message}", path.display()));
            return None;
        }
    };
    let source = Source::of(&path, &text);
    let root = match json::parse(source.text()) {
        Ok(root) => root,
        Err(error) => {
            loading.problem_elsewhere(source.problem(error.offset, "", error.message));
            return None;
        }
    };
    let Some(mail) = Mail::find(loading, &source, &root, &path) else {
        let message = "there is no `MailSettings`, neither at the top nor in `PasswordResetSettings`";
        loading.problem_elsewhere(source.problem(0, "", message));
        return None;
    };
    mail.check_keys();
    let from = mail.sender();
    Some(Foreign {
        courier: mail.courier(table),
        from_written: mail.value("FromAddress").is_some(),
        from_name: from.as_ref().and_then(|(_, name)| name.clone()),
        from: from.map(|(address, _)| address),
        rails: mail.rails(),
    })
}

/// The `MailSettings` of a file.
struct Mail<'a> {
    loading: &'a Loading<'a>,
    source: &'a Source,
    block: Option<&'a Node>,
    values: Block<'a>,
    folder: PathBuf,
}

impl<'a> Mail<'a> {
    fn find(loading: &'a Loading<'a>, source: &'a Source, root: &'a Node, file: &Path) -> Option<Self> {
        let folder = file.parent().map(Path::to_owned).unwrap_or_default();
        let of = |path| {
            let values = Block { loading, source, root, path };
            Self { loading, source, block: values.node(), values, folder: folder.clone() }
        };
        let (server, agent) = (of(&["MailSettings"]), of(&["PasswordResetSettings", "MailSettings"]));
        let says = |mail: &Self| mail.block.is_some() || KEYS.iter().any(|key| mail.value(key).is_some());
        match (says(&server), says(&agent)) {
            (true, true) if loading.is_agent() => {
                if let Some(block) = server.block {
                    let message = "is left aside: the agent's letters go as `PasswordResetSettings.MailSettings` says";
                    loading.warning_elsewhere(source.problem(block.span.start, "MailSettings", message));
                }
                Some(agent)
            }
            (true, both) => {
                if both && let Some(block) = agent.block {
                    let message = "is left aside: `MailSettings` at the top is taken; its letters go by the same relay";
                    loading.warning_elsewhere(source.problem(block.span.start, "PasswordResetSettings.MailSettings", message));
                }
                Some(server)
            }
            (false, true) => Some(agent),
            (false, false) => None,
        }
    }

    fn key(&self, name: &str) -> String {
        self.values.key(name)
    }

    /// Where the whole block stands.
    fn place(&self) -> Problem {
        self.values.place()
    }

    fn told(&self, place: &Problem, message: impl Into<String>) {
        self.values.told(place, message);
    }

    fn warned(&self, place: &Problem, message: impl Into<String>) {
        self.values.warned(place, message);
    }

    fn value(&self, name: &str) -> Option<Found> {
        self.values.value(name)
    }

    /// Tells keys that are given twice, hold what no value is, or are not known.
    fn check_keys(&self) {
        let Some(block) = self.block else { return };
        if !matches!(block.value, Value::Table(_)) {
            self.told(&self.place(), format!("must be an object, not {}", block.what()));
        }
        for (index, entry) in block.entries().iter().enumerate() {
            let place = self.source.problem(entry.name_span.start, self.key(&entry.name), "");
            if block.entries()[..index].iter().any(|earlier| earlier.name.eq_ignore_ascii_case(&entry.name)) {
                self.told(&place, "is given twice");
            }
            match KEYS.iter().find(|key| key.eq_ignore_ascii_case(&entry.name)) {
                None => self.warned(&place, format!("is not known and has no effect{}", did_you_mean(&entry.name, KEYS))),
                Some(_) if matches!(entry.node.value, Value::List(_) | Value::Table(_) | Value::Integer(None)) => {
                    self.told(
                        &self.source.problem(entry.node.span.start, self.key(&entry.name), ""),
                        format!("must be a text or a number, not {}", entry.node.what()),
                    );
                }
                Some(_) => {}
            }
        }
        if let Some(found) = self.value("MaxRecipients") {
            self.warned(&found.place, "has no effect: everybody gets a letter of their own, and nobody is left out");
        }
    }

    fn flag(&self, name: &str) -> Option<(bool, Problem)> {
        let found = self.value(name)?;
        match found.text.trim().to_ascii_lowercase().as_str() {
            "true" => Some((true, found.place)),
            "false" => Some((false, found.place)),
            _ => {
                self.told(&found.place, format!("`{}` is neither true nor false", shown(&found.text)));
                None
            }
        }
    }

    fn address(&self, name: &str) -> Option<Address> {
        let found = self.value(name)?;
        Address::parse(found.text.trim()).map_err(|error| self.told(&found.place, error.to_string())).ok()
    }

    /// `FromAddress`, with a name if it is written `Name <address>`.
    fn sender(&self) -> Option<(Address, Option<String>)> {
        let found = self.value("FromAddress")?;
        let text = found.text.trim();
        let (name, address) = match text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
            Some((name, address)) => (name.trim().trim_matches('"'), address),
            None => ("", text),
        };
        match Address::parse(address) {
            Ok(address) => Some((address, Some(name.to_owned()).filter(|name| !name.is_empty()))),
            Err(error) => {
                self.told(&found.place, error.to_string());
                None
            }
        }
    }

    fn courier(&self, table: &Table<'_>) -> Option<Courier> {
        let pickup = self.flag("UseSpecifiedPickupDirectory").is_some_and(|(flag, _)| flag);
        let directory = self.value("PickupDirectory");
        let host = self.value("Host");
        if pickup {
            let Some(directory) = directory else {
                self.told(&self.place(), "UseSpecifiedPickupDirectory needs PickupDirectory");
                return None;
            };
            return self.pickup(table, &directory);
        }
        if let Some(directory) = directory {
            self.warned(&directory.place, "has no effect while UseSpecifiedPickupDirectory is not true");
        }
        let Some(host) = host else {
            self.told(&self.place(), "Host is missing, and UseSpecifiedPickupDirectory is not true; one of them must say where letters go");
            return None;
        };
        if is_folder(&host.text) {
            return self.pickup(table, &host);
        }
        self.smtp(table, &host).map(|smtp| Courier::Smtp(Box::new(smtp)))
    }

    fn pickup(&self, table: &Table<'_>, directory: &Found) -> Option<Courier> {
        for (name, at) in table.written() {
            if matches!(
                name,
                "ca_file"
                    | "client_cert_file"
                    | "client_key_file"
                    | "tls_min"
                    | "timeouts"
                    | "auth"
                    | "preset"
                    | "replies"
                    | "pipelining"
                    | "chunking"
                    | "dsn"
            ) {
                self.loading.problem(at, table.key(name), "belongs to relays that speak SMTP; `appsettings` names a pickup directory");
            }
        }
        let text = directory.text.trim();
        let folder = if is_windows_absolute(text) || Path::new(text).is_absolute() { PathBuf::from(text) } else { self.folder.join(text) };
        if let Some(fault) = self.loading.folder_fault(&folder) {
            self.told(&directory.place, fault);
        }
        pickup(self.loading, table, folder).map(Courier::Pickup)
    }

    fn smtp(&self, table: &Table<'_>, found: &Found) -> Option<Smtp> {
        let warn = |message: String| self.warned(&found.place, message);
        let host = smtp_parts::host(&found.text, &warn).map_err(|message| self.told(&found.place, message)).ok();
        let mode = self.tls_mode();
        let port = self.port(mode);
        for (name, at) in table.written() {
            if matches!(name, "x_headers" | "replay" | "drain_within" | "max_waiting" | "min_free") {
                self.loading.problem(at, table.key(name), "belongs to pickup directories; `appsettings` names a mail server");
            }
        }
        let tls = smtp_parts::tls(self.loading, table, Some(mode));
        let auth = self.auth(table, mode);
        let (host, port) = (host?, port?);
        if smtp_parts::may_end_unencrypted(mode, &host, port) {
            let place = self.value("SecureSocketOption").map_or_else(|| found.place.clone(), |found| found.place);
            let word = SOCKET_OPTIONS.iter().find(|(_, of)| *of == mode).map_or("", |(word, _)| *word);
            let message = "may end unencrypted if the server, or somebody in between, offers no TLS; StartTls and SslOnConnect never do";
            self.warned(&place, format!("SecureSocketOption {word} {message}"));
        }
        let extensions = smtp_parts::extensions(self.loading, table);
        Some(Smtp { host, port, tls: tls?, auth, timeouts: smtp_parts::timeouts(table)?, extensions })
    }

    fn port(&self, mode: TlsMode) -> Option<u16> {
        let Some(found) = self.value("Port") else { return Some(mode.default_port()) };
        match found.text.trim().parse::<u16>() {
            Ok(0) => Some(mode.default_port()),
            Ok(port) => {
                if let Some(advice) = smtp_parts::port_advice(mode, port) {
                    self.warned(&found.place, advice);
                }
                Some(port)
            }
            Err(_) => {
                self.told(&found.place, format!("{} is not a port (1–65535)", shown(&found.text)));
                None
            }
        }
    }

    /// `SecureSocketOption`, else `EnableSsl`, else Auto.
    fn tls_mode(&self) -> TlsMode {
        let ssl = self.flag("EnableSsl");
        let Some(found) = self.value("SecureSocketOption") else {
            return if ssl.is_some_and(|(flag, _)| flag) { TlsMode::Starttls } else { TlsMode::Auto };
        };
        if let Some((_, place)) = ssl {
            self.warned(&place, "has no effect beside SecureSocketOption");
        }
        let text = found.text.trim();
        let number = text.parse::<usize>().ok();
        let option = SOCKET_OPTIONS.iter().enumerate().find(|(index, (word, _))| word.eq_ignore_ascii_case(text) || number == Some(*index));
        option.map_or_else(
            || {
                let words = SOCKET_OPTIONS.map(|(word, _)| word);
                let message =
                    format!("`{}` is not allowed here; allowed are {}{}", shown(text), words.join(", "), did_you_mean(text, words));
                self.told(&found.place, message);
                TlsMode::Starttls
            },
            |(_, (_, mode))| *mode,
        )
    }

    fn auth(&self, table: &Table<'_>, mode: TlsMode) -> Option<Auth> {
        if let Some((true, place)) = self.flag("UseDefaultCredentials") {
            self.warned(
                &place,
                "is not possible here: there is no Windows account to sign in with; UserName and Password are used if they are given",
            );
        }
        let ours = table.table("auth");
        for (name, at) in ours.written().filter(|(name, _)| *name != "allow_cleartext") {
            self.loading.problem(at, ours.key(name), "may not stand beside `appsettings`; only `allow_cleartext` may");
        }
        let allow_cleartext = ours.flag("allow_cleartext");
        match (self.value("UserName"), self.value("Password")) {
            (None, None) => None,
            (Some(user), None) => {
                self.warned(&user.place, "stands without a Password, so nobody signs in");
                None
            }
            (None, Some(password)) => {
                self.warned(&password.place, "stands without a UserName, so nobody signs in");
                None
            }
            (Some(user), Some(password)) => {
                if mode == TlsMode::None && !allow_cleartext {
                    let message = "the password would travel in clear with SecureSocketOption None; choose another one, or write auth = { allow_cleartext = true } beside `appsettings`";
                    self.told(&password.place, message);
                }
                let credential = Credential::Password(Secret::of(password.text));
                Some(Auth { username: user.text, credential, mechanism: Mechanism::Auto, allow_cleartext })
            }
        }
    }

    fn rails(&self) -> Rails {
        let enabled = self.flag("Enabled").is_none_or(|(enabled, _)| enabled);
        let cc = self.address("CatchAllCCAddress");
        let to = self.address("CatchAllAddress").or_else(|| {
            let cc = cc.clone()?;
            let place = self.value("CatchAllCCAddress").map_or_else(|| self.place(), |found| found.place);
            self.warned(&place, "stands without CatchAllAddress, so it gets every letter, not only the copies");
            Some(cc)
        });
        let mode = match (enabled, &to) {
            (false, _) => Mode::Off,
            (true, Some(_)) => Mode::Redirect,
            (true, None) => Mode::Live,
        };
        let written = self.value("Enabled").is_some() || to.is_some();
        Rails { mode, written, redirect_to: to, redirect_cc: cc, allowed_domains: self.allowed_domains(), place: self.place() }
    }

    fn allowed_domains(&self) -> Vec<String> {
        let Some(found) = self.value("AllowedDomains") else { return Vec::new() };
        let mut domains = Vec::new();
        for word in found.text.split([';', ',']).map(str::trim).filter(|word| !word.is_empty()) {
            match domain(word.strip_prefix('@').unwrap_or(word)) {
                Ok(domain) => domains.push(domain),
                Err(message) => self.told(&found.place, message),
            }
        }
        if domains.is_empty() {
            // Nothing but separators: no domain is allowed, which must not become "every domain".
            self.told(&found.place, "names no domain; leave it out to allow every domain");
        }
        domains
    }
}

fn is_windows_absolute(text: &str) -> bool {
    let bytes = text.as_bytes();
    text.starts_with("\\\\") || bytes.len() > 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':' && matches!(bytes[2], b'/' | b'\\')
}

/// Whether a `Host` is a path rather than a name.
fn is_folder(text: &str) -> bool {
    let text = text.trim();
    !text.contains("://") && (text.contains(['/', '\\']) || text == "." || text == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_a_slash_or_backslash_is_a_folder() {
        for folder in ["C:/Temp/Mails", r"C:\Mails", r"\\server\pickup", "../Mails", "/var/spool/pickup", "."] {
            assert!(is_folder(folder), "{folder}");
        }
        for host in ["smtp.contoso.com", "10.0.0.1", "fe80::1", "smtp://mail"] {
            assert!(!is_folder(host), "{host}");
        }
    }
}
