//! The part of `[[relay]]` that speaks to a mail server.

use super::oauth2::{self, OAuth2, Purpose};
use super::provider::Provider;
use crate::{
    keys::{Section, Shape, key, preset},
    load::{Loading, shown},
    problem::did_you_mean,
    read::Table,
    secret::{self, Secret},
};
use std::time::Duration;

pub(crate) static AUTH: Section = Section {
    meaning: "How to sign in to the mail server (RFC 4954), or for `graph` whose mailbox sends, and by which access tokens.",
    keys: &[
        key(
            "username",
            Shape::Text,
            "The account. graph: principal name or id of the user whose mailbox sends; the address of `from` if absent.",
        ),
        key("password", Shape::Secret, "Its password."),
        preset(
            "mechanism",
            Shape::Choice(
                &[
                    "auto",
                    "scram-sha-256-plus",
                    "scram-sha-1-plus",
                    "scram-sha-256",
                    "scram-sha-1",
                    "cram-md5",
                    "plain",
                    "login",
                    "oauthbearer",
                    "xoauth2",
                ],
                &["ntlm", "gssapi"],
            ),
            "auto",
            "How password or token are shown; `auto` takes the strongest that is offered, in this order.",
        ),
        preset("allow_cleartext", Shape::Flag, "false", "Whether the password or token may be sent readable without TLS."),
        key("oauth2", Shape::Table(&oauth2::OAUTH2), "Access tokens in place of a password."),
    ],
};

pub(crate) static TIMEOUTS: Section = Section {
    meaning: "How long to wait for the mail server, or for Graph.",
    keys: &[
        preset("connect", Shape::Duration, "10s", "For a connection."),
        preset("command", Shape::Duration, "60s", "For the answer to a command. graph: of the token endpoint."),
        preset(
            "final_dot",
            Shape::Duration,
            "10m",
            "For the answer to a whole letter (RFC 5321 §4.5.3.2.6). graph: for a call, 2m if absent.",
        ),
    ],
};

/// The words that `dsn` may hold; `never` stands alone.
const REPORTS: [&str; 4] = ["failure", "delay", "success", "never"];

/// A mail server and how to speak to it.
#[derive(Debug, Clone)]
pub struct Smtp {
    /// Its name or IP address.
    pub host: String,
    /// Its port. Default: 465 for implicit TLS, 587 for required STARTTLS, otherwise 25.
    pub port: u16,
    /// How the connection is encrypted.
    pub tls: Tls,
    /// How to sign in. Default: not at all.
    pub auth: Option<Auth>,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// Which extensions are used where the server offers them.
    pub extensions: Extensions,
}

/// Which extensions of SMTP are used where the server offers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extensions {
    /// PIPELINING (RFC 2920): commands ahead of replies. Default: true.
    pub pipelining: bool,
    /// CHUNKING (RFC 3030): several letters on the way at once. Default: true.
    pub chunking: bool,
    /// DSN (RFC 3461): which reports are asked for. Default: failure and delay.
    pub dsn: Dsn,
}

/// Which reports are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dsn {
    /// Nothing is said about reports.
    Unasked,
    /// None at all.
    Never,
    /// Of these.
    Of {
        /// Of letters that were delivered.
        success: bool,
        /// Of letters that cannot be delivered.
        failure: bool,
        /// Of letters that are late.
        delay: bool,
    },
}

/// How the connection to a mail server is encrypted.
#[derive(Debug, Clone)]
pub struct Tls {
    /// When. Default: auto.
    pub mode: TlsMode,
    /// The authorities that the server's certificate may come from, PEM. Default: the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// The certificate shown to the server. Default: none.
    pub client_identity: Option<ClientIdentity>,
    /// The oldest version spoken. Default: 1.2.
    pub min_version: TlsVersion,
}

/// When a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    None,
    /// From the first byte on port 465, otherwise if the server offers it.
    Auto,
    /// If the server offers it (RFC 3207).
    StarttlsWhenAvailable,
    /// By STARTTLS, or not at all: never unencrypted.
    Starttls,
    /// From the first byte (RFC 8314 §3).
    Implicit,
}

impl TlsMode {
    /// All modes.
    const ALL: [Self; 5] = [Self::None, Self::Auto, Self::StarttlsWhenAvailable, Self::Starttls, Self::Implicit];

    /// The written name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Auto => "auto",
            Self::StarttlsWhenAvailable => "starttls-when-available",
            Self::Starttls => "starttls",
            Self::Implicit => "implicit",
        }
    }

    /// The port that goes with it (RFC 6409 §3.1, RFC 8314 §7.3).
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Implicit => 465,
            Self::Starttls => 587,
            Self::None | Self::Auto | Self::StarttlsWhenAvailable => 25,
        }
    }
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// The certificate shown to a server.
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    /// The certificate and its chain, PEM.
    pub certificate_pem: Vec<u8>,
    /// Its private key, PEM.
    pub key_pem: Secret,
}

/// How to sign in.
#[derive(Debug, Clone)]
pub struct Auth {
    /// The account.
    pub username: String,
    /// What proves it.
    pub credential: Credential,
    /// How that is shown. Default: auto.
    pub mechanism: Mechanism,
    /// Whether it may be sent readable without TLS. Default: false.
    pub allow_cleartext: bool,
}

impl Auth {
    /// The password, if it is one that proves the account.
    pub fn password(&self) -> Option<&Secret> {
        match &self.credential {
            Credential::Password(password) => Some(password),
            Credential::OAuth2(_) => None,
        }
    }
}

/// What proves an account.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A password.
    Password(Secret),
    /// Access tokens.
    OAuth2(Box<OAuth2>),
}

/// How a password or token is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// The strongest that the server offers.
    Auto,
    /// SCRAM-SHA-256-PLUS (RFC 7677).
    ScramSha256Plus,
    /// SCRAM-SHA-1-PLUS (RFC 5802).
    ScramSha1Plus,
    /// SCRAM-SHA-256 (RFC 7677).
    ScramSha256,
    /// SCRAM-SHA-1 (RFC 5802).
    ScramSha1,
    /// CRAM-MD5 (RFC 2195).
    CramMd5,
    /// PLAIN (RFC 4616).
    Plain,
    /// LOGIN.
    Login,
    /// OAUTHBEARER (RFC 7628).
    OAuthBearer,
    /// XOAUTH2.
    XOAuth2,
}

impl Mechanism {
    const ALL: [(&str, Self); 10] = [
        ("auto", Self::Auto),
        ("scram-sha-256-plus", Self::ScramSha256Plus),
        ("scram-sha-1-plus", Self::ScramSha1Plus),
        ("scram-sha-256", Self::ScramSha256),
        ("scram-sha-1", Self::ScramSha1),
        ("cram-md5", Self::CramMd5),
        ("plain", Self::Plain),
        ("login", Self::Login),
        ("oauthbearer", Self::OAuthBearer),
        ("xoauth2", Self::XOAuth2),
    ];

    fn takes_token(self) -> bool {
        matches!(self, Self::Auto | Self::OAuthBearer | Self::XOAuth2)
    }

    fn takes_password(self) -> bool {
        !matches!(self, Self::OAuthBearer | Self::XOAuth2)
    }

    fn shows(self) -> bool {
        matches!(self, Self::Auto | Self::Plain | Self::Login)
    }

    fn is_bound(self) -> bool {
        matches!(self, Self::ScramSha256Plus | Self::ScramSha1Plus)
    }
}

/// How long to wait for a mail server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection. Default: 10 s.
    pub connect: Duration,
    /// For the answer to a command. Default: 60 s.
    pub command: Duration,
    /// For the answer to a whole letter. Default: 10 min.
    pub final_dot: Duration,
}

pub(crate) fn build(loading: &Loading<'_>, table: &Table<'_>, provider: Option<&Provider>) -> Option<Smtp> {
    match provider {
        _ if table.has("host") => {}
        Some(Provider { host: Some(_), .. }) => {}
        Some(Provider { name, host_example, .. }) => {
            let message = format!("is missing; the preset \"{name}\" leaves it to you, such as {host_example}");
            loading.problem(table.at(), table.key("host"), message);
        }
        // A preset that is not known might give it.
        None if table.has("preset") => {}
        None => loading.problem(table.at(), table.key("host"), "is missing; a relay of the kind \"smtp\" needs it"),
    }
    let preset_tls = provider.map(|provider| provider.tls).filter(|_| !table.has("tls"));
    let mode = preset_tls.or_else(|| table.text("tls")).and_then(|word| TlsMode::ALL.into_iter().find(|mode| mode.as_str() == word));
    // The preset's port goes with the preset's encryption.
    let written_port: Option<u16> =
        table.number("port").or_else(|| provider.filter(|_| preset_tls.is_some()).map(|provider| provider.port));
    let host = table.text("host").or_else(|| provider.and_then(|provider| provider.host)).and_then(|text| {
        let told = |message: String| loading.warning(table.place("host"), table.key("host"), message);
        host(text, &told).map_err(|message| loading.problem(table.place("host"), table.key("host"), message)).ok()
    });
    let tls = tls(loading, table, mode);
    let auth = auth(loading, &table.table("auth"), mode);
    let timeouts = timeouts(table);
    let extensions = extensions(loading, table);
    let (host, mode) = (host?, mode?);
    let port = written_port.unwrap_or_else(|| mode.default_port());
    if let Some(advice) = port_advice(mode, port) {
        loading.warning(table.place("port"), table.key("port"), advice);
    }
    if may_end_unencrypted(mode, &host, port) {
        let at = if table.has("tls") { table.place("tls") } else { table.place("host") };
        let word = mode.as_str();
        let message = format!(
            "\"{word}\" may end unencrypted if the server, or somebody in between, offers no TLS; \"starttls\" and \"implicit\" never do"
        );
        loading.warning(at, table.key("tls"), message);
    }
    Some(Smtp { host, port, tls: tls?, auth, timeouts: timeouts?, extensions })
}

/// What there is to say about a port that does not go with the rest.
pub(crate) fn port_advice(mode: TlsMode, port: u16) -> Option<&'static str> {
    match (port, mode) {
        (993, _) => Some("993 is the port of IMAP over TLS, which does not send mail; mail servers take letters on 25, 465 or 587"),
        (465, TlsMode::None | TlsMode::Starttls | TlsMode::StarttlsWhenAvailable) => {
            Some("on 465 mail servers expect TLS from the first byte (RFC 8314), which is \"implicit\", or SslOnConnect")
        }
        (25 | 587, TlsMode::Implicit) => Some("on 25 and 587 mail servers begin in clear; TLS from the first byte is spoken on 465"),
        _ => None,
    }
}

/// Whether letters to a server on another machine may end up unencrypted on the way.
pub(crate) fn may_end_unencrypted(mode: TlsMode, host: &str, port: u16) -> bool {
    let opportunistic = matches!(mode, TlsMode::StarttlsWhenAvailable) || mode == TlsMode::Auto && port != 465;
    let loopback = host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    opportunistic && !loopback
}

/// A host as written, trimmed with a warning, or what is wrong with it.
pub(crate) fn host(text: &str, warn: &dyn Fn(String)) -> Result<String, String> {
    let trimmed = text.trim();
    let found = shown(trimmed);
    if trimmed.is_empty() {
        return Err("is empty; it must be the name or IP address of the mail server".to_owned());
    }
    if let Some(bare) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return bare.parse::<std::net::Ipv6Addr>().map(|ip| ip.to_string()).map_err(|_| format!("`{found}` is not an IPv6 address"));
    }
    if trimmed.contains("://") {
        return Err(format!("`{found}` is a web address; write the mail server's name alone"));
    }
    if trimmed.parse::<std::net::IpAddr>().is_err() {
        if let Some((_, port)) = trimmed.rsplit_once(':').filter(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())) {
            return Err(format!("`{found}` holds a port; write the name alone, and port = {port}"));
        }
        if trimmed.contains(['/', '\\']) {
            return Err(format!("`{found}` is a folder; write kind = \"pickup\" and folder = …"));
        }
        let label = |label: &str| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_');
        if trimmed.len() > 253 || !trimmed.strip_suffix('.').unwrap_or(trimmed).split('.').all(label) {
            return Err(format!("`{found}` is not the name or IP address of a mail server"));
        }
    }
    if trimmed.len() != text.len() {
        warn(format!("has blanks around it; `{found}` is taken"));
    }
    Ok(trimmed.to_owned())
}

/// The encryption of a relay, from the keys of its table.
pub(crate) fn tls(loading: &Loading<'_>, table: &Table<'_>, mode: Option<TlsMode>) -> Option<Tls> {
    if mode == Some(TlsMode::None) {
        for name in ["ca_file", "client_cert_file", "client_key_file", "tls_min"].into_iter().filter(|name| table.has(name)) {
            loading.problem(table.place(name), table.key(name), "has no meaning without TLS (tls = \"none\")");
        }
    }
    for (one, other) in [("client_cert_file", "client_key_file"), ("client_key_file", "client_cert_file")] {
        if table.has(one) && !table.has(other) {
            loading.problem(table.place(one), table.key(one), format!("needs `{other}` beside it"));
        }
    }
    let ca_pem = loading.pem(table, "ca_file", "CERTIFICATE");
    let certificate = loading.pem(table, "client_cert_file", "CERTIFICATE");
    let key = loading
        .pem(table, "client_key_file", "PRIVATE KEY")
        .map(|bytes| Secret::of(String::from_utf8_lossy(&zeroize::Zeroizing::new(bytes))));
    let min_version = if table.text("tls_min") == Some("1.3") { TlsVersion::V1_3 } else { TlsVersion::V1_2 };
    let client_identity = certificate.zip(key).map(|(certificate_pem, key_pem)| ClientIdentity { certificate_pem, key_pem });
    Some(Tls { mode: mode?, ca_pem, client_identity, min_version })
}

fn auth(loading: &Loading<'_>, table: &Table<'_>, mode: Option<TlsMode>) -> Option<Auth> {
    if !table.is_written() {
        return None;
    }
    let password = secret::read(loading, table, "password");
    let has_password = ["password", "password_file", "password_env", "password_command"].iter().any(|way| table.has(way));
    let has_tokens = table.has("oauth2");
    let allow_cleartext = table.flag("allow_cleartext");
    if !table.has("username") {
        loading.problem(table.at(), table.key("username"), "is missing; signing in needs an account");
    }
    if has_password && has_tokens {
        loading.problem(table.place("oauth2"), table.key("oauth2"), "stands beside a password; write one of the two");
    }
    if table.has("username") && !has_password && !has_tokens {
        loading.warning(table.place("username"), table.key("username"), "stands without a password, so nobody signs in");
        return None;
    }
    let word = table.text("mechanism")?;
    let mechanism = Mechanism::ALL.into_iter().find(|(name, _)| *name == word)?.1;
    let told = |message: &str| loading.problem(table.place("mechanism"), table.key("mechanism"), message);
    if has_tokens && !mechanism.takes_token() {
        told("shows a password, and `oauth2` gives tokens; write \"auto\", \"oauthbearer\" or \"xoauth2\"");
    } else if has_password && !mechanism.takes_password() {
        told("shows a token, and there is a password; write `oauth2` in its place, or another mechanism");
    } else if mode == Some(TlsMode::None) && mechanism.is_bound() {
        told("is bound to an encrypted session, and there is none with tls = \"none\"");
    }
    if mode == Some(TlsMode::None) && !allow_cleartext && (has_tokens || has_password && mechanism.shows()) {
        let what = if has_tokens { "the access token" } else { "the password" };
        let message = format!("{what} would travel in clear with tls = \"none\"; choose another tls, or set allow_cleartext = true");
        loading.problem(table.place("username"), table.path(), message);
    }
    let credential = if has_tokens {
        oauth2::build(loading, &table.table("oauth2"), Purpose::Mail).map(|tokens| Credential::OAuth2(Box::new(tokens)))
    } else {
        password.map(Credential::Password)
    };
    Some(Auth { username: table.owned("username")?, credential: credential?, mechanism, allow_cleartext })
}

/// The deadlines of a relay, from its table.
pub(crate) fn timeouts(table: &Table<'_>) -> Option<Timeouts> {
    let table = table.table("timeouts");
    Some(Timeouts { connect: table.duration("connect")?, command: table.duration("command")?, final_dot: table.duration("final_dot")? })
}

/// The extensions of a relay, from its table.
pub(crate) fn extensions(loading: &Loading<'_>, table: &Table<'_>) -> Extensions {
    let extensions = Extensions { pipelining: table.flag("pipelining"), chunking: table.flag("chunking"), dsn: dsn(loading, table) };
    if table.has("chunking") && extensions.chunking && !extensions.pipelining {
        loading.problem(table.place("chunking"), table.key("chunking"), "needs pipelining, which is switched off");
    }
    extensions
}

fn dsn(loading: &Loading<'_>, table: &Table<'_>) -> Dsn {
    if !table.has("dsn") {
        return Dsn::Of { success: false, failure: true, delay: true };
    }
    let words = table.texts("dsn");
    for (at, word) in &words {
        if !REPORTS.contains(word) {
            let hint = did_you_mean(word, REPORTS);
            let allowed = REPORTS.map(|word| format!("\"{word}\"")).join(", ");
            loading.problem(*at, table.key("dsn"), format!("`{}` is not one of {allowed}{hint}", shown(word)));
        } else if *word == "never" && words.len() > 1 {
            loading.problem(*at, table.key("dsn"), "\"never\" stands alone");
        }
    }
    let has = |wanted: &str| words.iter().any(|(_, word)| *word == wanted);
    match words.len() {
        0 => Dsn::Unasked,
        _ if has("never") => Dsn::Never,
        _ => Dsn::Of { success: has("success"), failure: has("failure"), delay: has("delay") },
    }
}
